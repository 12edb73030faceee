"""A chaotic series foretold by a network that was never trained, only read out."""

import torch

from neurarium.data import Data
from neurarium.data.synthetic import mackey_glass as series_of
from neurarium.learning import RidgeReadout
from neurarium.networks import EchoState
from neurarium.objectives import supervised
from neurarium.recipes.reproduction import recipe
from neurarium.training import fit


@recipe(
    source="Jaeger & Haas (2004), Science 304, figure 2",
    figure="error 84 steps ahead (NRMSE)",
    expect=(None, 0.01),
    minutes=0.1,
    quick={"units": 300, "seen": 2000},
    quick_expect=(None, 0.02),
)
def mackey_glass(
    seed: int = 0, units: int = 500, seen: int = 3000, ridge: float = 1e-8
) -> dict[str, float]:
    """500 leaky units, half of each state kept; run on freely for 84 steps from five places.

    The paper reports 10^-4.2 with 1,000 units, a finer series and noise in training.
    """
    torch.manual_seed(seed)
    series = series_of(seen + 1600, seed=seed)

    def error(ridge: float) -> float:
        model = EchoState(1, 1, units, leak=0.5).double()
        fit(
            model, Data({name: part[:, :seen] for name, part in series.items()}),
            objective=supervised("mse"), rule=RidgeReadout(ridge, washout=100),
            epochs=1, batch_size=1, metrics=(), precision="32", verbose=False,
        )  # fmt: skip
        errors = []
        for begin in range(seen + 500, seen + 1500, 200):
            told = model.generate(series["input"][:, begin - 500 : begin], 84)
            errors.append(told[:, -1] - series["input"][:, begin + 83])
        return float(torch.stack(errors).square().mean().sqrt() / series["input"].std())

    return {"ridge 1e-8": error(ridge), "ridge 1e-4": error(1e-4)}
