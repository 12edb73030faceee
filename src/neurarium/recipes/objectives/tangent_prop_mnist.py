"""Tangent prop on few labels of MNIST."""

from typing import Any

import torch

from neurarium.data import Data, load, tangents
from neurarium.learning import Backprop
from neurarium.networks import MLP
from neurarium.objectives import supervised
from neurarium.penalties import TangentProp
from neurarium.recipes.reproduction import recipe
from neurarium.training import fit


@recipe(
    source="Simard, Victorri, LeCun & Denker (1992), Tangent Prop, NIPS 4",
    figure="gain in test accuracy by tangent prop",
    expect=(0.005, None),
    minutes=0.5,
    quick={"epochs": 10, "rows": 200, "judged": 1000},
    quick_expect=(-0.15, None),  # at first it slows learning down
    needs=("mnist",),
)
def tangent_prop_mnist(
    seed: int = 0, epochs: int = 60, rows: int = 500, weight: float = 0.03, judged: int = 10_000
) -> dict[str, float]:
    """Five hundred labels of MNIST: outputs that do not change when digits move gain a point.

    The directions are shifts by a pixel, a turn by a radian and enlargement by e, of images
    smoothed with a width of one pixel. The slopes are those of the outputs at 500 test images; the
    penalty slows learning down, and after 20 epochs it still costs accuracy. The paper's data are
    16 x 16 digits, its network is convolutional.
    """
    mnist = load("mnist", val_size=0)
    full: Any = mnist.train
    held_out: Any = mnist.test
    chosen = torch.randperm(len(full))[:rows]
    image, digit = (full.tensors[name][chosen] for name in ("input", "target"))
    image = image.float() / 255
    test = {
        "input": held_out.tensors["input"][:judged].float() / 255,
        "target": held_out.tensors["target"][:judged],
    }
    train = {"input": image, "target": digit, "tangents": tangents(image)}
    data = Data(train, test=test, classes=mnist.classes)

    moved = {"input": test["input"][:500], "tangents": tangents(test["input"][:500])}

    def trained(penalties: list[TangentProp]) -> tuple[float, float]:
        torch.manual_seed(seed)
        model = MLP([784, 200, 10], activation="tanh")
        objective = supervised("cross_entropy", penalties)
        rule = Backprop("adam", lr=1e-3)
        run = fit(model, data, objective, rule, epochs=epochs, batch_size=32, seed=seed,
                  verbose=False)  # fmt: skip
        with torch.no_grad():
            slope = TangentProp(1.0)(model, moved).item()
        return run.evaluate("test")["accuracy"], slope

    plain, slope = trained([])
    smooth, low_slope = trained([TangentProp(weight)])
    return {
        "gain": smooth - plain,
        "accuracy without": plain,
        "accuracy with": smooth,
        "slope without": slope,
        "slope with": low_slope,
    }
