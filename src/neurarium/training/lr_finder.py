"""The learning-rate range test."""

import copy
import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn

from neurarium.data import Data
from neurarium.learning import Backprop, NonFiniteError
from neurarium.objectives import Objective
from neurarium.training import randomness
from neurarium.training.engine import Engine

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["LRFinder", "lr_find"]

_SMOOTHING, _DIVERGED = 0.98, 4.0


@dataclass(frozen=True)
class LRFinder:
    """The outcome of a range test: the smoothed loss over the learning rate, and a suggestion."""

    lrs: list[float]
    losses: list[float]

    @property
    def suggestion(self) -> float:
        """A tenth of the rate at which the smoothed loss was least."""
        # The first averages are of a few batches: the least of them is the luckiest batch.
        skipped = min(10, len(self.losses) - 1)
        return self.lrs[skipped + self.losses[skipped:].index(min(self.losses[skipped:]))] / 10

    @property
    def steepest(self) -> float:
        """The rate at which the smoothed loss fell fastest per factor of the rate."""
        end = max(self.losses.index(min(self.losses)), 1)
        points = list(zip(self.lrs, self.losses, strict=True))[: end + 1]
        slopes = [(b[1] - a[1]) / math.log(b[0] / a[0]) for a, b in itertools.pairwise(points)]
        return points[slopes.index(min(slopes))][0]

    def plot(self) -> "Figure":
        """Smoothed loss against learning rate."""
        from matplotlib.figure import Figure

        figure = Figure(figsize=(5, 3.2), layout="constrained")
        axes = figure.add_subplot(xscale="log", xlabel="learning rate", ylabel="smoothed loss")
        axes.plot(self.lrs, self.losses)
        axes.axvline(self.suggestion, linestyle="--", color="gray", label="suggestion")
        axes.legend()
        return figure


def lr_find(
    model: nn.Module,
    data: Data,
    objective: Objective,
    rule: Backprop,
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
        num_it: number of steps $N$; the data is repeated if it is shorter.

    Raises:
        ValueError: if the range is empty or `num_it` < 3.

    Source: Smith (2017), Cyclical learning rates for training neural networks, arXiv:1506.01186.
    """
    if not 0 < start_lr < end_lr or num_it < 3:
        raise ValueError(
            f"lr_find needs 0 < start_lr < end_lr and num_it >= 3, got {start_lr}, {end_lr} and "
            f"{num_it}"
        )
    engine = engine or Engine()
    rule.schedule, schedule = None, rule.schedule
    engine.place(model)
    rule.bind(model, engine.wrap(objective, model))
    before = {k: v.detach().clone() for k, v in model.state_dict().items()}
    own = copy.deepcopy(objective.state_dict()) if isinstance(objective, nn.Module) else None
    kept, training = copy.deepcopy(rule.state_dict()), model.training
    bases = [(group["lr"], group["initial_lr"]) for group in rule.optimizer.param_groups]
    try:
        with engine.active(), randomness.isolated():
            torch.manual_seed(seed)
            model.train()
            return _sweep(rule, data, start_lr, end_lr, num_it, batch_size, engine, seed)
    finally:
        model.load_state_dict(before)
        model.train(training)
        if isinstance(objective, nn.Module) and own is not None:
            objective.load_state_dict(own)
        rule.optimizer.zero_grad(set_to_none=True)
        rule.optimizer.state.clear()
        rule.load_state_dict(kept)
        rule.schedule = schedule
        for group, (lr, initial) in zip(rule.optimizer.param_groups, bases, strict=True):
            group["lr"], group["initial_lr"] = lr, initial


def _sweep(
    rule: Backprop,
    data: Data,
    start: float,
    end: float,
    steps: int,
    batch_size: int,
    engine: Engine,
    seed: int,
) -> LRFinder:
    lrs: list[float] = []
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
        total, weight = _SMOOTHING * total + loss, _SMOOTHING * weight + 1
        lrs.append(lr)
        losses.append(total / weight)
        if losses[-1] > _DIVERGED * min(losses):
            break
    if not lrs:
        raise NonFiniteError("the loss is not finite at the first step, whatever the rate")
    return LRFinder(lrs, losses)
