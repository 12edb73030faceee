"""Eight layers of sigmoids learn with batch normalization, and do not without."""

from typing import Literal

import torch

from neurarium.data import MinMax, load
from neurarium.learning import Backprop
from neurarium.networks import MLP
from neurarium.recipes.reproduction import recipe
from neurarium.training import fit


@recipe(
    source="Ioffe & Szegedy (2015), arXiv:1502.03167, section 4.2.2 (sigmoids only train with it)",
    figure="test accuracy with batch normalization",
    expect=(0.85, None),
    minutes=0.2,
    quick={"epochs": 5},
    quick_expect=(0.4, None),
)
def batch_norm_sigmoid(seed: int = 0, epochs: int = 15) -> dict[str, float]:
    """Eight hidden layers of 64 sigmoids on the 8 x 8 digits, with and without normalization.

    Descent at rate 0.1 with momentum 0.9, batches of 32, the same initial weights. The paper's
    sigmoid network is an Inception on ImageNet: 69.8 % with normalization, chance without.
    """
    digits = load("digits", val_size=0)
    digits.transform = MinMax(torch.tensor(0.0), torch.tensor(16.0))

    def accuracy(norm: Literal["batch"] | None) -> float:
        torch.manual_seed(seed)
        model = MLP([64, *[64] * 8, 10], "sigmoid", norm=norm)
        rule = Backprop("sgd:momentum=0.9", lr=0.1)
        run = fit(model, digits, rule=rule, epochs=epochs, batch_size=32, seed=seed, verbose=False)
        return run.evaluate("test")["accuracy"]

    return {"with": accuracy("batch"), "test accuracy without": accuracy(None)}
