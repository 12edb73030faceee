"""A line through outliers under robust losses."""

import copy
from typing import Any

import torch
from torch import nn

from neurarium.data import Data
from neurarium.learning import Backprop
from neurarium.losses import AdaptiveRobust
from neurarium.objectives import supervised
from neurarium.recipes.reproduction import recipe
from neurarium.training import fit


@recipe(
    source="Beaton & Tukey (1974), Technometrics 16(2); Barron (2019), arXiv:1701.03077",
    figure="slope by Tukey's biweight (true slope 2)",
    expect=(1.95, 2.05),
    minutes=0.1,
)
def robust_line(seed: int = 0, epochs: int = 250) -> dict[str, float]:
    """A line through 100 points, a fifth of them outliers at one end: who follows the outliers?

    Tukey's loss and Barron's have more than one minimum, so they start from Huber's line. The
    papers have no such example; the slope that made the data is known.
    """
    x = torch.linspace(-1, 1, 100)[:, None]
    y = 2 * x + 0.1 * torch.randn(100, 1)
    y[:20] = 5
    data = Data((x, y))

    def fitted(loss: Any, start: nn.Linear) -> nn.Linear:
        line = copy.deepcopy(start)
        rule = Backprop("adam", lr=0.05)
        fit(line, data, supervised(loss), rule, epochs=epochs, batch_size=100, verbose=False)
        return line

    squares = fitted("mse", nn.Linear(1, 1))
    huber = fitted("huber:delta=0.3", nn.Linear(1, 1))
    tukey = fitted("tukey:delta=1", huber)
    geman_mcclure = fitted("general_robust:alpha=-2,scale=0.3", huber)
    learnt = AdaptiveRobust(scale=0.3)
    adaptive = fitted(learnt, huber)
    return {
        "Tukey": tukey.weight.item(),
        "Huber": huber.weight.item(),
        "mean squared error": squares.weight.item(),
        "Barron, alpha = -2": geman_mcclure.weight.item(),
        "Barron, alpha learnt": adaptive.weight.item(),
        "alpha learnt": learnt.alpha.item(),
    }
