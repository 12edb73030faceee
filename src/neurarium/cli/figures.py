"""Test figures with their intervals, for a terminal and as JSON."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from neurarium.cli.output import Output

if TYPE_CHECKING:
    from neurarium.data import Resident, Windows
    from neurarium.training import Run


@dataclass(frozen=True)
class Figures:
    """Scores of some rows.

    Args:
        constant: what the best constant answer scores, and `answer` which one that is.
        baselines: of forecasts, what each naive one scores.
        targets: of forecasts of several, the scores of each.
    """

    title: str
    rows: int
    scores: Mapping[str, float]
    intervals: Mapping[str, tuple[float, float]]
    constant: Mapping[str, float] = field(default_factory=dict)
    answer: str = ""
    baselines: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    targets: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    def show(self, output: Output) -> None:
        """A table: each figure, its interval, and what a constant answer reaches."""
        from neurarium.report.overview import METRIC_NAMES, figure_text, interval_text

        if not self.scores:
            output.say("no rows to judge the network on")
            return
        header = [f"{self.title} ({self.rows:,} rows)", "figure", "95 % interval"]
        lines = [
            [
                METRIC_NAMES.get(name, name),
                figure_text(name, value),
                interval_text(name, self.intervals[name]) if name in self.intervals else "",
                *([figure_text(name, self.constant[name])] if name in self.constant else []),
            ]
            for name, value in self.scores.items()
        ]
        output.table([*header, *(["baseline"] * bool(self.constant))], lines)
        if self.targets:
            names = list(next(iter(self.targets.values())))
            output.table(
                ["target", *(METRIC_NAMES.get(name, name) for name in names)],
                [
                    [target, *(figure_text(name, own[name]) for name in names)]
                    for target, own in self.targets.items()
                ],
            )
        if self.answer:
            output.detail(f"baseline: {self.answer}")

    def json(self) -> dict[str, Any]:
        """The figures under scikit-learn's names."""
        intervals = {name: list(pair) for name, pair in self.intervals.items()}
        found = {"scores": dict(self.scores), "intervals": intervals}
        more = {"baselines": dict(self.baselines), "targets": dict(self.targets)}
        return {**found, **{name: values for name, values in more.items() if values}}


def figures_of_split(run: "Run", split: str) -> Figures:
    """The figures of one of the run's own splits."""
    from neurarium.data import Resident, SeriesPreprocessing, Windows
    from neurarium.report.facts import Facts

    if run.data is not None and getattr(run.data, split, None) is None:
        run.data.split(split)  # says which there are
    if run.data is not None and isinstance(run.preprocessing, SeriesPreprocessing):
        windows = run.data.split(split)
        assert isinstance(windows, Resident)
        return _of_forecasts(run, windows, split)
    if run.data is not None and isinstance(windows := run.data.split(split), Windows):
        return _of_text(run, windows, split)
    facts = Facts(run, [split])
    if facts.main is None:
        rows = run.data.split(split) if run.data is not None and run.objective is not None else None
        if not isinstance(rows, Resident):
            return Figures(split, 0, {}, {})
        return Figures(split, len(rows), run.evaluate(split), {})
    answer, known = facts.baseline or ("", {})
    main = facts.main
    return Figures(split, len(main), main.scores, main.intervals, known, answer)


def _of_forecasts(run: "Run", rows: "Resident", title: str) -> Figures:
    from neurarium.report.forecasts import Forecasts, baseline_scores, described, verdict

    found = Forecasts.of(run, rows)
    known, best = baseline_scores(found), found.best_baseline
    answer = f"the {described(best, found)}. {verdict(found)}"
    scores, intervals = found.scores, found.intervals
    targets = found.of_targets
    return Figures(title, len(found), scores, intervals, known[best], answer, known, targets)


def _of_text(run: "Run", rows: "Windows", title: str) -> Figures:
    import math

    from neurarium.report.language import Language

    found = Language.of(run, rows, title)
    low, high = found.interval
    scores = {
        "loss": found.loss,
        "perplexity": math.exp(found.loss),
        "bits": found.loss / math.log(2),
        "accuracy": found.right,
    }
    return Figures(title, len(rows), scores, {"loss": (low, high)} if len(rows) > 1 else {})


def figures_of_rows(run: "Run", rows: "Resident", title: str) -> Figures:
    """The figures of new rows."""
    from neurarium import metrics
    from neurarium.data import SeriesPreprocessing, Windows

    if isinstance(run.preprocessing, SeriesPreprocessing):
        return _of_forecasts(run, rows, title)
    if isinstance(rows, Windows):
        return _of_text(run, rows, title)
    output, target = run.outputs(rows)
    if run.task is None:
        return Figures(title, len(rows), run.evaluate(rows), {})
    decode = run.preprocessing.decode if run.preprocessing else None
    scores = metrics.scores(run.task, target, output, decode=decode)
    intervals = metrics.intervals(run.task, target, output, decode=decode)
    return Figures(title, len(rows), scores, intervals)
