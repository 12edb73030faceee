"""What the verdicts rest on, measured once."""

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from neurarium import metrics
from neurarium.data import Data, Resident, Split, Windows
from neurarium.learning import Backprop
from neurarium.learning.rule import value_of
from neurarium.objectives import Objective
from neurarium.optim.parameters import uncompiled
from neurarium.training import randomness
from neurarium.training.diagnostics.flow import GradientFlow, as_in_training, gradient_flow
from neurarium.training.diagnostics.layer_stats import LayerRecord, LayerStats
from neurarium.training.diagnostics.rehearsal import Rehearsal, fresh, rehearse
from neurarium.training.diagnostics.units import DeadUnits, dead_units

FACTORS = (0.1, 0.01, 1.0, 10.0, 100.0, 1000.0)
_LINEAR_FEATURES = 4096
_UNKNOWN = (RuntimeError, ValueError, TypeError, AttributeError, KeyError, IndexError)


@dataclass
class Answers:
    """What the network answers to some rows.

    Args:
        numbers: of the rows within their split, None of a stream.
    """

    batches: list[dict[str, Tensor]]
    loss: float
    output: Tensor | None
    target: Tensor | None
    numbers: Tensor | None = None

    @property
    def rows(self) -> int:
        return sum(len(next(iter(batch.values()))) for batch in self.batches)

    def accuracy(self) -> float:
        assert self.output is not None
        assert self.target is not None
        return float((self.output.argmax(1) == self.target).float().mean())


@dataclass(frozen=True)
class Trial:
    """Another learning rate, from fresh weights.

    Args:
        losses: at the end, on training rows, and on unseen rows if there are any.
    """

    rehearsal: Rehearsal
    losses: tuple[float, ...]

    def gain(self, others: Sequence[tuple[float, ...]]) -> float:
        """By how much it ends below the best of the others, on every kind of rows."""
        best = [min(losses) for losses in zip(*others, strict=True)]
        return min(other - own for other, own in zip(best, self.losses, strict=True))


@dataclass
class Evidence:
    """A model, what it learnt from, and what is measured of them on demand.

    Args:
        rows: at most so many rows of a split are looked at.
        rehearsal_steps: length of the trials of other learning rates; 0 makes none.
        steps: how many steps the model was trained for, None if unknown.
    """

    model: nn.Module
    data: Data
    objective: Objective
    rule: Backprop | None = None
    history: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    batch_size: int = 64
    rows: int = 2048
    rehearsal_steps: int = 150
    seed: int = 0

    @cached_property
    def device(self) -> torch.device:
        return next((p.device for p in self.model.parameters()), torch.device("cpu"))

    # Answers

    def answers(
        self, split: Split, model: nn.Module | None = None, objective: Objective | None = None
    ) -> Answers:
        """Loss and outputs on rows of the split, drawn at random; of a stream, its first."""
        batches: list[dict[str, Tensor]] = []
        seen, numbers = 0, None
        with randomness.isolated():
            torch.manual_seed(self.seed)  # of a loader's own draws
            if isinstance(split, Resident):
                numbers = torch.randperm(len(split))[: self.rows]
                drawn = {name: value[numbers] for name, value in split.tensors.items()}
                if isinstance(split, Windows):  # whose tokens are kept in the fewest bytes
                    drawn = {name: value.long() for name, value in drawn.items()}
                split = Resident(drawn)
            for batch in split.batches(self.batch_size):
                moved = {name: value.to(self.device) for name, value in batch.items()}
                batches.append(self.data.prepare(moved))
                seen += len(next(iter(moved.values())))
                if seen >= self.rows:
                    break
        answers = self.judge(batches, model, objective)
        answers.numbers = numbers
        return answers

    @torch.no_grad()
    def judge(
        self,
        batches: list[dict[str, Tensor]],
        model: nn.Module | None = None,
        objective: Objective | None = None,
    ) -> Answers:
        """Loss and outputs on these batches, in evaluation mode."""
        model, objective = model or self.model, objective or self.objective
        outputs: list[Any] = []
        total, rows = 0.0, 0
        hook = model.register_forward_hook(lambda module, inputs, output: outputs.append(output))
        try:
            with as_in_training(model, False):
                for batch in batches:
                    count = len(next(iter(batch.values())))
                    loss = float(value_of(objective(model, batch))["loss"])
                    total, rows = total + loss * count, rows + count
        finally:
            hook.remove()
        known = len(outputs) == len(batches) and all(isinstance(o, Tensor) for o in outputs)
        output = torch.cat(outputs).float().cpu() if known else None
        targets = [batch["target"] for batch in batches if "target" in batch]
        target = torch.cat(targets).cpu() if len(targets) == len(batches) else None
        return Answers(batches, total / max(rows, 1), output, target)

    @cached_property
    def train(self) -> Answers:
        return self.answers(self.data.train)

    @cached_property
    def unseen(self) -> tuple[str, Answers] | None:
        """Rows that were not trained on: of validation, else of the test; None without."""
        for name in ("val", "test"):
            split = getattr(self.data, name)
            if split is not None:
                return name, self.answers(split)
        return None

    @property
    def classification(self) -> bool:
        answers = self.train
        return (
            self.data.task in ("binary", "multiclass")
            and answers.output is not None
            and answers.target is not None
            and answers.output.ndim == 2
            and answers.target.ndim == 1
            and not answers.target.is_floating_point()
            and answers.output.shape[1] > int(answers.target.max())
        )

    @cached_property
    def constant_loss(self) -> float | None:
        """Training loss of the best constant answer, None where the objective takes none."""
        output = self.train.output
        if output is None or output.ndim < 1:
            return None
        start = output.mean(0) if torch.isfinite(output).all() else torch.zeros(output.shape[1:])
        constant = _Constant(start).to(self.device)
        return _fitted(constant, copy.deepcopy(self.objective), self.train.batches)

    @property
    def explained(self) -> float | None:
        """Share of the constant answer's loss that the network saves on training rows."""
        if self.constant_loss is None or not self.constant_loss > 0:
            return None
        if not math.isfinite(self.train.loss):
            return -math.inf
        return 1 - self.train.loss / self.constant_loss

    @cached_property
    def linear(self) -> tuple[float, float | None] | None:
        """Loss of a linear model of the same inputs, on the training and on the unseen rows."""
        output, inputs = self.train.output, self.train.batches[0].get("input")
        if output is None or output.ndim != 2 or inputs is None or not inputs.is_floating_point():
            return None
        if inputs[0].numel() > _LINEAR_FEATURES:
            return None
        rows = torch.cat([batch["input"].flatten(1) for batch in self.train.batches])
        model = _Linear(rows, output.shape[1]).to(self.device)
        judge = copy.deepcopy(self.objective)
        loss = _fitted(model, judge, self.train.batches, decay=1e-3)
        if loss is None:
            return None
        unseen = self.unseen and self.judge(self.unseen[1].batches, model, judge).loss
        return loss, unseen

    # Layers

    @cached_property
    def flow(self) -> GradientFlow | None:
        """None where nothing can be measured: no layer, or a loss that is not finite."""
        try:
            with randomness.isolated():
                torch.manual_seed(self.seed)  # of dropout masks
                found = gradient_flow(self.model, dict(self.train.batches[0]), self.objective)
        except _UNKNOWN:
            return None
        return found if all(math.isfinite(layer.delta) for layer in found.layers) else None

    @cached_property
    def units(self) -> DeadUnits | None:
        try:
            return dead_units(self.model, self.train.batches)
        except _UNKNOWN:
            return None

    @cached_property
    def first_layer(self) -> LayerRecord | None:
        """The first layer with weights, and what goes into it."""
        with as_in_training(self.model, False), LayerStats(self.model, slopes=False) as stats:
            self.judge(self.train.batches)
        return next(iter(stats.layers.values()), None)

    # Trials

    @cached_property
    def trials(self) -> dict[float, Trial]:
        """For factors of the learning rate, a short training and how it ends."""
        if self.rule is None or not self.rehearsal_steps:
            return {}
        return {factor: self._trial(self.rule, factor) for factor in FACTORS}

    @cached_property
    def without_decay(self) -> Trial | None:
        """The rule's own rate without weight decay."""
        if self.rule is None or not self.rehearsal_steps:
            return None
        return self._trial(self.rule, 1.0, decay=False)

    def _trial(self, rule: Backprop, factor: float, decay: bool = True) -> Trial:
        model, judge = fresh(self.model, self.objective, self.seed)
        trial = rehearse(
            model,
            self.data,
            judge,
            rule,
            factor=factor,
            decay=decay,
            steps=self.trial_steps,
            batch_size=self.batch_size,
            seed=self.seed,
        )
        seen = [self.train] if self.unseen is None else [self.train, self.unseen[1]]
        losses = (
            math.inf if trial.diverged else self.judge(answers.batches, model, judge).loss
            for answers in seen
        )
        return Trial(trial, tuple(map(_finite, losses)))

    @property
    def losses(self) -> tuple[float, ...]:
        """Of the real training, as `Trial.losses`."""
        seen = [self.train] if self.unseen is None else [self.train, self.unseen[1]]
        return tuple(_finite(answers.loss) for answers in seen)

    @property
    def steps(self) -> int | None:
        """Steps of the real training."""
        known = [step for step in self.history.get("step", ()) if step is not None]
        return int(known[-1]) if known else None

    @property
    def trial_steps(self) -> int:
        return min(self.rehearsal_steps, self.steps or self.rehearsal_steps)

    @property
    def val_losses(self) -> list[float]:
        return [v for v in self.history.get("val_loss", ()) if v is not None]

    def probabilities(self, answers: Answers) -> Tensor:
        assert answers.output is not None
        assert self.data.task is not None
        return torch.from_numpy(metrics.probabilities(self.data.task, answers.output)).float()


def _finite(loss: float) -> float:
    """The loss, a very large number in place of none: differences stay numbers."""
    return loss if math.isfinite(loss) else 1e30


class _Constant(nn.Module):
    """The same output for every row."""

    def __init__(self, value: Tensor) -> None:
        super().__init__()
        self.value = nn.Parameter(value.clone())

    def forward(self, x: Tensor) -> Tensor:
        return self.value.expand(len(x), *self.value.shape)


class _Linear(nn.Module):
    """An affine map of the standardized inputs."""

    mean: Tensor
    scale: Tensor

    def __init__(self, rows: Tensor, outputs: int) -> None:
        super().__init__()
        std, mean = torch.std_mean(rows, 0, correction=0)
        self.register_buffer("mean", mean)
        self.register_buffer("scale", torch.where(std > 1e-6, 1 / std.clamp(min=1e-6), 0.0))
        self.map = nn.Linear(rows.shape[1], outputs)
        nn.init.zeros_(self.map.weight)

    def forward(self, x: Tensor) -> Tensor:
        return self.map((x.flatten(1) - self.mean) * self.scale)


def _fitted(
    model: nn.Module, objective: Objective, batches: Sequence[dict[str, Tensor]], decay: float = 0.0
) -> float | None:
    """Loss after fitting the model to all rows at once; None where the objective does not work."""
    whole = dict(batches[0])  # a graph is one batch, and no tensor
    if len(batches) > 1:
        whole = {name: torch.cat([batch[name] for batch in batches]) for name in batches[0]}
    with uncompiled():
        optimizer = torch.optim.LBFGS(
            model.parameters(), max_iter=60, line_search_fn="strong_wolfe"
        )

    def closure() -> Tensor:
        model.zero_grad()
        loss = value_of(objective(model, whole))["loss"]
        (loss + decay * sum(p.square().sum() for p in model.parameters())).backward()
        return loss.detach()

    try:
        with torch.enable_grad():
            optimizer.step(closure)
        with torch.no_grad():
            loss = float(value_of(objective(model, whole))["loss"])
    except _UNKNOWN:
        return None
    return loss if math.isfinite(loss) else None
