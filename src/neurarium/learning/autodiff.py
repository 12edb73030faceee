"""Automatic differentiation of scalars, both ways, small enough to read: what torch does inside."""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Union

__all__ = ["Dual", "Value"]


class _Scalar(ABC):
    """Arithmetic that derives from four operations and three functions."""

    def __radd__(self, other: Any) -> Any:
        return self + other

    def __rmul__(self, other: Any) -> Any:
        return self * other

    def __neg__(self) -> Any:
        return self * -1.0

    def __sub__(self, other: Any) -> Any:
        return self + -other

    def __rsub__(self, other: Any) -> Any:
        return -self + other

    def __truediv__(self, other: Any) -> Any:
        return self * other**-1.0

    def __rtruediv__(self, other: Any) -> Any:
        return self**-1.0 * other

    @abstractmethod
    def __add__(self, other: Any) -> Any: ...

    @abstractmethod
    def __mul__(self, other: Any) -> Any: ...

    @abstractmethod
    def __pow__(self, exponent: float) -> Any: ...


class Value(_Scalar):
    r"""A number that remembers how it came about, so that slopes can travel back: reverse mode.

    $$\bar v_i = \sum_{j \in \text{children}(i)} \bar v_j\, \frac{\partial v_j}{\partial v_i},
      \qquad \bar v_{\text{out}} = 1$$

    Each operation notes its arguments and its slope by each; `backward` goes through the notes from
    the last to the first, so that the slope by every number there was costs about as much as the
    value.

    Args:
        data: the number.

    Attributes:
        grad: slope of what `backward` was called on by this number, added up over calls.

    Example:
        >>> x, y = Value(3.0), Value(2.0)
        >>> (x * y + x**2).backward()
        >>> x.grad, y.grad
        (8.0, 3.0)

    Source: Griewank & Walther (2008), Evaluating Derivatives, chapter 3; Baydin, Pearlmutter, Radul
    & Siskind (2018), Automatic differentiation in machine learning: a survey, arXiv:1502.05767.
    """

    def __init__(self, data: float, _made_of: tuple[tuple["Value", float], ...] = ()) -> None:
        self.data, self.grad = float(data), 0.0
        self._made_of = _made_of  # pairs of an argument and the slope by it

    def __add__(self, other: Union["Value", float]) -> "Value":
        other = _value(other)
        return Value(self.data + other.data, ((self, 1.0), (other, 1.0)))

    def __mul__(self, other: Union["Value", float]) -> "Value":
        other = _value(other)
        return Value(self.data * other.data, ((self, other.data), (other, self.data)))

    def __pow__(self, exponent: float) -> "Value":
        slope = exponent * self.data ** (exponent - 1) if exponent else 0.0
        return Value(self.data**exponent, ((self, slope),))

    def exp(self) -> "Value":
        y = math.exp(self.data)
        return Value(y, ((self, y),))

    def log(self) -> "Value":
        return Value(math.log(self.data), ((self, 1 / self.data),))

    def tanh(self) -> "Value":
        y = math.tanh(self.data)
        return Value(y, ((self, 1 - y * y),))

    def relu(self) -> "Value":
        return Value(max(self.data, 0.0), ((self, float(self.data > 0)),))

    def backward(self) -> None:
        """Add the slope of this number by each that it came from to that one's `grad`."""
        slopes = {id(self): 1.0}
        for node in self._from_last_to_first():
            node.grad += slopes[id(node)]
            for argument, slope in node._made_of:
                slopes[id(argument)] = slopes.get(id(argument), 0.0) + slopes[id(node)] * slope

    def _from_last_to_first(self) -> Iterator["Value"]:
        """Every number before those that it is made of; without recursion, as tapes are long."""
        finished: dict[int, Value] = {}
        stack = [(self, False)]
        while stack:
            node, done = stack.pop()
            if done:
                finished.setdefault(id(node), node)
            elif id(node) not in finished:
                stack.append((node, True))
                stack.extend((argument, False) for argument, _ in node._made_of)
        return reversed(finished.values())

    def __repr__(self) -> str:
        return f"Value({self.data}, grad={self.grad})"


@dataclass(frozen=True)
class Dual(_Scalar):
    r"""A number with its slope along one direction, carried along: forward mode.

    $$f(a + b\,\varepsilon) = f(a) + f'(a)\, b\,\varepsilon, \qquad \varepsilon^2 = 0$$

    One pass gives the slope of everything by one input; `Value` gives that of one output by all.

    Args:
        data: $a$.
        slope: $b$: 1 for the input that is varied, 0 for what is constant.

    Example:
        >>> x = Dual(3.0, 1.0)
        >>> (x * 2.0 + x**2).slope
        8.0

    Source: Clifford (1873), Preliminary sketch of biquaternions; Griewank & Walther (2008),
    Evaluating Derivatives, chapter 3.
    """

    data: float
    slope: float = 0.0

    def __add__(self, other: Union["Dual", float]) -> "Dual":
        other = _dual(other)
        return Dual(self.data + other.data, self.slope + other.slope)

    def __mul__(self, other: Union["Dual", float]) -> "Dual":
        other = _dual(other)
        slope = self.slope * other.data + self.data * other.slope
        return Dual(self.data * other.data, slope)

    def __pow__(self, exponent: float) -> "Dual":
        slope = exponent * self.data ** (exponent - 1) if exponent else 0.0
        return Dual(self.data**exponent, slope * self.slope)

    def exp(self) -> "Dual":
        y = math.exp(self.data)
        return Dual(y, y * self.slope)

    def log(self) -> "Dual":
        return Dual(math.log(self.data), self.slope / self.data)

    def tanh(self) -> "Dual":
        y = math.tanh(self.data)
        return Dual(y, (1 - y * y) * self.slope)

    def relu(self) -> "Dual":
        return Dual(max(self.data, 0.0), float(self.data > 0) * self.slope)


def _value(x: Value | float) -> Value:
    return x if isinstance(x, Value) else Value(x)


def _dual(x: Dual | float) -> Dual:
    return x if isinstance(x, Dual) else Dual(float(x))
