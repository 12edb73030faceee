"""The learning-rate range test."""

import contextlib
import copy
import itertools
import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from neurarium.data import Data
from neurarium.learning import NonFiniteError, Rule
from neurarium.objectives import Objective
from neurarium.training import randomness
from neurarium.training.engine import Engine
from neurarium.training.memory import explained

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["LRFinder", "lr_find"]

_SMOOTHING, _DIVERGED = 0.98, 4.0
_FEWEST = 3  # points without which a curve says nothing


@dataclass(frozen=True)
class LRFinder:
    """The outcome of a range test: the smoothed loss over the learning rate, and suggestions.

    Attributes:
        lrs: rate of each step.
        losses: smoothed loss at each.
        raw: the loss itself; its spread tells a fall from noise.
    """

    lrs: list[float]
    losses: list[float]
    raw: Sequence[float] = ()

    @property
    def reason(self) -> str | None:
        """Why there is no suggestion; None where there is one."""
        if len(self.losses) < _FEWEST:
            return (
                f"the loss diverged within {len(self.losses)} steps, at a rate of "
                f"{self.lrs[-1]:.2g}; lower start_lr"
            )
        if self.losses[self._begin] - self.losses[self._least] > self._noise:
            return None
        return (
            f"the loss never fell by more than its noise between {self.lrs[0]:.2g} and "
            f"{self.lrs[-1]:.2g}; lower start_lr, or look for what keeps the model from learning"
        )

    @property
    def suggestion(self) -> float | None:
        """A tenth of the rate at which the smoothed loss was least."""
        return None if self.reason else self.lrs[self._least] / 10

    @property
    def steepest(self) -> float | None:
        """The rate at which the smoothed loss fell fastest per factor of the rate."""
        if self.reason:
            return None
        pairs = list(itertools.pairwise(range(self._begin, self._least + 1)))
        return self.lrs[min(pairs, key=lambda pair: self._slope(*pair))[0]]

    @property
    def valley(self) -> float | None:
        """The middle of the longest decreasing subsequence of the smoothed loss.

        Without what lies within the noise of its beginning: there the loss only seems to fall.
        """
        if self.reason:
            return None
        floor = self.losses[self._begin] - self._noise
        chain = [i for i in _longest_decreasing(self.losses) if self.losses[i] < floor]
        return self.lrs[chain[len(chain) // 2]] if chain else self.lrs[self._least]

    def _slope(self, a: int, b: int) -> float:
        return (self.losses[b] - self.losses[a]) / math.log(self.lrs[b] / self.lrs[a])

    @property
    def _noise(self) -> float:
        """Two standard errors of the average that the fall is measured from."""
        early = self.raw[: max(_FEWEST, len(self.raw) // 5)]
        spread = statistics.stdev(early) if len(early) >= _FEWEST else 0.0
        return 2 * spread / math.sqrt(self._begin + 1)

    @property
    def _begin(self) -> int:
        # The first averages are of a few batches: the least of them is the luckiest batch.
        return min(10, len(self.losses) // 10)

    @property
    def _least(self) -> int:
        return min(range(self._begin, len(self.losses)), key=self.losses.__getitem__)

    def plot(self) -> "Figure":
        """Smoothed loss against learning rate, with the suggestions."""
        from matplotlib.figure import Figure

        figure = Figure(figsize=(5, 3.2), layout="constrained")
        axes = figure.add_subplot(xscale="log", xlabel="learning rate", ylabel="smoothed loss")
        axes.plot(self.lrs, self.losses)
        marks = {"minimum / 10": self.suggestion, "steepest": self.steepest, "valley": self.valley}
        for style, (label, lr) in zip(("--", ":", "-."), marks.items(), strict=True):
            if lr is not None:
                axes.axvline(lr, linestyle=style, color="gray", label=label)
        if self.reason is None:
            axes.legend()
        else:
            axes.set_title("no suggestion")
        return figure


def _longest_decreasing(values: Sequence[float]) -> list[int]:
    """Indices of the longest strictly decreasing subsequence, the first of several."""
    best: list[list[int]] = []  # the longest that ends at each index
    for i, value in enumerate(values):
        before = [best[j] for j in range(i) if values[j] > value]
        best.append([*max(before, key=len, default=[]), i])
    return max(best, key=len)


def lr_find(
    model: nn.Module,
    data: Data,
    objective: Objective,
    rule: Rule,
    start_lr: float = 1e-7,
    end_lr: float = 10.0,
    num_it: int = 100,
    *,
    batch_size: int = 64,
    engine: Engine | None = None,
    seed: int = 0,
) -> LRFinder:
    r"""Raise the learning rate exponentially over a few steps and watch when the loss turns.

    $$\eta_i = \eta_0 \Bigl(\frac{\eta_1}{\eta_0}\Bigr)^{i/(N-1)}, \qquad
      \bar L_i = \frac{\sum_{j \le i} \beta^{i-j} L_j}{\sum_{j \le i} \beta^{i-j}},
      \;\beta = 0.98, \qquad \eta^* = \tfrac{1}{10} \arg\min_\eta \bar L$$

    The test ends early once the smoothed loss is four times its least value. Weights, buffers,
    optimizer, and random states are afterwards exactly what they were.

    Args:
        rule: one that has a learning rate to set, such as `Backprop` or `SAM`; its schedule rests.
        num_it: number of steps $N$; the data is repeated if it is shorter.

    Raises:
        ValueError: if the range is empty, `num_it` < 3 or the rule has no rate.

    Source: Smith (2017), Cyclical learning rates for training neural networks, arXiv:1506.01186.
    """
    if not 0 < start_lr < end_lr or num_it < 3:
        raise ValueError(
            f"lr_find needs 0 < start_lr < end_lr and num_it >= 3, got {start_lr}, {end_lr} and "
            f"{num_it}"
        )
    if not hasattr(rule, "set_lr"):
        raise ValueError(f"lr_find needs a rule with a learning rate to set, got {rule!r}")
    engine = engine or Engine()
    engine.place(model)
    modules = [part for part in (model, objective) if isinstance(part, nn.Module)]
    example = {n: value.to(engine.device) for n, value in data.example(batch_size).items()}
    restore, training = [_restorer(module) for module in modules], model.training
    # Of a rule that is training already; one that is not takes its state from `bind`.
    state = copy.deepcopy(rule.state_dict()) if hasattr(rule, "optimizer") else None
    with getattr(rule, "unscheduled", contextlib.nullcontext)():
        rule.bind(model, engine.wrap(objective, model))
        if state is None:
            state = copy.deepcopy(rule.state_dict())
        else:
            rule.load_state_dict(copy.deepcopy(state))
        try:
            with engine.active(), randomness.isolated(), explained(model, objective, example):
                torch.manual_seed(seed)
                model.train()
                return _sweep(rule, data, start_lr, end_lr, num_it, batch_size, engine, seed)
        finally:
            for undo in restore:
                undo()
            model.train(training)
            rule.load_state_dict(state)


def _restorer(module: nn.Module) -> Callable[[], None]:
    """What gives the module its present state back, gradients excepted, which it empties."""
    state = copy.deepcopy(module.state_dict())
    buffers = {name: buffer.clone() for name, buffer in module.named_buffers()}

    def restore() -> None:
        module.load_state_dict(state)
        for name, buffer in module.named_buffers():  # those too that no file keeps
            buffer.copy_(buffers[name])
        module.zero_grad(set_to_none=True)

    return restore


def _sweep(
    rule: Any,
    data: Data,
    start: float,
    end: float,
    steps: int,
    batch_size: int,
    engine: Engine,
    seed: int,
) -> LRFinder:
    lrs: list[float] = []
    raw: list[float] = []
    losses: list[float] = []
    total = weight = 0.0
    epochs = (data.train.batches(batch_size, seed + epoch) for epoch in itertools.count())
    batches = itertools.chain.from_iterable(epochs)
    for i, batch in enumerate(itertools.islice(batches, steps)):
        lr = start * (end / start) ** (i / (steps - 1))
        rule.set_lr(lr)
        moved = {name: value.to(engine.device) for name, value in batch.items()}
        try:
            loss = float(rule.step(data.prepare(moved, training=True))["loss"])
        except NonFiniteError:
            break
        if not math.isfinite(loss):
            break
        total, weight = _SMOOTHING * total + loss, _SMOOTHING * weight + 1
        lrs.append(lr)
        raw.append(loss)
        losses.append(total / weight)
        if losses[-1] > _DIVERGED * min(losses):
            break
    if not lrs:
        raise NonFiniteError("the loss is not finite at the first step, whatever the rate")
    return LRFinder(lrs, losses, raw)
