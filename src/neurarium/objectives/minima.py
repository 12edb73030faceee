"""Auxiliary scalars that leave a loss without bad local minima, at a price."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from neurarium.data import Batch
from neurarium.objectives.supervised import Objective

__all__ = ["WithoutBadMinima"]


class WithoutBadMinima(nn.Module):
    r"""Two more parameters turn every bad local minimum into a descent towards infinity.

    $$\tilde L(\theta, a, b) = L(\theta)\,\bigl(1 + (a e^b - 1)^2\bigr) + \lambda a^2$$

    Where $\tilde L$ is stationary at a finite $b$, $a = 0$ and $L = 0$: only global minima are
    left, provided that $L \ge 0$ and that 0 is reached. It does not help to find them, as the
    authors say themselves: in a bad minimum of $L$, $\theta$ stays, $b$ grows and $a$ shrinks
    without end. The minimum has moved to infinity; no descent leads out of it.

    Args:
        objective: $L$, at least 0.
        reg: $\lambda$.
        a: where $a$ starts; with $b = 0$, a start of 1 gives $L$ and a constant.

    Source: Sohl-Dickstein & Kawaguchi (2019), Eliminating all bad Local Minima from Loss
    Landscapes without even adding an Extra Unit, arXiv:1901.03909; with an extra neuron: Liang et
    al. (2018), arXiv:1805.08671.
    """

    def __init__(self, objective: Objective, reg: float = 0.1, a: float = 1.0) -> None:
        super().__init__()
        if not reg > 0:
            raise ValueError(f"reg must be positive, got {reg}; without it a has no reason to go")
        self.objective, self.reg = objective, reg
        self.a = nn.Parameter(torch.tensor(float(a)))
        self.b = nn.Parameter(torch.tensor(0.0))

    def forward(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        result = self.objective(model, batch)
        parts = dict(result) if isinstance(result, Mapping) else {"loss": result}
        loss = parts.pop("loss")
        # b grows without end in a bad minimum; e^30 is far from overflow, and a e^b can be 1.
        excess = self.a * self.b.clamp(max=30).exp() - 1
        total = loss * (1 + excess.square()) + self.reg * self.a.square()
        return {"loss": total, "original": loss, **parts}

    def extra_repr(self) -> str:
        return f"reg={self.reg}"
