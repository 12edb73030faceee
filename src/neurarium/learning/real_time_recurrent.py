"""Real-time recurrent learning: the gradient through time, carried forward."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from neurarium.data import Batch
from neurarium.layers.recurrent import record_states
from neurarium.learning.backpropagation_through_time import Carrier, cut, left
from neurarium.learning.pseudo_gradient import Backpropagating
from neurarium.objectives import Objective

__all__ = ["RealTimeRecurrent"]


class RealTimeRecurrent(Backpropagating):
    r"""The exact gradient of a recurrent network without going back: influences go on with it.

    $$S_t = \frac{\partial h_t}{\partial h_{t-1}} S_{t-1} + \frac{\partial^+ h_t}{\partial \theta},
      \qquad \nabla_\theta\, \ell_t = \frac{\partial^+ \ell_t}{\partial \theta} +
      \frac{\partial \ell_t}{\partial h_{t-1}} S_{t-1}$$

    $\partial^+$ is what one step does by itself. With one update a batch it is `Backprop` to
    rounding. Nothing of the past is kept but $S$, whose $n \cdot |\theta|$ numbers for each row
    cost $O(n^4)$ a step in a dense network of $n$ units: for small ones, and to understand.

    The model is one with `unroll`, such as those of `networks.sequence`, without dropout; the
    objective compares at each step, such as `objectives.per_step`.

    Args:
        optimizer: as of `Backprop`, like `lr`, `schedule` and all `options`.
        online: whether the weights move at every step. The influences of older weights are then
            carried on, so the gradient is no longer exact.

    Source: Williams & Zipser (1989), A learning algorithm for continually running fully recurrent
    neural networks, Neural Computation 1(2).
    """

    model: Any

    def __init__(
        self,
        optimizer: Any = "adamw",
        lr: float | None = None,
        schedule: Any = None,
        *,
        online: bool = False,
        **options: Any,
    ) -> None:
        self.online = online
        super().__init__(optimizer, lr, schedule, **options)

    def bind(self, model: nn.Module, objective: Objective) -> None:
        """Take model and objective, and build the optimizer."""
        _check(model)
        super().bind(Carrier(model), objective)

    def prepare(self, model: nn.Module, objective: Objective) -> None:
        """Make one step of the network a function of its weights."""
        self.transition = _Transition(model.inner)

    def estimate(self, batch: Batch) -> dict[str, Tensor]:
        """The gradient of whole sequences, step by step."""
        totals: dict[str, Tensor] = {}
        for share, outputs in self._steps(batch):
            for name, value in outputs.items():
                totals[name] = totals.get(name, 0) + value * share
        return totals

    def plan(self, total_steps: int | None) -> None:
        """Be told how many batches there will be."""
        self.total_batches = total_steps
        self.descent.plan(total_steps)

    def step(self, batch: Batch) -> dict[str, Tensor]:
        """One update, or online one for each step of the sequences."""
        if not self.online:
            return super().step(batch)
        if (total := getattr(self, "total_batches", None)) is not None:
            self.descent.plan(total * batch["input"].shape[1])
        totals: dict[str, Tensor] = {}
        for share, outputs in self._steps(batch):
            for name, value in self.descent.update(outputs).items():
                totals[name] = totals.get(name, 0) + value * share
        return totals

    def _steps(self, batch: Batch) -> Iterator[tuple[float, dict[str, Tensor]]]:
        """Add each step's slopes to the gradients; its share of the loss, and what it returned."""
        steps, length = batch["input"].shape[1], batch.get("length")
        state: list[Any] | None = None
        influence: dict[str, Tensor] | None = None
        for t in range(steps):
            share = 1 / steps if length is None else float((length > t).sum() / length.sum())
            if not share:
                return
            self.model.begin(state, left(length, t, t + 1), 0)
            part = cut(batch, steps, t, t + 1, t)
            outputs = self.descent._backward(part, 1.0 if self.online else share)
            after = [part for own in self.model.state for part in own]
            before = [torch.zeros_like(part) for part in after]
            if state is not None and influence is not None:
                before = [part.detach() for own in state for part in own]
                slope = torch.cat([part.grad for own in state for part in own], 1)
                for name, parameter in self.transition.named_parameters():
                    if parameter.requires_grad:
                        parameter.grad = _sum(parameter.grad, slope, influence[name])
            influence = self._carried(batch["input"][:, t : t + 1], before, influence)
            state = [tuple(p.requires_grad_() for p in own) for own in self.model.state]
            yield share, outputs

    def _carried(
        self, x: Tensor, state: list[Tensor], influence: dict[str, Tensor] | None
    ) -> dict[str, Tensor]:
        """What each weight has done so far to each number of each row's state."""
        weights = {n: p.detach() for n, p in self.transition.named_parameters() if p.requires_grad}

        def step(weights: dict[str, Tensor], x: Tensor, *state: Tensor) -> Tensor:
            return torch.func.functional_call(self.transition, weights, (x, *state))

        every = (0, *range(2, 2 + len(state)))
        slopes = torch.vmap(
            torch.func.jacrev(step, argnums=every),
            in_dims=(None, *[0] * (1 + len(state))),
            randomness="same",
        )(weights, x, *state)
        now, *through = slopes
        if influence is None:
            return now
        jacobian = torch.cat(through, -1)
        return {
            n: s + torch.einsum("bij,bj...->bi...", jacobian, influence[n]) for n, s in now.items()
        }

    def __repr__(self) -> str:
        return f"RealTimeRecurrent({self.descent!r}, online={self.online})"


class _Transition(nn.Module):
    """One step of one row: from its state to the next."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.inner = model

    def forward(self, x: Tensor, *state: Tensor) -> Tensor:
        # Each cell's state is a tuple of parts: two of an LSTM.
        with record_states():  # our own loop, which can be differentiated row by row
            rows = [part[None] for part in state]
            cells = [cell for r in self._recurrent() for cell in r.cells()]
            own = [tuple(rows.pop(0) for _ in cell.widths) for cell in cells]
            _, new = self.inner.unroll(x[None], None, own)
        return torch.cat([part[0] for parts in new for part in parts])

    def _recurrent(self) -> Iterator[Any]:
        return (m for m in self.inner.modules() if hasattr(m, "cells") and hasattr(m, "stack"))


def _sum(gradient: Tensor | None, slope: Tensor, influence: Tensor) -> Tensor:
    past = torch.tensordot(slope, influence, 2)
    return past if gradient is None else gradient + past


def _check(model: nn.Module) -> None:
    if not hasattr(model, "unroll"):
        raise ValueError(
            f"RealTimeRecurrent goes step by step, which {type(model).__name__} cannot: it needs "
            "unroll(input, length, state) -> (output, state), as networks.SequenceTagger has"
        )
    for module in model.modules():
        if getattr(module, "bidirectional", False):
            raise ValueError("RealTimeRecurrent goes forward only; take bidirectional=False")
        for name in ("p", "dropout", "zoneout"):
            p = getattr(module, name, 0)
            if any(q > 0 for q in (p if isinstance(p, tuple) else (p,)) if isinstance(q, float)):
                raise ValueError(
                    f"RealTimeRecurrent repeats each step, but {type(module).__name__} draws at "
                    f"random ({name}={p}); build the network without"
                )
