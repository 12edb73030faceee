"""Learn through a function that has no slope, as if it were the identity."""

import functools
from collections.abc import Callable
from typing import Any

from torch import Tensor, autograd

__all__ = ["straight_through"]

Elementwise = Callable[[Tensor], Tensor]


def straight_through(fn: Elementwise, clip: float | None = 1.0) -> Elementwise:
    r"""The same function going forward; going back, the identity near zero and nothing beyond.

    $$y = q(w), \qquad \frac{\partial L}{\partial w} := \frac{\partial L}{\partial y}
      \, \mathbf{1}\bigl[|w| \le c\bigr]$$

    Thresholds, signs and roundings are flat almost everywhere, so that no error would return
    through them. The thresholds of `activations` do this by `straight_through=True`.

    Args:
        fn: $q$, elementwise, such as `torch.round` or `torch.sign`.
        clip: $c$; None lets every error pass, the usual choice for rounding.

    Raises:
        ValueError: if `clip` is not positive, or if `fn` changes the shape.

    Source: Bengio, Léonard & Courville (2013), arXiv:1308.3432; the clip: Courbariaux et al.
    (2016), Binarized neural networks, arXiv:1602.02830.
    """
    if clip is not None and not clip > 0:
        raise ValueError(f"clip must be positive, or None to let every error pass, got {clip}")
    return functools.partial(_through, fn=fn, clip=clip)


def _through(w: Tensor, fn: Elementwise, clip: float | None) -> Tensor:
    return _StraightThrough.apply(w, fn, clip)


class _StraightThrough(autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(w: Tensor, fn: Elementwise, clip: float | None) -> Tensor:
        y = fn(w)
        if y.shape != w.shape:
            raise ValueError(
                f"straight_through needs an elementwise fn, got the shape {tuple(y.shape)} "
                f"from {tuple(w.shape)}; an error could not return to its place"
            )
        return y.clone() if y is w else y

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        w, _, ctx.clip = inputs
        ctx.save_for_backward(w)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        (w,) = ctx.saved_tensors
        passed = grads[0] if ctx.clip is None else grads[0] * (w.abs() <= ctx.clip)
        return passed, None, None
