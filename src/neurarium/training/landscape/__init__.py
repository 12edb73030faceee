"""The loss around a trained network: slices, curvature, and paths to other minima."""

from neurarium.training.landscape.curvature import spectrum, top_eigenvalues, trace
from neurarium.training.landscape.paths import connect
from neurarium.training.landscape.rescaling import rescale_relu
from neurarium.training.landscape.slices import line, plane

__all__ = ["connect", "line", "plane", "rescale_relu", "spectrum", "top_eigenvalues", "trace"]
