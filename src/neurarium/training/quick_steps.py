"""An epoch's steps by the shortest way that nobody can tell from the usual one."""

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from neurarium.data import Resident
from neurarium.learning.backprop_in_numpy import BackpropInNumpy
from neurarium.training.callbacks.base import STEP_EVENTS

if TYPE_CHECKING:
    from neurarium.training.trainer import Trainer


@contextlib.contextmanager
def quick_steps(
    trainer: "Trainer", usual: Callable[[dict[str, Tensor]], dict[str, Tensor]]
) -> Iterator[Callable[[dict[str, Tensor]], dict[str, Tensor]]]:
    """What does a step: `usual`, or a shorter way where no callback looks at single steps.

    Weights and the optimizer's state are in their places again at the end. A batch that the short
    way cannot do, a loss that is not finite among them, goes the usual way, and so do all after it.
    """
    split = trainer.train
    known = type(split) is Resident and trainer.data.augment is None
    if not known or trainer.processes.size > 1 or _is_watched(trainer):
        yield usual
        return
    quick: BackpropInNumpy | None = None
    tries = 2  # an optimizer has no state before its first step

    def step(batch: dict[str, Tensor]) -> dict[str, Tensor]:
        nonlocal quick, tries
        if quick is None and tries:
            tries -= 1
            quick = opened.enter_context(BackpropInNumpy.opened(trainer.rule, split.tensors))
        if quick is None:
            return usual(batch)
        if quick.step(batch):
            return {}
        quick.give_back()
        return usual(batch)

    with contextlib.ExitStack() as opened:
        yield step
    if quick is not None and quick.rows:
        trainer.rows += quick.rows
        trainer.totals["loss"] = trainer.totals.get("loss", torch.zeros(())) + quick.loss


def _is_watched(trainer: "Trainer") -> bool:
    listening = (one.__self__ for event in STEP_EVENTS for one in trainer.listeners[event])
    return any(callback.reads_steps for callback in listening)
