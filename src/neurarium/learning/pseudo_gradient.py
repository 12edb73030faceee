"""The body of all rules that give an optimizer something else than the gradient."""

import contextlib
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from neurarium.data import Batch
from neurarium.learning.backprop import Backprop
from neurarium.learning.rule import NonFiniteError, Notify, ignore, value_of
from neurarium.objectives import Objective

__all__ = ["Backpropagating", "PseudoGradient"]


class PseudoGradient(ABC):
    """Fill `p.grad` by other means than backpropagation; an optimizer, schedule, clipping follow.

    A rule says in `prepare` what it needs of the model, and in `estimate` how it fills the
    gradients. All else is `Backprop`'s: the callbacks hear of it, it saves and resumes.

    Args:
        optimizer: as of `Backprop`, like `lr`, `schedule` and all `options`.
    """

    whole_batches = True  # False where the rule's estimates of a batch's parts add up

    def __init__(
        self,
        optimizer: Any = "sgd:momentum=0.9",
        lr: float | None = None,
        schedule: Any = None,
        **options: Any,
    ) -> None:
        if self.whole_batches and options.get("gradient_accumulation_steps", 1) > 1:
            raise ValueError(
                f"{type(self).__name__} takes each batch whole; leave gradient_accumulation_steps "
                "at 1 and make the batch smaller"
            )
        self.descent = Backprop(optimizer, lr, schedule, **options)

    @abstractmethod
    def prepare(self, model: nn.Module, objective: Objective) -> None:
        """Look at the model; one clear error if the rule cannot train it."""

    @abstractmethod
    def estimate(self, batch: Batch) -> dict[str, Tensor]:
        """Add to `p.grad` of what is trained; return `loss` and other figures, detached."""

    def bind(self, model: nn.Module, objective: Objective) -> None:
        """Take model and objective, and build the optimizer."""
        self.model, self.objective = model, objective
        self.prepare(model, objective)
        self.descent.bind(model, objective)

    def step(self, batch: Batch) -> dict[str, Tensor]:
        """Estimate the gradients and let the optimizer step along them."""
        outputs = self.estimate(batch)
        loss = outputs["loss"]
        if loss.device.type == "cpu" and not math.isfinite(loss.item()):
            for parameter in self.descent.trained:
                parameter.grad = None
            raise NonFiniteError(f"the loss is {loss.item()} at step {self.descent.steps}")
        return self.descent.update(outputs)

    def alignment(self, batch: Batch) -> dict[str, float]:
        """Cosine between the estimate and the true gradient, for each module with parameters."""
        heard, self.notify = self.notify, ignore  # callbacks hear of steps only
        try:
            with undisturbed(self.model):
                self.estimate(batch)
                found = _taken(self.model)
            with undisturbed(self.model):  # which sees the same dropout masks
                value_of(self.objective(self.model, batch))["loss"].backward()
                return cosines(self.model, found, _taken(self.model))
        finally:
            self.notify = heard

    # State: a rule with parameters of its own adds them

    def own_state(self) -> dict[str, Any]:
        """What a checkpoint has to keep of the rule besides the optimizer."""
        return {}

    def load_own_state(self, state: dict[str, Any]) -> None:
        """Restore it."""
        assert not state

    def state_dict(self) -> dict[str, Any]:
        return {"descent": self.descent.state_dict(), "own": self.own_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.descent.load_state_dict(state["descent"])
        self.load_own_state(state["own"])

    # What a trainer asks of the inner rule

    @property
    def notify(self) -> Notify:
        return self.descent.notify

    @notify.setter
    def notify(self, notify: Notify) -> None:
        self.descent.notify = notify

    @property
    def gradient_accumulation_steps(self) -> int:
        return self.descent.gradient_accumulation_steps

    @property
    def optimizer(self) -> torch.optim.Optimizer:
        return self.descent.optimizer

    @property
    def current_lr(self) -> float:
        return self.descent.current_lr

    def unscheduled(self) -> contextlib.AbstractContextManager[None]:
        """Inside, rate and momentum stay as they were set."""
        return self.descent.unscheduled()

    def plan(self, total_steps: int | None) -> None:
        """Be told how many steps there will be."""
        self.descent.plan(total_steps)

    def set_lr(self, lr: float) -> None:
        """Make `lr` the base rate of every parameter group."""
        self.descent.set_lr(lr)

    def scale_lr(self, factor: float) -> None:
        """Multiply every group's rate."""
        self.descent.scale_lr(factor)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.descent!r})"


@contextlib.contextmanager
def undisturbed(model: nn.Module) -> Iterator[None]:
    """Afterwards weights, buffers, gradients and random states are as before."""
    before = {name: value.detach().clone() for name, value in model.state_dict().items()}
    gradients = [p.grad for p in model.parameters()]
    for parameter in model.parameters():
        parameter.grad = None
    try:
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
            yield
    finally:
        model.load_state_dict(before)
        for parameter, gradient in zip(model.parameters(), gradients, strict=True):
            parameter.grad = gradient


def _taken(model: nn.Module) -> dict[str, Tensor]:
    """The gradients there are, which are then forgotten."""
    found = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    for parameter in model.parameters():
        parameter.grad = None
    return found


def cosines(
    model: nn.Module, estimate: dict[str, Tensor], gradient: dict[str, Tensor]
) -> dict[str, float]:
    """Module by module the cosine of the angle between two sets of slopes; 0 where one is 0."""
    result = {}
    for name, module in model.named_modules():
        prefix = f"{name}." if name else ""
        own = [prefix + n for n, p in module.named_parameters(recurse=False) if p.requires_grad]
        if not own:
            continue
        zeros = {n: torch.zeros_like(p) for n, p in model.named_parameters() if n in own}
        a, b = (
            torch.cat([part.get(n, zeros[n]).flatten() for n in own])
            for part in (estimate, gradient)
        )
        lengths = float(a.norm()) * float(b.norm())  # no epsilon, however small the slopes
        result[name] = float(a @ b) / lengths if lengths else 0.0
    return result


class Backpropagating(PseudoGradient):
    """A pseudo-gradient that is backpropagated by the inner rule, so fp16 scales its loss."""

    @property
    def scaler(self) -> torch.amp.GradScaler | None:
        return self.descent.scaler

    @scaler.setter
    def scaler(self, scaler: torch.amp.GradScaler | None) -> None:
        self.descent.scaler = scaler
