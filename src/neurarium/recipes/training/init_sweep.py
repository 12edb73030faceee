"""Weights of every size: signals die, saturate or explode, and what training makes of it."""

import torch
from torch import nn

from neurarium.data import MinMax, load
from neurarium.learning import Backprop
from neurarium.networks import MLP
from neurarium.recipes.reproduction import Figures, recipe
from neurarium.training import fit


@recipe(
    source="He et al. (2015), arXiv:1502.01852, section 2.2; Goodfellow et al. (2016), section 8.4",
    figure="relu: the signal's factor per layer over He's prediction, std sqrt(n / 2)",
    expect=(0.93, 1.07),
    minutes=0.7,
    quick={"epochs": 1, "stds": (0.01, 0.3)},
)
def init_sweep(
    seed: int = 0,
    epochs: int = 10,
    depth: int = 6,
    width: int = 100,
    stds: tuple[float, ...] = (0.001, 0.01, 0.03, 0.1, 0.14, 0.3, 1, 3),
) -> Figures:
    """Six hidden layers of 100 units from N(0, std^2), from 0.001 to 3, by rectifier and tanh.

    For each: the root mean square of every hidden layer's activations before training, which is
    drawn, and the test accuracy after 10 epochs of Adam (rate 0.001) on the 8 x 8 digits. He's std
    is 0.14 here.
    There is no published figure for this table; that a rectifier layer multiplies the signal by
    std sqrt(n/2), whatever the std, is He's derivation.
    """
    digits = load("digits", val_size=0)
    digits.transform = MinMax(torch.tensor(0.0), torch.tensor(16.0))
    batch = digits.example(rows=1437)["input"]
    ratios, table, signals = [], {}, {}
    for activation in ("relu", "tanh"):
        for std in stds:
            model = MLP([64, *[width] * depth, 10], activation, init=f"normal:std={std}")
            h, sizes = batch.flatten(1), []
            for layer in list(model.layers)[:-1]:
                h = layer(h)
                if not isinstance(layer, nn.Linear):
                    sizes.append(h.square().mean().sqrt().item())
            if activation == "relu":
                factor = (sizes[-1] / sizes[0]) ** (1 / (depth - 1))
                ratios.append(factor / (std * (width / 2) ** 0.5))
            run = fit(
                model,
                digits,
                rule=Backprop("adam", lr=1e-3),
                epochs=epochs,
                batch_size=64,
                seed=seed,
                verbose=False,
            )
            signals[f"{activation}, std {std:g}"] = sizes
            table[f"{activation}, std {std:g}: accuracy"] = run.evaluate("test")["accuracy"]
    factor = sum(ratios) / len(ratios)
    return {"factor": factor, **table, "root mean square signal by hidden layer": signals}
