"""Sections on graphs: where the nodes lie, and whether neighbours help."""

import numpy as np
import torch

from neurarium.data.from_graph import Nodes
from neurarium.data.graph import Graph
from neurarium.graphs import GAT
from neurarium.report import figures
from neurarium.report.facts import Facts, SplitFacts
from neurarium.report.page import Html, element, paragraph, percent, section, table

_MOST_NODES, _MOST_EDGES = 3000, 4000
_MOST_CLASSES = 10


def graph_of(facts: Facts) -> Graph | None:
    """The graph whose nodes the rows are."""
    transform = None if facts.data is None else facts.data.transform
    return transform.graph if isinstance(transform, Nodes) else None


def of_nodes(facts: Facts) -> Html | None:
    """A map of the nodes, accuracy by degree, and the strongest attention of a GAT."""
    graph, main = graph_of(facts), facts.main
    if graph is None or main is None or main.inputs is None or main.inputs.ndim != 1:
        return None
    parts = [by_degree(facts, main, graph)]
    if facts.task in ("binary", "multiclass"):
        parts.insert(0, node_map(facts, main, graph))
    if isinstance(facts.run.model, GAT):
        parts.append(attention(facts, graph))
    words = (
        "The network saw the features and edges of all nodes, and the answers of the training "
        "nodes alone."
    )
    return section("The graph", paragraph(words, class_="soft"), *parts)


def places(output: np.ndarray) -> np.ndarray:
    """The first two principal components of what the network says of each node."""
    centred = output - output.mean(0)
    _, _, axes = np.linalg.svd(centred, full_matrices=False)
    flat = centred @ axes[:2].T
    return flat if flat.shape[1] == 2 else np.pad(flat, ((0, 0), (0, 1)))


def node_map(facts: Facts, main: SplitFacts, graph: Graph) -> Html:
    """Nodes near each other where the network answers alike, coloured by its answer."""
    import matplotlib

    count = min(len(main), _MOST_NODES)
    nodes = main.inputs.numpy()[:count]  # type: ignore[union-attr]
    at = places(torch.log_softmax(main.output[:count].double(), 1).numpy())
    wrong = main.predicted[:count] != main.target[:count]
    lines = _edges_between(nodes, graph)
    colours = matplotlib.colormaps["tab10"]

    def plot(axes):  # type: ignore[no-untyped-def]
        for a, b in lines:
            axes.plot(*at[[a, b]].T, color=figures.INK, alpha=0.08, linewidth=0.4, zorder=0)
        for code in range(min(len(facts.classes), _MOST_CLASSES)):
            here = main.predicted[:count] == code
            axes.scatter(*at[here].T, s=5, color=colours(code), label=facts.classes[code])
        axes.scatter(*at[wrong].T, s=16, facecolors="none", edgecolors=figures.INK, linewidths=0.4)
        axes.set_xticks([])
        axes.set_yticks([])
        axes.set_rasterization_zorder(3)

    caption = (
        f"{count:,} {main.name} nodes, each coloured by the predicted class, near those that the "
        "network answers alike; a ring marks a wrong answer, lines are edges among them."
    )
    alt = f"map of {count} nodes, {int(wrong.sum())} of them answered wrongly"
    return figures.draw("nodes", alt, caption, plot)


def _edges_between(nodes: np.ndarray, graph: Graph) -> np.ndarray:
    """Pairs of places in `nodes` that are joined, not too many."""
    place = np.full(graph.num_nodes, -1)
    place[nodes] = np.arange(len(nodes))
    ends = place[graph.edge_index.numpy()].T
    ends = ends[(ends >= 0).all(1) & (ends[:, 0] < ends[:, 1])]
    if len(ends) > _MOST_EDGES:
        ends = ends[np.random.default_rng(0).permutation(len(ends))[:_MOST_EDGES]]
    return ends


def by_degree(facts: Facts, main: SplitFacts, graph: Graph) -> Html:
    """How good the answers are for nodes with few and many neighbours."""
    degree = torch.bincount(graph.edge_index[1], minlength=graph.num_nodes).numpy()
    own = degree[main.inputs.numpy()]  # type: ignore[union-attr]
    regression = facts.task == "regression"
    name = "mean absolute error" if regression else "accuracy"
    if regression:
        good = np.abs(main.predicted - main.target).mean(1)
    else:
        same = main.predicted == main.target
        good = same.all(1) if same.ndim > 1 else same
    rows = []
    for low, high in ((0, 0), (1, 1), (2, 2), (3, 4), (5, 8), (9, 16), (17, int(own.max()))):
        here = (own >= low) & (own <= high)
        if here.any():
            value = float(good[here].mean())
            shown = f"{value:.4g}" if regression else percent(value)
            bounds = str(low) if low == high else f"{low} to {high}"
            rows.append([bounds, f"{int(here.sum()):,}", shown])
    return table(
        f"{name.capitalize()} by number of neighbours", ["neighbours", "nodes", name], rows
    )


@torch.no_grad()
def attention(facts: Facts, graph: Graph) -> Html:
    """Which edges the first layer's heads look at most, of nodes with several neighbours."""
    from neurarium.graphs.propagate import features

    model = facts.run.model
    assert isinstance(model, GAT)
    weights = model.convs[0].attention(features(graph), graph)[: graph.num_edges]  # type: ignore[operator]
    degree = torch.bincount(graph.edge_index[1], minlength=graph.num_nodes)
    # Even attention is 1 / (neighbours + the node itself).
    excess = weights.mean(1) * (degree[graph.edge_index[1]] + 1)
    top = torch.argsort(excess, descending=True)[:8]
    rows = [
        [str(int(graph.edge_index[1, e])), str(int(graph.edge_index[0, e])), f"{excess[e]:.2f}"]
        for e in top.tolist()
    ]
    words = "Attention is that of the first layer's heads, beside an even share among neighbours."
    shown = table("Edges with the most attention", ["node", "looks at", "times even"], rows)
    return element("div", paragraph(words, class_="soft"), shown)
