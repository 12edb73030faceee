"""Data: from files, tables and arrays to batches."""

from neurarium.data.data import Data, Preprocessing, Task
from neurarium.data.splits import Batch, Resident, Split, Stream, as_batch, as_split

__all__ = [
    "Batch",
    "Data",
    "Preprocessing",
    "Resident",
    "Split",
    "Stream",
    "Task",
    "as_batch",
    "as_split",
]
