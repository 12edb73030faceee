"""Explanations: what a network goes by."""

from neurarium.explain.gradient_through_time import TimeGradient as TimeGradient
from neurarium.explain.gradient_through_time import gradient_through_time
from neurarium.explain.graph_mask import graph_mask
from neurarium.explain.level_surfaces import LevelSurface as LevelSurface
from neurarium.explain.level_surfaces import level_surfaces
from neurarium.explain.planar import HiddenView as HiddenView
from neurarium.explain.planar import Planar as Planar
from neurarium.explain.planar import planar
from neurarium.explain.shape_bias import shape_bias

__all__ = ["gradient_through_time", "graph_mask", "level_surfaces", "planar", "shape_bias"]
