"""Rectifiers: the identity for positive inputs, something small for negative ones; and kin."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

__all__ = [
    "bent_identity",
    "elu",
    "identity",
    "leaky_relu",
    "prelu",
    "relu",
    "rrelu",
    "selu",
    "softplus",
]


def identity(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    r"""No activation: layers of it compose to one linear layer.

    $$f(x) = x$$

    Source: Widrow & Hoff (1960), Adaptive switching circuits, IRE WESCON (the linear neuron).
    """
    return x


def relu(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    r"""The rectifier: continuous everywhere, not differentiable at 0, where torch takes $f' = 0$.

    $$f(x) = \max(0, x)$$

    Source: Nair & Hinton (2010), Rectified linear units improve restricted Boltzmann machines,
    ICML.
    """
    return F.relu(x)


def leaky_relu(x: Float[Tensor, "*shape"], negative_slope: float = 0.01) -> Float[Tensor, "*shape"]:
    r"""A rectifier that lets some of the negative side through, so no unit dies.

    $$f(x) = \begin{cases} x & x > 0 \\ a\,x & x \le 0 \end{cases}$$

    Source: Maas, Hannun & Ng (2013), Rectifier nonlinearities improve neural network acoustic
    models, ICML workshop.
    """
    return F.leaky_relu(x, negative_slope)


def prelu(
    x: Float[Tensor, "*shape"], weight: Float[Tensor, " channels"] | None = None
) -> Float[Tensor, "*shape"]:
    r"""A leaky rectifier whose slope is learnt, one per channel (axis 1).

    $$f(x) = \begin{cases} x & x > 0 \\ a\,x & x \le 0 \end{cases}, \qquad
      \frac{\partial f}{\partial a} = \min(0, x)$$

    Keep $a$ out of weight decay, which would pull it to the plain rectifier.

    Args:
        weight: $a$, one or one per channel; 0.25 where the learning starts if not given.

    Source: He et al. (2015), Delving Deep into Rectifiers, arXiv:1502.01852.
    """
    return F.prelu(x, x.new_full((1,), 0.25) if weight is None else weight)


def rrelu(
    x: Float[Tensor, "*shape"],
    lower: float = 1 / 8,
    upper: float = 1 / 3,
    training: bool = False,
) -> Float[Tensor, "*shape"]:
    r"""A leaky rectifier with a random slope in training and the mean slope afterwards.

    $$f(x) = \begin{cases} x & x > 0 \\ a\,x & x \le 0 \end{cases}, \qquad
      a \sim U(l, u) \text{ in training, else } a = (l + u)/2$$

    The paper divides by $a \sim U(3, 8)$ and by 5.5 at test: the same range, another law (test
    slope 0.1818 against 0.2292 here).

    Source: Xu et al. (2015), Empirical Evaluation of Rectified Activations in Convolution Network,
    arXiv:1505.00853.
    """
    return F.rrelu(x, lower, upper, training)


def elu(x: Float[Tensor, "*shape"], alpha: float = 1.0) -> Float[Tensor, "*shape"]:
    r"""A rectifier that saturates smoothly at $-\alpha$, which brings mean activations near 0.

    $$f(x) = \begin{cases} x & x > 0 \\ \alpha\,(e^x - 1) & x \le 0 \end{cases}$$

    Source: Clevert, Unterthiner & Hochreiter (2015), Fast and Accurate Deep Network Learning by
    Exponential Linear Units, arXiv:1511.07289.
    """
    return F.elu(x, alpha)


def selu(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    r"""An ELU scaled so that activations keep mean 0 and variance 1 through the layers.

    $$f(x) = \lambda \begin{cases} x & x > 0 \\ \alpha\,(e^x - 1) & x \le 0 \end{cases}, \qquad
      \lambda \approx 1.0507,\; \alpha \approx 1.6733$$

    Source: Klambauer et al. (2017), Self-Normalizing Neural Networks, arXiv:1706.02515.
    """
    return F.selu(x)


def softplus(x: Float[Tensor, "*shape"], beta: float = 1.0) -> Float[Tensor, "*shape"]:
    r"""The smooth rectifier; torch returns $x$ itself where $\beta x > 20$.

    $$f(x) = \tfrac1\beta \log(1 + e^{\beta x}), \qquad f'(x) = \sigma(\beta x)$$

    Source: Dugas et al. (2001), Incorporating second-order functional knowledge for better option
    pricing, NIPS 13.
    """
    return F.softplus(x, beta)


def bent_identity(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    r"""A line whose slope bends from 1/2 to 3/2: nonlinear, unbounded, invertible.

    $$f(x) = \frac{\sqrt{x^2 + 1} - 1}{2} + x, \qquad f'(x) = \frac{x}{2\sqrt{x^2 + 1}} + 1$$

    Source: Wikipedia, Activation function, table of activation functions; its author is unknown.
    """
    # As written, sqrt(x² + 1) - 1 loses the digits of a small x, and x² overflows for a large one.
    return x * (x / (torch.hypot(x, torch.ones_like(x)) + 1)) / 2 + x
