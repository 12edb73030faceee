"""The loss along a line and over a plane through the parameters."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from neurarium.objectives import Objective
from neurarium.training.landscape.loss import LossFunction, Parameters, parameters_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Line", "Plane", "line", "plane"]

Normalize = Literal["filter", "layer"] | None


@dataclass(frozen=True)
class Line:
    """The loss at each `t`; NaN and infinity where it is not finite."""

    t: Tensor
    loss: Tensor

    @property
    def barrier(self) -> float:
        """How far the loss rises above the straight line between its two ends."""
        share = (self.t - self.t[0]) / (self.t[-1] - self.t[0])
        return float((self.loss - torch.lerp(self.loss[0], self.loss[-1], share)).max())

    def plot(self) -> "Figure":
        """Loss against t."""
        from matplotlib.figure import Figure

        figure = Figure(figsize=(5, 3.2), layout="constrained")
        axes = figure.add_subplot(xlabel="t", ylabel="loss")
        axes.plot(self.t.numpy(), _finite(self.loss))
        return figure


@dataclass(frozen=True)
class Plane:
    """The loss at each `loss[i, j]`, which is at `x[j]`, `y[i]`.

    Attributes:
        path: where the points of the trajectory lie, (points, 2), if there was one.
        explained: the shares of the trajectory's variance along x and y.
    """

    x: Tensor
    y: Tensor
    loss: Tensor
    path: Tensor | None = None
    explained: Tensor | None = None

    def plot(self) -> "Figure":
        """Contours of the loss, spaced evenly in its logarithm; blank where it is not finite."""
        import numpy as np
        from matplotlib.figure import Figure

        figure = Figure(figsize=(5, 4.2), layout="constrained")
        axes = figure.add_subplot(xlabel="first direction", ylabel="second direction")
        loss = np.ma.masked_invalid(self.loss.numpy())
        if loss.count():
            low, high = loss.min(), loss.max()
            norm = "linear" if low <= 0 else "log"
            even = (np.linspace if low <= 0 else np.geomspace)(low, high, 30)
            levels = np.unique(even) if high > low else [low, low + 1]
            filled = axes.contourf(
                self.x.numpy(), self.y.numpy(), loss, levels, norm=norm, extend="both"
            )
            figure.colorbar(filled, label="loss", format="%.3g")
        if self.path is not None:
            axes.plot(*self.path.T.numpy(), ".-", color="black", linewidth=0.8)
        return figure


def line(
    model: nn.Module,
    objective: Objective,
    data: Any,
    to: nn.Module | Mapping[str, Tensor] | None = None,
    *,
    span: tuple[float, float] | None = None,
    points: int = 51,
    normalize: Normalize = "filter",
    split: str = "train",
    batch_size: int = 1024,
    seed: int = 0,
) -> Line:
    r"""The loss along a random direction, or along the straight line to another network.

    $$f(t) = L(\theta + t\,\delta), \qquad
      \delta_{ij} \leftarrow \frac{\delta_{ij}}{\lVert\delta_{ij}\rVert}\,
      \lVert\theta_{ij}\rVert \text{ for filter } j \text{ of layer } i$$

    Filter normalization gives each filter of the random direction the norm of the network's own,
    and biases and normalizations no part of it; rescaling a rectifier network's layers then
    leaves the curve as it is, and two networks can be compared. Towards another network,
    $f(0)$ and $f(1)$ are the two losses: running statistics are interpolated with the weights.

    The model is judged in evaluation mode and is afterwards as it was.

    Args:
        data: a `Data`, of which `split` is taken, or rows as `Data` takes them.
        to: another network of this form, or its state dict.
        span: range of t; (-1, 1), or (0, 1) towards another network.
        normalize: "filter", "layer" (one norm for a whole weight tensor) or None.
        seed: of the direction.

    Source: Li, Xu, Taylor, Studer & Goldstein (2018), Visualizing the loss landscape of neural
    nets, arXiv:1712.09913; the line to another network: Goodfellow, Vinyals & Saxe (2015),
    arXiv:1412.6544.
    """
    loss = LossFunction(model, objective, data, split, batch_size)
    if to is None:
        (direction,) = _directions(loss.parameters, 1, normalize, seed)
        buffers = None
    else:
        direction, buffers = _difference(model, parameters_of(to), loss)
    t = _grid(*(span or ((-1.0, 1.0) if to is None else (0.0, 1.0))), points)
    with loss.active():
        values = [
            loss(
                _moved(loss.parameters, [direction], [s]),
                None if buffers is None else _moved(loss.buffers, [buffers], [s]),
            )
            for s in t.tolist()
        ]
    return Line(t, torch.tensor(values, dtype=torch.float64))


def plane(
    model: nn.Module,
    objective: Objective,
    data: Any,
    trajectory: Sequence[nn.Module | Mapping[str, Tensor]] | None = None,
    *,
    span: float | None = None,
    points: int = 21,
    normalize: Normalize = "filter",
    split: str = "train",
    batch_size: int = 1024,
    seed: int = 0,
) -> Plane:
    r"""The loss over two random directions, or over the plane that a training run moved in.

    $$f(\alpha, \beta) = L(\theta + \alpha\,\delta + \beta\,\eta)$$

    Random directions are normalized as in `line`. Of a trajectory $\delta$ and $\eta$ are the two
    principal components, of length 1; they say how much of its variance they explain. Three
    networks span their own plane: `trajectory=[a, between, b]`.

    Args:
        trajectory: networks of this form, or their state dicts, such as one an epoch.
        span: the plane reaches from -span to span; 1, or as far as the trajectory and a fifth
            further.

    Source: Li, Xu, Taylor, Studer & Goldstein (2018), Visualizing the loss landscape of neural
    nets, arXiv:1712.09913.
    """
    loss = LossFunction(model, objective, data, split, batch_size)
    path = explained = None
    if trajectory is None:
        first, second = _directions(loss.parameters, 2, normalize, seed)
    else:
        first, second, path, explained = _principal(trajectory, loss.parameters)
    if span is not None or path is None:
        reach = torch.tensor([[-1.0, -1.0], [1.0, 1.0]]).double() * (1.0 if span is None else span)
    else:
        low, high = path.amin(0).clamp(max=0), path.amax(0).clamp(min=0)
        margin = 0.2 * (high - low).clamp(min=1e-3 * float((high - low).max()))
        reach = torch.stack([low - margin, high + margin])
    x, y = (_grid(low, high, points) for low, high in reach.T.tolist())
    with loss.active():
        values = [
            [loss(_moved(loss.parameters, [first, second], [a, b])) for a in x.tolist()]
            for b in y.tolist()
        ]
    return Plane(x, y, torch.tensor(values, dtype=torch.float64), path, explained)


def _grid(low: float, high: float, points: int) -> Tensor:
    """Even spacing that meets the middle exactly, where torch.linspace misses 0 by rounding."""
    if points < 2:
        raise ValueError(f"points must be at least 2, got {points}; 51 make a smooth line")
    return low + (high - low) * (torch.arange(points, dtype=torch.float64) / (points - 1))


def _directions(
    parameters: Parameters, count: int, normalize: Normalize, seed: int
) -> list[dict[str, Tensor]]:
    if normalize not in ("filter", "layer", None):
        raise ValueError(f"normalize must be 'filter', 'layer' or None, got {normalize!r}")
    if normalize is not None and all(p.ndim < 2 for p in parameters.values()):
        raise ValueError(
            "every parameter of the model is a vector, which normalized directions leave out; "
            "pass normalize=None"
        )
    generator = torch.Generator().manual_seed(seed)
    return [
        {name: _direction(p, normalize, generator) for name, p in parameters.items()}
        for _ in range(count)
    ]


def _direction(parameter: Tensor, normalize: Normalize, generator: torch.Generator) -> Tensor:
    random = torch.randn(parameter.shape, generator=generator).to(parameter)
    if normalize is None:
        return random
    if parameter.ndim < 2:  # a bias, or a scale or shift of a normalization
        return torch.zeros_like(parameter)
    rows = (parameter.shape[0] if normalize == "filter" else 1, -1)
    norms = parameter.reshape(rows).norm(dim=1, keepdim=True)
    scaled = random.reshape(rows) / random.reshape(rows).norm(dim=1, keepdim=True) * norms
    return scaled.reshape(parameter.shape)


def _moved(
    point: Parameters, directions: Sequence[Parameters], amounts: Sequence[float]
) -> dict[str, Tensor]:
    moved = dict(point)
    for direction, amount in zip(directions, amounts, strict=True):
        for name, delta in direction.items():
            moved[name] = moved[name] + amount * delta
    return moved


def _difference(
    model: nn.Module, other: Parameters, loss: LossFunction
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """From the model to `other`: parameters, and those buffers that are averages."""
    here = parameters_of(model)
    names = [name for name, _ in model.named_parameters()]
    wrong = [n for n in names if n not in other or other[n].shape != here[n].shape]
    if wrong:
        raise ValueError(
            f"the other network must have this one's form, but {wrong[0]!r} is missing there or "
            "has another shape"
        )
    delta = {
        name: other[name].to(value) - value
        for name, value in here.items()
        if name in other and value.is_floating_point()
    }
    loss.parameters = {name: here[name] for name in names}  # frozen ones differ too
    buffers = {name: delta.pop(name) for name in loss.buffers if name in delta}
    return delta, buffers


def _principal(
    trajectory: Sequence[nn.Module | Parameters], point: Parameters
) -> tuple[dict[str, Tensor], dict[str, Tensor], Tensor, Tensor]:
    if len(trajectory) < 3:
        raise ValueError(
            f"trajectory needs at least 3 networks to span a plane, got {len(trajectory)}"
        )
    offsets = torch.stack(
        [
            torch.cat([(there[name] - p).flatten().double() for name, p in point.items()])
            for there in map(parameters_of, trajectory)
        ]
    )
    _, singular, components = torch.linalg.svd(offsets - offsets.mean(0), full_matrices=False)
    variance = singular.square()
    if not variance[0] > 0:
        raise ValueError("the networks of the trajectory are all the same; nothing spans a plane")
    sizes = [p.numel() for p in point.values()]
    directions = [
        {
            name: part.reshape(p.shape).to(p)
            for (name, p), part in zip(point.items(), component.split(sizes), strict=True)
        }
        for component in components[:2]
    ]
    path = (offsets @ components[:2].T).cpu()
    return *directions, path, (variance[:2] / variance.sum()).cpu()


def _finite(loss: Tensor) -> Any:
    import numpy as np

    return np.ma.masked_invalid(loss.numpy())
