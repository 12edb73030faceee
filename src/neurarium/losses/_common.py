"""What every loss shares: the shape check and the reduction."""

from typing import Literal

from jaxtyping import Float
from torch import Tensor

Reduction = Literal["mean", "sum", "none"]


def _check_same_shape(prediction: Tensor, target: Tensor) -> None:
    # (N, 1) against (N,) would broadcast to (N, N) and train on nonsense.
    if prediction.shape != target.shape:
        raise ValueError(
            "prediction and target must have one shape, got "
            f"{tuple(prediction.shape)} and {tuple(target.shape)}; squeeze or unsqueeze one of them"
        )


def _check_classes(logits: Tensor, target: Tensor) -> None:
    if target.is_floating_point():
        raise ValueError(
            f"target must be class numbers (int64), got {target.dtype}; use target.long(), "
            "or argmax(1) if it is one-hot"
        )
    expected = logits.shape[:1] + logits.shape[2:]
    if target.shape != expected:
        raise ValueError(
            "target must have the shape of logits without the classes of axis 1, "
            f"{tuple(expected)}, got {tuple(target.shape)}; squeeze it"
        )


def _reduce(loss: Float[Tensor, "*shape"], reduction: Reduction) -> Float[Tensor, "..."]:
    if reduction == "mean":
        return loss.mean()
    if reduction == "sum":
        return loss.sum()
    if reduction == "none":
        return loss
    raise ValueError(f"reduction must be 'mean', 'sum' or 'none', got {reduction!r}")
