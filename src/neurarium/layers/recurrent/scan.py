"""Cells over time: the only loop, with layers, directions, lengths and dropout around it."""

import contextlib
import functools
import re
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from neurarium._names import resolve
from neurarium.layers import masks
from neurarium.layers.recurrent.cells import Cell, JordanCell, RNNCell, State
from neurarium.layers.recurrent.gated import GRUCell, MGUCell, MUT1Cell, MUT2Cell, MUT3Cell
from neurarium.layers.recurrent.lstm import LSTMCell

__all__ = ["Recurrent", "record_states"]

CELLS: dict[str, Callable[..., Cell]] = {
    "rnn": RNNCell,
    "jordan": JordanCell,
    "lstm": LSTMCell,
    "gru": GRUCell,
    "mgu": MGUCell,
    "mut1": MUT1Cell,
    "mut2": MUT2Cell,
    "mut3": MUT3Cell,
}
# torch's fused layer of each cell that has one, and the options that it knows.
_FUSED = {
    RNNCell: ("RNN", {"activation"}),
    LSTMCell: ("LSTM", {"forget_bias"}),
    GRUCell: ("GRU", set()),
}


class Recurrent(nn.Module):
    r"""Any cell over time, in layers and directions; torch's fused layers where they can serve.

    $$H^i_t = \mathrm{cell}_i(H^{i-1}_t,\, H^i_{t-1}), \qquad H^0_t = X_t, \qquad
      [\overrightarrow{H}_t;\, \overleftarrow{H}_t] \text{ in two directions}$$

    Beyond a row's `length` outputs are 0 and the state stands still, so padding changes nothing,
    and the backward direction begins at the last real step. Weights of `torch.nn.RNN`, `LSTM` and
    `GRU` can be loaded as they are.

    Args:
        cell: "rnn", "jordan", "lstm", "gru", "mgu", "mut1", "mut2", "mut3", arguments after a
            colon ("lstm:peephole=true"), a class, or a function of (input_size, hidden_size).
        layers: how many lie above each other.
        bidirectional: whether a second cell reads backwards; outputs are then side by side.
        dropout: of what goes from layer to layer.
        recurrent_dropout: of a layer's input and of its fed-back output, by one mask a sequence.
        zoneout: probability that a unit keeps its last value; in evaluation the expectation. Two
            numbers are for output and memory.
        residual: whether layers from the second on add their input.
        pyramid: from layer to layer so many neighbouring steps become one.
        transition: layers between two steps in time; beyond 1 they are `tanh(V h + c)`.
        fused: False for our loop where torch's would serve.
        cell_options: the cell's own, such as `peephole=True`.

    Source: stacked: Graves, Mohamed & Hinton (2013), arXiv:1303.5778; both directions: Schuster &
    Paliwal (1997), IEEE Trans. Signal Processing 45(11), in layers Irsoy & Cardie (2014), EMNLP;
    residual: Wu et al. (2016), arXiv:1609.08144; pyramid: Chan et al. (2016), arXiv:1508.01211;
    transition: Pascanu et al. (2014), arXiv:1312.6026; dropout: Gal & Ghahramani (2016),
    arXiv:1512.05287; zoneout: Krueger et al. (2017), arXiv:1606.01305.
    """

    def __init__(
        self,
        cell: str | Callable[..., Any],
        input_size: int,
        hidden_size: int,
        layers: int = 1,
        bidirectional: bool = False,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        zoneout: float | tuple[float, float] = 0.0,
        residual: bool = False,
        pyramid: int = 1,
        transition: int = 1,
        fused: bool = True,
        **cell_options: Any,
    ) -> None:
        super().__init__()
        for name, value in (("layers", layers), ("pyramid", pyramid), ("transition", transition)):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        zoneouts = zoneout if isinstance(zoneout, tuple) else (zoneout, zoneout)
        for name, p in (
            ("dropout", dropout),
            ("recurrent_dropout", recurrent_dropout),
            *(("zoneout", p) for p in zoneouts),
        ):
            if not 0 <= p < 1:
                raise ValueError(f"{name} must be a probability below 1, got {p}")
        self.bidirectional, self.dropout, self.residual = bidirectional, dropout, residual
        self.pyramid = pyramid
        found = resolve(cell, CELLS, "cell")
        options = {**getattr(found, "keywords", {}), **cell_options}
        kind = getattr(found, "func", found)
        if nameless := getattr(found, "args", ()):
            raise ValueError(
                f"{cell!r} gives {nameless[0]} without a name; write the option's name, as in "
                "'lstm:peephole=true'"
            )
        make = functools.partial(kind, **options)
        plain = recurrent_dropout == 0 and zoneouts == (0, 0) and transition == 1
        known = kind in _FUSED and options.keys() <= _FUSED[kind][1]
        serves = fused and plain and known and options.get("activation", "tanh") in ("tanh", "relu")
        self.stack = nn.ModuleList()
        for i in range(layers):
            if serves:
                layer: _Fused | _Loop = _Fused(
                    kind, input_size, hidden_size, bidirectional, options
                )
            else:
                cells = [make(input_size, hidden_size) for _ in range(1 + bidirectional)]
                if transition > 1:
                    cells = [_Deeper(cell, transition) for cell in cells]
                layer = _Loop(cells, recurrent_dropout, zoneouts)
            self.stack.append(layer)
            self.output_size = layer.output_size
            if residual and i and self.output_size != input_size:
                raise ValueError(
                    f"residual adds each layer's input to its output, but layer {i + 1} turns "
                    f"{input_size} features into {self.output_size}; take pyramid=1 and cells "
                    "whose output is as wide as hidden_size"
                )
            input_size = self.output_size * pyramid
        self.register_load_state_dict_pre_hook(_rename_weights)

    def forward(
        self,
        x: Float[Tensor, "batch steps features"],
        length: Int[Tensor, " batch"] | None = None,
        state: list[State] | None = None,
    ) -> tuple[Float[Tensor, "batch steps_out outputs"], list[State]]:
        """Outputs of the last layer at each step, and the states where each row ends.

        Args:
            length: real steps of each row; all where not given.
            state: to go on from, as it was returned: for each layer, for each direction.
        """
        self._check(x, length)
        given = None if state is None else iter(state)
        states: list[State] = []
        for i, layer in enumerate(self.stack):
            if i:
                x, length = self._shortened(F.dropout(x, self.dropout, self.training), length)
            own = None if given is None else [next(given) for _ in range(1 + self.bidirectional)]
            out, new = layer(x, length, own)
            x = out + x if self.residual and i else out
            states += new
        return x, states

    def _check(self, x: Tensor, length: Tensor | None) -> None:
        if not x.shape[1]:
            raise ValueError(
                f"the input of shape {tuple(x.shape)} has no step; pad empty sequences to one "
                "step and give them length 0"
            )
        if length is not None and not 0 <= int(length.min()) <= int(length.max()) <= x.shape[1]:
            raise ValueError(
                f"length must lie between 0 and the {x.shape[1]} steps of the input, got "
                f"{int(length.min())} to {int(length.max())}"
            )

    def _shortened(self, x: Tensor, length: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Neighbouring steps side by side, the last ones filled up with zeros."""
        n = self.pyramid
        if n == 1:
            return x, length
        x = F.pad(x, (0, 0, 0, -x.shape[1] % n))
        length = None if length is None else -(-length // n)
        return x.reshape(len(x), -1, n * x.shape[2]), length

    def lengths(self, length: Int[Tensor, " batch"]) -> Int[Tensor, " batch"]:
        """Steps of the output, of which a pyramid has fewer."""
        for _ in self.stack[1:]:
            length = -(-length // self.pyramid)
        return length

    def summary(
        self,
        outputs: Float[Tensor, "batch steps outputs"],
        length: Int[Tensor, " batch"] | None = None,
    ) -> Float[Tensor, "batch outputs"]:
        r"""The outputs where each direction has read all.

        $$[\overrightarrow H_T;\, \overleftarrow H_1]$$

        Args:
            length: of the input, as given to `forward`; an empty row's summary is 0.
        """
        if length is None:
            last = outputs[:, -1]
        else:
            rows = torch.arange(len(outputs), device=outputs.device)
            last = outputs[rows, (self.lengths(length) - 1).clamp(min=0)]
        if not self.bidirectional:
            return last
        half = outputs.shape[2] // 2
        return torch.cat([last[:, :half], outputs[:, 0, half:]], dim=1)

    def cells(self) -> Iterator[Cell]:
        """The cells, layer by layer, direction by direction; of fused layers with their weights."""
        for layer in self.stack:
            assert isinstance(layer, _Fused | _Loop)
            yield from layer.cells() if isinstance(layer, _Fused) else layer.cells

    def flatten_parameters(self) -> None:
        """Lay torch's own weights out for cuDNN again, after they were replaced."""
        for layer in self.stack:
            if isinstance(layer, _Fused):
                layer.rnn.flatten_parameters()


# One layer ---------------------------------------------------------------------------------------


class _Fused(nn.Module):
    """One layer of one or two directions in torch's own kernel."""

    def __init__(
        self,
        kind: Any,
        input_size: int,
        hidden_size: int,
        bidirectional: bool,
        options: Mapping[str, Any],
    ) -> None:
        super().__init__()
        self.kind, self.sizes, self.options = kind, (input_size, hidden_size), dict(options)
        self.output_size = hidden_size * (1 + bidirectional)
        self.suffixes = ("", "_reverse") if bidirectional else ("",)
        more = {"nonlinearity": options.get("activation", "tanh")} if kind is RNNCell else {}
        self.rnn: nn.RNNBase = getattr(nn, _FUSED[kind][0])(
            input_size, hidden_size, batch_first=True, bidirectional=bidirectional, **more
        )
        if kind is LSTMCell:
            self._set_forget_bias(options.get("forget_bias", 1.0))

    @torch.no_grad()
    def _set_forget_bias(self, bias: float) -> None:
        for suffix in self.suffixes:
            for name, value in (("bias_ih", bias), ("bias_hh", 0.0)):
                getattr(self.rnn, f"{name}_l0{suffix}").view(4, -1)[1] = value

    def forward(
        self, x: Tensor, length: Tensor | None, state: list[State] | None
    ) -> tuple[Tensor, list[State]]:
        if _records.get() is not None:
            return run(self.cells(), x, length, state)
        given = None if state is None else self._stacked(state)
        if length is None or bool((length == x.shape[1]).all()):
            out, last = self.rnn(x, given)
            return out, self._listed(last)
        # torch packs no empty row: take one step of it, and forget that again.
        packed = pack_padded_sequence(x, length.clamp(min=1).cpu(), True, enforce_sorted=False)
        out, last = self.rnn(packed, given)
        out, _ = pad_packed_sequence(out, batch_first=True, total_length=x.shape[1])
        states = self._listed(last)
        if int(length.min()) == 0:
            real = (length > 0).unsqueeze(1)
            out = torch.where(real.unsqueeze(2), out, 0)
            first = state or [tuple(torch.zeros_like(part) for part in own) for own in states]
            states = [_where(real, new, old) for new, old in zip(states, first, strict=True)]
        return out, states

    def _stacked(self, state: list[State]) -> Any:
        parts = [torch.stack(part) for part in zip(*state, strict=True)]
        return parts[0] if len(parts) == 1 else tuple(parts)

    def _listed(self, last: Any) -> list[State]:
        parts = last if isinstance(last, tuple) else (last,)
        return list(zip(*(part.unbind(0) for part in parts), strict=True))

    def cells(self) -> list[Cell]:
        """Our cells with torch's weights, the very same tensors."""
        cells = []
        for suffix in self.suffixes:
            with torch.device("meta"):
                cell = self.kind(*self.sizes, **self.options)
            for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
                # Past nn.Module's check: within torch.func they are no Parameters.
                cell._parameters[name] = getattr(self.rnn, f"{name}_l0{suffix}")
            cells.append(cell)
        return cells


class _Loop(nn.Module):
    """One layer of one or two directions, step by step."""

    def __init__(self, cells: list[Cell], dropout: float, zoneout: tuple[float, float]) -> None:
        super().__init__()
        self.cells: Any = nn.ModuleList(cells)
        self.dropout, self.zoneout = dropout, zoneout
        self.output_size = sum(cell.widths[0] for cell in cells)

    def forward(
        self, x: Tensor, length: Tensor | None, state: list[State] | None
    ) -> tuple[Tensor, list[State]]:
        return run([*self.cells], x, length, state, self.dropout, self.zoneout, self.training)


class _Deeper(Cell):
    """A cell with more layers between its state and the next."""

    def __init__(self, cell: Cell, transition: int) -> None:
        super().__init__(cell.input_size, cell.hidden_size)
        self.cell = cell
        width = cell.widths[0]
        self.deeper = nn.ModuleList(nn.Linear(width, width) for _ in range(transition - 1))

    @property
    def widths(self) -> tuple[int, ...]:
        return self.cell.widths

    def project(self, x: Float[Tensor, "*steps features"]) -> Tensor:
        return self.cell.project(x)

    def step(self, u: Tensor, state: State) -> State:
        h, *rest = self.cell.step(u, state)
        for layer in self.deeper:
            h = torch.tanh(layer(h))
        return (h, *rest)


# The loop ----------------------------------------------------------------------------------------


@dataclass
class Trace:
    """One cell's pass over a batch: projected inputs, and the states from the first on."""

    cell: Cell
    inputs: Tensor
    states: list[State]
    reverse: bool


_records: ContextVar[list[Trace] | None] = ContextVar("records", default=None)


def run(
    cells: list[Any],
    x: Float[Tensor, "batch steps features"],
    length: Int[Tensor, " batch"] | None = None,
    state: list[State] | None = None,
    dropout: float = 0.0,
    zoneout: tuple[float, float] = (0.0, 0.0),
    training: bool = False,
) -> tuple[Tensor, list[State]]:
    """One cell forward, and the second, if any, backward."""
    real = None
    if length is not None:
        real = masks.padding(length, x.shape[1])
        x = torch.where(real.unsqueeze(2), x, 0)  # a NaN there would reach the weights' gradient
    results = []
    for i, cell in enumerate(cells):
        first = cell.initial_state(len(x), x) if state is None else state[i]
        results.append(scan(cell, x, first, real, bool(i), dropout, zoneout, training))
    outputs, states = zip(*results, strict=True)
    return (outputs[0] if len(cells) == 1 else torch.cat(outputs, dim=2)), list(states)


def scan(
    cell: Cell,
    x: Float[Tensor, "batch steps features"],
    state: State,
    real: Bool[Tensor, "batch steps"] | None = None,
    reverse: bool = False,
    dropout: float = 0.0,
    zoneout: tuple[float, float] = (0.0, 0.0),
    training: bool = False,
) -> tuple[Float[Tensor, "batch steps outputs"], State]:
    """One cell through all steps; where a step is not real the state stands still."""
    drops = training and dropout > 0
    if drops:
        x = x * F.dropout(torch.ones_like(x[:, :1]), dropout)
        mask = F.dropout(torch.ones_like(state[0]), dropout)
    inputs = cell.project(x.transpose(0, 1))
    us = inputs.unbind(0)
    reals = None if real is None else real.t().unsqueeze(2).unbind(0)
    outputs: list[Any] = [None] * len(us)
    states, records = [state], _records.get()
    for t in reversed(range(len(us))) if reverse else range(len(us)):
        new = cell.step(us[t], (state[0] * mask, *state[1:]) if drops else state)
        if zoneout != (0, 0):
            new = _zoned_out(new, state, zoneout, training)
        state = new if reals is None else _where(reals[t], new, state)
        if records is not None:  # an LSTM's output apart from the memory that it was read from
            state = tuple(part.view_as(part) for part in state)
        outputs[t] = state[0]
        states.append(state)
    if records is not None:
        records.append(Trace(cell, inputs, states, reverse))
    out = torch.stack(outputs, dim=1)
    return (out if real is None else torch.where(real.unsqueeze(2), out, 0)), state


def _where(real: Tensor, new: State, old: State) -> State:
    return tuple(torch.where(real, n, o) for n, o in zip(new, old, strict=True))


def _zoned_out(new: State, old: State, zoneout: tuple[float, float], training: bool) -> State:
    """Some units keep their last value; in evaluation each does, in part."""
    parts = []
    for i, (n, o) in enumerate(zip(new, old, strict=True)):
        p = zoneout[min(i, 1)]
        if not training:
            parts.append(torch.lerp(n, o, p))
        else:
            parts.append(torch.where(torch.rand_like(n) < p, o, n) if p else n)
    return tuple(parts)


@contextlib.contextmanager
def record_states() -> Iterator[list[Trace]]:
    r"""Inside, every pass of a cell over time leaves its inputs and states in the list given.

    $$\bigl(h_0, c_0, \dots\bigr), \bigl(h_1, c_1, \dots\bigr), \dots,
      \bigl(h_T, c_T, \dots\bigr)$$

    What torch's fused layers hide is seen, since their weights go through our loop meanwhile. The
    states are those of the graph, so that gradients with respect to them can be taken.

    Source: Karpathy, Johnson & Fei-Fei (2015), Visualizing and understanding recurrent networks,
    arXiv:1506.02078.
    """
    traces: list[Trace] = []
    token = _records.set(traces)
    try:
        yield traces
    finally:
        _records.reset(token)


# Weights by torch's names ------------------------------------------------------------------------

_TORCH = re.compile(r"(?P<name>(?:weight|bias)_[ih]h)_l(?P<layer>\d+)(?P<reverse>_reverse)?$")
_FUSED_NAME = re.compile(
    r"stack\.(?P<layer>\d+)\.rnn\.(?P<name>(?:weight|bias)_[ih]h)_l0(?P<reverse>_reverse)?$"
)
_LOOP_NAME = re.compile(r"stack\.(?P<layer>\d+)\.cells\.(?P<cell>[01])\.(?P<name>\w+_[ih]h)$")


def _rename_weights(module: Any, state: dict[str, Any], prefix: str, *_: Any) -> None:
    """Take torch's names, and those of the other path, for this path's own."""
    for key in [k for k in state if k.startswith(prefix)]:
        rest = key.removeprefix(prefix)
        for pattern in (_TORCH, _FUSED_NAME, _LOOP_NAME):
            if found := pattern.match(rest):
                parts = found.groupdict()
                reverse = bool(parts.get("reverse")) or parts.get("cell") == "1"
                layer = int(parts["layer"])
                if layer >= len(module.stack):
                    continue
                if isinstance(module.stack[layer], _Fused):
                    tail = f"rnn.{parts['name']}_l0" + "_reverse" * reverse
                else:
                    tail = f"cells.{int(reverse)}.{parts['name']}"
                state[f"{prefix}stack.{layer}.{tail}"] = state.pop(key)
                break
