"""How much of a gradient is left when it has gone back through time."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from neurarium.data import Batch
from neurarium.layers.recurrent import record_states
from neurarium.objectives import ask

__all__ = ["TimeGradient", "gradient_through_time"]


@dataclass(frozen=True)
class TimeGradient:
    """What `gradient_through_time` found of the first layer of a network."""

    norms: Float[Tensor, " steps"]
    """Of the gradient at the state k steps before the end, k = 0, 1, ..., as a mean over rows."""
    saturated: float
    """Share of outputs beyond 0.9 in size."""

    @property
    def rate(self) -> float:
        """By which factor the norm changes at each step back, as a geometric mean."""
        first, last = self.norms[0], self.norms[-1]
        return float((last / first) ** (1 / max(len(self.norms) - 1, 1)))


def gradient_through_time(model: nn.Module, batch: Batch, layer: int = 0) -> TimeGradient:
    r"""Norms of the gradient at the states of a recurrent layer, from the last step backwards.

    $$\Bigl\lVert \frac{\partial L}{\partial h_k} \Bigr\rVert, \qquad
      \frac{\partial h_T}{\partial h_k} = \prod_{i = k + 1}^{T} \operatorname{diag}(1 - h_i^2)\, W,
      \qquad \Bigl\lVert \frac{\partial h_T}{\partial h_k} \Bigr\rVert \le \lVert W \rVert^{T - k}$$

    $L$ is a random direction of the last outputs. With a largest singular value of $W$ below 1 a
    tanh network's gradient must vanish; above 1 it may explode. Take a model in float64 for long
    sequences: float32 underflows, which looks like vanishing.

    Args:
        model: any with a `layers.Recurrent` inside.
        layer: which pass of a cell, in the order in which they run.

    Source: Hochreiter (1991), diploma thesis, TU München; Bengio, Simard & Frasconi (1994), IEEE
    Trans. Neural Networks 5(2); Pascanu, Mikolov & Bengio (2013), arXiv:1211.5063.
    """
    with torch.enable_grad(), record_states() as traces:
        ask(model, batch)
        if len(traces) <= layer:
            raise ValueError(
                f"{type(model).__name__} ran {len(traces)} recurrent layers, so there is no layer "
                f"{layer}; gradient_through_time looks into layers.Recurrent"
            )
        states = [state[0] for state in traces[layer].states]
        if not states[1].requires_grad:
            raise ValueError("no parameter of the model requires a gradient; unfreeze it")
        direction = torch.randn_like(states[-1])
        inner = [state for state in states if state.requires_grad]
        gradients = torch.autograd.grad((states[-1] * direction).sum(), inner)
    norms = torch.stack([g.flatten(1).norm(dim=1).mean() for g in reversed(gradients)])
    outputs = torch.stack(states[1:]).detach()
    return TimeGradient(norms, float((outputs.abs() > 0.9).float().mean()))
