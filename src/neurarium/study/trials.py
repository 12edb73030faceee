"""Trials: one arm with one seed each, run in processes, kept as they end."""

import contextlib
import functools
import hashlib
import json
import math
import os
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from neurarium.study.arms import Arm
from neurarium.training.checkpoints import write_text

__all__ = [
    "Experiment",
    "Outcome",
    "SideBySide",
    "Store",
    "Trial",
    "groups",
    "run_trials",
    "spread",
]

# More networks side by side gain little and are all lost if their process is.
_MOST_TOGETHER = 16


@dataclass(frozen=True)
class Trial:
    """One arm with one seed."""

    arm: Arm
    seed: int


@dataclass(frozen=True)
class Outcome:
    """What came of a trial.

    Attributes:
        scores: figures of the validation rows; none where the trial failed.
        history: figures of each epoch.
        memory: bytes of all tensors at once in a step: weights, slopes, optimizer, activations.
        multiply_adds: of all steps of the training.
        weights: of the trained network, as safetensors writes them.
        error: what went wrong, in one line.
    """

    scores: Mapping[str, float] = field(default_factory=dict)
    history: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    seconds: float = 0.0
    memory: int | None = None
    multiply_adds: float | None = None
    parameters: int | None = None
    config: Mapping[str, Any] = field(default_factory=dict)
    weights: bytes | None = None
    error: str | None = None


@runtime_checkable
class Experiment(Protocol):
    """What is run for each trial; it goes to other processes, so it must be picklable."""

    @property
    def identity(self) -> Mapping[str, Any]:
        """Plain facts that, with an arm's settings and a seed, decide what a trial gives."""
        ...

    def run(self, settings: Mapping[str, Any], seed: int) -> Outcome: ...


@runtime_checkable
class SideBySide(Protocol):
    """An experiment that can train several trials at once, in less time than one by one."""

    def alike(self, settings: Mapping[str, Any]) -> str | None:
        """The same for trials that may go together; None for one that may not."""
        ...

    def run_together(self, trials: Sequence[tuple[Mapping[str, Any], int]]) -> list[Outcome]: ...


def groups(experiment: Experiment, trials: Sequence[Trial], workers: int) -> list[list[Trial]]:
    """Trials that one process trains at once; alone, where nothing is gained by company.

    They depend on all trials of a study and not on those that are left, so that one which is begun
    again has the same company, and by that the same rounding.
    """
    if not isinstance(experiment, SideBySide):
        return [[trial] for trial in trials]
    keys: dict[str, tuple[str | None, int]] = {}
    seen: list[Any] = []
    for arm in {trial.arm.name: trial.arm for trial in trials}.values():
        settings = plain(arm.settings)
        # Arms that are the same have companies of their own, which are the same too.
        keys[arm.name] = experiment.alike(arm.settings), seen.count(settings)
        seen.append(settings)
    together: dict[Any, list[Trial]] = {}
    for number, trial in enumerate(trials):
        key = keys[trial.arm.name]
        together.setdefault(number if key[0] is None else key, []).append(trial)
    found = []
    for members in together.values():
        size = min(_MOST_TOGETHER, math.ceil(len(members) / workers))
        found += [members[at : at + size] for at in range(0, len(members), size)]
    return sorted(found, key=lambda group: trials.index(group[0]))


def run_trials(experiment: Experiment, trials: Sequence[Trial]) -> list[Outcome]:
    """Run trials in this process, side by side or one after another; none stops the others."""
    if len(trials) > 1 and isinstance(experiment, SideBySide):
        start = time.monotonic()
        with contextlib.suppress(Exception):  # each by itself then says what is wrong with it
            found = experiment.run_together([(t.arm.settings, t.seed) for t in trials])
            took = round((time.monotonic() - start) / len(trials), 3)
            return [replace(outcome, seconds=took) for outcome in found]
    return [_run(experiment, trial) for trial in trials]


def _run(experiment: Experiment, trial: Trial) -> Outcome:
    start = time.monotonic()
    try:
        outcome = experiment.run(trial.arm.settings, trial.seed)
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        line = " ".join(str(error).split())
        outcome = Outcome(
            error=f"{type(error).__name__}: {line} ({Path(where.filename).name}:{where.lineno})"
        )
    return replace(outcome, seconds=round(time.monotonic() - start, 3))


def spread(
    experiment: Experiment,
    groups: Sequence[Sequence[Trial]],
    *,
    workers: int,
    may_start: Callable[[Trial], bool] = lambda trial: True,
) -> Iterator[tuple[Trial, Outcome]]:
    """Run trials on so many processes and give each outcome as it comes.

    joblib runs them; inside `joblib.parallel_config("dask")` (or "ray") its cluster does.

    Args:
        groups: what one process runs at once.
        may_start: asked before each group starts, in order; the first no ends the study.
    """
    import joblib

    workers = max(1, min(workers, len(groups)))
    parallel = joblib.Parallel(
        n_jobs=workers, return_as="generator_unordered", pre_dispatch="n_jobs", batch_size=1
    )
    started: list[Sequence[Trial]] = []

    def calls() -> Iterator[Any]:
        for group in groups:
            if not may_start(group[0]):
                return
            started.append(group)
            yield joblib.delayed(_numbered)(experiment, len(started) - 1, group, os.getpid())

    ended = set[int]()
    try:
        for number, outcomes in parallel(calls()):
            ended.add(number)
            yield from zip(started[number], outcomes, strict=True)
    except _process_died():
        # Which of those at work it was cannot be told, so each has a process of its own now.
        for number, group in enumerate(list(started)):
            if number not in ended:
                for trial in group:
                    yield trial, _alone(experiment, trial)
        rest = groups[len(started) :]
        if rest:
            yield from spread(experiment, rest, workers=workers, may_start=may_start)


def _numbered(
    experiment: Experiment, number: int, trials: Sequence[Trial], study: int
) -> tuple[int, list[Outcome]]:
    leave_with(study)
    return number, run_trials(experiment, trials)


@functools.cache
def leave_with(parent: int) -> None:
    """If that is this process's parent, end soon after it is gone.

    One that was killed cannot tell its processes to.
    """

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    if os.getppid() == parent:
        threading.Thread(target=watch, daemon=True).start()


def _process_died() -> type[BaseException]:
    from joblib.externals.loky.process_executor import TerminatedWorkerError

    return TerminatedWorkerError


def _alone(experiment: Experiment, trial: Trial) -> Outcome:
    from joblib.externals.loky import ProcessPoolExecutor

    with ProcessPoolExecutor(max_workers=1) as executor:
        try:
            return executor.submit(_numbered, experiment, 0, [trial], os.getpid()).result()[1][0]
        except _process_died():
            return Outcome(error="its process died; it may have needed more memory than there is")


class Store:
    """Outcomes in a folder, one file for each trial that ended; other studies may share it.

    A file is named after all that decides the outcome, so a trial is found again by what it is, and
    one that was killed has left nothing.

    Args:
        folder: None keeps nothing.
    """

    def __init__(self, folder: Path | None, identity: Mapping[str, Any]) -> None:
        self.folder, self.identity = folder, dict(identity)
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)

    def key(self, trial: Trial) -> str:
        """The name of the trial's file."""
        settings = {name: plain(value) for name, value in sorted(trial.arm.settings.items())}
        facts = {"identity": self.identity, "settings": settings, "seed": trial.seed}
        written = json.dumps(facts, sort_keys=True)
        return hashlib.sha256(written.encode()).hexdigest()[:20]

    def read(self, trial: Trial) -> Outcome | None:
        """The trial's outcome if it ended; a file that cannot be read is none."""
        if self.folder is None:
            return None
        path = self.folder / f"{self.key(trial)}.json"
        try:
            written = json.loads(path.read_text(encoding="utf-8"))
            return Outcome(**{**written["outcome"], "weights": None})
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def weights(self, trial: Trial) -> bytes | None:
        """The trained network's weights."""
        if self.folder is None:
            return None
        path = self.folder / f"{self.key(trial)}.safetensors"
        return path.read_bytes() if path.is_file() else None

    def write(self, trial: Trial, outcome: Outcome) -> None:
        """Keep the outcome; its file appears whole, after the weights it speaks of."""
        if self.folder is None:
            return
        path = self.folder / f"{self.key(trial)}.json"
        if outcome.weights is not None:
            weights = path.with_suffix(".safetensors")
            temporary = weights.with_name(f".{weights.name}.{os.getpid()}")
            temporary.write_bytes(outcome.weights)
            temporary.replace(weights)
        facts = {
            "arm": trial.arm.name,
            "varied": dict(trial.arm.labels),
            "seed": trial.seed,
            "outcome": asdict(replace(outcome, weights=None)),
        }
        write_text(path, json.dumps(facts, indent=1, default=str) + "\n")


def plain(value: Any) -> Any:
    """The value as JSON can hold it; what is no number or word by how it names itself."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    code = getattr(value, "__code__", None)
    if code is not None:  # two functions of one name are told apart by what they do
        body = repr((code.co_code, code.co_consts, code.co_names))
        return f"{value.__qualname__} {hashlib.sha256(body.encode()).hexdigest()[:12]}"
    return getattr(value, "__qualname__", None) or repr(value)
