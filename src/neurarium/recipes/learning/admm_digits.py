"""ADMM without gradients on the 8 x 8 digits."""

import torch
from torch import Tensor
from torch.nn import functional as F

from neurarium.data import MinMax, Resident, load
from neurarium.learning import ADMM
from neurarium.networks import MLP
from neurarium.objectives import supervised
from neurarium.recipes.reproduction import recipe
from neurarium.training import fit


@recipe(
    source="Taylor et al. (2016), arXiv:1605.02026",
    figure="test accuracy",
    expect=(0.95, None),
    minutes=0.1,
    quick={"epochs": 15},
    quick_expect=(0.92, None),
)
def admm_digits(seed: int = 0, epochs: int = 40) -> dict[str, float]:
    """A network 64-100-10 trained by ridge regressions alone, 40 sweeps over all examples.

    The loss is squared, on coded targets. The source has larger data, other losses and no figure
    for the digits; its bare pseudo-inverse is worse here than a ridge of 0.01. With the first layer
    frozen it stays 3 points below, so credit does reach that layer.
    """
    digits = load("digits", val_size=0)
    digits.transform = MinMax(torch.tensor(0.0), torch.tensor(16.0))
    (train,) = digits.train.batches(len(digits.train))
    rows = torch.arange(len(train["target"]))
    digits.train = Resident({**train, "index": rows})

    def squared(z: Tensor, target: Tensor) -> Tensor:
        return (z - F.one_hot(target, 10)).square().sum(1).mean()

    def accuracy(frozen: bool) -> float:
        torch.manual_seed(seed)
        model = MLP([64, 100, 10])
        if frozen:
            model.layers[:-1].requires_grad_(False)
        run = fit(
            model, digits, supervised(squared), ADMM(), epochs=epochs,
            batch_size=len(rows), seed=seed, verbose=False, precision="32",
        )  # fmt: skip
        return run.evaluate("test")["accuracy"]

    return {"ADMM": accuracy(False), "hidden layers frozen": accuracy(True)}
