"""A multilayer perceptron on the 8 x 8 digits."""

import torch

from neurarium.data import MinMax, load
from neurarium.learning import Backprop
from neurarium.networks import MLP
from neurarium.recipes.reproduction import recipe
from neurarium.training import fit


@recipe(
    source="Alpaydin & Kaynak (1998), the UCI digits as scikit-learn has them",
    figure="test accuracy",
    expect=(0.97, None),
    minutes=0.1,
    quick={"epochs": 10},
    quick_expect=(0.93, None),
)
def digits_mlp(seed: int = 0, epochs: int = 60) -> float:
    """A 64-100-100-10 network on the 8 x 8 digits: four fifths train, the others test.

    There is no published figure for this split, which is scikit-learn's `train_test_split` with
    `test_size=0.2, stratify=y, random_state=0`.
    """
    digits = load("digits", val_size=0)
    digits.transform = MinMax(torch.tensor(0.0), torch.tensor(16.0))
    rule = Backprop("sgd:momentum=0.9", lr=0.05)
    model = MLP([64, 100, 100, 10])
    run = fit(model, digits, rule=rule, epochs=epochs, batch_size=32, seed=seed, verbose=False)
    return run.evaluate("test")["accuracy"]
