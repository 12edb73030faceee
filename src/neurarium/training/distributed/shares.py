"""How a batch is shared out among workers, real or simulated."""

from torch import Tensor

from neurarium.data import Batch


def shares(rows: int, workers: int) -> list[slice]:
    """The rows of each worker: nearly equal, and never one row alone where there are more.

    Batch normalization cannot normalize one row. So of a batch with fewer than two rows a worker
    the last workers get none.
    """
    busy = max(1, min(workers, rows // 2))
    cuts = [rows * i // busy for i in range(busy + 1)]
    return [slice(cuts[i], cuts[i + 1]) if i < busy else slice(rows, rows) for i in range(workers)]


def part_of(batch: Batch, rows: slice) -> dict[str, Tensor]:
    """Those rows of everything in the batch that has rows."""
    count = len(next(iter(batch.values())))
    return {
        name: value[rows] if value.ndim and len(value) == count else value
        for name, value in batch.items()
    }
