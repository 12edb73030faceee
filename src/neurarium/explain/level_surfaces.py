"""Where a network of three inputs takes a value: surfaces in space."""

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["LevelSurface", "level_surfaces"]

_POLISHES = 3


@dataclass(frozen=True)
class LevelSurface:
    """A mesh of triangles on which the network has one value.

    Args:
        vertices: points of the surface.
        faces: the vertices of each triangle.
    """

    level: float
    vertices: Float[np.ndarray, "vertices 3"]
    faces: Int[np.ndarray, "faces 3"]

    @property
    def area(self) -> float:
        """Of all triangles together."""
        a, b, c = self.vertices[self.faces].swapaxes(0, 1)
        return float(np.linalg.norm(np.cross(b - a, c - a), axis=1).sum() / 2)

    def plot(self) -> "Figure":
        """The surface in space."""
        from matplotlib.figure import Figure
        from mpl_toolkits.mplot3d.art3d import Poly3DCollection

        figure = Figure(figsize=(4.5, 4.5))
        axes = figure.add_subplot(projection="3d")
        triangles = self.vertices[self.faces]
        axes.add_collection3d(Poly3DCollection(triangles, shade=True, facecolors="#3d7cc9"))
        low, high = self.vertices.min(0), self.vertices.max(0)
        axes.set(
            xlim=(low[0], high[0]),
            ylim=(low[1], high[1]),
            zlim=(low[2], high[2]),
            title=f"f = {self.level:g}",
        )
        axes.set_box_aspect(np.maximum(high - low, 1e-9))
        return figure


def level_surfaces(
    model: nn.Module | Callable[[Tensor], Tensor],
    levels: Sequence[float] = (0.5,),
    bounds: tuple[float, float] = (-1.0, 1.0),
    *,
    output: int = 0,
    resolution: int = 64,
) -> list[LevelSurface]:
    r"""The surfaces on which a network of three inputs takes the given values.

    $$S_c = \{x \in [a, b]^3 : f(x) = c\}$$

    Marching cubes finds the triangles on a grid of points; then each vertex is moved onto the
    surface along the gradient, $x \leftarrow x - (f(x) - c)\,\nabla f / \lVert\nabla f\rVert^2$.
    A level that is taken nowhere has no surface in the list.

    Args:
        model: maps (N, 3) to (N,) or (N, outputs).
        bounds: of the cube, on each axis.
        output: which of several outputs.
        resolution: points of the grid on each axis.

    Raises:
        ModuleNotFoundError: without scikit-image.

    Source: Lorensen & Cline (1987), Marching cubes: a high resolution 3D surface construction
    algorithm, SIGGRAPH; Rogozhnikov (2016), 3D visualization of a neural network,
    arogozhnikov.github.io.
    """
    marching_cubes = _marching_cubes()
    low, high = bounds
    if not low < high or resolution < 2:
        raise ValueError(
            f"level_surfaces needs bounds (low, high) with low < high and a resolution of at least "
            f"2, got {bounds} and {resolution}"
        )
    parameter = next(iter(model.parameters()), None) if isinstance(model, nn.Module) else None
    device = torch.device("cpu") if parameter is None else parameter.device
    dtype = torch.float32 if parameter is None else parameter.dtype

    def value(x: Tensor) -> Tensor:
        found = model(x)
        return found if found.ndim == 1 else found[:, output]

    axis = torch.linspace(low, high, resolution, dtype=dtype, device=device)
    training = isinstance(model, nn.Module) and model.training
    if isinstance(model, nn.Module):
        model.eval()
    try:
        with torch.no_grad():
            slabs = [value(torch.cartesian_prod(x[None], axis, axis)) for x in axis]
        volume = torch.stack(slabs).reshape(resolution, resolution, resolution).cpu().numpy()
        found = []
        for level in levels:
            if not volume.min() < level < volume.max():
                continue
            step = (high - low) / (resolution - 1)
            vertices, faces, _, _ = marching_cubes(volume, level, spacing=(step,) * 3)
            start = torch.tensor(vertices + low, dtype=dtype, device=device)
            exact = _polished(value, start, level, step)
            found.append(LevelSurface(float(level), exact.cpu().numpy(), faces.astype(np.int64)))
    finally:
        if isinstance(model, nn.Module):
            model.train(training)
    return found


def _polished(value: Callable[[Tensor], Tensor], x: Tensor, level: float, step: float) -> Tensor:
    """The vertices moved onto the surface, none by more than a cell."""
    start = x
    for _ in range(_POLISHES):
        point = x.detach().requires_grad_()
        with torch.enable_grad():
            f = value(point)
            (gradient,) = torch.autograd.grad(f.sum(), point)
        size = gradient.square().sum(1, keepdim=True)
        move = (f.detach() - level)[:, None] * gradient / size.clamp(min=1e-12)
        x = start + (x - move - start).clamp(-step, step)
    # Where the function has a kink or is flat, the way may lead astray: there keep the first.
    with torch.no_grad():
        better = (value(x) - level).abs() <= (value(start) - level).abs()
    return torch.where(better[:, None], x, start).detach()


def _marching_cubes() -> Callable[..., tuple[np.ndarray, ...]]:
    try:
        return importlib.import_module("skimage.measure").marching_cubes
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            'level_surfaces needs scikit-image; pip install "neurarium[explain]"'
        ) from error
