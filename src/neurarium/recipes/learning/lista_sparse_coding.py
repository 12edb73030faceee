"""Sparse codes in sixteen layers, learnt, against sixteen steps of iterative shrinkage."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from neurarium.data import Data
from neurarium.learning import Backprop
from neurarium.networks import LISTA, ista
from neurarium.objectives import supervised
from neurarium.recipes.reproduction import recipe
from neurarium.training import fit


@recipe(
    source="Gregor & LeCun (2010), ICML",
    figure="decibels under ISTA at equal depth",
    expect=(3, None),
    minutes=1.5,
    quick={"rows": 40, "atoms": 80, "layers": 8, "steps": 120},
    quick_expect=(1.5, None),
)
def lista_sparse_coding(
    seed: int = 0, rows: int = 250, atoms: int = 500, layers: int = 16, steps: int = 600
) -> dict[str, float]:
    r"""Codes of which a tenth is not zero, from half as many numbers, without noise.

    Errors are $\lVert \hat x - x \rVert^2 / \lVert x \rVert^2$ in decibels on 1000 new signals.
    ISTA has the best of six $\lambda$, chosen for its number of steps on training signals; the
    network starts from there. The source has codes of natural images as targets; this is the
    setting of later work on random dictionaries.
    """
    dictionary = F.normalize(torch.randn(rows, atoms), dim=0)

    def signals(count: int) -> tuple[Tensor, Tensor]:
        codes = torch.randn(count, atoms) * (torch.rand(count, atoms) < 0.1)
        return codes @ dictionary.T, codes

    def decibels(found: Tensor, codes: Tensor) -> float:
        return 10 * math.log10((found - codes).square().sum() / codes.square().sum())

    train, (y, x) = signals(64 * steps), signals(1000)
    lambdas = (0.02, 0.05, 0.1, 0.2, 0.3, 0.4)

    def best(depth: int) -> float:
        some, codes = (part[:1000] for part in train)
        return min(lambdas, key=lambda lam: decibels(ista(some, dictionary, lam, depth), codes))

    lam = best(layers)
    model = LISTA(dictionary, layers, lam=lam)
    fit(
        model, Data(train), supervised("quadratic_cost"), Backprop("adam", 1e-3, "cosine"),
        epochs=1, batch_size=64, metrics=(), seed=seed, verbose=False, precision="32",
    )  # fmt: skip
    with torch.no_grad():
        learnt = decibels(model(y), x)
    plain = decibels(ista(y, dictionary, lam, layers), x)
    return {
        "gain": plain - learnt,
        f"LISTA, {layers} layers": learnt,
        f"ISTA, {layers} steps": plain,
        "ISTA, 200 steps": decibels(ista(y, dictionary, best(200), 200), x),
    }
