"""From a network that ignores the graph to those that heed it, one rung at a time, on Cora."""

from collections.abc import Sequence

import torch
from torch import nn

from neurarium.data import load
from neurarium.graphs import GCN, ConcatAdjacency, GraphNetwork, GraphSAGE
from neurarium.learning import Backprop
from neurarium.recipes.reproduction import recipe
from neurarium.training import fit

_RUNGS = (
    "renormalized",
    "mlp",
    "[X, A]",
    "sum",
    "sum+self",
    "row",
    "cheb, degree 1",
    "cheb, degree 2",
    "cheb, degree 3",
    "cayley, order 1",
    "sage",
)


@recipe(
    source="Kipf & Welling (2017), Table 3, and the ladder of Kipf's notes",
    figure="test accuracy, renormalized",
    published=0.815,
    expect=(0.803, None),
    minutes=1.0,
    quick={"epochs": 50, "rungs": ("renormalized", "mlp", "row")},
    quick_expect=(0.7, None),
    needs=("planetoid",),
)
def cora_ladder(
    seed: int = 0, epochs: int = 200, rungs: Sequence[str] = _RUNGS
) -> dict[str, float]:
    """Networks of two layers and 16 features between, that differ only in how they mix neighbours.

    Kipf & Welling have 55.1 % for the network on features alone, 81.2 and 79.5 % for Chebyshev
    polynomials of degree 2 and 3. L2 of 5e-4 falls on all weights here. CayleyNet's systems are
    solved by ten Jacobi steps.
    """
    cora = load("cora")

    def trained(model: nn.Module) -> float:
        rule = Backprop("adam", lr=0.01, weight_decay=5e-4)
        run = fit(model, cora, rule=rule, epochs=epochs, seed=seed, verbose=False)
        return run.evaluate("test")["accuracy"]

    makers = {
        "mlp": lambda: GraphNetwork(1433, 16, 7, conv="ChebConv:K=1"),
        "[X, A]": lambda: ConcatAdjacency(1433, 2708, 16, 7),
        "sum": lambda: GCN(1433, 16, 7, operator="sum"),
        "sum+self": lambda: GCN(1433, 16, 7, operator="sum+self"),
        "row": lambda: GCN(1433, 16, 7, operator="row"),
        "renormalized": lambda: GCN(1433, 16, 7),
        "cheb, degree 1": lambda: GraphNetwork(1433, 16, 7, conv="ChebConv:K=2"),
        "cheb, degree 2": lambda: GraphNetwork(1433, 16, 7, conv="ChebConv:K=3"),
        "cheb, degree 3": lambda: GraphNetwork(1433, 16, 7, conv="ChebConv:K=4"),
        "cayley, order 1": lambda: GraphNetwork(
            1433, 16, 7, conv="CayleyConv:order=1,jacobi_steps=10"
        ),
        "sage": lambda: GraphSAGE(1433, 16, 7),
    }
    table = {}
    for rung in rungs:
        torch.manual_seed(seed)
        table[rung] = trained(makers[rung]())
    return table
