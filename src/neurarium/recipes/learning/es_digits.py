"""The digits by evolution, without any slope."""

import torch

from neurarium.data import MinMax, load
from neurarium.learning.evolution import ES
from neurarium.networks import MLP
from neurarium.recipes.reproduction import recipe
from neurarium.training import fit


@recipe(
    source="Salimans et al. (2017), arXiv:1703.03864",
    figure="test accuracy",
    expect=(0.95, None),
    minutes=0.4,
    quick={"generations": 25},
    quick_expect=(0.7, None),
)
def es_digits(seed: int = 0, generations: int = 300) -> float:
    """A 64-16-10 network learns the 8 x 8 digits from 100 candidates a generation.

    The paper plays Atari and walks robots; it has no such figure.
    """
    digits = load("digits", val_size=0)
    digits.transform = MinMax(torch.tensor(0.0), torch.tensor(16.0))
    model = MLP([64, 16, 10], activation="tanh")
    rule = ES(lr=0.03, population=100, sigma=0.05)
    rows = len(digits.train)
    run = fit(
        model, digits, rule=rule, epochs=generations, batch_size=rows, seed=seed, verbose=False
    )
    return run.evaluate("test")["accuracy"]
