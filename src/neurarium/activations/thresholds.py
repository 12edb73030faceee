"""Threshold transfer functions: the neuron fires or doesn't.

Their true derivative is 0 wherever it exists. `torch.heaviside` has none and ``z >= 0`` cuts the
graph, so both raise in `backward`; these give zero, or on request the straight-through estimate.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["hardlim", "hardlims", "sign", "step"]


def step(
    z: Float[Tensor, "*shape"], at_zero: float = 1.0, straight_through: bool = False
) -> Float[Tensor, "*shape"]:
    r"""Fire (1) where the input is positive, stay silent (0) where it is negative.

    $$f(z) = \begin{cases} 1 & z > 0 \\ f_0 & z = 0 \\ 0 & z < 0 \end{cases}$$

    Args:
        at_zero: $f_0$, the value at 0; 1 as in McCulloch & Pitts, 0 in Nielsen's perceptron.
        straight_through: learn through it as if it were the identity on [-1, 1]; else the
            gradient is exactly 0.

    Source: McCulloch & Pitts (1943), A logical calculus of the ideas immanent in nervous activity,
    Bull. Math. Biophysics 5.
    """
    return _Threshold.apply(z, 0.0, at_zero, straight_through)


def hardlim(z: Float[Tensor, "*shape"], straight_through: bool = False) -> Float[Tensor, "*shape"]:
    r"""The hard limit: `step` that fires at zero too.

    $$f(z) = \begin{cases} 1 & z \ge 0 \\ 0 & z < 0 \end{cases}$$

    Source: Hagan, Demuth & Beale (2014), Neural Network Design, chapter 2.
    """
    return _Threshold.apply(z, 0.0, 1.0, straight_through)


def hardlims(z: Float[Tensor, "*shape"], straight_through: bool = False) -> Float[Tensor, "*shape"]:
    r"""The symmetric hard limit; never 0, so it codes two classes as -1 and 1.

    $$f(z) = \begin{cases} 1 & z \ge 0 \\ -1 & z < 0 \end{cases}$$

    Source: Hagan, Demuth & Beale (2014), Neural Network Design, chapter 2.
    """
    return _Threshold.apply(z, -1.0, 1.0, straight_through)


def sign(
    z: Float[Tensor, "*shape"], at_zero: float = 0.0, straight_through: bool = False
) -> Float[Tensor, "*shape"]:
    r"""The sign of the input; 0 at zero, which breaks a coding by -1 and 1: see `hardlims`.

    $$f(z) = \begin{cases} 1 & z > 0 \\ f_0 & z = 0 \\ -1 & z < 0 \end{cases}$$

    Source: Hagan, Demuth & Beale (2014), Neural Network Design, chapter 2; straight-through:
    Bengio, Léonard & Courville (2013), arXiv:1308.3432.
    """
    return _Threshold.apply(z, -1.0, at_zero, straight_through)


class _Threshold(torch.autograd.Function):
    """1 above zero, `below` below it, `at_zero` between."""

    generate_vmap_rule = True

    @staticmethod
    def forward(z: Tensor, below: float, at_zero: float, straight_through: bool) -> Tensor:
        values = torch.where(z > 0, 1.0, below).to(z.dtype)
        return torch.where(z == 0, at_zero, values)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        z, _, _, ctx.straight_through = inputs
        ctx.save_for_backward(z)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        (z,) = ctx.saved_tensors
        passes = z.abs() <= 1 if ctx.straight_through else torch.zeros_like(z, dtype=torch.bool)
        return grads[0] * passes, None, None, None
