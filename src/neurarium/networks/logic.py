"""Logic gates and adders of threshold units, layer by layer, so that they can be trained further.

A circuit is an `nn.Sequential` of `nn.Linear` and the transfer function; a signal that a later
layer reads passes the layers between through relay units. Pass `transfer="sigmoid:slope=10"` for
a smooth version, or "hardlim:straight_through=True" to learn through the thresholds.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Literal

import torch
from torch import Tensor, nn

from neurarium import activations

__all__ = ["from_truth_table", "gate", "half_adder", "ripple_adder"]

# Weight of every input, and bias; the sum is never nearer to 0 than 1.
_UNITS = {"nand": (-2.0, 3.0), "and": (2.0, -3.0), "or": (2.0, -1.0), "not": (-2.0, 1.0)}


def gate(
    name: Literal["nand", "and", "or", "not", "xor"], transfer: Any = "hardlim"
) -> nn.Sequential:
    r"""A logic gate: one threshold unit, or for "xor", which no single unit computes, four NANDs.

    $$\operatorname{NAND}(x_1, x_2) = \operatorname{hardlim}(-2 x_1 - 2 x_2 + 3)$$

    Args:
        transfer: activation of the units, by name, function or module.

    Source: McCulloch & Pitts (1943), A logical calculus of the ideas immanent in nervous activity,
    Bull. Math. Biophysics 5; Nielsen (2015), Neural Networks and Deep Learning, chapter 1.
    """
    if name == "xor":
        circuit = _Circuit(2)
        total, _ = _half_adder(circuit, 0, 1)
        return circuit.build([total], transfer)
    if name not in _UNITS:
        raise ValueError(f"name must be one of {', '.join(_UNITS)} or xor, got {name!r}")
    weight, bias = _UNITS[name]
    inputs = range(1 if name == "not" else 2)
    circuit = _Circuit(len(inputs))
    return circuit.build([circuit.unit(dict.fromkeys(inputs, weight), bias)], transfer)


def half_adder(transfer: Any = "hardlim") -> nn.Sequential:
    r"""Two bits to their sum and carry, by five NANDs: one reads the same signal twice, weight -4.

    $$(x_1, x_2) \mapsto (x_1 \oplus x_2,\; x_1 \wedge x_2)$$

    Source: Nielsen (2015), Neural Networks and Deep Learning, chapter 1.
    """
    circuit = _Circuit(2)
    total, nand = _half_adder(circuit, 0, 1)
    return circuit.build([total, circuit.nand(nand, nand)], transfer)


def ripple_adder(bits: int, transfer: Any = "hardlim") -> nn.Sequential:
    r"""Two numbers of `bits` binary digits to their sum of `bits + 1`, by NANDs alone.

    $$s_i = x_i \oplus y_i \oplus c_i, \qquad
      c_{i+1} = (x_i \wedge y_i) \vee \bigl(c_i \wedge (x_i \oplus y_i)\bigr), \qquad c_0 = 0$$

    The input is $x_0, \dots, x_{b-1}, y_0, \dots, y_{b-1}$; every number has its lowest digit
    first. The carry ripples up, so the circuit is some $2b$ layers deep.

    Source: Nielsen (2015), Neural Networks and Deep Learning, chapter 1, which builds the first
    digit of it and leaves the others to the reader.
    """
    if bits < 1:
        raise ValueError(f"bits must be at least 1, got {bits}; it is the length of each number")
    circuit = _Circuit(2 * bits)
    total, nand = _half_adder(circuit, 0, bits)
    sums, carry = [total], circuit.nand(nand, nand)
    for i in range(1, bits):
        partial, first = _half_adder(circuit, i, bits + i)
        total, second = _half_adder(circuit, partial, carry)
        # Neither NAND has spoken against a carry: not (first and second).
        sums, carry = [*sums, total], circuit.nand(first, second)
    return circuit.build([*sums, carry], transfer)


def from_truth_table(table: Sequence[Any] | Tensor, transfer: Any = "hardlim") -> nn.Sequential:
    r"""Any Boolean function with one hidden layer: a unit for each true row, and an OR of them.

    $$f(x) = \bigvee_{r:\, f(r) = 1} \operatorname{hardlim}\Bigl(\sum_i (2 r_i - 1)\, x_i
      + \tfrac12 - \sum_i r_i\Bigr)$$

    Args:
        table: the $2^n$ values in the order of counting, the first input being the highest digit
            (`itertools.product([0, 1], repeat=n)`); a row of values gives several outputs.

    Raises:
        ValueError: if the values are not 0 and 1, or their number is no power of 2.

    Source: McCulloch & Pitts (1943), A logical calculus of the ideas immanent in nervous activity,
    Bull. Math. Biophysics 5.
    """
    values = torch.as_tensor(table, dtype=torch.get_default_dtype())
    inputs = len(values).bit_length() - 1
    if values.dim() not in (1, 2) or len(values) < 2 or len(values) != 2**inputs:
        raise ValueError(
            "table must have a row for each of the 2^n inputs, n at least 1, got the shape "
            f"{tuple(values.shape)}"
        )
    if not ((values == 0) | (values == 1)).all():
        raise ValueError(f"table must hold 0 and 1 only, got {values.unique().tolist()}")
    values = values.reshape(len(values), -1)
    counted = torch.arange(len(values))[:, None] >> torch.arange(inputs - 1, -1, -1)
    rows = (counted & 1).to(values)
    # A function that is never true keeps one unit, which its OR does not listen to.
    true = values.any(1) if values.any() else torch.arange(len(values)) == 0
    rows, listens = rows[true], values[true].T
    hidden = _linear(2 * rows - 1, 0.5 - rows.sum(1))
    out = _linear(listens, torch.full((len(listens),), -0.5))
    return _chain([hidden, out], transfer)


def _half_adder(circuit: "_Circuit", a: int, b: int) -> tuple[int, int]:
    """The exclusive or of two signals, and their NAND, by four NANDs."""
    nand = circuit.nand(a, b)
    return circuit.nand(circuit.nand(a, nand), circuit.nand(b, nand)), nand


class _Circuit:
    """Units that read earlier signals; signals are numbered, the inputs first."""

    def __init__(self, inputs: int) -> None:
        self.inputs = inputs
        self.depth = [0] * inputs
        self.reads: list[Mapping[int, float]] = [{}] * inputs
        self.biases = [0.0] * inputs

    def unit(self, reads: Mapping[int, float], bias: float) -> int:
        """Add a unit with these weights of earlier signals."""
        self.depth.append(1 + max(self.depth[signal] for signal in reads))
        self.reads.append(reads)
        self.biases.append(bias)
        return len(self.reads) - 1

    def nand(self, a: int, b: int) -> int:
        weight, bias = _UNITS["nand"]
        return self.unit({a: 2 * weight} if a == b else {a: weight, b: weight}, bias)

    def build(self, outputs: Sequence[int], transfer: Any) -> nn.Sequential:
        """Layers of units, with relays for what is read further up."""
        last = max(self.depth[signal] for signal in outputs)
        carried = [list(outputs)]  # the signals at each depth, from the outputs down
        for depth in range(last, 0, -1):
            made = [signal for signal in carried[0] if self.depth[signal] == depth]
            passed = {signal for signal in carried[0] if self.depth[signal] < depth}
            read = {source for signal in made for source in self.reads[signal]}
            below = sorted(read | passed) if depth > 1 else list(range(self.inputs))
            carried.insert(0, below)
        layers = [
            self._layer(below, above, depth)
            for depth, (below, above) in enumerate(pairwise(carried), 1)
        ]
        return _chain(layers, transfer)

    def _layer(self, below: Sequence[int], above: Sequence[int], depth: int) -> nn.Linear:
        weight, bias = torch.zeros(len(above), len(below)), torch.empty(len(above))
        for i, signal in enumerate(above):
            made = self.depth[signal] == depth
            reads = self.reads[signal] if made else {signal: 2.0}
            bias[i] = self.biases[signal] if made else -1.0
            for source, value in reads.items():
                weight[i, below.index(source)] = value
        return _linear(weight, bias)


def _linear(weight: Tensor, bias: Tensor) -> nn.Linear:
    layer = nn.utils.skip_init(nn.Linear, weight.shape[1], weight.shape[0])
    with torch.no_grad():
        layer.weight.copy_(weight)
        layer.bias.copy_(bias)
    return layer


def _chain(layers: Sequence[nn.Linear], transfer: Any) -> nn.Sequential:
    parts: list[nn.Module] = []
    for layer in layers:
        parts += [layer, activations.module(transfer, layer.out_features)]
    return nn.Sequential(*parts)
