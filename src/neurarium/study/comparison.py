"""`study`: train a base and its variations, several seeds each, and say what helped."""

import inspect
import json
import math
import os
import re
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neurarium.data import Data, load
from neurarium.study.arms import BASE, Arm, Design, Varied, arms_of, labelled
from neurarium.study.budget import Clock, parse_budget
from neurarium.study.configuration import Configured, canonical, unpacked
from neurarium.study.statistics import bootstrap_interval
from neurarium.study.trials import Experiment, Outcome, Store, Trial, groups, plain, spread
from neurarium.study.verdicts import Comparison, compare_arms
from neurarium.training import Run, automatic, randomness
from neurarium.training.checkpoints import write_text
from neurarium.training.run import write_config

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Progress", "Study", "study"]

_METRICS = {
    "binary": "accuracy",
    "multiclass": "accuracy",
    "multilabel": "f1",
    "regression": "r2",
}
_LESS_IS_BETTER = re.compile(r"loss|error|mae|mse|rmse|seconds|perplexity", re.IGNORECASE)

_FACTS = (
    "against", "verdict", "words", "difference", "low", "high", "p", "effect", "detectable",
    "more_seeds",
)  # fmt: skip


@dataclass(frozen=True)
class Progress:
    """How far a study has come, told after each trial."""

    done: int
    total: int
    trial: Trial
    outcome: Outcome
    seconds_left: float


@dataclass
class Study:
    """Arms, what became of each of their trials, and what can be said of them.

    Attributes:
        arms: the base first.
        outcomes: (arm, seed) -> what came of it; trials that a budget left out are absent.
        against: arm -> the arm it is held against.
        overlap: validation rows for each training row, if each seed drew its own (else 0).
        test: figures of the chosen arm on the test rows, seed by seed; empty without such rows.
        config: everything that was said and chosen.
    """

    arms: list[Arm]
    seeds: list[int]
    metric: str
    outcomes: dict[tuple[str, int], Outcome]
    against: dict[str, str]
    margin: float | None = None
    alpha: float = 0.05
    overlap: float = 0.0
    higher_is_better: bool = True
    name: str = "study"
    directory: Path | None = None
    config: dict[str, Any] = field(default_factory=dict)
    test: dict[str, list[float]] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def base(self) -> str:
        """The arm that the others are held against."""
        return self.arms[0].name

    def values(self, arm: str) -> dict[int, float]:
        """Seed -> the arm's figure, of the trials that gave one."""
        found = {}
        for seed in self.seeds:
            outcome = self.outcomes.get((arm, seed))
            figure = None if outcome is None else outcome.scores.get(self.metric)
            if figure is not None and math.isfinite(figure):
                found[seed] = float(figure)
        return found

    def errors(self) -> dict[tuple[str, int], str]:
        """The trials that failed, and why."""
        found = {}
        for (arm, seed), outcome in self.outcomes.items():
            if outcome.error is not None:
                found[arm, seed] = outcome.error
            elif seed not in self.values(arm):
                found[arm, seed] = f"{self.metric} is {outcome.scores.get(self.metric)}"
        return found

    @property
    def comparisons(self) -> dict[str, Comparison]:
        """Every arm but the base, held against it."""
        return compare_arms(
            {arm.name: self.values(arm.name) for arm in self.arms},
            self.against,
            higher_is_better=self.higher_is_better,
            alpha=self.alpha,
            margin=self.margin,
            overlap=self.overlap,
        )

    @property
    def chosen(self) -> str:
        """The base, unless an arm is better; of several such, the best on validation rows."""
        better = [name for name, found in self.comparisons.items() if found.verdict == "better"]
        sign = 1 if self.higher_is_better else -1
        return max(
            [self.base, *better],
            key=lambda name: (
                (name in better, sign * statistics.fmean(self.values(name).values()))
                if self.values(name)
                else (False, -math.inf)
            ),
        )

    @property
    def chosen_words(self) -> str:
        """The chosen arm, and why."""
        if self.chosen != self.base:
            return f"{self.chosen}, better than {self.base} on validation rows"
        if self.base == BASE:
            return "the base, as nothing is shown to be better"
        return f"{self.base}, the base, as nothing is shown to be better"

    @property
    def complete(self) -> bool:
        """Whether every trial ended."""
        return len(self.outcomes) == len(self.arms) * len(self.seeds)

    @property
    def table(self) -> "pd.DataFrame":
        """One row an arm: its mean, what it differs by from the base, the verdict, its cost."""
        import pandas as pd

        found = self.comparisons
        rows = []
        for arm in self.arms:
            values = list(self.values(arm.name).values())
            low, high = bootstrap_interval(values) or (None, None)
            row: dict[str, Any] = {
                "arm": arm.name,
                "seeds": len(values),
                "mean": statistics.fmean(values) if values else None,
                "mean_low": low,
                "mean_high": high,
                **self._costs(arm.name),
            }
            against = found.get(arm.name)
            if against is not None:
                row |= {name: getattr(against, name) for name in _FACTS}
            rows.append(row)
        return pd.DataFrame(rows)

    def _costs(self, arm: str) -> dict[str, float | None]:
        """Means over the arm's trials of seconds, bytes, multiply-adds and parameters."""
        ended = [o for (name, _), o in self.outcomes.items() if name == arm and o.error is None]
        costs: dict[str, float | None] = {}
        for name in ("seconds", "memory", "multiply_adds", "parameters"):
            known = [value for o in ended if (value := getattr(o, name)) is not None]
            costs[name] = statistics.fmean(known) if known else None
        return costs

    @property
    def trials(self) -> "pd.DataFrame":
        """One row a trial: what it was, its scores, its cost, its error."""
        import pandas as pd

        rows = []
        for arm in self.arms:
            for seed in self.seeds:
                outcome = self.outcomes.get((arm.name, seed))
                if outcome is None:
                    continue
                rows.append(
                    {
                        "arm": arm.name,
                        **arm.labels,
                        "seed": seed,
                        **{f"val_{name}": value for name, value in outcome.scores.items()},
                        "seconds": outcome.seconds,
                        "memory": outcome.memory,
                        "multiply_adds": outcome.multiply_adds,
                        "parameters": outcome.parameters,
                        "error": outcome.error,
                    }
                )
        return pd.DataFrame(rows)

    def to_json(self) -> dict[str, Any]:
        """All of it in plain values."""
        table = self.table.astype(object)
        rows = table.where(table.notna(), None).to_dict("records")
        return {
            "metric": self.metric,
            "base": self.base,
            "seeds": self.seeds,
            "arms": rows,
            "chosen": self.chosen,
            "test": self.test,
            "errors": [
                {"arm": arm, "seed": seed, "error": error}
                for (arm, seed), error in self.errors().items()
            ],
            "complete": self.complete,
            "seconds": round(self.seconds, 3),
            "directory": None if self.directory is None else str(self.directory),
        }


def study(
    base: Mapping[str, Any] | str | Callable[..., Any] | None = None,
    vary: Varied | None = None,
    data: Any = None,
    *,
    target: Any = None,
    seeds: int | Sequence[int] = 5,
    budget: float | str | None = None,
    metric: str | None = None,
    design: Design = "one-at-a-time",
    margin: float | None = None,
    workers: int | None = None,
    directory: str | Path | None = None,
    retry: bool = False,
    on_progress: Callable[[Progress], object] | None = None,
    tell: Callable[[str], object] | None = None,
) -> Study:
    r"""Train a base and what is varied of it, with several seeds each, and say what helped.

    $$\Delta_a = \frac1n \sum_{s=1}^n \bigl(f_s(a) - f_s(\text{base})\bigr), \qquad
      a \text{ is better if } \Delta_a - t_{n-1,\,1-\alpha_a/2}\;
      s_a \sqrt{\tfrac1n + \rho} > 0$$

    Each seed draws the validation rows (where they were not given), the first weights and the order
    of the rows, the same for every arm, so that differences are paired. Splits of the same rows
    resemble each other, which $\rho$ allows for; $\alpha_a$ is Holm's. The test rows are put aside
    before anything begins: no trial can see them, and at the end the networks of the chosen arm
    answer them once.

    Args:
        base: what all arms share: settings by name as `fit` takes them ("network", "rule",
            "epochs", ...), or a network alone. What it does not say is chosen from the data, once.
            Or a function or recipe, called as `base(seed=s, **settings)`, which returns the figure
            or a mapping that begins with it; then there is no `data`.
        vary: name -> values, or label -> value; the first value is the base's. Anything `fit` can
            be told can vary, and also width, depth, activation, normalization, initialization and
            fraction (of the training rows).
        data: a `Data`, or what `data.load` reads.
        target: of a table that is loaded: the column to predict.
        seeds: how many, from 0 on, or which.
        budget: seconds, or "90s", "10m", "1h30m": no trial begins that would not end within it.
        metric: the figure of the validation rows that arms are compared by; by default accuracy,
            f1 or r2. Less of a loss or an error is better.
        design: "one-at-a-time" varies one name of the base in each arm, "grid" takes every
            combination, a number draws so many of them.
        margin: difference that would not matter.
        workers: processes, each with one thread; by default one a core.
        directory: where trials are kept as they end; the same call goes on from there. A trial that
            is there is never run again, whichever study it was run for.
        retry: whether trials that failed are run again.
        on_progress: called after each trial.
        tell: called with a line for each thing chosen or found, before the first trial.

    Raises:
        ValueError: before the first trial, for a name that is none, a value the base cannot take,
            or a budget in which not even one seed of all arms can end.

    Source: Bouthillier et al. (2021), Accounting for variance in machine learning benchmarks,
    arXiv:2103.03098.
    """
    begun = time.monotonic()
    say = tell or (lambda line: None)
    numbers = list(range(seeds)) if isinstance(seeds, int) else list(seeds)
    if not numbers or len(set(numbers)) != len(numbers):
        raise ValueError(f"seeds must be at least one, each once, got {seeds!r}")
    allowed = parse_budget(budget)
    place = None if directory is None else Path(directory)
    if base is not None and not isinstance(base, Mapping | str):
        if data is not None:
            raise ValueError("a function as base brings its own data; pass data=None")
        arms = arms_of({}, vary or {}, design)
        whole, called = None, Called(base)
        called.check(arms)
        experiment: Experiment = called
    else:
        whole = data if isinstance(data, Data) else load(_given(data), target)
        said = {"network": base} if isinstance(base, str) else dict(base or {})
        arms = arms_of(canonical(said), canonical(vary or {}), design)
        experiment = configured = Configured.of(whole, canonical(said), place)
        for line in configured.choice.lines():
            say(line)
    metric, better = _judged_by(metric, whole)
    store = Store(None if place is None else place / "trials", experiment.identity)
    found = Study(
        arms,
        numbers,
        metric or "figure",
        {},
        {arm.name: arms[0].name for arm in arms[1:]},
        margin=margin,
        overlap=getattr(experiment, "overlap", 0.0),
        higher_is_better=better,
        name=whole.name if whole is not None else labelled(base),
        directory=place,
    )
    found.config = _config(found, experiment, base, vary, budget, design)
    if place is not None:
        write_config(place, found.config)
    trials = [Trial(arm, seed) for seed in numbers for arm in arms]
    for trial in trials:
        known = store.read(trial)
        if known is not None and not (retry and known.error):
            found.outcomes[trial.arm.name, trial.seed] = known
    left = [trial for trial in trials if (trial.arm.name, trial.seed) not in found.outcomes]
    if len(left) < len(trials):
        say(f"{len(trials) - len(left)} of {len(trials)} trials were run before")
    count = min(workers or _cores(), len(trials))
    clock = Clock(arms, count, allowed, begun)
    if isinstance(experiment, Configured):
        clock.rehearse(experiment, left, found.metric)
    waiting = [[trial] for trial in left]
    if left and not clock.tight(left):
        every = groups(experiment, trials, count)
        waiting = [group for group in every if any(trial in left for trial in group)]
    together = {trial.arm.name for group in waiting if len(group) > 1 for trial in group}
    if together:
        names = ", ".join(arm.name for arm in found.arms if arm.name in together)
        say(f"seeds trained side by side, which takes less time: {names}")
    _run(found, experiment, store, left, waiting, clock, count, on_progress)
    if metric is None:
        first = [next(iter(o.scores), "figure") for o in found.outcomes.values() if not o.error]
        found.metric = first[0] if first else "figure"
        found.higher_is_better = not _LESS_IS_BETTER.search(found.metric)
    if whole is not None and whole.test is not None and isinstance(experiment, Configured):
        _test_chosen(found, experiment, store, whole)
    found.seconds = time.monotonic() - begun
    if place is not None:
        _write(found, place)
    return found


def _given(data: Any) -> Any:
    if data is None:
        raise ValueError("study needs data: a Data, or what data.load reads; or a function as base")
    return data


def _cores() -> int:
    import torch

    return 1 if torch.cuda.is_available() else os.cpu_count() or 1


def _judged_by(metric: str | None, data: Data | None) -> tuple[str | None, bool]:
    """The figure to compare by, and whether more of it is better."""
    if metric is None and data is not None:
        metric = _METRICS.get(data.task or "", "loss")
    return metric, not (metric and _LESS_IS_BETTER.search(metric))


def _run(
    found: Study,
    experiment: Experiment,
    store: Store,
    left: Sequence[Trial],
    groups: Sequence[Sequence[Trial]],
    clock: Clock,
    workers: int,
    on_progress: Callable[[Progress], object] | None,
) -> None:
    waiting = {(trial.arm.name, trial.seed): trial for trial in left}
    total = len(found.outcomes) + len(left)
    try:
        for trial, outcome in spread(
            experiment, groups, workers=workers, may_start=clock.may_start
        ):
            if (trial.arm.name, trial.seed) not in waiting:  # came along for the same rounding
                continue
            store.write(trial, outcome)
            found.outcomes[trial.arm.name, trial.seed] = outcome
            del waiting[trial.arm.name, trial.seed]
            clock.measured[trial.arm.name].append(outcome.seconds)
            if found.directory is not None:
                _write_trials(found, found.directory)
            if on_progress is not None:
                rest = clock.left(list(waiting.values()))
                on_progress(Progress(total - len(waiting), total, trial, outcome, rest))
    except KeyboardInterrupt:
        kept = f"{total - len(waiting)} of {total} trials"
        if found.directory is None:
            raise KeyboardInterrupt(f"interrupted after {kept}; none is kept") from None
        raise KeyboardInterrupt(
            f"interrupted; {kept} are kept in {found.directory}, and the same call goes on"
        ) from None


@dataclass
class Called:
    """An experiment that is a function `(seed=, **settings)`."""

    function: Callable[..., Any]

    @property
    def identity(self) -> dict[str, Any]:
        """The function's name, and what it does."""
        inner = getattr(self.function, "function", self.function)  # a recipe's own
        return {"function": f"{getattr(inner, '__module__', '')}.{plain(inner)}"}

    def check(self, arms: Sequence[Arm]) -> None:
        """Refuse settings that the function does not take."""
        inner = getattr(self.function, "function", self.function)
        parameters = inspect.signature(inner).parameters
        if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
            return
        for name in arms[0].labels:
            if name not in parameters:
                raise ValueError(
                    f"the experiment does not take {name!r}; it takes {', '.join(parameters)}"
                )

    def run(self, settings: Mapping[str, Any], seed: int) -> Outcome:
        """Call it."""
        with randomness.isolated():
            randomness.seed_everything(seed)
            result = self.function(seed=seed, **settings)
        scores = dict(result) if isinstance(result, Mapping) else {"figure": result}
        return Outcome(scores={name: float(value) for name, value in scores.items()})


# The chosen arm, on the test rows


def _test_chosen(found: Study, experiment: Configured, store: Store, data: Data) -> None:
    """Let the chosen arm's networks answer the test rows, and keep the best of them as a run."""
    arm = next(arm for arm in found.arms if arm.name == found.chosen)
    values = found.values(arm.name)
    if not values:
        return
    sign = 1 if found.higher_is_better else -1
    best = max(values, key=lambda seed: sign * values[seed])
    scores: dict[str, list[float]] = {}
    for seed in values:
        outcome = found.outcomes[arm.name, seed]
        weights = outcome.weights or store.weights(Trial(arm, seed))
        if weights is None:
            continue
        model = experiment.network(experiment.rows(arm.settings, seed), arm.settings, seed)
        model.load_state_dict(unpacked(weights))
        described = {**outcome.config, "data": data.describe()}
        objective = automatic.usual_objective(data, arm.settings.get("loss"))
        run = Run(model, data=data, objective=objective, config=described)
        for name, value in run.evaluate("test").items():
            scores.setdefault(name, []).append(value)
        if seed == best and found.directory is not None:
            run.save(found.directory / "chosen")
    found.test = scores


# The folder


def _config(
    found: Study, experiment: Any, base: Any, vary: Any, budget: Any, design: Any
) -> dict[str, Any]:
    return {
        "study": found.name,
        "base": plain(base),
        "vary": {name: [labelled(v) for v in values] for name, values in (vary or {}).items()},
        "arms": {arm.name: plain(arm.settings) for arm in found.arms},
        "design": design,
        "seeds": found.seeds,
        "metric": found.metric,
        "margin": found.margin,
        "alpha": found.alpha,
        "budget": budget,
        "overlap": found.overlap,
        **plain(experiment.identity),
    }


def _write_trials(found: Study, folder: Path) -> None:
    write_text(folder / "trials.csv", found.trials.to_csv(index=False))


def _write(found: Study, folder: Path) -> None:
    _write_trials(found, folder)
    write_config(folder, {**found.config, "metric": found.metric})
    write_text(folder / "result.json", json.dumps(found.to_json(), indent=1, default=str) + "\n")
