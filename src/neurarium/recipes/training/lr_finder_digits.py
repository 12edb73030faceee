"""Training at the rates that a range test suggests."""

import torch

from neurarium.data import MinMax, load
from neurarium.learning import Backprop
from neurarium.networks import MLP
from neurarium.objectives import supervised
from neurarium.recipes.reproduction import recipe
from neurarium.training import fit, lr_find


@recipe(
    source="Smith (2017), arXiv:1506.01186, section 3.3; the rules are those of fastai's users",
    figure="test accuracy at a tenth of the rate of the least loss",
    expect=(0.965, 0.99),
    minutes=0.1,
    quick={"epochs": 8},
    quick_expect=(0.94, None),
)
def lr_finder_digits(seed: int = 0, epochs: int = 30) -> dict[str, float]:
    """A range test of 100 steps, and one run at each of its three suggestions.

    A 64-100-10 network, momentum 0.9 and 1cycle on the 8 x 8 digits; the paper's networks are
    larger, and it reads the rate off the curve by eye.
    """
    digits = load("digits", val_size=0)
    digits.transform = MinMax(torch.tensor(0.0), torch.tensor(16.0))
    model, objective = MLP([64, 100, 10]), supervised("cross_entropy")
    found = lr_find(model, digits, objective, Backprop("sgd:momentum=0.9"), seed=seed)

    def accuracy(lr: float | None) -> float:
        assert lr is not None, found.reason
        torch.manual_seed(seed)
        rule = Backprop("sgd:momentum=0.9", lr=lr, schedule="one_cycle")
        model = MLP([64, 100, 10])
        run = fit(model, digits, objective, rule, epochs=epochs, seed=seed, verbose=False)
        return run.evaluate("test")["accuracy"]

    return {
        "minimum / 10": accuracy(found.suggestion),
        "test accuracy at the steepest": accuracy(found.steepest),
        "test accuracy in the valley": accuracy(found.valley),
        "minimum / 10, rate": found.suggestion or 0.0,
        "steepest, rate": found.steepest or 0.0,
        "valley, rate": found.valley or 0.0,
    }
