"""Paths of optimizers down a function of two variables."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from neurarium.optim import parameters

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["descent", "figure"]

Surface = Callable[[Tensor], Tensor]
"""From points (..., 2) to heights (...)."""


def descent(
    surface: Surface,
    optimizers: Mapping[str, Any] | Sequence[str],
    start: Sequence[float] = (-1.0, 1.0),
    steps: int = 100,
) -> dict[str, Tensor]:
    r"""Where each optimizer goes from one point by the exact gradient of a function.

    $$w_{t+1} = w_t - \eta\, P_t\bigl(\nabla f(w_t)\bigr), \qquad
      \text{plain descent of a quadratic converges iff } 0 < \eta < 2 / \lambda_{\max}$$

    Args:
        surface: from points of shape (..., 2) to heights of shape (...), by torch's operations.
        optimizers: names as in `optim.get` ("sgd:lr=0.1,momentum=0.9"), or functions of the
            parameters, by their labels.

    Returns:
        The path of each label, shape (steps + 1, 2) with the start first, in float64; from where a
        path is no longer finite it stays so.

    Raises:
        ValueError: if the surface does not give one height for a point.

    Source: Ruder (2016), An overview of gradient descent optimization algorithms, arXiv:1609.04747.
    """
    named = optimizers if isinstance(optimizers, Mapping) else {name: name for name in optimizers}
    return {label: _path(surface, made, start, steps) for label, made in named.items()}


def _path(surface: Surface, optimizer: Any, start: Sequence[float], steps: int) -> Tensor:
    made = parameters.get(optimizer) if isinstance(optimizer, str) else optimizer
    point = torch.tensor(start, dtype=torch.float64, requires_grad=True)
    stepper, path = made([point]), [point.detach().clone()]
    for _ in range(steps):
        height = surface(point)
        if height.ndim:
            raise ValueError(
                "surface must give one height for a point of shape (2,), got shape "
                f"{tuple(height.shape)}; index the last axis: p[..., 0]"
            )
        (point.grad,) = torch.autograd.grad(height, point)
        stepper.step()
        path.append(point.detach().clone())
    return torch.stack(path)


def figure(
    surface: Surface, paths: Mapping[str, Tensor], contours: int = 20, margin: float = 0.25
) -> "Figure":
    """Contours of the surface with each path on it, and the height over the steps.

    Args:
        contours: number of levels, at quantiles of the heights shown.
        margin: how far the map reaches beyond the points that are no higher than their start, as
            a share of their extent; what diverges leaves it.
    """
    from matplotlib.figure import Figure

    heights = {label: surface(path).detach() for label, path in paths.items()}
    shown = torch.cat([path[heights[label] <= heights[label][0]] for label, path in paths.items()])
    low, high = shown.min(0).values, shown.max(0).values
    reach = margin * (high - low).clamp(min=1e-6)
    (left, bottom), (right, top) = (low - reach).tolist(), (high + reach).tolist()
    x, y = torch.linspace(left, right, 120).double(), torch.linspace(bottom, top, 120).double()
    grid = surface(torch.stack(torch.meshgrid(x, y, indexing="xy"), -1)).detach()
    levels = grid.flatten().quantile(torch.linspace(0, 1, contours).double()).unique()

    drawn = Figure(figsize=(9, 3.6), layout="constrained")
    plane, curve = drawn.subplots(1, 2)
    plane.contour(x.numpy(), y.numpy(), grid.numpy(), levels.numpy(), cmap="Greys", alpha=0.6)
    for label, path in paths.items():
        plane.plot(*path.T.numpy(), marker=".", markersize=3, linewidth=1, label=label)
        curve.plot(heights[label].numpy(), label=label)
    plane.set(xlim=(left, right), ylim=(bottom, top), xlabel="$w_1$", ylabel="$w_2$")
    plane.legend()
    positive = all(height[0] > 0 and height.nan_to_num(1).min() > 0 for height in heights.values())
    curve.set(xlabel="step", ylabel="height", yscale="log" if positive else "linear")
    return drawn
