"""Rectifiers that die of a learning rate."""

import torch

from neurarium.data import MinMax, load
from neurarium.learning import Backprop
from neurarium.networks import MLP
from neurarium.recipes.reproduction import recipe
from neurarium.training import fit
from neurarium.training.diagnostics import dead_units


@recipe(
    source="Maas, Hannun & Ng (2013), Rectifier nonlinearities improve neural network acoustic "
    "models; Lu, Shin, Su & Karniadakis (2019), arXiv:1903.06733",
    figure="share of dead rectifiers at the highest rate",
    expect=(0.3, None),
    minutes=0.2,
    quick={"rates": [1.0], "epochs": 5},
    quick_expect=(0.3, None),
)
def dying_relu(
    seed: int = 0, epochs: int = 10, rates: tuple[float, ...] = (0.05, 0.2, 0.5, 1.0)
) -> dict[str, float]:
    """A 64-100-100-10 network by plain gradient descent, at rising rates."""
    digits = load("digits", val_size=0)
    digits.transform = MinMax(torch.tensor(0.0), torch.tensor(16.0))
    dead: dict[str, float] = {}
    for activation in ("relu", "leaky_relu", "elu"):
        for rate in rates:
            torch.manual_seed(seed)
            model = MLP([64, 100, 100, 10], activation=activation)
            run = fit(
                model,
                digits,
                rule=Backprop("sgd", lr=rate),
                epochs=epochs,
                batch_size=32,
                seed=seed,
                verbose=False,
            )
            batches = map(digits.prepare, digits.train.batches(256))
            dead[f"{activation}, rate {rate}, dead"] = dead_units(model, batches).share
            dead[f"{activation}, rate {rate}, accuracy"] = run.evaluate("test")["accuracy"]
    return {"dead": dead[f"relu, rate {max(rates)}, dead"], **dead}
