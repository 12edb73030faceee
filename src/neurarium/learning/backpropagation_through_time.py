"""Backpropagation through time: whole, in windows, and derived by hand."""

import math
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from neurarium.data import Batch
from neurarium.layers.recurrent import LSTMCell, RNNCell, State
from neurarium.learning.pseudo_gradient import Backpropagating
from neurarium.objectives import Objective

__all__ = ["BackpropThroughTime", "bptt_gradients"]


class BackpropThroughTime(Backpropagating):
    r"""Every `stride` steps of a sequence a step of the weights, looking back over `window` steps.

    $$\Delta\theta \propto -\frac{\partial}{\partial \theta} \sum_{t = s - k_1 + 1}^{s} \ell_t
      \Big|_{h_{s - k_2} \text{ const.}}, \qquad s = k_1, 2 k_1, \dots$$

    States are carried on, gradients end at the window. Each step's loss counts once, so with the
    window as long as the sequences this is `Backprop`. The model is one with `unroll`, such as
    those of `networks.sequence`; the objective compares at each step, such as
    `objectives.per_step`.

    Args:
        optimizer: as of `Backprop`, like `lr`, `schedule` and all `options`.
        window: $k_2$; None is the whole sequence.
        stride: $k_1$, which divides `window`; the window itself if not given.
        carry: whether a batch goes on where the same rows of the one before ended, as
            `data.streams` lays a text out. A batch's key `start` marks the rows that begin anew.

    Source: Werbos (1990), Backpropagation through time, Proceedings of the IEEE 78(10);
    truncated: Williams & Peng (1990), An efficient gradient-based algorithm for on-line training
    of recurrent network trajectories, Neural Computation 2(4).
    """

    model: Any

    def __init__(
        self,
        optimizer: Any = "adamw",
        lr: float | None = None,
        schedule: Any = None,
        *,
        window: int | None = None,
        stride: int | None = None,
        carry: bool = False,
        **options: Any,
    ) -> None:
        for name, value in (("window", window), ("stride", stride)):
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}; it counts steps")
        if stride is not None and (window or stride) % stride:
            raise ValueError(
                f"window ({window}) must be a multiple of stride ({stride}): each window begins "
                "where an earlier one left its state"
            )
        self.window, self.stride, self.carry = window, stride, carry
        self.total_batches: int | None = None
        self.carried: list[State] | None = None
        super().__init__(optimizer, lr, schedule, **options)

    def bind(self, model: nn.Module, objective: Objective) -> None:
        """Take model and objective, and build the optimizer."""
        if not hasattr(model, "unroll"):
            raise ValueError(
                f"BackpropThroughTime cuts sequences where {type(model).__name__} cannot go on: it "
                "needs unroll(input, length, state) -> (output, state), as networks.LanguageModel "
                "has"
            )
        self.carried = None
        super().bind(Carrier(model), objective)

    def prepare(self, model: nn.Module, objective: Objective) -> None:
        """All was looked at in `bind`."""

    def estimate(self, batch: Batch) -> dict[str, Tensor]:
        """The gradient of whole sequences."""
        self.model.begin(None, batch.get("length"), 0)
        return self.descent.gradients(batch)

    def plan(self, total_steps: int | None) -> None:
        """Be told how many batches there will be."""
        self.total_batches = total_steps
        self.descent.plan(total_steps)

    def step(self, batch: Batch) -> dict[str, Tensor]:
        """As many steps as the sequences have strides; the mean of what they returned."""
        steps, length = batch["input"].shape[1], batch.get("length")
        window = self.window or (steps if self.stride is None else -(-steps // self.stride))
        stride = self.stride or min(window, steps)
        if self.total_batches is not None:
            self.descent.plan(self.total_batches * math.ceil(steps / stride))
        states = {0: self._first_state(batch)}
        totals: dict[str, Tensor] = {}
        for begin in range(0, steps, stride):
            start, end = max(0, begin + stride - window), min(begin + stride, steps)
            part = cut(batch, steps, start, end, begin)
            self.model.begin(states[start], left(length, start, end), begin - start)
            outputs = self.descent.update(self.descent.gradients(part))
            states[end] = self.model.state
            for name, value in outputs.items():
                totals[name] = totals.get(name, 0) + value * ((end - begin) / steps)
        self.carried = states[steps] if self.carry else None
        return totals

    def _first_state(self, batch: Batch) -> list[State] | None:
        if self.carried is None:
            return None
        rows = len(self.carried[0][0])
        if rows != len(batch["input"]):
            raise ValueError(
                f"carry=True needs batches of one size, whose rows go on, got {rows} rows and then "
                f"{len(batch['input'])}; data.streams makes such"
            )
        if "start" not in batch:
            return self.carried
        start = batch["start"].bool()
        if bool(start.all()):
            return None
        return [tuple(_cleared(part, start) for part in state) for state in self.carried]

    def own_state(self) -> dict[str, Any]:
        """The states that are carried."""
        return {"carried": self.carried}

    def load_own_state(self, state: dict[str, Any]) -> None:
        """Go on from them."""
        self.carried = state["carried"]

    def __repr__(self) -> str:
        return (
            f"BackpropThroughTime({self.descent!r}, window={self.window}, stride={self.stride}, "
            f"carry={self.carry})"
        )


class Carrier(nn.Module):
    """The model as an objective asks it, going on from a state; leaves the state it came to."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.inner = model
        self.state: list[State] | None = None
        self.begin(None, None, 0)

    def begin(self, state: list[State] | None, length: Tensor | None, before: int) -> None:
        """What the next call starts from, and how many of its first steps are no answer."""
        self.state, self.length, self.before = state, length, before

    def forward(self, x: Tensor) -> Tensor:
        out, state = self.inner.unroll(x, self.length, self.state)
        self.state = [tuple(part.detach() for part in own) for own in state]
        return out[:, self.before :]


def _cleared(part: Tensor, rows: Tensor) -> Tensor:
    return part.masked_fill(rows.view(-1, *[1] * (part.ndim - 1)), 0)


def cut(batch: Batch, steps: int, start: int, end: int, begin: int) -> dict[str, Tensor]:
    """The part of a batch from `start` to `end`, whose loss counts from `begin`."""
    part = {}
    for name, value in batch.items():
        timed = value.ndim > 1 and value.shape[1] == steps
        part[name] = value[:, start if name == "input" else begin : end] if timed else value
    if "length" in batch:
        part["length"] = (batch["length"] - begin).clamp(0, end - begin)
    return part


def left(length: Tensor | None, start: int, end: int) -> Tensor | None:
    """Real steps of each row between two others."""
    return None if length is None else (length - start).clamp(0, end - start)


def bptt_gradients(
    cell: RNNCell | LSTMCell,
    V: Float[Tensor, "classes hidden"],
    c: Float[Tensor, " classes"],
    x: Float[Tensor, "steps features"],
    y: Int[Tensor, " steps"],
) -> dict[str, Tensor]:
    r"""Gradients of a tanh network or an LSTM that names a class at each step, derived by hand.

    $$\delta_t = \bigl(V^\top (p_t - y_t) + W^\top \delta_{t+1}\bigr) \odot (1 - h_t^2), \qquad
      \frac{\partial L}{\partial W} = \sum_t \delta_t h_{t-1}^\top, \quad
      \frac{\partial L}{\partial U} = \sum_t \delta_t x_t^\top, \quad
      \frac{\partial L}{\partial b} = \sum_t \delta_t$$

    $L = \sum_t -\log p_t(y_t)$ with $p_t = \operatorname{softmax}(V h_t + c)$. In an LSTM four
    deltas, of i, f, g and o, stand above each other, and one more runs along the memory:
    $\delta c_t = \delta h_t \odot o_t \odot (1 - \tanh^2 c_t) + \delta c_{t+1} \odot f_{t+1}$.

    Returns:
        Gradients of `weight_ih`, `weight_hh`, `bias` (either of the two), `V` and `c`.

    Source: Werbos (1990), Proceedings of the IEEE 78(10); Chen (2016), A gentle tutorial of
    recurrent neural network with error backpropagation, arXiv:1610.02583.
    """
    with torch.no_grad():
        W, U, b = cell.weight_hh, cell.weight_ih, cell.bias_ih + cell.bias_hh
        width = W.shape[1]
        h, memory = [W.new_zeros(width)], [W.new_zeros(width)]
        gates = []
        for x_t in x:
            a = W @ h[-1] + U @ x_t + b
            if isinstance(cell, RNNCell):
                h.append(torch.tanh(a))
                continue
            i, f, g, o = a.view(4, -1)
            i, f, g, o = i.sigmoid(), f.sigmoid(), g.tanh(), o.sigmoid()
            memory.append(f * memory[-1] + i * g)
            h.append(o * memory[-1].tanh())
            gates.append((i, f, g, o))
        error = (torch.stack(h[1:]) @ V.T + c).softmax(1)
        error[torch.arange(len(y)), y] -= 1  # p - y
        deltas: list[Tensor] = []
        back, dc = W.new_zeros(width), W.new_zeros(width)
        for t in reversed(range(len(x))):
            dh = V.T @ error[t] + back
            if isinstance(cell, RNNCell):
                delta = dh * (1 - h[t + 1] ** 2)
            else:
                i, f, g, o = gates[t]
                read = memory[t + 1].tanh()
                dc = dc + dh * o * (1 - read**2)
                di, df = dc * g * i * (1 - i), dc * memory[t] * f * (1 - f)
                dg, do = dc * i * (1 - g**2), dh * read * o * (1 - o)
                delta, dc = torch.cat([di, df, dg, do]), dc * f
            back = W.T @ delta
            deltas.insert(0, delta)
        all_deltas, states = torch.stack(deltas), torch.stack(h)
        return {
            "weight_ih": all_deltas.T @ x,
            "weight_hh": all_deltas.T @ states[:-1],
            "bias": all_deltas.sum(0),
            "V": error.T @ states[1:],
            "c": error.sum(0),
        }
