"""The way out of a maze, by cells that only know their neighbours."""

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from neurarium.data import Data
from neurarium.learning import EKF, Backprop, Rule
from neurarium.networks import CellularSRN
from neurarium.objectives import supervised
from neurarium.recipes.reproduction import recipe
from neurarium.training import fit
from neurarium.training.callbacks import Callback


@recipe(
    source="Ilin, Kozma & Werbos (2008), arXiv:0710.4182, section 5",
    figure="share of places whose arrow is right, new mazes",
    expect=(0.85, None),
    minutes=0.7,
    quick={"epochs": 8, "adam_epochs": 1},
    quick_expect=(0.8, None),
)
def maze_csrn(
    seed: int = 0, epochs: int = 30, adam_epochs: int = 150, train: int = 30, size: int = 5
) -> dict[str, float]:
    """A cellular network learns each free place's number of steps to the goal; the arrow points to
    the neighbour of whom it expects the fewest.

    30 random mazes of 5 x 5 places, 30 % walls, and 100 new ones; five a step. The source's mazes
    have a border of walls, and walls have a target too; it finds that without the filter orders
    of magnitude more epochs are needed. Adam has the best of the rates .003, .01, .03 and .1, and
    stops where nine of ten arrows are right: with one seed of three it got there, after some 200
    epochs, with the others it did not in 400.
    """
    generator = torch.Generator().manual_seed(seed)
    known, new = _mazes(train, size, generator), _mazes(100, size, generator)

    def arrows(rule: Rule, epochs: int, enough: float = math.inf) -> list[float]:
        """Before training and after each epoch."""
        torch.manual_seed(seed)
        model = CellularSRN(features=2, neurons=5, iterations=20)
        torch.nn.init.constant_(model.scale, 10.0)  # answers are steps, not in [-1, 1]
        found = [_right(model(new["input"]), new["target"])]

        class Watch(Callback):
            @torch.no_grad()
            def on_train_epoch_end(self, trainer: Any) -> None:
                found.append(_right(model(new["input"]), new["target"]))
                trainer.should_stop = found[-1] >= enough

        fit(
            model, Data(known, task="regression"), supervised(_squares), rule, epochs=epochs,
            batch_size=5, seed=seed, callbacks=[Watch()], metrics=(), verbose=False, precision="32",
        )  # fmt: skip
        return found

    filtered = arrows(EKF(Q=0.01, R=30.0), epochs)
    adam = arrows(Backprop("adam", lr=0.03), adam_epochs, enough=0.9)
    return {
        "Kalman filter": filtered[-1],
        "Adam, last": adam[-1],
        "untrained": filtered[0],
        "epochs to .9, Kalman filter": _first(filtered, 0.9),
        "epochs to .9, Adam": _first(adam, 0.9),
    }


def _first(figures: list[float], level: float) -> float:
    """The first epoch that reaches a level; one more than there were if none did."""
    return float(next((i for i, f in enumerate(figures) if f >= level), len(figures)))


def _mazes(count: int, size: int, generator: torch.Generator) -> dict[str, Tensor]:
    """Walls and goal; the steps to the goal, infinite where there is no way."""
    inputs: list[Tensor] = []
    steps: list[Tensor] = []
    while len(inputs) < count:
        wall = torch.rand(size, size, generator=generator) < 0.3
        goal = torch.zeros(size, size)
        goal.view(-1)[torch.randint(size * size, (), generator=generator)] = 1
        J = torch.where(goal == 1, 0, torch.inf)
        for _ in range(size * size):
            J = torch.minimum(J, torch.where(wall, torch.inf, 1 + _around(J[None])[0].amin(-1)))
        if J.isfinite().sum() >= size * size // 2:
            inputs.append(torch.stack([(wall & (goal == 0)).float(), goal]))
            steps.append(J)
    return {"input": torch.stack(inputs), "target": torch.stack(steps)}


def _squares(prediction: Tensor, steps: Tensor) -> Tensor:
    """Half the squared errors of a maze's reachable places, summed."""
    there = steps.isfinite()
    miss = torch.where(there, prediction - steps.where(there, 0), 0)
    return miss.square().sum() / 2 / len(steps)


def _right(expected: Tensor, steps: Tensor) -> float:
    """The share of places whose neighbour of least expectation is one step nearer to the goal."""
    there = steps.isfinite()
    asked = there & (steps > 0)
    chosen = _around(torch.where(there, expected, torch.inf)).argmin(-1, keepdim=True)
    right = _around(steps).gather(-1, chosen)[..., 0] == steps - 1
    return float(right[asked].float().mean())


def _around(J: Tensor) -> Tensor:
    wide = F.pad(J, (1, 1, 1, 1), value=torch.inf)
    sides = wide[:, :-2, 1:-1], wide[:, 2:, 1:-1], wide[:, 1:-1, :-2], wide[:, 1:-1, 2:]
    return torch.stack(sides, -1)
