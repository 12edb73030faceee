"""Dropout on a small problem."""

import statistics
from typing import Any

import torch

from neurarium.data import Data, MinMax, load
from neurarium.learning import Backprop
from neurarium.networks import MLP
from neurarium.recipes.reproduction import recipe
from neurarium.training import fit


@recipe(
    source="Srivastava et al. (2014), Dropout, JMLR 15",
    figure="gain in test accuracy by dropout of one half",
    expect=(-0.01, 0.015),
    minutes=0.3,
    quick={"epochs": 12, "subsets": 1},
    quick_expect=(-0.04, 0.04),
)
def dropout_digits(seed: int = 0, epochs: int = 100, subsets: int = 4) -> dict[str, float]:
    """Two hundred labels of the 8 x 8 digits, 500 hidden units: dropout gains nothing clear.

    The paper's gains are on networks of two or three layers of 1024 units and more, on all of
    MNIST; a network this small, on pictures of 64 pixels, has little to gain. The figure is the
    mean over several draws of the labelled rows, each trained with and without.
    """
    digits = load("digits", val_size=0)
    rows: Any = digits.train
    plain: list[float] = []
    dropped: list[float] = []
    for subset in range(subsets):
        chosen = torch.randperm(len(rows))[:200]
        train = {name: tensor[chosen] for name, tensor in rows.tensors.items()}
        data = Data(train, test=digits.test, classes=digits.classes,
                    transform=MinMax(torch.tensor(0.0), torch.tensor(16.0)))  # fmt: skip
        for dropout, accuracies in ((0.0, plain), (0.5, dropped)):
            torch.manual_seed(seed * subsets + subset)
            model = MLP([64, 500, 10], dropout=dropout)
            rule = Backprop("adam", lr=1e-3)
            run = fit(model, data, rule=rule, epochs=epochs, batch_size=32, seed=subset,
                      verbose=False)  # fmt: skip
            accuracies.append(run.evaluate("test")["accuracy"])
    without, with_dropout = statistics.fmean(plain), statistics.fmean(dropped)
    return {
        "gain": with_dropout - without,
        "accuracy without": without,
        "accuracy with dropout": with_dropout,
    }
