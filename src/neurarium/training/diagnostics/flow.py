"""How the error signal fares on its way back through the layers."""

import contextlib
import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from neurarium.data.splits import as_batch
from neurarium.learning.rule import value_of
from neurarium.objectives import Objective
from neurarium.training import randomness
from neurarium.training.diagnostics.layer_stats import LayerStats

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["GradientFlow", "LayerFlow", "gradient_flow"]


@dataclass(frozen=True)
class LayerFlow:
    """One layer of a `GradientFlow`.

    Args:
        weight_gradient: norm of the loss's gradient with respect to the weights.
        delta: norm of the loss's gradient with respect to the layer's output.
        ratio: `delta` over that of the next layer; NaN for the last.
        saturation: share of the following activation's slopes below 0.01; NaN without one.
        mean: of the layer's outputs.
        std: of the layer's outputs.
    """

    name: str
    weight_gradient: float
    delta: float
    ratio: float
    saturation: float
    mean: float
    std: float


@dataclass(frozen=True)
class GradientFlow:
    """The error signal layer by layer, from the input on.

    Args:
        loss: of the batch.
        layers: in the order in which the network uses them.
    """

    loss: float
    layers: Sequence[LayerFlow]

    @property
    def reach(self) -> float:
        """The first layer's error signal over the last's; NaN for fewer than two layers."""
        if len(self.layers) < 2 or not self.layers[-1].delta:
            return math.nan
        return self.layers[0].delta / self.layers[-1].delta

    @property
    def rate(self) -> float:
        """Mean factor of one layer: the geometric mean of the ratios."""
        return self.reach ** (1 / (len(self.layers) - 1)) if len(self.layers) > 1 else math.nan

    def verdict(self, least: float = 1e-3, most: float = 1e3) -> str:
        """One of "vanishing", "exploding", "healthy", by what reaches the first layer."""
        if self.reach < least:
            return "vanishing"
        return "exploding" if self.reach > most else "healthy"

    def plot(self) -> "Figure":
        """Norms of the error signals and of the weights' gradients over the layers."""
        from matplotlib.figure import Figure

        figure = Figure(figsize=(5, 3.2), layout="constrained")
        axes = figure.add_subplot(yscale="log", xlabel="layer", ylabel="norm of the gradient")
        numbers = range(1, len(self.layers) + 1)
        axes.plot(numbers, [layer.delta for layer in self.layers], "o-", label="outputs")
        axes.plot(numbers, [layer.weight_gradient for layer in self.layers], "s--", label="weights")
        axes.legend()
        return figure


def gradient_flow(model: nn.Module, batch: Any, objective: Objective) -> GradientFlow:
    r"""Measure the error signal that reaches each layer, and by which factor a layer changes it.

    $$\delta_l = \frac{\partial L}{\partial z_l}, \qquad
      r_l = \frac{\lVert\delta_l\rVert}{\lVert\delta_{l+1}\rVert}, \qquad
      \lambda = \exp\Bigl(\frac{1}{D-1} \sum_{l=1}^{D-1} \log r_l\Bigr)
      = \Bigl(\frac{\lVert\delta_1\rVert}{\lVert\delta_D\rVert}\Bigr)^{1/(D-1)}$$

    Of $D$ layers, biases and normalizations do not count. With a rate $\lambda$ of 1 the signal
    keeps its size; a sigmoid multiplies it by at most a quarter of the weights' norm. The network
    is used as in training (dropout on, batch statistics) and left exactly as it was.

    Args:
        batch: a batch as the model meets it: a mapping, or a pair (input, target).

    Raises:
        ValueError: if the model has no layer that the loss depends on.

    Source: Hochreiter (1991), Untersuchungen zu dynamischen neuronalen Netzen; Bengio, Simard &
    Frasconi (1994), Learning long-term dependencies with gradient descent is difficult, IEEE
    Trans. Neural Networks 5(2); Pascanu, Mikolov & Bengio (2013), arXiv:1211.5063.
    """
    parameters = [p for p in model.parameters() if p.requires_grad]
    with as_in_training(model), torch.enable_grad(), LayerStats(model) as stats:
        loss = value_of(objective(model, as_batch(batch)))["loss"]
        if not loss.requires_grad or not parameters:
            raise ValueError(
                "the loss depends on no parameter that requires a gradient, so no gradient flows; "
                "unfreeze the layers to look at"
            )
        # Not backward(): the caller's own gradients must stay what they are.
        found = torch.autograd.grad(loss, parameters, allow_unused=True)
    gradients = {id(p): g for p, g in zip(parameters, found, strict=True) if g is not None}
    layers = [layer for layer in stats.layers.values() if layer.calls]
    if not layers:
        raise ValueError(
            f"{type(model).__name__} uses no module with a weight matrix or kernel, so there are "
            "no layers to compare; build it of modules such as nn.Linear"
        )
    deltas = [layer.delta for layer in layers]
    ratios = [a / b if b else math.nan for a, b in itertools.pairwise(deltas)]
    saturation = {a.after: a.saturation for a in stats.activations.values() if a.rows}
    return GradientFlow(
        float(loss.detach()),
        [
            LayerFlow(
                layer.name or type(model).__name__,
                _norm([gradients[id(p)] for p in layer.weights if id(p) in gradients]),
                layer.delta,
                ratio,
                saturation.get(layer.name, math.nan),
                layer.output.mean,
                layer.output.std,
            )
            for layer, ratio in zip(layers, [*ratios, math.nan], strict=True)
        ],
    )


def _norm(tensors: Sequence[Tensor]) -> float:
    return math.sqrt(sum(float(t.detach().double().square().sum()) for t in tensors))


@contextlib.contextmanager
def as_in_training(model: nn.Module, training: bool = True) -> Iterator[None]:
    """Use the model in this mode; afterwards its modes, buffers and the random states are back."""
    modes = {module: module.training for module in model.modules()}
    buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]
    model.train(training)
    try:
        with randomness.isolated():
            yield
    finally:
        for module, mode in modes.items():
            module.training = mode
        with torch.no_grad():
            for buffer, value in buffers:
                buffer.copy_(value)
