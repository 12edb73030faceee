"""What a run's `config.yaml` says it was begun with, checked before anything hangs on it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any


def recorded(folder: Path) -> dict[str, Any]:
    """The configuration of a run that `neurarium fit` began.

    Raises:
        CheckpointError: if it was begun otherwise.
        DataError: if it holds names or values that nothing takes.
    """
    from neurarium.cli.fit import fit
    from neurarium.data import load
    from neurarium.data.plain import check_values
    from neurarium.training import CheckpointError
    from neurarium.training.automatic_choices import Choice
    from neurarium.training.run import read_config

    config = read_config(folder)
    data = config.get("data") or {}
    if "options" not in config or not data.get("source"):
        raise CheckpointError(
            f"{folder} was not begun by neurarium fit, so its data and model are unknown here; "
            "call fit(..., directory=..., resume=True) as it was begun"
        )
    parts: dict[str, tuple[Any, Any]] = {
        "options": (config["options"], fit),
        "data.source": (data["source"], load),
        "choice": (config.get("choice") or {}, Choice),
    }
    for part, (values, taken_by) in parts.items():
        what = f"'{part}' in {folder}/config.yaml"
        check_values(values, taken_by, what, validate=bool, reasons=Mapping)
    known = "command" in config and "source" in data["source"]
    if not known or not isinstance(data.get("fingerprint"), str):
        raise CheckpointError(f"{folder}/config.yaml lacks what was trained on; it is damaged")
    return config
