"""Checkpoints: directories of safetensors, JSON and one `weights_only` file, written atomically."""

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

WEIGHTS, STATE, META = "model.safetensors", "state.pt", "meta.json"


class CheckpointError(ValueError):
    """A checkpoint is missing, incomplete or belongs to another model."""


def write_text(path: Path, text: str) -> None:
    """Replace the file's content in one step: readers see the old text or the new one."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with temporary.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


@contextmanager
def new_directory(path: Path) -> Iterator[Path]:
    """A directory that appears under its name complete, or not at all.

    An older one of that name steps aside first, so for a moment only `.old` exists: `find` looks
    there too.
    """
    fresh, old = path.with_name(path.name + ".new"), path.with_name(path.name + ".old")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    yield fresh
    _flush(fresh)
    if path.exists():
        shutil.rmtree(old, ignore_errors=True)
        path.replace(old)
    fresh.replace(path)
    shutil.rmtree(old, ignore_errors=True)


def _flush(directory: Path) -> None:
    """Force the files' contents to the disk."""
    for file in directory.iterdir():
        with file.open("rb") as opened:
            os.fsync(opened.fileno())


def weights(model: nn.Module) -> dict[str, Tensor]:
    """The module's own state, as separate contiguous tensors on the CPU."""
    return {
        name: value.detach().to("cpu", copy=True).contiguous()
        for name, value in model.state_dict().items()
    }


def save_weights(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write tensors as safetensors."""
    save_file(dict(tensors), path)


def load_weights(model: nn.Module, path: Path) -> None:
    """Copy the file's tensors into the module; its device and memory format stay."""
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"cannot read the weights {path}: {error}") from None
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        raise CheckpointError(f"the weights {path} are not of this model: {error}") from None


def save(
    path: Path, tensors: Mapping[str, Tensor], state: Mapping[str, Any], meta: Mapping[str, Any]
) -> None:
    """Write a checkpoint directory."""
    with new_directory(path) as directory:
        save_weights(directory / WEIGHTS, tensors)
        torch.save(dict(state), directory / STATE)
        _flush(directory)
        # Last, and in one step: a directory without it is not a checkpoint, one with it is whole.
        write_text(directory / META, json.dumps(meta, indent=1))


def load_state(path: Path) -> dict[str, Any]:
    """The state beside the weights; only tensors and plain values are ever loaded."""
    try:
        return torch.load(path / STATE, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for a damaged file
        reason = str(error).splitlines()[0]
        raise CheckpointError(f"cannot read the checkpoint {path}: {reason}") from None


def read_meta(path: Path) -> dict[str, Any]:
    """What a checkpoint says of itself."""
    return json.loads((path / META).read_text(encoding="utf-8"))


def find(path: Path | str) -> Path:
    """The newest complete checkpoint of a run folder, or the checkpoint directory itself."""
    path = Path(path)
    if (path / META).is_file():
        return path
    places = [path, path / "checkpoints"]
    found = [
        candidate
        for place in places
        for candidate in place.glob("*/")
        if (candidate / META).is_file() and not candidate.name.startswith("best")
    ]
    # `last.new` and `last.old` count: a process may die between the two renames.
    found += [p for p in (path.with_name(path.name + ".old"),) if (p / META).is_file()]
    if not found:
        raise CheckpointError(f"no checkpoint in {path}; a run folder has one under checkpoints/")
    return max(found, key=lambda p: (read_meta(p)["step"], p.stat().st_mtime))
