"""Where augmentation hurts: a pixel is an eighth of these digits."""

from typing import Any

import torch

from neurarium.data import Data, MinMax, load
from neurarium.data.augment import Flip, Noise, Shift
from neurarium.learning import Backprop
from neurarium.networks import MLP
from neurarium.recipes.reproduction import recipe
from neurarium.training import fit


@recipe(
    source="Perez & Wang (2017), The Effectiveness of Data Augmentation, arXiv:1712.04621",
    figure="test accuracy lost by shifts of 1 pixel",
    expect=(0.02, 0.12),
    minutes=0.4,
    quick={"epochs": 30},
    quick_expect=(0.02, 0.2),
)
def augment_digits(seed: int = 0, epochs: int = 100, labels: int = 200) -> dict[str, float]:
    """A 64-100-10 network on 200 of the 8 x 8 digits: changes that do not keep the label cost.

    The digits are centred and a pixel is an eighth of the image, so a shift by one shows the
    network what no test image looks like, and a mirrored 2 is no digit at all. The same shift helps
    on MNIST, where it is a fourteenth (`augment-mnist`). There is no published figure.
    """
    digits: Any = load("digits", val_size=0)
    drawn = torch.randperm(len(digits.train))[:labels]
    few = {name: values[drawn] for name, values in digits.train.tensors.items()}
    transform = MinMax(torch.tensor(0.0), torch.tensor(16.0))

    def trained(augment: Any) -> float:
        torch.manual_seed(seed)
        data = Data(few, test=digits.test, transform=transform, augment=augment)
        rule = Backprop("adam", lr=1e-3)
        model = MLP([64, 100, 10])
        run = fit(model, data, rule=rule, epochs=epochs, batch_size=32, seed=seed, verbose=False)
        return run.evaluate("test")["accuracy"]

    plain = trained(None)
    return {
        "loss": plain - trained(Shift(1)),
        "lost by flips": plain - trained(Flip()),
        "lost by noise": plain - trained(Noise(0.1, white=16)),
        "accuracy as they are": plain,
    }
