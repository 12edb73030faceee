"""Filters on the frequencies of one graph: digits seen through 48 pixels in no order."""

from functools import partial
from typing import Any

import torch

from neurarium.data import Data, Graph, MinMax, load
from neurarium.graphs import ChebConv, SignalNetwork, SpectralConv, nearest_neighbours
from neurarium.learning import Backprop
from neurarium.recipes.reproduction import recipe
from neurarium.training import fit


@recipe(
    source="Bruna, Zaremba, Szlam & LeCun (2014), arXiv:1312.6203, on the digits of UCI",
    figure="test accuracy from 48 pixels",
    expect=(0.78, None),
    minutes=0.5,
    quick={"epochs": 8, "compared": False},
    quick_expect=(0.4, None),
)
def spectral_digits(seed: int = 0, epochs: int = 60, compared: bool = True) -> dict[str, float]:
    """Two layers of 32 filters, each a spline through 8 points of the spectrum, then means.

    Pixels are drawn at random from the 64 and joined to their nearest neighbours. The last layer
    sees the mean over the nodes only, so that filters must do what is done (a linear layer on the
    pixels has 96.7 %). Compared is the same network with Chebyshev filters of three terms, on all
    pixels: functions of the eigenvalue alone, which SpectralConv's are too, but local ones.
    """
    digits = load("digits", val_size=0)
    scale = MinMax(torch.tensor(0.0), torch.tensor(16.0))
    places = torch.cartesian_prod(torch.arange(8.0), torch.arange(8.0))
    chosen = torch.randperm(64, generator=torch.Generator().manual_seed(seed))[:48].sort().values

    def accuracy(pixels: torch.Tensor, conv: Any) -> float:
        graph = nearest_neighbours(places[pixels], 4)
        train, test = (
            (split.tensors["input"].flatten(1)[:, pixels], split.tensors["target"])  # type: ignore[union-attr]
            for split in (digits.train, digits.test)
        )
        data = Data(train, test=test, transform=scale)
        torch.manual_seed(seed)
        model = SignalNetwork(graph, 10, conv(graph), hidden=32, layers=2, readout="mean")
        rule = Backprop("adam", lr=5e-3, schedule="one_cycle")
        how: dict[str, Any] = {"batch_size": 32, "seed": seed, "verbose": False}
        run = fit(model, data, rule=rule, epochs=epochs, **how)
        return run.evaluate("test")["accuracy"]

    def spectral(graph: Graph) -> partial[SpectralConv]:
        return partial(SpectralConv, graph, control_points=8)

    found = {"48 pixels": accuracy(chosen, spectral)}
    if compared:
        found["ChebConv, all pixels"] = accuracy(torch.arange(64), lambda graph: ChebConv)
    return found
