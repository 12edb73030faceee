"""Normalization: one forward for torch's five layers, and their gradients derived by hand."""

import math
from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor

__all__ = ["batch_norm_backward", "layer_norm_backward", "normalize"]


def normalize(
    x: Float[Tensor, " *shape"],
    dims: Sequence[int],
    center: bool = True,
    eps: float = 1e-5,
) -> Float[Tensor, " *shape"]:
    r"""Mean 0 and variance 1 over `dims`: the one formula behind five layers.

    $$\hat x = \frac{x - \mu}{\sqrt{\sigma^2 + \epsilon}}, \qquad
      \mu = \operatorname{mean}_\text{dims} x, \qquad
      \sigma^2 = \operatorname{mean}_\text{dims} (x - \mu)^2$$

    Only the axes pooled differ. For images (N, C, H, W):

    - batch normalization in training: `(0, 2, 3)`
    - layer normalization: the axes of one row's features, `(1, 2, 3)`, or `(-1,)` of a sequence
    - instance normalization: `(2, 3)`
    - group normalization: `(2, 3, 4)` of `x.unflatten(1, (groups, -1))`
    - root-mean-square normalization: those of layer normalization with `center=False`

    A scale and a shift come after it; batch normalization's running variance is the unbiased one.

    Args:
        center: whether to subtract the mean; without, $\mu = 0$.

    Raises:
        ValueError: where the mean would be that of a single value, which always becomes 0.

    Source: Ioffe & Szegedy (2015), arXiv:1502.03167; Ba et al. (2016), arXiv:1607.06450; Ulyanov
    et al. (2016), arXiv:1607.08022; Wu & He (2018), arXiv:1803.08494; Zhang & Sennrich (2019),
    arXiv:1910.07467.
    """
    dims = list(dims)
    if center:
        _check_pooled(x, dims)
        x = x - x.mean(dims, keepdim=True)
    return x * (x.square().mean(dims, keepdim=True) + eps).rsqrt()


def batch_norm_backward(
    grad: Float[Tensor, "batch channels *positions"],
    x: Float[Tensor, "batch channels *positions"],
    weight: Float[Tensor, " channels"],
    eps: float = 1e-5,
) -> tuple[
    Float[Tensor, "batch channels *positions"],
    Float[Tensor, " channels"],
    Float[Tensor, " channels"],
]:
    r"""Gradients of batch normalization in training, derived by hand.

    $$\partial_{\hat x} = \gamma\,\partial_y, \qquad
      \partial_{\sigma^2} = -\tfrac12 (\sigma^2 + \epsilon)^{-3/2} \sum \partial_{\hat x} (x - \mu),
      \qquad \partial_\mu = -(\sigma^2 + \epsilon)^{-1/2} \sum \partial_{\hat x}$$

    $$\partial_x = \frac{\partial_{\hat x}}{\sqrt{\sigma^2 + \epsilon}}
      + \frac{2 (x - \mu)}{m}\,\partial_{\sigma^2} + \frac{\partial_\mu}{m}, \qquad
      \partial_\gamma = \sum \partial_y\, \hat x, \qquad \partial_\beta = \sum \partial_y$$

    Sums run over the m values of a channel. The paper's other term of $\partial_\mu$,
    $\partial_{\sigma^2} \sum -2(x - \mu)/m$, is 0.

    Args:
        grad: gradient of the loss with respect to $y = \gamma \hat x + \beta$.
        weight: $\gamma$.

    Returns:
        The gradients with respect to x, $\gamma$ and $\beta$.

    Source: Ioffe & Szegedy (2015), Batch normalization: accelerating deep network training by
    reducing internal covariate shift, section 3, arXiv:1502.03167.
    """
    dims = [0, *range(2, x.ndim)]
    gamma = weight.view(-1, *[1] * (x.ndim - 2))
    x_grad = _backward(grad * gamma, x, dims, eps)
    return x_grad, (grad * normalize(x, dims, eps=eps)).sum(dims), grad.sum(dims)


def layer_norm_backward(
    grad: Float[Tensor, "*batch"],
    x: Float[Tensor, "*batch"],
    weight: Float[Tensor, "*features"],
    eps: float = 1e-5,
) -> tuple[Float[Tensor, "*batch"], Float[Tensor, "*features"], Float[Tensor, "*features"]]:
    r"""Gradients of layer normalization, derived by hand: batch normalization's, axes exchanged.

    $$\partial_x = \frac{1}{\sqrt{\sigma^2 + \epsilon}} \Bigl(\partial_{\hat x}
      - \operatorname{mean}(\partial_{\hat x})
      - \hat x \operatorname{mean}(\partial_{\hat x}\, \hat x)\Bigr), \qquad
      \partial_{\hat x} = \gamma\,\partial_y$$

    Means run over the features of a row, which are the last axes of x, as many as `weight` has;
    the gradients of $\gamma$ and $\beta$ sum over the rows.

    Args:
        grad: gradient of the loss with respect to $y = \gamma \hat x + \beta$.
        weight: $\gamma$.

    Returns:
        The gradients with respect to x, $\gamma$ and $\beta$.

    Source: Ba, Kiros & Hinton (2016), Layer normalization, arXiv:1607.06450.
    """
    features = list(range(x.ndim - weight.ndim, x.ndim))
    rows = list(range(x.ndim - weight.ndim))
    x_grad = _backward(grad * weight, x, features, eps)
    weight_grad = grad * normalize(x, features, eps=eps)
    if not rows:  # for torch an empty list of axes means all of them
        return x_grad, weight_grad, grad
    return x_grad, weight_grad.sum(rows), grad.sum(rows)


def _backward(grad: Tensor, x: Tensor, dims: list[int], eps: float) -> Tensor:
    """From the gradient with respect to the normalized x to that of x, through its statistics."""
    m = _check_pooled(x, dims)
    centered = x - x.mean(dims, keepdim=True)
    scale = (centered.square().mean(dims, keepdim=True) + eps).rsqrt()
    variance_grad = -0.5 * scale**3 * (grad * centered).sum(dims, keepdim=True)
    mean_grad = -scale * grad.sum(dims, keepdim=True)
    return grad * scale + 2 * centered / m * variance_grad + mean_grad / m


def _check_pooled(x: Tensor, dims: Sequence[int]) -> int:
    """How many values share a mean."""
    pooled = math.prod(x.shape[dim] for dim in dims)
    if pooled <= 1:
        raise ValueError(
            f"x of shape {tuple(x.shape)} has {pooled} value in each mean over dims={list(dims)}, "
            "from which nothing is left; give a larger batch or pool more axes"
        )
    return pooled
