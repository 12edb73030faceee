"""Divergences between points of a convex set."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from neurarium.losses._common import Reduction, _check_same_shape, _reduce

__all__ = ["bregman"]


def bregman(
    phi: Callable[[Tensor], Tensor],
    p: Float[Tensor, "*shape"],
    q: Float[Tensor, "*shape"],
    reduction: Reduction = "mean",
) -> Float[Tensor, "..."]:
    r"""How far the convex `phi` at p lies above its tangent at q; the mean minimizes it in q.

    $$D_\varphi(p, q) = \varphi(p) - \varphi(q) - \langle \nabla\varphi(q),\, p - q \rangle$$

    $\varphi = \tfrac12\lVert\cdot\rVert^2$ gives half the squared error, $\sum p \log p$ the
    generalized Kullback-Leibler divergence, $-\sum \log p$ Itakura-Saito, $-\log\det$ of matrices
    the log-det divergence.

    Args:
        phi: maps points (batch axes first) to one value each; the axes it removes are the point's.

    Source: Bregman (1967), The relaxation method of finding the common point of convex sets, USSR
    Comp. Math. 7(3); Banerjee et al. (2005), Clustering with Bregman divergences, JMLR 6.
    """
    _check_same_shape(p, q)
    # One point's value depends on that point alone, so the sum's gradient holds all gradients.
    slope = torch.func.grad(lambda points: phi(points).sum())(q)
    at_p, at_q = phi(p), phi(q)
    linear = slope * (p - q)
    return _reduce(at_p - at_q - linear.flatten(at_p.dim()).sum(-1), reduction)
