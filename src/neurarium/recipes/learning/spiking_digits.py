"""A network of spiking units learns the 8 x 8 digits by surrogate gradients."""

import torch

from neurarium.data import MinMax, load
from neurarium.learning import Backprop
from neurarium.networks import SpikingMLP
from neurarium.recipes.reproduction import recipe
from neurarium.training import fit


@recipe(
    source="Neftci, Mostafa & Zenke (2019), arXiv:1901.09948, the method, on the UCI digits",
    figure="test accuracy",
    expect=(0.955, None),
    minutes=0.5,
    quick={"epochs": 1, "frozen": False},
    quick_expect=(0.7, None),
)
def spiking_digits(seed: int = 0, epochs: int = 30, frozen: bool = True) -> dict[str, float]:
    """64 trains of random spikes, 100 spiking units, 10 outputs; each digit is shown for 20 steps.

    A spike has no slope; 1 / (1 + 10 |v|)^2 is taken for it. The reference is the same network with
    its random hidden layer frozen: what is gained over it is what came back through the spikes.
    """
    digits = load("digits", val_size=0)
    digits.transform = MinMax(torch.tensor(0.0), torch.tensor(16.0))

    def trained(hidden_frozen: bool) -> float:
        torch.manual_seed(seed)
        model = SpikingMLP([64, 100, 10], steps=20, k=10.0)
        if hidden_frozen:
            model.layers[1].requires_grad_(False)
        rule = Backprop("adam", lr=3e-3)
        run = fit(model, digits, rule=rule, epochs=epochs, batch_size=32, seed=seed, verbose=False)
        return run.evaluate("test")["accuracy"]

    table = {"spiking units": trained(False)}
    return table | ({"hidden layer frozen": trained(True)} if frozen else {})
