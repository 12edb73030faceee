"""An epoch's steps by the shortest way that nobody can tell from the usual one."""

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from neurarium.data import Resident
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
    split, quick = trainer.train, trainer.flat
    known = type(split) is Resident and trainer.data.augment is None
    if quick is None or not known or _is_watched(trainer):
        yield usual
        return
    is_open, tries = False, 2  # an optimizer has no state before its first step
    quick.rows = 0

    def step(batch: dict[str, Tensor]) -> dict[str, Tensor]:
        nonlocal is_open, tries
        if not is_open and tries:
            tries -= 1
            is_open = opened.enter_context(quick.opened(split.tensors))
        if is_open and quick.step(batch):
            return {}
        quick.give_back()
        return usual(batch)

    with contextlib.ExitStack() as opened:
        yield step
    if quick.rows:
        trainer.rows += quick.rows
        trainer.totals["loss"] = trainer.totals.get("loss", torch.zeros(())) + quick.loss


def _is_watched(trainer: "Trainer") -> bool:
    listening = (one.__self__ for event in STEP_EVENTS for one in trainer.listeners[event])
    return any(callback.reads_steps for callback in listening)
