"""Slow weights that follow any optimizer's fast ones."""

from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import Optimizer

__all__ = ["Lookahead"]


class Lookahead(Optimizer):
    r"""Let any optimizer run ahead for `k` steps, then go part of the way from where it began.

    $$\phi \leftarrow \phi + \alpha\,(\theta_k - \phi), \qquad \theta_0 \leftarrow \phi$$

    Parameter groups are the inner optimizer's own, so a schedule that sets their rate reaches it.
    Between two such steps the model holds the fast weights $\theta$.

    Args:
        optimizer: the one that runs ahead.
        k: its steps between two of the slow weights.
        alpha: how far the slow weights follow; 1 changes nothing.

    Source: Zhang, Lucas, Hinton & Ba (2019), Lookahead optimizer: k steps forward, 1 step back,
    arXiv:1907.08610.
    """

    def __init__(self, optimizer: Optimizer, k: int = 5, alpha: float = 0.5) -> None:
        if k < 1:
            raise ValueError(f"k must be at least 1 step, got {k}")
        if not 0 < alpha <= 1:
            raise ValueError(f"alpha must lie in (0, 1], got {alpha}")
        self.optimizer, self.k, self.alpha = optimizer, k, alpha
        self.steps = 0
        self.slow: list[Tensor] = []
        super().__init__(optimizer.param_groups, optimizer.defaults)
        self._share()

    def _share(self) -> None:
        self.param_groups, self.state = self.optimizer.param_groups, self.optimizer.state

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """One step of the inner optimizer; every `k`-th also one of the slow weights."""
        fast = [p for group in self.param_groups for p in group["params"]]
        # Here, not at construction: weights may have been loaded, or groups added, since then.
        self.slow += [p.detach().clone() for p in fast[len(self.slow) :]]
        loss = self.optimizer.step() if closure is None else self.optimizer.step(closure)
        self.steps += 1
        if self.steps % self.k == 0:
            torch._foreach_lerp_(self.slow, fast, self.alpha)
            torch._foreach_copy_(fast, self.slow)
        return loss

    def state_dict(self) -> dict[str, Any]:
        """The inner optimizer's state, and under the key "lookahead" our own."""
        own = {"steps": self.steps, "slow": list(self.slow)}
        return {**self.optimizer.state_dict(), "lookahead": own}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        inner = {name: value for name, value in state_dict.items() if name != "lookahead"}
        self.optimizer.load_state_dict(inner)
        self._share()
        own = state_dict["lookahead"]
        fast = [p for group in self.param_groups for p in group["params"]]
        # Copies, lest two optimizers that were loaded from one state move each other's.
        self.steps = own["steps"]
        self.slow = [s.to(p, copy=True) for s, p in zip(own["slow"], fast, strict=False)]
