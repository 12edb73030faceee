"""The sign of a momentum: an optimizer found by a search over programs."""

from typing import Any

import torch
from torch.optim.optimizer import Optimizer

__all__ = ["Lion"]


class Lion(Optimizer):
    r"""Step by the sign of the momentum: every weight moves by exactly the rate.

    $$w \leftarrow w - \eta\,\bigl(\operatorname{sign}(\beta_1 m + (1 - \beta_1) g)
      + \lambda w\bigr), \qquad m \leftarrow \beta_2 m + (1 - \beta_2) g$$

    Half of Adam's memory. Steps are larger than Adam's, so the paper takes a rate 3 to 10 times
    lower, and a decay as many times higher.

    Args:
        weight_decay: $\lambda$, decoupled from the gradient.

    Source: Chen et al. (2023), Symbolic discovery of optimization algorithms, arXiv:2302.06675.
    """

    def __init__(
        self,
        params: Any,
        lr: float = 1e-4,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0.0,
    ) -> None:
        if not lr > 0:
            raise ValueError(f"lr must be positive, got {lr}")
        if not all(0 <= beta < 1 for beta in betas):
            raise ValueError(f"betas must lie in [0, 1), got {betas}")
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """Move the parameters once."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            moving = [p for p in group["params"] if p.grad is not None]
            if not moving:
                continue
            beta1, beta2 = group["betas"]
            gradients = [p.grad for p in moving]
            for parameter in moving:
                self.state[parameter].setdefault("momentum", torch.zeros_like(parameter))
            momenta = [self.state[parameter]["momentum"] for parameter in moving]
            signs = torch._foreach_sign(torch._foreach_lerp(momenta, gradients, 1 - beta1))
            torch._foreach_mul_(moving, 1 - group["lr"] * group["weight_decay"])
            torch._foreach_add_(moving, signs, alpha=-group["lr"])
            torch._foreach_lerp_(momenta, gradients, 1 - beta2)
        return loss
