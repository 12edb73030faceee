"""The loop: it decides when things happen, and nothing else.

A step is `rule.step(batch)`. What is good is the objective's affair, how parameters move the
rule's, what happens besides the callbacks'.
"""

import itertools
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from neurarium.data import Data, Resident, Split
from neurarium.learning import NonFiniteError, Rule
from neurarium.learning.analytic import spare_autograd
from neurarium.learning.rule import value_of
from neurarium.objectives import Objective
from neurarium.training import randomness, snapshot
from neurarium.training.callbacks.base import Callback, listeners
from neurarium.training.distributed.processes import Processes
from neurarium.training.engine import Engine
from neurarium.training.history import History
from neurarium.training.interrupts import Interrupted, Signals
from neurarium.training.memory import explained
from neurarium.training.nonfinite import describe, explain
from neurarium.training.quick_steps import quick_steps

Metric = Callable[[Tensor, Tensor], Any]


class Trainer:
    """One run in progress; callbacks read it and may set `should_stop`."""

    def __init__(
        self,
        model: nn.Module,
        data: Data,
        objective: Objective,
        rule: Rule,
        *,
        engine: Engine,
        epochs: int,
        batch_size: int,
        seed: int = 0,
        callbacks: Sequence[Callback] = (),
        metrics: Mapping[str, Metric] | None = None,
        max_steps: int | None = None,
        max_time: float | None = None,
        train_batches: int | None = None,
        val_batches: int | None = None,
        shuffle: bool = True,
        directory: Path | None = None,
        processes: Processes | None = None,
    ) -> None:
        self.model, self.data, self.rule, self.engine = model, data, rule, engine
        self.objective = objective
        self.epochs, self.batch_size, self.seed, self.shuffle = epochs, batch_size, seed, shuffle
        self.max_steps, self.max_time = max_steps, max_time
        self.train_batches, self.val_batches = train_batches, val_batches
        self.metrics, self.directory = dict(metrics or {}), directory
        self.callbacks = sorted(callbacks, key=lambda callback: callback.order)
        self.processes = processes or Processes()
        first = self.processes.rank == 0
        self.listeners = listeners([c for c in self.callbacks if first or not c.first_process_only])
        self.train, self.val = self._place(data.train), self._place(data.val)
        self.batch_sizes: list[int] | None = None  # of each epoch, where a callback varies them
        self.eval_batch_size = max(batch_size, 256)  # no gradients are kept, so more rows fit
        self.history = History()
        self.epoch = self.step = self.batch = 0  # finished epochs, steps, batches of this epoch
        self.seconds = 0.0
        self.should_stop = self.at_limit = False
        self.rows = 0  # rows of this epoch so far, and the sums over them of what the rule returned
        self.totals: dict[str, Tensor] = {}
        self.epoch_start: dict[str, Any] | None = None  # random states when this epoch began
        self.resumed: dict[str, Any] | None = None  # random states to go on from
        self.flat: Any = None  # the rule's steps by a shorter way
        self._mark = time.monotonic()

    @property
    def steps_per_epoch(self) -> int | None:
        """Batches of one epoch, None where a stream does not know."""
        return self._steps(self.batch_size)

    def _steps(self, batch_size: int) -> int | None:
        known = self.train.steps(batch_size)
        limits = [n for n in (known, self.train_batches) if n is not None]
        return min(limits) if limits else None

    @property
    def total_steps(self) -> int | None:
        """Steps of the whole run, if nothing stops it early."""
        per_epoch = self.steps_per_epoch
        planned = None if per_epoch is None else per_epoch * self.epochs
        if self.batch_sizes is not None:
            planned = sum(self._steps(size) or 0 for size in self.batch_sizes)
        limits = [n for n in (planned, self.max_steps) if n is not None]
        return min(limits) if limits else None

    def emit(self, event: str, *arguments: Any) -> None:
        """Tell the callbacks that listen."""
        for listener in self.listeners[event]:
            listener(self, *arguments)

    def bind(self) -> None:
        """Place the model, give the rule its model, objective and ear."""
        self.engine.place(self.model)
        if isinstance(self.objective, nn.Module):
            self.objective.to(self.engine.device)
        if hasattr(self.rule, "plan"):
            self.rule.plan(self.total_steps)
        if hasattr(self.rule, "notify"):
            self.rule.notify = self.emit
        if self.engine.precision == "16-mixed" and hasattr(self.rule, "scaler"):
            self.rule.scaler = torch.amp.GradScaler(self.engine.device)
        objective = self.engine.wrap(self.objective, self.model)
        self.rule.bind(self.model, self.processes.wrap(objective, self.model))
        if self.processes.size == 1:
            spare_autograd(self.rule, self.model, objective)
            self.flat = self.engine.flat(self.rule, self.model, self.objective)

    def run(self) -> None:
        """Train to the end, or to a signal, an error or a limit."""
        self._mark = time.monotonic()
        with self.engine.active(), randomness.isolated(), Signals() as signals:
            if self.resumed is None:
                randomness.seed_everything(self.processes.seed(self.seed))
            else:
                randomness.restore(self.resumed)
            try:
                self.emit("on_fit_start")
                while self.epoch < self.epochs and not (self.should_stop or self.at_limit):
                    self._run_epoch(signals)
                self._measure_time()
                self.emit("on_fit_end")
            except BaseException as error:
                self.emit("on_exception", error)
                raise

    def _run_epoch(self, signals: Signals) -> None:
        self.emit("on_train_epoch_start")
        self.model.train()
        received = 0
        with quick_steps(self, self._step) as step:
            for batch in self._epoch_batches():
                self.emit("on_train_batch_start", batch, self.batch)
                outputs = step(batch)
                if self.step == 0:
                    self.processes.check_same(self.model, self.rule)
                self.step, self.batch = self.step + 1, self.batch + 1
                self.emit("on_train_batch_end", outputs, batch, self.batch - 1)
                received, limit = self.processes.agree(signals.received, self._limit_reached())
                self.at_limit = bool(limit)
                if received or self.at_limit:
                    break
        if received:
            raise Interrupted(received, self.save_checkpoint("last"))
        if not self.batch:
            raise ValueError("the training data gave no batch; check its length and batch_size")
        self._end_epoch()
        received, stop = self.processes.agree(signals.received, self.should_stop)
        self.should_stop = bool(stop)
        if received:
            raise Interrupted(received, self.save_checkpoint("last"))

    def _step(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        try:
            with explained(self.model, self.objective, batch):
                outputs = self.rule.step(batch)
        except NonFiniteError as error:
            where = explain(self.model, self.objective, batch)
            raise self.failure(str(error), where) from None
        rows = self.processes.rows(batch)
        self.rows += rows
        for name, value in outputs.items():
            if name in self.totals:
                self.totals[name].add_(value, alpha=rows)
            else:
                self.totals[name] = value.detach().clone().float() * rows
        return outputs

    def _end_epoch(self) -> None:
        rows, totals = self.processes.add_up(self.rows, self.totals)
        row = {f"train_{name}": float(total) / rows for name, total in totals.items()}
        if not math.isfinite(row.get("train_loss", 0.0)):
            where = "some batch of this epoch"
            raise self.failure("the mean loss is not finite", where)
        if hasattr(self.rule, "current_lr"):
            row["lr"] = self.rule.current_lr
        self._measure_time()
        self.history.append({"epoch": self.epoch + 1, "step": self.step, **row})
        self.processes.check_same(self.model, self.rule)
        self.processes.copy_buffers_from_first(self.model)
        if self.val is not None:
            self.emit("on_validation_epoch_start")
            figures = self.processes.of_first(self.evaluate(self.val, self.val_batches))
            for name, value in figures.items():
                self.history.setdefault(f"val_{name}", [None] * len(self.history))[-1] = value
            self.emit("on_validation_epoch_end")
        self._measure_time()
        self.history.setdefault("seconds", [None] * len(self.history))[-1] = round(self.seconds, 3)
        self.epoch, self.batch, self.rows, self.totals = self.epoch + 1, 0, 0, {}
        self.epoch_start = None
        self.emit("on_train_epoch_end")

    def failure(self, what: str, where: str) -> NonFiniteError:
        """The error that says what is not finite, and what is kept."""
        return NonFiniteError(describe(what, where, self.epoch, self.batch, self.directory))

    def _limit_reached(self) -> bool:
        if self.max_steps is not None and self.step >= self.max_steps:
            return True
        if self.max_time is None:
            return False
        return self.seconds + time.monotonic() - self._mark >= self.max_time

    def _measure_time(self) -> None:
        now = time.monotonic()
        self.seconds, self._mark = self.seconds + now - self._mark, now

    # Batches

    def _place(self, split: Split | None) -> Any:
        return split.to(torch.device(self.engine.device)) if isinstance(split, Resident) else split

    def _epoch_batches(self) -> Iterator[dict[str, Tensor]]:
        """This epoch's batches, without those that were done before a resume."""
        seed = randomness.epoch_seed(self.seed, self.epoch) if self.shuffle else None
        drawn = self.train.batches(self.batch_size, seed)  # if resident, by that seed alone
        batches = drawn if isinstance(self.train, Resident) else self._drawn_alike(drawn)
        if self.epoch_start is not None:  # a loader's own draws must be those of the first time
            now = randomness.capture()
            randomness.restore(self.epoch_start)
            for _ in range(self.batch):
                next(batches)
            randomness.restore(now)
        elif self.directory is not None:
            self.epoch_start = randomness.capture()
        left = None if self.train_batches is None else self.train_batches - self.batch
        return self._prepared(itertools.islice(batches, left), self.train, training=True)

    def _drawn_alike(self, batches: Iterator[dict[str, Tensor]]) -> Iterator[dict[str, Tensor]]:
        """The same batches however many processes: a loader draws its order with its first."""
        own = randomness.capture()
        randomness.seed_everything(randomness.epoch_seed(self.seed, self.epoch))
        first = list(itertools.islice(batches, 1))
        randomness.restore(own)
        return itertools.chain(first, batches)

    def _prepared(
        self, batches: Iterable[dict[str, Tensor]], split: Split, training: bool = False
    ) -> Iterator[dict[str, Tensor]]:
        for batch in batches:
            if training:
                batch = self.processes.share(batch)
            if not isinstance(split, Resident):  # which is there already
                device = self.engine.device
                batch = {name: value.to(device, non_blocking=True) for name, value in batch.items()}
            yield self.data.prepare(batch, training=training)

    @torch.no_grad()
    def evaluate(self, split: Split, limit: int | None = None) -> dict[str, float]:
        """Mean of the objective's parts, and the metrics of the model's outputs, over a split."""
        outputs, targets = list[Tensor](), list[Tensor]()
        totals, rows = dict[str, Any](), 0

        def keep(module: nn.Module, inputs: Any, output: Tensor) -> None:
            if len(outputs) == len(targets):  # an objective may ask the model again
                outputs.append(output)

        hook = self.model.register_forward_hook(keep)
        self.model.eval()
        batches = itertools.islice(split.batches(self.eval_batch_size), limit)
        try:
            for batch in self._prepared(batches, split):
                rows += (count := len(next(iter(batch.values()))))
                with self.engine.autocast():
                    result = self.objective(self.model, batch)
                for name, value in value_of(result).items():
                    totals[name] = totals.get(name, 0.0) + value.detach() * count
                if self.metrics:
                    targets.append(batch["target"])
        finally:
            hook.remove()
            self.model.train()
            self.processes.part_again()
        means = {name: float(total) / max(rows, 1) for name, total in totals.items()}
        if targets:
            output, target = torch.cat(outputs).float(), torch.cat(targets)
            means |= {name: float(metric(output, target)) for name, metric in self.metrics.items()}
        return means

    def save_checkpoint(self, name: str) -> Path | None:
        """Write `checkpoints/<name>` of the run folder; None where the run has no folder."""
        self._measure_time()
        return self.directory and snapshot.save(self, self.directory / "checkpoints" / name)
