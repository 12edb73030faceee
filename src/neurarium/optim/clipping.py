"""Gradients that are too long, made shorter: the one place that `Backprop` and `Clip` share."""

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_, clip_grad_value_, get_total_norm

__all__ = ["check", "clip_adaptively_", "clip_gradients_"]

_SMALLEST_WEIGHT_NORM = 1e-3  # lest a row that starts at 0 never leaves it


def clip_gradients_(
    parameters: Iterable[Tensor], norm: float | None = None, value: float | None = None
) -> Tensor:
    """Clamp the entries to `value`, then scale all together to `norm`; the norm before is returned.

    Scaling keeps the direction, clamping does not.
    """
    parameters = list(parameters)
    if norm is not None and value is None:
        return _whole(clip_grad_norm_(parameters, norm))
    before = get_total_norm([p.grad for p in parameters if p.grad is not None])
    if value is not None:
        clip_grad_value_(parameters, value)
    if norm is not None:
        clip_grad_norm_(parameters, norm)
    return _whole(before)


def _whole(norm: Tensor) -> Tensor:
    """The norm as a number, where gradients are spread over processes."""
    return norm.full_tensor() if hasattr(norm, "full_tensor") else norm


@torch.no_grad()
def clip_adaptively_(parameters: Iterable[Tensor], factor: float) -> None:
    """Scale each output unit's gradient to at most `factor` times the norm of its weights.

    Biases, scales and other parameters without rows are one unit each.
    """
    for parameter in parameters:
        if parameter.grad is not None:
            most = factor * _unit_norms(parameter).clamp(min=_SMALLEST_WEIGHT_NORM)
            norms = _unit_norms(parameter.grad)
            parameter.grad.mul_((most / norms.clamp(min=1e-6)).clamp(max=1))


def check(**limits: float | None) -> None:
    """Refuse a limit that is not positive, under its argument's name."""
    for name, limit in limits.items():
        if limit is not None and not limit > 0:
            raise ValueError(
                f"{name} must be positive, got {limit}; it is the most that a gradient may have, "
                "and None does not clip"
            )


def _unit_norms(x: Tensor) -> Tensor:
    """Norm of each row of a matrix or filter of a convolution, of anything less the whole."""
    if x.squeeze().ndim < 2:
        return x.norm()
    return x.flatten(1).norm(dim=1).view(-1, *[1] * (x.ndim - 1))
