"""The graph convolutional network on Cora."""

from typing import Any

import torch

from neurarium.data import load
from neurarium.graphs import GCN
from neurarium.learning import Backprop
from neurarium.recipes.reproduction import recipe
from neurarium.training import fit


@recipe(
    source="Kipf & Welling (2017), Semi-Supervised Classification with GCNs, Table 2",
    figure="test accuracy",
    published=0.815,
    expect=(0.807, None),
    minutes=0.1,
    quick={"epochs": 60},
    quick_expect=(0.72, None),
    needs=("planetoid",),
)
def gcn_cora(seed: int = 0, epochs: int = 200) -> float:
    """Two graph convolutions of 16 features between, 20 labels a class, the public split.

    As the authors: dropout 0.5, Adam at 0.01, L2 of 5e-4 on the first layer alone, the weights
    after 200 steps. They stop early, where the validation loss has not fallen for 10 steps.
    """
    cora = load("cora")
    torch.manual_seed(seed)
    model = GCN(1433, 16, 7)
    decayed, free = (list(conv.parameters()) for conv in model.convs)
    groups: list[dict[str, Any]] = [{"params": decayed, "weight_decay": 5e-4}, {"params": free}]
    rule = Backprop(torch.optim.Adam(groups, lr=0.01, fused=True))
    run = fit(model, cora, rule=rule, epochs=epochs, seed=seed, verbose=False)
    return run.evaluate("test")["accuracy"]
