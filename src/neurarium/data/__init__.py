"""Data: from files, tables and arrays to batches."""

from neurarium.data.arrays import ArrayPreprocessing
from neurarium.data.augment import stylize
from neurarium.data.contagion import simulate_contagion, transition_probabilities
from neurarium.data.data import Data, Preprocessing, Task
from neurarium.data.errors import DataError
from neurarium.data.free_text import FreeTextPreprocessing
from neurarium.data.from_graph import GraphPreprocessing, edge_data, graph_data, node_data
from neurarium.data.from_text import TextPreprocessing, Windows, text_data
from neurarium.data.graph import Graph, as_graph
from neurarium.data.images import ImagePreprocessing
from neurarium.data.loading import load
from neurarium.data.molecules import molecule
from neurarium.data.preprocessing import preprocessing_from_json
from neurarium.data.readers import read_table
from neurarium.data.scale import MinMax, Standardize, Whiten
from neurarium.data.sequences import streams, windows
from neurarium.data.series import SeriesPreprocessing, SeriesWindows
from neurarium.data.splits import Batch, Resident, Split, Stream, as_batch, as_split
from neurarium.data.tables import TablePreprocessing
from neurarium.data.tangents import tangents
from neurarium.data.token_batches import TokenBatches

__all__ = [
    "ArrayPreprocessing",
    "Batch",
    "Data",
    "DataError",
    "FreeTextPreprocessing",
    "Graph",
    "GraphPreprocessing",
    "ImagePreprocessing",
    "MinMax",
    "Preprocessing",
    "Resident",
    "SeriesPreprocessing",
    "SeriesWindows",
    "Split",
    "Standardize",
    "Stream",
    "TablePreprocessing",
    "Task",
    "TextPreprocessing",
    "TokenBatches",
    "Whiten",
    "Windows",
    "as_batch",
    "as_graph",
    "as_split",
    "edge_data",
    "graph_data",
    "load",
    "molecule",
    "node_data",
    "preprocessing_from_json",
    "read_table",
    "simulate_contagion",
    "streams",
    "stylize",
    "tangents",
    "text_data",
    "transition_probabilities",
    "windows",
]
