"""Simulated annealing: a walk that also goes uphill, the less so the colder it gets."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from neurarium.data import Batch
from neurarium.learning.blackbox import BlackBox
from neurarium.learning.direct import Direct
from neurarium.objectives import Objective

__all__ = ["SimulatedAnnealing"]

_GAIN, _LOW, _HIGH = 2.0, 0.4, 0.6  # Corana's c, and the shares of moves that leave a width alone


class SimulatedAnnealing(Direct):
    r"""Change one parameter after the other at random; take what is worse, too, while it is warm.

    $$\theta_j' = \theta_j + v_j\, r, \quad r \sim U(-1, 1), \qquad
      P(\text{accept}) = \min\bigl(1,\, e^{-(L(\theta') - L(\theta)) / T}\bigr)$$

    After $N_s$ sweeps over all parameters each width $v_j$ is adapted such that half of its moves
    are accepted; after $N_T$ adaptations $T \leftarrow r_T T$ and the walk restarts from the best
    point so far. The model holds that best point. A move costs one evaluation, so it is for small
    networks; give it all rows at once, since another batch is another landscape (both the walk
    and the best point are judged again on each batch). It never ends by itself: stop where the
    loss stays. See `annealing-sine`; on the 8 x 8 digits a network 64-100-100-10 reaches 87 % by
    30,000 moves without temperature.

    Args:
        T0: the first $T$, in units of the loss; 0 only ever accepts what is not worse.
        cool: $r_T$.
        ns: $N_s$.
        nt: $N_T$; by default the source's $\max(100, 5 d)$ for $d$ parameters, which is patient.
            The recipe takes 2.
        adapt: False keeps the widths.
        width: the first $v_j$.
        moves: of a step; by default a sweep.

    Source: Corana, Marchesi, Martini & Ridella (1987), ACM Trans. Math. Software 13; as here in
    Goffe, Ferrier & Rogers (1994), J. Econometrics 60; for networks: Sexton, Dorsey & Johnson
    (1999), European J. Operational Research 114; the idea: Kirkpatrick et al. (1983), Science 220.
    """

    def __init__(
        self,
        T0: float = 0.1,
        cool: float = 0.85,
        ns: int = 20,
        nt: int | None = None,
        adapt: bool = True,
        width: float = 1.0,
        moves: int | None = None,
    ) -> None:
        if not 0 <= T0 < math.inf:
            raise ValueError(f"T0 must be at least 0 (only downhill) and finite, got {T0}")
        if not 0 < cool <= 1:
            raise ValueError(f"cool must lie in (0, 1], got {cool}; it multiplies the temperature")
        if not width > 0:
            raise ValueError(f"width must be positive, got {width}; it is the largest move")
        for name, count in (("ns", ns), ("nt", nt), ("moves", moves)):
            if count is not None and count < 1:
                raise ValueError(f"{name} must be at least 1, got {count}")
        self.T0, self.cool, self.ns, self.nt, self.adapt = T0, cool, ns, nt, adapt
        self.width, self.moves = width, moves

    def bind(self, model: nn.Module, objective: Objective) -> None:
        """Any model will do; the walk starts there."""
        self.model, self.objective = model, objective
        self.box = BlackBox(model, objective, "SimulatedAnnealing")
        self.point = self.box.read()
        self.widths = torch.full_like(self.point, self.width)
        self.accepted = torch.zeros_like(self.point)  # since the last adaptation
        self.T = self.T0
        self.next, self.sweeps, self.adaptations = 0, 0, 0

    @torch.no_grad()
    def step(self, batch: Batch) -> dict[str, Tensor]:
        """Make the moves, adapt and cool where it is time."""
        outputs = self.box.judge(batch)
        best_point, best = self.box.read(), outputs["loss"].item()
        self.box.write(self.point)
        energy = self._energy(batch)
        count, taken = self.moves or self.box.dimension, 0
        for r, u in torch.rand(count, 2, dtype=torch.float64).tolist():
            j = self.next
            old = self.point[j].item()
            self.point[j] += (2 * r - 1) * self.widths[j]
            self.box.write(self.point)
            found = self._energy(batch)
            if accepts(found - energy, self.T, u):
                energy = found
                self.accepted[j] += 1
                taken += 1
                if energy < best:
                    best, best_point = energy, self.point.clone()
            else:
                self.point[j] = old
            self.next = (j + 1) % self.box.dimension
            if self.next == 0 and self._swept():
                self.point.copy_(best_point)
                energy = best
        self.box.write(best_point)
        figures = {"best": best, "temperature": self.T, "accepted": taken / count}
        return {**outputs, **{name: self.point.new_tensor(v) for name, v in figures.items()}}

    def _energy(self, batch: Batch) -> float:
        result = self.box.judgement(batch).item()
        return result if math.isfinite(result) else math.inf

    def _swept(self) -> bool:
        """Adapt after `ns` sweeps; whether it got colder."""
        self.sweeps += 1
        if self.sweeps < self.ns:
            return False
        if self.adapt:
            share = self.accepted / self.ns
            grow = 1 + _GAIN * (share - _HIGH).clamp(min=0) / (1 - _HIGH)
            shrink = 1 + _GAIN * (_LOW - share).clamp(min=0) / _LOW
            self.widths *= grow / shrink
        self.accepted.zero_()
        self.sweeps = 0
        self.adaptations += 1
        if self.adaptations < (self.nt or max(100, 5 * self.box.dimension)):
            return False
        self.adaptations = 0
        self.T *= self.cool
        return True

    def state_dict(self) -> dict[str, Any]:
        values = {name: getattr(self, name) for name in _STATE}
        return {n: v.clone() if isinstance(v, Tensor) else v for n, v in values.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name in _STATE:
            value = state[name]
            kept = value.to(self.point, copy=True) if isinstance(value, Tensor) else value
            setattr(self, name, kept)

    def __repr__(self) -> str:
        return (
            f"SimulatedAnnealing(T0={self.T0}, cool={self.cool}, ns={self.ns}, nt={self.nt}, "
            f"adapt={self.adapt}, width={self.width}, moves={self.moves})"
        )


_STATE = ("point", "widths", "accepted", "T", "next", "sweeps", "adaptations")


def accepts(rise: float, T: float, u: float) -> bool:
    """Metropolis' criterion, with `u` uniform on [0, 1); always what is not worse."""
    return rise <= 0 or (T > 0 and u < math.exp(-rise / T))
