"""Radial basis functions on the 8 x 8 digits."""

from typing import Any

import torch
from torch import Tensor

from neurarium.data import MinMax, load
from neurarium.learning import Backprop
from neurarium.networks import RBFNetwork
from neurarium.objectives import supervised
from neurarium.recipes.reproduction import recipe
from neurarium.training import fit


@recipe(
    source="Moody & Darken (1989), Neural Computation 1(2)",
    figure="test accuracy in two stages",
    expect=(0.97, None),
    minutes=0.3,
    quick={"units": 60, "epochs": 3},
    quick_expect=(0.93, None),
)
def rbf_digits(seed: int = 0, units: int = 200, epochs: int = 30) -> dict[str, float]:
    """200 Gaussian units on k-means centres, then ridge regression; and gradients from there.

    The widths hardly matter as long as the linear system is solved in float64. Gradients through
    the whole network, here 30 epochs by cross-entropy, do not improve on the two stages. The
    paper has no digits; there is no published figure for this split.
    """
    digits = load("digits", val_size=0)
    digits.transform = minmax = MinMax(torch.tensor(0.0), torch.tensor(16.0))

    def rows(split: Any) -> tuple[Tensor, Tensor]:
        return minmax(split.tensors["input"]).flatten(1), split.tensors["target"]

    (x, target), (x_test, target_test) = rows(digits.train), rows(digits.test)

    def accuracy(model: RBFNetwork) -> float:
        return (model(x_test).argmax(1) == target_test).float().mean().item()

    def solved(width: float) -> RBFNetwork:
        return RBFNetwork(64, units, 10).solve(x, target, width=width, seed=seed)

    model = solved(1)
    figures = {"two stages": accuracy(model)}
    figures |= {f"widths times {width}": accuracy(solved(width)) for width in (2, 4)}
    learnt = RBFNetwork(64, units, 10)
    learnt.rbf.place(x, "random", seed=seed)
    for network in (model, learnt):
        fit(
            network,
            digits,
            supervised("cross_entropy"),
            Backprop("adam", lr=0.003),
            epochs=epochs,
            seed=seed,
            verbose=False,
        )
    return figures | {
        "two stages, then gradients": accuracy(model),
        "random rows as centres, gradients": accuracy(learnt),
    }
