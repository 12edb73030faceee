"""Losses for numbers: squares, absolute values, a predicted variance. Robust ones: `robust`."""

import math

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from neurarium.losses._common import Reduction, _check_same_shape, _reduce

__all__ = ["gaussian_nll", "mae", "mse", "quadratic_cost"]


def mse(
    prediction: Float[Tensor, "*shape"],
    target: Float[Tensor, "*shape"],
    reduction: Reduction = "mean",
) -> Float[Tensor, "..."]:
    r"""Squared error, averaged over the examples and over the outputs.

    $$L = \frac{1}{nm} \sum_{i,j} (f_{ij} - d_{ij})^2$$

    Source: Legendre (1805), Nouvelles méthodes pour la détermination des orbites des comètes.
    """
    _check_same_shape(prediction, target)
    return F.mse_loss(prediction, target, reduction=reduction)


def quadratic_cost(
    prediction: Float[Tensor, " n *outputs"],
    target: Float[Tensor, " n *outputs"],
    reduction: Reduction = "mean",
) -> Float[Tensor, "..."]:
    r"""Half the squared distance of each example, averaged over examples, summed over outputs.

    $$C = \frac{1}{2n} \sum_x \lVert y(x) - a \rVert^2$$

    With $m$ outputs it is $m/2$ times `mse`: a rate quoted for one means another for the other.

    Source: Nielsen (2015), Neural Networks and Deep Learning, chapter 1, equation 6.
    """
    _check_same_shape(prediction, target)
    squares = (prediction - target).square()
    return _reduce(squares.flatten(1).sum(1) / 2 if squares.dim() > 1 else squares / 2, reduction)


def mae(
    prediction: Float[Tensor, "*shape"],
    target: Float[Tensor, "*shape"],
    reduction: Reduction = "mean",
) -> Float[Tensor, "..."]:
    r"""Absolute error; its minimizer is the median.

    $$L = \frac{1}{nm} \sum_{i,j} |f_{ij} - d_{ij}|$$

    Source: Laplace (1774), Mémoire sur la probabilité des causes par les événements.
    """
    _check_same_shape(prediction, target)
    return F.l1_loss(prediction, target, reduction=reduction)


def gaussian_nll(
    prediction: Float[Tensor, "*batch mean_and_log_variance"],
    target: Float[Tensor, "*batch outputs"],
    reduction: Reduction = "mean",
) -> Float[Tensor, "..."]:
    r"""Negative log-likelihood of a Gaussian whose mean and variance are both predicted.

    $$L = \tfrac12 \log 2\pi\sigma^2 + \frac{(d - \mu)^2}{2\sigma^2}, \qquad
      (\mu, \log\sigma^2) = f(x)$$

    Args:
        prediction: means, then logarithms of variances, along the last axis: twice the outputs.

    Source: Nix & Weigend (1994), Estimating the mean and variance of the target probability
    distribution, IEEE ICNN.
    """
    if prediction.shape[-1] % 2:
        raise ValueError(
            "prediction must hold a mean and a log-variance per output along its last axis, "
            f"got {prediction.shape[-1]} columns; give the model twice as many outputs as targets"
        )
    mean, log_variance = prediction.chunk(2, dim=-1)
    _check_same_shape(mean, target)
    error = (target - mean).square() * (-log_variance).exp()
    return _reduce((math.log(2 * math.pi) + log_variance + error) / 2, reduction)
