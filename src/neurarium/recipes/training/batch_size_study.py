"""Batch sizes against learning rates at equal epochs."""

import torch

from neurarium.data import MinMax, load
from neurarium.learning import Backprop, NonFiniteError
from neurarium.networks import MLP
from neurarium.recipes.reproduction import recipe
from neurarium.training import fit


@recipe(
    source="Masters & Luschi (2018), arXiv:1804.07612",
    figure="best test accuracy over rates at the second smallest batch, less that at the largest",
    expect=(0.05, 0.15),
    minutes=0.8,
    quick={"batch_sizes": (8, 32, 512), "exponents": (-10, -8, -6), "epochs": 3},
    quick_expect=(0.05, None),
)
def batch_size_study(
    seed: int = 0,
    epochs: int = 10,
    batch_sizes: tuple[int, ...] = (2, 8, 32, 128, 512),
    exponents: tuple[int, ...] = (-12, -10, -8, -6, -4),
) -> dict[str, float]:
    """The rate per row that still trains falls as the batch grows, and with it the accuracy.

    A 64-100-10 network on the 8 x 8 digits by plain SGD. The rate of a step is the batch size
    times the rate per row, so that a column of the table, read downwards, changes the batch alone.
    What diverges counts 0. The paper finds the same with deep networks on CIFAR and ImageNet over
    many more epochs; with only ten, large batches are also short of steps.
    """
    digits = load("digits", val_size=0)
    digits.transform = MinMax(torch.tensor(0.0), torch.tensor(16.0))

    def accuracy(batch_size: int, exponent: int) -> float:
        torch.manual_seed(seed)
        model, rule = MLP([64, 100, 10]), Backprop("sgd", lr=2.0**exponent * batch_size)
        try:
            run = fit(model, digits, rule=rule, epochs=epochs, batch_size=batch_size, seed=seed,
                      verbose=False)  # fmt: skip
        except NonFiniteError:
            return 0.0
        return run.evaluate("test")["accuracy"]

    table = {(m, e): accuracy(m, e) for m in batch_sizes for e in exponents}
    best = {m: max(table[m, e] for e in exponents) for m in batch_sizes}
    usable = {
        m: sum(table[m, e] > 0.9 * max(best.values()) for e in exponents) for m in batch_sizes
    }
    return {
        "gain": best[batch_sizes[1]] - best[batch_sizes[-1]],
        **{f"rates within a tenth of the best, batch {m}": n for m, n in usable.items()},
        **{f"batch {m}, rate per row 2^{e}": value for (m, e), value in table.items()},
    }
