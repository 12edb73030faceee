"""A character model trained by freeing its hidden states, beside backpropagation through time."""

import functools
import math
import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from neurarium.data import Batch, Data
from neurarium.learning import Backprop
from neurarium.objectives import Objective
from neurarium.recipes.reproduction import recipe
from neurarium.training import fit


class Recurrent(nn.Module):
    """Elman's network from one-hot characters: each state from the one before, then the next."""

    def __init__(self, characters: int, hidden: int) -> None:
        super().__init__()
        self.symbol = nn.Embedding(characters, hidden)
        self.recurrent = nn.Linear(hidden, hidden)
        self.out = nn.Linear(hidden, characters)
        nn.init.normal_(self.symbol.weight, std=0.1)
        nn.init.orthogonal_(self.recurrent.weight)

    def following(self, states: Tensor, characters: Tensor) -> Tensor:
        """f(h, x) at any places of a text at once."""
        return torch.tanh(self.recurrent(states) + self.symbol(characters))

    def forward(self, characters: Tensor) -> Tensor:
        """All states of each window, from zero."""
        h = self.recurrent.weight.new_zeros(len(characters), self.recurrent.out_features)
        states = []
        for x in characters.unbind(1):
            h = self.following(h, x)
            states.append(h)
        return torch.stack(states, dim=1)


def surprise(model: Recurrent, states: Tensor, batch: Batch) -> Tensor:
    """Nats per character."""
    return F.cross_entropy(model.out(states).flatten(0, 1), batch["target"].flatten())


def lifted(model: Recurrent, states: Tensor, batch: Batch, mu: float) -> Tensor:
    """What states and weights minimize in turn: the surprise, and states off the network's own."""
    before = F.pad(states[:, :-1], (0, 0, 1, 0))
    off = states - model.following(before, batch["input"])
    return surprise(model, states, batch) + mu * off.square().sum(2).mean()


@recipe(
    source="Wiseman, Chopra, Ranzato, Szlam, Sun, Chintala & Vasilache (2017), arXiv:1702.04770",
    figure="perplexity per character, target propagation",
    expect=(12.0, 17.0),  # 10.4 through time, 20.4 where the states are not moved
    minutes=1,
    quick={"characters": 40_000, "epochs": 2, "moves": 2, "others": False},
    quick_expect=(8.0, 19.0),  # 22.6 where the states are not moved
    needs=("tinyshakespeare",),
)
def tp_language_model(
    seed: int = 0,
    characters: int = 150_000,
    epochs: int = 4,
    moves: int = 3,
    others: bool = True,
) -> dict[str, float]:
    """Free the states, move them to where the text is likelier, and let the weights follow.

    64 tanh units read windows of 32 characters of Shakespeare. In each batch the states start
    where the network puts them, where the penalty is 0; three steps move them a little, then the
    weights step to explain them (moved far, states tell the output layer the answers). As the
    paper found, it learns, and backpropagation through time learns more: 14.1 and 10.4 with seed 0.
    States that are not moved leave the recurrent weights as they are: 20.4. The paper's texts,
    networks and other ways to split the problem are not repeated: the first characters of the
    file train, the last 50,000 test.
    """
    text = (Path(os.environ["NEURARIUM_DATA"]) / "tinyshakespeare" / "input.txt").read_text()
    alphabet = {character: index for index, character in enumerate(sorted(set(text)))}

    def windows(part: str) -> dict[str, Tensor]:
        codes = torch.tensor([alphabet[character] for character in part])
        rows = codes.unfold(0, 33, 32)
        return {"input": rows[:, :-1].contiguous(), "target": rows[:, 1:].contiguous()}

    data, held_out = Data(windows(text[:characters])), windows(text[-50_000:])

    def through_time(model: Any, batch: Batch) -> Tensor:
        return surprise(model, model(batch["input"]), batch)

    def by_targets(model: Any, batch: Batch, moves: int = moves) -> Tensor:
        with torch.no_grad():
            states = model(batch["input"])
        for _ in range(moves):
            states.requires_grad_()
            value = lifted(model, states, batch, 1.0) * batch["input"].numel()
            (slope,) = torch.autograd.grad(value, states)
            states = (states - 0.005 * slope).detach()
        return lifted(model, states, batch, 1.0)

    def perplexity(objective: Objective) -> float:
        torch.manual_seed(seed)
        model = Recurrent(len(alphabet), 64)
        fit(
            model, data, objective, Backprop("adam", lr=0.01), epochs=epochs, batch_size=32,
            seed=seed, verbose=False,
        )  # fmt: skip
        with torch.no_grad():
            return math.exp(through_time(model, held_out))

    figure = {"target propagation": perplexity(by_targets)}
    if not others:
        return figure
    return figure | {
        "backpropagation through time": perplexity(through_time),
        "states not moved": perplexity(functools.partial(by_targets, moves=0)),
    }
