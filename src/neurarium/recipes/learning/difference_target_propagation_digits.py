"""Difference target propagation on the 8 x 8 digits, beside what frozen hidden layers reach."""

import torch
from torch import nn

from neurarium.data import MinMax, load
from neurarium.learning import Backprop, TargetPropagation, difference_target_propagation
from neurarium.networks import MLP
from neurarium.recipes.reproduction import recipe
from neurarium.training import fit


@recipe(
    source="Lee, Zhang, Fischer & Bengio (2015), arXiv:1412.7525; Bengio (2014), arXiv:1407.7906",
    figure="test accuracy",
    expect=(0.955, None),
    minutes=0.6,
    quick={"epochs": 4, "others": False},
    quick_expect=(0.89, None),
)
def difference_target_propagation_digits(
    seed: int = 0, epochs: int = 40, others: bool = True
) -> dict[str, float]:
    """A 64-100-100-10 network of tanh units: targets by differences, and what they are for.

    Beside it are target propagation without differences, by learnt and by pseudo-inverses with
    differences, the same network whose hidden layers are frozen, and backpropagation. No published
    figure is of these digits.
    """
    digits = load("digits", val_size=0)
    digits.transform = MinMax(torch.tensor(0.0), torch.tensor(16.0))

    def accuracy(rule: Backprop | TargetPropagation, frozen: bool = False) -> float:
        torch.manual_seed(seed)
        model = MLP([64, 100, 100, 10], activation="tanh")
        if frozen:
            for layer in [m for m in model.modules() if isinstance(m, nn.Linear)][:-1]:
                layer.requires_grad_(False)
        run = fit(model, digits, rule=rule, epochs=epochs, batch_size=32, seed=seed, verbose=False)
        return run.evaluate("test")["accuracy"]

    by_differences = accuracy(difference_target_propagation(lr=0.05, inverse_lr=3e-3))
    if not others:
        return {"difference": by_differences}
    pinv = TargetPropagation("sgd", lr=0.05, inverses="pinv", difference=True)
    return {
        "difference": by_differences,
        "hidden layers frozen": accuracy(Backprop("sgd:momentum=0.9", lr=0.05), frozen=True),
        "backpropagation": accuracy(Backprop("sgd:momentum=0.9", lr=0.05)),
        "no difference": accuracy(TargetPropagation("sgd", lr=0.01, inverse_lr=0.01)),
        "difference, pseudo-inverses": accuracy(pinv),
    }
