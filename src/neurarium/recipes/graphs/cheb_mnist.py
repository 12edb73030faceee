"""Digits as signals on a graph of pixels that knows no left and right."""

from typing import Any

import torch

from neurarium.data import Data, load
from neurarium.graphs import SignalNetwork, nearest_neighbours
from neurarium.learning import Backprop
from neurarium.recipes.reproduction import recipe
from neurarium.training import fit


@recipe(
    source="Defferrard, Bresson & Vandergheynst (2016), arXiv:1606.09375, Table 1, scaled down",
    figure="gain in test accuracy of 20 Chebyshev terms over one",
    expect=(0.04, None),
    minutes=1.5,
    quick={"images": 1000, "epochs": 3, "tests": 1000},
    quick_expect=(0.02, None),
    needs=("mnist",),
)
def cheb_mnist(
    seed: int = 0, images: int = 6000, tests: int = 5000, epochs: int = 15
) -> dict[str, float]:
    """Ten filters on the 8-nearest-neighbour graph of the pixels, then one linear layer.

    The paper has 99.14 % with two such layers of more filters, graph coarsening and all 60,000
    images; here one layer and the first 6,000. One term is a network on each pixel alone: the graph
    plays no part in it.
    """
    mnist = load("mnist", val_size=0)
    train, test = (
        {key: value[:count] for key, value in split.tensors.items()}  # type: ignore[union-attr]
        for split, count in ((mnist.train, images), (mnist.test, tests))
    )
    data = Data(train, test=test, transform=mnist.transform)
    pixels = torch.cartesian_prod(torch.arange(28.0), torch.arange(28.0))
    grid = nearest_neighbours(pixels, 8)

    def accuracy(terms: int) -> float:
        torch.manual_seed(seed)
        model = SignalNetwork(grid, 10, f"ChebConv:K={terms}")
        rule = Backprop("adam", lr=2e-3, weight_decay=5e-4)
        how: dict[str, Any] = {"batch_size": 100, "seed": seed, "verbose": False}
        run = fit(model, data, rule=rule, epochs=epochs, **how)
        return run.evaluate("test")["accuracy"]

    graph, alone = accuracy(20), accuracy(1)
    return {"gain": graph - alone, "20 terms": graph, "1 term": alone}
