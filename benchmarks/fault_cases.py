"""Faults one by one: each is caused on purpose, and what it cost is found out.

A case is a function of an empty folder. It says what happened, and fails unless the run ends, in
the end, as one that nothing befell: on the same weights, with the same history.
"""

import contextlib
import hashlib
import io
import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

PATIENCE = 400  # seconds for any process
_NETWORK = ("--network=MLP:hidden=16", "--lr=0.003", "--epochs=250", "--val-size=0.2", "--seed=1")


class Bench:
    """A folder with a table, and how an undisturbed training of it ends."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.table = folder / "table.csv"
        draw = random.Random(0)
        rows = [[f"{draw.gauss(0, 1):.4f}" for _ in range(4)] for _ in range(200)]
        lines = [",".join([*row, "yes" if float(row[0]) > 0 else "no"]) for row in rows]
        self.table.write_text("\n".join(["a,b,c,d,y", *lines]) + "\n")
        self._expected: dict[str, Any] | None = None

    def words(self, place: Path, *more: str) -> list[str]:
        """The command that trains below this folder."""
        common = ("--target=y", *_NETWORK, "--no-report", "-q", f"--directory={place}")
        return ["fit", str(self.table), *common, *more]

    @property
    def expected(self) -> dict[str, Any]:
        if self._expected is None:
            done = neurarium(self.words(self.folder / "expected"))
            assert done.returncode == 0, done.stderr
            self._expected = outcome(self.folder / "expected")
        return self._expected

    def interrupted(self, place: Path, number: int = signal.SIGTERM) -> subprocess.CompletedProcess:
        """A run that a signal ended after its first checkpoint."""
        child = start(self.words(place))
        wait_for(place, "*/*/checkpoints/best/meta.json", child)
        child.send_signal(number)
        out, err = child.communicate(timeout=PATIENCE)
        return subprocess.CompletedProcess(child.args, child.returncode, out, err)

    def resumed(self, place: Path, clock: str = "") -> str:
        """Go on; what was said. Fails unless the end is the expected one."""
        done = neurarium(["resume", str(run_of(place)), "--no-report"], clock=clock)
        assert done.returncode == 0, done.stderr
        assert outcome(place) == self.expected, "the resumed run ends differently"
        return done.stdout + done.stderr


def sigterm(bench: Bench, folder: Path) -> str:
    """SIGTERM to a training"""
    ended = bench.interrupted(folder)
    assert ended.returncode == 128 + signal.SIGTERM, ended
    assert "go on with: neurarium resume" in one_line(ended.stderr)
    bench.resumed(folder)
    return "the step was finished and saved, exit code 143; resumed"


def kill_study(bench: Bench, folder: Path) -> str:
    """kill -9 of a study (neurarium compare)"""
    words = ["compare", str(bench.table), "--target=y", "--network=MLP:hidden=8", "--lr=0.003",
             "--epochs=40", "--vary=optimizer=adamw,sgd", "--seeds=3", "--workers=1",
             "--no-report", "--json"]  # fmt: skip
    whole = neurarium([*words, f"--directory={folder / 'whole'}"])
    assert whole.returncode == 0, whole.stderr
    child = start([*words, f"--directory={folder / 'cut'}"], start_new_session=True)
    deadline = time.monotonic() + PATIENCE
    while len(_trials_of(folder / "cut")) < 2 and time.monotonic() < deadline:
        assert child.poll() is None, "the study ended before it was killed"
        time.sleep(0.02)
    os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    kept = _trials_of(folder / "cut")
    again = neurarium([*words, f"--directory={folder / 'cut'}"])
    assert again.returncode == 0, again.stderr
    now = _trials_of(folder / "cut")
    assert all(now[path] == moment for path, moment in kept.items()), "a trial was run twice"
    tables = [json.loads(done.stdout)["arms"] for done in (whole, again)]
    timeless = [[{k: v for k, v in row.items() if k != "seconds"} for row in t] for t in tables]
    assert timeless[0] == timeless[1], "the table is another one"
    assert len(now) == len(_trials_of(folder / "whole"))
    return f"{len(kept)} trials were kept and not run again; same table"


def _trials_of(study: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in study.rglob("?" * 20 + ".json")}


def full_disk(bench: Bench, folder: Path) -> str:
    """a full disk"""
    with small_disk(folder / "disk", "512k") as disk:
        if disk is None:  # no right to mount: files may not grow beyond a limit instead
            place = folder / "place"
            ended = neurarium(
                bench.words(place, "--network=MLP:hidden=128x128"), largest_file=2**16
            )
            assert ended.returncode == 1, ended
            assert "File too large" in one_line(ended.stderr)
            return "one sentence on what could not be written; nothing to go on from yet"
        child = start(bench.words(disk))
        wait_for(disk, "*/*/checkpoints/best/meta.json", child)
        with contextlib.suppress(OSError), (disk / "filler").open("wb", buffering=0) as filler:
            while True:
                filler.write(bytes(4096))
        _, err = child.communicate(timeout=PATIENCE)
        assert child.returncode == 1, err
        assert "No space left on device" in one_line(err)
        (disk / "filler").unlink()
        bench.resumed(disk)
    return "stopped in one sentence, the checkpoint before whole; resumed once there was room"


def read_only(bench: Bench, folder: Path) -> str:
    """a read-only run folder"""
    with small_disk(folder / "disk", "512k") as disk:
        place = disk or folder / "place"
        if disk is not None:
            subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        else:
            place.mkdir()
            place.chmod(0o555)
        ended = neurarium(bench.words(place))
        if ended.returncode == 0:
            return "not tried: this user may write everywhere, and mount nothing"
        assert ended.returncode == 2, ended
        assert "cannot use" in one_line(ended.stderr)
    return "refused before any training, in one sentence"


def truncated(bench: Bench, folder: Path) -> str:
    """a truncated checkpoint"""
    return _damaged(bench, folder, lambda raw: raw[: len(raw) // 2])


def flipped(bench: Bench, folder: Path) -> str:
    """one flipped bit in a checkpoint"""

    def flip(raw: bytes) -> bytes:
        middle = len(raw) // 2
        return raw[:middle] + bytes([raw[middle] ^ 4]) + raw[middle + 1 :]

    return _damaged(bench, folder, flip)


def all_flipped(bench: Bench, folder: Path) -> str:
    """a flipped bit in every checkpoint"""
    bench.interrupted(folder)
    files = sorted(run_of(folder).glob("checkpoints/*/model.safetensors"))
    for file in files:
        raw = file.read_bytes()
        file.write_bytes(raw[:-1] + bytes([raw[-1] ^ 1]))
    said = bench.resumed(folder)
    assert said.count("is damaged (") == len(files), said
    assert "is damaged; starting over in the same way" in said, said
    return f"all {len(files)} named; the run began again, to the same bytes"


def _damaged(bench: Bench, folder: Path, damage: Callable[[bytes], bytes]) -> str:
    for file in ("model.safetensors", "state.pt"):
        place = folder / file
        bench.interrupted(place)
        path = run_of(place) / "checkpoints" / "last" / file
        path.write_bytes(damage(path.read_bytes()))
        said = bench.resumed(place)
        assert "last is damaged" in said
        assert "an older one is taken" in said
    return "found by its checksum and said; resumed from the checkpoint before it"


def corrupted_data(bench: Bench, folder: Path) -> str:
    """a data file that changed under a run"""
    bench.interrupted(folder)
    good = bench.table.read_bytes()
    try:
        bench.table.write_bytes(good.replace(b"1", b"2", 1))
        refused = neurarium(["resume", str(run_of(folder))])
        bench.table.write_bytes(good[: len(good) // 2].rpartition(b",")[0])
        torn = neurarium(["resume", str(run_of(folder))])
    finally:
        bench.table.write_bytes(good)
    assert refused.returncode == 2, refused
    assert "is not what it was" in one_line(refused.stderr)
    assert torn.returncode == 2, torn
    assert "line" in one_line(torn.stderr)
    bench.resumed(folder)
    return "refused in one sentence; resumed with the right file"


def clock(bench: Bench, folder: Path) -> str:
    """a clock that jumps by days"""
    wild = neurarium(bench.words(folder / "wild"), clock="wild")
    assert wild.returncode == 0, wild.stderr
    assert outcome(folder / "wild") == bench.expected
    folder /= "back"
    bench.interrupted(folder)
    run = run_of(folder)
    for path in (run / "checkpoints").iterdir():  # what was written before the jump is newer now
        os.utime(path, (time.time() + 86_400,) * 2) if path.name != "last" else None
    bench.resumed(folder, clock="back")
    return "trained to the same bytes; steps decide which checkpoint is newest; resumed"


def dead_loader(bench: Bench, folder: Path) -> str:
    """a DataLoader worker that is killed"""
    _child("loader", folder / "whole", "never")
    dead = _child("loader", folder / "cut", "once", expect=1)
    assert "a worker process of the DataLoader died" in dead, dead
    _child("loader", folder / "cut", "resume")
    assert outcome(folder / "cut", "") == outcome(folder / "whole", "")
    return "said in one sentence; resumed from the last checkpoint"


def nan_weights(bench: Bench, folder: Path) -> str:
    """a weight that turns NaN"""
    _child("nan", folder / "whole", "never")
    said = _child("nan", folder / "cut", "once", expect=1)
    assert "first non-finite value in the parameter" in said, said
    assert "last good checkpoint" in said
    _child("nan", folder / "cut", "resume")
    assert outcome(folder / "cut", "") == outcome(folder / "whole", "")
    return "stopped, naming the parameter, before a checkpoint held it; resumed"


def nan_data(bench: Bench, folder: Path) -> str:
    """NaN in the data"""
    import numpy as np

    x = np.random.default_rng(0).normal(size=(60, 3)).astype(np.float32)
    y = (x[:, 0] > 0).astype(int)
    x[41, 1] = np.nan
    np.savez(folder / "a.npz", x=x, y=y)
    refused = neurarium(["fit", str(folder / "a.npz"), f"--directory={folder}"])
    assert refused.returncode == 2, refused
    assert "NaN or infinity in row 42" in one_line(refused.stderr)
    lines = bench.table.read_text().splitlines()
    lines[3] = "nan" + lines[3][lines[3].index(",") :]
    (folder / "t.csv").write_text("\n".join(lines))
    words = [word.replace(str(bench.table), str(folder / "t.csv")) for word in bench.words(folder)]
    trained = neurarium([*words, "--max-steps=4"])
    assert trained.returncode == 0, trained.stderr
    return "arrays: refused with its row; tables: a missing value, as documented"


def memory(bench: Bench, folder: Path) -> str:
    """a batch too large for the memory"""
    said = _child("memory", folder, "25000", expect=1)
    sentence = one_line(said)
    fitting = int(sentence.rpartition("--batch-size ")[2].rstrip(")"))
    _child("memory", folder, str(fitting))
    return f"one sentence: of 25000 rows {fitting} fit; they do"


def larger(bench: Bench, folder: Path) -> str:
    """20 GB of data, 1 GB of memory"""
    import numpy as np

    rows = 20 * 2**30 // (4 * 256)
    x = np.lib.format.open_memmap(folder / "x.npy", "w+", np.float32, (rows, 256))
    y = np.random.default_rng(0).integers(0, 2, rows).astype(np.uint8)
    np.save(folder / "y.npy", y)
    x[:: rows // 500] = y[:: rows // 500, None]  # the rest of the file is a hole
    del x
    said = _child("larger", folder, "-")
    peak = int(said.strip().splitlines()[-1])
    assert peak < 2**30, f"{peak / 2**20:.0f} MB were resident"
    return f"{rows:,} rows of 256 numbers trained on, {peak / 2**20:.0f} MB resident at most"


CASES: dict[str, Callable[[Bench, Path], str]] = {
    case.__name__: case
    for case in (
        sigterm, kill_study, full_disk, read_only, truncated, flipped, all_flipped,
        corrupted_data, clock,
        dead_loader, memory, nan_data, nan_weights, larger,
    )
}  # fmt: skip


# Processes


def _command(clock: str, largest_file: int) -> list[str]:
    lines = ["import sys, time, resource", "from neurarium.cli import main"]
    if clock:  # a day back, or at every look some days on or back
        jump = {"back": "-1", "wild": "random.randint(-9, 9)"}[clock]
        lines += ["import random", "now = time.time"]
        lines += [f"time.time = lambda: now() + 86400 * {jump}"]
    if largest_file:
        lines += [f"resource.setrlimit(resource.RLIMIT_FSIZE, ({largest_file},) * 2)"]
    return [sys.executable, "-c", "\n".join([*lines, "raise SystemExit(main())"])]


def start(
    words: list[str], clock: str = "", largest_file: int = 0, **options: Any
) -> subprocess.Popen:
    """The command as a process."""
    return subprocess.Popen(
        [*_command(clock, largest_file), *words],
        env={**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def neurarium(words: list[str], **options: Any) -> subprocess.CompletedProcess:
    """The command to its end."""
    child = start(words, **options)
    try:
        out, err = child.communicate(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        child.kill()
        raise
    return subprocess.CompletedProcess(child.args, child.returncode, out, err)


def _child(kind: str, folder: Path, how: str, expect: int = 0) -> str:
    command = [sys.executable, __file__, kind, str(folder), how]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == expect, done.stderr
    return done.stderr


def wait_for(place: Path, pattern: str, child: subprocess.Popen) -> None:
    """Until there is such a file."""
    deadline = time.monotonic() + PATIENCE
    while not list(place.glob(pattern)):
        assert child.poll() is None, child.communicate()
        assert time.monotonic() < deadline, f"no {pattern} in {place}"
        time.sleep(0.02)


def run_of(place: Path) -> Path:
    (run,) = place.glob("*/*/config.yaml")
    return run.parent


def outcome(place: Path, pattern: str = "*/*/config.yaml") -> dict[str, Any]:
    """What must not depend on faults: the weights' bytes and the history but its clock."""
    run = run_of(place) if pattern else place
    lines = (run / "metrics.jsonl").read_text().splitlines()
    history = [{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in lines]
    weights = (run / "model" / "model.safetensors").read_bytes()
    return {"weights": hashlib.sha256(weights).hexdigest(), "history": history}


def one_line(text: str) -> str:
    """The last line of standard error, after which there must be no traceback."""
    assert "Traceback" not in text, text
    return text.strip().splitlines()[-1]


@contextlib.contextmanager
def small_disk(place: Path, size: str) -> Iterator[Path | None]:
    """A file system of this size; None where this user may not mount one."""
    place.mkdir(parents=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)]
    try:
        mounted = subprocess.run(command, capture_output=True).returncode == 0
    except FileNotFoundError:
        mounted = False
    try:
        yield place if mounted else None
    finally:
        if mounted:
            subprocess.run(["umount", "-l", str(place)], check=True)


# Children that use the library itself


def _loader(folder: Path, how: str) -> None:
    """Train by a loader with a worker, which dies on the way where it is told to, `once`."""
    from torch.utils.data import DataLoader, TensorDataset

    from neurarium.data import Data

    x, y = _rows()

    class Deadly(TensorDataset):
        seen = 0

        def __getitem__(self, index: int) -> Any:
            Deadly.seen += 1  # in the worker, which lives for one epoch
            late = Deadly.seen == 150 and (folder / "checkpoints" / "last").exists()
            if how == "once" and late:
                os.kill(os.getpid(), signal.SIGKILL)
            return super().__getitem__(index)

    loader = DataLoader(Deadly(x[:200], y[:200]), 20, shuffle=True, num_workers=1)
    data = Data(loader, (x[200:], y[200:]), task="binary", classes=["a", "b"])
    _fit(data, folder, how)


def _nan(folder: Path, how: str) -> None:
    """Train, and set a weight to NaN on the way, `once`."""
    import torch

    from neurarium.data import Data
    from neurarium.training import Callback

    class Poison(Callback):
        order = 15  # before the checkpoint of the same step is written

        def on_train_batch_end(self, trainer: Any, outputs: Any, batch: Any, index: int) -> None:
            if how == "once" and trainer.step == 15:
                with torch.no_grad():
                    next(trainer.model.parameters())[0, 0] = torch.nan

    x, y = _rows()
    data = Data((x[:200], y[:200]), (x[200:], y[200:]), task="binary", classes=["a", "b"])
    _fit(data, folder, how, Poison())


def _fit(data: Any, folder: Path, how: str, *more: Any) -> None:
    import torch

    from neurarium.learning import Backprop
    from neurarium.networks import MLP
    from neurarium.training import Checkpoint, checkpoints, fit

    torch.manual_seed(0)
    if how == "resume":
        print("going on from", checkpoints.find(folder))
    fit(
        MLP([5, 16, 2], dropout=0.1), data, rule=Backprop("adamw", lr=0.01), epochs=5,
        batch_size=20, seed=1, directory=folder, resume=how == "resume", verbose=False,
        callbacks=[Checkpoint(every_n_steps=5, every_n_seconds=0), *more],
    )  # fmt: skip


def _rows() -> Any:
    import torch

    x = torch.randn(260, 5, generator=torch.Generator().manual_seed(0))
    return x, (x[:, 0] > 0).long()


def _memory(folder: Path, how: str) -> None:
    """Train with batches of so many rows in little memory, as the command would."""
    import numpy as np

    import neurarium.training.automatic  # noqa: F401
    from neurarium.cli import main

    if not (folder / "a.npz").exists():
        x = np.random.default_rng(0).normal(size=(40_000, 8)).astype(np.float32)
        np.savez(folder / "a.npz", x=x, y=(x[:, 0] > 0).astype(int))
    words = ["fit", str(folder / "a.npz"), f"--directory={folder}", "-q", "--no-report"]
    warm = [*words, "--network=MLP:hidden=8", "--lr=0.001", "--max-steps=1"]
    with contextlib.redirect_stdout(io.StringIO()):  # loads all that is needed
        assert main(warm) == 0
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + 400 * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    network = ["--network=MLP:hidden=2048x2048", "--lr=0.001", "--max-steps=2"]
    sys.exit(main([*words, *network, f"--batch-size={how}"]))


def _larger(folder: Path, how: str) -> None:
    """An epoch over what is much larger than this process may be."""
    import pandas  # noqa: F401
    import sklearn.model_selection  # noqa: F401

    import neurarium.training.automatic  # noqa: F401
    from neurarium.cli import main

    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + 900 * 2**20  # of which threads reserve a part
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    network = ["--network=MLP:hidden=4", "--lr=0.01", "--epochs=1", "--batch-size=16384"]
    code = main(
        ["fit", str(folder), f"--directory={folder / 'runs'}", "-q", "--no-report", *network]
    )
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, file=sys.stderr)
    sys.exit(code)


if __name__ == "__main__":
    {"loader": _loader, "nan": _nan, "memory": _memory, "larger": _larger}[sys.argv[1]](
        Path(sys.argv[2]), sys.argv[3]
    )
