"""Loss and gradient of small perceptrons in NumPy, one of them or many side by side."""

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurarium import activations, losses

Array = NDArray[Any]
Loss = Callable[[Array, Array], tuple[Any, Array]]


class PerceptronInNumpy:
    """A perceptron's forward and backward pass on arrays that somebody else owns and moves.

    A column is an example, as in $W h + b$. Dimensions before that are networks side by side.

    Args:
        layers: of each the weights and their slopes (... outputs inputs), the biases (... outputs
            1) and their slopes (... outputs) or None, and what the activation is by name.
        loss: `losses.cross_entropy` or `losses.mse`.
    """

    def __init__(
        self, layers: Sequence[tuple[Array, Array, Array | None, Array | None, Any]], loss: Any
    ) -> None:
        self.layers = [_Layer(*layer) for layer in layers]
        self.judge = _LOSSES[loss]
        self.dtype = self.layers[0].weight.dtype
        # The same for one network, and a little quicker.
        self.product: Any = np.dot if self.layers[0].weight.ndim == 2 else np.matmul

    def gradients(self, h: Array, d: Array) -> Any:
        """Each network's loss on (... features rows); the slopes then hold its gradient."""
        passed = [h]
        for layer in self.layers:
            h = self.product(layer.weight, h)
            if layer.bias is not None:
                h += layer.bias
            layer.activate(h)
            passed.append(h)
        loss, slope = self.judge(h.copy(), d)
        ones = _ones(h.shape[-1], self.dtype)
        for layer in reversed(self.layers):
            layer.descend(slope, passed.pop())
            self.product(slope, passed[-1].swapaxes(-1, -2), layer.weight_slope)
            if layer.bias_slope is not None:
                self.product(slope, ones, layer.bias_slope)
            if len(passed) > 1:
                slope = self.product(layer.weight.swapaxes(-1, -2), slope)
        return loss


def knows(function: Any, loss: Any) -> bool:
    """Whether there is code here for an activation and for a loss."""
    return function in _ACTIVATIONS and loss in _LOSSES


@contextlib.contextmanager
def small_products() -> Iterator[None]:
    """Products on one thread, which is what small matrices are worth; overflows show in a loss."""
    with _controller().limit(limits=1, user_api="blas"), np.errstate(all="ignore"):
        yield


class _Layer:
    """Views of one layer's numbers, and its activation.

    Attributes:
        activate: in place, sums to activations; `descend` turns a slope by these into one by those.
    """

    def __init__(
        self,
        weight: Array,
        weight_slope: Array,
        bias: Array | None,
        bias_slope: Array | None,
        function: Any,
    ) -> None:
        self.weight, self.weight_slope = weight, weight_slope
        self.bias, self.bias_slope = bias, bias_slope
        self.activate, self.descend = _ACTIVATIONS[function]


def _relu(z: Array) -> None:
    np.maximum(z, 0, out=z)


def _tanh(z: Array) -> None:
    np.tanh(z, out=z)


def _sigmoid(z: Array) -> None:
    np.negative(z, out=z)
    np.exp(z, out=z)
    z += 1
    np.reciprocal(z, out=z)


def _through_relu(slope: Array, h: Array) -> None:
    np.multiply(slope, h > 0, out=slope)


def _through_tanh(slope: Array, h: Array) -> None:
    np.multiply(slope, 1 - h * h, out=slope)


def _through_sigmoid(slope: Array, h: Array) -> None:
    np.multiply(slope, h - h * h, out=slope)


_ACTIVATIONS: dict[Any, tuple[Callable[[Array], object], Callable[[Array, Array], object]]] = {
    activations.identity: (lambda z: None, lambda slope, h: None),
    activations.relu: (_relu, _through_relu),
    activations.tanh: (_tanh, _through_tanh),
    activations.sigmoid: (_sigmoid, _through_sigmoid),
}


def _cross_entropy(z: Array, d: Array) -> tuple[Any, Array]:
    """Means of -log softmax(z) at the class numbers d, and the slope, which takes z's place."""
    rows = z.shape[-1]
    z -= np.maximum.reduce(z, -2, keepdims=True)
    flat, picked = z.reshape(-1), d * rows + _places(z.shape)
    at_target = np.add.reduce(flat[picked], -1)
    np.exp(z, out=z)
    total = np.add.reduce(z, -2)
    loss = (np.add.reduce(np.log(total), -1) - at_target) / rows
    z /= total[..., None, :]
    flat[picked] -= 1
    z *= 1 / rows
    return loss, z


def _squared_error(output: Array, d: Array) -> tuple[Any, Array]:
    """Means of the squared differences, and the slope, which takes the output's place."""
    output -= d[..., None, :] if d.ndim < output.ndim else d.swapaxes(-1, -2)
    count = output.shape[-1] * output.shape[-2]
    loss = np.add.reduce(output * output, (-2, -1)) / count
    output *= 2 / count
    return loss, output


_LOSSES: dict[Any, Loss] = {
    losses.cross_entropy: _cross_entropy,
    losses.mse: _squared_error,
}


@functools.lru_cache(maxsize=16)
def _places(shape: tuple[int, ...]) -> Array:
    """Of each network's first class and each column, the place in the flat array."""
    *networks, classes, rows = shape
    starts = np.arange(int(np.prod(networks))) * classes * rows
    return starts.reshape(*networks, 1) + np.arange(rows) if networks else np.arange(rows)


@functools.lru_cache(maxsize=16)
def _ones(rows: int, dtype: Any) -> Array:
    return np.ones(rows, dtype)


@functools.cache
def _controller() -> Any:
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()
