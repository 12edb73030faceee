"""Search the settings that suit some data, and say honestly whether they beat the defaults."""

import json
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from neurarium.data import (
    Data,
    FreeTextPreprocessing,
    GraphPreprocessing,
    SeriesPreprocessing,
    TextPreprocessing,
    load,
)
from neurarium.study.arms import Arm
from neurarium.study.comparison import parse_budget
from neurarium.study.configuration import Configured, canonical, unpacked
from neurarium.study.trials import Store, Trial, groups, spread
from neurarium.study.tune import Space, Tuning, tune
from neurarium.study.verdicts import Verdict
from neurarium.training import Run
from neurarium.training.checkpoints import write_text
from neurarium.training.run import write_config

__all__ = ["Tuned", "default_space", "parse_space", "tune_on"]

# Errors tell settings apart that give the same accuracy on a few rows.
_CRITERIA = {"binary": "log_loss", "multiclass": "log_loss", "multilabel": "f1", "regression": "r2"}
_FOLDS = 4
_FIRST_FRESH_SEED = 1000  # those of the last comparison, none of which the search has used
_RESAMPLES = 4000


@dataclass
class Tuned:
    """What a search found, beside the defaults.

    Attributes:
        best: the settings with the best figure on validation rows; none if the defaults have it.
        search: every trial of the search.
        metric: of the test rows, by which both are judged.
        default: the defaults' figure on the test rows, a value a seed; `tuned` likewise.
        low: of the interval of their difference, over rows and seeds, like `high`.
        verdict: "better" or "worse" only where that interval excludes 0.
    """

    best: dict[str, Any]
    search: Tuning
    criterion: str
    value: float
    default_value: float
    metric: str
    default: list[float] = field(default_factory=list)
    tuned: list[float] = field(default_factory=list)
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    verdict: Verdict = "cannot tell"
    directory: Path | None = None
    seconds: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "best": self.best,
            "criterion": self.criterion,
            "validation": {"tuned": self.value, "default": self.default_value},
            "metric": self.metric,
            "test": {"tuned": self.tuned, "default": self.default},
            "difference": self.difference,
            "interval": [self.low, self.high],
            "verdict": self.verdict,
            "trials": len(self.search.trials),
            "pruned": self.search.pruned,
            "failed": self.search.failed,
            "seconds": round(self.seconds, 3),
            "directory": None if self.directory is None else str(self.directory),
        }


def tune_on(
    data: Any,
    space: Space | None = None,
    *,
    target: Any = None,
    base: Mapping[str, Any] | None = None,
    trials: int = 40,
    budget: float | str | None = None,
    seeds: int = 5,
    folds: int = _FOLDS,
    workers: int = 1,
    directory: str | Path | None = None,
    seed: int = 0,
    tell: Callable[[str], object] | None = None,
    on_trial: Callable[[int], object] | None = None,
) -> Tuned:
    r"""Search settings by validation rows, then hold the best against the defaults on test rows.

    $$\lambda^* = \arg\max_{\lambda \in \Lambda} \frac1K \sum_{k=1}^K f_k(\lambda), \qquad
      \Delta = \frac{1}{S N} \sum_{s, i} \bigl(g_{si}(\lambda^*) - g_{si}(\lambda_0)\bigr)$$

    Each trial is judged on up to $K$ draws of the validation rows, and successive halving ends
    those that fall behind after one or two. The test rows are no part of what the search is given.
    At the end both settings are trained with seeds that no trial used, and answer the test rows
    once: $g$ is the credit for a row, and the interval of $\Delta$ is a bootstrap over rows and
    seeds alike.

    Args:
        data: a `Data`, or what `data.load` reads.
        space: as of `tune`, over settings as of `study`; by default those that matter for a
            perceptron or a convolutional network.
        base: settings that all trials share.
        trials: in all, those of a resumed search included.
        budget: seconds or "10m" after which no further trial begins.
        seeds: of the last comparison.
        directory: keeps the search in `search.db`, which several processes may share; the same
            call goes on.

    Source: Li et al. (2018), Hyperband, arXiv:1603.06560 (successive halving); Efron & Tibshirani
    (1993), An Introduction to the Bootstrap; the search is Optuna's.
    """
    begun = time.monotonic()
    whole = data if isinstance(data, Data) else load(data, target)
    said = canonical(base or {})
    place = None if directory is None else Path(directory)
    experiment = Configured.of(whole, said, place)
    for line in experiment.choice.lines():
        (tell or str)(line)
    searched = canonical(space) if space else default_space(experiment.data)
    criterion = _CRITERIA.get(whole.task or "", "loss")
    down = criterion in ("log_loss", "loss")
    judged = _Judged(experiment, said, criterion, folds)
    for settings in _corners(searched):
        experiment.rehearse(Arm("the search", {**said, **settings}, {}), criterion)
    storage = None
    if place is not None:
        place.mkdir(parents=True, exist_ok=True)
        storage = f"sqlite:///{place / 'search.db'}"
    default_value = judged()
    found = tune(
        judged,
        searched,
        trials=trials,
        max_time=parse_budget(budget),
        direction="minimize" if down else "maximize",
        pruner="halving",
        seed=seed,
        storage=storage,
        workers=workers,
        on_trial=on_trial,
    )
    beats = found.value < default_value if down else found.value > default_value
    result = Tuned(
        found.best if beats else {},
        found,
        criterion,
        found.value,
        default_value,
        "r2" if whole.task == "regression" else "accuracy",
        directory=place,
    )
    if whole.test is not None and beats:
        _confirm(result, experiment, whole, said, seeds, workers)
    result.seconds = time.monotonic() - begun
    if place is not None:
        write_config(place, {"base": said, "space": _plain(searched), "best": result.best})
        found.trials.to_csv(place / "trials.csv", index=False)
        write_text(place / "result.json", json.dumps(result.to_json(), indent=1) + "\n")
    return result


@dataclass
class _Judged:
    """The mean of a figure over draws of the validation rows, told after each."""

    experiment: Configured
    base: Mapping[str, Any]
    criterion: str
    folds: int

    def __call__(self, report: Any = None, **settings: Any) -> float:
        values = []
        for fold in range(self.folds):
            outcome = self.experiment.run({**self.base, **settings}, fold)
            values.append(outcome.scores[self.criterion])
            if report is not None:
                report(statistics.fmean(values), fold + 1)
        return statistics.fmean(values)


def default_space(data: Data) -> dict[str, Sequence[Any]]:
    """What is searched where nothing is said."""
    shared: dict[str, Sequence[Any]] = {
        "lr": (1e-3, 5e-2, "log"),
        "weight_decay": (1e-2, 5.0, "log"),
        "batch_size": [16, 32, 64, 128],
    }
    if isinstance(data.preprocessing, GraphPreprocessing):  # Adam's decay, and all rows at once
        return {"lr": shared["lr"], "weight_decay": (1e-5, 1e-2, "log")}
    kinds = FreeTextPreprocessing | SeriesPreprocessing | TextPreprocessing
    if isinstance(data.preprocessing, kinds):  # the network's own settings have other names
        return shared
    if len(data.input_shape) == 3:
        return {**shared, "dropout": (0.0, 0.5), "activation": ["relu", "mish", "tanh"]}
    return {
        **shared,
        "network": ["MLP"],
        "width": (16, 256, "log"),
        "depth": (1, 3),
        "dropout": (0.0, 0.6),
        "activation": ["relu", "mish", "tanh"],
        "normalization": [None, "batch"],
    }


def parse_space(texts: Sequence[str]) -> dict[str, Sequence[Any]]:
    """Read `["lr=1e-4..1e-1:log", "width=16..256", "activation=relu,mish"]`.

    Raises:
        ValueError: for a text of another form.
    """
    from neurarium import _names
    from neurarium.study.arms import parse_vary

    found: dict[str, Sequence[Any]] = {}
    for text in texts:
        name, _, values = text.partition("=")
        if ".." not in values:
            found |= parse_vary([text])
            continue
        ends, _, scale = values.partition(":")
        low, _, high = ends.partition("..")
        pair = _names.parse_value(low), _names.parse_value(high)
        numbers = all(isinstance(end, int | float) for end in pair)
        if not numbers or scale not in ("", "log"):
            raise ValueError(f"a range must look like lr=1e-4..1e-1:log, got {text!r}")
        found[name.strip().replace("-", "_")] = (*pair, scale) if scale else pair
    return found


def _corners(space: Space) -> list[dict[str, Any]]:
    """Settings that between them have every choice, to be tried for a moment."""
    longest = max((len(v) for v in space.values() if isinstance(v, list)), default=1)
    return [
        {
            name: values[number % len(values)] if isinstance(values, list) else values[0]
            for name, values in space.items()
        }
        for number in range(longest)
    ]


def _plain(space: Space) -> dict[str, Any]:
    return {name: list(values) for name, values in space.items()}


# The last comparison


def _confirm(
    result: Tuned,
    experiment: Configured,
    data: Data,
    base: Mapping[str, Any],
    seeds: int,
    workers: int,
) -> None:
    """Train both with fresh seeds, and let each network answer the test rows once."""
    arms = [Arm("default", dict(base), {}), Arm("tuned", {**base, **result.best}, {})]
    folder = None if result.directory is None else result.directory / "trials"
    store = Store(folder, experiment.identity)
    trials = [Trial(a, _FIRST_FRESH_SEED + s) for s in range(seeds) for a in arms]
    known = {(t.arm.name, t.seed): store.read(t) for t in trials}
    outcomes = {key: outcome for key, outcome in known.items() if outcome is not None}
    left = [t for t in trials if (t.arm.name, t.seed) not in outcomes]
    waiting = [g for g in groups(experiment, trials, workers) if any(t in left for t in g)]
    for trial, outcome in spread(experiment, waiting, workers=workers) if left else ():
        if trial in left:
            store.write(trial, outcome)
            outcomes[trial.arm.name, trial.seed] = outcome
    credit: dict[str, list[np.ndarray]] = {"default": [], "tuned": []}
    scores: dict[str, list[float]] = {"default": [], "tuned": []}
    for trial in trials:
        outcome = outcomes[trial.arm.name, trial.seed]
        weights = outcome.weights or store.weights(trial)
        if weights is None:
            raise RuntimeError(f"the {trial.arm.name} settings failed: {outcome.error}")
        rows = experiment.rows(trial.arm.settings, trial.seed)
        model = experiment.network(rows, trial.arm.settings, trial.seed)
        model.load_state_dict(unpacked(weights))
        run = Run(model, data=data, config={**outcome.config, "data": data.describe()})
        credit[trial.arm.name].append(_credit(run))
        scores[trial.arm.name].append(float(credit[trial.arm.name][-1].mean()))
        if trial == trials[1] and result.directory is not None:
            run.save(result.directory / "tuned")
    result.default, result.tuned = scores["default"], scores["tuned"]
    gain = np.stack(credit["tuned"]) - np.stack(credit["default"])
    result.difference = float(gain.mean())
    result.low, result.high = crossed_interval(gain)
    if result.low > 0:
        result.verdict = "better"
    elif result.high < 0:
        result.verdict = "worse"


def _credit(run: Run) -> np.ndarray:
    """What each test row adds to the figure: 1 where it is right, or its part of r2."""
    output, target = run.outputs("test")
    if run.task == "regression":
        if output.ndim == target.ndim + 1:  # quantiles of a forecast
            output = output[..., output.shape[-1] // 2]
        target = target.reshape(output.shape)
        spread_ = (target - target.mean(0)).square().mean(0)
        return (1 - (output - target).square() / spread_).flatten(1).mean(1).numpy()
    right = output.argmax(1) == target if output.shape != target.shape else (
        (output > 0) == (target > 0.5)
    ).all(1)  # fmt: skip
    return right.to(torch.float64).numpy()


def crossed_interval(
    gain: np.ndarray, confidence: float = 0.95, seed: int = 0
) -> tuple[float, float]:
    """Bootstrap interval of the mean of a (seeds, rows) table, both drawn again."""
    draw = np.random.default_rng(seed)
    seeds, rows = gain.shape
    of_seeds = draw.multinomial(seeds, np.full(seeds, 1 / seeds), _RESAMPLES) / seeds
    of_rows = draw.multinomial(rows, np.full(rows, 1 / rows), _RESAMPLES) / rows
    means = ((of_seeds @ gain) * of_rows).sum(1)
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)
