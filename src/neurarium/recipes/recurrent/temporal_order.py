"""Which symbol came first? A tanh network by plain descent, with and without clipping."""

import contextlib

import torch
from torch import nn

from neurarium.data import Data
from neurarium.data.synthetic import temporal_order as task
from neurarium.layers.recurrent import recurrent_
from neurarium.learning import Backprop, NonFiniteError
from neurarium.networks import SequenceClassifier
from neurarium.recipes.reproduction import recipe
from neurarium.training import fit


@recipe(
    source="Pascanu, Mikolov & Bengio (2013), arXiv:1211.5063, section 4.1",
    figure="test accuracy with clipping, T = 20",
    expect=(0.9, None),
    minutes=0.1,
    quick={"rows": 6400, "epochs": 2},
    quick_expect=(0.9, None),
)
def temporal_order(
    seed: int = 0, rows: int = 6400, epochs: int = 2, length: int = 20, lr: float = 0.1
) -> dict[str, float]:
    """Two symbols among distractors, in four orders: 50 tanh units, orthogonal at first, SGD.

    Batches of 20, gradients clipped to norm 1 or not at all. The paper's sequences are 50 to 200
    steps long, its training up to five million of them; here they are 20.
    """
    data = Data(task(rows, length, seed), None, task(1000, length, seed + 10**6))

    def accuracy(clip: float | None) -> float:
        torch.manual_seed(seed)
        model = SequenceClassifier(6, 4, cell="rnn", hidden=50)
        recurrent_(model.recurrent, "orthogonal")
        nn.init.zeros_(model.out.bias)
        run = None
        with contextlib.suppress(NonFiniteError):
            run = fit(
                model, data, rule=Backprop("sgd", lr=lr, max_grad_norm=clip), epochs=epochs,
                batch_size=20, seed=seed, precision="32", verbose=False,
            )  # fmt: skip
        return run.evaluate("test")["accuracy"] if run else 0.0

    return {"clipped to 1": accuracy(1.0), "not clipped": accuracy(None)}
