"""The layers that have weights, and how to write to them."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize


def weighted(model: nn.Module) -> list[Any]:
    """Linear and convolutional layers, in the order in which they were registered."""
    kinds = (nn.Linear, nn.modules.conv._ConvNd)
    return [layer for layer in model.modules() if isinstance(layer, kinds)]


@torch.no_grad()
def refill(layer: Any, fill: Callable[[Tensor], Any]) -> None:
    """Fill the weight in place; the bias, where there is one, becomes 0."""
    weight = layer.weight.detach().clone()
    fill(weight)
    assign(layer, weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


@torch.no_grad()
def assign(layer: Any, weight: Tensor) -> None:
    """Make `weight` the layer's weight."""
    if parametrize.is_parametrized(layer, "weight"):
        layer.weight = weight  # the parametrization finds the parameters that give this weight
    else:
        layer.weight.copy_(weight)


def names(model: nn.Module, layers: Iterable[nn.Module]) -> str:
    """What the model calls these layers, for messages."""
    wanted = {id(layer) for layer in layers}
    return ", ".join(name or "model" for name, m in model.named_modules() if id(m) in wanted)
