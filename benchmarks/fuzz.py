"""Feed thousands of damaged files to every loader: each must load or be refused in one sentence.

    python benchmarks/fuzz.py --files 10000

Each file is a good one damaged at random (see `mutations.py`), named by its kind and a number, so
that `--case npz:123` gives the same again, with its traceback. Two processes read the files, each
with a limit on its address space; one that does not answer in time is killed. A planted pickle or
YAML tag that runs would leave a folder behind, which is looked for after every file. Exit code 1
unless every file was loaded or refused.
"""

import argparse
import collections
import contextlib
import gzip
import io
import json
import os
import queue
import random
import resource
import select
import shutil
import subprocess
import sys
import tempfile
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks import mutations

LIMIT = 2**30  # bytes of address space beyond what the libraries take
PATIENCE, LONGEST = 10.0, 300.0  # seconds for one file: of a processor, and of the clock
OUTCOMES = ("loaded", "refused", "crashed", "hung", "killed", "executed")
BAD = OUTCOMES[2:]


def main() -> None:
    arguments = _arguments()
    if arguments.child:
        serve(Path(arguments.child), arguments.seed)
    elif arguments.case:
        kind, number = arguments.case.split(":")
        with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
            make_good_files(Path(folder) / "good")
            print(json.dumps(Reader(Path(folder), arguments.seed).judge(kind, int(number), True)))
    else:
        chosen = arguments.kinds.split(",") if arguments.kinds else list(KINDS)
        found = fuzz(arguments.files, chosen, arguments.seed, arguments.processes)
        read = sum(len(results) for results in found.values())
        sys.exit(report(found) or read != arguments.files)


def fuzz(files: int, kinds: list[str], seed: int, processes: int) -> dict[str, list[Any]]:
    """What became of each file, by kind."""
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        make_good_files(Path(folder) / "good")
        waiting: queue.SimpleQueue[tuple[str, int]] = queue.SimpleQueue()
        for i in range(files):
            waiting.put((kinds[i % len(kinds)], i // len(kinds)))
        found: dict[str, list[Any]] = {kind: [] for kind in kinds}
        threads = [
            threading.Thread(target=_feed, args=(Path(folder), seed, n, waiting, found))
            for n in range(processes)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    return found


def report(found: dict[str, list[Any]]) -> int:
    """Print the table and each failure; 1 if there was one."""
    print(f"{'kind':12}{'files':>7}" + "".join(f"{name:>10}" for name in OUTCOMES) + "   memory")
    failures = []
    for kind, results in [*found.items(), ("all", [r for each in found.values() for r in each])]:
        counts = collections.Counter(result["outcome"] for result in results)
        memory = max((result.get("memory", 0) for result in results), default=0)
        cells = "".join(f"{counts[name]:10,}" for name in OUTCOMES)
        print(f"{kind:12}{len(results):7,}{cells} {memory / 2**20:6,.0f} MB")
        if kind != "all":
            failures += [(kind, result) for result in results if result["outcome"] in BAD]
    groups: dict[str, list[str]] = {}
    for kind, result in failures:
        groups.setdefault(f"{result['outcome']}: {result.get('said', '')}", []).append(
            f"{kind}:{result['number']}"
        )
    for what, cases in sorted(groups.items(), key=lambda group: -len(group[1])):
        print(f"{len(cases):5} {what[:300]}   --case {cases[0]}")
    return int(bool(failures))


def _feed(folder: Path, seed: int, number: int, waiting: Any, found: Any) -> None:
    """Give one child file after file; a new one where it died or does not answer."""
    child = None
    while True:
        try:
            kind, case = waiting.get_nowait()
        except queue.Empty:
            break
        if child is None:
            child = _spawn(folder, seed, number)
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write(f"{kind} {case}\n")
        child.stdin.flush()
        answered = _answers(child)
        line = child.stdout.readline() if answered else ""
        if line:
            result = json.loads(line)
        else:
            child.kill()
            code = child.wait()
            result = {"outcome": "killed" if answered else "hung", "said": f"exit code {code}"}
            child = None
        found[kind].append({**result, "number": case})
    if child is not None:
        assert child.stdin is not None
        child.stdin.close()
        child.wait()


def _answers(child: subprocess.Popen[str]) -> bool:
    """Whether an answer, or the child's end, comes before it has computed for too long."""
    start = _computed(child)
    for _ in range(int(LONGEST / 2)):
        if select.select([child.stdout], [], [], 2)[0]:
            return True
        if _computed(child) - start > PATIENCE:
            break
    return False


def _computed(child: subprocess.Popen[str]) -> float:
    """Seconds of a processor, which a busy machine does not stretch."""
    fields = Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _spawn(folder: Path, seed: int, number: int) -> subprocess.Popen[str]:
    own = folder / f"child-{number}"
    own.mkdir(exist_ok=True)
    child = subprocess.Popen(
        [sys.executable, __file__, "--child", str(folder), "--seed", str(seed)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "TMPDIR": str(own), "MPLBACKEND": "agg"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    return child


# The child


def serve(folder: Path, seed: int) -> None:
    """Read kinds and numbers from standard input; answer each with what became of that file."""
    import neurarium.cli.predict
    import neurarium.cli.resume
    import neurarium.data
    import neurarium.report
    import neurarium.training.automatic  # noqa: F401

    reader = Reader(folder, seed)
    for kind in KINDS:  # whatever is imported late is imported now
        reader.judge(kind, -1)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + LIMIT
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    print("ready", flush=True)
    for line in sys.stdin:
        kind, number = line.split()
        print(json.dumps(reader.judge(kind, int(number))), flush=True)


class Reader:
    """Damages the good files and reads them as the command line would."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.good, self.seed = folder / "good", seed
        self.place = Path(tempfile.mkdtemp(prefix="case-", dir=folder))
        self.marker = self.place / "executed"

    def judge(self, kind: str, number: int, loud: bool = False) -> dict[str, Any]:
        """Damage the file of this number (-1: leave it) and tell what the loader made of it."""
        case = self.place / "case"
        shutil.rmtree(case, ignore_errors=True)
        case.mkdir()
        draw = random.Random(f"{self.seed}:{kind}:{number}")
        read = KINDS[kind](self, case, draw, number < 0)
        result: dict[str, Any] = {"outcome": "loaded"}
        try:
            with warnings.catch_warnings(), _unheard():
                warnings.simplefilter("ignore")
                read()
        except BaseException as error:
            if loud:
                traceback.print_exc()
            result = _refusal(error)
        if self.marker.exists():
            self.marker.rmdir()
            result["outcome"] = "executed"
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        return {**result, "memory": peak}


@contextlib.contextmanager
def _unheard() -> Iterator[None]:
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield


def _refusal(error: BaseException) -> dict[str, Any]:
    """Refused, if the command would have said one sentence that needs no traceback."""
    from neurarium.cli.failures import explain

    sentence = explain(error)[1]
    foreign = "--debug" in sentence or isinstance(error, KeyboardInterrupt | SystemExit)
    if not foreign:
        return {"outcome": "refused", "said": sentence}
    frames = traceback.extract_tb(error.__traceback__)
    ours = [f for f in frames if "neurarium" in f.filename] or frames
    where = f"{Path(ours[-1].filename).name}:{ours[-1].lineno}"
    return {"outcome": "crashed", "said": f"{type(error).__name__} at {where}: {sentence[:160]}"}


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
    which = draw.choice(("table", "images"))
    shutil.copytree(reader.good / which, case / "run")
    files = sorted((case / "run" / "model").glob("*.safetensors"))
    path = draw.choice(files)
    if not good:
        path.write_bytes(mutations.damaged_safetensors(path.read_bytes(), draw))
    return _predict(case / "run", reader.good / ("t.csv" if which == "table" else "idx"), case)


def _config(reader: Reader, case: Path, draw: random.Random, good: bool) -> Read:
    which = draw.choice(("table", "images"))
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
    return _predict(run, reader.good / ("t.csv" if which == "table" else "idx"), case)


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


KINDS: dict[str, Callable[[Reader, Path, random.Random, bool], Read]] = {
    "csv": _csv, "parquet": _parquet, "idx": _idx, "npz": _npz, "safetensors": _weights,
    "config": _config, "checkpoint": _checkpoint,
}  # fmt: skip


def _predict(run: Path, rows: Path, case: Path) -> Read:
    from neurarium.cli.predict import predict

    return lambda: predict(str(run), str(rows), output=case / "answers.csv", proba=True)


def _resume(run: Path) -> Read:
    from neurarium.cli.resume import resume

    return lambda: resume(str(run), no_report=True, quiet=True)


# Good files


def make_good_files(folder: Path) -> None:
    """One good file or folder of each kind, small."""
    import numpy as np

    folder.mkdir()
    draw = random.Random(0)
    lines = ["size,colour,when,sunny,y"]
    for i in range(60):
        cells = (
            f"{draw.gauss(0, 1):.3f}", draw.choice("rgb"), f"2020-0{1 + i % 9}-1{i % 10}",
            "yes" if i % 3 else "no", "ab"[i % 2],
        )  # fmt: skip
        lines.append(",".join(cells))
    (folder / "t.csv").write_text("\n".join(lines) + "\n")
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (60, 6, 6), dtype=np.uint8)
    labels = np.arange(60, dtype=np.uint8) % 3
    np.savez(folder / "a.npz", x=images[:, None], y=labels)
    (folder / "idx").mkdir()
    for split, rows in (("train", slice(0, 40)), ("t10k", slice(40, 60))):
        for what, values in (("images-idx3", images[rows]), ("labels-idx1", labels[rows])):
            header = bytes((0, 0, 8, values.ndim)) + np.array(values.shape, ">u4").tobytes()
            (folder / "idx" / f"{split}-{what}-ubyte").write_bytes(header + values.tobytes())
    with contextlib.suppress(ImportError):
        import pandas as pd

        pd.read_csv(folder / "t.csv").to_parquet(folder / "t.parquet")
    if not (folder / "t.parquet").exists():
        KINDS.pop("parquet", None)
    for name, source, target in (("table", "t.csv", ["--target=y"]), ("images", "idx", [])):
        _train(folder, name, [str(folder / source), *target])


def _train(folder: Path, name: str, words: list[str]) -> None:
    """A run folder, as if interrupted just before its end: it can predict, and be resumed."""
    from neurarium.cli import main as neurarium

    options = ["--network=MLP:hidden=8", "--epochs=2", "--lr=0.01", "--val-size=0.2", "-q"]
    places = [f"--directory={folder / 'runs'}", f"--name={name}", "--no-report"]
    with contextlib.redirect_stdout(io.StringIO()):
        code = neurarium(["fit", *words, *options, *places])
    assert code == 0, "the good files of the fuzzer do not train"
    (run,) = (folder / "runs" / name).iterdir()
    (run / "result.json").unlink()
    run.rename(folder / name)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--files", type=int, default=10_000, help="how many files (10000)")
    parser.add_argument("--kinds", help=f"of {','.join(KINDS)}; by default all")
    parser.add_argument("--seed", type=int, default=0, help="of all damage (0)")
    parser.add_argument("--processes", type=int, default=2, help="that read files (2)")
    parser.add_argument("--case", help="one file, KIND:NUMBER, with its traceback")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
