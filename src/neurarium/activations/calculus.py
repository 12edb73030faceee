"""Derivatives and inverses in closed form, for learning rules and plots that need no autograd."""

import functools
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from neurarium.activations import modules
from neurarium.activations.gates import gelu, mish, silu, swish
from neurarium.activations.rectifiers import (
    bent_identity,
    elu,
    identity,
    leaky_relu,
    prelu,
    relu,
    rrelu,
    selu,
    softplus,
)
from neurarium.activations.squashing import hardtanh, radial, sigmoid, softsign, tanh
from neurarium.activations.thresholds import hardlim, hardlims, sign, step

Elementwise = Callable[[Tensor], Tensor]

_SELU_SCALE, _SELU_ALPHA = 1.0507009873554805, 1.6732632423543772


def derivative(f: str | Callable[..., Tensor] | nn.Module) -> Elementwise:
    r"""The derivative of an elementwise activation, as a function of the activation's input.

    $$\varphi \mapsto \varphi'$$

    At kinks it takes the value autograd takes.

    Args:
        f: a name such as "swish:beta=2", a function of `activations`, or a module.

    Raises:
        ValueError: if no closed form is known; softmax, GLU and maxout mix their inputs.

    Source: Rumelhart, Hinton & Williams (1986), Learning representations by back-propagating
    errors, Nature 323 (where $\varphi'$ is needed).
    """
    return _look_up(f, _DERIVATIVES, "derivative")


def inverse(f: str | Callable[..., Tensor] | nn.Module) -> Elementwise:
    r"""The inverse of a strictly increasing activation; nan or infinite outside its range.

    $$\varphi^{-1}(\varphi(x)) = x$$

    Raises:
        ValueError: if `f` is not invertible, such as the rectifier.

    Source: Bengio (2014), How Auto-Encoders Could Provide Credit Assignment in Deep Networks via
    Target Propagation, arXiv:1407.7906 (where $\varphi^{-1}$ is needed).
    """
    return _look_up(f, _INVERSES, "inverse")


def _look_up(f: Any, table: dict[Callable, Callable], what: str) -> Elementwise:
    function, arguments = modules.unwrap(f)
    if function not in table:
        known = ", ".join(known.__name__ for known in table)
        raise ValueError(f"no {what} is known for {f!r}; there is one for {known}")
    return functools.partial(table[function], **arguments)


# --- derivatives, with the arguments of the functions ------------------------------------


def _sigmoid_derivative(x: Tensor, slope: float = 1.0) -> Tensor:
    s = torch.sigmoid(slope * x)
    return slope * s * (1 - s)


def _tanh_derivative(x: Tensor) -> Tensor:
    return 1 - torch.tanh(x).square()


def _hardtanh_derivative(x: Tensor, min_val: float = -1.0, max_val: float = 1.0) -> Tensor:
    return ((x > min_val) & (x < max_val)).to(x.dtype)


def _softsign_derivative(x: Tensor) -> Tensor:
    return 1 / (1 + x.abs()).square()


def _radial_derivative(x: Tensor, beta: float = 1.0, center: float = 0.0) -> Tensor:
    return -2 * beta * (x - center) * radial(x, beta, center)


def _slopes(x: Tensor, negative: float | Tensor) -> Tensor:
    # Two plain numbers would meet in torch's default precision, whatever that of x.
    return torch.where(x > 0, torch.ones_like(x), negative)


def _leaky_relu_derivative(x: Tensor, negative_slope: float = 0.01) -> Tensor:
    return _slopes(x, negative_slope)


def _prelu_derivative(x: Tensor, weight: Tensor | None = None) -> Tensor:
    return _slopes(x, 0.25) if weight is None else _slopes(x, _per_channel(weight, x))


def _rrelu_derivative(
    x: Tensor, lower: float = 1 / 8, upper: float = 1 / 3, training: bool = False
) -> Tensor:
    if training:
        raise ValueError("the slope of rrelu is random in training; call eval() on it first")
    return _slopes(x, (lower + upper) / 2)


def _elu_derivative(x: Tensor, alpha: float = 1.0) -> Tensor:
    return torch.where(x > 0, 1.0, alpha * torch.exp(x.clamp(max=0)))


def _selu_derivative(x: Tensor) -> Tensor:
    return _SELU_SCALE * _elu_derivative(x, _SELU_ALPHA)


def _swish_derivative(x: Tensor, beta: float | Tensor = 1.0) -> Tensor:
    gate = torch.sigmoid(beta * x)
    return beta * x * gate + gate * (1 - beta * x * gate)


def _mish_derivative(x: Tensor) -> Tensor:
    t = torch.tanh(softplus(x))
    return t + x * torch.sigmoid(x) * (1 - t.square())


def _softplus_derivative(x: Tensor, beta: float = 1.0) -> Tensor:
    return torch.sigmoid(beta * x)


def _bent_identity_derivative(x: Tensor) -> Tensor:
    return x / (2 * torch.hypot(x, torch.ones_like(x))) + 1


def _gelu_derivative(x: Tensor, approximate: str = "none") -> Tensor:
    if approximate == "none":
        density = torch.exp(-x.square() / 2) / math.sqrt(2 * math.pi)
        return torch.special.ndtr(x) + x * density
    root = math.sqrt(2 / math.pi)
    t = torch.tanh(root * (x + 0.044715 * x**3))
    return (1 + t) / 2 + x / 2 * (1 - t.square()) * root * (1 + 3 * 0.044715 * x.square())


def _threshold_derivative(
    z: Tensor, at_zero: float = 0.0, straight_through: bool = False
) -> Tensor:
    return (z.abs() <= 1).to(z.dtype) if straight_through else torch.zeros_like(z)


def _per_channel(weight: Tensor, x: Tensor) -> Tensor:
    return weight.reshape(-1, *(1,) * (x.dim() - 2)) if x.dim() > 1 else weight


_DERIVATIVES: dict[Callable, Callable] = {
    bent_identity: _bent_identity_derivative,
    elu: _elu_derivative,
    gelu: _gelu_derivative,
    hardlim: _threshold_derivative,
    hardlims: _threshold_derivative,
    hardtanh: _hardtanh_derivative,
    identity: torch.ones_like,
    leaky_relu: _leaky_relu_derivative,
    mish: _mish_derivative,
    prelu: _prelu_derivative,
    radial: _radial_derivative,
    relu: functools.partial(_slopes, negative=0.0),
    rrelu: _rrelu_derivative,
    selu: _selu_derivative,
    sigmoid: _sigmoid_derivative,
    sign: _threshold_derivative,
    silu: _swish_derivative,
    softplus: _softplus_derivative,
    softsign: _softsign_derivative,
    step: _threshold_derivative,
    swish: _swish_derivative,
    tanh: _tanh_derivative,
}


# --- inverses ----------------------------------------------------------------------------


def _sigmoid_inverse(y: Tensor, slope: float = 1.0) -> Tensor:
    return torch.logit(y) / slope


def _softsign_inverse(y: Tensor) -> Tensor:
    return y / (1 - y.abs())


def _leaky_relu_inverse(y: Tensor, negative_slope: float = 0.01) -> Tensor:
    return y / _slopes(y, negative_slope)


def _prelu_inverse(y: Tensor, weight: Tensor | None = None) -> Tensor:
    return y / _prelu_derivative(y, weight)  # with a > 0 the sign survives


def _rrelu_inverse(
    y: Tensor, lower: float = 1 / 8, upper: float = 1 / 3, training: bool = False
) -> Tensor:
    return y / _rrelu_derivative(y, lower, upper, training)


def _elu_inverse(y: Tensor, alpha: float = 1.0) -> Tensor:
    return torch.where(y > 0, y, torch.log1p(y.clamp(max=0) / alpha))


def _selu_inverse(y: Tensor) -> Tensor:
    return _elu_inverse(y / _SELU_SCALE, _SELU_ALPHA)


def _softplus_inverse(y: Tensor, beta: float = 1.0) -> Tensor:
    return y + torch.log(-torch.expm1(-beta * y)) / beta  # exp(beta y) would overflow


def _bent_identity_inverse(y: Tensor) -> Tensor:
    # The root of 3x² - 4ux + u² - 1 = 0, u = 2y + 1, that is 0 at y = 0.
    u = 2 * y + 1
    return (2 * u - torch.sqrt(u.square() + 3)) / 3


_INVERSES: dict[Callable, Callable] = {
    bent_identity: _bent_identity_inverse,
    elu: _elu_inverse,
    identity: torch.clone,
    leaky_relu: _leaky_relu_inverse,
    prelu: _prelu_inverse,
    rrelu: _rrelu_inverse,
    selu: _selu_inverse,
    sigmoid: _sigmoid_inverse,
    softplus: _softplus_inverse,
    softsign: _softsign_inverse,
    tanh: torch.atanh,
}
