"""A sine fitted by simulated annealing."""

import torch

from neurarium.learning import Backprop
from neurarium.learning.simulated_annealing import SimulatedAnnealing
from neurarium.networks import MLP
from neurarium.objectives import supervised
from neurarium.recipes.reproduction import recipe
from neurarium.training import fit


@recipe(
    source="Goffe, Ferrier & Rogers (1994), J. Econometrics 60; Sexton et al. (1999), EJOR 114",
    figure="mean squared error",
    expect=(None, 1e-3),
    minutes=0.3,
    quick={"evaluations": 5_000},
    quick_expect=(None, 0.04),
)
def annealing_sine(seed: int = 0, evaluations: int = 60_000) -> dict[str, float]:
    """A 1-6-1 network on sin 3x, by annealing from T = 0.01 and by gradient descent from the same.

    The papers' own problems are others and their figures no guide to this one. Beside it the same
    walk without temperature, which takes only what is not worse, and Adam with as many
    evaluations, a slope counted as two.
    """
    x = torch.linspace(-1, 1, 50)[:, None]
    y = (3 * x).sin()
    steps = evaluations // 500

    def error(rule: object, epochs: int) -> float:
        torch.manual_seed(seed)
        model = MLP([1, 6, 1], activation="tanh")
        fit(
            model,
            (x, y),
            supervised("mse"),
            rule,  # type: ignore[arg-type]
            epochs=epochs,
            batch_size=50,
            seed=seed,
            verbose=False,
        )
        return (model(x) - y).square().mean().item()

    return {
        "annealing": error(SimulatedAnnealing(T0=0.01, nt=2, moves=500), steps),
        "without temperature": error(SimulatedAnnealing(T0=0, nt=2, moves=500), steps),
        "Adam": error(Backprop("adam", lr=0.01), evaluations // 20),
    }
