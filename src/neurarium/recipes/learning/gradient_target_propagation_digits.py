"""Gradient target propagation on the 8 x 8 digits, beside what a frozen hidden layer reaches."""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from neurarium.data import Data, MinMax, load
from neurarium.learning import Backprop, GradientTargetPropagation
from neurarium.networks import MLP
from neurarium.objectives import supervised
from neurarium.recipes.reproduction import recipe
from neurarium.training import fit


@recipe(
    source="de Souza Farias & Maziero (2018), arXiv:1810.09284",
    figure="test accuracy, targets from zero",
    expect=(0.94, None),
    minutes=0.5,
    quick={"epochs": 6, "others": False},
    quick_expect=(0.86, None),
)
def gradient_target_propagation_digits(
    seed: int = 0, epochs: int = 25, others: bool = True
) -> dict[str, float]:
    """A 64-100-10 network of sigmoid units under the quadratic cost, started as in the paper.

    Targets are found from zero in one step of size 100, as in the authors' program, and in ten
    steps of 0.1 from the forward values. Beside them are the same network with its hidden layer
    frozen, and backpropagation. The paper has no such digits, and
    no Adam, without which the outputs stay saturated for many epochs.
    """
    digits = load("digits", val_size=0)

    def with_vectors(split: Any) -> dict[str, Tensor]:
        image, digit = (split.tensors[name] for name in ("input", "target"))
        return {"input": image, "target": digit, "vector": one_hot(digit, 10).float()}

    data = Data(
        with_vectors(digits.train),
        test=with_vectors(digits.test),
        transform=MinMax(torch.tensor(0.0), torch.tensor(16.0)),
    )

    def accuracy(rule: Backprop | GradientTargetPropagation, frozen: bool = False) -> float:
        torch.manual_seed(seed)
        model = MLP([64, 100, 10], activation="sigmoid", out="sigmoid")
        hidden, output = (m for m in model.modules() if isinstance(m, nn.Linear))
        nn.init.normal_(hidden.weight, std=math.sqrt(48 / (35 * 64)))
        nn.init.normal_(output.weight, std=math.sqrt(16 / (11 * 100)))
        hidden.requires_grad_(not frozen)
        run = fit(
            model, data, supervised("quadratic_cost", target="vector"), rule, epochs=epochs,
            batch_size=32, seed=seed, verbose=False,
        )  # fmt: skip
        return run.evaluate("test")["accuracy"]

    from_zero = accuracy(GradientTargetPropagation("adam", lr=0.005))
    if not others:
        return {"from zero": from_zero}
    descent = GradientTargetPropagation("adam", lr=0.005, tau=0.1, period=10, start="forward")
    return {
        "from zero": from_zero,
        "ten steps from the forward values": accuracy(descent),
        "hidden layer frozen": accuracy(Backprop("adam", lr=0.005), frozen=True),
        "backpropagation": accuracy(Backprop("adam", lr=0.005)),
    }
