"""Networks fit labels that mean nothing."""

import torch

from neurarium.data import Data, MinMax, load
from neurarium.learning import Backprop
from neurarium.networks import MLP
from neurarium.objectives import supervised
from neurarium.recipes.reproduction import recipe
from neurarium.training import fit


@recipe(
    source="Zhang et al. (2017), arXiv:1611.03530",
    figure="training accuracy on shuffled labels",
    expect=(0.99, None),
    minutes=0.3,
    quick={"epochs": 50, "rows": 300},
    quick_expect=(0.9, None),
)
def fit_noise(seed: int = 0, epochs: int = 150, rows: int = 1437) -> dict[str, float]:
    """A network learns shuffled labels by heart, and says nothing of other images.

    Departures: a 64-512-10 network on the 8 x 8 digits for the paper's networks on CIFAR-10 and
    ImageNet. The same network and steps generalize where the labels are true.
    """
    digits = load("digits", val_size=0)
    image, digit = (digits.split("train").tensors[name][:rows] for name in ("input", "target"))  # type: ignore[union-attr]

    def accuracies(labels: torch.Tensor) -> tuple[float, float]:
        data = Data(
            (image, labels),
            test=digits.test,
            transform=MinMax(torch.tensor(0.0), torch.tensor(16.0)),
        )
        run = fit(
            MLP([64, 512, 10]),
            data,
            supervised("cross_entropy"),
            Backprop("adam", lr=3e-3),
            epochs=epochs,
            seed=seed,
            verbose=False,
        )
        return run.evaluate("train")["accuracy"], run.evaluate("test")["accuracy"]

    shuffled = digit[torch.randperm(len(digit))]
    (fitted, guessed), (learnt, known) = accuracies(shuffled), accuracies(digit)
    return {
        "shuffled labels, train": fitted,
        "shuffled labels, test": guessed,
        "true labels, train": learnt,
        "true labels, test": known,
    }
