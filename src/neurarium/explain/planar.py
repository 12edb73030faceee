"""What a network makes of a plane: its decision regions, and the plane bent by each layer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from neurarium.data import Data, Resident

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["HiddenView", "Planar", "planar"]

_LINES = 21  # grid lines of the hidden views in each direction
_MARGIN = 0.1
_COLORS = "tab10"


@dataclass(frozen=True)
class HiddenView:
    """The plane as two units of a layer see it.

    Args:
        grid: images of the grid's crossings, row by row.
        points: images of the data's points.
        axes: what the two coordinates are: "unit 0", or "component 1" of the points' scatter.
    """

    layer: str
    grid: Float[np.ndarray, "lines columns 2"]
    points: Float[np.ndarray, "points 2"]
    axes: tuple[str, str]


@dataclass(frozen=True)
class Planar:
    """A network on a plane of its inputs.

    Args:
        x: coordinates of the columns of pixels.
        y: coordinates of the rows of pixels, from below.
        outputs: of the network at each pixel's centre.
        classes: the decision at each pixel; of a single output, whether it is above the threshold.
        points: the data, in the plane's coordinates.
        targets: of the points, None if unknown.
        views: the hidden layers, by name.
    """

    x: Float[np.ndarray, " columns"]
    y: Float[np.ndarray, " rows"]
    outputs: Float[np.ndarray, "rows columns outputs"]
    classes: Int[np.ndarray, "rows columns"]
    points: Float[np.ndarray, "points 2"]
    targets: np.ndarray | None
    views: Mapping[str, HiddenView]

    def plot(self) -> "Figure":
        """Decision regions with the points, then the plane as each hidden layer sees it."""
        from matplotlib.figure import Figure

        panels = 1 + len(self.views)
        figure = Figure(figsize=(4 * panels, 3.8), layout="constrained")
        first, *others = np.atleast_1d(figure.subplots(1, panels))
        self.plot_regions(first)
        first.set_title("decision regions")
        for axes, view in zip(others, self.views.values(), strict=True):
            self.plot_view(axes, view)
            axes.set_title(view.layer)
        return figure

    def plot_regions(self, axes: "Axes") -> None:
        """Draw the decision regions and the points."""
        from matplotlib import colormaps

        colors = colormaps[_COLORS]
        shown = 0.45 * np.asarray(colors(self.classes % 10))[..., :3] + 0.55
        half = (self.x[1] - self.x[0]) / 2, (self.y[1] - self.y[0]) / 2
        ends = (
            self.x[0] - half[0], self.x[-1] + half[0], self.y[0] - half[1], self.y[-1] + half[1],
        )  # fmt: skip
        axes.imshow(shown, origin="lower", extent=ends, aspect="auto", interpolation="nearest")
        self._scatter(axes, self.points)
        axes.set(xlim=ends[:2], ylim=ends[2:])

    def plot_view(self, axes: "Axes", view: HiddenView) -> None:
        """Draw the grid and the points as a hidden layer sees them."""
        for lines in (view.grid, view.grid.swapaxes(0, 1)):
            for line in lines:
                axes.plot(*line.T, color="0.7", lw=0.7, zorder=1)
        self._scatter(axes, view.points)
        axes.set(xlabel=view.axes[0], ylabel=view.axes[1])

    def _scatter(self, axes: "Axes", points: np.ndarray) -> None:
        if self.targets is None or self.targets.dtype.kind == "f":
            axes.scatter(points[:, 0], points[:, 1], s=9, c="black", zorder=2)
            return
        from matplotlib import colormaps

        colors = colormaps[_COLORS](self.targets.astype(int) % 10)
        axes.scatter(
            points[:, 0], points[:, 1], s=11, c=colors, edgecolors="white", linewidths=0.3, zorder=2
        )


@torch.no_grad()
def planar(
    model: nn.Module,
    data: Any = None,
    *,
    bounds: tuple[float, float, float, float] | None = None,
    resolution: int = 200,
    plane: tuple[Tensor, Tensor, Tensor] | None = None,
    layers: Sequence[str] | None = None,
    units: tuple[int, int] | None = None,
    threshold: float = 0.0,
    rows: int = 1000,
) -> Planar:
    r"""Decision regions of a network on a plane, and the plane as its hidden layers see it.

    $$c(s, t) = \arg\max_k f_k(o + s u + t v), \qquad
      (s, t) \mapsto h_l(o + s u + t v) \in \mathbb{R}^2$$

    A network of two inputs is shown on all of its input space. A layer of two units maps the grid
    to a bent grid: a smooth one-to-one activation with an invertible matrix can only stretch and
    fold it, never tear it, so rings inside each other stay so. Of wider layers two units are
    shown, or the two principal components of the points.

    Args:
        data: the points to draw, and what scales them: a `Data` (its training rows), a pair (x, y)
            or inputs.
        bounds: left, right, bottom and top of the plane; by default around the points.
        plane: three inputs whose plane is shown, for networks of other than two inputs; the first
            is its origin, and its axes are made perpendicular and of the input's own scale.
        layers: names of the modules to look into; by default those with two outputs, except the
            last.
        units: of the layers, which two; by default both of two, else principal components.
        threshold: of a single output, where the decision changes; 0.5 for probabilities.
        rows: at most so many points.

    Raises:
        ValueError: if the inputs are not two numbers and no plane is given, or if nothing tells
            the bounds.

    Source: Karpathy (2014), ConvNetJS; Olah (2014), Neural Networks, Manifolds, and Topology,
    colah.github.io.
    """
    inputs, targets, transform = _points(data, rows)
    origin, axes, points = _plane(inputs, plane)
    left, right, bottom, top = bounds or _around(points)
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    shape = origin.shape

    def embed(coordinates: Tensor) -> Tensor:
        flat = origin.flatten() + coordinates.float() @ axes
        placed = flat.reshape(-1, *shape).to(device)
        return placed if transform is None else transform.to(device)(placed)

    with _evaluating(model):
        x = _centres(left, right, resolution)
        y = _centres(bottom, top, resolution)
        outputs = model(embed(_grid(x, y))).float().cpu()
        outputs = outputs.reshape(resolution, resolution, -1)
        decided = outputs.argmax(2) if outputs.shape[2] > 1 else outputs[..., 0] > threshold
        s, t = torch.linspace(left, right, _LINES), torch.linspace(bottom, top, _LINES)
        # The points themselves, not their shadows on the plane.
        own = None if inputs is None else inputs.to(device)
        own = own if own is None or transform is None else transform.to(device)(own)
        views = _views(model, embed(_grid(s, t)), own, layers, units)
    return Planar(
        x.numpy(),
        y.numpy(),
        outputs.numpy(),
        decided.long().numpy(),
        points.numpy(),
        None if targets is None else targets.cpu().numpy(),
        views,
    )


def _points(data: Any, rows: int) -> tuple[Tensor | None, Tensor | None, nn.Module | None]:
    if data is None:
        return None, None, None
    data = data if isinstance(data, Data) else Data(data)
    if isinstance(data.train, Resident):
        batch = data.train.head(rows).tensors
    else:
        batch = next(iter(data.train.batches(rows)))
    return batch["input"][:rows].float(), batch.get("target"), data.transform


def _plane(
    inputs: Tensor | None, plane: tuple[Tensor, Tensor, Tensor] | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Origin, two axes of length 1, and the points in their coordinates."""
    if plane is None:
        if inputs is not None and inputs[0].numel() != 2:
            raise ValueError(
                f"planar shows networks of two inputs, these have {tuple(inputs.shape[1:])}; "
                "pass plane=(a, b, c), three inputs whose plane to show"
            )
        origin = torch.zeros(2) if inputs is None else torch.zeros_like(inputs[0])
        flat = torch.zeros(0, 2) if inputs is None else inputs.flatten(1)
        return origin, torch.eye(2), flat.cpu()
    a, b, c = (corner.detach().float().cpu() for corner in plane)
    axes, triangle = torch.linalg.qr(torch.stack([(b - a).flatten(), (c - a).flatten()], 1))
    if triangle.diagonal().abs().min() < 1e-6 * triangle.abs().max():
        raise ValueError("the three inputs of plane lie on a line; choose others")
    axes = (axes * triangle.diagonal().sign()).T  # towards b and c, not away from them
    return a, axes, torch.stack([(p - a).flatten() @ axes.T for p in (a, b, c)])


def _around(points: Tensor) -> tuple[float, float, float, float]:
    if not len(points):
        raise ValueError("without points nothing tells how far to look; pass data or bounds")
    low, high = points.amin(0), points.amax(0)
    margin = _MARGIN * (high - low).clamp(min=1e-6)
    (left, bottom), (right, top) = (low - margin).tolist(), (high + margin).tolist()
    return left, right, bottom, top


def _centres(low: float, high: float, count: int) -> Tensor:
    return low + (high - low) * (torch.arange(count) + 0.5) / count


def _grid(x: Tensor, y: Tensor) -> Tensor:
    """All pairs (x, y), row by row from below."""
    rows, columns = torch.meshgrid(y, x, indexing="ij")
    return torch.stack([columns.flatten(), rows.flatten()], 1)


def _views(
    model: nn.Module,
    grid: Tensor,
    points: Tensor | None,
    layers: Sequence[str] | None,
    units: tuple[int, int] | None,
) -> dict[str, HiddenView]:
    on_grid = _outputs(model, grid, layers)
    on_points = {} if points is None else _outputs(model, points, layers)
    if layers is None:
        wanted = [name for name, h in on_grid.items() if h.shape[1] == 2][: len(on_grid)]
        last = list(on_grid)[-1:]
        wanted = [name for name in wanted if name not in last]
    else:
        missing = [name for name in layers if name not in on_grid]
        if missing:
            raise ValueError(f"no layer is called {missing[0]!r}, only {', '.join(on_grid)}")
        wanted = list(layers)
    found = {}
    for name in wanted:
        h, p = on_grid[name], on_points.get(name, on_grid[name][:0])
        shown, names = _two(h, p, units)
        bent = shown(h).reshape(_LINES, _LINES, 2).numpy()
        found[name] = HiddenView(name, bent, shown(p).numpy(), names)
    return found


def _outputs(model: nn.Module, inputs: Tensor, layers: Sequence[str] | None) -> dict[str, Tensor]:
    """What each module without parts (or that is asked for) gives, one row each."""
    found: dict[str, Tensor] = {}

    def listen(name: str) -> Any:
        def hook(module: nn.Module, given: Any, output: Any) -> None:
            if isinstance(output, Tensor) and len(output) == len(inputs) and output.ndim > 1:
                found[name] = output.detach().float().cpu().flatten(1)

        return hook

    parts = [
        (name, module)
        for name, module in model.named_modules()
        if name in (layers or ()) or not any(module.children())
    ]
    hooks = [module.register_forward_hook(listen(name)) for name, module in parts]
    try:
        model(inputs)
    finally:
        for hook in hooks:
            hook.remove()
    return found


def _two(grid: Tensor, points: Tensor, units: tuple[int, int] | None) -> Any:
    """A function that gives two coordinates of each row, and their names."""
    if units is None and grid.shape[1] == 2:
        units = (0, 1)
    if units is not None:
        chosen = list(units)
        return lambda h: h[:, chosen], (f"unit {units[0]}", f"unit {units[1]}")
    sample = points if len(points) > 2 else grid
    mean = sample.mean(0)
    _, _, directions = torch.linalg.svd(sample - mean, full_matrices=False)
    return lambda h: (h - mean) @ directions[:2].T, ("component 1", "component 2")


class _evaluating:
    """Evaluation mode within, each module's own mode afterwards."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model

    def __enter__(self) -> None:
        self.modes = {module: module.training for module in self.model.modules()}
        self.model.eval()

    def __exit__(self, *error: object) -> None:
        for module, mode in self.modes.items():
            module.training = mode
