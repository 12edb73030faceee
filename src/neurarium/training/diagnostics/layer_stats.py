"""One collector of what passes through a network's layers, forward and backward."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from neurarium import activations

__all__ = ["ActivationRecord", "LayerRecord", "LayerStats"]

SATURATED = 0.01  # slopes below it let next to nothing through

_MIXING = (nn.Softmax, nn.LogSoftmax, nn.Softmin, nn.Softmax2d, nn.GLU, nn.MultiheadAttention)
_FUNCTIONAL: dict[Callable[..., Any], Callable[..., Tensor]] = {
    **{f: torch.relu for f in (torch.relu, torch.relu_, F.relu, F.relu_)},
    **{f: torch.relu for f in (Tensor.relu, Tensor.relu_)},
    **{f: torch.sigmoid for f in (torch.sigmoid, F.sigmoid, Tensor.sigmoid, Tensor.sigmoid_)},
    **{f: torch.tanh for f in (torch.tanh, F.tanh, Tensor.tanh, Tensor.tanh_)},
    **{
        f: f
        for f in (F.celu, F.elu, F.gelu, F.hardsigmoid, F.hardswish, F.hardtanh, F.leaky_relu,
                  F.logsigmoid, F.mish, F.relu6, F.selu, F.silu, F.softplus, F.softsign)
    },
}  # fmt: skip


@dataclass
class Moments:
    """Mean and standard deviation of all values seen, and likewise of each column."""

    count: int = 0
    total: Tensor | None = None  # of each column
    squares: Tensor | None = None

    def add(self, value: Tensor, axis: int) -> None:
        columns = value.detach().movedim(axis, -1).reshape(-1, value.shape[axis]).double()
        total, squares = columns.sum(0), columns.square().sum(0)
        self.total = total if self.total is None else self.total + total
        self.squares = squares if self.squares is None else self.squares + squares
        self.count += len(columns)

    @property
    def column_rms(self) -> Tensor:
        """Root mean square of each column."""
        assert self.squares is not None
        return (self.squares / self.count).sqrt()

    @property
    def rms(self) -> float:
        return float(self.column_rms.square().mean().sqrt())

    @property
    def mean(self) -> float:
        assert self.total is not None
        return float(self.total.mean() / self.count)

    @property
    def std(self) -> float:
        return math.sqrt(max(self.rms**2 - self.mean**2, 0.0))


@dataclass
class LayerRecord:
    """A layer with a weight matrix or kernel: what went in and out, and the errors that came back.

    Attributes:
        delta_squares: sum of the squares of the loss's gradient with respect to the output.
        normalized: whether a normalization came between the layer before and this one.
    """

    name: str
    module: nn.Module
    input: Moments = field(default_factory=Moments)
    output: Moments = field(default_factory=Moments)
    delta_squares: float = 0.0
    calls: int = 0
    normalized: bool = False

    @property
    def delta(self) -> float:
        """Norm of the loss's gradient with respect to the layer's output."""
        return math.sqrt(self.delta_squares)

    @property
    def weights(self) -> list[nn.Parameter]:
        """The layer's own weights, without its biases."""
        return [p for p in self.module.parameters() if p.ndim > 1]


@dataclass
class ActivationRecord:
    """An elementwise activation, after the layer `after`: how each unit's slope behaved.

    Attributes:
        largest_slope: for each unit, the largest size of the slope over all rows and places.
        flat: for each unit, how often the slope was exactly 0.
        saturated: for each unit, how often the slope's size was below 0.01.
        rows: rows and places seen.
        squashing: whether the function flattens on both sides, as the sigmoid does.
        last: whether no layer with weights came after it.
    """

    name: str
    function: Callable[[Tensor], Tensor]
    after: str
    largest_slope: Tensor | None = None
    flat: Tensor | None = None
    saturated: Tensor | None = None
    rows: int = 0
    squashing: bool = False
    last: bool = True
    output: Moments = field(default_factory=Moments)

    def add(self, slopes: Tensor, axis: int) -> None:
        units = slopes.movedim(axis, -1).reshape(-1, slopes.shape[axis]).abs()
        largest = units.amax(0)
        flat, saturated = (units == 0).sum(0), (units < SATURATED).sum(0)
        if self.largest_slope is None or self.flat is None or self.saturated is None:
            self.largest_slope, self.flat, self.saturated = largest, flat, saturated
        else:
            self.largest_slope = torch.maximum(self.largest_slope, largest)
            self.flat, self.saturated = self.flat + flat, self.saturated + saturated
        self.rows += len(units)

    @property
    def saturation(self) -> float:
        """Share of the values whose slope is below 0.01."""
        assert self.saturated is not None
        return float(self.saturated.sum()) / (self.rows * len(self.saturated))


class LayerStats:
    r"""Listens to every layer of a network while it is used, and leaves it as it was.

    $$z_l = W_l a_{l-1} + b_l, \qquad a_l = \varphi(z_l), \qquad
      \delta_l = \frac{\partial L}{\partial z_l}$$

    A context manager. Any module with a weight of two or more axes is a layer (embeddings and
    normalizations are not); activations are recognised as modules and as calls of
    `torch.nn.functional`. Layers come in the order in which they are first used; one that is used
    several times adds up.

    Args:
        slopes: whether to measure the slopes $\varphi'(z_l)$, which takes about as long again as
            the activations themselves.

    Attributes:
        layers: by name, a `LayerRecord` each.
        activations: by name, an `ActivationRecord` each.

    Source: Glorot & Bengio (2010), Understanding the difficulty of training deep feedforward
    neural networks, AISTATS (which watches the same quantities).
    """

    def __init__(self, model: nn.Module, slopes: bool = True) -> None:
        self.model, self.slopes = model, slopes
        self.layers: dict[str, LayerRecord] = {}
        self.activations: dict[str, ActivationRecord] = {}
        self._hooks: list[Any] = []
        self._inside: list[tuple[str, nn.Module]] = []
        self._latest: LayerRecord | None = None
        self._normalized = self._busy = False
        self._mode = _FunctionalActivations(self)

    def __enter__(self) -> "LayerStats":
        for name, module in self.model.named_modules():
            before = module.register_forward_pre_hook(self._before(name), with_kwargs=False)
            after = module.register_forward_hook(self._after(name), always_call=True)
            self._hooks += [before, after]
        self._mode.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._mode.__exit__(kind, error, at)
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()
        self._inside.clear()

    def _before(self, name: str) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: tuple[Any, ...]) -> None:
            self._inside.append((name, module))
            if not inputs or not isinstance(inputs[0], Tensor) or self._busy:
                return
            if is_activation(module):
                # Before the call: an in-place activation overwrites its input.
                self._see_activation(name, module.forward, inputs[0])
            elif is_layer(module) and inputs[0].is_floating_point():
                self._see_input(name, module, inputs[0])

        return hook

    def _after(self, name: str) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
            if self._inside and self._inside[-1][1] is module:
                self._inside.pop()
            if not isinstance(output, Tensor) or self._busy:
                return
            if is_activation(module):
                if name in self.activations:
                    self.activations[name].output.add(output, self._axis(output))
            elif is_layer(module):
                self._see_output(name, output)
            elif _is_normalization(module):
                self._normalized = True

        return hook

    def _see_input(self, name: str, module: nn.Module, value: Tensor) -> None:
        record = self.layers.setdefault(name, LayerRecord(name, module))
        record.normalized = self._normalized
        axis = 1 if isinstance(module, nn.modules.conv._ConvNd) else -1
        record.input.add(value, axis)
        for activation in self.activations.values():
            activation.last = False

    def _see_output(self, name: str, output: Tensor) -> None:
        record = self.layers.get(name)
        if record is None:
            return
        record.calls += 1
        self._latest, self._normalized = record, False
        record.output.add(output, self._axis(output))
        if output.requires_grad:

            def collect(gradient: Tensor) -> None:
                record.delta_squares += float(gradient.double().square().sum())

            output.register_hook(collect)

    def _see_activation(self, name: str, function: Callable[..., Tensor], z: Tensor) -> None:
        if not z.is_floating_point() or z.ndim < 2:
            return
        record = self.activations.get(name)
        self._busy = True  # what follows are not calls of the network
        try:
            if record is None:
                after = self._latest.name if self._latest else "the input"
                record = self.activations[name] = ActivationRecord(name, function, after)
                far = torch.tensor([[-50.0], [50.0]], dtype=z.dtype, device=z.device)
                record.squashing = bool((_slope(function, _wide(far, z)).abs() < SATURATED).all())
            if self.slopes:
                record.add(_slope(function, z), self._axis(z))
        finally:
            self._busy = False
        record.last = True

    def _axis(self, value: Tensor) -> int:
        """Where the units are: channels after convolutions, else the last axis."""
        convolution = self._latest and isinstance(self._latest.module, nn.modules.conv._ConvNd)
        return 1 if value.ndim > 3 or (convolution and value.ndim == 3) else -1


class _FunctionalActivations(TorchFunctionMode):
    """Tells of `F.relu(x)` and its like where they are no part of an activation module."""

    def __init__(self, stats: LayerStats) -> None:
        super().__init__()
        self.stats = stats

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        stats = self.stats
        known = _FUNCTIONAL.get(func)
        z = args[0] if args else kwargs.get("input")
        if known is None or stats._busy or not stats._inside or not isinstance(z, Tensor):
            return func(*args, **kwargs)
        if any(is_activation(module) for _, module in stats._inside):
            return func(*args, **kwargs)
        options = {k: v for k, v in kwargs.items() if k not in ("input", "inplace")}
        after = stats._latest.name if stats._latest else stats._inside[-1][0]
        name = f"{after or 'model'}.{getattr(known, '__name__', 'activation')}"
        stats._see_activation(name, lambda x: known(x, *args[1:2], **options), z)
        output = func(*args, **kwargs)
        if name in stats.activations:
            stats.activations[name].output.add(output, stats._axis(output))
        return output


def is_layer(module: nn.Module) -> bool:
    """Whether the module has a weight of two or more axes and maps numbers by it."""
    weight = getattr(module, "weight", None)
    lookup = isinstance(module, nn.Embedding | nn.EmbeddingBag) or _is_normalization(module)
    return isinstance(weight, Tensor) and weight.ndim > 1 and not lookup


def is_activation(module: nn.Module) -> bool:
    """Whether the module is an elementwise activation."""
    if isinstance(module, activations.Activation):
        return module.function not in (activations.softmax, activations.maxout, activations.glu)
    if isinstance(module, activations.Swish):
        return True
    known = type(module).__module__ == "torch.nn.modules.activation"
    return known and not isinstance(module, _MIXING)


def _is_normalization(module: nn.Module) -> bool:
    kinds = (nn.modules.batchnorm._NormBase, nn.GroupNorm, nn.LayerNorm, nn.RMSNorm)
    return isinstance(module, (*kinds, nn.LocalResponseNorm))


def _slope(function: Callable[..., Tensor], z: Tensor) -> Tensor:
    """The slope of an elementwise function at each value."""
    with torch.enable_grad():
        point = z.detach().requires_grad_()
        output = function(point * 1)  # a copy, for functions that work in place
        if not output.requires_grad:  # a threshold
            return torch.zeros_like(z)
        (slope,) = torch.autograd.grad(output.sum(), point)
    return slope


def _wide(far: Tensor, like: Tensor) -> Tensor:
    """The two points as rows of the form of `like`; slopes may differ between its channels."""
    return far.reshape(2, *[1] * (like.ndim - 1)).expand(2, *like.shape[1:])
