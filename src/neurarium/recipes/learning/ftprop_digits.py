"""Feasible target propagation on the 8 x 8 digits, through units that only say yes or no."""

import torch

from neurarium.data import MinMax, load
from neurarium.learning import FTPROP, Rule
from neurarium.networks import MLP
from neurarium.recipes.reproduction import recipe
from neurarium.training import fit


@recipe(
    source="Friesen & Domingos (2018), arXiv:1710.11573, on the UCI digits",
    figure="test accuracy",
    expect=(0.97, None),
    minutes=0.6,
    quick={"epochs": 5},
    quick_expect=(0.94, None),
)
def ftprop_digits(seed: int = 0, epochs: int = 60) -> dict[str, float]:
    """A network 64-200-200-10 of signs, with batch normalization before them.

    The straight-through estimate is the saturated hinge, weighted. The source has CIFAR-10 and
    ImageNet, where the soft hinge is ahead of it; of three seeds here, it was on two.
    """
    digits = load("digits", val_size=0)
    digits.transform = MinMax(torch.tensor(0.0), torch.tensor(16.0))

    def accuracy(rule: Rule, frozen: bool = False) -> float:
        torch.manual_seed(seed)
        model = MLP([64, 200, 200, 10], activation="hardlims", norm="batch")
        if frozen:
            model.layers[:-1].requires_grad_(False)
        run = fit(
            model, digits, rule=rule, epochs=epochs, batch_size=64, seed=seed, verbose=False,
            precision="32",
        )  # fmt: skip
        return run.evaluate("test")["accuracy"]

    return {
        "soft hinge": accuracy(FTPROP(lr=1e-3)),
        "straight-through": accuracy(FTPROP(lr=1e-3, loss="saturated_hinge", weighted=True)),
        "hidden layers frozen": accuracy(FTPROP(lr=1e-3), frozen=True),
    }
