"""Two marked numbers of a hundred are to be added: which networks remember the first?"""

import torch

from neurarium.data import Data
from neurarium.data.synthetic import adding
from neurarium.layers.recurrent import recurrent_
from neurarium.learning import Backprop
from neurarium.networks import SequenceClassifier
from neurarium.recipes.reproduction import recipe
from neurarium.training import fit


@recipe(
    source="Hochreiter & Schmidhuber (1997), Neural Computation 9(8), task 4, in the form of "
    "arXiv:1504.00941",
    figure="test mean squared error, LSTM",
    expect=(None, 0.01),
    minutes=2,
    quick={"length": 10, "rows": 16_000, "cells": ("GRU",)},
    quick_expect=(None, 0.03),
)
def adding_problem(
    seed: int = 0,
    length: int = 100,
    rows: int = 96_000,
    cells: tuple[str, ...] = ("LSTM", "GRU", "IRNN", "tanh"),
) -> dict[str, float]:
    """Sequences of 100 steps, 64 units; to say always 1 costs 0.167.

    The IRNN is a network of rectifiers whose recurrent matrix starts as the identity; the LSTM's
    forget biases start at 1. Each reads 96,000 sequences once, by Adam at 0.01 in batches of 64,
    gradients clipped to norm 1. Departures: the paper of 1997 has 4 memory cells, numbers in
    [-1, 1] and a step after each sequence; that of 2015 has 100 units, 150 to 400 steps and many
    passes over 100,000 sequences, after which an IRNN is as good. Here it has not begun to learn.
    """
    data = Data(adding(rows, length, seed), None, adding(1000, length, seed + 10**6))
    names = {"LSTM": "lstm", "GRU": "gru", "IRNN": "rnn:activation=relu", "tanh": "rnn"}

    def error(cell: str) -> float:
        torch.manual_seed(seed)
        model = SequenceClassifier(2, 1, cell=names[cell], hidden=64)
        if cell == "IRNN":
            recurrent_(model.recurrent, "identity")
        run = fit(
            model, data, rule=Backprop("adam", lr=0.01, max_grad_norm=1.0),
            epochs=1, batch_size=64, metrics={}, seed=seed, precision="32", verbose=False,
        )  # fmt: skip
        output, target = run.outputs("test")
        return float((output.squeeze(1) - target).square().mean())

    return {cell: error(cell) for cell in cells}
