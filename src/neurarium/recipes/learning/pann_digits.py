"""A p-neuron network on the 8 x 8 digits, below what a linear model reaches."""

import torch
from torch import nn

from neurarium.data import MinMax, load
from neurarium.layers import PNeuron
from neurarium.learning import Backprop, PANNRule
from neurarium.recipes.reproduction import recipe
from neurarium.training import fit


@recipe(
    source="Pescianschi, progress.ai; US patent 9,619,749",
    figure="test accuracy",
    expect=(0.86, None),
    minutes=0.2,
    quick={"epochs": 1},
    quick_expect=(0.84, None),
)
def pann_digits(seed: int = 0, epochs: int = 10) -> dict[str, float]:
    """Four and eight intervals for each pixel, and logistic regression on the same pixels.

    The author corrects the whole error of each example. Here that swings: from one epoch to the
    next four intervals are right on 66 to 89 % of the test images, by what came last. Correcting
    0.3 of it is steadier. Either way it stays below logistic regression, and gradients by the same
    table of weights show that this is the rule's doing and not the intervals'.
    """
    digits = load("digits", val_size=0)
    digits.transform = MinMax(torch.tensor(0.0), torch.tensor(16.0))

    def accuracy(layer: nn.Module, rule: PANNRule | Backprop) -> float:
        run = fit(
            nn.Sequential(nn.Flatten(), layer), digits, rule=rule, epochs=epochs, batch_size=50,
            seed=seed, verbose=False, precision="32",
        )  # fmt: skip
        return run.evaluate("test")["accuracy"]

    return {
        "4 intervals, 0.3 of the error": accuracy(PNeuron(64, 10, 4), PANNRule(0.3)),
        "8 intervals, 0.3 of the error": accuracy(PNeuron(64, 10, 8), PANNRule(0.3)),
        "4 intervals, the whole error": accuracy(PNeuron(64, 10, 4), PANNRule()),
        "8 intervals, the whole error": accuracy(PNeuron(64, 10, 8), PANNRule()),
        "4 intervals, backpropagation": accuracy(PNeuron(64, 10, 4), Backprop("adam", 0.01)),
        "logistic regression": accuracy(nn.Linear(64, 10), Backprop("adam", 0.01)),
    }
