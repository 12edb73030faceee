"""Activations as modules: torch's own where torch has them, `Activation` around the rest."""

import contextlib
import copy
import functools
import inspect
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import (
    ELU as ELU,
)
from torch.nn import (
    GELU as GELU,
)
from torch.nn import (
    GLU as GLU,
)
from torch.nn import (
    SELU as SELU,
)
from torch.nn import (
    Hardtanh as Hardtanh,
)
from torch.nn import (
    Identity as Identity,
)
from torch.nn import (
    LeakyReLU as LeakyReLU,
)
from torch.nn import (
    Mish as Mish,
)
from torch.nn import (
    PReLU as PReLU,
)
from torch.nn import (
    ReLU as ReLU,
)
from torch.nn import (
    RReLU as RReLU,
)
from torch.nn import (
    SiLU as SiLU,
)
from torch.nn import (
    Softplus as Softplus,
)
from torch.nn import (
    Softsign as Softsign,
)
from torch.nn import (
    Tanh as Tanh,
)

from neurarium import _names
from neurarium.activations import gates, rectifiers, squashing, thresholds

Spec = str | Callable[..., Any] | nn.Module


class Activation(nn.Module):
    """Any activation function as a module, `Activation(radial, beta=2)`; twins derive from it."""

    def __init__(self, function: Callable[..., Tensor], **arguments: Any) -> None:
        super().__init__()
        with contextlib.suppress(ValueError):  # builtins such as torch.sin have no signature
            inspect.signature(function).bind(None, **arguments)  # now, not at the first forward
        self.function = function
        self.arguments = arguments

    def forward(self, x: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        return self.function(x, **self.arguments)

    def extra_repr(self) -> str:
        parts = [getattr(self.function, "__name__", repr(self.function))]
        return ", ".join(parts + [f"{name}={value}" for name, value in self.arguments.items()])


class Swish(nn.Module):
    r"""The input gated by its own sigmoid, with a steepness that may be learnt.

    $$f(x) = x\,\sigma(\beta x)$$

    Args:
        beta: the steepness, or where its learning starts.
        learnable: make `beta` a parameter; keep it out of weight decay.

    Source: Ramachandran, Zoph & Le (2017), Searching for Activation Functions, arXiv:1710.05941.
    """

    def __init__(self, beta: float = 1.0, learnable: bool = False) -> None:
        super().__init__()
        self.learnable = learnable
        self.beta = nn.Parameter(torch.tensor(float(beta))) if learnable else beta

    def forward(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        return gates.swish(x, self.beta)

    def extra_repr(self) -> str:
        return f"beta={float(self.beta):g}, learnable={self.learnable}"


class Sigmoid(Activation):
    """`activations.sigmoid` as a module."""

    def __init__(self, slope: float = 1.0) -> None:
        super().__init__(squashing.sigmoid, slope=slope)


class Softmax(Activation):
    """`activations.softmax` as a module."""

    def __init__(self, dim: int = -1, temperature: float = 1.0) -> None:
        super().__init__(squashing.softmax, dim=dim, temperature=temperature)


class Radial(Activation):
    """`activations.radial` as a module."""

    def __init__(self, beta: float = 1.0, center: float = 0.0) -> None:
        super().__init__(squashing.radial, beta=beta, center=center)


class BentIdentity(Activation):
    """`activations.bent_identity` as a module."""

    def __init__(self) -> None:
        super().__init__(rectifiers.bent_identity)


class Maxout(Activation):
    """`activations.maxout` as a module; put it after a layer `pieces` times as wide."""

    def __init__(self, pieces: int = 2, dim: int = -1) -> None:
        super().__init__(gates.maxout, pieces=pieces, dim=dim)


class Step(Activation):
    """`activations.step` as a module."""

    def __init__(self, at_zero: float = 1.0, straight_through: bool = False) -> None:
        super().__init__(thresholds.step, at_zero=at_zero, straight_through=straight_through)


class Hardlim(Activation):
    """`activations.hardlim` as a module."""

    def __init__(self, straight_through: bool = False) -> None:
        super().__init__(thresholds.hardlim, straight_through=straight_through)


class Hardlims(Activation):
    """`activations.hardlims` as a module."""

    def __init__(self, straight_through: bool = False) -> None:
        super().__init__(thresholds.hardlims, straight_through=straight_through)


class Sign(Activation):
    """`activations.sign` as a module."""

    def __init__(self, at_zero: float = 0.0, straight_through: bool = False) -> None:
        super().__init__(thresholds.sign, at_zero=at_zero, straight_through=straight_through)


# --- from names and functions to modules, and back ---------------------------------------

_TWINS: dict[Callable[..., Tensor], type[nn.Module]] = {
    gates.gelu: GELU,
    gates.glu: GLU,
    gates.mish: Mish,
    gates.silu: SiLU,
    rectifiers.elu: ELU,
    rectifiers.identity: Identity,
    rectifiers.leaky_relu: LeakyReLU,
    rectifiers.prelu: PReLU,
    rectifiers.relu: ReLU,
    rectifiers.rrelu: RReLU,
    rectifiers.selu: SELU,
    rectifiers.softplus: Softplus,
    squashing.hardtanh: Hardtanh,
    squashing.softsign: Softsign,
    squashing.tanh: Tanh,
    # Last two: torch's class is the function at its default argument only.
    squashing.sigmoid: nn.Sigmoid,
    gates.swish: SiLU,
}
_FUNCTIONS = {
    **{twin: function for function, twin in _TWINS.items() if function is not gates.swish},
    Swish: gates.swish,
}


def module(spec: Spec, channels: int = 1) -> nn.Module:
    """A fresh module for a name ("swish:beta=2"), function, module class or module (copied).

    Args:
        channels: how many slopes a `prelu` learns.
    """
    found = _names.resolve(spec, _public(), "activation")
    if isinstance(found, nn.Module):
        return copy.deepcopy(found)
    function, arguments = _split(found)
    if isinstance(function, type):
        return function(**arguments)
    if function is rectifiers.prelu and not arguments:
        return PReLU(channels)
    twin = _TWINS.get(function)
    if twin is not None and arguments.keys() <= inspect.signature(twin).parameters.keys():
        return twin(**arguments)
    return Activation(function, **arguments)


def widening(spec: Spec) -> int:
    """How many times wider than its output this activation's input is: 2 for `glu`."""
    function, arguments = unwrap(spec)
    if function is gates.maxout:
        return arguments.get("pieces", 2)
    return 2 if function is gates.glu else 1


def unwrap(spec: Spec) -> tuple[Callable[..., Any], dict[str, Any]]:
    """The function behind a name, function or module, and the arguments it is called with."""
    found = _names.resolve(spec, _public(), "activation")
    if isinstance(found, type) and issubclass(found, nn.Module):
        found = found()
    if isinstance(found, Activation):
        return found.function, found.arguments
    if isinstance(found, nn.Module):
        function = _FUNCTIONS.get(type(found), found)
        if function is found:
            return found, {}
        # torch's modules keep the function's arguments under the function's names.
        names = inspect.signature(function).parameters
        return function, {name: getattr(found, name) for name in names if hasattr(found, name)}
    return _split(found)


def _split(found: Any) -> tuple[Any, dict[str, Any]]:
    if isinstance(found, functools.partial) and not found.args:
        return found.func, dict(found.keywords)
    return found, {}


def _public() -> dict[str, Any]:
    public = [getattr(part, name) for part in _PARTS for name in part.__all__]
    return {function.__name__: function for function in public} | {"Swish": Swish}


_PARTS = (gates, rectifiers, squashing, thresholds)
