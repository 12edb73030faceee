"""What the loss looks like along a cyclical learning rate."""

import copy

import torch
from torch import nn

from neurarium.data import MinMax, load
from neurarium.learning import Backprop
from neurarium.networks import MLP
from neurarium.objectives import supervised
from neurarium.recipes.reproduction import recipe
from neurarium.training import Callback, Trainer, fit
from neurarium.training.landscape import connect


@recipe(
    source="Smith & Topin (2017), Exploring loss function topology with cyclical learning rates, "
    "arXiv:1702.04283",
    figure="highest train loss between two runs, over that between two cycles of one run",
    expect=(3, 12),
    minutes=0.2,
    quick={"epochs": 10},
    quick_expect=(1.5, None),
)
def lr_range_interpolation(seed: int = 0, epochs: int = 20) -> dict[str, float]:
    """The minima at which the cycles of a triangular rate end: are they the same one?

    Each run has two cycles up to rate 0.3; the loss is taken on the straight line between the
    weights at their ends. Within a run it only falls: both ends lie in one valley, though the rate
    was large in between; two runs are separated by a barrier. The paper interpolates so between
    minima of residual networks on CIFAR-10, and looks at how their test accuracy changes with a
    rate that only rises; the table has both for a 64-100-10 network on the 8 x 8 digits.
    """
    digits = load("digits", val_size=0)
    digits.transform = MinMax(torch.tensor(0.0), torch.tensor(16.0))
    objective = supervised("cross_entropy")

    class Minima(Callback):
        def __init__(self) -> None:
            self.found: list[nn.Module] = []

        def on_train_epoch_end(self, trainer: Trainer) -> None:
            if trainer.epoch in (epochs // 2, epochs):
                self.found.append(copy.deepcopy(trainer.model))

    def cycles(start: int) -> list[nn.Module]:
        torch.manual_seed(start)
        minima = Minima()
        rule = Backprop("sgd:momentum=0.9", lr=0.3, schedule="triangular:cycles=2,low=0.02")
        fit(MLP([64, 100, 10]), digits, objective, rule, epochs=epochs, seed=start,
            callbacks=[minima], verbose=False)  # fmt: skip
        return minima.found

    (first, second), (_, other) = cycles(2 * seed), cycles(2 * seed + 1)
    within = connect(first, second, objective, digits, bends=0)
    between = connect(second, other, objective, digits, bends=0)
    lines = within.profile(objective, digits), between.profile(objective, digits)
    ends = lines[0].loss[[0, -1]].tolist()

    torch.manual_seed(seed)
    digits.val = digits.test
    rising = Backprop("sgd", lr=2.0, schedule=lambda step, total: step / total)
    history = fit(MLP([64, 100, 10]), digits, objective, rising, epochs=epochs, seed=seed,
                  verbose=False).history  # fmt: skip
    return {
        "ratio": float(lines[1].loss.max() / lines[0].loss.max()),
        "barrier between the cycles": lines[0].barrier,
        "barrier between the runs": lines[1].barrier,
        "train loss after the first cycle": ends[0],
        "train loss after the second cycle": ends[1],
        **{
            f"test accuracy as the rate rises past {rate:.2g}": accuracy
            for rate, accuracy in zip(history["lr"], history["val_accuracy"], strict=True)
        },
    }
