"""Symbols to be kept through a wait, and said again: a gated network and a tanh network."""

from neurarium.data import Data
from neurarium.data.synthetic import copy_memory as task
from neurarium.learning import Backprop
from neurarium.networks import SequenceTagger
from neurarium.objectives import per_step
from neurarium.recipes.reproduction import recipe
from neurarium.training import fit


@recipe(
    source="Hochreiter & Schmidhuber (1997), Neural Computation 9(8), in the form of "
    "arXiv:1511.06464",
    figure="share of 5 symbols recalled after 20 steps, GRU",
    expect=(0.75, None),
    minutes=0.5,
    quick={"delay": 6, "epochs": 4},
    quick_expect=(0.5, None),
)
def copy_memory(
    seed: int = 0, delay: int = 20, items: int = 5, rows: int = 3200, epochs: int = 12
) -> dict[str, float]:
    """Five of four symbols, a wait of 20 steps, a sign; a guess recalls a quarter of them.

    Networks of 64 units, Adam at 0.005, gradients clipped to norm 1, batches of 32. The papers wait
    100 to 1,000 steps and train for hours.
    """
    train, test = (task(n, delay, 4, items, s) for n, s in ((rows, seed), (512, seed + 10**6)))
    data = Data(train, None, test)

    def recalled(cell: str) -> float:
        model = SequenceTagger(8, 6, vocabulary=6, cell=cell, hidden=64)
        rule = Backprop("adam", lr=5e-3, max_grad_norm=1.0)
        run = fit(
            model, data, per_step(), rule,
            epochs=epochs, batch_size=32, seed=seed, precision="32", verbose=False,
        )  # fmt: skip
        output, target = run.outputs("test")
        return float((output.argmax(2) == target)[:, -items:].float().mean())

    return {"GRU": recalled("gru"), "tanh": recalled("rnn")}
