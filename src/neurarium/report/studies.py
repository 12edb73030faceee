"""The report of a study: what helped, how sure that is, and what it costs."""

import math
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from neurarium.report import figures
from neurarium.report.facts import METRIC_NAMES
from neurarium.report.overview import figure_text
from neurarium.report.page import Html, element, number, page, paragraph, section, table
from neurarium.study.budget import duration
from neurarium.study.comparison import Study
from neurarium.study.statistics import nemenyi
from neurarium.training.checkpoints import write_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["render", "write"]

_COLORS = ("#3d7cc9", "#d97f27", "#2f9e63", "#b4509b", "#8a6d3b", "#c9473d", "#5b6475", "#17a2b8")
_MOST_CURVES = 8


def write(study: Study, path: str | Path | None = None) -> Path:
    """Write `report.html`: verdicts, intervals, learning curves, score against cost, ranks.

    Args:
        path: the file; by default `report.html` in the study's folder, or here if it has none.
    """
    path = Path(path) if path is not None else (study.directory or Path()) / "report.html"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, render(study))
    return path


def render(study: Study) -> str:
    """The report as text."""
    title = f"Study on {study.name}"
    header = element("header", element("h1", title), paragraph(_summary(study), class_="soft"))
    return page(
        title,
        header,
        section("Verdicts", _verdicts(study), _how(study)),
        _pictures(study),
        _test(study),
        _failures(study),
        _record(study),
    )


def _what(study: Study) -> str:
    return METRIC_NAMES.get(study.metric, study.metric)


def _summary(study: Study) -> str:
    found = study.comparisons
    words = []
    for verdict in ("better", "worse", "the same", "cannot tell"):
        arms = [name for name, comparison in found.items() if comparison.verdict == verdict]
        if arms:
            words.append(f"{_VERBS[verdict]}: {', '.join(arms)}")
    ended = len(study.outcomes)
    return (
        f"{len(study.arms)} arms, {len(study.seeds)} seeds, {ended} trials in "
        f"{duration(sum(o.seconds for o in study.outcomes.values()))} of computing. "
        f"Held against {study.base}: {'; '.join(words)}."
    )


_VERBS = {
    "better": "better",
    "worse": "worse",
    "the same": "as good",
    "cannot tell": "cannot be told apart",
}


def _verdicts(study: Study) -> Html:
    rows = []
    for row in study.table.to_dict("records"):
        rows.append(
            [
                row["arm"],
                _figure(study, row["mean"]),
                _between(study, row["mean_low"], row["mean_high"]),
                _figure(study, row.get("difference")),
                _between(study, row.get("low"), row.get("high")),
                _number(row.get("p")),
                _number(row.get("effect")),
                "base" if row["arm"] == study.base else row["words"],
            ]
        )
    header = ["arm", "mean", "95 % bootstrap", "difference", "corrected interval", "corrected p",
              "effect size", "verdict"]  # fmt: skip
    return table(f"{_what(study)} on validation rows", header, rows)


def _how(study: Study) -> Html:
    less = "Less is better. " if not study.higher_is_better else ""
    same = (
        f"Every seed draws {100 * study.overlap / (1 + study.overlap):.0f} % of the rows to "
        "validate on, the same for every arm, and the intervals allow for such splits sharing "
        "rows. "
        if study.overlap
        else "All trials share one split. "
    )
    return paragraph(
        less,
        "Better and worse are said only where the interval of the paired difference, corrected by "
        "Holm for the number of comparisons, excludes 0. ",
        same,
        "The effect size is Hedges' g of the paired differences. What more seeds would find is "
        "reckoned at 80 % power for the difference measured.",
        class_="soft",
    )


def _figure(study: Study, value: Any) -> str:
    return "" if _absent(value) else figure_text(study.metric, float(value))


def _between(study: Study, low: Any, high: Any) -> str:
    return "" if _absent(low) else f"{_figure(study, low)} to {_figure(study, high)}"


def _number(value: Any) -> str:
    return "" if _absent(value) else number(float(value))


def _absent(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


# Pictures


def _pictures(study: Study) -> Html | None:
    drawn = [
        picture
        for make in (_values, _differences, _curves, _pareto, _ranks)
        if (picture := make(study)) is not None
    ]
    return section("Pictures", element("div", *drawn, class_="figures")) if drawn else None


def _color(study: Study, arm: str) -> str:
    names = [one.name for one in study.arms]
    return _COLORS[names.index(arm) % len(_COLORS)]


def _values(study: Study) -> Html | None:
    """Every seed's figure, and the mean with its bootstrap interval."""
    rows = [row for row in study.table.to_dict("records") if not _absent(row["mean"])]
    if not rows:
        return None

    def plot(axes: "Axes") -> None:
        for place, row in enumerate(rows):
            values = list(study.values(row["arm"]).values())
            color = _color(study, row["arm"])
            axes.plot(values, [place] * len(values), "o", color=color, ms=3.5, alpha=0.45, mew=0)
            if not _absent(row["mean_low"]):
                axes.plot([row["mean_low"], row["mean_high"]], [place] * 2, color=color, lw=2)
            axes.plot(row["mean"], place, "D", color=color, ms=5)
        figures.named_rows(axes, [row["arm"] for row in rows])
        axes.set_xlabel(_what(study))

    alt = f"Mean {_what(study)} of each arm: " + "; ".join(
        f"{row['arm']} {_figure(study, row['mean'])}" for row in rows
    )
    caption = f"{_what(study)} of every seed, and their mean with its bootstrap interval"
    return figures.draw("values", alt, caption[0].upper() + caption[1:], plot)


def _differences(study: Study) -> Html | None:
    """Each arm's difference from the base, with the corrected interval."""
    found = [c for c in study.comparisons.values() if c.difference is not None]
    if not found:
        return None

    def plot(axes: "Axes") -> None:
        axes.axvline(0, color=figures.INK, lw=0.8, ls=(0, (4, 3)))
        if study.margin:
            axes.axvspan(-study.margin, study.margin, color=_COLORS[6], alpha=0.15, lw=0)
        reach = [abs(c.difference or 0) for c in found]
        for place, one in enumerate(found):
            color = _color(study, one.arm)
            if one.low is not None and one.high is not None:
                axes.plot([one.low, one.high], [place] * 2, color=color, lw=2)
                reach += [abs(one.low), abs(one.high)]
            hollow = one.verdict == "cannot tell"
            assert one.difference is not None
            axes.plot(one.difference, place, "o", color=color, ms=6,
                      mfc="none" if hollow else color)  # fmt: skip
        figures.named_rows(axes, [one.arm for one in found])
        axes.set_xlim(-1.1 * max(reach) or -1, 1.1 * max(reach) or 1)
        axes.set_xlabel(f"difference of {_what(study)}")

    alt = f"Difference of each arm from {study.base}: " + "; ".join(
        f"{c.arm} {_figure(study, c.difference)}, {c.verdict}" for c in found
    )
    caption = (
        f"Difference from {study.base}, with corrected intervals; hollow: cannot be told from 0"
    )
    return figures.draw("differences", alt, caption, plot)


def _curves(study: Study) -> Html | None:
    """The validation figure over the epochs: mean and range over seeds of each arm."""
    column = f"val_{study.metric}"
    histories: dict[str, list[list[float]]] = {}
    for arm in study.arms[:_MOST_CURVES]:
        for seed in study.seeds:
            outcome = study.outcomes.get((arm.name, seed))
            if outcome is None or outcome.error is not None:
                continue
            history = outcome.history
            values = history.get(column) or history.get("val_loss") or ()
            known = [math.nan if v is None else float(v) for v in values]
            if known:
                histories.setdefault(arm.name, []).append(known)
    if not histories:
        return None
    some = next(iter(study.outcomes.values())).history
    label = _what(study) if column in some else "loss"

    def plot(axes: "Axes") -> None:
        from matplotlib.ticker import MaxNLocator

        for arm, lines in histories.items():
            longest = max(map(len, lines))
            padded = np.array([line + [math.nan] * (longest - len(line)) for line in lines])
            counted = np.isfinite(padded).any(0)
            epochs = np.arange(1, longest + 1)[counted]
            padded, color = padded[:, counted], _color(study, arm)
            axes.plot(epochs, np.nanmean(padded, 0), color=color, lw=1.5, label=arm)
            low, high = np.nanmin(padded, 0), np.nanmax(padded, 0)
            axes.fill_between(epochs, low, high, color=color, alpha=0.15, lw=0)
        axes.set(xlabel="epoch", ylabel=label)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
        axes.legend(fontsize=8)

    alt = (
        f"Line chart of the {label} on validation rows over the epochs, an arm each: "
        + "; ".join(
            f"{arm} ends at {statistics.fmean(line[-1] for line in lines):.4g}"
            for arm, lines in histories.items()
        )
    )
    shown = len(study.arms) - len(histories)
    left = f" ({shown} arms are not drawn)" if shown > 0 and len(study.arms) > _MOST_CURVES else ""
    caption = f"{label[0].upper()}{label[1:]} on validation rows: mean and range over seeds{left}"
    return figures.draw("curves", alt, caption, plot)


def front(points: Sequence[tuple[float, float]], higher_is_better: bool = True) -> list[int]:
    """Which of (cost, score) no other beats in both, by rising cost."""
    sign = 1 if higher_is_better else -1
    order = sorted(range(len(points)), key=lambda i: (points[i][0], -sign * points[i][1]))
    best, kept = -math.inf, []
    for i in order:
        if sign * points[i][1] > best:
            best = sign * points[i][1]
            kept.append(i)
    return kept


def _pareto(study: Study) -> Html | None:
    """Score against cost; a line through the arms that no other beats in both."""
    rows = [row for row in study.table.to_dict("records") if not _absent(row["mean"])]
    counted = all(not _absent(row["multiply_adds"]) for row in rows)
    cost = "multiply_adds" if counted else "seconds"
    if len(rows) < 2:
        return None
    points = [(float(row[cost]), float(row["mean"])) for row in rows]
    best = front(points, study.higher_is_better)

    def plot(axes: "Axes") -> None:
        from matplotlib.ticker import EngFormatter, NullFormatter

        line = [points[i] for i in best]
        axes.step(*zip(*line, strict=True), where="post", color=figures.INK, lw=0.8)
        for row, point in zip(rows, points, strict=True):
            name = row["arm"]
            axes.plot(*point, "o", color=_color(study, name), ms=6, label=name)
        if max(p[0] for p in points) > 3 * min(p[0] for p in points) > 0:
            axes.set_xscale("log")
            axes.xaxis.set_minor_formatter(NullFormatter())
        axes.xaxis.set_major_formatter(EngFormatter())  # powers of ten would be equations
        axes.margins(0.15)
        axes.set(xlabel=_COSTS[cost], ylabel=_what(study))
        axes.legend(fontsize=8)

    names = [rows[i]["arm"] for i in best]
    alt = (
        f"Scatter plot of {_what(study)} against {_COSTS[cost]}; on the front: {', '.join(names)}."
    )
    caption = "Score against cost of training; the line joins what nothing beats in both"
    return figures.draw("pareto", alt, caption, plot)


_COSTS = {"multiply_adds": "multiply-adds", "seconds": "seconds"}


def _ranks(study: Study) -> Html | None:
    """Critical-difference diagram: mean ranks over seeds; a bar joins what is not told apart."""
    values = {arm.name: study.values(arm.name) for arm in study.arms}
    values = {name: of for name, of in values.items() if of}
    shared = [s for s in study.seeds if all(s in of for of in values.values())]
    if len(values) < 3 or len(shared) < 2:
        return None
    table_ = {name: [of[seed] for seed in shared] for name, of in values.items()}
    ranks, distance = nemenyi(table_, higher_is_better=study.higher_is_better, alpha=study.alpha)
    order = sorted(ranks, key=ranks.__getitem__)

    def plot(axes: "Axes") -> None:
        count = len(order)
        for place, name in enumerate(order):
            axes.plot(ranks[name], place, "o", color=_color(study, name), ms=6)
        groups = _groups([ranks[name] for name in order], distance)
        for first, last in groups:
            axes.plot(
                [ranks[order[first]], ranks[order[last]]],
                [(first + last) / 2] * 2, color=figures.INK, lw=3, alpha=0.35,
            )  # fmt: skip
            for end in (first, last):
                axes.plot([ranks[order[end]]] * 2, [end, (first + last) / 2], color=figures.INK,
                          lw=0.6, alpha=0.5)  # fmt: skip
        figures.named_rows(axes, order)
        axes.set_xlim(0.8, count + 0.2)
        axes.set_xlabel("mean rank (1: best)")

    alt = "Critical-difference diagram, mean ranks: " + "; ".join(
        f"{name} {ranks[name]:.2f}" for name in order
    )
    caption = (
        f"Mean ranks over {len(shared)} seeds; arms under one bar lie within the critical "
        f"difference of {distance:.2f} (Nemenyi, 5 %)"
    )
    return figures.draw("ranks", alt, caption, plot)


def _groups(ranks: Sequence[float], distance: float) -> list[tuple[int, int]]:
    """The longest runs of sorted ranks that lie within the distance, of two or more."""
    found: list[tuple[int, int]] = []
    for first in range(len(ranks)):
        last = max(i for i in range(first, len(ranks)) if ranks[i] - ranks[first] <= distance)
        if last > first and not any(a <= first and last <= b for a, b in found):
            found.append((first, last))
    return found


# The rest


def _test(study: Study) -> Html | None:
    if not study.test:
        return None
    rows = [
        [METRIC_NAMES.get(name, name), figure_text(name, statistics.fmean(values)),
         f"{figure_text(name, min(values))} to {figure_text(name, max(values))}"]
        for name, values in study.test.items()
    ]  # fmt: skip
    return section(
        "The chosen arm, on test rows",
        paragraph(
            f"Chosen: {study.chosen_words}. No trial has seen the test rows; "
            "the networks of this arm alone were asked them, at the end."
        ),
        table("Test figures", ["figure", "mean", "over seeds"], rows),
    )


def _failures(study: Study) -> Html | None:
    failed = study.errors()
    if not failed and study.complete:
        return None
    rows = [[arm, seed, error] for (arm, seed), error in failed.items()]
    missing = len(study.arms) * len(study.seeds) - len(study.outcomes)
    left = paragraph(f"The budget left out {missing} trials.") if missing else None
    shown = table("Trials that failed", ["arm", "seed", "error"], rows) if rows else None
    return section("What is missing", left, shown)


def _record(study: Study) -> Html:
    costs_ = ("seconds", "memory", "multiply_adds", "parameters")
    rows = [
        [row["arm"], *(_number(row[name]) for name in costs_)]
        for row in study.table.to_dict("records")
    ]
    header = ["arm", "seconds", "bytes in a step", "multiply-adds", "parameters"]
    costs = table("Mean cost of one training", header, rows)
    import yaml

    written = yaml.safe_dump(study.config, sort_keys=False, allow_unicode=True)
    return section("Cost and record", costs, element("pre", written))
