"""Shifts and bends instead of more labelled digits."""

from typing import Any

import torch

from neurarium.data import Data, load
from neurarium.data.augment import Elastic, Shift
from neurarium.learning import Backprop
from neurarium.networks import MLP
from neurarium.recipes.reproduction import recipe
from neurarium.training import fit


@recipe(
    source="Simard, Steinkraus & Platt (2003), ICDAR; Perez & Wang (2017), arXiv:1712.04621",
    figure="test accuracy gained by shifts of up to 2 pixels",
    expect=(0.025, None),
    minutes=0.4,
    quick={"epochs": 60, "labels": 200},
    quick_expect=(0.01, None),
    needs=("mnist",),
)
def augment_mnist(seed: int = 0, epochs: int = 60, labels: int = 1000) -> dict[str, float]:
    """A 784-100-10 network on 1,000 labelled digits of MNIST, as they are, shifted, and bent.

    The papers use all labels, or other images; there is no published figure for this cut.
    """
    mnist: Any = load("mnist", val_size=0)
    drawn = torch.randperm(60_000)[:labels]
    few = {name: values[drawn] for name, values in mnist.train.tensors.items()}

    def trained(augment: Any) -> float:
        torch.manual_seed(seed)
        data = Data(few, test=mnist.test, transform=mnist.transform, augment=augment)
        rule = Backprop("adam", lr=1e-3)
        model = MLP([784, 100, 10])
        run = fit(model, data, rule=rule, epochs=epochs, batch_size=50, seed=seed, verbose=False)
        return run.evaluate("test")["accuracy"]

    plain, shifted, bent = trained(None), trained(Shift(2)), trained(Elastic(20, 4))
    return {
        "gain": shifted - plain,
        "gained by elastic bends": bent - plain,
        "accuracy as they are": plain,
        "accuracy with shifts": shifted,
        "accuracy with bends": bent,
    }
