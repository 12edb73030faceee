"""What is done with each kind of file: damaged, and read as the command line would.

A kind is a function of where the good files are, an empty folder, a source of chance, and whether
to leave the file good. It puts a file into the folder and gives what reads it.
"""

import gzip
import importlib.util
import json
import random
import shutil
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from benchmarks import mutations


class Reader(Protocol):
    """Where the good files are, and what a planted program would leave behind."""

    good: Path
    marker: Path


Read = Callable[[], object]


def _load(path: Path, *target: str) -> Read:
    from neurarium.data import load

    return lambda: load(path, *target)


def _csv(reader: Reader, case: Path, draw: random.Random, good: bool) -> Read:
    raw = (reader.good / "t.csv").read_bytes()
    raw = raw if good else mutations.damaged_text(raw, draw)
    if draw.random() < 0.1:
        packed = gzip.compress(raw)
        raw = packed if good or draw.random() < 0.5 else mutations.damaged_bytes(packed, draw)
        (case / "t.csv.gz").write_bytes(raw)
        return _load(case / "t.csv.gz", "y")
    (case / "t.csv").write_bytes(raw)
    if draw.random() < 0.4:  # rows to predict, by a network that learnt from good ones
        return _predict(reader.good / "table", case / "t.csv", case)
    return _load(case / "t.csv", "y")


def _parquet(reader: Reader, case: Path, draw: random.Random, good: bool) -> Read:
    raw = (reader.good / "t.parquet").read_bytes()
    (case / "t.parquet").write_bytes(raw if good else mutations.damaged_bytes(raw, draw))
    return _load(case / "t.parquet", "y")


def _idx(reader: Reader, case: Path, draw: random.Random, good: bool) -> Read:
    shutil.copytree(reader.good / "idx", case / "idx")
    if not good:
        path = draw.choice(sorted((case / "idx").iterdir()))
        raw = path.read_bytes()
        path.write_bytes(mutations.damaged_bytes(raw, draw))
        if draw.random() < 0.2:
            path.rename(path.with_name(path.name + ".gz"))
    if draw.random() < 0.3:
        return _predict(reader.good / "images", case / "idx", case)
    return _load(case / "idx")


def _npz(reader: Reader, case: Path, draw: random.Random, good: bool) -> Read:
    raw = (reader.good / "a.npz").read_bytes()
    raw = raw if good else mutations.damaged_zip(raw, draw, str(reader.marker))
    (case / "a.npz").write_bytes(raw)
    if draw.random() < 0.3:
        return _predict(reader.good / "images", case / "a.npz", case)
    return _load(case / "a.npz")


def _weights(reader: Reader, case: Path, draw: random.Random, good: bool) -> Read:
    which = draw.choice(list(ROWS))
    shutil.copytree(reader.good / which, case / "run")
    files = sorted((case / "run" / "model").glob("*.safetensors"))
    path = draw.choice(files)
    if not good:
        path.write_bytes(mutations.damaged_safetensors(path.read_bytes(), draw))
    return _ask(case / "run", reader.good / ROWS[which], case, draw)


def _config(reader: Reader, case: Path, draw: random.Random, good: bool) -> Read:
    which = draw.choice(list(ROWS))
    run = case / "run"
    shutil.copytree(reader.good / which, run)
    names = ("config.yaml", "metrics.jsonl", "model/model.json", "model/preprocessing.json")
    path = run / draw.choice(names)
    raw = path.read_bytes()
    if good:
        pass
    elif path.suffix == ".yaml":
        path.write_bytes(mutations.damaged_yaml(raw, draw, str(reader.marker)))
    elif path.suffix == ".json":
        path.write_bytes(mutations.damaged_json(raw, draw))
    else:
        path.write_bytes(mutations.damaged_text(raw, draw))
    if path.suffix == ".yaml" and draw.random() < 0.5:
        return _resume(run)
    return _ask(run, reader.good / ROWS[which], case, draw)


def _checkpoint(reader: Reader, case: Path, draw: random.Random, good: bool) -> Read:
    run = case / "run"
    shutil.copytree(reader.good / "table", run)
    for other in (run / "checkpoints").iterdir():
        if other.name != "last":
            shutil.rmtree(other)
    names = ("model.safetensors", "state.pt", "meta.json")
    path = run / "checkpoints" / "last" / draw.choice(names)
    raw = path.read_bytes()
    if not good:
        if path.suffix == ".json":
            raw = mutations.damaged_json(raw, draw)
        elif path.suffix == ".pt":
            raw = mutations.damaged_zip(raw, draw, str(reader.marker))
        else:
            raw = mutations.damaged_safetensors(raw, draw)
        path.write_bytes(raw)
        if path.suffix != ".json" and draw.random() < 0.7:
            _restamp(path)
    return _resume(run)


def _restamp(path: Path) -> None:
    """Make the checksum that of the damaged file, so that what comes after it is tried too."""
    import hashlib

    meta = path.with_name("meta.json")
    content = json.loads(meta.read_text())
    if "sha256" in content:
        content["sha256"][path.name] = hashlib.sha256(path.read_bytes()).hexdigest()
        meta.write_text(json.dumps(content))


def _arrays(reader: Reader, case: Path, draw: random.Random, good: bool) -> Read:
    shutil.copytree(reader.good / "arrays", case / "arrays")
    path = case / "arrays" / draw.choice(("x.npy", "y.npy"))
    if not good:
        path.write_bytes(mutations.damaged_npy(path.read_bytes(), draw, str(reader.marker)))
    if draw.random() < 0.5:
        return _load(case / "arrays")
    rows = case / "arrays" / draw.choice(("", "x.npy"))
    return _predict(reader.good / "images", rows, case)


def _pictures(reader: Reader, case: Path, draw: random.Random, good: bool) -> Read:
    shutil.copytree(reader.good / "pictures", case / "pictures")
    path = draw.choice(sorted((case / "pictures").rglob("*.*")))
    if not good:
        path.write_bytes(mutations.damaged_bytes(path.read_bytes(), draw))
        if draw.random() < 0.2:  # another format than its name says
            path.rename(path.with_suffix(draw.choice((".gif", ".tif", ".bmp", ".webp", ".ppm"))))
    source = case / "pictures"
    if draw.random() < 0.3:
        source = _archived(source, draw, good)
    elif draw.random() < 0.4:
        return _predict(reader.good / "photos", source, case)
    return _load(source)


def _archived(folder: Path, draw: random.Random, good: bool) -> Path:
    path = folder.with_name("p" + draw.choice((".zip", ".tar", ".tar.gz")))
    strange = f"../{folder.name}/a/out.png"  # a member that would lie outside
    files = [(str(p.relative_to(folder)), p) for p in sorted(folder.rglob("*.*"))]
    if not good and draw.random() < 0.3:
        files.append((strange, files[0][1]))
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as zipped:
            for name, file in files:
                zipped.write(file, name)
    else:
        with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w") as tarred:
            for name, file in files:
                tarred.add(file, name)
    if not good and draw.random() < 0.6:
        path.write_bytes(mutations.damaged_bytes(path.read_bytes(), draw))
    return path


def _planetoid(reader: Reader, case: Path, draw: random.Random, good: bool) -> Read:
    shutil.copytree(reader.good / "planetoid", case / "planetoid")
    path = draw.choice(sorted((case / "planetoid").iterdir()))
    raw = path.read_bytes()
    if not good:
        damage = mutations.damaged_text if path.suffix == ".index" else mutations.damaged_bytes
        if path.suffix != ".index" and draw.random() < 0.4:
            raw = mutations.planted_pickle(raw, draw, str(reader.marker))
        else:
            raw = damage(raw, draw)
        path.write_bytes(raw)
    return _load(case / "planetoid")


def _nodes(reader: Reader, case: Path, draw: random.Random, good: bool) -> Read:
    for name in ("nodes.csv", "edges.csv"):
        shutil.copy(reader.good / name, case / name)
    path = case / draw.choice(("nodes.csv", "edges.csv", "edges.csv"))
    if not good:
        path.write_bytes(mutations.damaged_text(path.read_bytes(), draw))
    from neurarium.data import load

    return lambda: load(case / "nodes.csv", "y", edges=case / "edges.csv", directed=good)


def _text(reader: Reader, case: Path, draw: random.Random, good: bool) -> Read:
    raw = (reader.good / "book.txt").read_bytes()
    path = case / "book.txt"
    path.write_bytes(raw if good else mutations.damaged_prose(raw, draw))
    if draw.random() < 0.4:
        return _predict(reader.good / "text", path, case)
    return _load(path)


def _series(reader: Reader, case: Path, draw: random.Random, good: bool) -> Read:
    raw = (reader.good / "hours.csv").read_bytes()
    path = case / "hours.csv"
    path.write_bytes(raw if good else mutations.damaged_text(raw, draw))
    if draw.random() < 0.4:
        return _predict(reader.good / "series", path, case)
    from neurarium.data import load

    return lambda: load(path, "load", time="when", horizon=3)


KINDS: dict[str, Callable[[Reader, Path, random.Random, bool], Read]] = {
    "csv": _csv, "parquet": _parquet, "idx": _idx, "npz": _npz, "arrays": _arrays,
    "pictures": _pictures, "planetoid": _planetoid, "nodes": _nodes, "text": _text,
    "series": _series, "safetensors": _weights, "config": _config, "checkpoint": _checkpoint,
}  # fmt: skip
if importlib.util.find_spec("pyarrow") is None:
    KINDS.pop("parquet")
ROWS = {
    "table": "t.csv", "images": "idx", "photos": "pictures", "text": "book.txt",
    "reviews": "reviews.csv", "series": "hours.csv", "graph": "nodes.csv",
}  # fmt: skip
"""The run folders there are, and new rows for each."""


def _ask(run: Path, rows: Path, case: Path, draw: random.Random) -> Read:
    """What people ask of a trained network."""
    from neurarium.cli.evaluate import evaluate
    from neurarium.cli.generate import generate

    chance = draw.random()
    if chance < 0.3:
        return lambda: evaluate(str(run), str(rows))
    if chance < 0.5 and rows.suffix == ".txt":
        return lambda: generate(str(run), "to be", 5)
    return _predict(run, rows, case)


def _predict(run: Path, rows: Path, case: Path) -> Read:
    from neurarium.cli.predict import predict

    proba = rows.suffix != ".txt"  # a language model has no classes
    return lambda: predict(str(run), str(rows), output=case / "answers.csv", proba=proba)


def _resume(run: Path) -> Read:
    from neurarium.cli.resume import resume

    return lambda: resume(str(run), no_report=True, quiet=True)
