"""Nielsen's first network on the 8 x 8 digits, in a second."""

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from neurarium.data import Data, MinMax, load
from neurarium.learning import Backprop
from neurarium.networks import MLP
from neurarium.objectives import supervised
from neurarium.recipes.reproduction import recipe
from neurarium.training import Run, fit


@recipe(
    source="Nielsen (2015), Neural Networks and Deep Learning, chapters 1 and 3",
    figure="test accuracy, weights N(0, 1/inputs)",
    expect=(0.965, None),
    minutes=0.1,
    quick={"epochs": 5},
    quick_expect=(0.92, None),
)
def nielsen_digits(seed: int = 0, epochs: int = 30) -> dict[str, float]:
    """The book's network and settings on small digits: what chapter 3 says of chapter 1's weights.

    With N(0, 1) weights units start saturated, and a digit or two are lost for 5, 10, sometimes
    20 epochs until their outputs wake; with N(0, 1/inputs) none are. After 30 epochs a point is
    left between them. Four outputs that write the digit in binary, the book's other question, do
    worse than ten. The book's figures are of MNIST.
    """
    digits = load("digits", val_size=0)
    bits = 2 ** torch.arange(4)

    def with_vectors(split: Any) -> dict[str, Tensor]:
        digit = split.tensors["target"]
        codes = {
            "vector": one_hot(digit, 10).float(),
            "binary": (digit[:, None] & bits > 0).float(),
        }
        return {**split.tensors, **codes}

    data = Data(
        with_vectors(digits.train),
        val=with_vectors(digits.test),
        transform=MinMax(torch.tensor(0.0), torch.tensor(16.0)),
    )

    def trained(init: str, target: str) -> Run:
        torch.manual_seed(seed)
        sizes = [64, 30, 10 if target == "vector" else 4]
        model = MLP(sizes, activation="sigmoid", out="sigmoid", init=init)
        return fit(
            model,
            data,
            supervised("quadratic_cost", target=target),
            Backprop("sgd", lr=3.0),
            epochs=epochs,
            batch_size=10,
            seed=seed,
            verbose=False,
        )

    narrow, wide = (
        trained(init, "vector").history["val_accuracy"] for init in ("lecun", "nielsen")
    )
    answer, digit = trained("lecun", "binary").outputs("val")
    read = (answer.round().long() * bits).sum(1)
    return {
        "N(0, 1/inputs)": narrow[-1],
        "N(0, 1)": wide[-1],
        "N(0, 1/inputs), epoch 5": narrow[4],
        "N(0, 1), epoch 5": wide[4],
        "four binary outputs": (read == digit).float().mean().item(),
    }
