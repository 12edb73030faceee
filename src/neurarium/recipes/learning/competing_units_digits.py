"""Competing hidden units on the 8 x 8 digits: features without labels, then one layer with them."""

from typing import Any

import torch
from torch import Tensor, nn

from neurarium.data import Batch, Data, MinMax, load
from neurarium.learning import Backprop, CompetingUnits
from neurarium.networks import Perceptron
from neurarium.recipes.reproduction import recipe
from neurarium.training import fit


@recipe(
    source="Krotov & Hopfield (2019), arXiv:1806.10181",
    figure="test accuracy",
    expect=(0.97, None),
    minutes=0.2,
    quick={"units": 100, "epochs": 60},
    quick_expect=(0.92, None),  # 0.84 to 0.91 untrained
)
def competing_units_digits(
    seed: int = 0, units: int = 400, epochs: int = 200, top_epochs: int = 60
) -> dict[str, float]:
    """400 units that compete for the training images, then softmax on powers of what they see.

    The rule's defaults, from normal weights, in batches of 100; the features are the rectified
    sums to the power 4.5, divided by their mean. The paper's output layer is a tanh with a loss of
    its own; here it is softmax. There is no published figure for these digits. Beside it: the same
    layer on what the units see before they have learnt, which is half of the way from the pixels.
    """
    digits = load("digits", val_size=0)
    minmax = MinMax(torch.tensor(0.0), torch.tensor(16.0))

    def rows(split: Any) -> tuple[Tensor, Tensor]:
        return minmax(split.tensors["input"]).flatten(1), split.tensors["target"]

    (x, target), (x_test, target_test) = rows(digits.train), rows(digits.test)

    def on_top(x: Tensor, x_test: Tensor) -> float:
        torch.manual_seed(seed)
        data = Data((x / x.mean(), target), (x_test / x.mean(), target_test))
        model, rule = Perceptron(x.shape[1], 10, transfer="identity"), Backprop("adam", lr=1e-3)
        run = fit(model, data, rule=rule, epochs=top_epochs, batch_size=100, verbose=False)
        return run.history["val_accuracy"][-1]

    hidden = nn.Linear(64, units, bias=False)
    nn.init.normal_(hidden.weight)

    def above_hidden() -> float:
        with torch.no_grad():
            features = [hidden(rows).relu() ** 4.5 for rows in (x, x_test)]
        return on_top(*features)

    def drive(model: nn.Module, batch: Batch) -> Tensor:
        return model(batch["input"]).mean()

    untrained = above_hidden()
    fit(
        hidden, Data({"input": x}), drive, CompetingUnits(), epochs=epochs, batch_size=100,
        seed=seed, verbose=False,
    )  # fmt: skip
    return {
        "competing units": above_hidden(),
        "untrained units": untrained,
        "pixels": on_top(x, x_test),
    }
