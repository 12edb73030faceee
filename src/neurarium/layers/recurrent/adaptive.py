"""As many steps of thought for an input as it needs."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from neurarium.layers.recurrent.cells import Cell, State

__all__ = ["Adaptive"]


class Adaptive(nn.Module):
    r"""Adaptive computation time: a cell is repeated on each input until it says stop.

    $$s^n = \mathrm{cell}([x, \delta_{n1}], s^{n-1}), \quad h^n = \sigma(w^\top y^n + b), \quad
      N = \min\{n : \textstyle\sum_{k \le n} h^k \ge 1 - \epsilon\}, \quad
      R = 1 - \sum_{n < N} h^n$$

    $$s = \sum_{n \le N} p^n s^n, \qquad p^n = h^n \; (n < N), \; p^N = R, \qquad \rho = N + R$$

    `ponder` of the last pass, the mean over the batch of $\sum_t \rho_t$, is to be added to the
    loss, times a price. $N$ is a constant for the gradient.

    Args:
        cell: takes inputs one wider than those given, which is the flag of the first step.
        epsilon: so that one step may be enough.
        max_steps: after which it stops in any case.

    Source: Graves (2016), Adaptive computation time for recurrent neural networks,
    arXiv:1603.08983.
    """

    def __init__(self, cell: Cell, epsilon: float = 0.01, max_steps: int = 100) -> None:
        super().__init__()
        if not 0 < epsilon < 1 or max_steps < 1:
            raise ValueError(
                f"epsilon must lie between 0 and 1 and max_steps be at least 1, got {epsilon} and "
                f"{max_steps}"
            )
        self.cell, self.epsilon, self.max_steps = cell, epsilon, max_steps
        self.halt = nn.Linear(cell.widths[0], 1)
        nn.init.ones_(self.halt.bias)  # few steps at first
        self.ponder: Tensor = torch.zeros(())
        self.steps: Tensor = torch.zeros(0)

    def forward(
        self, x: Float[Tensor, "batch steps features"], state: State | None = None
    ) -> tuple[Float[Tensor, "batch steps hidden"], State]:
        """Outputs at each step, and the last state; `ponder` and `steps` tell of this pass."""
        state = self.cell.initial_state(len(x), x) if state is None else state
        outputs, costs, counts = [], [], []
        for x_t in x.unbind(1):
            state, count, rest = self.think(x_t, state)
            outputs.append(state[0])
            costs.append(count + rest)
            counts.append(count)
        self.ponder, self.steps = torch.stack(costs).sum(0).mean(), torch.stack(counts, dim=1)
        return torch.stack(outputs, dim=1), state

    def think(
        self, x: Float[Tensor, "batch features"], state: State
    ) -> tuple[State, Float[Tensor, " batch"], Float[Tensor, " batch"]]:
        """One input: the mean state, the number of steps N and the remainder R of each row."""
        mean: State = tuple(torch.zeros_like(part) for part in state)
        spent, count = x.new_zeros(len(x)), x.new_zeros(len(x))
        running = torch.ones(len(x), dtype=torch.bool, device=x.device)
        rest = x.new_zeros(len(x))
        flag = x.new_ones(len(x), 1)
        for n in range(self.max_steps):
            state = self.cell.step(self.cell.project(torch.cat([x, flag], dim=1)), state)
            h = torch.sigmoid(self.halt(state[0])).squeeze(1)
            last = running & ((spent + h >= 1 - self.epsilon) | (n + 1 == self.max_steps))
            rest = torch.where(last, 1 - spent, rest)
            p = torch.where(last, 1 - spent, torch.where(running, h, 0)).unsqueeze(1)
            mean = tuple(m + p * part for m, part in zip(mean, state, strict=True))
            count = count + running
            spent = torch.where(running & ~last, spent + h, spent)
            running = running & ~last
            flag = torch.zeros_like(flag)
            if not bool(running.any()):
                break
        return mean, count, rest
