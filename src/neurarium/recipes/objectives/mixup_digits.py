"""Mixing images against wrong labels."""

from typing import Any

import torch

from neurarium.data import Data, MinMax, load
from neurarium.data.augment import CutMix, Cutout, Mixup
from neurarium.learning import Backprop
from neurarium.networks import MLP
from neurarium.recipes.reproduction import recipe
from neurarium.training import fit


@recipe(
    source="Zhang, Cisse, Dauphin & Lopez-Paz (2018), mixup, arXiv:1710.09412, section 3.4",
    figure="test accuracy gained by mixup where half the labels are drawn at random",
    expect=(0.12, None),
    minutes=0.5,
    quick={"epochs": 80, "rows": 300},
    quick_expect=(0.08, None),
)
def mixup_digits(seed: int = 0, epochs: int = 100, rows: int = 1437) -> dict[str, float]:
    """A 64-256-10 network learns wrong labels by heart, unless it only ever sees mixtures.

    The paper corrupts CIFAR-10's labels and trains a PreAct ResNet-18; ours are the 8 x 8 digits.
    With right labels the gain is half a point.
    """
    digits: Any = load("digits", val_size=0)
    images, labels = (digits.train.tensors[name][:rows] for name in ("input", "target"))
    wrong = torch.rand(len(labels)) < 0.5
    noisy = torch.where(wrong, torch.randint(10, labels.shape), labels)
    transform = MinMax(torch.tensor(0.0), torch.tensor(16.0))

    def trained(target: torch.Tensor, augment: Any = None) -> float:
        torch.manual_seed(seed)
        data = Data((images, target), test=digits.test, transform=transform, augment=augment)
        rule = Backprop("adam", lr=3e-3)
        model = MLP([64, 256, 10])
        run = fit(model, data, rule=rule, epochs=epochs, batch_size=64, seed=seed, verbose=False)
        return run.evaluate("test")["accuracy"]

    plain, mixed = trained(noisy), trained(noisy, Mixup(8.0, classes=10))
    return {
        "gain": mixed - plain,
        "half wrong, plain": plain,
        "half wrong, mixup": mixed,
        "half wrong, CutMix": trained(noisy, CutMix(classes=10)),
        "half wrong, cutout": trained(noisy, Cutout(3)),
        "all right, plain": trained(labels),
        "all right, mixup": trained(labels, Mixup(8.0, classes=10)),
    }
