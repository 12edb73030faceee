"""Cells that keep part of their state by gates: GRU, its minimal form, three found by search."""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from neurarium.layers.recurrent.cells import Cell, State

__all__ = ["GRUCell", "MGUCell", "MUT1Cell", "MUT2Cell", "MUT3Cell"]


class GRUCell(Cell):
    r"""A gated recurrent unit, in each of the three forms that go by this name.

    $$r_t, z_t = \sigma(W_{r,z} x_t + U_{r,z} h_{t-1}), \qquad
      n_t = \tanh(W x_t + r_t \odot (U h_{t-1})), \qquad
      h_t = z_t \odot h_{t-1} + (1 - z_t) \odot n_t$$

    | form | reset | keep |
    |---|---|---|
    | torch, cuDNN, Keras; the default | "after" | "z" |
    | Cho et al. | "before": $U (r \odot h)$ | "z" |
    | Chung et al. | "before" | "1-z": $(1 - z) \odot h + z \odot n$ |

    The two signs of $z$ are one model, its gate's weights negated; before and after are two. For a
    long memory give the gate that keeps a positive bias.

    Args:
        reset: whether the reset gate acts after the product with $U$ or before.
        keep: the share of the past that stays.

    Source: Cho et al. (2014), arXiv:1406.1078; Chung et al. (2014), arXiv:1412.3555.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        reset: Literal["after", "before"] = "after",
        keep: Literal["z", "1-z"] = "z",
    ) -> None:
        super().__init__(input_size, hidden_size)
        if reset not in ("after", "before") or keep not in ("z", "1-z"):
            raise ValueError(
                f"reset must be 'after' or 'before' and keep 'z' or '1-z', got {reset!r} and "
                f"{keep!r}"
            )
        self.reset, self.keep = reset, keep
        self.weight_ih = self.matrix(3 * hidden_size, input_size)
        self.weight_hh = self.matrix(3 * hidden_size, hidden_size)
        self.bias_ih, self.bias_hh = self.matrix(3 * hidden_size), self.matrix(3 * hidden_size)

    def project(self, x: Float[Tensor, "*steps features"]) -> Tensor:
        return F.linear(x, self.weight_ih, self.bias_ih)

    def step(self, u: Tensor, state: State) -> State:
        (h,) = state
        width = self.hidden_size
        gates, fresh = u.split([2 * width, width], dim=-1)
        if self.reset == "after":
            v = F.linear(h, self.weight_hh, self.bias_hh)
            r, z = torch.sigmoid(gates + v[..., : 2 * width]).chunk(2, dim=-1)
            n = torch.tanh(torch.addcmul(fresh, r, v[..., 2 * width :]))
        else:
            (w_gates, w), (b_gates, b) = (
                t.split([2 * width, width]) for t in (self.weight_hh, self.bias_hh)
            )
            r, z = torch.sigmoid(gates + F.linear(h, w_gates, b_gates)).chunk(2, dim=-1)
            n = torch.tanh(fresh + F.linear(r * h, w, b))
        return (torch.lerp(n, h, z) if self.keep == "z" else torch.lerp(h, n, z),)


class MGUCell(Cell):
    r"""The minimal gated unit: one gate forgets and resets.

    $$f_t = \sigma(W_f x_t + U_f h_{t-1} + b_f), \qquad
      \tilde h_t = \tanh(W x_t + U (f_t \odot h_{t-1}) + b), \qquad
      h_t = (1 - f_t) \odot h_{t-1} + f_t \odot \tilde h_t$$

    Source: Zhou, Wu, Zhang & Zhou (2016), Minimal gated unit for recurrent neural networks,
    arXiv:1603.09420.
    """

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.W, self.b = self.matrix(2 * hidden_size, input_size), self.matrix(2 * hidden_size)
        self.U_f, self.U = (self.matrix(hidden_size, hidden_size) for _ in range(2))

    def project(self, x: Float[Tensor, "*steps features"]) -> Tensor:
        return F.linear(x, self.W, self.b)

    def step(self, u: Tensor, state: State) -> State:
        (h,) = state
        gate, fresh = u.chunk(2, dim=-1)
        f = torch.sigmoid(gate + F.linear(h, self.U_f))
        return (torch.lerp(h, torch.tanh(fresh + F.linear(f * h, self.U)), f),)


class _Mutated(Cell):
    """What the three found cells share; where the paper adds a bare x, a map gives it the width."""

    def __init__(self, input_size: int, hidden_size: int, inputs: int, resets: bool) -> None:
        super().__init__(input_size, hidden_size)
        self.W_x = self.matrix(inputs * hidden_size, input_size)
        self.b = self.matrix(3 * hidden_size)
        self.W_hr, self.W_hh = (self.matrix(hidden_size, hidden_size) for _ in range(2))
        self.W_hz = self.matrix(hidden_size, hidden_size) if resets else None
        self.widen: nn.Module = nn.Identity()
        if inputs < 3 and input_size != hidden_size:
            self.widen = nn.Linear(input_size, hidden_size, bias=False)

    def step(self, u: Tensor, state: State) -> State:
        (h,) = state
        update, reset, fresh = u.chunk(3, dim=-1)
        if self.W_hz is not None:
            update = update + F.linear(self.seen(h), self.W_hz)
        z = torch.sigmoid(update)
        r = torch.sigmoid(reset + F.linear(h, self.W_hr))
        return (torch.lerp(h, torch.tanh(fresh + F.linear(r * h, self.W_hh)), z),)

    def seen(self, h: Tensor) -> Tensor:
        """What the update gate sees of the state."""
        return h


class MUT1Cell(_Mutated):
    r"""The best cell of a search over ten thousand: its update gate sees the input alone.

    $$\begin{aligned} z &= \sigma(W_{xz} x + b_z), \qquad
      r = \sigma(W_{xr} x + W_{hr} h + b_r) \\
      h' &= \tanh(W_{hh} (r \odot h) + \tanh(x) + b_h) \odot z + h \odot (1 - z) \end{aligned}$$

    Where $x$ is not as wide as $h$, $\tanh(x)$ is of a linear map of it. $z$ is the share of the
    new, unlike torch's in the GRU.

    Source: Jozefowicz, Zaremba & Sutskever (2015), An empirical exploration of recurrent network
    architectures, ICML, PMLR 37.
    """

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size, inputs=2, resets=False)

    def project(self, x: Float[Tensor, "*steps features"]) -> Tensor:
        return torch.cat([F.linear(x, self.W_x), torch.tanh(self.widen(x))], dim=-1) + self.b


class MUT2Cell(_Mutated):
    r"""Found by search: the reset gate adds the input as it is.

    $$\begin{aligned} z &= \sigma(W_{xz} x + W_{hz} h + b_z), \qquad
      r = \sigma(x + W_{hr} h + b_r) \\
      h' &= \tanh(W_{hh} (r \odot h) + W_{xh} x + b_h) \odot z + h \odot (1 - z) \end{aligned}$$

    Where $x$ is not as wide as $h$, the reset gate adds a linear map of it.

    Source: Jozefowicz, Zaremba & Sutskever (2015), An empirical exploration of recurrent network
    architectures, ICML, PMLR 37.
    """

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size, inputs=2, resets=True)

    def project(self, x: Float[Tensor, "*steps features"]) -> Tensor:
        update, fresh = F.linear(x, self.W_x).chunk(2, dim=-1)
        return torch.cat([update, self.widen(x), fresh], dim=-1) + self.b


class MUT3Cell(_Mutated):
    r"""Found by search: the update gate sees the state squashed.

    $$\begin{aligned} z &= \sigma(W_{xz} x + W_{hz} \tanh(h) + b_z), \qquad
      r = \sigma(W_{xr} x + W_{hr} h + b_r) \\
      h' &= \tanh(W_{hh} (r \odot h) + W_{xh} x + b_h) \odot z + h \odot (1 - z) \end{aligned}$$

    Source: Jozefowicz, Zaremba & Sutskever (2015), An empirical exploration of recurrent network
    architectures, ICML, PMLR 37.
    """

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size, inputs=3, resets=True)

    def project(self, x: Float[Tensor, "*steps features"]) -> Tensor:
        return F.linear(x, self.W_x, self.b)

    def seen(self, h: Tensor) -> Tensor:
        return torch.tanh(h)
