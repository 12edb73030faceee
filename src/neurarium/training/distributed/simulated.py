"""Many workers in one process: what data parallelism computes, without the machines."""

import copy
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn

from neurarium.data import Batch
from neurarium.learning import Backprop, Rule
from neurarium.learning.rule import Notify, ignore, value_of
from neurarium.objectives import Objective
from neurarium.training.distributed.compression import compression
from neurarium.training.distributed.compressor import Compressor, exchange
from neurarium.training.distributed.parameter_server import ParameterServer
from neurarium.training.distributed.shares import part_of, shares

__all__ = ["SimulatedWorkers"]


class SimulatedWorkers:
    r"""Any rule that backpropagates, as n workers would follow it together.

    $$\text{allreduce: } \theta \leftarrow \theta - \eta \tfrac{1}{n} \sum_i g_i(\theta), \qquad
      \text{average: } \theta \leftarrow \tfrac{1}{n} \sum_i \theta_i \text{ every } \tau
      \text{ steps}, \qquad
      \text{async: } \theta_{t+1} = \theta_t - \eta\, g(\theta_{t - \tau})$$

    In the first two modes each batch is shared out among the workers; in "async" a batch is one
    worker's, the workers take turns, and what one brings is as old as the turns of the others.
    Each worker normalizes its own rows (batch normalization does not become that of the whole
    batch), and the running statistics are the first worker's, as in DistributedDataParallel.

    Args:
        n: number of workers.
        mode: "allreduce" averages gradients at every step; "average" (local SGD) lets each worker
            step alone and averages parameters; "async" (Downpour) steps by stale gradients.
        compressor: how gradients are sent: a compressor, or its name with arguments:
            "dgc:sparsity=0.99".
        rule: how a worker moves; by default `Backprop("sgd")`.
        period: of "average": steps between two averages.
        staleness: of "async": steps that a gradient is old; by default n - 1.
        server: averages the gradients instead, counting bytes.

    Attributes:
        sent_bytes: bytes that the workers have sent so far, all together. What they receive is
            not counted. Each step logs its own as `sent_bytes`.

    Source: Dean et al. (2012), Large Scale Distributed Deep Networks, NIPS; Stich (2019), Local
    SGD Converges Fast and Communicates Little, arXiv:1805.09767.
    """

    def __init__(
        self,
        n: int,
        mode: Literal["allreduce", "average", "async"] = "allreduce",
        compressor: str | Compressor | None = None,
        *,
        rule: Any = None,
        period: int = 1,
        staleness: int | None = None,
        server: ParameterServer | None = None,
    ) -> None:
        if mode not in ("allreduce", "average", "async"):
            raise ValueError(f"mode must be allreduce, average or async, got {mode!r}")
        if n < 1 or period < 1:
            raise ValueError(f"n and period must be at least 1, got {n} and {period}")
        if staleness is not None and (mode != "async" or staleness < 0):
            raise ValueError(
                f"staleness must be at least 0 and belongs to mode='async', got {staleness} in "
                f"mode={mode!r}"
            )
        if mode == "average" and (compressor is not None or server is not None):
            raise ValueError(
                "compressor and server are for gradients, but mode='average' sends parameters; "
                "use mode='allreduce' or leave them out"
            )
        if server is not None and (compressor is not None or server.workers != n):
            raise ValueError(
                f"server must be one for {n} workers and without a compressor, got {server} and "
                f"{compressor}"
            )
        if server is not None and mode == "async":
            raise ValueError("server averages what all bring at once; use mode='allreduce'")
        self.n, self.mode, self.period, self.server = n, mode, period, server
        self.rule: Rule = rule or Backprop("sgd")
        if getattr(self.rule, "gradient_accumulation_steps", 1) != 1:
            raise ValueError("the workers cut the batch already; gradient_accumulation_steps is 1")
        self.staleness = (n - 1 if staleness is None else staleness) if mode == "async" else 0
        given = compression(compressor) if isinstance(compressor, str) else compressor
        if given is not None and not isinstance(given, Compressor):
            raise ValueError(
                f"{compressor!r} is a hook of torch's for real processes; simulated workers take "
                "terngrad, dgc, sign_sgd, qsgd or float_truncate"
            )
        self.compressors = [] if given is None else given.for_workers(n)
        self._notify: Notify = ignore

    # What `fit` asks of a rule

    def bind(self, model: nn.Module, objective: Objective) -> None:
        """Give the workers their model; in mode "average" each its own copy."""
        self.model = model
        if self.mode == "average":
            self.workers: Any = _Replicas(self, model, objective)
        else:
            self.workers = _SharedModel(self, objective)
            self.rule.bind(model, self.workers)

    def step(self, batch: Batch) -> dict[str, Tensor]:
        """One step of all workers; in mode "async" of the one whose turn it is."""
        return self.workers.step(batch) if self.mode == "average" else self.rule.step(batch)

    @property
    def sent_bytes(self) -> int:
        """Bytes that all workers together have sent."""
        return self.workers.sent_bytes

    @property
    def notify(self) -> Notify:
        """Who hears of the rule's events."""
        return self._notify

    @notify.setter
    def notify(self, notify: Notify) -> None:
        self._notify = notify
        if hasattr(self.rule, "notify") and self.mode != "average":
            self.rule.notify = notify

    def plan(self, total_steps: int | None) -> None:
        """Be told how many steps there will be."""
        if hasattr(self.rule, "plan"):
            self.rule.plan(total_steps)

    @property
    def current_lr(self) -> float:
        """Learning rate of the next step."""
        rule: Any = self.workers.rules[0] if self.mode == "average" else self.rule
        return rule.current_lr

    def state_dict(self) -> dict[str, Any]:
        state = {
            "compressors": [one.state_dict() for one in self.compressors],
            "workers": self.workers.own_state(),
        }
        if self.mode != "average":
            state["rule"] = self.rule.state_dict()
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for one, kept in zip(self.compressors, state["compressors"], strict=True):
            one.load_state_dict(kept)
        self.workers.load_own_state(state["workers"])
        if self.mode != "average":
            self.rule.load_state_dict(state["rule"])

    def __repr__(self) -> str:
        how = self.compressors[0] if self.compressors else self.server
        return f"SimulatedWorkers({self.n}, {self.mode}, {how}, rule={self.rule})"


# Gradients ---------------------------------------------------------------------------------------


class _SharedModel(nn.Module):
    """An objective whose gradient is what the workers agreed upon: any rule can follow it."""

    def __init__(self, world: SimulatedWorkers, objective: Objective) -> None:
        super().__init__()
        self.objective: Any = objective  # if a module, its parameters are trained too
        self.worlds = (world,)
        self.steps, self.sent_bytes = 0, 0
        self.past: deque[list[Tensor]] = deque(maxlen=world.staleness + 1)

    def forward(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        (world,) = self.worlds
        own = self.objective.parameters() if isinstance(self.objective, nn.Module) else []
        trained = [p for p in [*model.parameters(), *own] if p.requires_grad]
        if world.mode == "async":
            outputs, gradients = self._stale(world, model, batch, trained)
        else:
            outputs, gradients = self._together(world, model, batch, trained)
        self.steps += 1
        loss = _WithGradient.apply(outputs["loss"], gradients, *trained)
        return {**outputs, "loss": loss}

    def _together(
        self, world: SimulatedWorkers, model: nn.Module, batch: Batch, trained: list[nn.Parameter]
    ) -> tuple[dict[str, Tensor], list[Tensor | None]]:
        rows = len(next(iter(batch.values())))
        totals: dict[str, Tensor] = {}
        each: list[list[Tensor | None]] = []
        before = [b.clone() for b in model.buffers()]
        for share in shares(rows, world.n):
            weight = (share.stop - share.start) / rows
            if not weight:
                each.append([None] * len(trained))
                continue
            outputs, own = self._gradients(model, part_of(batch, share), trained, weight * world.n)
            each.append(own)
            for name, value in outputs.items():
                totals[name] = totals.get(name, 0) + weight * value.detach()
            if len(each) == 1:  # the first worker's statistics are the model's
                after = [b.clone() for b in model.buffers()]
            _copy(before, model.buffers())
        _copy(after, model.buffers())
        used = [any(own[i] is not None for own in each) for i in range(len(trained))]
        wanted = [p for p, is_used in zip(trained, used, strict=True) if is_used]
        full = [_without_gaps(own, used, wanted) for own in each]
        numbers = [i for i, is_used in enumerate(used) if is_used]
        averages = iter(self._average(world, full, numbers))
        totals["sent_bytes"] = self._count(world, full)
        return totals, [next(averages) if is_used else None for is_used in used]

    def _average(
        self, world: SimulatedWorkers, each: list[list[Tensor]], layers: list[int]
    ) -> list[Tensor]:
        if world.compressors:
            return exchange(world.compressors, each, layers)
        if world.server is not None:
            return world.server.average(each)
        return [torch.stack(own).mean(0) for own in zip(*each, strict=True)]

    def _stale(
        self, world: SimulatedWorkers, model: nn.Module, batch: Batch, trained: list[nn.Parameter]
    ) -> tuple[dict[str, Tensor], list[Tensor | None]]:
        self.past.append([p.detach().clone() for p in trained])
        with _values(trained, self.past[0]):
            outputs, gradients = self._gradients(model, batch, trained, 1.0)
        outputs = {name: value.detach() for name, value in outputs.items()}
        used = [g is not None for g in gradients]
        own = [g for g in gradients if g is not None]
        if world.compressors:
            numbers = [i for i, is_used in enumerate(used) if is_used]
            own = exchange([world.compressors[self.steps % world.n]], [own], numbers)
        outputs["sent_bytes"] = self._count(world, [own])
        averages = iter(own)
        return outputs, [next(averages) if is_used else None for is_used in used]

    def _gradients(
        self, model: nn.Module, part: Batch, trained: list[nn.Parameter], weight: float
    ) -> tuple[dict[str, Tensor], list[Tensor | None]]:
        outputs = value_of(self.objective(model, part))
        loss = outputs["loss"] * weight if weight != 1 else outputs["loss"]
        return outputs, list(torch.autograd.grad(loss, trained, allow_unused=True))

    def _count(self, world: SimulatedWorkers, each: list[list[Tensor]]) -> Tensor:
        before = self.sent_bytes
        if world.compressors:
            self.sent_bytes = sum(one.sent_bytes for one in world.compressors)
        elif world.server is not None:
            self.sent_bytes = sum(world.server.sent)
        else:
            self.sent_bytes += sum(g.numel() * g.element_size() for own in each for g in own)
        return torch.tensor(float(self.sent_bytes - before))

    def own_state(self) -> dict[str, Any]:
        return {"steps": self.steps, "sent_bytes": self.sent_bytes, "past": list(self.past)}

    def load_own_state(self, state: dict[str, Any]) -> None:
        self.steps, self.sent_bytes = state["steps"], state["sent_bytes"]
        self.past.clear()
        self.past.extend(state["past"])


class _WithGradient(torch.autograd.Function):
    """A loss whose gradient was found elsewhere."""

    @staticmethod
    def forward(
        ctx: Any, loss: Tensor, gradients: list[Tensor | None], *parameters: Tensor
    ) -> Tensor:
        ctx.gradients = gradients
        return loss.clone()

    @staticmethod
    def backward(ctx: Any, outer: Tensor) -> tuple[Tensor | None, ...]:
        return (None, None, *(None if g is None else outer * g for g in ctx.gradients))


def _without_gaps(
    own: list[Tensor | None], used: list[bool], wanted: list[nn.Parameter]
) -> list[Tensor]:
    """Zeros where this worker has no gradient but another one does."""
    left = [g for g, is_used in zip(own, used, strict=True) if is_used]
    return [torch.zeros_like(p) if g is None else g for g, p in zip(left, wanted, strict=True)]


@contextmanager
def _values(parameters: list[nn.Parameter], values: list[Tensor]) -> Iterator[None]:
    """Other values in the parameters, for a while."""
    now = [p.data for p in parameters]
    try:
        for p, value in zip(parameters, values, strict=True):
            p.data = value.to(p.device)
        yield
    finally:
        for p, value in zip(parameters, now, strict=True):
            p.data = value


@torch.no_grad()
def _copy(values: Any, targets: Any) -> None:
    for value, target in zip(values, targets, strict=True):
        target.copy_(value)


# Parameters --------------------------------------------------------------------------------------


class _Replicas:
    """Workers with parameters of their own; the model is their mean."""

    def __init__(self, world: SimulatedWorkers, model: nn.Module, objective: Objective) -> None:
        self.world = world
        self.steps, self.sent_bytes = 0, 0
        self.whole = _modules(model, objective)
        self.copies = [copy.deepcopy(self.whole) for _ in range(world.n)]
        self.rules: list[Any] = [copy.deepcopy(world.rule) for _ in range(world.n)]
        for rule, modules in zip(self.rules, self.copies, strict=True):
            rule.bind(modules[0], modules[1] if len(modules) > 1 else objective)

    def step(self, batch: Batch) -> dict[str, Tensor]:
        rows = len(next(iter(batch.values())))
        totals: dict[str, Tensor] = {}
        for rule, modules, share in zip(
            self.rules, self.copies, shares(rows, self.world.n), strict=True
        ):
            if share.stop == share.start:
                continue
            modules[0].train(self.whole[0].training)
            for name, value in rule.step(part_of(batch, share)).items():
                part = value * (share.stop - share.start) / rows
                totals[name] = totals.get(name, 0) + part
        self.steps += 1
        sends = self.steps % self.world.period == 0
        self._average(sends)
        sent = self.sent_bytes
        if sends:
            numbers = sum(p.numel() * p.element_size() for p in self.copies[0].parameters())
            self.sent_bytes += numbers * self.world.n
        return {**totals, "sent_bytes": torch.tensor(float(self.sent_bytes - sent))}

    @torch.no_grad()
    def _average(self, everywhere: bool) -> None:
        columns = zip(*(_state(modules) for modules in self.copies), strict=True)
        for target, values in zip(_state(self.whole), columns, strict=True):
            if target.is_floating_point():
                target.copy_(torch.stack(values).mean(0))
            else:
                target.copy_(values[0])
            for value in values if everywhere else ():
                value.copy_(target)

    def own_state(self) -> dict[str, Any]:
        return {
            "steps": self.steps,
            "sent_bytes": self.sent_bytes,
            "copies": [dict(modules.state_dict()) for modules in self.copies],
            "rules": [rule.state_dict() for rule in self.rules],
        }

    def load_own_state(self, state: Mapping[str, Any]) -> None:
        self.steps, self.sent_bytes = state["steps"], state["sent_bytes"]
        for modules, kept in zip(self.copies, state["copies"], strict=True):
            modules.load_state_dict(kept)
        for rule, kept in zip(self.rules, state["rules"], strict=True):
            rule.load_state_dict(kept)


def _modules(model: nn.Module, objective: Objective) -> nn.ModuleList:
    return nn.ModuleList([model, *([objective] if isinstance(objective, nn.Module) else [])])


def _state(modules: nn.ModuleList) -> list[Tensor]:
    return [*modules.parameters(), *modules.buffers()]
