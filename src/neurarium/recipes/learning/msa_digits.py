"""The method of successive approximations on the 8 x 8 digits."""

import torch

from neurarium.data import MinMax, load
from neurarium.learning import MSA
from neurarium.networks import MLP
from neurarium.objectives import supervised
from neurarium.recipes.reproduction import recipe
from neurarium.training import fit


@recipe(
    source="Li, Chen, Tai & E (2018), arXiv:1710.09513",
    figure="test accuracy",
    expect=(0.96, None),
    minutes=0.3,
    quick={"epochs": 1},
    quick_expect=(0.8, None),
)
def msa_digits(seed: int = 0, epochs: int = 20) -> dict[str, float]:
    """A network 64-100-100-10 of tanh units, each layer maximizing its Hamiltonian by L-BFGS.

    The source has MNIST and a residual network. Twenty passes are enough here.
    """
    digits = load("digits", val_size=0)
    digits.transform = MinMax(torch.tensor(0.0), torch.tensor(16.0))

    def accuracy(frozen: bool) -> float:
        torch.manual_seed(seed)
        model = MLP([64, 100, 100, 10], activation="tanh")
        if frozen:
            model.layers[:-1].requires_grad_(False)
        run = fit(
            model, digits, supervised("cross_entropy"), MSA(), epochs=epochs,
            batch_size=200, seed=seed, verbose=False, precision="32",
        )  # fmt: skip
        return run.evaluate("test")["accuracy"]

    return {"MSA": accuracy(False), "hidden layers frozen": accuracy(True)}
