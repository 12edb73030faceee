"""Spiking units for networks that learn by gradients: time is the first axis of their tensors."""

import math
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, autograd, nn

__all__ = ["LIF", "SpikeTrain", "spike"]


def spike(v: Float[Tensor, "*shape"], k: float = 10.0) -> Float[Tensor, "*shape"]:
    r"""Fire where the potential has reached its threshold, 0; learn as if it were a soft decision.

    $$s = \mathbf{1}[v \ge 0], \qquad \frac{\partial s}{\partial v} := \frac{1}{(1 + k |v|)^2}$$

    Args:
        v: potential, measured from the threshold.
        k: how fast the surrogate slope falls off on both sides; 0 is the identity's.

    Source: Zenke & Ganguli (2018), SuperSpike, Neural Computation 30; Neftci, Mostafa & Zenke
    (2019), Surrogate gradient learning in spiking neural networks, arXiv:1901.09948.
    """
    return _Spike.apply(v, k)


class _Spike(autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(v: Tensor, k: float) -> Tensor:
        return (v >= 0).to(v.dtype)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        v, ctx.k = inputs
        ctx.save_for_backward(v)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (v,) = ctx.saved_tensors
        return grads[0] / (1 + ctx.k * v.abs()).square(), None


class LIF(nn.Module):
    r"""Leaky integrate-and-fire units: they add up their input, forget slowly, and fire when full.

    $$v_t = \beta\, u_{t-1} + x_t, \qquad s_t = \mathbf{1}[v_t \ge \vartheta], \qquad
      u_t = v_t - \vartheta s_t, \qquad \beta = e^{-1/\tau}$$

    Input and output are (time, batch, ...); every call begins at rest, $u_0 = 0$. Between spikes
    this is the exact solution of $\tau \dot v = -v + R I$ at whole times, for a current that is
    constant within each and $x = (1 - \beta) R I$. Spikes learn by the surrogate slope of `spike`;
    the reset is left out of the gradient, as usual.

    Args:
        tau: time constant of forgetting, in steps.
        threshold: $\vartheta$.
        reset: what a spike leaves: "subtract" what is above the threshold, "zero" nothing.
        k: of the surrogate slope.

    Raises:
        ValueError: if `tau` or `threshold` is not positive, or `reset` is unknown.

    Source: Gerstner, Kistler, Naud & Paninski (2014), Neuronal Dynamics, chapter 1; in steps, with
    surrogate slopes: Neftci, Mostafa & Zenke (2019), arXiv:1901.09948.
    """

    def __init__(
        self,
        tau: float = 5.0,
        threshold: float = 1.0,
        reset: Literal["subtract", "zero"] = "subtract",
        k: float = 10.0,
    ) -> None:
        super().__init__()
        if not (tau > 0 and threshold > 0):
            raise ValueError(f"tau and threshold must be positive, got {tau} and {threshold}")
        if reset not in ("subtract", "zero"):
            raise ValueError(f"reset must be 'subtract' or 'zero', got {reset!r}")
        self.tau, self.threshold, self.reset, self.k = tau, threshold, reset, k

    def forward(self, x: Float[Tensor, " time *units"]) -> Float[Tensor, " time *units"]:
        return self.simulate(x)[0]

    def simulate(
        self, x: Float[Tensor, " time *units"]
    ) -> tuple[Float[Tensor, " time *units"], Float[Tensor, " time *units"]]:
        """The spikes, and the potentials $v_t$ that they come from, before the reset."""
        beta = math.exp(-1 / self.tau)
        kept = torch.zeros_like(x[0])
        spikes, potentials = [], []
        for current in x.unbind(0):
            v = beta * kept + current
            s = _Spike.apply(v - self.threshold, self.k)
            fired = s.detach()
            kept = v - self.threshold * fired if self.reset == "subtract" else v * (1 - fired)
            spikes.append(s)
            potentials.append(v)
        return torch.stack(spikes), torch.stack(potentials)

    def extra_repr(self) -> str:
        return f"tau={self.tau}, threshold={self.threshold}, reset={self.reset}, k={self.k}"


class SpikeTrain(nn.Module):
    r"""Numbers in [0, 1] as the rates of independent spikes; time becomes the first axis.

    $$s_t \sim \operatorname{Bernoulli}(x), \qquad t = 1, \dots, T$$

    The spikes are drawn when judging too.

    Args:
        steps: $T$.

    Raises:
        ValueError: at the first input outside [0, 1].

    Source: Gerstner, Kistler, Naud & Paninski (2014), Neuronal Dynamics, chapter 7.
    """

    def __init__(self, steps: int = 20) -> None:
        super().__init__()
        if steps < 1:
            raise ValueError(f"steps must be at least 1, got {steps}")
        self.steps = steps

    def forward(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, " time *shape"]:
        if x.numel() and not (x.min() >= 0 and x.max() <= 1):
            raise ValueError(
                f"rates of spikes must lie in [0, 1], got {x.min():g} to {x.max():g}; scale the "
                "data with MinMax"
            )
        return torch.bernoulli(x.expand(self.steps, *x.shape))

    def extra_repr(self) -> str:
        return f"steps={self.steps}"
