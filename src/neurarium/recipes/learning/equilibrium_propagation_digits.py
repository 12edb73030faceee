"""Equilibrium propagation on the 8 x 8 digits."""

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from neurarium.data import Data, MinMax, load
from neurarium.learning import EquilibriumPropagation
from neurarium.networks import EnergyNetwork
from neurarium.objectives import supervised
from neurarium.recipes.reproduction import recipe
from neurarium.training import fit


@recipe(
    source="Scellier & Bengio (2017), arXiv:1602.05179",
    figure="test accuracy",
    expect=(0.95, None),
    minutes=0.3,
    quick={"epochs": 5, "rows": 700},
    quick_expect=(0.75, None),
)
def equilibrium_propagation_digits(
    seed: int = 0, epochs: int = 25, rows: int = 1437
) -> dict[str, float]:
    """The paper's settings for one hidden layer, here of 128 units.

    20 free steps from each example's last state, 4 with a push of 0.5 in a random direction,
    batches of 20, a larger rate below. At five times the paper's rates, 0.1 and 0.05, an output
    may fall so far below 0 that no push reaches it, and its class is lost: one seed in three.
    There is no published figure for these digits.
    """
    digits = load("digits", val_size=0)

    def with_vectors(split: Any, rows: int) -> dict[str, Tensor]:
        image, digit = (split.tensors[name][:rows] for name in ("input", "target"))
        vector = one_hot(digit, 10).float()
        return {
            "input": image, "target": digit, "vector": vector, "index": torch.arange(len(digit))
        }  # fmt: skip

    data = Data(
        with_vectors(digits.train, rows),
        val=with_vectors(digits.test, 360),
        transform=MinMax(torch.tensor(0.0), torch.tensor(16.0)),
    )

    def accuracy(*rates: float) -> float:
        torch.manual_seed(seed)
        model = EnergyNetwork([64, 128, 10])
        groups = [
            {"params": layer.parameters(), "lr": lr}
            for layer, lr in zip(model.layers, rates, strict=True)
        ]
        rule = EquilibriumPropagation(torch.optim.SGD(groups), lr=None, persistent=True)
        objective = supervised("quadratic_cost", target="vector")
        run = fit(
            model, data, objective, rule, epochs=epochs, batch_size=20, seed=seed, verbose=False
        )
        return run.history["val_accuracy"][-1]

    return {"the paper's rates": accuracy(0.1, 0.05), "five times as large": accuracy(0.5, 0.25)}
