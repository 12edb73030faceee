"""Backpropagation with any torch optimizer: the default rule."""

import contextlib
import inspect
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler

from neurarium._names import resolve
from neurarium.data import Batch
from neurarium.learning.rule import NonFiniteError, Notify, ignore, value_of
from neurarium.objectives import Objective
from neurarium.optim import clipping, schedules
from neurarium.optim import parameters as optim

__all__ = ["Backprop"]


class Backprop:
    r"""Gradient descent along the backpropagated gradient, by any torch optimizer.

    $$\theta \leftarrow \theta - \eta_t\, P_t\Bigl(\operatorname{clip}_c
      \nabla_\theta \tfrac{1}{n} \sum_{i=1}^n L_i(\theta)\Bigr)$$

    with $P_t$ the optimizer's own transformation and $\eta_t$ the schedule's rate.

    Args:
        optimizer: a torch optimizer, or the name of one, arguments after a colon
            ("sgd:momentum=0.9"). A name is built with its fused kernel where one exists, and
            without weight decay on biases, normalizations and PReLU slopes.
        lr: base learning rate of an optimizer given by name; torch's default otherwise.
        weight_decay: of an optimizer given by name.
        schedule: a function `(step, total) -> multiplier` or the name of one in
            `neurarium.optim.schedules`; or a torch scheduler, stepped once per step.
        momentum_schedule: a function `(step, total) -> momentum` (Adam's first beta), or the name
            of one: with `schedule="one_cycle"`, "one_cycle_momentum" is the paper's.
        max_grad_norm: total norm that the gradient is scaled down to.
        max_grad_value: largest absolute value of an entry of the gradient.
        gradient_accumulation_steps: number of parts that each batch is cut into to save memory;
            the step is that of the whole batch (batch normalization sees the parts).
        total_steps: length of the schedule; by default that of the run, which `fit` tells.

    Raises:
        NonFiniteError: when the loss is NaN or infinite, before any parameter has moved.

    Source: Rumelhart, Hinton & Williams (1986), Learning representations by back-propagating
    errors, Nature 323.
    """

    def __init__(
        self,
        optimizer: str | torch.optim.Optimizer | Callable[..., torch.optim.Optimizer] = "adamw",
        lr: float | None = None,
        schedule: str | schedules.Schedule | LRScheduler | None = None,
        *,
        momentum_schedule: str | schedules.Schedule | None = None,
        weight_decay: float | None = None,
        max_grad_norm: float | None = None,
        max_grad_value: float | None = None,
        gradient_accumulation_steps: int = 1,
        total_steps: int | None = None,
    ) -> None:
        if gradient_accumulation_steps < 1:
            raise ValueError(
                "gradient_accumulation_steps must be at least 1, "
                f"got {gradient_accumulation_steps}; it is the number of parts of a batch"
            )
        if isinstance(optimizer, torch.optim.Optimizer) and not (lr is None is weight_decay):
            raise ValueError(
                "lr and weight_decay belong to the optimizer object that was passed; set them "
                "there, or pass the optimizer's name"
            )
        self._given: Any = optim.get(optimizer) if isinstance(optimizer, str) else optimizer
        if not isinstance(optimizer, torch.optim.Optimizer):
            _check_rate(_default(self._given, "lr") if lr is None else lr)
        self.lr, self.weight_decay = lr, weight_decay
        self.schedule = resolve(schedule, schedules, "schedule")
        self.momentum_schedule = resolve(momentum_schedule, schedules, "schedule")
        clipping.check(max_grad_norm=max_grad_norm, max_grad_value=max_grad_value)
        self.max_grad_norm, self.max_grad_value = max_grad_norm, max_grad_value
        self.gradient_accumulation_steps = gradient_accumulation_steps
        self.total_steps, self.planned_steps = total_steps, total_steps
        self.steps = 0
        self.notify: Notify = ignore
        self.scaler: torch.amp.GradScaler | None = None  # set by the engine under fp16
        self.by_hand: Any = None  # set by the trainer where autograd is not needed

    @property
    def is_elementwise(self) -> bool:
        """Whether the optimizer, given by name or class, treats every number by itself."""
        return getattr(self._given, "func", self._given) in ELEMENTWISE

    def bind(self, model: nn.Module, objective: Objective) -> None:
        """Build the optimizer over the parameters of the model and of the objective."""
        self.model, self.objective, self.steps, self.by_hand = model, objective, 0, None
        own = list(objective.parameters()) if isinstance(objective, nn.Module) else []
        if not any(p.requires_grad for p in [*model.parameters(), *own]):
            raise ValueError("nothing to train: no parameter of the model requires a gradient")
        if isinstance(self._given, torch.optim.Optimizer):
            self.optimizer = self._adopt(self._given, own)
        else:
            self.optimizer = self._build(model, own)
        for group in self.optimizer.param_groups:
            group.setdefault("initial_lr", group["lr"])
        self.trained = [p for group in self.optimizer.param_groups for p in group["params"]]
        self._optimizer_step = optim.bare_step(self.optimizer)
        self._follow_schedule()

    def _build(self, model: nn.Module, own: list[nn.Parameter]) -> torch.optim.Optimizer:
        arguments: dict[str, Any] = {} if self.lr is None else {"lr": self.lr}
        default = _default(self._given, "weight_decay") or 0.0
        decay = default if self.weight_decay is None else self.weight_decay
        groups = optim.param_groups(model, decay)
        if own:
            groups.append({"params": own, "weight_decay": 0.0})
        everything = [p for group in groups for p in group["params"]]
        if optim.supports_fused(self._given, everything):
            arguments["fused"] = True
        with optim.uncompiled():
            return self._given(groups, **arguments)

    def _adopt(
        self, optimizer: torch.optim.Optimizer, own: list[nn.Parameter]
    ) -> torch.optim.Optimizer:
        known = {id(p) for group in optimizer.param_groups for p in group["params"]}
        if not any(id(p) in known for p in [*self.model.parameters(), *own]):
            raise ValueError(
                "the optimizer holds no parameter of this model; build it from "
                "model.parameters() after the model has its final form"
            )
        missing = [p for p in own if id(p) not in known]
        if missing:  # a loss with parameters of its own is trained too
            optimizer.add_param_group({"params": missing, "weight_decay": 0.0})
        return optimizer

    def step(self, batch: Batch) -> dict[str, Tensor]:
        """Forward, backward, clip, one optimizer step, the schedule."""
        return self.update(self.gradients(batch))

    def gradients(self, batch: Batch) -> dict[str, Tensor]:
        """Forward and backward alone: what the objective returned; the slopes are added up."""
        if self.gradient_accumulation_steps == 1:
            return self._backward(batch, 1.0)
        return self._accumulate(batch)

    def update(self, outputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """Clip, step along the gradients there are, and forget them; add figures to `outputs`."""
        self.notify("on_after_backward")
        if self.scaler is not None:
            self.scaler.unscale_(self.optimizer)
        if not (self.max_grad_norm is None is self.max_grad_value):
            outputs["grad_norm"] = clipping.clip_gradients_(
                self.trained, self.max_grad_norm, self.max_grad_value
            )
        self.notify("on_before_optimizer_step")
        if self.scaler is None:
            self._optimizer_step()
        else:
            self.scaler.step(self.optimizer)
            self.scaler.update()
        for parameter in self.trained:  # what zero_grad does, without its profiling
            parameter.grad = None
        self.advance()
        return outputs

    @property
    def is_plain(self) -> bool:
        """Whether a step is the optimizer's along the whole gradient as it is."""
        clipped = not (self.max_grad_norm is None is self.max_grad_value)
        return self.scaler is None and self.gradient_accumulation_steps == 1 and not clipped

    def advance(self) -> None:
        """Count a step, and set the next one's rate and momentum."""
        self.steps += 1
        self._follow_schedule()

    def _backward(self, batch: Batch, share: float) -> dict[str, Tensor]:
        if self.by_hand is not None and self.scaler is None and self.by_hand.serves(batch):
            passed = self.by_hand.forward(batch)
            self._check_loss(passed.loss)
            self.notify("on_before_backward", passed.loss)
            self.by_hand.backward(passed, share)
            return {"loss": passed.loss}
        outputs = value_of(self.objective(self.model, batch))
        loss = outputs["loss"]
        self._check_loss(loss)
        self.notify("on_before_backward", loss)
        scaled = loss if share == 1 else loss * share
        (scaled if self.scaler is None else self.scaler.scale(scaled)).backward()
        return {name: value.detach() for name, value in outputs.items()}

    def _check_loss(self, loss: Tensor) -> None:
        # Reading the value stalls a GPU, so there only the trainer's running mean is watched.
        if loss.device.type == "cpu" and not math.isfinite(loss.item()):
            raise NonFiniteError(f"the loss is {loss.item()} at step {self.steps}")

    def _accumulate(self, batch: Batch) -> dict[str, Tensor]:
        rows = len(batch["input"])
        total: dict[str, Tensor] = {}
        for part in _parts(batch, self.gradient_accumulation_steps):
            share = len(part["input"]) / rows
            for name, value in self._backward(part, share).items():
                total[name] = total.get(name, 0) + value * share
        return total

    def _follow_schedule(self) -> None:
        if isinstance(self.schedule, LRScheduler):
            if self.steps:
                self.schedule.step()
        elif self.schedule is not None:
            multiplier = self._scheduled(self.schedule)
            for group in self.optimizer.param_groups:
                group["lr"] = group["initial_lr"] * multiplier
        if self.momentum_schedule is not None:
            momentum = self._scheduled(self.momentum_schedule)
            for group in self.optimizer.param_groups:
                _set_momentum(group, momentum)

    def _scheduled(self, schedule: schedules.Schedule) -> float:
        if self.planned_steps is None:
            raise ValueError(
                "a schedule needs the number of steps; pass total_steps, or max_steps to fit "
                "where the data does not know its own length"
            )
        return schedule(min(self.steps, self.planned_steps - 1), self.planned_steps)

    def plan(self, total_steps: int | None) -> None:
        """Be told how many steps there will be."""
        self.planned_steps = self.total_steps or total_steps

    @contextlib.contextmanager
    def unscheduled(self) -> Iterator[None]:
        """Inside, rate and momentum stay as they were set."""
        kept = self.schedule, self.momentum_schedule
        self.schedule = self.momentum_schedule = None
        try:
            yield
        finally:
            self.schedule, self.momentum_schedule = kept

    @property
    def current_lr(self) -> float:
        """Learning rate of the next step."""
        return float(self.optimizer.param_groups[0]["lr"])

    def set_lr(self, lr: float) -> None:
        """Make `lr` the base rate of every parameter group."""
        for group in self.optimizer.param_groups:
            group["initial_lr"] = group["lr"] = lr
        self._follow_schedule()

    def scale_lr(self, factor: float) -> None:
        """Multiply every group's rate, and what the schedule multiplies."""
        for group in self.optimizer.param_groups:
            group["lr"] *= factor
            group["initial_lr"] *= factor

    def state_dict(self) -> dict[str, Any]:
        with optim.uncompiled():
            state: dict[str, Any] = {"steps": self.steps, "optimizer": self.optimizer.state_dict()}
        if isinstance(self.schedule, LRScheduler):
            state["schedule"] = self.schedule.state_dict()
        if self.scaler is not None:
            state["scaler"] = self.scaler.state_dict()
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.steps = state["steps"]
        with optim.uncompiled():
            self.optimizer.load_state_dict(state["optimizer"])
        if isinstance(self.schedule, LRScheduler):
            self.schedule.load_state_dict(state["schedule"])
        if self.scaler is not None and "scaler" in state:
            self.scaler.load_state_dict(state["scaler"])

    def __repr__(self) -> str:
        given = getattr(self, "optimizer", self._given)
        name = getattr(getattr(given, "func", given), "__name__", type(given).__name__)
        schedule = getattr(getattr(self.schedule, "func", self.schedule), "__name__", self.schedule)
        return f"Backprop({name}, lr={self.lr}, schedule={schedule}{self._decayed()})"

    def _decayed(self) -> str:
        """Which parameters decay, once it is known, for the record of a run."""
        counts: dict[float, int] = {}
        for group in self.optimizer.param_groups if hasattr(self, "optimizer") else []:
            decay = group.get("weight_decay", 0.0)
            counts[decay] = counts.get(decay, 0) + sum(p.numel() for p in group["params"])
        spared = counts.pop(0.0, 0)
        if not counts:
            return ""
        parts = [f"{count} parameters by {decay:g}" for decay, count in counts.items()]
        return f", decayed: {', '.join(parts)}, not decayed: {spared}"


ELEMENTWISE = tuple(
    getattr(torch.optim, name)
    for name in (
        "SGD", "Adam", "AdamW", "NAdam", "RAdam", "Adamax", "RMSprop", "Adagrad", "Adadelta",
        "Rprop",
    )
)  # fmt: skip


def _check_rate(lr: float | None) -> None:
    if lr is not None and not 0 < lr < math.inf:
        raise ValueError(f"lr must be a positive number, got {lr}; 0.001 is usual for Adam")


def _set_momentum(group: dict[str, Any], momentum: float) -> None:
    if "betas" in group:
        group["betas"] = (momentum, *group["betas"][1:])
    elif "momentum" in group:
        group["momentum"] = momentum
    else:
        raise ValueError(
            "momentum_schedule needs an optimizer with momentum or betas, such as sgd or adamw"
        )


def _default(optimizer: Any, argument: str) -> Any:
    """An argument's value given by a partial, else the signature's default."""
    given: Mapping[str, Any] = getattr(optimizer, "keywords", {})
    if argument in given:
        return given[argument]
    parameters = inspect.signature(getattr(optimizer, "func", optimizer)).parameters
    default = parameters[argument].default if argument in parameters else None
    return None if default is inspect.Parameter.empty else default


def _parts(batch: Batch, parts: int) -> Iterator[dict[str, Tensor]]:
    """The batch cut into at most `parts` of nearly equal length."""
    rows = len(batch["input"])
    size = math.ceil(rows / parts)
    for start in range(0, rows, size):
        yield {
            name: value[start : start + size] if len(value) == rows else value
            for name, value in batch.items()
        }
