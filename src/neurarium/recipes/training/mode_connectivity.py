"""A path of low loss between two separately trained networks."""

import torch
from torch import nn

from neurarium.data import MinMax, load
from neurarium.learning import Backprop
from neurarium.networks import MLP
from neurarium.objectives import supervised
from neurarium.recipes.reproduction import recipe
from neurarium.training import fit
from neurarium.training.landscape import connect


@recipe(
    source="Garipov et al. (2018), arXiv:1802.10026",
    figure="barrier on the trained Bezier curve, as a share of the straight line's",
    expect=(None, 0.2),
    minutes=0.1,
    quick={"epochs": 6},
    quick_expect=(None, 0.5),
)
def mode_connectivity(seed: int = 0, epochs: int = 30) -> dict[str, float]:
    """Two networks, a barrier on the line between them, and a curve that goes around it.

    Departures: 64-100-10 networks on the 8 x 8 digits for ResNet-164 and VGG-16 on CIFAR, where
    the paper shows the same picture and states no such share. The barrier is how far the training
    loss rises above the straight line between the losses of the two ends.
    """
    digits = load("digits", val_size=0)
    digits.transform = MinMax(torch.tensor(0.0), torch.tensor(16.0))
    objective = supervised("cross_entropy")

    def trained(start: int) -> nn.Module:
        torch.manual_seed(start)
        rule = Backprop("sgd:momentum=0.9", lr=0.05)
        return fit(
            MLP([64, 100, 10]), digits, objective, rule, epochs=epochs, seed=start, verbose=False
        ).model

    a, b = trained(2 * seed), trained(2 * seed + 1)
    straight = connect(a, b, objective, digits, bends=0)
    curve = connect(a, b, objective, digits, "bezier", epochs=epochs, seed=seed)
    chain = connect(a, b, objective, digits, "polychain", epochs=epochs, seed=seed)
    losses = {
        "straight line": straight.profile(objective, digits),
        "Bezier": curve.profile(objective, digits),
        "polychain": chain.profile(objective, digits),
    }
    ends = losses["Bezier"].loss[[0, -1]]
    return {
        "share": losses["Bezier"].barrier / losses["straight line"].barrier,
        "polychain's share": losses["polychain"].barrier / losses["straight line"].barrier,
        "train loss, worse end": float(ends.max()),
        **{f"train loss, highest on {name}": float(p.loss.max()) for name, p in losses.items()},
        "test loss, highest on straight line": float(
            straight.profile(objective, digits, split="test").loss.max()
        ),
        "test loss, highest on Bezier": float(
            curve.profile(objective, digits, split="test").loss.max()
        ),
    }
