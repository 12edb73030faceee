"""The best settings within a budget, by Optuna's samplers."""

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from neurarium.training import Callback
from neurarium.training.callbacks.early_stopping import monitored

if TYPE_CHECKING:
    import optuna
    import pandas as pd

    from neurarium.training.trainer import Trainer

__all__ = ["Tuning", "tune"]

Sampler = Literal["random", "tpe", "grid"]
Pruner = Literal["none", "median", "hyperband"]

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
) -> Tuning:
    r"""Search settings that make an experiment's figure as large (or small) as possible.

    $$\lambda^* = \arg\max_{\lambda \in \Lambda} f(\lambda)$$

    Random search beats a grid where few of the dimensions matter. Judge by validation rows, never
    by test rows: the best of many trials flatters itself.

    Args:
        experiment: called with one value for each name in `space`, and with `seed` and `callbacks`
            if it has such parameters; what it does with `callbacks` is pass them to `fit`, so that
            a trial which falls behind can be stopped. It returns the figure.
        space: name -> `(low, high)` for a number, whole if both ends are; `(low, high, "log")` for
            one that matters by its order of magnitude; or a list of values to choose from.
        trials: number of trials in all, those of a resumed search included.
        max_time: seconds after which no further trial begins.
        monitor: the figure of each epoch by which trials are stopped early.
        sampler: "tpe" learns from the trials before, "random" does not, "grid" tries every
            combination of lists.
        pruner: "hyperband", "median" or "none".
        storage: an SQLite address such as "sqlite:///study.db"; the search then goes on from
            where it was stopped, and several processes may share it.

    Raises:
        ValueError: for a space that is empty or malformed, or a name the experiment does not take.

    Source: Bergstra & Bengio (2012), Random search for hyper-parameter optimization, JMLR 13;
    Li et al. (2018), Hyperband, arXiv:1603.06560; the search is Optuna's.
    """
    library = _optuna()
    _check(experiment, space, trials, sampler)
    parameters = inspect.signature(experiment).parameters

    def objective(trial: "optuna.Trial") -> float:
        settings = {key: _suggest(trial, key, values) for key, values in space.items()}
        if "seed" in parameters:
            settings["seed"] = seed
        if "callbacks" not in parameters:
            return _finite(experiment(**settings))
        stopper = _Pruning(trial, monitor)
        value = experiment(**settings, callbacks=[stopper])
        if stopper.pruned:
            raise library.TrialPruned
        return _finite(value)

    library.logging.set_verbosity(library.logging.WARNING)
    study = library.create_study(
        study_name=name,
        storage=storage,
        load_if_exists=True,
        direction=direction,
        pruner=_pruner(pruner),
    )
    done = sum(trial.state.is_finished() for trial in study.trials)
    study.sampler = _sampler(sampler, space, seed + done)  # resumed, it must not repeat itself
    if done < trials:
        study.optimize(objective, trials - done, timeout=max_time, catch=(ArithmeticError,))
    return _result(study)


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
