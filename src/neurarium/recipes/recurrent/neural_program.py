"""Programs found from answers alone: sums, and counts of what is greater than a number."""

from typing import Any

import torch

from neurarium.data import Data
from neurarium.learning import Backprop
from neurarium.networks import NeuralProgrammer
from neurarium.objectives import table_answer
from neurarium.recipes.reproduction import recipe
from neurarium.training import Callback, fit


@recipe(
    source="Neelakantan, Le & Sutskever (2016), arXiv:1511.04834, section 3",
    figure="answers within 0.01",
    expect=(0.95, None),
    minutes=0.5,
    quick={"rows": 1600, "epochs": 8, "others": False},
    quick_expect=(0.95, None),
)
def neural_program(
    seed: int = 0, rows: int = 6400, epochs: int = 10, others: bool = True
) -> dict[str, float]:
    r"""One column of eight numbers; "sum", or "count greater x", half of the questions each.

    Adam at 0.003, gradients clipped to norm 1, batches of 64. At 0.01 the choice of an operation
    is settled before the others were tried, and of some starts "count" is never found: such a run
    is right on about half. Noise on the gradients helps there, of variance
    $\eta / (1 + t)^{0.55}$ with $\eta = 0.1$, but at 0.003 it is not needed. Departures: the paper
    asks for up to four operations, of several columns, and chooses the best of many runs.
    """
    test = _questions(1000, seed + 10**6)

    def answered(lr: float, noise: float = 0.0) -> float:
        torch.manual_seed(seed)
        run = fit(
            NeuralProgrammer(vocab=4, columns=1, hidden=32, steps=2),
            Data(_questions(rows, seed)), table_answer(),
            Backprop("adam", lr=lr, max_grad_norm=1.0), epochs=epochs, batch_size=64, seed=seed,
            callbacks=[_Noise(noise)], metrics=(), precision="32", verbose=False,
        )  # fmt: skip
        with torch.no_grad():
            told: Any = table_answer()(run.model.eval(), test)
        return float(told["accuracy"])

    found = {"Adam at 0.003": answered(0.003)}
    if others:
        found |= {"at 0.01": answered(0.01), "at 0.01, with noise": answered(0.01, 0.1)}
    return found


class _Noise(Callback):
    """On the gradients, after they were clipped, less and less."""

    def __init__(self, variance: float) -> None:
        self.variance = variance

    def on_before_optimizer_step(self, trainer: Any) -> None:
        spread = (self.variance / (1 + trainer.step) ** 0.55) ** 0.5
        for parameter in trainer.model.parameters():
            if spread and parameter.grad is not None:
                parameter.grad.add_(torch.randn_like(parameter.grad), alpha=spread)


def _questions(count: int, seed: int) -> dict[str, torch.Tensor]:
    """Token 0 is "sum"; 1, 2, 3 are "count", "greater" and the number."""
    draw = torch.Generator().manual_seed(seed)
    table = torch.randint(-10, 11, (count, 8, 1), generator=draw) / 10
    number = torch.randint(-8, 8, (count, 1), generator=draw) / 10 + 0.05
    counts = torch.rand(count, 1, generator=draw) < 0.5
    greater = (table[..., 0] > number).float().sum(1)
    return {
        "input": torch.where(counts, torch.tensor([1, 2, 3]), 0),
        "length": torch.where(counts, 3, 1).squeeze(1),
        "table": table,
        "numbers": number,
        "places": torch.where(counts, 2, -1),
        "target": torch.where(counts.squeeze(1), greater, table.sum((1, 2))),
    }
