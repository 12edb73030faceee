"""Any fitted preprocessing back from its JSON."""

from typing import Any

from neurarium.data.arrays import ArrayPreprocessing
from neurarium.data.data import Preprocessing
from neurarium.data.errors import DataError
from neurarium.data.free_text import FreeTextPreprocessing
from neurarium.data.from_graph import GraphPreprocessing
from neurarium.data.from_text import TextPreprocessing
from neurarium.data.images import ImagePreprocessing
from neurarium.data.series import SeriesPreprocessing
from neurarium.data.tables import TablePreprocessing


def preprocessing_from_json(values: dict[str, Any]) -> Preprocessing:
    """The preprocessing whose `to_json` gave these values."""
    kinds: dict[str, Any] = {
        "table": TablePreprocessing,
        "array": ArrayPreprocessing,
        "image": ImagePreprocessing,
        "graph": GraphPreprocessing,
        "text": TextPreprocessing,
        "free_text": FreeTextPreprocessing,
        "series": SeriesPreprocessing,
    }
    if values.get("kind") not in kinds:
        raise DataError(
            f"there is no preprocessing of kind '{values.get('kind')}', only {', '.join(kinds)}; "
            "was the file written by a newer version?"
        )
    return kinds[values["kind"]].from_json(values)
