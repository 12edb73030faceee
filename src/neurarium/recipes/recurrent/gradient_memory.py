"""How much of a gradient is left a hundred steps back, in five networks at their start."""

import torch

from neurarium.data.synthetic import adding
from neurarium.explain import gradient_through_time
from neurarium.layers.recurrent import recurrent_
from neurarium.networks import SequenceClassifier
from neurarium.recipes.reproduction import Curves, recipe

_CELLS = {
    "IRNN": "rnn:activation=relu",
    "LSTM with forget bias 1": "lstm",
    "LSTM with forget bias 0": "lstm:forget_bias=0",
    "GRU": "gru",
    "tanh": "rnn",
}


@recipe(
    source="Pascanu, Mikolov & Bengio (2013), arXiv:1211.5063, section 2; IRNN: Le, Jaitly & "
    "Hinton (2015), arXiv:1504.00941; forget bias: Jozefowicz, Zaremba & Sutskever (2015)",
    figure="factor per step back, IRNN",
    expect=(0.99, 1.001),
    minutes=0.1,
    quick={"rows": 8},
)
def gradient_memory(
    seed: int = 0, length: int = 100, rows: int = 64, hidden: int = 64
) -> dict[str, float | Curves]:
    """The adding problem before any training, 64 units, in double precision.

    Measured is the gradient that reaches a cell's outputs so many steps before the last, as a share
    of that at the last. The rectifiers of an IRNN lose it only where they are silent. A tanh
    network's recurrent matrix, from U(-1/8, 1/8), has a spectral radius near 0.58, which is about
    the factor per step. Forget gates that start open, by a bias of 1, let more through.
    """
    found: dict[str, float | Curves] = {}
    curves: Curves = {}
    batch = {"input": adding(rows, length, seed)["input"].double()}
    for name, cell in _CELLS.items():
        torch.manual_seed(seed)
        model = SequenceClassifier(2, 1, cell=cell, hidden=hidden).double()
        if name == "IRNN":
            recurrent_(model.recurrent, "identity")
        told = gradient_through_time(model, batch)
        found[name] = told.rate
        curves[f"at the start, {name}"] = (told.norms[1:] / told.norms[0]).tolist()
    return found | {"share of the gradient by steps back": curves}
