"""Sections on forecasts: some of them drawn, their errors by step, and what naive ones reach."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from neurarium import metrics
from neurarium.data import Resident, SeriesPreprocessing, SeriesWindows
from neurarium.report import figures
from neurarium.report.facts import METRIC_NAMES, Facts
from neurarium.report.overview import card, figure_text, interval_text
from neurarium.report.page import Html, element, number, paragraph, percent, section, table
from neurarium.training import Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_DRAWN, _DRAWN_TARGETS = 3, 3
_MOST_WINDOWS = 20_000  # that the linear baseline is fitted on
_GREEN, _GREY, _BROWN = "#3a9a5c", "#8a8f99", "#9a6a3a"
_COLOURS = {"last value": _GREY, "last season": _GREEN, "linear": _BROWN}


@dataclass
class Forecasts:
    """Forecasts beside what came, in the user's units: all of shape (windows, horizon, targets).

    Args:
        past: (windows, history, targets).
        quantiles: with a last axis, in rising order; None of a network that gives none.
        levels: of the quantiles.
        train: the windows trained on, for the linear baseline.
        times: of the rows from the first window's first, as the user wrote them.
    """

    fitted: SeriesPreprocessing
    past: np.ndarray
    target: np.ndarray
    predicted: np.ndarray
    quantiles: np.ndarray | None = None
    levels: Sequence[float] = ()
    train: Resident | None = None
    times: Sequence[str] = ()

    @classmethod
    def of(cls, run: Run, split: Resident, output: Tensor | None = None) -> "Forecasts":
        """The run's forecasts for these windows; `output`, if the network was asked already."""
        fitted = run.preprocessing
        assert isinstance(fitted, SeriesPreprocessing)
        target, output = split.tensors["target"], run.forward(split) if output is None else output
        past = split.tensors["input"][..., : fitted.targets]
        several = output.ndim == 4
        train = None if run.data is None else run.data.train
        return cls(
            fitted,
            fitted.in_units(past),
            fitted.in_units(target),
            fitted.in_units(output),
            fitted.quantiles(output) if several else None,
            tuple(getattr(run.model, "quantiles", ())) if several else (),
            train if isinstance(train, Resident) else None,
            split.times if isinstance(split, SeriesWindows) else (),
        )

    def __len__(self) -> int:
        return len(self.target)

    @cached_property
    def baselines(self) -> dict[str, np.ndarray]:
        """Forecasts that take no network, by name."""
        horizon, season = self.fitted.horizon, self.fitted.season
        found = {"last value": np.repeat(self.past[:, -1:], horizon, 1)}
        if 1 < season <= self.fitted.history:
            found["last season"] = self.past[:, np.arange(horizon) % season - season]
        if self.train is not None:
            found["linear"] = self._linear(self.train)
        return found

    def _linear(self, train: Resident) -> np.ndarray:
        """Ridge regression of each step on the past of the same column, on the training rows."""
        mean, std = (s[: self.fitted.targets] for s in (self.fitted.mean, self.fitted.std))
        stride = 1 + len(train) // _MOST_WINDOWS
        guess = []
        for i in range(self.fitted.targets):
            x = train.tensors["input"][::stride, :, i].double()
            y = train.tensors["target"][::stride, :, i].double()
            weights = _ridge(x, y)
            past = torch.from_numpy((self.past[..., i] - mean[i]) / std[i])
            guess.append(_with_one(past) @ weights * std[i] + mean[i])
        return torch.stack(guess, 2).numpy()

    @property
    def best_baseline(self) -> str:
        """The baseline with the least mean absolute error here."""
        return min(self.baselines, key=lambda name: self.figures(self.baselines[name])["mae"])

    def figures(self, predicted: np.ndarray, column: int | None = None) -> dict[str, float]:
        """How far such forecasts are from what came, of all targets or of the one in a column."""
        own = slice(None) if column is None else slice(column, column + 1)
        target, predicted = self.target[..., own], predicted[..., own]
        error = predicted - target
        found = {"mae": float(np.abs(error).mean()), "rmse": float(np.sqrt((error**2).mean()))}
        scale = np.asarray(self.fitted.naive_error)[own]
        if (scale > 0).all():
            found["mase"] = metrics.mase(target, predicted, scale)
        return {**found, "smape": metrics.smape(target, predicted)}

    @cached_property
    def of_targets(self) -> dict[str, dict[str, float]]:
        """The network's figures of each target, where there are several."""
        names = self.fitted.target_names if self.fitted.targets > 1 else []
        found = {name: self.figures(self.predicted, i) for i, name in enumerate(names)}
        if "coverage" in self.scores:
            for i, name in enumerate(names):
                found[name]["coverage"] = float(self.inside[..., i].mean())
        return found

    @cached_property
    def scores(self) -> dict[str, float]:
        """The network's figures; with quantiles also of these."""
        found = self.figures(self.predicted)
        if self.quantiles is not None and len(self.levels) > 1:
            found["coverage"] = float(self.inside.mean())
        return found

    @cached_property
    def inside(self) -> np.ndarray:
        """Which values lie between the outer quantiles."""
        assert self.quantiles is not None
        low, high = self.quantiles[..., 0], self.quantiles[..., -1]
        return (low <= self.target) & (self.target <= high)

    @cached_property
    def intervals(self) -> dict[str, tuple[float, float]]:
        """Intervals of these figures, as far as windows that do not overlap allow."""
        error = np.abs(self.predicted - self.target)
        found = {"mae": self._interval(error)}
        squared = self._interval(error**2)
        found["rmse"] = None if squared is None else (squared[0] ** 0.5, squared[1] ** 0.5)
        if "mase" in self.scores:
            found["mase"] = self._interval(error / np.asarray(self.fitted.naive_error))
        return {name: pair for name, pair in found.items() if pair is not None}

    def _interval(self, values: np.ndarray) -> tuple[float, float] | None:
        # Windows less than a horizon apart share what they predict.
        block = max(self.fitted.horizon, self.fitted.season)
        return metrics.block_bootstrap(values.mean((1, 2)), block)

    def gain(self, baseline: str) -> tuple[float, float] | None:
        """Interval of how much smaller the network's absolute error is."""
        theirs = np.abs(self.baselines[baseline] - self.target)
        return self._interval(theirs - np.abs(self.predicted - self.target))

    def origin(self, window: int) -> str:
        """The last time that a window knows."""
        place = window + self.fitted.history - 1
        return self.times[place] if place < len(self.times) else f"row {place}"


def _with_one(x: Tensor) -> Tensor:
    return torch.cat([x, torch.ones(len(x), 1, dtype=x.dtype)], 1)


def _ridge(x: Tensor, y: Tensor) -> Tensor:
    x = _with_one(x)
    penalty = 1e-3 * len(x) * torch.eye(x.shape[1], dtype=x.dtype)
    penalty[-1, -1] = 0
    return torch.linalg.solve(x.T @ x + penalty, x.T @ y)


def forecasts_of(facts: Facts) -> Forecasts | None:
    """The forecasts of the split that is shown in detail, if these are forecasts."""
    main = facts.main
    if main is None or not isinstance(facts.run.preprocessing, SeriesPreprocessing):
        return None
    split = getattr(facts.data, main.name)
    return Forecasts.of(facts.run, split, main.output) if isinstance(split, Resident) else None


# Sections


def sections(facts: Facts, found: Forecasts) -> list[Html]:
    """How good the forecasts are."""
    return [headline(facts, found), of_forecasts(found)]


def headline(facts: Facts, found: Forecasts) -> Html:
    """What is forecast, how well, and how well without a network."""
    fitted, best = found.fitted, found.best_baseline
    kind = (
        f"forecast of {', '.join(fitted.target_names[:5])}, {fitted.horizon} rows ahead from "
        f"{fitted.history}, each {fitted.clock.every} after the one before"
    )
    base = found.figures(found.baselines[best])
    cards = [
        card(
            f"{facts.splits[0].name.capitalize()} {METRIC_NAMES['mae']}",
            figure_text("mae", found.scores["mae"]),
            _range("mae", found),
            "main",
        ),
        card("Without a network", figure_text("mae", base["mae"]), f"the {described(best, found)}"),
    ]
    if "mase" in found.scores:
        cards.append(card("MASE", figure_text("mase", found.scores["mase"]), _range("mase", found)))
    return element(
        "header",
        element("h1", facts.title),
        paragraph(kind, class_="soft"),
        element("div", *cards, class_="headline"),
        paragraph(verdict(found)),
        paragraph(
            "Intervals resample blocks of neighbouring forecasts, which overlap; they cover the "
            "chance in which times were the test, not that in training again.", class_="soft",
        ),
    )  # fmt: skip


def _range(name: str, found: Forecasts) -> str:
    if name not in found.intervals:
        return "too few forecasts for an interval"
    return f"95 % interval {interval_text(name, found.intervals[name])}"


def described(name: str, found: Forecasts) -> str:
    """A baseline in words."""
    season = found.fitted.season
    words = {
        "last value": "last value, repeated",
        "last season": f"last season ({season} rows), repeated",
        "linear": "linear regression on the past (ridge)",
    }
    return words[name]


def verdict(found: Forecasts) -> str:
    """Whether the network is better than the best naive forecast, in words no stronger."""
    naive = [name for name in found.baselines if name != "linear"]
    told = []
    for name in (*naive, *(["linear"] if "linear" in found.baselines else [])):
        gain = found.gain(name)
        if gain is None:
            continue
        how = (
            "better than"
            if gain[0] > 0
            else "worse than"
            if gain[1] < 0
            else "not shown to differ from"
        )
        told.append(f"{how} the {described(name, found)}")
    if not told:
        return "There are too few forecasts to say whether the network is better than naive ones."
    return f"The network is {'; '.join(told)}."


def of_forecasts(found: Forecasts) -> Html:
    """Some forecasts drawn, errors by step, and all figures beside the baselines'."""
    windows = np.linspace(0, len(found) - 1, min(_DRAWN, len(found))).round().astype(int)
    drawn = [_drawn(found, int(window), 0) for window in windows]
    middle = int(windows[len(windows) // 2])
    drawn += [_drawn(found, middle, i) for i in range(1, min(found.fitted.targets, _DRAWN_TARGETS))]
    shown = [_by_step(found), *([] if found.quantiles is None else [_coverage(found)])]
    return section(
        "Forecasts",
        element("div", *drawn, class_="figures"),
        _figures(found),
        *([_targets(found)] if found.of_targets else []),
        element("h3", "By how far ahead"),
        element("div", *shown, class_="figures"),
        _steps(found),
    )


def _drawn(found: Forecasts, window: int, column: int) -> Html:
    name, horizon = found.fitted.target_names[column], found.fitted.horizon
    past = found.past[window, -2 * horizon :, column]
    true, predicted = found.target[window, :, column], found.predicted[window, :, column]
    before, after = np.arange(-len(past) + 1, 1), np.arange(1, horizon + 1)
    band = None if found.quantiles is None else found.quantiles[window, :, column]

    def plot(axes: "Axes") -> None:
        axes.plot(before, past, color=figures.INK, lw=1)
        if band is not None:
            axes.fill_between(
                after, band[:, 0], band[:, -1], color=figures.BLUE, alpha=0.25, lw=0,
                label=_named_band(found),
            )  # fmt: skip
        axes.plot(after, true, color=figures.INK, lw=1, ls=(0, (3, 2)), label="what came")
        axes.plot(after, predicted, color=figures.BLUE, lw=1.4, label="forecast")
        axes.axvline(0, color=_GREY, lw=0.6)
        axes.set(xlabel="rows ahead", ylabel=name)
        low, high = axes.get_ylim()
        axes.set_ylim(low, high + 0.22 * (high - low))  # room for the legend above the lines
        axes.legend(fontsize=7, loc="upper center", ncols=3, handlelength=1.2, columnspacing=0.8)

    error = float(np.abs(true - predicted).mean())
    caption = f"From {found.origin(window)}: mean absolute error {number(error)}"
    alt = f"Line chart of {name}, its forecast of {horizon} rows and what came. {caption}."
    return figures.draw(f"forecast-{window}-{column}", alt, caption, plot)


def _named_band(found: Forecasts) -> str:
    return f"{found.levels[0]:.0%} to {found.levels[-1]:.0%}"


def _figures(found: Forecasts) -> Html:
    columns = {"network": found.scores} | {
        name: found.figures(guess) for name, guess in found.baselines.items()
    }
    rows: list[list[object]] = []
    for name in found.scores:
        cells = [element("td", figure_text(name, values[name]), class_="number")
                 if name in values else "–" for values in columns.values()]  # fmt: skip
        interval = found.intervals.get(name)
        rows.append(
            [
                METRIC_NAMES[name],
                cells[0],
                interval_text(name, interval) if interval else "–",
                *cells[1:],
            ]
        )
    names = ["figure", "network", "95 % interval", *found.baselines]
    told = "; ".join(f"“{name}” is the {described(name, found)}" for name in found.baselines)
    words = (
        f"{told}. MASE is the error as a share of that of "
        f"{'the last season' if found.fitted.season > 1 else 'the last value'}, repeated, in "
        "training."
    )
    if "coverage" in found.scores:
        claimed = percent(found.levels[-1] - found.levels[0])
        words += f" {claimed} of what comes should lie inside the interval."
        if found.fitted.widening is not None:
            words += (
                " Its ends were moved by the errors in validation (split conformal, "
                "arXiv:1905.03222): by "
                f"{_moved(found)} at the first to the last step, outwards where positive."
            )
    return element(
        "div",
        table(f"{len(found):,} forecasts", names, rows),
        paragraph(words, class_="soft"),
    )


def _targets(found: Forecasts) -> Html:
    """The figures of each target, and the best baseline's error; units differ."""
    best = found.baselines[found.best_baseline]
    shown = list(next(iter(found.of_targets.values())))
    rows: list[list[object]] = []
    for i, (name, figures_) in enumerate(found.of_targets.items()):
        base = found.figures(best, i)["mae"]
        told = [*(figure_text(f, figures_[f]) for f in shown), figure_text("mae", base)]
        rows.append([name, *(element("td", text, class_="number") for text in told)])
    last = f"{METRIC_NAMES['mae']} of the {found.best_baseline}"
    header = ["target", *(METRIC_NAMES[f] for f in shown), last]
    return table("Each target in its own unit; figures above are means over all", header, rows)


def _moved(found: Forecasts) -> str:
    """How far, of the first target in its units."""
    assert found.fitted.widening is not None
    each = found.fitted.widening[:, 0] * found.fitted.std[0]
    return f"{number(float(each[0]))} to {number(float(each[-1]))}"


def _errors(found: Forecasts) -> dict[str, np.ndarray]:
    """Mean absolute error of each step, by forecaster; of several targets, in their deviations."""
    scale = found.fitted.std[: found.fitted.targets] if found.fitted.targets > 1 else 1.0
    guesses = {"network": found.predicted, **found.baselines}
    return {n: (np.abs(g - found.target) / scale).mean((0, 2)) for n, g in guesses.items()}


def _by_step(found: Forecasts) -> Html:
    lines, steps = _errors(found), np.arange(1, found.fitted.horizon + 1)

    def plot(axes: "Axes") -> None:
        for name, values in lines.items():
            marker = "o" if len(steps) < 3 else None
            axes.plot(steps, values, color=_COLOURS.get(name, figures.BLUE), label=name,
                      lw=1.2 + 0.6 * (name == "network"), marker=marker)  # fmt: skip
        axes.set(xlabel="rows ahead", ylabel=_error_name(found))
        axes.set_ylim(bottom=0)
        axes.legend(fontsize=8)

    ends = "; ".join(f"{name} {v[0]:.4g} to {v[-1]:.4g}" for name, v in lines.items())
    alt = f"Line chart of the error from the first step to the last: {ends}."
    return figures.draw("error-by-step", alt, "Mean absolute error by step", plot)


def _error_name(found: Forecasts) -> str:
    return "error (deviations)" if found.fitted.targets > 1 else "mean absolute error"


def _coverage(found: Forecasts) -> Html:
    inside = found.inside.mean((0, 2))
    steps, claimed = np.arange(1, len(inside) + 1), found.levels[-1] - found.levels[0]

    def plot(axes: "Axes") -> None:
        axes.plot(steps, 100 * inside, color=figures.BLUE, marker="o" if len(steps) < 3 else None)
        axes.axhline(100 * claimed, color=figures.INK, lw=0.8, ls=(0, (4, 3)))
        axes.set(xlabel="rows ahead", ylabel="% inside the interval", ylim=(0, 103))

    alt = f"Line chart of the share inside the interval, {inside[0]:.0%} to {inside[-1]:.0%}."
    caption = f"How often what came lay between {_named_band(found)}; dashed: as often as claimed"
    return figures.draw("coverage-by-step", alt, caption, plot)


def _steps(found: Forecasts) -> Html:
    """The errors of a few steps as numbers."""
    lines, horizon = _errors(found), found.fitted.horizon
    steps = sorted({1, *(max(1, round(horizon * share)) for share in (0.125, 0.25, 0.5, 0.75, 1))})
    rows: list[Sequence[Any]] = [
        [f"{step}", *(float(values[step - 1]) for values in lines.values())] for step in steps
    ]
    unit = ", in standard deviations," if found.fitted.targets > 1 else ""
    caption = f"Mean absolute error{unit} by rows ahead"
    return table(caption, ["rows ahead", *lines], rows)


def baseline_scores(found: Forecasts) -> Mapping[str, Mapping[str, float]]:
    """The figures of each baseline."""
    return {name: found.figures(guess) for name, guess in found.baselines.items()}
