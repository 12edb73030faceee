"""Few epochs at a large rate against many at a small one."""

import torch
from torch import nn

from neurarium.data import MinMax, load
from neurarium.learning import Backprop
from neurarium.networks.convnets import ResidualBlock
from neurarium.recipes.reproduction import recipe
from neurarium.training import fit


@recipe(
    source="Smith & Topin (2018), arXiv:1708.07120",
    figure="test accuracy by 1cycle in a quarter of the epochs",
    expect=(0.986, None),
    minutes=0.8,
    quick={"lengths": (1, 3), "width": 8},
    quick_expect=(0.8, None),
)
def super_convergence(
    seed: int = 0, lengths: tuple[int, ...] = (3, 6, 24), width: int = 16
) -> dict[str, float]:
    """1cycle in 6 epochs is as good as a piecewise constant rate in 24, which needs them.

    Two residual blocks of 16 channels on the 8 x 8 digits, batches of 64: piecewise from rate 0.1
    by tenths, 1cycle to 0.3 with the momentum going from 0.95 to 0.85 and back. The paper's is
    ResNet-56 on CIFAR-10, with rates up to 3 in an eighth of the steps.
    """
    digits = load("digits", val_size=0)
    digits.transform = MinMax(torch.tensor(0.0), torch.tensor(16.0))
    cycle = {"schedule": "one_cycle", "momentum_schedule": "one_cycle_momentum", "lr": 0.3}
    pieces = {"schedule": "step_decay", "lr": 0.1}

    def accuracy(epochs: int, settings: dict[str, object]) -> float:
        torch.manual_seed(seed)
        model = nn.Sequential(
            nn.Conv2d(1, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            ResidualBlock(width, width),
            ResidualBlock(width, width),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(width, 10),
        )
        rule = Backprop("sgd:momentum=0.9", weight_decay=1e-3, **settings)  # type: ignore[arg-type]
        run = fit(model, digits, rule=rule, epochs=epochs, seed=seed, precision="32", verbose=False)
        return run.evaluate("test")["accuracy"]

    by_cycle = {epochs: accuracy(epochs, cycle) for epochs in lengths}
    by_pieces = {epochs: accuracy(epochs, pieces) for epochs in lengths}
    return {
        "quarter": by_cycle[lengths[1]],
        **{f"1cycle, {epochs} epochs": value for epochs, value in by_cycle.items()},
        **{f"piecewise, {epochs} epochs": value for epochs, value in by_pieces.items()},
    }
