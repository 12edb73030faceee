"""Spike-timing-dependent plasticity: what fires before strengthens, what fires after weakens."""

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from neurarium.data import Batch
from neurarium.layers.spiking import LIF
from neurarium.learning.chain import Chain
from neurarium.learning.direct import Direct
from neurarium.learning.rule import value_of
from neurarium.objectives import Objective

__all__ = ["STDP"]


class STDP(Direct):
    r"""Pairs of spikes change the synapse between them, by which came first and how long before.

    $$\Delta w \propto \begin{cases} A_+ e^{-\Delta t / \tau_+} & \Delta t > 0 \\
      -A_- e^{\Delta t / \tau_-} & \Delta t < 0 \end{cases}, \qquad
      \Delta t = t_{\text{post}} - t_{\text{pre}}$$

    All pairs count, by traces: $\bar x \leftarrow \bar x e^{-1/\tau_+} + s_{\text{pre}}$ is what a
    spike behind finds. Every linear layer with `LIF` units behind it that is not frozen learns from
    its own spikes, by the mean over a batch; biases and layers without spikes stay, as do targets
    unused: the objective is only reported. It finds what repeats, it does not learn a task.

    Args:
        lr: what multiplies the change.
        a_plus: $A_+$.
        a_minus: $A_-$; a little more weakening than strengthening keeps chance from adding up.
        tau_plus: $\tau_+$ in steps.
        tau_minus: $\tau_-$ in steps.
        bounds: smallest and largest weight.

    Raises:
        ValueError: at `bind`, unless the model is a chain with a linear layer before `LIF` units.

    Source: Bi & Poo (1998), Synaptic modifications in cultured hippocampal neurons, J. Neuroscience
    18; Song, Miller & Abbott (2000), Competitive Hebbian learning through spike-timing-dependent
    synaptic plasticity, Nature Neuroscience 3.
    """

    def __init__(
        self,
        lr: float = 1e-3,
        a_plus: float = 1.0,
        a_minus: float = 1.05,
        tau_plus: float = 20.0,
        tau_minus: float = 20.0,
        bounds: tuple[float, float] | None = None,
    ) -> None:
        for name, value in (("lr", lr), ("tau_plus", tau_plus), ("tau_minus", tau_minus)):
            if not value > 0:
                raise ValueError(f"{name} must be positive, got {value}")
        if bounds is not None and not bounds[0] < bounds[1]:
            raise ValueError(f"bounds must be a smallest and a largest weight, got {bounds}")
        self.lr, self.a_plus, self.a_minus = lr, a_plus, a_minus
        self.tau_plus, self.tau_minus, self.bounds = tau_plus, tau_minus, bounds

    def bind(self, model: nn.Module, objective: Objective) -> None:
        """Find the layers that spike."""
        self.model, self.objective = model, objective
        self.chain = Chain(model, "STDP")
        self.learning = [
            isinstance(stage.layer, nn.Linear)
            and any(isinstance(step, LIF) for step in stage.steps)
            and stage.layer.weight.requires_grad
            for stage in self.chain.stages
        ]
        if not any(self.learning):
            raise ValueError(
                f"STDP needs an nn.Linear that can be trained with layers.LIF behind it, and this "
                f"{type(model).__name__} has none; take networks.SpikingMLP"
            )

    @torch.no_grad()
    def step(self, batch: Batch) -> dict[str, Tensor]:
        """Let the network run, and change the synapses by what it did."""
        random = torch.random.get_rng_state()
        outputs = value_of(self.objective(self.model, batch))
        torch.random.set_rng_state(random)  # the same input spikes again
        h = self.chain.enter(batch["input"])
        changes = []
        for stage, learns in zip(self.chain.stages, self.learning, strict=True):
            z = stage.layer(h)
            for step in stage.steps:
                z = step(z)
                if learns and isinstance(step, LIF):
                    changes.append((stage.layer.weight, self.change(h, z)))
            h = z
        for weight, change in changes:
            weight.add_(change, alpha=self.lr)
            if self.bounds is not None:
                weight.clamp_(*self.bounds)
        return {name: value.detach() for name, value in outputs.items()}

    def change(
        self, pre: Float[Tensor, " time n inputs"], post: Float[Tensor, " time n units"]
    ) -> Float[Tensor, "units inputs"]:
        """What all pairs of spikes add up to, over time; the mean over the rows."""
        before, after = torch.zeros_like(pre[0]), torch.zeros_like(post[0])
        total = pre.new_zeros(post.shape[-1], pre.shape[-1])
        for x, y in zip(pre, post, strict=True):
            before *= math.exp(-1 / self.tau_plus)
            after *= math.exp(-1 / self.tau_minus)
            # Spikes of one moment have no order: the traces do not know them yet.
            total.addmm_(y.T, before, alpha=self.a_plus).addmm_(after.T, x, alpha=-self.a_minus)
            before += x
            after += y
        return total / pre.shape[1]

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing to restore: all that it learns is in the model."""

    def __repr__(self) -> str:
        return (
            f"STDP(lr={self.lr}, a_plus={self.a_plus}, a_minus={self.a_minus}, "
            f"tau_plus={self.tau_plus}, tau_minus={self.tau_minus}, bounds={self.bounds})"
        )
