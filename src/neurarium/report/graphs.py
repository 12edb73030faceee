"""Sections on graphs: where the nodes lie, and whether neighbours help."""

from typing import Any

import numpy as np
import torch

from neurarium.data.from_graph import Nodes
from neurarium.data.graph import Graph
from neurarium.graphs import GAT
from neurarium.report import figures
from neurarium.report.facts import Facts, SplitFacts
from neurarium.report.page import Html, element, paragraph, percent, section, table

_MOST_NODES, _MOST_EDGES, _MOST_EXPLAINED = 3000, 4000, 3
_MOST_CLASSES = 20


def graph_of(facts: Facts) -> Graph | None:
    """The graph whose nodes the rows are."""
    transform = None if facts.data is None else facts.data.transform
    return transform.graph if isinstance(transform, Nodes) else None


def of_nodes(facts: Facts) -> Html | None:
    """A map of the nodes, accuracy by degree, what errors rest on, a GAT's strongest attention."""
    graph, main = graph_of(facts), facts.main
    if graph is None or main is None or main.inputs is None or main.inputs.ndim != 1:
        return None
    parts = [by_degree(facts, main, graph)]
    if facts.task in ("binary", "multiclass"):
        if len(facts.classes) <= _MOST_CLASSES:
            parts.insert(0, node_map(facts, main, graph))
        parts += errors_explained(facts, main, graph)
    if isinstance(facts.run.model, GAT):
        parts.append(attention(facts, graph))
    words = (
        "The network saw the features and edges of all nodes, and the answers of the training "
        "nodes alone."
    )
    return section("The graph", paragraph(words, class_="soft"), *parts)


def corners(logits: np.ndarray) -> np.ndarray:
    """The places of the classes on a circle, those that are likeliest together side by side."""
    chance = softened(logits)
    near = chance.T @ chance
    order, left = [0], set(range(1, len(near)))
    while left:
        order.append(max(left, key=lambda code: near[order[-1], code]))
        left.remove(order[-1])
    angle = np.pi / 2 - 2 * np.pi * np.argsort(order) / len(order)
    return np.stack([np.cos(angle), np.sin(angle)], 1)


def softened(logits: np.ndarray) -> np.ndarray:
    """Probabilities at a temperature at which a typical first choice is e times the second."""
    best = np.sort(logits, 1)
    typical = np.median(best[:, -1] - best[:, -2])
    scaled = (logits - best[:, -1:]) / max(typical, 1e-6)
    chance = np.exp(scaled)
    return chance / chance.sum(1, keepdims=True)


def node_map(facts: Facts, main: SplitFacts, graph: Graph) -> Html:
    """Nodes between the classes that the network hesitates between, coloured by its answer."""
    import matplotlib

    count = min(len(main), _MOST_NODES)
    nodes = main.inputs.numpy()[:count]  # type: ignore[union-attr]
    logits = torch.log_softmax(main.output[:count].double(), 1).numpy()
    around = corners(logits)
    at = softened(logits) @ around
    two = len(around) == 2  # a line, which leaves the height for the number of neighbours
    if two:
        at = np.stack([at[:, 1], _heights(_degrees(graph)[nodes])], 1)
        around = np.array([[1.0, -1.1], [-1.0, -1.1]])
    wrong = main.predicted[:count] != main.target[:count]
    lines = at[_edges_between(nodes, graph)]
    colours = matplotlib.colormaps["tab10" if len(facts.classes) <= 10 else "tab20"].colors  # type: ignore[attr-defined]

    def plot(axes: Any) -> None:
        from matplotlib.collections import LineCollection

        axes.figure.set_size_inches(5.6, 4.4)
        axes.figure.subplots_adjust(left=0.02, right=0.98, bottom=0.02, top=0.98)
        axes.add_collection(LineCollection(list(lines), colors="#808080", alpha=0.2, lw=0.4))
        for code, (name, corner) in enumerate(zip(facts.classes, around, strict=True)):
            here = main.predicted[:count] == code
            colour = colours[code % len(colours)]
            axes.scatter(*at[here & ~wrong].T, s=9, color=colour, lw=0)
            axes.scatter(*at[here & wrong].T, s=16, color=colour, marker="x", lw=0.9)
            side = "center" if two or abs(corner[0]) < 0.3 else "left" if corner[0] > 0 else "right"
            shown = name if len(name) <= 16 else f"{name[:15]}…"
            axes.text(*(1.06 * corner), shown, color=colour, ha=side, va="center")
        axes.set(xlim=(-1.5, 1.5), ylim=(-1.18, 1.18), aspect="equal")
        axes.axis("off")
        axes.set_rasterization_zorder(10 if count > figures.MOST_VECTORS else -1)

    caption = (
        f"{count:,} {main.name} nodes, coloured by the predicted class: the surer the network, the "
        "nearer to the class's corner. A cross marks a wrong answer, lines are edges among them."
    )
    if two:
        caption += " The higher, the more neighbours."
    alt = f"map of {count} nodes, {int(wrong.sum())} of them answered wrongly"
    return element("div", figures.draw("nodes", alt, caption, plot), class_="large")


def _degrees(graph: Graph) -> np.ndarray:
    return torch.bincount(graph.edge_index[1], minlength=graph.num_nodes).numpy()


def _heights(degree: np.ndarray) -> np.ndarray:
    """-1 to 1 by the logarithm of the degree, equal ones apart."""
    height = np.log2(1 + degree + np.random.default_rng(0).random(len(degree)))
    return 2 * (height - height.min()) / max(float(np.ptp(height)), 1e-6) - 1


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
    own = _degrees(graph)[main.inputs.numpy()]  # type: ignore[union-attr]
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


def errors_explained(facts: Facts, main: SplitFacts, graph: Graph) -> list[Html]:
    """The edges that the surest wrong answers rest on, by masks learnt for each of them."""
    model = facts.run.model
    convs = getattr(model, "convs", None)
    wrong = np.flatnonzero(main.predicted != main.target)
    if convs is None or not len(wrong):
        return []
    sure = main.output.softmax(1).numpy().max(1)
    rows = []
    for row in wrong[np.argsort(-sure[wrong])][:_MOST_EXPLAINED]:
        node = int(main.inputs[row])  # type: ignore[index]
        edges = _mask(model, graph, node, hops=len(convs) + 1)
        shown = ", ".join(f"{source} → {target}" for source, target in edges)
        names = [facts.classes[int(code[row])] for code in (main.target, main.predicted)]
        rows.append([str(node), *names, shown or "its own features alone"])
    words = (
        "Edges that are kept by a mask which keeps as few as it can without changing the answer "
        "(GNNExplainer), the most important first."
    )
    headers = ["node", "true", "predicted", "edges"]
    shown_table = table("What the surest wrong answers rest on", headers, rows)
    return [element("div", paragraph(words, class_="soft"), shown_table)]


def _mask(model: Any, graph: Graph, node: int, hops: int) -> list[tuple[int, int]]:
    """The edges that this answer rests on, by the numbers of their ends."""
    from neurarium.explain import graph_mask
    from neurarium.graphs import sample_subgraph
    from neurarium.graphs.sample import Neighbours

    around = Neighbours(graph).around(np.array([node]), (-1,) * hops, np.random.default_rng(0))
    small = sample_subgraph(graph, torch.tensor([node]), (-1,) * hops)
    mask, _ = graph_mask(model, small, 0)
    best = torch.argsort(mask, descending=True)[:3].tolist()
    return [
        (int(around[0][source]), int(around[0][target]))
        for source, target in small.edge_index.T[[e for e in best if mask[e] > 0.5]].tolist()
    ]


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
