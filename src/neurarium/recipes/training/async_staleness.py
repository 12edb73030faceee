"""How stale a gradient may be before descent diverges."""

import math

import torch
from torch import nn

from neurarium.data import MinMax, load
from neurarium.learning import Backprop
from neurarium.networks import MLP
from neurarium.recipes.reproduction import recipe
from neurarium.training import fit
from neurarium.training.distributed import SimulatedWorkers


@recipe(
    source="Levin & May (1976), A note on difference-delay equations, Theor. Popul. Biol. 9(2)",
    figure="largest stable rate at staleness 7, relative to 2 sin(pi / 30)",
    expect=(0.99, 1.01),
    minutes=0.2,
    quick={"halvings": 7, "epochs": 2, "delays": (0, 7)},
)
def async_staleness(
    seed: int = 0,
    halvings: int = 12,
    epochs: int = 10,
    delays: tuple[int, ...] = (0, 1, 3, 7, 15),
) -> dict[str, float]:
    """Asynchronous descent on a parabola, then on the digits, by gradients of growing age.

    By theory w <- w - r w(t - d) on a parabola of curvature 1 is stable for rates r up to
    2 sin(pi / (4 d + 2)); the source has it for populations. Eight workers that take turns, d = 7,
    stand a tenth of what one does (r < 2). On the digits, a 64-100-10 network at rate .4, the
    accuracy falls likewise with d.
    """

    def grows(rate: float, delay: int) -> bool:
        model = nn.Linear(1, 1, bias=False).double()
        rule = SimulatedWorkers(delay + 1, "async", rule=Backprop("sgd", lr=rate))
        rule.bind(model, lambda model, batch: model(batch["input"]).square().mean() / 2)
        batch = {"input": torch.ones(1, 1, dtype=torch.float64)}
        losses = [float(rule.step(batch)["loss"]) for _ in range(400)]
        return max(losses[300:]) > max(losses[200:300])

    low, high = 0.5 * _stable(7), 1.5 * _stable(7)
    for _ in range(halvings):
        middle = (low + high) / 2
        low, high = (low, middle) if grows(middle, 7) else (middle, high)
    table = {"relative to theory": (low + high) / 2 / _stable(7)}

    digits = load("digits", val_size=0)
    digits.transform = MinMax(torch.tensor(0.0), torch.tensor(16.0))
    for delay in delays:
        torch.manual_seed(seed)
        rule = SimulatedWorkers(delay + 1, "async", rule=Backprop("sgd", lr=0.4))
        model = MLP([64, 100, 10])
        run = fit(model, digits, rule=rule, epochs=epochs, seed=seed, verbose=False)
        table[f"digits, {delay} steps old"] = run.evaluate("test")["accuracy"]
    return table


def _stable(delay: int) -> float:
    """The greatest rate at which the delayed descent on a parabola does not diverge."""
    return 2 * math.sin(math.pi / (4 * delay + 2))
