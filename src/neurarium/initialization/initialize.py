"""From the name of a scheme to a whole model's weights."""

import functools
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from neurarium import _names
from neurarium.initialization import data_driven, residual, schemes
from neurarium.initialization._layers import refill, weighted

__all__ = ["init_"]


def init_(
    model: nn.Module,
    scheme: str | Callable[..., Any],
    activation: Any = None,
    batch: Tensor | None = None,
) -> nn.Module:
    r"""Fill the weights of all linear and convolutional layers by `scheme`; biases become 0.

    $$W \sim \text{scheme}, \qquad b = 0$$

    Args:
        scheme: a name, with arguments if need be ("normal:std=0.01"), or a function that fills
            a tensor in place.
        activation: what follows the layers, for schemes that take it into account ("kaiming").
        batch: input of the model, for schemes that look at it ("lsuv", "weight_norm").

    Source: Glorot & Bengio (2010), Understanding the difficulty of training deep feedforward
    neural networks, AISTATS.
    """
    fill = _names.resolve(scheme, _schemes(), "initialization")
    function = fill.func if isinstance(fill, functools.partial) else fill
    if function in _of(data_driven):
        if batch is None:
            name = function.__name__.removesuffix("_")
            raise ValueError(
                f"{name!r} measures the layers' outputs; give init_ a batch of training inputs"
            )
        return fill(model, batch)
    if function in _of(residual):
        return fill(model)
    if activation is not None and function is schemes.kaiming_ and not _has(fill, "activation"):
        fill = functools.partial(fill, activation=activation)
    for layer in weighted(model):
        refill(layer, fill)
        if layer.bias is not None and function is schemes.nielsen_:
            # The book's chapter 1 draws biases like weights; everyone else starts at 0.
            schemes.nielsen_(layer.bias)
    return model


def _schemes() -> dict[str, Callable[..., Any]]:
    modules = (schemes, data_driven, residual)
    functions = [f for module in modules for f in _of(module) if f is not schemes.gain]
    return {function.__name__.removesuffix("_"): function for function in functions}


def _of(module: Any) -> list[Callable[..., Any]]:
    return [getattr(module, name) for name in module.__all__]


def _has(fill: Any, argument: str) -> bool:
    return isinstance(fill, functools.partial) and argument in fill.keywords
