"""The extended Kalman filter: the parameters are a state, and each batch measures it."""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, jacrev, vmap

from neurarium.data import Batch
from neurarium.learning.chain import answering
from neurarium.learning.direct import Direct
from neurarium.learning.rule import NonFiniteError, value_of
from neurarium.objectives import Objective

__all__ = ["EKF"]

_MOST_PARAMETERS = 5000  # whose covariance takes 200 MB


class EKF(Direct):
    r"""Least squares passed on from batch to batch: each step knows how sure all before it were.

    $$K = P H^\top (R + A H P H^\top)^{-1}, \qquad \theta \leftarrow \theta - K g, \qquad
      P \leftarrow P - K A H P + Q$$

    with $H$ the outputs' slopes by the parameters, for all rows of a batch at once (streams), and
    $g$, $A$ the loss's slope and curvature by the outputs. Half a squared error has
    $g = -(d - y)$ and $A = I$, which is the filter as it is written for measurements $d$; with
    another loss that is convex in the outputs, such as cross-entropy, $-\log$ of its likelihood
    takes that place. On a linear model this is recursive least squares, whatever the batches:
    $\min \sum_\text{rows} \ell / R + \lVert \theta - \theta_0 \rVert^2 / 2 P_0$.

    A step costs $n^2$ for $n$ parameters, so it is meant for small networks that are hard to train
    (recipe `maze-csrn`). The objective must be the mean over rows, without penalties.

    Args:
        Q: variance that each step adds to every parameter; forgets old batches, and keeps the
            steps from dying out.
        R: variance of the measurements, in units of the loss: larger is slower. A mean squared
            error of $m$ outputs is $2/m$ times half the squared error, so R = 2/m is one of 1.
        P0: variance of the parameters at the start.

    Raises:
        ValueError: at `bind`, for batch normalization, dropout, a trainable loss or more than 5000
            parameters; at a step, for penalties and losses that are not convex in the outputs.

    Source: Singhal & Wu (1989), Training multilayer perceptrons with the extended Kalman
    algorithm, NIPS 1; other losses than squares: Ollivier (2018), arXiv:1703.00209.
    """

    def __init__(self, Q: float = 0.0, R: float = 1.0, P0: float = 1.0) -> None:
        if not 0 <= Q < math.inf:
            raise ValueError(f"Q is a variance and must be at least 0, got {Q}")
        for name, value in (("R", R), ("P0", P0)):
            if not 0 < value < math.inf:
                raise ValueError(f"{name} is a variance and must be positive, got {value}")
        self.Q, self.R, self.P0 = Q, R, P0

    def bind(self, model: nn.Module, objective: Objective) -> None:
        """Start from the parameters as they are, with variance P0."""
        for name, module in model.named_modules():
            dropping = isinstance(module, nn.modules.dropout._DropoutNd) and module.p > 0
            if dropping or isinstance(module, nn.modules.batchnorm._BatchNorm):
                raise ValueError(
                    f"EKF differentiates each row's outputs by themselves, so it cannot have "
                    f"'{name}', an nn.{type(module).__name__}; leave it away, or take Backprop"
                )
        if isinstance(objective, nn.Module) and any(
            p.requires_grad for p in objective.parameters()
        ):
            raise ValueError("EKF trains the model alone; freeze the objective's parameters")
        self.model, self.objective = model, objective
        self.trained = {n: p for n, p in model.named_parameters() if p.requires_grad}
        count = sum(p.numel() for p in self.trained.values())
        if not 0 < count <= _MOST_PARAMETERS:
            raise ValueError(
                f"EKF keeps a covariance of all pairs of parameters, so it trains 1 to "
                f"{_MOST_PARAMETERS} of them, and this {type(model).__name__} has {count} that "
                "require a gradient; take a smaller network, freeze layers, or take Backprop"
            )
        # Single precision loses the covariance's definiteness within a few hundred steps.
        self.P = self.P0 * torch.eye(count, dtype=torch.float64, device=self._device())

    @torch.no_grad()
    def step(self, batch: Batch) -> dict[str, Tensor]:
        """Measure the parameters once, by all rows of the batch."""
        H = self.slopes(batch["input"])
        values, g, A = self.judge(self.model(batch["input"]), batch)
        rows, outputs, count = H.shape
        H = H.flatten(0, 1)
        PH = self.P @ H.T
        spread = torch.baddbmm(  # R + A H P H^T, the curvature A block by block
            self.R * torch.eye(len(H)).to(H).view(rows, outputs, -1),
            A,
            (H @ PH).view(rows, outputs, -1),
        ).flatten(0, 1)
        wished = torch.cat(
            [g.reshape(-1, 1), (A @ PH.T.view(rows, outputs, count)).flatten(0, 1)], 1
        )
        solved = PH @ torch.linalg.solve(spread, wished)
        if not solved.isfinite().all():
            raise NonFiniteError(
                "the filter has become infinite; make P0 or Q smaller, or R larger"
            )
        self._move(-solved[:, 0])
        P = self.P - solved[:, 1:]
        self.P = (P + P.T) / 2
        self.P.diagonal().add_(self.Q)
        return values

    def slopes(self, x: Tensor) -> Tensor:
        """Each row's outputs by the trained parameters: rows, outputs, parameters."""
        values = {n: p.detach() for n, p in self.trained.items()}

        def outputs(trained: dict[str, Tensor], row: Tensor) -> Tensor:
            return functional_call(self.model, trained, (row[None],))[0].flatten()

        found = vmap(jacrev(outputs), in_dims=(None, 0))(values, x)
        return torch.cat(
            [found[n].reshape(*found[n].shape[:2], -1) for n in self.trained], 2
        ).double()

    def judge(self, output: Tensor, batch: Batch) -> tuple[dict[str, Tensor], Tensor, Tensor]:
        """The objective's values; the slope and curvature of rows times it by the outputs."""
        y = output.double().requires_grad_()
        with torch.enable_grad():
            values = value_of(self.objective(answering(self.model, y), batch))
            if not values["loss"].isfinite():
                raise NonFiniteError(f"the loss is {values['loss'].item()}")
            self._check_no_penalty(y.detach(), batch)
            (g,) = torch.autograd.grad(values["loss"] * len(y), y, create_graph=True)
            A = torch.zeros(len(y), g[0].numel(), g[0].numel()).to(y)
            for j, total in enumerate(g.flatten(1).sum(0)):
                if total.requires_grad:
                    (row,) = torch.autograd.grad(total, y, retain_graph=True)
                    A[:, j] = row.flatten(1)
        _check_convex(A)
        return {n: v.detach() for n, v in values.items()}, g.detach().flatten(1), A

    def _check_no_penalty(self, output: Tensor, batch: Batch) -> None:
        loss = value_of(self.objective(answering(self.model, output), batch))["loss"]
        if loss.requires_grad:
            raise ValueError(
                "EKF learns from the model's outputs alone, and this loss depends on parameters "
                "besides; leave the penalties away: P0 keeps the weights small"
            )

    def _move(self, change: Tensor) -> None:
        sizes = [p.numel() for p in self.trained.values()]
        for parameter, part in zip(self.trained.values(), change.split(sizes), strict=True):
            parameter.add_(part.view_as(parameter))

    def _device(self) -> torch.device:
        return next(iter(self.trained.values())).device

    def state_dict(self) -> dict[str, Any]:
        return {"P": self.P}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.P = state["P"].to(self._device(), copy=True)

    def __repr__(self) -> str:
        return f"EKF(Q={self.Q:g}, R={self.R:g}, P0={self.P0:g})"


def _check_convex(A: Tensor) -> None:
    lowest = torch.linalg.eigvalsh(A).min()
    if lowest < -1e-8 * (1 + A.abs().max()):
        raise ValueError(
            "EKF takes the loss for minus a log-likelihood that is convex in the outputs, but this "
            f"one curves down there ({lowest.item():.2g}); take mse, huber or cross_entropy, or "
            "another rule"
        )
