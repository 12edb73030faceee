"""One function, approximated by construction and by learning."""

from typing import Any

import torch
from torch import Tensor, nn

from neurarium.learning import Backprop
from neurarium.networks import MLP, bump_network
from neurarium.objectives import supervised
from neurarium.recipes.reproduction import recipe
from neurarium.training import fit


@recipe(
    source="Nielsen (2015), Neural Networks and Deep Learning, chapter 4; Cybenko (1989)",
    figure="largest error, shrunk per doubling of the pieces",
    expect=(1.9, 2.1),
    minutes=0.2,
    quick={"epochs": 300},
)
def universal_approximation(seed: int = 0, epochs: int = 3000) -> dict[str, float]:
    """The book's wiggly function on [0, 1]: bumps written down, and 50 sigmoids that learn.

    The bumps' error is bounded by theory; the learnt network has far fewer units for its error,
    and nothing guarantees it. The book shows pictures and publishes no errors.
    """

    def f(x: Tensor) -> Tensor:
        return 0.2 + 0.4 * x**2 + 0.3 * x * torch.sin(15 * x) + 0.05 * torch.cos(50 * x)

    grid = torch.linspace(0, 1, 20_001)[:, None]

    def largest_error(model: nn.Module) -> float:
        return (model(grid) - f(grid)).abs().max().item()

    constructed = {n: largest_error(bump_network(f, 0, 1, n)) for n in (50, 100, 200, 400, 800)}
    x = torch.linspace(0, 1, 400)[:, None]
    learnt = MLP([1, 50, 1], activation="sigmoid")
    with torch.no_grad():  # steps all over the interval; the usual start has none within it
        first: Any = learnt.layers[0]
        slopes = 40 * torch.randn(50, 1)
        first.weight.copy_(slopes)
        first.bias.copy_(-slopes[:, 0] * torch.rand(50))
    rule = Backprop("adam", lr=0.01, schedule="cosine")
    fit(
        learnt,
        (x, f(x)),
        supervised("mse"),
        rule,
        epochs=epochs,
        batch_size=400,
        seed=seed,
        verbose=False,
    )
    return {
        "per doubling": (constructed[100] / constructed[800]) ** (1 / 3),
        **{f"{n} pieces, constructed": error for n, error in constructed.items()},
        "50 units, learnt": largest_error(learnt),
    }
