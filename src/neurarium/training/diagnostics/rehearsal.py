"""Training again for a few steps, from fresh weights and with another learning rate."""

import copy
import functools
import itertools
import math
import statistics
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from neurarium import networks
from neurarium.data import Data
from neurarium.learning import Backprop, NonFiniteError
from neurarium.objectives import Objective
from neurarium.training import randomness

__all__ = ["Rehearsal", "rehearse", "update_ratios"]


@dataclass(frozen=True)
class Rehearsal:
    """A short training beside the real one.

    Args:
        lr: of the first parameter group.
        ratios: of each weight, the median over the steps of the update's norm over its own.
        diverged: whether the loss became infinite or NaN.
    """

    model: nn.Module
    objective: Objective
    lr: float
    steps: int
    ratios: dict[str, float]
    diverged: bool


def update_ratios(
    model: nn.Module,
    data: Data,
    objective: Objective,
    rule: Backprop,
    *,
    steps: int = 20,
    batch_size: int = 64,
    seed: int = 0,
) -> dict[str, float]:
    r"""How far a step moves each weight, in proportion to the weight: about 0.001 is usual.

    $$\rho_l = \operatorname{median}_t \frac{\lVert W_l^{(t+1)} - W_l^{(t)} \rVert}
      {\lVert W_l^{(t)} \rVert}$$

    The steps are taken by a copy of the model, with the rule's own rate and no schedule; nothing
    of the caller's changes.

    Source: Karpathy, Li & Johnson (2015), CS231n Convolutional Neural Networks for Visual
    Recognition, "Ratio of weights:updates".
    """
    copied, judge = copy.deepcopy((model, objective))
    return rehearse(copied, data, judge, rule, steps=steps, batch_size=batch_size, seed=seed).ratios


def rehearse(
    model: nn.Module,
    data: Data,
    objective: Objective,
    rule: Backprop,
    *,
    factor: float = 1.0,
    decay: bool = True,
    steps: int = 150,
    batch_size: int = 64,
    seed: int = 0,
) -> Rehearsal:
    """Train this model, in place, by a copy of the rule at `factor` times its rate.

    Args:
        decay: whether with the rule's weight decay.
    """
    rule = _again(rule)
    rule.bind(model, objective)
    for group in rule.optimizer.param_groups:
        group["lr"] = group["initial_lr"] = factor * group["lr"]
        if not decay:
            group["weight_decay"] = 0.0
    device = next(model.parameters()).device
    epochs = (data.train.batches(batch_size, seed + epoch) for epoch in itertools.count())
    batches = itertools.islice(itertools.chain.from_iterable(epochs), steps)
    weights = {name: p for name, p in model.named_parameters() if p.requires_grad and p.ndim > 1}
    ratios: dict[str, list[float]] = {name: [] for name in weights}
    diverged = False
    model.train()
    with randomness.isolated():
        torch.manual_seed(seed)
        for batch in batches:
            moved = {name: value.to(device) for name, value in batch.items()}
            before = {name: p.detach().clone() for name, p in weights.items()}
            try:
                rule.step(data.prepare(moved, training=True))
            except NonFiniteError:
                diverged = True
                break
            for name, old in before.items():
                size = float(old.norm())
                change = float((weights[name].detach() - old).norm())
                ratios[name].append(change / size if size else math.inf)
    medians = {name: statistics.median(values) for name, values in ratios.items() if values}
    return Rehearsal(
        model.eval(), objective, rule.optimizer.param_groups[0]["lr"], steps, medians, diverged
    )


def fresh(model: nn.Module, objective: Objective, seed: int) -> tuple[nn.Module, Objective]:
    """The model with new initial weights, built as it was where that is known."""
    device = next(model.parameters()).device
    judge = copy.deepcopy(objective)
    with randomness.isolated():
        torch.manual_seed(seed)
        try:
            return networks.build(networks.config(model)).to(device), judge
        except ValueError:  # a class of the user's own
            again = copy.deepcopy(model)
            for module in again.modules():
                reset = getattr(module, "reset_parameters", None)
                if callable(reset):
                    reset()
            return again, judge


def _again(rule: Backprop) -> Backprop:
    """The rule without a schedule, and unbound."""
    again = copy.copy(rule)
    again.schedule, again.scaler, again.notify = None, None, _ignore
    given: Any = rule._given
    if isinstance(given, torch.optim.Optimizer):  # which holds another model's parameters
        again._given = functools.partial(type(given), **given.defaults)
    return again


def _ignore(event: str, *arguments: Any) -> None: ...
