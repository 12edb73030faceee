"""Two weeks of an epidemic from four, by a network that has seen others and by polynomials."""

import numpy as np
import torch

from neurarium.data import Data, windows
from neurarium.learning import Backprop
from neurarium.networks import Forecaster
from neurarium.objectives import supervised
from neurarium.recipes.reproduction import recipe
from neurarium.training import fit

_PAST, _AHEAD = 28, 14


@recipe(
    source="Punn, Sonbhadra & Agarwal (2020), medRxiv 10.1101/2020.04.08.20057679, on made curves",
    figure="RMSE of log daily cases, 14 days ahead, LSTM",
    expect=(None, 0.45),
    minutes=0.5,
    quick={"epochs": 2, "curves": 40},
    quick_expect=(None, 1.0),
)
def epidemic_curves(seed: int = 0, epochs: int = 8, curves: int = 200) -> dict[str, float]:
    """New cases of SIR epidemics of 120 days, each with rates of infection and recovery of its own.

    A day's count is negative binomial. Half of the epidemics train, the
    others test. Polynomials are fitted to the logarithms of the same 28 days and go on from there.
    """
    rng = np.random.default_rng(seed)
    logs = torch.tensor(np.log1p([_cases(rng) for _ in range(curves)]), dtype=torch.float32) / 4
    parts = [[windows(curve, _PAST, _AHEAD) for curve in half] for half in logs.chunk(2)]
    train, test = ({k: torch.cat([w[k] for w in half]) for k in half[0]} for half in parts)
    torch.manual_seed(seed)
    run = fit(
        Forecaster(1, _AHEAD, hidden=48), Data(train, None, test), supervised("mse"),
        Backprop("adam", lr=5e-3, schedule="one_cycle", max_grad_norm=1.0),
        epochs=epochs, batch_size=64, precision="32", metrics={}, seed=seed, verbose=False,
    )  # fmt: skip
    past, target = test["input"].double().numpy(), test["target"].double().numpy()
    guesses = {"LSTM": run.outputs("test")[0].numpy(), "last day": past[:, -1:]}
    for degree in (1, 2, 3):
        lines = np.polynomial.polynomial.polyfit(np.arange(_PAST), past.T, degree)
        later = np.arange(_PAST, _PAST + _AHEAD)
        guesses[f"polynomial, degree {degree}"] = np.polynomial.polynomial.polyval(later, lines)
    return {n: float(4 * np.sqrt(((g - target) ** 2).mean())) for n, g in guesses.items()}


def _cases(rng: np.random.Generator, days: int = 120, people: float = 1e6) -> np.ndarray:
    """Counted new infections of each day."""
    recovery = rng.uniform(0.08, 0.25)
    infection = recovery * rng.uniform(1.4, 3.5)
    susceptible, infected = people - 20, 20.0
    new = []
    for _ in range(days):
        caught = susceptible * -np.expm1(-infection * infected / people)
        susceptible, infected = susceptible - caught, infected * np.exp(-recovery) + caught
        new.append(caught)
    mean = np.array(new)
    return rng.poisson(rng.gamma(20, mean / 20 + 1e-9))
