"""A recurrent network on a hundred steps of time, with and without clipped gradients."""

import contextlib
import math
from typing import Any

import torch
from torch import Tensor, nn

from neurarium.data import Batch, Data
from neurarium.learning import Backprop, NonFiniteError
from neurarium.recipes.reproduction import recipe
from neurarium.training import fit
from neurarium.training.callbacks import Clip


@recipe(
    source="Pascanu, Mikolov & Bengio (2013), arXiv:1211.5063, section 3.2",
    figure="steps until the loss is not finite, without clipping",
    expect=(5, 90),
    minutes=0.1,
    quick={"length": 60},
)
def clipping_rnn(seed: int = 0, length: int = 100, steps: int = 100) -> dict[str, float]:
    """The adding task by a tanh network whose recurrent weights are large: clipping or infinity.

    Two of the numbers in a sequence are marked, their sum is wanted. The recurrent matrix is
    N(0, 1.5^2/32), so gradients explode through time; plain descent at rate 0.1 on batches of 64.
    The paper trains to the end, with a threshold chosen per task; here the norm is clipped to 1
    and training ends after 100 batches, when the network has learnt no more than the mean of the
    sums, whose variance is 1/6: clipping keeps the loss finite, it does not carry memory.
    """
    rows = 64 * steps
    values, marks = torch.rand(rows, length), torch.zeros(rows, length)
    marks.scatter_(1, torch.randint(length // 2, (rows, 1)), 1)
    marks.scatter_(1, torch.randint(length // 2, length, (rows, 1)), 1)
    data = Data((torch.stack([values, marks], dim=2), (values * marks).sum(1)))
    losses: list[float] = []

    def objective(model: Any, batch: Batch) -> Tensor:
        states, _ = model["rnn"](batch["input"])
        loss = (model["out"](states[:, -1]).squeeze(1) - batch["target"]).square().mean()
        losses.append(loss.item())
        return loss

    def train(*callbacks: Clip) -> int:
        """Steps until the end, or until the loss is not finite."""
        torch.manual_seed(seed)
        rnn = nn.RNN(2, 32, batch_first=True)
        nn.init.normal_(rnn.all_weights[0][1], std=1.5 / math.sqrt(32))
        model = nn.ModuleDict({"rnn": rnn, "out": nn.Linear(32, 1)})
        rule = Backprop("sgd", lr=0.1)
        with contextlib.suppress(NonFiniteError):
            fit(
                model,
                data,
                objective,
                rule,
                epochs=1,
                batch_size=64,
                seed=seed,
                precision="32",
                callbacks=callbacks,
                verbose=False,
            )
        return rule.steps

    free = train()
    clipped = train(Clip(norm=1.0))
    return {
        "without": free,
        "steps with the norm clipped to 1": clipped,
        "last loss with the norm clipped to 1": losses[-1],
    }
