"""Checkpoints: directories of safetensors, JSON and one `weights_only` file, written atomically."""

import errno
import hashlib
import json
import os
import re
import shutil
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from neurarium.data import DataError

WEIGHTS, STATE, META = "model.safetensors", "state.pt", "meta.json"


class CheckpointError(ValueError):
    """A checkpoint is missing, incomplete, damaged or belongs to another model."""


class NoCheckpointError(CheckpointError):
    """There is none, and nothing that was one."""


@contextmanager
def reading(what: object) -> Iterator[None]:
    """Whatever damage makes of the code that reads it is one error, which names the file."""
    try:
        yield
    except (CheckpointError, DataError, ImportError):
        raise
    except Exception as error:
        lines = str(error).splitlines() or [""]
        reason = f"{type(error).__name__}: {lines[0]}"[:200]
        raise CheckpointError(
            f"cannot read {what}, which is damaged or of another version ({reason})"
        ) from error


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """A disk that is full, or gone, is an OSError with the file's name."""
    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:
        if isinstance(error, OSError) and error.filename is not None:
            raise
        number = getattr(error, "errno", None)
        if number is None:  # neither torch nor safetensors tells it, but in words
            words = str(error)
            told = re.search(r"os error (\d+)", words)
            full = shutil.disk_usage(path.parent).free < 2**20
            number = int(told[1]) if told else errno.ENOSPC if full else errno.EIO
        raise OSError(number, os.strerror(number), str(path)) from error


def write_text(path: Path, text: str) -> None:
    """Replace the file's content in one step: readers see the old text or the new one."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with temporary.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


@contextmanager
def new_directory(path: Path, keep_old: bool = False) -> Iterator[Path]:
    """A directory that appears under its name complete, or not at all.

    An older one of that name steps aside first, so for a moment only `.old` exists: `find` looks
    there too.

    Args:
        keep_old: whether it stays there, lest the new one be damaged some day.
    """
    fresh, old = path.with_name(path.name + ".new"), path.with_name(path.name + ".old")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    try:
        with _writing(fresh):
            yield fresh
            _flush(fresh)
    except OSError:
        shutil.rmtree(fresh, ignore_errors=True)  # a full disk needs the room
        raise
    if path.exists():
        shutil.rmtree(old, ignore_errors=True)
        path.replace(old)
    fresh.replace(path)
    if not keep_old:
        shutil.rmtree(old, ignore_errors=True)


def _flush(directory: Path) -> None:
    """Force the files' contents to the disk."""
    for file in directory.iterdir():
        with file.open("rb") as opened:
            os.fsync(opened.fileno())


def weights(model: nn.Module) -> dict[str, Tensor]:
    """The module's own state, as separate contiguous tensors on the CPU."""
    return separate(model.state_dict())


def separate(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Contiguous copies on the CPU."""
    return {
        name: value.detach().to("cpu", copy=True).contiguous() for name, value in tensors.items()
    }


def save_weights(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write tensors as safetensors."""
    save_file(dict(tensors), path)


def load_weights(
    model: nn.Module,
    path: Path,
    prepare: Callable[[dict[str, Tensor]], dict[str, Tensor]] = dict,
) -> None:
    """Copy the file's tensors, as `prepare` gives them, into the module as it is placed."""
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"cannot read the weights {path}: {error}") from None
    try:
        model.load_state_dict(prepare(tensors))
    except RuntimeError as error:
        raise CheckpointError(f"the weights {path} are not of this model: {error}") from None


def save(
    path: Path,
    tensors: Mapping[str, Tensor],
    state: Mapping[str, Any],
    meta: Mapping[str, Any],
    keep_old: bool = False,
) -> None:
    """Write a checkpoint directory.

    Args:
        keep_old: whether the one of that name before stays beside it, as `.old`.
    """
    with new_directory(path, keep_old) as directory:
        save_weights(directory / WEIGHTS, tensors)
        torch.save(dict(state), directory / STATE)
        _flush(directory)
        sums = {name: _sha256(directory / name) for name in (WEIGHTS, STATE)}
        # Last, and in one step: a directory without it is not a checkpoint, one with it is whole.
        write_text(directory / META, json.dumps({**meta, "sha256": sums}, indent=1))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def load_state(path: Path) -> dict[str, Any]:
    """The state beside the weights; only tensors and plain values are ever loaded."""
    try:
        return torch.load(path / STATE, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for a damaged file
        reason = str(error).splitlines()[0]
        raise CheckpointError(f"cannot read the checkpoint {path}: {reason}") from None


def read_meta(path: Path) -> dict[str, Any]:
    """What a checkpoint says of itself."""
    with reading(path / META):
        meta = json.loads((path / META).read_text(encoding="utf-8"))
        counts = {"epoch": int(meta.get("epoch", 0)), "processes": int(meta.get("processes", 1))}
        return {**meta, "step": int(meta["step"]), **counts}


def damage(path: Path) -> str | None:
    """What is wrong with a checkpoint's files, judged by their checksums; None if nothing."""
    try:
        with reading(path):
            for name, expected in read_meta(path).get("sha256", {}).items():
                if _sha256(path / Path(name).name) != expected:
                    return f"{name} is not what was written there"
    except CheckpointError as error:
        return str(error)
    return None


def find(path: Path | str, tell: Callable[[str], object] | None = None) -> Path:
    """The newest sound checkpoint of a run folder, or the checkpoint directory itself.

    A damaged one is passed over for the one before it, at last for the best one.

    Args:
        tell: called with a sentence on each that is passed over; else it is a warning.
    """
    path = Path(path)
    if (path / META).is_file():
        if (why := damage(path)) is not None:
            raise CheckpointError(f"the checkpoint {path} is damaged: {why}; take another")
        return path
    places = [path, path / "checkpoints"]
    found = [each for place in places for each in place.glob("*/") if (each / META).is_file()]
    # `last.new` and `last.old` count: a process may die between the two renames.
    found += [p for p in (path.with_name(path.name + ".old"),) if (p / META).is_file()]
    if not found:
        raise NoCheckpointError(f"no checkpoint in {path}; a run folder has one under checkpoints/")
    for candidate in sorted(found, key=_age, reverse=True):
        if (why := damage(candidate)) is None:
            return candidate
        sentence = f"the checkpoint {candidate} is damaged ({why}), so an older one is taken"
        warnings.warn(sentence, stacklevel=2) if tell is None else tell(sentence)
    raise CheckpointError(f"every checkpoint in {path} is damaged")


def _age(path: Path) -> tuple[bool, float, float]:
    """Later is greater; the best ones come first of all, since going on from them repeats steps."""
    try:
        step = float(read_meta(path)["step"])
    except CheckpointError:
        step = float("inf")  # so that it is told of
    return not path.name.startswith("best"), step, path.stat().st_mtime
