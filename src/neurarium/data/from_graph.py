"""Graphs become `Data`, whose rows are nodes, pairs of nodes or whole graphs.

A row is a number (of a node, a graph) or a pair of them; `transform` looks it up. So everything
that works on rows works on graphs: splits, metrics, reports, batches of any size.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from neurarium.data.data import Data
from neurarium.data.errors import DataError
from neurarium.data.from_table import find_targets
from neurarium.data.graph import Graph, as_graph, csr
from neurarium.data.graph_tables import Edges, find_ids
from neurarium.data.partition import partition
from neurarium.data.planetoid import planetoid_file, read_planetoid
from neurarium.data.readers import check_names
from neurarium.data.schema import Types, infer_columns
from neurarium.data.splits import Resident
from neurarium.data.tables import Table, TablePreprocessing
from neurarium.data.targets import Target, describe, infer_target, missing_rows, target_of

__all__ = [
    "AllRows",
    "GraphPreprocessing",
    "Graphs",
    "Nodes",
    "edge_data",
    "from_node_table",
    "from_planetoid",
    "graph_data",
    "node_data",
]

_SPARSE = 0.9  # share of zeros from which features are kept sparse


class AllRows(Resident):
    """Rows that always come together: one pass through a graph answers for all of its nodes."""

    def sizes(self, batch_size: int) -> list[int]:
        return [len(self)]

    def to(self, device: torch.device) -> "AllRows":
        return AllRows({name: value.to(device) for name, value in self.tensors.items()})

    def batches(self, batch_size: int, seed: int | None = None) -> Iterator[dict[str, Tensor]]:
        """The one batch, in order."""
        yield dict(self.tensors)


class Nodes(nn.Module):
    """Turns numbers of nodes, or pairs of them, into the graph that is asked about them."""

    def __init__(self, graph: Graph) -> None:
        super().__init__()
        self.graph = graph
        self._places: dict[torch.device, Graph] = {}

    def forward(self, rows: Tensor | Graph) -> Graph:
        if isinstance(rows, Graph):
            return rows
        if rows.device not in self._places:
            self._places[rows.device] = self.graph.to(rows.device)
        return self._places[rows.device].asking(rows)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_places": {}}

    def fingerprint(self) -> bytes:
        """A hash of features, edges and weights."""
        return _hash([self.graph])


class Graphs(nn.Module):
    """Turns numbers of graphs into one graph that holds them side by side."""

    def __init__(self, graphs: Sequence[Graph]) -> None:
        super().__init__()
        self.graphs = list(graphs)

    def forward(self, rows: Tensor | Graph) -> Graph:
        if isinstance(rows, Graph):
            return rows
        return Graph.collate([self.graphs[i] for i in rows.tolist()]).to(rows.device)

    def fingerprint(self) -> bytes:
        """A hash of features, edges and weights."""
        return _hash(self.graphs)


def _hash(graphs: Sequence[Graph]) -> bytes:
    digest = hashlib.sha256()
    for graph in graphs:
        x = graph.x
        parts = [x.crow_indices(), x.col_indices(), x.values()] if x.is_sparse_csr else [x]
        for part in (*parts, graph.edge_index, graph.edge_weight, graph.edge_attr):
            if part is not None:
                digest.update(part.cpu().contiguous().numpy().tobytes())
    return digest.digest()


class GraphPreprocessing:
    """What is predicted of nodes, and the columns that describe them.

    Args:
        features: names of the features.
        table: what made them out of a node table, if that is what they came from.
    """

    def __init__(
        self, features: Sequence[str], target: Target, table: TablePreprocessing | None = None
    ) -> None:
        self.features, self.target, self.table = list(features), target, table

    @property
    def classes(self) -> list[str] | None:
        return self.target.classes

    def transform(self, source: Any, with_target: bool = False) -> dict[str, Any]:
        """A graph (networkx's and PyG's too) as the one input of a batch."""
        graph = as_graph(source)
        if graph.x.shape[1] != len(self.features):
            raise DataError(
                f"the network was trained on {len(self.features)} features of each node, this "
                f"graph has {graph.x.shape[1]}"
            )
        batch: dict[str, Any] = {"input": graph}
        if with_target:
            if graph.y is None:
                raise DataError("this graph has no y to compare with; use predict")
            batch["target"] = self.target.encode(graph.y.numpy())
        return batch

    def decode(self, output: Tensor) -> np.ndarray:
        """A network's output in the user's own labels or units."""
        return self.target.decode(output)

    def to_json(self) -> dict[str, Any]:
        """Everything fitted, as plain values."""
        table = None if self.table is None else self.table.to_json()
        target = self.target.to_json()
        return {"kind": "graph", "features": self.features, "target": target, "table": table}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "GraphPreprocessing":
        table = values["table"]
        made = None if table is None else TablePreprocessing.from_json(table)
        return cls(values["features"], Target.from_json(values["target"]), made)


def node_data(
    graph: Any,
    *,
    y: Tensor | None = None,
    task: str | None = None,
    classes: Sequence[str] | None = None,
    test_size: float = 0.2,
    val_size: float = 0.2,
    seed: int = 0,
    name: str = "graph",
) -> Data:
    """A `Data` whose rows are the nodes of one graph.

    The graph's masks say which nodes train, validate and test; without masks they are drawn. All
    nodes' features and edges are seen in training, as is usual (transductive).

    Args:
        graph: a `Graph`, a networkx graph or PyG's `Data`.
        y: the target of each node, if the graph does not hold it.

    Raises:
        DataError: if there is no target, or no node to train on.
    """
    graph = as_graph(graph)
    y = graph.y if y is None else y
    if y is None:
        raise DataError("the graph has no y, so there is nothing to learn; pass y=")
    y = y.squeeze(-1) if y.ndim == 2 and y.shape[1] == 1 else y
    if len(y) != graph.num_nodes:
        raise DataError(f"y must have one entry per node ({graph.num_nodes}), got {len(y)}")
    notes: list[str] = []
    if graph.train_mask is not None:
        rows = _masked(graph)
    else:
        strata = None if y.is_floating_point() else y.numpy()
        sizes: dict[str, Any] = {"test_size": test_size, "val_size": val_size, "seed": seed}
        rows, notes = partition(len(y), strata, **sizes)
    goal = _goal(y, task, classes).fit(y.numpy()[rows["train"]])
    return _of_nodes(graph, _codes(y.numpy(), goal), rows, goal, name=name, notes=notes)


def _masked(graph: Graph) -> dict[str, np.ndarray]:
    rows = {}
    for name in ("train", "val", "test"):
        mask = getattr(graph, f"{name}_mask")
        rows[name] = np.zeros(0, int) if mask is None else np.flatnonzero(mask.numpy())
    if not len(rows["train"]):
        raise DataError("train_mask marks no node, so there is nothing to learn from")
    return rows


def _goal(y: Tensor, task: str | None, classes: Sequence[str] | None) -> Target:
    if y.ndim == 2:
        names = tuple(f"y_{i}" for i in range(y.shape[1]))
        flags = bool(((y == 0) | (y == 1)).all()) and task != "regression"
        return Target(names, "multilabel" if flags else "regression")
    if classes is not None:
        task = "binary" if len(classes) == 2 else "multiclass"
        return Target(("y",), task, tuple(classes))  # type: ignore[arg-type]
    if not y.is_floating_point() and task is None:
        task = "multiclass"
    return target_of(y.tolist(), "y", task)


def _codes(y: np.ndarray, goal: Target) -> np.ndarray:
    """Numbers of classes in the order of the labels; a regression's values as they are."""
    if goal.labels is None or isinstance(goal.labels[0], str):
        return y
    return np.searchsorted(np.array(goal.labels), y)


def _of_nodes(
    graph: Graph,
    values: np.ndarray,
    rows: Mapping[str, np.ndarray],
    goal: Target,
    *,
    name: str,
    notes: Sequence[str] = (),
    features: Sequence[str] | None = None,
    table: TablePreprocessing | None = None,
) -> Data:
    splits: dict[str, Any] = {
        key: AllRows({"input": torch.from_numpy(index), "target": goal.encode(values[index])})
        for key, index in rows.items()
        if len(index)
    }
    features = features or [f"feature {i}" for i in range(graph.x.shape[1])]
    preprocessing = GraphPreprocessing(features, goal, table)
    return Data(
        **splits,
        task=goal.task,
        classes=goal.classes,
        preprocessing=preprocessing,
        transform=Nodes(graph),
        name=name,
        notes=notes,
        indices={key: index.tolist() for key, index in rows.items()},
    )


def from_planetoid(path: Path) -> Data:
    """The public split of the graph in a folder of Planetoid files, or that one file belongs to."""
    name = planetoid_file(path)
    folder = path if name is None else path.parent
    graph, notes = read_planetoid(folder, name)
    assert graph.y is not None
    classes = [f"class {i}" for i in range(int(graph.y.max()) + 1)]
    data = node_data(graph, classes=classes, name=name or folder.name)
    rows = {name: len(data.split(name)) for name in ("train", "val", "test")}
    split = ", ".join(f"{count} nodes {name}" for name, count in rows.items())
    assert isinstance(data.preprocessing, GraphPreprocessing)
    task = f"task: {describe(data.preprocessing.target)}"
    data.notes = [*notes, task, f"the public split: {split}"]
    return data


def from_node_table(
    table: Table,
    edges: Edges,
    target: Any,
    *,
    task: str | None,
    types: Types,
    split: Mapping[str, Any],
    directed: bool,
    name: str,
) -> Data:
    """Nodes with columns, edges between them; nodes whose target is missing stay as neighbours."""
    frame = table.frame.rename(columns=str)
    check_names(list(frame.columns), "the node table")
    names, notes = find_targets(frame, target)
    identity, nodes = find_ids(frame, edges, names)
    number = {node: i for i, node in enumerate(nodes)}
    edge_index, weight, of_edges = edges.numbered(number, len(nodes), directed)
    known = np.flatnonzero(~missing_rows(frame, names))
    if not len(known):
        raise DataError("no node has a target; at least ten must, to learn from and to judge by")
    labelled = frame.iloc[known]
    goal, of_task = infer_target(labelled, names, task)
    if len(known) < len(frame):
        of_task.append(f"{len(frame) - len(known)} nodes have no target; they stay as neighbours")
    drop = names if identity is None else [*names, identity]
    columns, of_columns = infer_columns(frame.drop(columns=drop), types)
    codes = goal.codes(labelled)
    rows, of_split = partition(len(known), codes if goal.labels is not None else None, **split)
    prepared = TablePreprocessing.fit(labelled.iloc[rows["train"]], columns, goal)
    x, features = _features(prepared, frame, nodes)
    assert prepared.target is not None
    values = np.zeros((len(frame), *codes.shape[1:]), codes.dtype)
    values[known] = codes
    y = torch.from_numpy(values)
    graph = Graph(x, edge_index, edge_weight=weight, y=y)
    rows = {key: known[index] for key, index in rows.items()}
    told = [*notes, *of_edges, *of_task, *of_columns, *of_split]
    goal = prepared.target
    return _of_nodes(
        graph, values, rows, goal, name=name, notes=told, features=features, table=prepared
    )


def _features(
    prepared: TablePreprocessing, frame: Any, nodes: Sequence[str]
) -> tuple[Tensor, list[str]]:
    """Columns as features, words one-hot; without columns each node is its own feature."""
    if not prepared.columns:
        numbers = torch.arange(len(nodes) + 1)
        identity = csr(numbers, numbers[:-1], torch.ones(len(nodes)), (len(nodes), len(nodes)))
        return identity, list(nodes)
    x = prepared.transform(frame)["input"]
    words = prepared.categories
    plain, codes = x.tensor_split([x.shape[1] - len(words)], dim=1)
    parts, names = [plain], prepared.features[: plain.shape[1]]
    for column, size, code in zip(prepared.words, words, codes.T, strict=True):
        parts.append(torch.nn.functional.one_hot(code.long(), size)[:, 1:].float())
        names = [*names, *(f"{column.name} = {word}" for word in column.known)]
    x = torch.cat(parts, 1)
    return (_sparse(x) if float((x == 0).float().mean()) > _SPARSE else x), list(names)


def _sparse(x: Tensor) -> Tensor:
    found = x.to_sparse_coo().coalesce()
    row, col = found.indices()
    counts = torch.bincount(row, minlength=len(x)).cumsum(0)
    rows = torch.cat([counts.new_zeros(1), counts])
    return csr(rows, col, found.values(), (x.shape[0], x.shape[1]))


def graph_data(
    graphs: Sequence[Any],
    y: Any,
    *,
    task: str | None = None,
    test_size: float = 0.2,
    val_size: float = 0.2,
    seed: int = 0,
    rows: Mapping[str, np.ndarray] | None = None,
    name: str = "graphs",
) -> Data:
    """A `Data` whose rows are whole graphs, such as molecules.

    Args:
        y: the target of each graph; a regression's is standardized by the training rows.
        rows: the numbers of the graphs in "train", "val" and "test"; drawn if not given.
    """
    made = [as_graph(graph) for graph in graphs]
    y = torch.from_numpy(np.array(y))
    if len(made) != len(y):
        raise DataError(f"there are {len(made)} graphs but {len(y)} targets")
    goal = _goal(y, task, None)
    notes: list[str] = []
    if rows is None:
        strata = None if goal.labels is None else y.numpy()
        sizes: dict[str, Any] = {"test_size": test_size, "val_size": val_size, "seed": seed}
        rows, notes = partition(len(made), strata, **sizes)
    goal = goal.fit(y.numpy()[rows["train"]])
    values = _codes(y.numpy(), goal)
    splits: dict[str, Any] = {
        key: Resident({"input": torch.from_numpy(np.asarray(i)), "target": goal.encode(values[i])})
        for key, i in rows.items()
        if len(i)
    }
    features = [f"feature {i}" for i in range(made[0].x.shape[1])]
    return Data(
        **splits,
        task=goal.task,
        classes=goal.classes,
        preprocessing=GraphPreprocessing(features, goal),
        transform=Graphs(made),
        name=name,
        notes=notes,
        indices={key: np.asarray(i).tolist() for key, i in rows.items()},
    )


def edge_data(
    graph: Any,
    *,
    test_size: float = 0.1,
    val_size: float = 0.05,
    seed: int = 0,
    name: str = "edges",
) -> Data:
    """A `Data` whose rows are pairs of nodes: is there an edge?

    Some of the undirected graph's edges are hidden to test and validate on, beside as many pairs
    without an edge; the graph that the network sees holds the others only.
    """
    graph = as_graph(graph)
    generator = np.random.default_rng(seed)
    source, target = graph.edge_index.numpy()
    pairs = np.stack([np.minimum(source, target), np.maximum(source, target)], 1)
    pairs = np.unique(pairs[source != target], axis=0)
    if len(pairs) < 20:
        raise DataError(f"{len(pairs)} edges are too few to hide some and learn from the others")
    pairs = pairs[generator.permutation(len(pairs))]
    n_test, n_val = int(len(pairs) * test_size), int(len(pairs) * val_size)
    cuts = {"test": pairs[:n_test], "val": pairs[n_test : n_test + n_val]}
    kept = pairs[n_test + n_val :]
    cuts["train"] = kept
    absent = _absent(pairs, graph.num_nodes, len(pairs), generator)
    splits: dict[str, Any] = {}
    for key, present in cuts.items():
        if len(present):
            none, absent = absent[: len(present)], absent[len(present) :]
            labels = np.repeat([1, 0], [len(present), len(none)])
            both = np.concatenate([present, none])
            splits[key] = AllRows(
                {"input": torch.from_numpy(both), "target": torch.from_numpy(labels)}
            )
    both_ways = torch.from_numpy(np.concatenate([kept, kept[:, ::-1]]).T.copy())
    seen = graph.with_edges(both_ways)
    return Data(
        **splits, task="binary", classes=["no edge", "edge"], transform=Nodes(seen), name=name
    )


def _absent(pairs: np.ndarray, nodes: int, count: int, generator: Any) -> np.ndarray:
    """So many pairs of different nodes without an edge, none twice."""
    taken = set((pairs[:, 0] * nodes + pairs[:, 1]).tolist())
    if nodes * (nodes - 1) // 2 - len(taken) < count:
        raise DataError("the graph has more edges than missing ones; nothing can be told apart")
    found: list[tuple[int, int]] = []
    while len(found) < count:
        for a, b in generator.integers(nodes, size=(2 * count, 2)).tolist():
            low, high = min(a, b), max(a, b)
            if a != b and low * nodes + high not in taken:
                taken.add(low * nodes + high)
                found.append((low, high))
    return np.array(found[:count])
