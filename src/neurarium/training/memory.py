"""Out of memory: one sentence, with the number of rows that would fit."""

import contextlib
import traceback
from collections.abc import Iterator

import torch
from torch import nn

from neurarium.data import Batch
from neurarium.learning.rule import value_of
from neurarium.objectives import Objective
from neurarium.training.distributed.shares import part_of


class OutOfMemoryError(MemoryError):
    """A step takes more memory than there is; `rows` is how many would fit, 0 if not even one."""

    def __init__(self, message: str, rows: int) -> None:
        super().__init__(message)
        self.rows = rows


def is_out_of_memory(error: BaseException) -> bool:
    """Whether Python, or torch on any device, had no more memory to give."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and "DefaultCPUAllocator" in str(error)


@contextlib.contextmanager
def explained(model: nn.Module, objective: Objective, batch: Batch) -> Iterator[None]:
    """Say how many of the batch's rows a step can take, should it be too many."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, OutOfMemoryError) or not is_out_of_memory(error):
            raise
        traceback.clear_frames(error.__traceback__)  # which hold what the step had computed
        rows = len(next(iter(batch.values())))
        fitting = _rows_that_fit(model, objective, batch, rows)
        hint = f"{fitting} fit: batch_size={fitting} (--batch-size {fitting})"
        if not fitting:
            hint = "not even one fits; take a smaller network"
        raise OutOfMemoryError(f"out of memory in a step of {rows} rows; {hint}", fitting) from None


def _rows_that_fit(model: nn.Module, objective: Objective, batch: Batch, rows: int) -> int:
    """Half as many, and half of those, until the gradient of so many can be had."""
    trained = [p for p in model.parameters() if p.requires_grad]
    model.zero_grad(set_to_none=True)
    while rows := rows // 2:
        try:
            loss = value_of(objective(model, part_of(batch, slice(0, rows))))["loss"]
            gradients = torch.autograd.grad(loss, trained, allow_unused=True)
            del loss, gradients
        except (MemoryError, RuntimeError, ValueError) as error:  # normalization wants two rows
            traceback.clear_frames(error.__traceback__)
            continue
        return rows
    return 0
