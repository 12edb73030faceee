"""What shortcuts do to the loss around a trained network."""

import torch
from torch import Tensor, nn

from neurarium.data import Data, MinMax, load
from neurarium.learning import Backprop
from neurarium.networks import ResNet
from neurarium.objectives import supervised
from neurarium.recipes.reproduction import recipe
from neurarium.training import fit
from neurarium.training.landscape import line


class _Nothing(nn.Module):
    """In place of a shortcut."""

    def forward(self, x: Tensor) -> Tensor:
        return x.new_zeros(())


@recipe(
    source="Li et al. (2018), arXiv:1712.09913, figure 5",
    figure="share of the lines that bends down, ResNet-20 without shortcuts minus with them",
    expect=(0.03, None),
    minutes=0.4,
    quick={"epochs": 3, "lines": 3, "points": 11},
    quick_expect=(0.03, None),
)
def landscape_skip(
    seed: int = 0, depth: int = 20, epochs: int = 12, lines: int = 8, points: int = 21
) -> dict[str, float]:
    """Twenty layers with and without shortcuts: how convex is the loss around what they learnt?

    The loss is taken on filter-normalized lines through the trained network; where its second
    difference is negative, it bends down. The paper shows contours and gives no figure.

    Departures: four channels wide, on the 8 x 8 digits for CIFAR-10; the lines reach to half the
    filters' norm, with the loss of 300 training images.
    """
    digits = load("digits", val_size=0)
    digits.transform = MinMax(torch.tensor(0.0), torch.tensor(16.0))
    few = Data(digits.train.head(300), transform=digits.transform)  # type: ignore[union-attr]
    objective = supervised("cross_entropy")
    bent, table = {}, {}
    for name in ("with", "without"):
        torch.manual_seed(seed)
        model = ResNet(depth, in_channels=1, width=4)
        if name == "without":
            for block in model.blocks:
                block.shortcut = _Nothing()
        rule = Backprop("sgd:momentum=0.9", lr=0.05, weight_decay=5e-4, schedule="one_cycle")
        run = fit(model, digits, objective, rule, epochs=epochs, seed=seed, verbose=False)
        loss = torch.stack(
            [
                line(model, objective, few, span=(-0.5, 0.5), points=points, seed=draw).loss
                for draw in range(lines)
            ]
        )
        bent[name] = float((loss.diff(n=2) < 0).double().mean())
        table[f"{name} shortcuts, share that bends down"] = bent[name]
        table[f"{name} shortcuts, train loss"] = float(loss[0, points // 2])
        table[f"{name} shortcuts, test accuracy"] = run.evaluate("test")["accuracy"]
    return {"difference": bent["without"] - bent["with"], **table}
