"""Bounded activations: sigmoids of all kinds, the radial bump, softmax."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

__all__ = ["hardtanh", "radial", "sigmoid", "softmax", "softsign", "tanh"]


def sigmoid(x: Float[Tensor, "*shape"], slope: float = 1.0) -> Float[Tensor, "*shape"]:
    r"""The logistic function: a smooth step from 0 to 1.

    $$\sigma(kx) = \frac{1}{1 + e^{-kx}}, \qquad \sigma' = k\,\sigma\,(1 - \sigma) \le k/4$$

    Args:
        slope: $k$; 4.9 is NEAT's steepened sigmoid, infinity would be the threshold.

    Source: Verhulst (1845), Recherches mathématiques sur la loi d'accroissement de la population;
    as a neuron: Rumelhart, Hinton & Williams (1986), Nature 323.
    """
    return torch.sigmoid(x if slope == 1 else slope * x)


def tanh(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    r"""The hyperbolic tangent, or bipolar sigmoid: a smooth step from -1 to 1.

    $$\tanh x = 2\sigma(2x) - 1, \qquad \tanh' = 1 - \tanh^2$$

    Source: LeCun, Bottou, Orr & Müller (1998), Efficient BackProp, section 4.4.
    """
    return torch.tanh(x)


def hardtanh(
    x: Float[Tensor, "*shape"], min_val: float = -1.0, max_val: float = 1.0
) -> Float[Tensor, "*shape"]:
    r"""The identity, clipped.

    $$f(x) = \max(-1, \min(1, x))$$

    Source: Collobert (2004), Large Scale Machine Learning, PhD thesis, Paris 6.
    """
    return F.hardtanh(x, min_val, max_val)


def softsign(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    r"""A step from -1 to 1 with slow, polynomial tails; once continuously differentiable at 0.

    $$f(x) = \frac{x}{1 + |x|}, \qquad f'(x) = \frac{1}{(1 + |x|)^2}$$

    Source: Bergstra, Desjardins, Lamblin & Bengio (2009), Quadratic polynomials learn better
    image features, technical report 1337, Université de Montréal.
    """
    return F.softsign(x)


def radial(
    x: Float[Tensor, "*shape"], beta: float = 1.0, center: float = 0.0
) -> Float[Tensor, "*shape"]:
    r"""A Gaussian bump: active near its center only.

    $$f(x) = e^{-\beta (x - x_0)^2}, \qquad f'(x) = -2\beta\,(x - x_0)\,f(x)$$

    Source: Broomhead & Lowe (1988), Multivariable functional interpolation and adaptive networks,
    Complex Systems 2.
    """
    return torch.exp(-beta * (x - center).square())


def softmax(
    z: Float[Tensor, "*shape"], dim: int = -1, temperature: float = 1.0
) -> Float[Tensor, "*shape"]:
    r"""Positive values that sum to 1 along `dim`: scores as probabilities.

    $$p_i = \frac{e^{z_i/T}}{\sum_j e^{z_j/T}}, \qquad
      \frac{\partial p}{\partial z} = \frac{\operatorname{diag}(p) - p p^\top}{T}$$

    Args:
        temperature: $T$; towards 0 the largest takes all, towards infinity all are equal.

    Source: Bridle (1990), Probabilistic interpretation of feedforward classification network
    outputs, Neurocomputing.
    """
    return torch.softmax(z if temperature == 1 else z / temperature, dim=dim)
