"""With large random weights a learnt fingerprint is the circular one that it softened."""

import os
from collections import Counter
from pathlib import Path

import torch
from torch import Tensor

from neurarium.data import Graph, molecule
from neurarium.data.molecules import ATOM_FEATURES
from neurarium.graphs import NeuralFingerprint
from neurarium.recipes.reproduction import recipe


@recipe(
    source="Duvenaud et al. (2015), arXiv:1509.09292, figure 3",
    figure="correlation of distances between molecules, large random weights",
    published=0.823,
    expect=(0.77, None),
    minutes=0.1,
    quick={"molecules": 40},
    quick_expect=(0.75, None),
    needs=("esol",),
)
def ecfp_fingerprints(seed: int = 0, molecules: int = 120, radius: int = 4) -> dict[str, float]:
    """Distances of pairs of ESOL's molecules by circular fingerprints and by a random network.

    Both are counts, compared by 1 - sum(min) / sum(max). Circular fingerprints name an atom by its
    features, then four times by its name, its bonds and its neighbours' names; each name is counted
    once for each atom. The network is not trained; its weights are ten times a usual start's, or a
    tenth of it: then fingerprints are smooth, and agree less.
    """
    import pandas as pd

    path = Path(os.environ["NEURARIUM_DATA"]) / "esol" / "delaney-processed.csv"
    smiles = pd.read_csv(path)["smiles"].sample(molecules, random_state=seed)
    graphs = [molecule(text) for text in smiles]
    circular = [names_of(graph, radius) for graph in graphs]
    every = {name: place for place, name in enumerate(set().union(*circular))}
    counts = torch.zeros(molecules, len(every))
    for row, found in enumerate(circular):
        for name, count in found.items():
            counts[row, every[name]] = count
    truth = distances(counts)

    def correlation(scale: float) -> float:
        torch.manual_seed(seed)
        model = NeuralFingerprint(
            ATOM_FEATURES, 64, length=2048, radius=radius, batch_norm=False
        ).eval()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(scale)
            found = model.fingerprint(Graph.collate(graphs))
        return float(torch.corrcoef(torch.stack([truth, distances(found)]))[0, 1])

    return {"weights times 10": correlation(10), "weights times 0.1": correlation(0.1)}


def names_of(graph: Graph, radius: int) -> Counter[int]:
    """How often each circular neighbourhood of radius 0 to `radius` occurs."""
    assert graph.edge_attr is not None
    bonds = [tuple(bond) for bond in graph.edge_attr.tolist()]
    edges = list(zip(*graph.edge_index.tolist(), bonds, strict=True))
    names = [hash(tuple(atom)) for atom in graph.x.tolist()]
    found = Counter(names)
    for level in range(1, radius + 1):
        around: list[list[tuple[int, tuple[float, ...]]]] = [[] for _ in names]
        for source, target, bond in edges:
            around[target].append((names[source], bond))
        names = [hash((level, own, *sorted(near))) for own, near in zip(names, around, strict=True)]
        found.update(names)
    return found


def distances(counts: Tensor) -> Tensor:
    """1 - sum(min) / sum(max) of every pair of rows."""
    first, second = torch.triu_indices(len(counts), len(counts), 1)
    smaller = torch.minimum(counts[first], counts[second]).sum(1)
    return 1 - smaller / torch.maximum(counts[first], counts[second]).sum(1)
