"""Weights under another name: length and direction apart, or standardized filter by filter.

`torch.nn.utils.parametrizations.weight_norm` is the layer; here is what its gradient does. Its
data-dependent start is `initialization.weight_norm_`.
"""

from jaxtyping import Float
from torch import Tensor, nn

from neurarium.layers.norm import normalize

__all__ = ["WeightStandardization", "weight_norm_backward"]


def weight_norm_backward(
    grad: Float[Tensor, " units *inputs"],
    v: Float[Tensor, " units *inputs"],
    g: Float[Tensor, " units *ones"],
) -> tuple[Float[Tensor, " units *inputs"], Float[Tensor, " units *ones"]]:
    r"""Gradients of a weight's direction and length: the direction only ever turns.

    $$w = g\,\frac{v}{\lVert v \rVert}, \qquad
      \partial_g = \frac{\partial_w \cdot v}{\lVert v \rVert}, \qquad
      \partial_v = \frac{g}{\lVert v \rVert} \Bigl(\partial_w
      - \partial_g\,\frac{v}{\lVert v \rVert}\Bigr)$$

    $\partial_v \perp v$, so gradient descent makes v longer at each step, and with it the next
    steps' turns smaller: a learning rate that is too large tames itself.

    Args:
        grad: gradient of the loss with respect to w.
        v: as torch keeps it, `layer.parametrizations.weight.original1`.
        g: as torch keeps it, `original0`: one length per unit, all other axes 1.

    Returns:
        The gradients with respect to v and g.

    Source: Salimans & Kingma (2016), Weight normalization: a simple reparameterization to
    accelerate training of deep neural networks, arXiv:1602.07868.
    """
    axes = list(range(1, v.ndim))
    length = v.square().sum(axes, keepdim=True).sqrt()
    direction = v / length
    g_grad = (grad * direction).sum(axes, keepdim=True)
    return g / length * (grad - g_grad * direction), g_grad


class WeightStandardization(nn.Module):
    r"""Each filter's weights with mean 0 and variance 1; a normalization of activations follows.

    $$\hat W_i = \frac{W_i - \mu_i}{\sigma_i}, \qquad
      \mu_i = \operatorname{mean}_j W_{ij}, \qquad
      \sigma_i^2 = \operatorname{mean}_j (W_{ij} - \mu_i)^2 + \epsilon$$

    A parametrization: `torch.nn.utils.parametrize.register_parametrization(convolution, "weight",
    WeightStandardization())`. The gradient is then free of its mean, and neither the scale nor
    the mean of a filter changes what the layer computes.

    Source: Qiao et al. (2019), Micro-batch training with batch-channel normalization and weight
    standardization, arXiv:1903.10520.
    """

    def __init__(self, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps

    def forward(
        self, weight: Float[Tensor, " filters *inputs"]
    ) -> Float[Tensor, " filters *inputs"]:
        return normalize(weight, range(1, weight.ndim), eps=self.eps)

    def right_inverse(
        self, weight: Float[Tensor, " filters *inputs"]
    ) -> Float[Tensor, " filters *inputs"]:
        """A weight that is set is kept as it is, and standardized when used."""
        return weight
