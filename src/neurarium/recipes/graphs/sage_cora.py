"""Answers about papers that did not exist in training."""

from typing import Any

import torch

from neurarium.data import Graph, load, node_data
from neurarium.graphs import GraphSAGE
from neurarium.learning import Backprop
from neurarium.recipes.reproduction import recipe
from neurarium.training import EarlyStopping, fit


@recipe(
    source="Hamilton, Ying & Leskovec (2017), GraphSAGE, arXiv:1706.02216, inductive, on Cora",
    figure="accuracy on nodes not in the training graph",
    expect=(0.785, None),
    minutes=0.1,
    quick={"epochs": 60},
    quick_expect=(0.72, None),
    needs=("planetoid",),
)
def sage_cora(seed: int = 0, epochs: int = 300) -> dict[str, float]:
    """Trained on the graph without the 1,000 test papers and their citations, then shown all.

    Two layers of means, 16 features between, dropout 0.5, L2 of 5e-4; the paper's figures are of
    other graphs. Its scaling of every node's features to length 1 is worse here.
    """
    whole: Any = load("cora").transform.graph  # type: ignore[union-attr]
    kept = ~whole.test_mask
    number = kept.cumsum(0) - 1
    inside = kept[whole.edge_index].all(0)
    known = Graph(
        whole.x.to_dense()[kept].to_sparse_csr(),
        number[whole.edge_index[:, inside]],
        y=whole.y[kept],
        train_mask=whole.train_mask[kept],
        val_mask=whole.val_mask[kept],
    )
    test = whole.test_mask.nonzero().flatten()

    def accuracy(normalize: bool) -> float:
        torch.manual_seed(seed)
        model = GraphSAGE(1433, 16, 7, normalize=normalize)
        rule = Backprop("adam", lr=0.01, weight_decay=5e-4)
        stop = [EarlyStopping(patience=50)]
        how: dict[str, Any] = {"seed": seed, "callbacks": stop, "verbose": False}
        fit(model, node_data(known), rule=rule, epochs=epochs, **how)
        with torch.no_grad():
            answer = model.eval()(whole.asking(test)).argmax(1)
        return float((answer == whole.y[test]).float().mean())

    return {"means": accuracy(False), "means, scaled to length 1": accuracy(True)}
