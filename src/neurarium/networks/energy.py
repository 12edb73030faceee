"""A network that computes by coming to rest: its answer lies at a minimum of an energy."""

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from neurarium.networks._config import remember

__all__ = ["EnergyNetwork"]

States = list[Tensor]
Push = Callable[[Tensor], Tensor]


class EnergyNetwork(nn.Module):
    r"""Layers that act on each other in both directions by the same weights, until they rest.

    $$E(u) = \sum_l \Bigl(\tfrac12 \lVert u_l \rVert^2 - u_l^\top W_l\, u_{l-1} - b_l^\top u_l
      \Bigr), \qquad u \leftarrow \operatorname{clip}_{[0, 1]}\bigl(u - \varepsilon\, \partial E /
      \partial u\bigr), \qquad u_0 = x$$

    The paper's $\rho(u)$ clips to [0, 1], beyond which its states cannot stay; here they do not go
    there, and $\rho(u) = u$. The model's output is the last layer's state, in [0, 1] too, after
    `steps` steps from 0; inputs are taken as they are. `learning.EquilibriumPropagation` trains
    it from resting states alone; gradients through the steps (`Backprop`) can as well.

    Args:
        sizes: inputs, hidden units, outputs: `[784, 500, 10]`.
        steps: of the free phase; too few leave deep networks short of rest.
        eps: $\varepsilon$.

    Source: Scellier & Bengio (2017), Equilibrium Propagation: Bridging the Gap between Energy-Based
    Models and Backpropagation, Frontiers in Computational Neuroscience 11, arXiv:1602.05179.
    """

    sizes: Sequence[int]
    steps: int
    eps: float
    layers: Any

    def __init__(self, sizes: Sequence[int], steps: int = 20, eps: float = 0.5) -> None:
        super().__init__()
        if len(sizes) < 2:
            raise ValueError(f"sizes needs at least inputs and outputs, got {list(sizes)}")
        if steps < 1:
            raise ValueError(f"steps must be at least 1, got {steps}")
        if not 0 < eps <= 1:
            raise ValueError(f"eps must lie in (0, 1], got {eps}; it is the share of a step")
        remember(self, sizes=sizes, steps=steps, eps=eps)
        self.layers = nn.ModuleList(nn.Linear(*pair) for pair in itertools.pairwise(sizes))
        for layer in self.layers:
            # An output that starts far below 0 stays there under any push, its class never learnt.
            gain = 0.1 if layer is self.layers[-1] else 1.0
            nn.init.xavier_uniform_(layer.weight, gain)
            nn.init.zeros_(layer.bias)

    @classmethod
    def for_data(
        cls,
        input_shape: Sequence[int],
        outputs: int,
        categories: Sequence[int],
        hidden: int | Sequence[int] = 128,
        steps: int = 20,
        eps: float = 0.5,
    ) -> "EnergyNetwork":
        """A network between these inputs and outputs, with `hidden` units between."""
        if categories:
            raise ValueError(
                f"EnergyNetwork reads numbers only, and the data have {len(categories)} "
                "categorical columns; take MLP, which embeds them"
            )
        widths = (hidden,) if isinstance(hidden, int) else hidden
        return cls([math.prod(input_shape), *widths, outputs], steps, eps)

    def forward(self, x: Float[Tensor, "batch ..."]) -> Float[Tensor, "batch outputs"]:
        return self.relax(x, self.start(x))[-1]

    def start(self, x: Tensor) -> States:
        """All states 0."""
        return [x.new_zeros(len(x), layer.out_features) for layer in self.layers]

    def relax(
        self, x: Tensor, states: States, steps: int | None = None, push: Push | None = None
    ) -> States:
        """The states after some steps down the energy.

        Args:
            steps: the network's own if not given.
            push: what moves the output besides, given its state.
        """
        below = self.layers[0](x.flatten(1))
        for _ in range(self.steps if steps is None else steps):
            drive = [below]
            drive += [layer(u) for layer, u in zip(self.layers[1:], states, strict=False)]
            for i, layer in enumerate(self.layers[1:]):
                drive[i] = drive[i] + states[i + 1] @ layer.weight
            if push is not None:
                drive[-1] = drive[-1] + push(states[-1])
            states = [
                (u + self.eps * (d - u)).clamp(0, 1) for u, d in zip(states, drive, strict=True)
            ]
        return states

    def energy(self, x: Tensor, states: States) -> Float[Tensor, " batch"]:
        """E of each row."""
        total = torch.zeros_like(states[0][:, 0])
        below = x.flatten(1)
        for layer, u in zip(self.layers, states, strict=True):
            total = total + (u.square() / 2 - u * layer(below)).sum(1)
            below = u
        return total
