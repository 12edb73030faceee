"""Activations in which the input, or another input, is the gate: swish, GELU, GLU, maxout."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

__all__ = ["gelu", "glu", "maxout", "mish", "silu", "swish"]


def swish(
    x: Float[Tensor, "*shape"], beta: float | Float[Tensor, "..."] = 1.0
) -> Float[Tensor, "*shape"]:
    r"""The input gated by its own sigmoid; $\beta = 1$ is SiLU, $\beta \to \infty$ the rectifier.

    $$f(x) = x\,\sigma(\beta x), \qquad f'(x) = \beta f(x) + \sigma(\beta x)(1 - \beta f(x))$$

    Args:
        beta: a number, or a parameter to learn (the module `Swish(learnable=True)` holds one).

    Source: Ramachandran, Zoph & Le (2017), Searching for Activation Functions, arXiv:1710.05941.
    """
    if isinstance(beta, Tensor) or beta != 1:
        return x * torch.sigmoid(beta * x)
    return F.silu(x)


def silu(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    r"""The sigmoid-weighted linear unit: `swish` with $\beta = 1$.

    $$f(x) = x\,\sigma(x)$$

    Source: Elfwing, Uchibe & Doya (2018), Sigmoid-weighted linear units for neural network
    function approximation in reinforcement learning, arXiv:1702.03118.
    """
    return F.silu(x)


def mish(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    r"""The input gated by the tanh of its softplus: smooth, a small dip below zero.

    $$f(x) = x \tanh(\operatorname{softplus}(x))$$

    Source: Misra (2019), Mish: A Self Regularized Non-Monotonic Activation Function,
    arXiv:1908.08681.
    """
    return F.mish(x)


def gelu(x: Float[Tensor, "*shape"], approximate: str = "none") -> Float[Tensor, "*shape"]:
    r"""The input times the probability that a standard normal variable is below it.

    $$f(x) = x\,\Phi(x), \qquad f'(x) = \Phi(x) + x\,\phi(x)$$

    Args:
        approximate: "tanh" for the paper's quick form, as in GPT-2.

    Source: Hendrycks & Gimpel (2016), Gaussian Error Linear Units, arXiv:1606.08415.
    """
    return F.gelu(x, approximate=approximate)


def glu(x: Float[Tensor, "..."], dim: int = -1) -> Float[Tensor, "..."]:
    r"""One half of the features gated by the sigmoid of the other half; halves the width.

    $$f([a, b]) = a \odot \sigma(b)$$

    Source: Dauphin et al. (2017), Language Modeling with Gated Convolutional Networks,
    arXiv:1612.08083.
    """
    return F.glu(x, dim)


def maxout(x: Float[Tensor, "..."], pieces: int = 2, dim: int = -1) -> Float[Tensor, "..."]:
    r"""The largest of each `pieces` neighbouring features: a learnt convex, piecewise linear unit.

    $$f(x)_i = \max_{j < k} x_{ik + j}$$

    Source: Goodfellow et al. (2013), Maxout Networks, arXiv:1302.4389.
    """
    if x.shape[dim] % pieces:
        raise ValueError(
            f"maxout of {pieces} pieces needs a multiple of {pieces} features, got {x.shape[dim]}"
        )
    return x.unflatten(dim, (-1, pieces)).amax(dim if dim < 0 else dim + 1)
