"""Dynamic inversion on the 8 x 8 digits, beside what frozen hidden layers reach."""

import torch
from torch import nn

from neurarium.data import MinMax, load
from neurarium.learning import Backprop, DynamicInversion
from neurarium.networks import MLP
from neurarium.recipes.reproduction import recipe
from neurarium.training import fit


@recipe(
    source="Podlaski & Machens (2020), arXiv:2007.05112",
    figure="test accuracy, leak 0.1",
    expect=(0.955, None),
    minutes=0.4,
    quick={"epochs": 6, "others": False},
    quick_expect=(0.91, None),
)
def dynamic_inversion_digits(
    seed: int = 0, epochs: int = 40, others: bool = True
) -> dict[str, float]:
    """A 64-100-100-10 network of tanh units whose errors return by inversion, not by transposes.

    B is -W' but in one row, where it is random and made stable. Beside it are the same network
    whose hidden layers are frozen, and backpropagation. The paper's figures are of MNIST, near
    backpropagation's.
    """
    digits = load("digits", val_size=0)
    digits.transform = MinMax(torch.tensor(0.0), torch.tensor(16.0))

    def accuracy(rule: Backprop | DynamicInversion, frozen: bool = False) -> float:
        torch.manual_seed(seed)
        model = MLP([64, 100, 100, 10], activation="tanh")
        if frozen:
            for layer in [m for m in model.modules() if isinstance(m, nn.Linear)][:-1]:
                layer.requires_grad_(False)
        run = fit(model, digits, rule=rule, epochs=epochs, batch_size=32, seed=seed, verbose=False)
        return run.evaluate("test")["accuracy"]

    inverted = accuracy(DynamicInversion(lr=0.05))
    if not others:
        return {"leak 0.1": inverted}
    return {
        "leak 0.1": inverted,
        "leak 1": accuracy(DynamicInversion(lr=0.05, alpha=1.0)),
        "leak 1, random": accuracy(DynamicInversion(lr=0.05, alpha=1.0, feedback="random")),
        "hidden layers frozen": accuracy(Backprop("sgd:momentum=0.9", lr=0.05), frozen=True),
        "backpropagation": accuracy(Backprop("sgd:momentum=0.9", lr=0.05)),
    }
