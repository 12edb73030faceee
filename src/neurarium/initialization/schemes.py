"""Schemes that fill one tensor at random, in place, given only its shape."""

import math
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from neurarium import activations

__all__ = [
    "constant_",
    "gain",
    "kaiming_",
    "lecun_",
    "nielsen_",
    "normal_",
    "orthogonal_",
    "uniform_",
    "xavier_",
]

Distribution = Literal["normal", "uniform"]


def gain(activation: Any) -> float:
    r"""The factor that keeps the second moment of a signal through an activation.

    $$g = \frac{1}{\sqrt{\mathbb{E}[\varphi(z)^2]}}, \qquad z \sim N(0, 1)$$

    $\sqrt2$ for the rectifier, $\sqrt{2/(1 + a^2)}$ for a leaky one, 1.59 for tanh, where torch
    recommends 5/3. Integrated numerically, so any elementwise activation has one.

    Source: He et al. (2015), Delving Deep into Rectifiers, arXiv:1502.01852, equation 10.
    """
    if activations.widening(activation) > 1:
        raise ValueError(
            f"{activation!r} mixes its inputs and has no gain; take 'lecun' or 'xavier'"
        )
    module = activations.module(activation).double().eval()
    # An even number of points around 0 never meets the kink there.
    z = torch.linspace(-12, 12, 24_000, dtype=torch.float64).unsqueeze(1)
    density = torch.exp(-z.square() / 2) / math.sqrt(2 * math.pi)
    with torch.no_grad():
        moment = torch.trapezoid((module(z).square() * density).squeeze(1), z.squeeze(1))
    return float(moment.rsqrt())


# --- schemes -----------------------------------------------------------------------------


def xavier_(
    weight: Float[Tensor, "..."], gain: float = 1.0, distribution: Distribution = "uniform"
) -> Float[Tensor, "..."]:
    r"""Keep the variance of activations forwards and of gradients backwards, on average.

    $$\operatorname{Var}(W) = g^2 \frac{2}{n_\text{in} + n_\text{out}}$$

    Source: Glorot & Bengio (2010), Understanding the difficulty of training deep feedforward
    neural networks, AISTATS.
    """
    fan_in, fan_out = nn.init._calculate_fan_in_and_fan_out(weight)
    return _draw_(weight, gain * math.sqrt(2 / (fan_in + fan_out)), distribution)


def kaiming_(
    weight: Float[Tensor, "..."],
    activation: Any = "relu",
    mode: Literal["fan_in", "fan_out"] = "fan_in",
    distribution: Distribution = "normal",
) -> Float[Tensor, "..."]:
    r"""Keep the variance through layers of the given activation, forwards (or backwards).

    $$\operatorname{Var}(W) = \frac{g^2}{n_\text{in}}, \qquad g = \sqrt2 \text{ for the rectifier}$$

    Args:
        mode: "fan_out" keeps the variance of gradients instead.

    Source: He et al. (2015), Delving Deep into Rectifiers, arXiv:1502.01852.
    """
    fan_in, fan_out = nn.init._calculate_fan_in_and_fan_out(weight)
    fan = fan_in if mode == "fan_in" else fan_out
    return _draw_(weight, gain(activation) / math.sqrt(fan), distribution)


def lecun_(
    weight: Float[Tensor, "..."], distribution: Distribution = "normal"
) -> Float[Tensor, "..."]:
    r"""Give each unit's sum the variance of its inputs; also what SELU asks for.

    $$\operatorname{Var}(W) = \frac{1}{n_\text{in}}$$

    Source: LeCun, Bottou, Orr & Müller (1998), Efficient BackProp, section 4.6.
    """
    fan_in, _ = nn.init._calculate_fan_in_and_fan_out(weight)
    return _draw_(weight, 1 / math.sqrt(fan_in), distribution)


def orthogonal_(weight: Float[Tensor, "..."], gain: float = 1.0) -> Float[Tensor, "..."]:
    r"""A random orthogonal matrix (rows or columns orthonormal): keeps lengths exactly.

    $$W W^\top = g^2 I \quad \text{or} \quad W^\top W = g^2 I$$

    Source: Saxe, McClelland & Ganguli (2014), Exact solutions to the nonlinear dynamics of
    learning in deep linear neural networks, arXiv:1312.6120.
    """
    nn.init.orthogonal_(weight, gain)
    return weight


def normal_(
    weight: Float[Tensor, "..."], std: float = 0.01, mean: float = 0.0
) -> Float[Tensor, "..."]:
    r"""Independent normal values of one size in every layer.

    $$W_{ij} \sim N(\mu, \sigma^2)$$

    Source: Krizhevsky, Sutskever & Hinton (2012), ImageNet classification with deep
    convolutional neural networks, NIPS (standard deviation 0.01).
    """
    return nn.init.normal_(weight, mean, std)


def uniform_(weight: Float[Tensor, "..."], bound: float = 0.05) -> Float[Tensor, "..."]:
    r"""Independent uniform values of one size in every layer.

    $$W_{ij} \sim U(-a, a)$$

    Source: Rumelhart, Hinton & Williams (1986), Learning internal representations by error
    propagation, PDP 1 (small random weights break the symmetry; the bound is Keras's default).
    """
    return nn.init.uniform_(weight, -bound, bound)


def constant_(weight: Float[Tensor, "..."], value: float = 0.0) -> Float[Tensor, "..."]:
    r"""The same value everywhere: the units of a layer stay equal for ever; shown as a warning.

    $$W_{ij} = c$$

    Source: Rumelhart, Hinton & Williams (1986), Learning internal representations by error
    propagation, PDP 1 (the symmetry that small random weights break).
    """
    return nn.init.constant_(weight, value)


def nielsen_(weight: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    r"""Standard normal weights and biases, whatever the layer's width: units start saturated.

    $$W_{ij} \sim N(0, 1), \qquad b_i \sim N(0, 1)$$

    Source: Nielsen (2015), Neural Networks and Deep Learning, chapter 1; chapter 3 replaces it
    by `lecun_`.
    """
    return nn.init.normal_(weight)


def _draw_(weight: Tensor, std: float, distribution: Distribution) -> Tensor:
    if distribution == "normal":
        return nn.init.normal_(weight, 0, std)
    if distribution == "uniform":
        return nn.init.uniform_(weight, -math.sqrt(3) * std, math.sqrt(3) * std)
    raise ValueError(f"distribution must be 'normal' or 'uniform', got {distribution!r}")
