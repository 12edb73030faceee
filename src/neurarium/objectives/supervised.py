"""The common objective: a loss between output and target, plus penalties."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from neurarium import losses
from neurarium import penalties as named_penalties
from neurarium._names import resolve
from neurarium.data import Batch

__all__ = ["Objective", "supervised"]

Penalty = Callable[[nn.Module, Batch], Tensor]


@runtime_checkable
class Objective(Protocol):
    """Judges a model on a batch; may be an `nn.Module` with parameters of its own."""

    def __call__(self, model: nn.Module, batch: Batch) -> Tensor | Mapping[str, Tensor]: ...


def supervised(
    loss: str | Callable[..., Tensor],
    penalties: Sequence[str | Penalty] = (),
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
        penalties: callables of (model, batch), or names of those in `neurarium.penalties`
            ("l1:1e-4"), each added to the loss; a weight is their own.
        target: the batch key that the loss compares with.

    Raises:
        ValueError: at the first batch, if a loss of logits is given probabilities.

    Source: Vapnik (1992), Principles of risk minimization for learning theory, NIPS 4.
    """
    return _Supervised(resolve(loss, losses, "loss"), [*map(_penalty, penalties)], target)


def plain_loss(objective: object) -> Callable[..., Tensor] | None:
    """The loss, where an objective is `supervised` by that alone; None for any other."""
    if isinstance(objective, _Supervised) and not objective.penalties:
        return objective.loss
    return None


def ask(model: nn.Module, batch: Batch) -> Tensor:
    """The model's output; one with `reads`, names of further keys, is given those there are."""
    keys = getattr(model, "reads", ())
    return model(batch["input"], **{key: batch[key] for key in keys if key in batch})


class _Supervised(nn.Module):
    def __init__(
        self, loss: Callable[..., Tensor], penalties: Sequence[Penalty], target: str
    ) -> None:
        super().__init__()
        self.loss, self.target = loss, target
        self.penalties = tuple(penalties)
        self._names = _name(loss), *map(_name, penalties)
        for i, penalty in enumerate(penalties):
            if isinstance(penalty, nn.Module):  # a tuple would hide its parameters
                self.add_module(f"penalty{i}", penalty)
        self._unchecked = getattr(loss, "func", loss) in _OF_LOGITS or isinstance(
            loss, nn.CrossEntropyLoss
        )

    def forward(self, model: nn.Module, batch: Batch) -> Tensor | dict[str, Tensor]:
        prediction = ask(model, batch)
        target = batch[self.target]
        if prediction.dtype in (torch.bfloat16, torch.float16):
            prediction = prediction.float()  # the loss itself is always computed in full precision
        if prediction.shape == (*target.shape, 1):
            prediction = prediction.squeeze(-1)
        if self._unchecked:
            self._check_logits(prediction)
        loss = self.loss(prediction, target)
        if not self.penalties:
            return loss
        own, *names = self._names
        total, parts = loss, {own: loss}
        for name, penalty in zip(names, self.penalties, strict=True):
            value = penalty(model, batch)
            total = total + value
            parts[name] = parts[name] + value if name in parts else value
        return {"loss": total, **parts}

    def _check_logits(self, prediction: Tensor) -> None:
        # Once: it would cost a small network a tenth of its step. Logits never sum to 1 by chance.
        if prediction.ndim < 2 or len(prediction) < 2:
            return
        self._unchecked = False
        ones = torch.ones_like(prediction[:, 0])
        if (prediction >= 0).all() and torch.allclose(prediction.sum(1), ones, atol=1e-4):
            raise ValueError(
                f"{_name(self.loss)} needs logits, but the rows of the model's output are "
                "probabilities (at least 0, sum 1); leave the softmax away, the loss contains it"
            )

    def __repr__(self) -> str:
        penalties = ", ".join(map(repr, self.penalties))
        return f"supervised({_name(self.loss)}" + (f", [{penalties}])" if penalties else ")")


_OF_LOGITS = (
    losses.cross_entropy,
    losses.focal,
    nn.functional.cross_entropy,
)


def _penalty(spec: str | Penalty) -> Penalty:
    if not isinstance(spec, str):
        return spec
    made = resolve(spec, named_penalties, "penalty")
    try:
        return made()
    except TypeError as error:
        raise ValueError(f"penalty {spec!r} needs its weight, such as '{spec}:1e-4'") from error


def _name(part: Any) -> str:
    """`cross_entropy`, and GroupLasso as `group_lasso`: the name in the logs."""
    part = getattr(part, "func", part)  # of a functools.partial
    name = getattr(part, "__name__", type(part).__name__)
    return re.sub(r"(?<=[a-z])(?=[A-Z][a-z])", "_", name).lower()
