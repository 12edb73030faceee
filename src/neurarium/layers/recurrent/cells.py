"""One step of a recurrent network: the contract of every cell, and the two oldest."""

import math
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from neurarium import activations
from neurarium._names import resolve

__all__ = ["Cell", "JordanCell", "RNNCell"]

State = tuple[Tensor, ...]
"""What a cell remembers, first of all its output."""


class Cell(nn.Module):
    """What `Recurrent` asks of a cell: the work on the input alone, then one step in time.

    `project` is called once for all steps, where one product does what the loop would do a hundred
    times; `step` is the loop's body. A cell knows nothing of lengths, directions or layers.

    Args:
        input_size: features of the input.
        hidden_size: units.
    """

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        if min(input_size, hidden_size) < 1:
            raise ValueError(
                f"input_size and hidden_size must be at least 1, got {input_size} and {hidden_size}"
            )
        self.input_size, self.hidden_size = input_size, hidden_size

    @property
    def widths(self) -> tuple[int, ...]:
        """Width of each part of the state; the first is the output's."""
        return (self.hidden_size,)

    def project(self, x: Float[Tensor, "*steps features"]) -> Tensor:
        """What depends on the input alone, for any number of steps at once."""
        raise NotImplementedError

    def step(self, u: Tensor, state: State) -> State:
        """The next state, from a projected input and the state before."""
        raise NotImplementedError

    def initial_state(self, batch: int, like: Tensor) -> State:
        """Zeros for a batch, on the device of `like`."""
        return tuple(like.new_zeros(batch, width) for width in self.widths)

    def forward(
        self, x: Float[Tensor, "batch features"], state: State | None = None
    ) -> tuple[Float[Tensor, "batch hidden"], State]:
        """One step by itself: the output, and the state."""
        state = self.initial_state(len(x), x) if state is None else state
        state = self.step(self.project(x), state)
        return state[0], state

    def matrix(self, *shape: int) -> nn.Parameter:
        """Weights as torch's recurrent layers start them: uniform within 1/sqrt(hidden)."""
        bound = 1 / math.sqrt(self.hidden_size)
        return nn.Parameter(torch.empty(shape).uniform_(-bound, bound))

    def extra_repr(self) -> str:
        return f"{self.input_size}, {self.hidden_size}"


class RNNCell(Cell):
    r"""Elman's cell: a layer that sees the input and its own last output.

    $$H_t = \sigma(W H_{t-1} + U X_t + b), \qquad H_0 = 0$$

    As in torch there are two biases, whose sum is $b$: same parameters, same steps.

    Args:
        activation: $\sigma$, a name or a function.

    Source: Elman (1990), Finding structure in time, Cognitive Science 14(2).
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        activation: str | Callable[..., Any] = "tanh",
    ) -> None:
        super().__init__(input_size, hidden_size)
        self.activation = resolve(activation, activations, "activation")
        self.weight_ih = self.matrix(hidden_size, input_size)
        self.weight_hh = self.matrix(hidden_size, hidden_size)
        self.bias_ih, self.bias_hh = self.matrix(hidden_size), self.matrix(hidden_size)

    def project(self, x: Float[Tensor, "*steps features"]) -> Tensor:
        return F.linear(x, self.weight_ih, self.bias_ih + self.bias_hh)

    def step(self, u: Tensor, state: State) -> State:
        return (self.activation(torch.addmm(u, state[0], self.weight_hh.t())),)


class JordanCell(Cell):
    r"""Jordan's cell: a layer that sees the input and the network's own last answer.

    $$H_t = \sigma(W O_{t-1} + U X_t + b), \qquad O_t = g(V H_t + c)$$

    Args:
        hidden_size: width of $H$, which is not kept.
        output_size: width of $O$, the state and the output; `hidden_size` if not given.
        activation: $\sigma$.
        out: $g$.

    Source: Jordan (1986), Serial order: a parallel distributed processing approach, ICS report
    8604, University of California, San Diego.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        output_size: int | None = None,
        activation: str | Callable[..., Any] = "tanh",
        out: str | Callable[..., Any] = "sigmoid",
    ) -> None:
        super().__init__(input_size, hidden_size)
        self.output_size = hidden_size if output_size is None else output_size
        self.activation, self.out = (
            resolve(spec, activations, "activation") for spec in (activation, out)
        )
        self.W = self.matrix(hidden_size, self.output_size)
        self.U, self.b = self.matrix(hidden_size, input_size), self.matrix(hidden_size)
        self.V, self.c = self.matrix(self.output_size, hidden_size), self.matrix(self.output_size)

    @property
    def widths(self) -> tuple[int, ...]:
        return (self.output_size,)

    def project(self, x: Float[Tensor, "*steps features"]) -> Tensor:
        return F.linear(x, self.U, self.b)

    def step(self, u: Tensor, state: State) -> State:
        hidden = self.activation(torch.addmm(u, state[0], self.W.t()))
        return (self.out(F.linear(hidden, self.V, self.c)),)
