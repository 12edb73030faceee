"""Cause faults, and see that nothing is lost: kill a training, fill its disk, damage its files.

    python benchmarks/faults.py --trials 20

First a training is killed with SIGKILL at random steps. Every trial is two fresh processes: one is
killed somewhere (perhaps while it writes a checkpoint), the next goes on from what is left on disk.
The final weights' SHA-256 and the whole history must equal those of a run that nobody interrupted.
Then come the faults of `fault_cases.py`, and a table of all. Exit code 1 if anything was lost.
"""

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks import fault_cases, fault_nodes
from benchmarks.fault_cases import Bench

KINDS = ("resident", "loader")
_CASES = fault_cases.CASES | fault_nodes.CASES
_EPOCHS, _BATCH_SIZE, _STEPS_BETWEEN_CHECKPOINTS = 6, 32, 5
_LONGEST_DELAY = 0.02  # seconds from the chosen step to the kill: between, or inside, two steps


def main() -> None:
    arguments = _arguments()
    if arguments.child:
        train(arguments.child, Path(arguments.directory))
        return
    draw = random.Random(arguments.seed)
    rows: list[tuple[str, str, str, float]] = []
    with tempfile.TemporaryDirectory(prefix="faults-") as folder:
        if arguments.trials:
            begun = time.monotonic()
            good = _trials(Path(folder), arguments.trials, draw)
            happened = f"{good} of {arguments.trials} resumed to the same bytes"
            lost = "nothing" if good == arguments.trials else "STEPS"
            rows.append(("kill -9 of a training", happened, lost, time.monotonic() - begun))
            print(happened, flush=True)
        chosen = [name for name in arguments.only.split(",") if name]
        rows += _cases(Path(folder), chosen if arguments.only != "all" else list(_CASES))
    print()
    for row in [("fault", "what happened", "lost", None), *rows]:
        seconds = "" if row[3] is None else f"{row[3]:5.0f} s"
        print(f"{row[0]:38} {row[2]:8} {seconds:8} {row[1]}")
    sys.exit(any(row[2] != "nothing" for row in rows))


def _cases(folder: Path, names: list[str]) -> list[tuple[str, str, str, float]]:
    bench = Bench(folder)
    rows = []
    for name in names:
        begun, place = time.monotonic(), folder / f"case-{name}"
        place.mkdir()
        try:
            happened, lost = _CASES[name](bench, place), "nothing"
        except Exception as error:  # the other faults are still to be seen
            happened, lost = f"{type(error).__name__}: {error}"[-2000:], "FAILED"
        rows.append((_CASES[name].__doc__ or name, happened, lost, time.monotonic() - begun))
        print(f"{name}: {happened}", flush=True)
    return rows


def _trials(folder: Path, trials: int, draw: random.Random) -> int:
    expected = {}
    for kind in KINDS[:trials]:
        _spawn(kind, folder / kind).wait()
        expected[kind] = _outcome(folder / kind)
    good = 0
    for trial in range(trials):
        kind = KINDS[trial % len(KINDS)]
        directory = folder / f"{kind}-{trial}"
        killed_at = _kill_somewhere(kind, directory, expected[kind]["steps"], draw)
        _spawn(kind, directory).wait()
        same = _outcome(directory) == expected[kind]
        good += same
        found = "same weights" if same else "DIFFERENT"
        print(f"{kind:9} killed after step {killed_at:3}: {found}", flush=True)
    return good


def _kill_somewhere(kind: str, directory: Path, steps: int, draw: random.Random) -> int:
    """Start a training and kill it; again, should it have ended before the signal came."""
    while True:
        wanted, seen = draw.randrange(1, steps), 0
        child = _spawn(kind, directory, stdout=subprocess.PIPE)
        assert child.stdout is not None
        for line in child.stdout:
            seen = int(line)
            if seen >= wanted:
                break
        time.sleep(draw.uniform(0, _LONGEST_DELAY))
        child.kill()
        child.stdout.close()
        if child.wait() == -signal.SIGKILL:
            return seen
        if not seen:
            raise RuntimeError("the training ended before its first step; see its error above")
        shutil.rmtree(directory)


def _spawn(kind: str, directory: Path, **streams: Any) -> subprocess.Popen[str]:
    command = [sys.executable, __file__, "--child", kind, "--directory", str(directory)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    streams.setdefault("stdout", subprocess.DEVNULL)
    return subprocess.Popen(command, env=environment, text=True, **streams)


def _outcome(directory: Path) -> dict[str, Any]:
    """What must not depend on interruptions: the weights' bytes and the history but its clock."""
    weights = directory / "model" / "model.safetensors"
    if not weights.exists():
        return {"weights": None}
    lines = (directory / "metrics.jsonl").read_text().splitlines()
    history = [{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in lines]
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    return {"weights": digest, "history": history, "steps": history[-1]["step"]}


# The child


def train(kind: str, directory: Path) -> None:
    """Train, or go on if the folder has a checkpoint; tell each finished step on stdout."""
    from neurarium.learning import Backprop
    from neurarium.networks import MLP
    from neurarium.training import EMA, Callback, Checkpoint, EarlyStopping, fit

    class Tell(Callback):
        order = 15  # before the checkpoint is written, so that kills fall into the writing too

        def on_train_batch_end(self, trainer: Any, outputs: Any, batch: Any, index: int) -> None:
            print(trainer.step, flush=True)

    import torch

    torch.manual_seed(1)
    fit(
        MLP([20, 32, 32, 3], norm="batch", dropout=0.2),
        _data(kind),
        rule=Backprop("adamw", lr=0.01, schedule="one_cycle"),
        epochs=_EPOCHS,
        batch_size=_BATCH_SIZE,
        seed=3,
        callbacks=[
            EMA(0.98),
            EarlyStopping(patience=3),
            Checkpoint(every_n_steps=_STEPS_BETWEEN_CHECKPOINTS, every_n_seconds=0),
            Tell(),
        ],
        directory=directory,
        resume=_has_checkpoint(directory),
        verbose=False,
    )


def _data(kind: str) -> Any:
    import torch
    from torch.utils.data import DataLoader, TensorDataset

    from neurarium.data import Data

    generator = torch.Generator().manual_seed(0)
    x = torch.randn(840, 20, generator=generator)
    y = (x @ torch.randn(20, 3, generator=generator)).argmax(1)
    train: Any = (x[:640], y[:640])
    if kind == "loader":  # its shuffling draws from torch's global generator
        train = DataLoader(TensorDataset(*train), _BATCH_SIZE, shuffle=True)
    return Data(train, (x[640:], y[640:]), task="multiclass", classes=["a", "b", "c"])


def _has_checkpoint(directory: Path) -> bool:
    from neurarium.training import CheckpointError, checkpoints

    try:
        checkpoints.find(directory)
    except CheckpointError:
        return False  # killed before the first one: the run begins again
    return True


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--trials", type=int, default=20, help="number of kills (20)")
    parser.add_argument("--only", default="all", help=f"of {','.join(_CASES)}; empty for none")
    parser.add_argument("--seed", type=int, help="of the kills' places; by default new each time")
    parser.add_argument("--child", choices=KINDS, help=argparse.SUPPRESS)
    parser.add_argument("--directory", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
