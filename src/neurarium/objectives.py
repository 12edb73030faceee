"""Objectives say what is good: callables `(model, batch) -> loss`, or a mapping with key `loss`."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from neurarium import losses
from neurarium._names import resolve
from neurarium.data import Batch

__all__ = ["Objective", "supervised"]


@runtime_checkable
class Objective(Protocol):
    """Judges a model on a batch; may be an `nn.Module` with parameters of its own."""

    def __call__(self, model: nn.Module, batch: Batch) -> Tensor | Mapping[str, Tensor]: ...


class _Supervised(nn.Module):
    def __init__(self, loss: Callable[..., Tensor], penalties: Sequence[Any], target: str) -> None:
        super().__init__()
        self.loss, self.target = loss, target
        self.penalties = tuple(penalties)
        for i, penalty in enumerate(penalties):
            if isinstance(penalty, nn.Module):  # a tuple would hide its parameters
                self.add_module(f"penalty{i}", penalty)

    def forward(self, model: nn.Module, batch: Batch) -> Tensor | dict[str, Tensor]:
        prediction = model(batch["input"])
        target = batch[self.target]
        if prediction.dtype in (torch.bfloat16, torch.float16):
            prediction = prediction.float()  # the loss itself is always computed in full precision
        if prediction.shape == (*target.shape, 1):
            prediction = prediction.squeeze(-1)
        loss = self.loss(prediction, target)
        if not self.penalties:
            return loss
        parts = {_name(self.loss): loss}
        for penalty in self.penalties:
            parts[_name(penalty)] = parts.get(_name(penalty), 0) + penalty(model, batch)
        total: Tensor = sum(parts.values())  # type: ignore[assignment]
        return {"loss": total, **parts}

    def __repr__(self) -> str:
        penalties = ", ".join(map(_name, self.penalties))
        return f"supervised({_name(self.loss)}" + (f", [{penalties}])" if penalties else ")")


def _name(part: Any) -> str:
    part = getattr(part, "func", part)  # of a functools.partial
    return getattr(part, "__name__", type(part).__name__).lower()


def supervised(
    loss: str | Callable[..., Tensor],
    penalties: Sequence[Callable[[nn.Module, Batch], Tensor]] = (),
    target: str = "target",
) -> Objective:
    r"""Empirical risk of a loss between the model's output and the target, plus penalties.

    $$J(\theta) = \frac{1}{n} \sum_{i=1}^n L\bigl(f_\theta(x_i), d_i\bigr)
      + \sum_j \Omega_j(\theta)$$

    The result is an `nn.Module`, so a loss with parameters of its own is trained too. Each part is
    logged under its own name. An output of shape (n, 1) meets a target of shape (n,) squeezed.

    Args:
        loss: a function or module of (prediction, target), or the name of one in
            `neurarium.losses`, arguments after a colon: "huber:delta=0.5".
        penalties: callables of (model, batch), each added to the loss; a weight is their own.
        target: the batch key that the loss compares with.

    Source: Vapnik (1992), Principles of risk minimization for learning theory, NIPS 4.
    """
    return _Supervised(resolve(loss, losses, "loss"), penalties, target)
