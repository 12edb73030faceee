"""Sentences and words as one graph: opinions on films."""

import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import torch

from neurarium.data import Graph, node_data
from neurarium.graphs import GCN, text_graph
from neurarium.learning import Backprop
from neurarium.recipes.reproduction import recipe
from neurarium.training import EarlyStopping, fit


@recipe(
    source="Yao, Mao & Luo (2019), arXiv:1809.05679, Table 2: MR",
    figure="test accuracy",
    published=0.7674,
    expect=(0.74, None),
    minutes=3.0,
    quick={"sentences": 600, "hidden": 32, "epochs": 10},
    quick_expect=(0.52, None),
    needs=("rt-polarity",),
)
def text_gcn(seed: int = 0, sentences: int = 10_662, hidden: int = 200, epochs: int = 60) -> float:
    """Two graph convolutions on 10,662 sentences and their words, two thirds to train.

    Settings are the authors'; the cleaning of the text and the split (7,108 and 3,554, a tenth of
    the first to validate on, another for each seed) are ours. All sentences are in the graph from
    the beginning, so new ones need another graph.
    """
    folder = Path(os.environ["NEURARIUM_DATA"]) / "rt-polarity"
    docs, labels = [], []
    for label, name in enumerate(("rt-polarity.neg", "rt-polarity.pos")):
        lines = (folder / name).read_text(encoding="cp1252").splitlines()[: sentences // 2]
        docs += [" ".join(re.findall(r"[a-z0-9']+|[!?]", line.lower())) for line in lines]
        labels += [label] * len(lines)
    graph, words = text_graph(docs)
    order = np.random.default_rng(seed).permutation(len(docs))
    train, test = np.split(order, [len(docs) * 2 // 3])
    masks: dict[str, Any] = {}
    val, train = np.split(train, [len(train) // 10])
    for name, numbers in (("train", train), ("val", val), ("test", test)):
        mask = torch.zeros(graph.num_nodes, dtype=torch.bool)
        mask[torch.from_numpy(numbers)] = True
        masks[f"{name}_mask"] = mask
    y = torch.tensor(labels + [0] * len(words))
    graph = Graph(graph.x, graph.edge_index, edge_weight=graph.edge_weight, y=y, **masks)
    torch.manual_seed(seed)
    model = GCN(graph.num_nodes, hidden, 2, operator="sym")
    rule = Backprop("adam", lr=0.02)
    stop = [EarlyStopping(patience=10)]
    how: dict[str, Any] = {"seed": seed, "callbacks": stop, "verbose": False}
    run = fit(model, node_data(graph), rule=rule, epochs=epochs, **how)
    return run.evaluate("test")["accuracy"]
