"""Paths of low loss between two trained networks."""

import copy
import math
from typing import Any, Literal

import torch
from torch import Tensor, nn

from neurarium.data import Batch, Data
from neurarium.learning import Backprop, Rule
from neurarium.objectives import Objective
from neurarium.training.fit import fit
from neurarium.training.landscape.loss import Judge, LossFunction
from neurarium.training.landscape.slices import Line

__all__ = ["Curve", "connect"]

Kind = Literal["bezier", "polychain"]


class Curve(nn.Module):
    """A path through parameter space, from one network by way of its bends to another.

    `curve(t)` are the parameters at t, `curve.network(t, data)` is the network there.
    """

    def __init__(self, start: nn.Module, end: nn.Module, kind: Kind, bends: int) -> None:
        super().__init__()
        self.kind = kind
        self.start = copy.deepcopy(start).requires_grad_(False)
        self.end = copy.deepcopy(end).requires_grad_(False)
        self.bends = nn.ModuleList(copy.deepcopy(start) for _ in range(bends))
        for i, bend in enumerate(self.bends, 1):
            ends = zip(bend.parameters(), self.end.parameters(), strict=True)
            for parameter, target in ends:
                with torch.no_grad():
                    parameter.requires_grad_().lerp_(target, i / (bends + 1))

    def basis(self, t: float) -> list[float]:
        """The share of each control point at t: Bernstein polynomials, or hats."""
        n = len(self.bends) + 1
        if self.kind == "polychain":
            return [max(0.0, 1 - abs(n * t - k)) for k in range(n + 1)]
        return [math.comb(n, k) * (1 - t) ** (n - k) * t**k for k in range(n + 1)]

    def forward(self, t: float) -> dict[str, Tensor]:
        points = [dict(p.named_parameters()) for p in (self.start, *self.bends, self.end)]
        shares = self.basis(t)
        return {
            name: sum(share * point[name] for share, point in zip(shares, points, strict=True))
            for name in points[0]
        }

    def profile(
        self,
        objective: Objective,
        data: Any,
        points: int = 61,
        *,
        split: str = "train",
        batch_size: int = 1024,
    ) -> Line:
        """The loss along the curve, with batch-normalization statistics of its own at each t."""
        loss = LossFunction(self._host(), objective, data, split, batch_size)
        t = torch.linspace(0, 1, points, dtype=torch.float64)
        with loss.active(), torch.no_grad():
            values = [loss(here, loss.with_statistics(here)) for here in map(self, t.tolist())]
        return Line(t, torch.tensor(values, dtype=torch.float64))

    @torch.no_grad()
    def network(self, t: float, objective: Objective, data: Any) -> nn.Module:
        """The network at t; its batch-normalization statistics are those of the training rows."""
        host = self._host()
        loss = LossFunction(host, objective, data)
        here = self(t)
        with loss.active():
            buffers = loss.with_statistics(here)
        host.load_state_dict({**host.state_dict(), **here, **buffers})
        return host.eval()

    def _host(self) -> nn.Module:
        return copy.deepcopy(self.start).requires_grad_()


def connect(
    model_a: nn.Module,
    model_b: nn.Module,
    objective: Objective,
    data: Any,
    curve: Kind = "bezier",
    bends: int = 1,
    *,
    rule: Rule | None = None,
    epochs: int = 30,
    batch_size: int = 64,
    seed: int = 0,
) -> Curve:
    r"""Train a curve of low loss between two networks; no bends give the straight line.

    $$\min_\theta \mathbb{E}_{t \sim U(0,1)}\, L(\phi_\theta(t)), \qquad
      \phi_\theta(t) = \sum_{k=0}^{n} \binom{n}{k} (1-t)^{n-k}\, t^k\, \theta_k$$

    with $\theta_0$ and $\theta_n$ the two networks and $n - 1$ bends between, all on the straight
    line at first. A polychain joins the same points by straight pieces.

    Args:
        data: a `Data`, or rows as `Data` takes them; the training split is used.
        bends: control points to be trained.
        rule: how they move; by default Adam at 0.01 with the 1cycle schedule.

    Source: Garipov, Izmailov, Podoprikhin, Vetrov & Wilson (2018), Loss surfaces, mode
    connectivity, and fast ensembling of DNNs, arXiv:1802.10026.
    """
    if curve not in ("bezier", "polychain"):
        raise ValueError(f"curve must be 'bezier' or 'polychain', got {curve!r}")
    if bends < 0:
        raise ValueError(f"bends must be at least 0 (the straight line), got {bends}")
    _check_same_form(model_a, model_b)
    path = Curve(model_a, model_b, curve, bends)
    if bends == 0:
        return path.eval()
    data = data if isinstance(data, Data) else Data(data)
    judge = Judge(path.start, objective)

    def somewhere(model: nn.Module, batch: Batch) -> Tensor:
        buffers = {name: b.clone() for name, b in path.start.named_buffers()}
        return judge.at(model(float(torch.rand(()))), buffers, batch)

    train = Data(data.train, transform=data.transform, augment=data.augment)
    fit(
        path,
        train,
        somewhere,
        rule or Backprop("adam", lr=0.01, schedule="one_cycle"),
        epochs=epochs,
        batch_size=batch_size,
        seed=seed,
        metrics=[],
        device=str(next(path.start.parameters()).device),
        verbose=False,
    )
    return path.eval()


def _check_same_form(a: nn.Module, b: nn.Module) -> None:
    forms = [{name: tuple(p.shape) for name, p in m.named_parameters()} for m in (a, b)]
    if forms[0] != forms[1]:
        name = next(n for n in {**forms[0], **forms[1]} if forms[0].get(n) != forms[1].get(n))
        raise ValueError(
            f"model_a and model_b must have one form, but {name!r} is {forms[0].get(name)} in one "
            f"and {forms[1].get(name)} in the other"
        )
