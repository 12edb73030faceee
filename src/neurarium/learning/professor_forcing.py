"""Teacher forcing with a critic: run freely so that nobody can tell."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from neurarium.data import Batch
from neurarium.layers import Recurrent
from neurarium.learning.pseudo_gradient import PseudoGradient
from neurarium.learning.rule import value_of
from neurarium.objectives import Objective

__all__ = ["ProfessorForcing"]


class ProfessorForcing(PseudoGradient):
    r"""Learn from the true past, and behave on one's own past so that a critic sees no difference.

    $$\min_\theta\; L(\theta) - \lambda\, \mathbb{E} \log D\bigl(B(x;\, \text{free})\bigr), \qquad
      \max_D\; \mathbb{E} \log D\bigl(B(x, y;\, \text{forced})\bigr) +
      \mathbb{E} \log \bigl(1 - D(B(x;\, \text{free}))\bigr)$$

    $B$ are the decoder's hidden states over the steps; $D$ reads them in both directions. As in the
    paper the critic learns only while it is right in less than 99 % of the cases, and is listened
    to only where it is right in more than 75 %.

    The model has `forcing` and `out`, as `networks.SequenceGenerator`.

    Args:
        optimizer: as of `Backprop`, like `lr`, `schedule` and all `options`.
        weight: $\lambda$; 0 is teacher forcing.
        critic: units of each direction of $D$.
        critic_lr: of its Adam.

    Source: Lamb et al. (2016), Professor Forcing: A New Algorithm for Training Recurrent Networks,
    arXiv:1610.09038.
    """

    model: Any
    critic: nn.Module

    def __init__(
        self,
        optimizer: Any = "adamw",
        lr: float | None = None,
        schedule: Any = None,
        *,
        weight: float = 1.0,
        critic: int = 64,
        critic_lr: float = 1e-3,
        **options: Any,
    ) -> None:
        if weight < 0:
            raise ValueError(f"weight must be at least 0, got {weight}; 0 is teacher forcing")
        super().__init__(optimizer, lr, schedule, **options)
        self.weight, self.size, self.critic_lr = weight, critic, critic_lr

    def prepare(self, model: nn.Module, objective: Objective) -> None:
        """Make a critic for the decoder's states."""
        out = getattr(model, "out", None)
        if not hasattr(model, "forcing") or not isinstance(out, nn.Linear):
            raise ValueError(
                f"ProfessorForcing needs a decoder with `forcing` and a linear `out`, such as "
                f"networks.SequenceGenerator; {type(model).__name__} is none"
            )
        self.critic = _Critic(out.in_features, self.size).to(out.weight)
        self.critic_optimizer = torch.optim.Adam(self.critic.parameters(), self.critic_lr)

    def estimate(self, batch: Batch) -> dict[str, Tensor]:
        """The teacher's gradient, and the critic's; the critic learns too."""
        kept, self.model.forcing = self.model.forcing, 1.0
        try:
            with self._states() as forced:
                outputs = value_of(self.objective(self.model, batch))
            self.model.forcing = 0.0
            with self._states() as free:
                self.model(batch["input"])
        finally:
            self.model.forcing = kept
        teacher, own = torch.stack(forced, 1), torch.stack(free, 1)
        right = self._teach(teacher.detach(), own.detach())
        loss = outputs["loss"]
        self.notify("on_before_backward", loss)
        total = loss
        if self.weight and right > 0.75:
            seen = self.critic(own)
            total = loss + self.weight * F.binary_cross_entropy_with_logits(
                seen, torch.ones_like(seen)
            )
        trained = [p for p in self.descent.trained if p.requires_grad]
        slopes = torch.autograd.grad(total, trained, allow_unused=True)
        for parameter, slope in zip(trained, slopes, strict=True):  # the critic's stay as they are
            if slope is not None:
                before = parameter.grad
                parameter.grad = slope if before is None else before + slope
        told = {name: value.detach() for name, value in outputs.items()}
        return {**told, "critic": right}

    def _teach(self, teacher: Tensor, own: Tensor) -> Tensor:
        """One step of the critic, if it needs it; the share that it had right."""
        seen = self.critic(torch.cat([teacher, own]))
        truth = torch.cat([torch.ones(len(teacher)), torch.zeros(len(own))]).to(seen)
        right = ((seen > 0) == (truth > 0.5)).float().mean().detach()
        if right < 0.99:
            self.critic_optimizer.zero_grad()
            F.binary_cross_entropy_with_logits(seen, truth).backward()
            self.critic_optimizer.step()
        return right

    @contextmanager
    def _states(self) -> Iterator[list[Tensor]]:
        """Inside, the state of every step that is read out."""
        heard: list[Tensor] = []
        hook = self.model.out.register_forward_pre_hook(lambda module, x: heard.append(x[0]))
        try:
            yield heard
        finally:
            hook.remove()

    def own_state(self) -> dict[str, Any]:
        """The critic and its optimizer."""
        return {
            "critic": self.critic.state_dict(),
            "optimizer": self.critic_optimizer.state_dict(),
        }

    def load_own_state(self, state: dict[str, Any]) -> None:
        """Go on with them."""
        self.critic.load_state_dict(state["critic"])
        self.critic_optimizer.load_state_dict(state["optimizer"])


class _Critic(nn.Module):
    """Who made these states? Both directions' last outputs, and a small network on them."""

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__()
        self.recurrent = Recurrent("gru", inputs, hidden, bidirectional=True)
        self.judge = nn.Sequential(nn.Linear(2 * hidden, hidden), nn.ReLU(), nn.Linear(hidden, 1))

    def forward(self, states: Tensor) -> Tensor:
        outputs, _ = self.recurrent(states)
        return self.judge(self.recurrent.summary(outputs)).squeeze(1)
