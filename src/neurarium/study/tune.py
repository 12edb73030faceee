"""The best settings within a budget, by Optuna's samplers."""

import contextlib
import functools
import inspect
import itertools
import math
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from neurarium.study.trials import leave_with
from neurarium.training import Callback
from neurarium.training.callbacks.early_stopping import monitored

if TYPE_CHECKING:
    import optuna
    import pandas as pd

    from neurarium.training.trainer import Trainer

__all__ = ["Tuning", "tune"]

Sampler = Literal["random", "tpe", "grid"]
Pruner = Literal["none", "median", "halving", "hyperband"]

Space = Mapping[str, Sequence[Any]]


@dataclass(frozen=True)
class Tuning:
    """What a search found.

    Attributes:
        best: the settings with the best figure.
        value: that figure.
        trials: one row per trial: its settings, figure, state and seconds.
        pruned: trials that were stopped early because others did better.
        failed: trials that ended without a finite figure.
    """

    best: dict[str, Any]
    value: float
    trials: "pd.DataFrame"
    pruned: int
    failed: int


def tune(
    experiment: Callable[..., float],
    space: Space,
    *,
    trials: int = 30,
    max_time: float | None = None,
    direction: Literal["maximize", "minimize"] = "maximize",
    monitor: str = "val_accuracy",
    sampler: Sampler = "tpe",
    pruner: Pruner = "hyperband",
    seed: int = 0,
    storage: str | None = None,
    name: str = "study",
    workers: int = 1,
    on_trial: Callable[[int], object] | None = None,
) -> Tuning:
    r"""Search settings that make an experiment's figure as large (or small) as possible.

    $$\lambda^* = \arg\max_{\lambda \in \Lambda} f(\lambda)$$

    Random search beats a grid where few of the dimensions matter. Judge by validation rows, never
    by test rows: the best of many trials flatters itself.

    Args:
        experiment: called with one value for each name in `space`, and with `seed`, `callbacks` and
            `report` if it has such parameters. So that a trial which falls behind can be stopped,
            it passes `callbacks` to `fit`, or calls `report(figure, step)` as the figure becomes
            surer, such as after each fold. It returns the figure.
        space: name -> `(low, high)` for a number, whole if both ends are; `(low, high, "log")` for
            one that matters by its order of magnitude; or a list of values to choose from.
        trials: number of trials in all, those of a resumed search included.
        max_time: seconds after which no further trial begins.
        monitor: the figure of each epoch by which trials are stopped early.
        sampler: "tpe" learns from the trials before, "random" does not, "grid" tries every
            combination of lists.
        pruner: "halving" (successive halving), "hyperband", "median" or "none".
        storage: an SQLite address such as "sqlite:///study.db"; the search then goes on from
            where it was stopped, and several processes may share it.
        workers: processes; of several, chance decides which learns from which, so only one repeats
            itself.
        on_trial: called after each trial with the number of those that ended.

    Raises:
        ValueError: for a space that is empty or malformed, or a name the experiment does not take.

    Source: Bergstra & Bengio (2012), Random search for hyper-parameter optimization, JMLR 13;
    Li et al. (2018), Hyperband, arXiv:1603.06560; the search is Optuna's.
    """
    library = _optuna()
    _check(experiment, space, trials, sampler)
    library.logging.set_verbosity(library.logging.WARNING)
    temporary = tempfile.TemporaryDirectory() if workers > 1 and storage is None else None
    with temporary or contextlib.nullcontext():
        address = f"sqlite:///{temporary.name}/study.db" if temporary else storage
        study = library.create_study(
            study_name=name,
            storage=address,
            load_if_exists=True,
            direction=direction,
            pruner=_pruner(pruner),
        )
        done = sum(trial.state.is_finished() for trial in study.trials)
        search = _Search(experiment, space, monitor, sampler, seed + done, seed)
        each = search.on(study)
        if workers > 1:
            assert address is not None
            each = search.beside(name, address, _pruner(pruner))
        ended = _spread(each, trials - done, workers, max_time)
        for number, _ in enumerate(ended, done + 1):
            if on_trial is not None:
                on_trial(number)
        return _result(study)


def _spread(
    each: Callable[[int], None], count: int, workers: int, max_time: float | None
) -> Iterator[None]:
    """Run trials by their numbers while there is time, on so many processes."""
    import joblib

    start = time.monotonic()
    numbers = itertools.takewhile(
        lambda _: max_time is None or time.monotonic() - start < max_time, range(count)
    )
    parallel = joblib.Parallel(
        n_jobs=max(1, min(workers, count)),
        return_as="generator_unordered",
        pre_dispatch="n_jobs",
        batch_size=1,
    )
    yield from parallel(joblib.delayed(each)(number) for number in numbers)


@dataclass(frozen=True)
class _Search:
    """What a trial of a search needs."""

    experiment: Callable[..., float]
    space: Space
    monitor: str
    sampler: Sampler
    seed: int  # of the sampler: resumed, a search must not repeat itself
    given: int  # of the experiment

    def on(self, study: "optuna.Study") -> Callable[[int], None]:
        """A trial of this study; all have one sampler."""
        study.sampler = _sampler(self.sampler, self.space, self.seed)
        return lambda number: study.optimize(self.objective, 1, catch=(ArithmeticError,))

    def beside(self, name: str, address: str, pruner: Any) -> Callable[[int], None]:
        """A trial of the study that is stored there; other processes make others."""
        return functools.partial(self._elsewhere, name, address, pruner, os.getpid())

    def _elsewhere(self, name: str, address: str, pruner: Any, parent: int, number: int) -> None:
        leave_with(parent)
        library = _optuna()
        library.logging.set_verbosity(library.logging.WARNING)
        sampler = _sampler(self.sampler, self.space, self.seed + number)
        study = library.load_study(study_name=name, storage=address, pruner=pruner, sampler=sampler)
        study.optimize(self.objective, 1, catch=(ArithmeticError,))

    def objective(self, trial: "optuna.Trial") -> float:
        """The figure of settings that the sampler suggests."""
        library, parameters = _optuna(), inspect.signature(self.experiment).parameters
        settings = {key: _suggest(trial, key, values) for key, values in self.space.items()}
        if "seed" in parameters:
            settings["seed"] = self.given
        if "report" in parameters:
            settings["report"] = functools.partial(_report, trial)
        if "callbacks" not in parameters:
            return _finite(self.experiment(**settings))
        stopper = _Pruning(trial, self.monitor)
        value = self.experiment(**settings, callbacks=[stopper])
        if stopper.pruned:
            raise library.TrialPruned
        return _finite(value)


def _report(trial: "optuna.Trial", value: float, step: int) -> None:
    """Tell the search how a trial stands; it may end it here."""
    trial.report(value, step)
    if trial.should_prune():
        raise _optuna().TrialPruned


class _Pruning(Callback):
    """Tells the search of each epoch's figure, and ends the run where it says so."""

    def __init__(self, trial: "optuna.Trial", monitor: str) -> None:
        self.trial, self.monitor, self.pruned = trial, monitor, False

    def on_validation_epoch_end(self, trainer: "Trainer") -> None:
        self.trial.report(monitored(trainer, self.monitor), trainer.epoch + 1)
        self.pruned = self.trial.should_prune()
        trainer.should_stop = trainer.should_stop or self.pruned


def _optuna() -> Any:
    try:
        import optuna
    except ImportError:
        raise ImportError('tune needs Optuna: pip install "neurarium[tune]"') from None
    return optuna


def _suggest(trial: "optuna.Trial", name: str, values: Sequence[Any]) -> Any:
    if isinstance(values, list):
        return trial.suggest_categorical(name, values)
    low, high, *scale = values
    if isinstance(low, int) and isinstance(high, int):
        return trial.suggest_int(name, low, high, log=bool(scale))
    return trial.suggest_float(name, low, high, log=bool(scale))


def _sampler(kind: Sampler, space: Space, seed: int) -> Any:
    samplers = _optuna().samplers
    if kind == "grid":
        return samplers.GridSampler({key: list(v) for key, v in space.items()}, seed=seed)
    return {"tpe": samplers.TPESampler, "random": samplers.RandomSampler}[kind](seed=seed)


def _pruner(kind: Pruner) -> Any:
    pruners = _optuna().pruners
    kinds = {
        "none": pruners.NopPruner,
        "median": pruners.MedianPruner,
        "halving": functools.partial(pruners.SuccessiveHalvingPruner, 1, 2),
        "hyperband": pruners.HyperbandPruner,
    }
    if kind not in kinds:
        raise ValueError(f"pruner must be one of {', '.join(kinds)}, got {kind!r}")
    return kinds[kind]()


def _finite(value: float) -> float:
    if not math.isfinite(value):
        raise FloatingPointError(f"the figure is {value}")
    return float(value)


def _result(study: "optuna.Study") -> Tuning:
    import pandas as pd

    states = [trial.state.name for trial in study.trials]
    if "COMPLETE" not in states:
        raise RuntimeError(
            f"none of {len(states)} trials gave a figure ({states.count('FAIL')} failed, "
            f"{states.count('PRUNED')} were pruned); widen the space or allow more trials"
        )
    rows = [
        {
            "trial": trial.number,
            **trial.params,
            "value": trial.value,
            "state": trial.state.name.lower(),
            "seconds": trial.duration.total_seconds() if trial.duration else None,
        }
        for trial in study.trials
    ]
    return Tuning(
        dict(study.best_params),
        float(study.best_value),
        pd.DataFrame(rows),
        states.count("PRUNED"),
        states.count("FAIL"),
    )


def _check(experiment: Callable[..., Any], space: Space, trials: int, sampler: Sampler) -> None:
    if sampler not in ("random", "tpe", "grid"):
        raise ValueError(f"sampler must be 'random', 'tpe' or 'grid', got {sampler!r}")
    if not space or trials < 1:
        raise ValueError(f"tune needs a space and at least one trial, got {len(space)}, {trials}")
    parameters = inspect.signature(experiment).parameters
    anything = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    for name, values in space.items():
        if name not in parameters and not anything:
            raise ValueError(
                f"the experiment does not take {name!r}; it takes {', '.join(parameters)}"
            )
        if isinstance(values, list):
            if not values:
                raise ValueError(f"space[{name!r}] is an empty list; give values to choose from")
            continue
        if sampler == "grid":
            raise ValueError(f"a grid needs a list of values for {name!r}, got {values!r}")
        fits = len(values) == 2 or (len(values) == 3 and values[2] == "log")
        if not fits or not values[0] < values[1] or (len(values) == 3 and values[0] <= 0):
            raise ValueError(
                f"space[{name!r}] must be (low, high), (low, high, 'log') with 0 < low < high, or "
                f"a list of values, got {values!r}"
            )
