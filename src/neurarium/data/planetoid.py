"""The citation networks' Planetoid files: pickles, read without running anything in them."""

import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import torch

from neurarium.data.errors import DataError, listing
from neurarium.data.graph import Graph, csr

__all__ = ["find_planetoid", "planetoid_file", "read_planetoid"]

_PARTS = ("x", "y", "tx", "ty", "allx", "ally", "graph")
_VALIDATION_ROWS = 500


def find_planetoid(folder: Path) -> list[str]:
    """Names of the data sets whose `ind.NAME.graph` lies in this folder."""
    return sorted(path.name[4:-6] for path in folder.glob("ind.*.graph"))


def planetoid_file(path: Path) -> str | None:
    """The name of the data set that this file `ind.NAME.PART` belongs to, if it is one."""
    found = find_planetoid(path.parent)
    parts = (*_PARTS, "test.index")
    named = [name for name in found if path.name in {f"ind.{name}.{part}" for part in parts}]
    return named[0] if named else None


def read_planetoid(folder: Path, name: str | None = None) -> tuple[Graph, list[str]]:
    """The graph with its public split, features scaled to sum 1, and notes.

    Repeated edges and loops are dropped. Test nodes that no file describes (Citeseer has 15) stay
    in the graph without features and edges; they are not judged on.

    Raises:
        DataError: if files are missing, are damaged, or hold anything but arrays.
    """
    found = find_planetoid(folder)
    if name is None and len(found) > 1:
        raise DataError(
            f"'{folder}' holds {len(found)} graphs ({listing(found)}); name one by its file, "
            f"'{folder / f'ind.{found[0]}.graph'}'"
        )
    name = name or found[0]
    parts = {part: _unpickled(folder / f"ind.{name}.{part}") for part in _PARTS}
    try:
        return _assembled(parts, _test_numbers(folder / f"ind.{name}.test.index"))
    except (LookupError, ValueError, TypeError, AttributeError, OverflowError) as error:
        what = f"the files ind.{name}.* in '{folder}' do not fit together"
        raise DataError(f"{what}: {error}") from error


def _assembled(parts: dict[str, Any], test: np.ndarray) -> tuple[Graph, list[str]]:
    from scipy.sparse import csr_matrix

    known, labels = parts["allx"].matrix(), np.asarray(parts["ally"])
    tests, test_labels = parts["tx"].matrix(), np.asarray(parts["ty"])
    first = known.shape[0]
    nodes = max(int(test.max()) + 1, first + len(test), len(parts["graph"]))
    if len(labels) != first or not len(test_labels) == tests.shape[0] == len(test):
        raise ValueError("features and labels differ in length")
    x = known.tocoo()
    of_test = tests.tocoo()
    row = np.concatenate([x.row, test[of_test.row]])
    col = np.concatenate([x.col, of_test.col])
    data = np.concatenate([x.data, of_test.data]).astype(np.float32)
    features = csr_matrix((data, (row, col)), (nodes, known.shape[1]))
    y = np.zeros((nodes, labels.shape[1]), labels.dtype)
    y[:first], y[test] = labels, test_labels
    train, val = len(parts["y"]), min(_VALIDATION_ROWS, first - len(parts["y"]))
    edges, notes = _edges(parts["graph"], nodes)
    unknown = nodes - first - len(test)
    if unknown:
        notes.append(f"{unknown} nodes have neither features nor a label; they are not judged on")
    numbers = np.arange(nodes)
    graph = Graph(
        _normalized(features),
        torch.from_numpy(edges),
        y=torch.from_numpy(y.argmax(1)),
        train_mask=torch.from_numpy(numbers < train),
        val_mask=torch.from_numpy((numbers >= train) & (numbers < train + val)),
        test_mask=torch.from_numpy(np.isin(numbers, test)),
    )
    return graph, notes


def _edges(neighbours: Any, nodes: int) -> tuple[np.ndarray, list[str]]:
    """Both directions of every edge, once."""
    pairs = [(int(node), int(other)) for node, others in neighbours.items() for other in others]
    array = np.array(pairs, dtype=np.int64).reshape(-1, 2)
    if array.size and (array.min() < 0 or array.max() >= nodes):
        raise ValueError(f"an edge names node {array.max()}, there are {nodes}")
    array = array[array[:, 0] != array[:, 1]]
    unique = np.unique(np.concatenate([array, array[:, ::-1]]), axis=0)
    said = f"graph: {nodes:,} nodes, {len(unique) // 2:,} undirected edges, each once, no loops"
    return np.ascontiguousarray(unique.T), [said]


def _normalized(features: Any) -> torch.Tensor:
    """Each node's words as shares; a node without words keeps zeros."""
    features.sum_duplicates()
    total = np.asarray(features.sum(1)).ravel()
    scale = np.divide(1, total, out=np.zeros_like(total), where=total != 0)
    values = features.data * np.repeat(scale, np.diff(features.indptr))
    rows, columns = (
        torch.from_numpy(a.astype(np.int64)) for a in (features.indptr, features.indices)
    )
    return csr(rows, columns, torch.from_numpy(values.astype(np.float32)), features.shape)


def _test_numbers(path: Path) -> np.ndarray:
    try:
        numbers = np.array(path.read_text(encoding="ascii").split(), dtype=np.int64)
    except (OSError, ValueError) as error:
        raise DataError(f"'{path}' must hold one node number a line: {error}") from None
    if not len(numbers) or numbers.min() < 0:
        raise DataError(f"'{path}' must hold the numbers of the test nodes, from 0")
    return numbers


# Pickles from outside


class _Csr:
    """What stands in for scipy's matrix while unpickling: its attributes, checked afterwards."""

    def __setstate__(self, state: Any) -> None:
        self.state = dict(state)

    def matrix(self) -> Any:
        from scipy.sparse import csr_matrix

        state = self.state
        shape: Any = state.get("_shape", state.get("shape"))
        made = csr_matrix((state["data"], state["indices"], state["indptr"]), tuple(shape))
        made.check_format(full_check=True)
        return made


def _reconstructed(kind: Any, shape: Any, code: Any) -> np.ndarray:
    if kind is not np.ndarray:
        raise pickle.UnpicklingError("only plain arrays are read")
    return np.ndarray.__new__(np.ndarray, tuple(shape), code)


def _allowed() -> dict[tuple[str, str], Any]:
    from collections import defaultdict

    multiarray = ("numpy.core.multiarray", "numpy._core.multiarray")
    return {
        **{(module, "_reconstruct"): _reconstructed for module in multiarray},
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): np.dtype,
        ("scipy.sparse.csr", "csr_matrix"): _Csr,
        ("scipy.sparse._csr", "csr_matrix"): _Csr,
        ("collections", "defaultdict"): defaultdict,
        ("__builtin__", "list"): list,
        ("builtins", "list"): list,
        ("copy_reg", "_reconstructor"): _reconstructor,
        ("copyreg", "_reconstructor"): _reconstructor,
        ("__builtin__", "object"): object,
        ("builtins", "object"): object,
        ("_codecs", "encode"): _encode,
    }


def _reconstructor(kind: Any, base: Any, state: Any) -> Any:
    if kind is not _Csr:
        raise pickle.UnpicklingError("only sparse matrices are read")
    return _Csr()


def _encode(text: str, encoding: str) -> bytes:
    """How Python 3 pickles bytes in an old protocol."""
    return text.encode("latin1")


class _Restricted(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        allowed = _allowed()
        if (module, name) not in allowed:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return allowed[module, name]


def _unpickled(path: Path) -> Any:
    try:
        content = path.read_bytes()
    except OSError:
        raise DataError(
            f"'{path}' is missing; a Planetoid folder holds ind.NAME.{{{','.join(_PARTS)}}} and "
            "ind.NAME.test.index"
        ) from None
    try:
        return _Restricted(io.BytesIO(content), encoding="latin1").load()
    except Exception as error:  # damaged pickles raise many kinds
        raise DataError(
            f"'{path}' is not a Planetoid file of plain arrays, so it is not read: {error}"
        ) from None
