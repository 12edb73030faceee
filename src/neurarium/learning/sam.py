"""Sharpness-aware minimization: the gradient from the worst place nearby."""

from typing import Any

import torch
from torch import Tensor, nn

from neurarium.data import Batch
from neurarium.learning.pseudo_gradient import Backpropagating
from neurarium.objectives import Objective

__all__ = ["SAM"]


class SAM(Backpropagating):
    r"""Step from where you are by the gradient of the steepest point at distance `rho`.

    $$\theta \leftarrow \theta - \eta_t\, P_t\,
      \nabla L\Bigl(\theta + \rho\, \frac{\nabla L(\theta)}{\lVert \nabla L(\theta) \rVert}\Bigr)$$

    One norm over all parameters. Each step evaluates the objective twice, with the same dropout
    masks; what a forward pass remembers (batch normalization's statistics) is of the first, and so
    is the loss that is logged. With `rho` 0 it is `Backprop`.

    Args:
        optimizer: as of `Backprop`, like `lr` and all `options`.
        rho: radius of the neighbourhood.

    Source: Foret, Kleiner, Mobahi & Neyshabur (2021), Sharpness-aware minimization for
    efficiently improving generalization, arXiv:2010.01412.
    """

    whole_batches = False

    def __init__(
        self,
        optimizer: Any = "sgd:momentum=0.9",
        lr: float | None = None,
        schedule: Any = None,
        *,
        rho: float = 0.05,
        **options: Any,
    ) -> None:
        if not rho >= 0:
            raise ValueError(f"rho must not be negative, got {rho}; it is a distance")
        self.rho = rho
        super().__init__(optimizer, lr, schedule, **options)

    def prepare(self, model: nn.Module, objective: Objective) -> None:
        """Note what a forward pass remembers."""
        parts = [part for part in (model, objective) if isinstance(part, nn.Module)]
        self._remembered = [buffer for part in parts for buffer in part.buffers()]

    def estimate(self, batch: Batch) -> dict[str, Tensor]:
        """The gradient of the steepest point nearby; the weights are where they were."""
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
            outputs = self.descent.gradients(batch)
        weights = [p.detach().clone() for p in self.descent.trained]
        remembered = [buffer.clone() for buffer in self._remembered]
        self._climb()
        try:
            self.descent.gradients(batch)
        finally:  # a loss that is not finite uphill must leave nothing moved
            with torch.no_grad():
                for current, before in zip(self.descent.trained, weights, strict=True):
                    current.copy_(before)
                for current, before in zip(self._remembered, remembered, strict=True):
                    current.copy_(before)
        return outputs

    @torch.no_grad()
    def _climb(self) -> None:
        moving = [p for p in self.descent.trained if p.grad is not None]
        gradients = [p.grad for p in moving if p.grad is not None]
        norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
        # At a stationary point there is no direction to climb: 0 / tiny stays 0.
        scale = self.rho / norm.clamp(min=torch.finfo(norm.dtype).tiny)
        torch._foreach_add_(moving, torch._foreach_mul(gradients, scale))
        for parameter in moving:
            parameter.grad = None

    def __repr__(self) -> str:
        return f"SAM({self.descent!r}, rho={self.rho})"
