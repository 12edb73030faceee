"""Evolution of programs: mutations rewire them, Newton's method sets their constants."""

import math
import random
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from neurarium.data import Batch
from neurarium.learning.direct import Direct
from neurarium.learning.rule import NonFiniteError, value_of
from neurarium.networks.programs import DCGP
from neurarium.objectives import Objective

__all__ = ["EvolveProgram"]

_TRIES, _HALVINGS = 100, 4


class EvolveProgram(Direct):
    r"""One program and its mutants: each learns its constants, and the best goes on.

    $$p \leftarrow \arg\min_{p' \in \{p,\, m_1(p), \dots, m_\lambda(p)\}} L(p', c'), \qquad
      c' = c - |\nabla^2_c L|^{-1}\, \nabla_c L$$

    A step is a generation on its batch, so the batch should be all data. A mutant has one to
    `mutations` changed genes, all of which count. Of equals the mutant goes on, which lets a
    program drift to where an improvement is one mutation away. $|\cdot|$ takes the curvatures'
    magnitudes: a step that raises the loss is halved, up to not taken. What is infinite anywhere
    on the batch is a loss without limit.

    Args:
        offspring: $\lambda$.
        mutations: largest number of genes that a mutant has changed.
        newton: steps on the constants of each mutant.

    Raises:
        ValueError: at `bind`, for anything but a `DCGP`.

    Source: Izzo, Biscani & Mereta (2017), Differentiable genetic programming, EuroGP,
    arXiv:1611.04766.
    """

    def __init__(self, offspring: int = 4, mutations: int = 3, newton: int = 1) -> None:
        if min(offspring, mutations) < 1 or newton < 0:
            raise ValueError(
                "offspring and mutations must be at least 1 and newton at least 0, got "
                f"{offspring}, {mutations} and {newton}"
            )
        self.offspring, self.mutations, self.newton = offspring, mutations, newton

    def bind(self, model: nn.Module, objective: Objective) -> None:
        """Take the program as it is for the first parent."""
        if not isinstance(model, DCGP):
            raise ValueError(
                f"EvolveProgram rewires a program, and this {type(model).__name__} has no genes; "
                "take neurarium.networks.DCGP(inputs, outputs)"
            )
        if isinstance(objective, nn.Module) and any(
            p.requires_grad for p in objective.parameters()
        ):
            raise ValueError(
                "EvolveProgram trains the program alone; freeze the objective's parameters"
            )
        self.model: DCGP = model
        self.objective = objective

    @torch.no_grad()
    def step(self, batch: Batch) -> dict[str, Tensor]:
        """One generation; the figures are those of the program that goes on.

        Raises:
            NonFiniteError: if a hundred generations have no program that is finite on the batch.
        """
        dice = random.Random(int(torch.randint(2**62, ())))
        for _ in range(_TRIES):  # which only a random start can need
            if math.isfinite(self.generation(batch, dice)):
                outputs = value_of(self.objective(self.model, batch))
                return {name: value.detach() for name, value in outputs.items()}
        raise NonFiniteError(
            "no program is finite on this batch; start from another seed, leave away div or log, "
            "or look for NaN in the data"
        )

    @torch.no_grad()
    def generation(self, batch: Batch, dice: random.Random) -> float:
        """Breed, and let the model be the best of the parent and its mutants; its loss."""
        best, lowest = self.read(), self.loss(batch)
        parent = best
        # One formula written in two ways has two roundings, which must not stop the drift.
        same = 1 + 8 * torch.finfo(self.model.c.dtype).eps
        for _ in range(self.offspring):
            self.write(parent)
            self.model.genes.copy_(self.model.mutated(dice.randint(1, self.mutations), dice))
            loss = self.loss(batch)
            for _ in range(self.newton):
                loss = self.refine(batch, loss)
            if loss <= lowest * same:
                best, lowest = self.read(), loss
        self.write(best)
        return lowest

    @torch.no_grad()
    def refine(self, batch: Batch, loss: float) -> float:
        """One step of Newton's method on the constants, if it is downhill; the loss after it."""
        constants = self.model.c
        if not constants.numel():
            return loss
        with torch.enable_grad():
            value = value_of(self.objective(self.model, batch))["loss"]
            if not (math.isfinite(loss) and value.requires_grad):
                return loss  # nowhere to go, or no constant counts
            (slope,) = torch.autograd.grad(value, constants, create_graph=True)
            rows = [_slope(part, constants) for part in slope]
        change = _newton(slope.detach(), torch.stack(rows))
        before = constants.clone()
        for _ in range(_HALVINGS):
            constants.copy_(before - change)
            reached = self.loss(batch)
            if reached < loss:
                return reached
            change = change / 2
        constants.copy_(before)
        return loss

    @torch.no_grad()
    def loss(self, batch: Batch) -> float:
        """The loss of the model as it is, infinite where it would be NaN."""
        value = float(value_of(self.objective(self.model, batch))["loss"])
        return math.inf if math.isnan(value) else value

    def read(self) -> tuple[Tensor, Tensor]:
        """Genes and constants of the model as it is."""
        return self.model.genes.clone(), self.model.c.detach().clone()

    def write(self, program: tuple[Tensor, Tensor]) -> None:
        """Let the model be this program."""
        self.model.genes.copy_(program[0])
        self.model.c.copy_(program[1])

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Nothing to restore: the parent is the model."""

    def __repr__(self) -> str:
        return (
            f"EvolveProgram(offspring={self.offspring}, mutations={self.mutations}, "
            f"newton={self.newton})"
        )


def _slope(value: Tensor, constants: Tensor) -> Tensor:
    if not value.requires_grad:  # the loss is linear in this constant, or has it not
        return torch.zeros_like(constants)
    (found,) = torch.autograd.grad(
        value, constants, retain_graph=True, allow_unused=True, materialize_grads=True
    )
    return found


def _newton(slope: Tensor, curvature: Tensor) -> Tensor:
    """The step of Newton's method by the magnitudes of the curvatures; 0 where there is none."""
    if not (slope.isfinite().all() and curvature.isfinite().all()):
        return torch.zeros_like(slope)
    values, directions = torch.linalg.eigh((curvature + curvature.T) / 2)
    sizes = values.abs()
    steps = torch.where(sizes > 1e-10 * sizes.max(), directions.T @ slope / sizes, 0)
    return directions @ steps
