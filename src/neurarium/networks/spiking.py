"""A perceptron of spiking units."""

from collections.abc import Sequence
from itertools import pairwise

from jaxtyping import Float
from torch import Tensor, nn

from neurarium.layers import spiking
from neurarium.networks._config import remember

__all__ = ["SpikingMLP"]


class SpikingMLP(nn.Module):
    r"""A perceptron whose hidden units speak in spikes; the answer is the last layer's mean.

    $$s^0_t \sim \operatorname{Bernoulli}(x), \qquad s^i = \operatorname{LIF}(W_i s^{i-1} + b_i),
      \qquad y = \frac{1}{T} \sum_{t=1}^T (W s^D_t + b)$$

    Inputs lie in [0, 1]; all but the batch axis is flattened.

    Args:
        sizes: inputs, hidden widths, outputs.
        steps: $T$, how long each example is shown.
        tau: time constant of the hidden units, in steps.
        k: how fast the surrogate slope of a spike falls off around the threshold.

    Source: Neftci, Mostafa & Zenke (2019), Surrogate gradient learning in spiking neural networks,
    arXiv:1901.09948.
    """

    sizes: Sequence[int]

    def __init__(
        self, sizes: Sequence[int], steps: int = 20, tau: float = 5.0, k: float = 10.0
    ) -> None:
        super().__init__()
        if len(sizes) < 2:
            raise ValueError(f"sizes needs at least inputs and outputs, got {list(sizes)}")
        remember(self, sizes=sizes, steps=steps, tau=tau, k=k)
        layers: list[nn.Module] = [spiking.SpikeTrain(steps)]
        for inputs, outputs in pairwise(sizes[:-1]):
            layers += [nn.Linear(inputs, outputs), spiking.LIF(tau, k=k)]
        self.layers = nn.Sequential(*layers, nn.Linear(sizes[-2], sizes[-1]))

    def forward(self, x: Float[Tensor, "batch ..."]) -> Float[Tensor, "batch outputs"]:
        return self.layers(x.flatten(1)).mean(0)
