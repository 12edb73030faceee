"""Krotov and Hopfield's competing hidden units: features without labels or errors."""

from typing import Any

import torch
from torch import Tensor, nn

from neurarium.data import Batch
from neurarium.learning._listening import listening, rows
from neurarium.learning.pseudo_gradient import PseudoGradient
from neurarium.objectives import Objective

__all__ = ["CompetingUnits"]


class CompetingUnits(PseudoGradient):
    r"""The unit that an input drives most moves towards it, the one of rank k away from it.

    $$\Delta W_\mu \propto \sum_\text{rows} g_\mu\, (R^p\, x - I_\mu W_\mu), \qquad
      I_\mu = \sum_i \operatorname{sgn}(W_{\mu i})\, |W_{\mu i}|^{p-1} x_i$$

    with $g = 1$ for the largest $I$ of a row, $-\Delta$ for its k-th and 0 for all others. A unit's
    weights turn to what it wins and come to $\lVert W_\mu \rVert_p = R$; a unit that never wins
    keeps its own. Each step is scaled so that the largest change is the rate, which falls in a
    straight line to 0.

    Only the inputs count, so the layer can learn first, all others frozen, and what is above it
    afterwards, by any rule, from powers of its rectified sums (recipe `competing-units-digits`).
    Layers that are not frozen learn along the gradient, at the same time and rate.

    Args:
        optimizer: as of `Backprop`, like `lr`, `schedule` and all `options`. The paper's is plain
            descent; in a loop of your own give `total_steps`, over which the rate falls.
        p: norm that measures how near weights and input are. 3 for MNIST in the paper, here 2.
        k: rank of the unit that is pushed away.
        delta: $\Delta$; 0 leaves out the push.
        R: radius of the sphere that the weights come to.
        layer: name of the linear layer; the first in the model if not given.

    Source: Krotov & Hopfield (2019), Unsupervised learning by competing hidden units, PNAS 116(16),
    arXiv:1806.10181.
    """

    def __init__(
        self,
        optimizer: Any = "sgd",
        lr: float | None = 0.02,
        schedule: Any = "linear",
        *,
        p: float = 2.0,
        k: int = 2,
        delta: float = 0.4,
        R: float = 1.0,
        layer: str | None = None,
        **options: Any,
    ) -> None:
        super().__init__(optimizer, lr, schedule, **options)
        if not p >= 1:
            raise ValueError(f"p must be at least 1, that of a norm, got {p}")
        if k < 2:
            raise ValueError(f"k must be at least 2, the rank of a unit that does not win, got {k}")
        if delta < 0:
            raise ValueError(f"delta must be at least 0, got {delta}; the rule has the sign itself")
        if not R > 0:
            raise ValueError(f"R must be positive, got {R}; it is the length of the weights")
        self.p, self.k, self.delta, self.R, self.name = p, k, delta, R, layer

    def prepare(self, model: nn.Module, objective: Objective) -> None:
        """Find the layer."""
        linear = {n: m for n, m in model.named_modules() if isinstance(m, nn.Linear)}
        name = next(iter(linear), None) if self.name is None else self.name
        if name not in linear:
            raise ValueError(
                f"CompetingUnits needs a linear layer, and this {type(model).__name__} has "
                + (f"none called {name!r}; there are {', '.join(linear)}" if linear else "none")
            )
        self.layer = linear[name]
        if not self.layer.weight.requires_grad:
            raise ValueError(f"layer '{name}', whose units compete, is frozen; freeze the others")
        if self.k > self.layer.out_features:
            raise ValueError(
                f"k must be at most {self.layer.out_features}, the units of layer '{name}', got "
                f"{self.k}"
            )

    def estimate(self, batch: Batch) -> dict[str, Tensor]:
        """The layer's change for its gradient; what is above it has its true one."""
        with listening({"": self.layer}) as heard:
            outputs = self.descent.gradients(batch)
        self.layer.weight.grad = -self.change(rows(heard[""], self.layer))
        if self.layer.bias is not None:
            self.layer.bias.grad = None
        return outputs

    @torch.no_grad()
    def change(self, x: Tensor) -> Tensor:
        """What is added to the weights at a rate of 1: its largest entry is 1."""
        weight = self.layer.weight
        drive = x @ (weight.sign() * weight.abs() ** (self.p - 1)).T
        ranked = drive.topk(self.k, dim=1).indices
        g = torch.zeros_like(drive).scatter_(1, ranked[:, -1:], -self.delta)
        g.scatter_(1, ranked[:, :1], 1.0)
        change = self.R**self.p * g.T @ x - (g * drive).sum(0)[:, None] * weight
        return change / change.abs().max().clamp(min=torch.finfo(change.dtype).tiny)

    def __repr__(self) -> str:
        what = f"p={self.p}, k={self.k}, delta={self.delta}, R={self.R}"
        return f"CompetingUnits({self.descent!r}, {what})"
