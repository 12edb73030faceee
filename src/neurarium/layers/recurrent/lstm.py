"""Long short-term memory, and what has been added to it and taken away."""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from neurarium.layers.recurrent.cells import Cell, State

__all__ = ["LSTMCell"]

_REMOVABLE = frozenset("ifogh")


class LSTMCell(Cell):
    r"""A memory that gates write, keep and read; by default torch's, weights and all.

    $$\begin{aligned} i_t, f_t, o_t &= \sigma(W_{i,f,o}[h_{t-1}, x_t] + b_{i,f,o}), \qquad
      g_t = \tanh(W_g [h_{t-1}, x_t] + b_g) \\
      c_t &= f_t \odot c_{t-1} + i_t \odot g_t, \qquad h_t = o_t \odot \tanh c_t \end{aligned}$$

    With $f = 1$ and $i = 0$ the memory is carried unchanged, and so is its gradient. Gates lie in
    the weights in torch's order i, f, g, o, those that do not exist left out.

    Args:
        peephole: the gates see the memory, $i$ and $f$ the last one, $o$ the new, by one weight a
            unit, 0 at first.
        coupled: $f = 1 - i$, one gate less.
        without: what to leave away: gates "i", "f", "o" (which are then 1), the squashing "g" of
            what is written or "h" of what is read. The cell of 1997 is "f".
        full_recurrence: $i$, $f$ and $o$ see the three gates of the step before.
        norm: "layer" normalizes $W_h h$, $W_x x$ and $c_t$ before it is read, all gates together.
        forget_bias: the sum of the forget gate's two biases at first; torch's is about 0.
        squash: "1997" takes that paper's $2 \tanh(x/2)$ for what is written and $\tanh(x/2)$ for
            what is read.

    Source: Hochreiter & Schmidhuber (1997), Neural Computation 9(8); forget gate: Gers,
    Schmidhuber & Cummins (2000), Neural Computation 12(10); peepholes: Gers & Schmidhuber (2000),
    IJCNN; the variants: Greff et al. (2015), arXiv:1503.04069; normalized: Ba, Kiros & Hinton
    (2016), arXiv:1607.06450; forget bias: Jozefowicz, Zaremba & Sutskever (2015), ICML.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        peephole: bool = False,
        coupled: bool = False,
        without: str = "",
        full_recurrence: bool = False,
        norm: Literal["layer"] | None = None,
        forget_bias: float = 1.0,
        squash: Literal["tanh", "1997"] = "tanh",
    ) -> None:
        super().__init__(input_size, hidden_size)
        self._check(without, coupled, full_recurrence, norm)
        absent = set(without) | ({"f"} if coupled else set())
        self.gates = tuple(gate for gate in "ifgo" if gate == "g" or gate not in absent)
        self.coupled, self.without, self.squash = coupled, frozenset(without), squash
        self.full_recurrence = full_recurrence
        rows = len(self.gates) * hidden_size
        self.weight_ih = self.matrix(rows, input_size)
        self.weight_hh = self.matrix(rows, hidden_size)
        self.bias_ih, self.bias_hh = self.matrix(rows), self.matrix(rows)
        seeing = [gate for gate in self.gates if gate != "g"] if peephole else []
        self.peephole = nn.ParameterDict(
            {gate: nn.Parameter(torch.zeros(hidden_size)) for gate in seeing}
        )
        self.weight_gg = self.matrix(3 * hidden_size, 3 * hidden_size) if full_recurrence else None
        self.norm_x = self.norm_h = self.norm_c = None
        if norm == "layer":
            self.norm_x, self.norm_h = nn.LayerNorm(rows), nn.LayerNorm(rows)
            self.norm_c = nn.LayerNorm(hidden_size)
        self._set_forget_bias(forget_bias)

    @staticmethod
    def _check(without: str, coupled: bool, full_recurrence: bool, norm: str | None) -> None:
        if unknown := set(without) - _REMOVABLE:
            raise ValueError(
                f"without may hold the letters i, f, o, g and h, got {''.join(sorted(unknown))!r}"
            )
        if coupled and set(without) & {"i", "f"}:
            raise ValueError("coupled makes the forget gate of the input gate; keep both")
        if full_recurrence and (coupled or set(without) & set("ifo")):
            raise ValueError("full_recurrence feeds all three gates back; leave none of them away")
        if norm not in (None, "layer"):
            raise ValueError(f"norm must be 'layer' or None, got {norm!r}")

    @torch.no_grad()
    def _set_forget_bias(self, bias: float) -> None:
        gate, value = ("i", -bias) if self.coupled else ("f", bias)
        if gate in self.gates:
            place = self.gates.index(gate)
            for vector, start in ((self.bias_ih, value), (self.bias_hh, 0.0)):
                vector.view(len(self.gates), -1)[place] = start

    @property
    def widths(self) -> tuple[int, ...]:
        h = self.hidden_size
        return (h, h, 3 * h) if self.full_recurrence else (h, h)

    def project(self, x: Float[Tensor, "*steps features"]) -> Tensor:
        bias = self.bias_ih + self.bias_hh
        if self.norm_x is None:
            return F.linear(x, self.weight_ih, bias)
        return self.norm_x(F.linear(x, self.weight_ih)) + bias

    def step(self, u: Tensor, state: State) -> State:
        h, c = state[:2]
        if self.norm_h is None:
            a = torch.addmm(u, h, self.weight_hh.t())
        else:
            a = u + self.norm_h(F.linear(h, self.weight_hh))
        at = dict(zip(self.gates, a.chunk(len(self.gates), dim=-1), strict=True))
        if self.weight_gg is not None:
            fed = F.linear(state[2], self.weight_gg).chunk(3, dim=-1)
            at |= {gate: at[gate] + more for gate, more in zip("ifo", fed, strict=True)}
        i = self._gate("i", at, c)
        f = 1 - i if self.coupled else self._gate("f", at, c)
        c = f * c + i * self._written(at["g"])
        o = self._gate("o", at, c)
        h = o * self._read(c if self.norm_c is None else self.norm_c(c))
        return (h, c, torch.cat([i, f, o], dim=-1)) if self.full_recurrence else (h, c)

    def _gate(self, gate: str, at: dict[str, Tensor], c: Tensor) -> Tensor:
        if gate not in at:
            return torch.ones_like(c)
        a = at[gate]
        if gate in self.peephole:
            a = a + self.peephole[gate] * c
        return torch.sigmoid(a)

    def _written(self, g: Tensor) -> Tensor:
        if "g" in self.without:
            return g
        return torch.tanh(g) if self.squash == "tanh" else 2 * torch.tanh(g / 2)

    def _read(self, c: Tensor) -> Tensor:
        if "h" in self.without:
            return c
        return torch.tanh(c if self.squash == "tanh" else c / 2)
