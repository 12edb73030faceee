"""A graph from two tables: nodes with their columns, and edges between them."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from neurarium.data.errors import DataError, listing, show
from neurarium.data.readers import read_table
from neurarium.data.values import DataFrame, is_number, numbers, texts

__all__ = ["Edges", "find_ids", "read_edges"]

_ID_NAMES = ("id", "node", "node_id", "nodeid", "name", "index")
_WEIGHT_NAMES = ("weight", "w", "value", "strength")


class Edges:
    """Pairs of node names as written, and the weight of each where there is one."""

    def __init__(self, source: list[str], target: list[str], weight: np.ndarray | None) -> None:
        self.source, self.target, self.weight = source, target, weight

    def numbered(
        self, number: dict[str, int], nodes: int, directed: bool
    ) -> tuple[torch.Tensor, torch.Tensor | None, list[str]]:
        """`edge_index` and `edge_weight`: loops dropped, repeated edges once, notes on both."""
        ends = np.empty((len(self.source), 2), np.int64)
        for row, pair in enumerate(zip(self.source, self.target, strict=True)):
            for side, name in enumerate(pair):
                if name not in number:
                    raise DataError(
                        f"edge {row + 1} goes {'to' if side else 'from'} node {show(name)}, which "
                        "the node table does not have; add the node or drop the edge"
                    )
                ends[row, side] = number[name]
        weight = np.ones(len(ends)) if self.weight is None else self.weight
        loops = ends[:, 0] == ends[:, 1]
        ends, weight = ends[~loops], weight[~loops]
        if not directed:
            ends, weight = np.concatenate([ends, ends[:, ::-1]]), np.concatenate([weight, weight])
        ends, first = np.unique(ends, axis=0, return_index=True)
        weight = weight[first]
        return (
            torch.from_numpy(np.ascontiguousarray(ends.T)),
            None if self.weight is None else torch.from_numpy(weight).float(),
            self._notes(ends, int(loops.sum()), nodes, directed),
        )

    def _notes(self, ends: np.ndarray, loops: int, nodes: int, directed: bool) -> list[str]:
        count = len(ends) if directed else len(ends) // 2
        repeated = len(self.source) - loops - count
        kind = "directed" if directed else "undirected"
        other = "--undirected" if directed else "--directed"
        notes = [f"graph: {nodes:,} nodes, {count:,} {kind} edges ({other} overrides)"]
        if loops:
            notes.append(f"dropped {loops} edges from a node to itself")
        if repeated > 0:
            notes.append(f"dropped {repeated} edges that come twice")
        alone = nodes - len(np.unique(ends))
        if alone:
            notes.append(f"{alone} nodes have no edge; they are judged by their own columns alone")
        return notes


def read_edges(path: str | Path, **options: Any) -> Edges:
    """The first two columns as node names, a column `weight` (or a third of numbers) as weights.

    Raises:
        DataError: if there are no two columns, no edge, or a missing end.
    """
    path = Path(path).expanduser()
    if not path.exists():
        raise DataError(f"there is no file of edges '{path}'")
    frame, _ = read_table(path, **options)
    frame = frame.rename(columns=str)
    if len(frame.columns) < 2:
        raise DataError(f"'{path.name}' must have two columns, where edges begin and end")
    if not len(frame):
        raise DataError(f"'{path.name}' holds no edge; without edges use the node table alone")
    ends = [texts(frame[name]) for name in frame.columns[:2]]
    for column in ends:
        if None in column:
            raise DataError(f"edge {column.index(None) + 1} of '{path.name}' lacks an end")
    source, target = ([_plain(str(name)) for name in column] for column in ends)
    return Edges(source, target, _weights(frame, path))


def _weights(frame: DataFrame, path: Path) -> np.ndarray | None:
    named = [name for name in frame.columns[2:] if name.lower() in _WEIGHT_NAMES]
    unnamed = [name for name in frame.columns[2:3] if name.startswith("column_")]
    for name in (*named, *unnamed):
        if not all(word is not None and is_number(word) for word in texts(frame[name])):
            raise DataError(f"column '{name}' of '{path.name}' must hold each edge's weight")
        weight = numbers(frame[name]).astype(float)
        if (weight < 0).any():
            row = int((weight < 0).argmax()) + 1
            raise DataError(
                f"edge {row} of '{path.name}' has the negative weight {weight[row - 1]:g}; "
                "networks on graphs divide by sums of weights, so drop it or shift the weights"
            )
        return weight
    return None


def find_ids(frame: DataFrame, edges: Edges, target: list[str]) -> tuple[str | None, list[str]]:
    """The column that names the nodes, and the names; None if the rows' numbers do.

    It is the column called id, node or name, else the first one that holds every end of an edge.

    Raises:
        DataError: if nothing names the ends of the edges, or a name comes twice.
    """
    ends = set(edges.source) | set(edges.target)
    columns = [name for name in frame.columns if name not in target]
    called = [name for name in columns if name.lower() in _ID_NAMES]
    for name in [*called, *columns]:
        names = [_plain(str(word)) for word in texts(frame[name])]
        if ends <= set(names) or name in called:
            if len(set(names)) < len(names):
                twice = next(n for i, n in enumerate(names) if n in names[:i])
                raise DataError(f"column '{name}' names node {show(twice)} twice; keep one of them")
            return name, names
    rows = [str(i) for i in range(len(frame))]
    if ends <= set(rows):
        return None, rows
    stray = sorted(ends - set(rows))
    raise DataError(
        f"no column of the node table names the ends of the edges, such as {listing(stray, 3)}; "
        "call the column of names 'id'"
    )


def _plain(word: str) -> str:
    """'7.0' and '7' are one node."""
    if is_number(word):
        value = float(word)
        return str(int(value)) if value.is_integer() and abs(value) < 2**53 else word
    return word.strip()
