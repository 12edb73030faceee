"""Every activation in one deep network: who lets the gradient through?"""

from typing import Any

import torch

from neurarium import activations
from neurarium.data import MinMax, load
from neurarium.learning import Backprop
from neurarium.networks import MLP
from neurarium.objectives import supervised
from neurarium.recipes.reproduction import recipe
from neurarium.training import fit


@recipe(
    source="Nielsen (2015), Neural Networks and Deep Learning, chapter 5",
    figure="first layer's gradient before training, relu's over sigmoid's",
    expect=(200, None),
    minutes=0.5,
    quick={"epochs": 1},
)
def activations_digits(seed: int = 0, epochs: int = 20) -> dict[str, float]:
    """Six hidden layers, every activation: sigmoids leave the first layer next to no gradient.

    All networks start from the same draw of N(0, 1/inputs), with biases 0, and see the same
    batches. The book shows the effect on four layers and publishes no ratio.
    """
    digits = load("digits", val_size=0)
    digits.transform = MinMax(torch.tensor(0.0), torch.tensor(16.0))
    objective = supervised("cross_entropy")
    flat = ("hardlim", "hardlims", "sign", "step")  # their gradient is zero everywhere
    names = [name for name in activations.__all__ if name not in (*flat, "softmax", "Swish")]
    gradient, accuracy = {}, {}
    for name in names:
        torch.manual_seed(seed)
        model = MLP([64, *[64] * 6, 10], activation=name, init="lecun")
        loss: Any = objective(model, digits.example(rows=1437))
        (first,) = torch.autograd.grad(loss, next(model.parameters()))
        gradient[name] = first.norm().item()
        run = fit(
            model,
            digits,
            objective,
            Backprop("adam", lr=1e-3),
            epochs=epochs,
            seed=seed,
            verbose=False,
        )
        accuracy[name] = run.evaluate("test")["accuracy"]
    return {
        "ratio": gradient["relu"] / gradient["sigmoid"],
        **{f"{name}, first gradient": value for name, value in gradient.items()},
        **{f"{name}, test accuracy": value for name, value in accuracy.items()},
    }
