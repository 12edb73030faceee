"""Schemes that look at what a batch becomes on its way through the model."""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.nn.utils.parametrizations import _WeightNorm

from neurarium.initialization._layers import assign, names, refill, weighted
from neurarium.initialization.schemes import normal_, orthogonal_

__all__ = ["lsuv_", "weight_norm_"]


@torch.no_grad()
def lsuv_(
    model: nn.Module, batch: Tensor, tolerance: float = 0.1, max_iterations: int = 10
) -> nn.Module:
    r"""Layer-sequential unit variance: orthogonal weights, then each layer's output to variance 1.

    $$W_l \leftarrow \frac{W_l}{\sqrt{\operatorname{Var}(W_l H_{l-1})}} \quad
      \text{until } |\operatorname{Var}(W_l H_{l-1}) - 1| < \text{tolerance}$$

    In the order of the forward pass, so that each layer sees what the finished ones before it
    give; dropout is off meanwhile, and normalizations keep their running statistics. Of a layer
    used several times the first output counts. Biases become 0.

    Args:
        batch: inputs as in training, scaled in the same way; some hundred rows.

    Source: Mishkin & Matas (2016), All you need is a good init, arXiv:1511.06422.
    """
    if not tolerance > 0:
        raise ValueError(f"tolerance must be positive, got {tolerance}; the paper's is 0.1")
    with _evaluating(model):
        for layer in weighted(model):
            refill(layer, orthogonal_)
        for layer in _in_forward_order(model, batch):
            for _ in range(max_iterations):
                variance = _output(model, layer, batch).var(correction=0)
                _check(variance, model, layer)
                if abs(variance - 1) < tolerance:
                    break
                assign(layer, layer.weight / variance.sqrt())
            else:
                raise ValueError(
                    f"the outputs of layer {names(model, [layer])} have variance {variance:.3g} "
                    f"after {max_iterations} divisions; is its weight normalized by something?"
                )
    return model


@torch.no_grad()
def weight_norm_(model: nn.Module, batch: Tensor, std: float = 0.05) -> nn.Module:
    r"""Directions at random, lengths and biases so that each unit has mean 0, variance 1.

    $$v \sim N(0, \text{std}^2), \qquad t = \frac{v \cdot x}{\lVert v \rVert}, \qquad
      g = \frac{1}{\sigma[t]}, \qquad b = -\frac{\mu[t]}{\sigma[t]}$$

    Mean and deviation are over the batch and, for a convolution, the positions. Layers under
    `torch.nn.utils.parametrizations.weight_norm` keep the v they drew; the others get the weight
    g v/|v| itself. A layer without bias keeps its mean.

    Args:
        batch: inputs as in training, scaled in the same way; some hundred rows.

    Source: Salimans & Kingma (2016), Weight normalization: a simple reparameterization to
    accelerate training of deep neural networks, section 3, arXiv:1602.07868.
    """
    with _evaluating(model):
        for layer in _in_forward_order(model, batch):
            if isinstance(layer, nn.modules.conv._ConvTransposeNd):
                raise ValueError(
                    f"{names(model, [layer])} is a transposed convolution, whose units are not the "
                    "rows of its weight; initialize this model by 'lsuv'"
                )
            refill(layer, lambda weight: normal_(weight, std))
            v = layer.weight.clone()
            t = _output(model, layer, batch)
            units = t.flatten(0, -2) if isinstance(layer, nn.Linear) else _channels_last(t, layer)
            deviation, mean = torch.std_mean(units, 0, correction=0)
            _check(deviation.min(), model, layer)
            assign(layer, v / deviation.view(-1, *[1] * (v.ndim - 1)))
            if _is_weight_normalized(layer):
                layer.parametrizations.weight.original1.copy_(v)
            if layer.bias is not None:
                layer.bias.copy_(-mean / deviation)
    return model


@contextlib.contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """All modules in evaluation mode; afterwards each as it was."""
    training = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, mode in training.items():
            module.training = mode


def _in_forward_order(model: nn.Module, batch: Tensor) -> list[Any]:
    """Layers with weights as the forward pass meets them, each once."""
    met: dict[nn.Module, None] = {}
    hooks = [
        layer.register_forward_hook(lambda module, inputs, output: met.setdefault(module))
        for layer in weighted(model)
    ]
    _forward(model, batch, hooks)
    return list(met)


def _output(model: nn.Module, layer: nn.Module, batch: Tensor) -> Tensor:
    """The layer's output on the batch; of a layer used several times, the first."""
    outputs: list[Tensor] = []
    hook = layer.register_forward_hook(lambda module, inputs, output: outputs.append(output))
    _forward(model, batch, [hook])
    return outputs[0]


def _forward(model: nn.Module, batch: Tensor, hooks: list[Any]) -> None:
    try:
        model(batch)
    finally:
        for hook in hooks:
            hook.remove()


def _channels_last(t: Tensor, layer: Any) -> Tensor:
    """Positions by channels; a convolution also takes an image without a batch axis."""
    axis = t.ndim - 1 - len(layer.kernel_size)
    return t.movedim(axis, -1).flatten(0, -2)


def _check(spread: Tensor, model: nn.Module, layer: nn.Module) -> None:
    if not (spread > 0 and spread.isfinite()):
        raise ValueError(
            f"the outputs of layer {names(model, [layer])} have a spread of {float(spread)}, which "
            "no scale makes 1; give a larger or more varied batch"
        )


def _is_weight_normalized(layer: nn.Module) -> bool:
    """Whether the weight is g v/|v| with a length g for each row."""
    if not parametrize.is_parametrized(layer, "weight"):
        return False
    first = layer.parametrizations.weight[0]  # type: ignore[index, union-attr]
    return isinstance(first, _WeightNorm) and first.dim == 0
