"""Competing hidden units on MNIST: features without labels, then one layer with them."""

from typing import Any

import torch
from torch import Tensor, nn

from neurarium.data import Batch, Data, MinMax, load
from neurarium.learning import Backprop, CompetingUnits
from neurarium.recipes.reproduction import recipe
from neurarium.training import fit


@recipe(
    source="Krotov & Hopfield (2019), arXiv:1806.10181, figure 3",
    figure="test error",
    published=0.0146,
    expect=(None, 0.064),
    minutes=1,
    quick={"units": 100, "rows": 3000, "epochs": 10, "top_epochs": 4, "start": False},
    quick_expect=(None, 0.27),
    needs=("mnist",),
)
def competing_units_mnist(
    seed: int = 0,
    units: int = 200,
    epochs: int = 20,
    top_epochs: int = 8,
    rows: int = 60_000,
    start: bool = True,
) -> dict[str, float]:
    """Units that compete for the images, then softmax on the power 4.5 of what they see.

    Beside them are the same units as they start, each on a training image: what is gained over
    them is what competition has taught. Departures: a tenth of the paper's 2000 units, and 20 of
    its 1000 epochs, for which a start from random weights is too far off. p = 2 with its k = 7 (it
    has p = 3); softmax instead of a tanh with a loss of its own; each unit's powers are divided by
    their mean. 1000 units reach 3.9 %, but then the images alone give 4.0 %.
    """
    mnist = load("mnist", val_size=0)
    train: Any = mnist.train
    data = Data(
        {name: values[:rows] for name, values in train.tensors.items()},
        test=mnist.test,
        transform=MinMax(torch.tensor(0.0), torch.tensor(255.0)),
    )
    x = data.example(rows)["input"].flatten(1)
    hidden = nn.Linear(784, units, bias=False)
    with torch.no_grad():
        hidden.weight.copy_(nn.functional.normalize(x[torch.randperm(len(x))[:units]]))

    class Powers(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = hidden.weight.detach()
            mean = self.sums(x[:5000]).mean(0)
            self.mean = mean.clamp(min=1e-3 * mean.mean())

        def sums(self, x: Tensor) -> Tensor:
            return nn.functional.linear(x.flatten(1), self.weight).relu() ** 4.5

        def forward(self, x: Tensor) -> Tensor:
            return self.sums(x) / self.mean

    def error() -> float:
        torch.manual_seed(seed)
        model = nn.Sequential(Powers(), nn.Linear(units, 10))
        rule = Backprop("adam", lr=3e-3, schedule="linear")
        run = fit(
            model, data, rule=rule, epochs=top_epochs, batch_size=100, seed=seed, verbose=False
        )
        return 1 - run.evaluate("test")["accuracy"]

    def drive(model: nn.Module, batch: Batch) -> Tensor:
        return model(batch["input"][:1]).mean()

    before = {"the images they start from": error()} if start else {}
    rule = CompetingUnits(k=7)
    fit(
        hidden, Data({"input": x}), drive, rule, epochs=epochs, batch_size=100, seed=seed,
        verbose=False,
    )  # fmt: skip
    return {"competing units": error(), **before}
