"""Let errors return through a layer by another way than the transposed weights, in any model."""

import contextlib
import functools
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.conv import _ConvNd

__all__ = ["OutputErrors", "Pullback", "Route", "fan_out", "layers_of", "rerouted", "transposed"]

LAYERS = (nn.Linear, _ConvNd)
_TRANSPOSING = (nn.RNNBase, nn.RNNCellBase, nn.MultiheadAttention, nn.Bilinear)

Pullback = Callable[[Tensor], Tensor]
"""Slope by a layer's input, given the slope by its output."""

Route = Callable[[str, Tensor], tuple[Tensor, Pullback]]
"""Name and input of a layer to what the error returns to (the input, perhaps padded), and how."""


def layers_of(model: nn.Module, rule: str) -> dict[str, nn.Module]:
    """The linear and convolutional layers by name.

    Raises:
        ValueError: if there are none, or a module of torch has transposed weights inside.
    """
    layers: dict[str, nn.Module] = {}
    for name, module in model.named_modules():
        if isinstance(module, _TRANSPOSING):
            raise ValueError(
                f"{rule} replaces the backward pass of linear and convolutional layers, and "
                f"module '{name}' (nn.{type(module).__name__}) multiplies by its weights itself; "
                "write it with nn.Linear, or take Backprop"
            )
        if isinstance(module, LAYERS):
            layers[name] = module
    if not layers:
        raise ValueError(
            f"{rule} replaces the backward pass of linear and convolutional layers, and this "
            f"{type(model).__name__} has none; take Backprop"
        )
    return layers


@contextlib.contextmanager
def rerouted(layers: Mapping[str, nn.Module], route: Route) -> Iterator[None]:
    """Inside, gradients by the layers' inputs are what `route` says; those by weights are exact.

    Only `forward` of the layers is exchanged, and put back however the block ends. What
    `torch.func` differentiates (the penalty TangentProp) keeps its exact derivatives; what autograd
    differentiates by the model's input (the penalty Jacobian) does not.
    """
    with contextlib.ExitStack() as stack:
        for name, layer in layers.items():
            forward = functools.partial(_forward, layer.forward, route, name)
            stack.enter_context(_exchanged(layer, forward))
        yield


@contextlib.contextmanager
def _exchanged(module: nn.Module, forward: Any) -> Iterator[None]:
    own = vars(module).get("forward")  # another tool's, where it is not the class's
    vars(module)["forward"] = forward
    try:
        yield
    finally:
        del vars(module)["forward"]
        if own is not None:
            vars(module)["forward"] = own


def _forward(forward: Any, route: Route, name: str, x: Tensor, *rest: Any, **options: Any) -> Any:
    returns = torch.is_grad_enabled() and x.requires_grad
    if not returns or torch._C._are_functorch_transforms_active():
        return forward(x, *rest, **options)
    z = forward(x.detach(), *rest, **options)
    return _Reroute.apply(z, *route(name, x))


class _Reroute(torch.autograd.Function):
    """z itself; its slope goes on to the parameters as it is, and to x by `pullback`."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, x: Tensor, pullback: Pullback) -> Tensor:
        ctx.pullback = pullback
        ctx.mark_dirty(z)  # not a view of it, so that an activation behind may work in place
        return z

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, Tensor, None]:
        return slope, ctx.pullback(slope), None


# Through the layer -------------------------------------------------------------------------------


def transposed(layer: Any, matrix: Tensor, x: Tensor) -> tuple[Tensor, Pullback]:
    """Return through a layer as if its weights were `matrix`: a linear map's transpose.

    Args:
        layer: an `nn.Linear`, a convolution or a transposed convolution.
        matrix: in the form of `layer.weight`.
        x: the layer's input.

    Returns:
        What the slope returns to, and the pullback.
    """
    if isinstance(layer, nn.Linear):
        return x, lambda slope: slope @ matrix.to(slope)
    x, padding = _padded(layer, x)
    shape = x.shape

    def pullback(slope: Tensor) -> Tensor:
        return torch.ops.aten.convolution_backward(
            slope,
            slope.new_empty(1).expand(shape),  # only its shape matters
            matrix.to(slope),
            None,
            layer.stride,
            padding,
            layer.dilation,
            layer.transposed,
            layer.output_padding,
            layer.groups,
            (True, False, False),
        )[0]

    return x, pullback


def _padded(layer: Any, x: Tensor) -> tuple[Tensor, tuple[int, ...]]:
    """The input with the padding that the convolution's own kernels cannot do, and what is left."""
    if layer.padding_mode == "zeros" and not isinstance(layer.padding, str):
        return x, layer.padding
    mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
    x = F.pad(x, layer._reversed_padding_repeated_twice, mode)
    return x, (0,) * len(layer.kernel_size)


def fan_out(layer: Any) -> float:
    """How many outputs an input reaches, on average; slopes keep their size at 1/fan_out."""
    if isinstance(layer, nn.Linear):
        return layer.out_features
    reached = math.prod(layer.kernel_size) / (1 if layer.transposed else math.prod(layer.stride))
    return layer.out_channels // layer.groups * reached


# From the output ---------------------------------------------------------------------------------


class OutputErrors:
    """Tells each layer's pullback the slope by the model's output, which is known before.

    A model may be called more than once in an evaluation; each call has its own error.

    Args:
        rule: who asks, for the errors.
    """

    def __init__(self, model: nn.Module, rule: str) -> None:
        self.model, self.rule = model, rule
        self.call = _Call()

    def watched(self) -> contextlib.AbstractContextManager[None]:
        """Inside, calls of the model are noticed."""
        return _exchanged(self.model, functools.partial(self._forward, self.model.forward))

    def _forward(self, forward: Any, *inputs: Any, **options: Any) -> Any:
        self.call = call = _Call()
        output = forward(*inputs, **options)
        if not isinstance(output, Tensor):
            raise ValueError(
                f"{self.rule} projects the slope by the model's output, which must be one tensor, "
                f"got {type(output).__name__}; return a tensor, or take mode='fa'"
            )
        if output.requires_grad:
            output.register_hook(call.take)
        return output

    def projected(
        self, name: str, x: Tensor, projection: Callable[[str, int, Tensor], Tensor]
    ) -> tuple[Tensor, Pullback]:
        """Return to `x` from the output alone.

        Args:
            name: of the layer.
            projection: from name, number of outputs and x to the matrix (outputs, features).
        """
        call = self.call
        if name in call.seen:
            raise used_twice(self.rule, name)
        call.seen.add(name)

        def pullback(slope: Tensor) -> Tensor:
            if call.error is None:
                raise ValueError(
                    f"{self.rule} projects the slope by the model's output, but the loss uses "
                    f"layer '{name}' by another way; take mode='fa'"
                )
            error = call.error.flatten(1)
            if len(error) != len(x):
                raise ValueError(
                    f"{self.rule} gives each row of a layer's input the error of its own output, "
                    f"but layer '{name}' sees {len(x)} rows where the model returns {len(error)}; "
                    "take mode='fa'"
                )
            matrix = projection(name, error.shape[1], x)
            return (error @ matrix.to(error)).view(x.shape).to(x.dtype)

        return x, pullback


class _Call:
    """One call of the model: the layers seen so far, and the slope by the output once known."""

    def __init__(self) -> None:
        self.seen: set[str] = set()
        self.error: Tensor | None = None

    def take(self, slope: Tensor) -> None:
        self.error = slope


def used_twice(rule: str, name: str) -> ValueError:
    """The error for a layer that would have two different inputs to project to."""
    return ValueError(
        f"{rule} has one projection for the input of each layer, and this model uses layer "
        f"'{name}' more than once; use it once, or take mode='fa'"
    )
