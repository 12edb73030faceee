"""Where in a sequence is its largest number: does attention point there?"""

import torch
from torch import Tensor

from neurarium.data import Data
from neurarium.layers.attention import recording
from neurarium.learning import Backprop
from neurarium.networks import SequenceClassifier
from neurarium.recipes.reproduction import recipe
from neurarium.training import fit


@recipe(
    source="Rémy, philipperemy/keras-attention, examples/find_max.py; Luong, Pham & Manning "
    "(2015), arXiv:1508.04025",
    figure="sequences in which the largest weight is on the largest number",
    expect=(0.95, None),
    minutes=1,
    quick={"rows": 24_000, "length": 5, "hidden": 32},
    quick_expect=(0.7, None),
)
def attention_find_max(
    seed: int = 0, rows: int = 200_000, length: int = 10, hidden: int = 64
) -> dict[str, float]:
    """Ten numbers from 0 to 1; what is to be said is the largest of them.

    An LSTM of 64 units in each direction reads the numbers, and its last states ask all others by
    the "general" score. Departure: there the network reads forwards alone, which has 0.968 here.
    """
    generator = torch.Generator().manual_seed(seed)
    train, test = (_numbers(n, length, generator) for n in (rows, 1000))
    model = SequenceClassifier(1, 1, hidden=hidden, bidirectional=True, pool="luong")
    rule = Backprop("adam", lr=0.01, schedule="one_cycle", max_grad_norm=1.0)
    run = fit(model, Data(train, test=test), rule=rule, epochs=1, batch_size=64, metrics={},
              seed=seed, precision="32", verbose=False)  # fmt: skip
    with recording() as maps:
        output, target = run.outputs("test")
    weights = torch.cat(maps).squeeze(1)
    hits = weights.argmax(1) == test["input"].argmax(1)
    error = (output.squeeze(1) - target).square().mean()
    return {"hits": float(hits.float().mean()), "mean squared error": float(error)}


def _numbers(rows: int, length: int, generator: torch.Generator) -> dict[str, Tensor]:
    x = torch.rand(rows, length, generator=generator)
    return {"input": x, "target": x.amax(1)}
