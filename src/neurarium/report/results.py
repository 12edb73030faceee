"""Sections on the test rows: figures, confusions or errors, calibration."""

import numpy as np

from neurarium import metrics
from neurarium.report import figures
from neurarium.report.facts import METRIC_NAMES, Facts, SplitFacts
from neurarium.report.overview import figure_text, interval_text
from neurarium.report.page import Html, element, number, paragraph, percent, section, table

MOST_CLASSES = 20  # a larger confusion matrix is not read; the worst classes are listed instead


def test_figures(facts: Facts) -> Html | None:
    """Every figure of every reported split with its interval."""
    if not facts.splits:
        return None
    names = list(dict.fromkeys(name for split in facts.splits for name in split.scores))
    headers = ["figure"]
    for split in facts.splits:
        headers += [f"{split.name} ({len(split):,} rows)", "95 % interval"]
    rows = []
    for name in names:
        row: list[object] = [METRIC_NAMES.get(name, name)]
        for split in facts.splits:
            value, interval = split.scores.get(name), split.intervals.get(name)
            row += [
                "–" if value is None else element("td", figure_text(name, value), class_="number"),
                interval_text(name, interval) if interval else "–",
            ]
        rows.append(row)
    how = "Intervals: Wilson's for accuracy, else the middle 95 % over resampled rows (bootstrap)."
    return section("Figures", table("What the rows held out say", headers, rows), _soft(how))


def _soft(words: str) -> Html:
    return paragraph(words, class_="soft")


def errors(facts: Facts) -> Html | None:
    """Confusions of classes, labels one by one, or predicted against true values."""
    main = facts.main
    if main is None:
        return None
    if facts.task == "regression":
        return _regression_errors(facts, main)
    if facts.task == "multilabel":
        return section("Labels", _labels(facts, main))
    if len(facts.classes) <= MOST_CLASSES:
        return section("Confusions", _confusion_matrix(facts, main))
    return section("Classes", _worst_classes(facts, main))


# Classes


def _confusions(facts: Facts, main: SplitFacts) -> np.ndarray:
    count = len(facts.classes)
    return np.bincount(main.target * count + main.predicted, minlength=count**2).reshape(
        count, count
    )


def _confusion_matrix(facts: Facts, main: SplitFacts) -> Html:
    matrix = _confusions(facts, main)
    rows = [
        [
            name,
            *(_tinted(n, line.sum(), right=i == j) for j, n in enumerate(line)),
            element("td", percent(line[i] / line.sum()) if line.sum() else "–", class_="number"),
        ]
        for i, (name, line) in enumerate(zip(facts.classes, matrix, strict=True))
    ]
    headers = ["true \\ predicted", *facts.classes, "right"]
    caption = f"{main.name.capitalize()} rows by true class (down) and predicted class (across)"
    return table(caption, headers, rows, class_="confusion")


def _tinted(count: np.integer, total: np.integer, right: bool) -> Html:
    """A cell shaded by its share of the row: blue where right, orange where wrong."""
    if not count:
        return element("td", "·", class_="soft")
    alpha = 0.1 + 0.5 * count / total
    color = f"rgb(var(--{'right' if right else 'wrong'}) / {alpha:.2f})"
    return element("td", f"{count:,}", style=f"background: {color}")


def _worst_classes(facts: Facts, main: SplitFacts) -> Html:
    matrix = _confusions(facts, main)
    totals, right = matrix.sum(1), matrix.diagonal()
    share = right / np.maximum(totals, 1)
    present = np.flatnonzero(totals)
    worst = present[np.argsort(share[present], kind="stable")][:MOST_CLASSES]
    rows = []
    for i in worst:
        low, high = metrics.wilson(int(right[i]), int(totals[i]))
        others = np.where(np.arange(len(totals)) == i, 0, matrix[i])
        rival = f"{facts.classes[others.argmax()]} ({others.max()})" if others.max() else "–"
        rows.append(
            [
                facts.classes[i],
                int(totals[i]),
                element("td", percent(share[i]), class_="number"),
                f"{percent(low)} to {percent(high)}",
                rival,
            ]
        )
    caption = f"The {len(worst)} of {len(present)} classes with the smallest share of right answers"
    headers = ["class", "rows", "right", "95 % interval", "most often taken for"]
    return table(caption, headers, rows)


def _labels(facts: Facts, main: SplitFacts) -> Html:
    truth, guess = main.target > 0.5, main.predicted > 0.5
    rows = []
    for i, name in enumerate(facts.classes[:50]):
        hits = (truth[:, i] & guess[:, i]).sum()
        shares = (hits / max(column[:, i].sum(), 1) for column in (guess, truth))
        rows.append(
            [
                name,
                int(truth[:, i].sum()),
                int(guess[:, i].sum()),
                *(element("td", percent(s), class_="number") for s in shares),
            ]
        )
    headers = ["label", "true", "predicted", "precision", "recall"]
    more = f" (first 50 of {len(facts.classes)})" if len(facts.classes) > 50 else ""
    return table(f"{main.name.capitalize()} rows with each label{more}", headers, rows)


# Values


def _regression_errors(facts: Facts, main: SplitFacts) -> Html:
    drawn = []
    for i, name in enumerate(facts.output_names[:3]):
        true, predicted = main.target[:, i], main.predicted[:, i]
        drawn += [
            figures.agreement(true, predicted, name, str(i)),
            figures.residuals(true, predicted, name, str(i)),
        ]
    count = len(facts.output_names)
    more = f"The first 3 of {count} outputs." if count > 3 else None
    return section(
        "Errors", *([_soft(more)] if more else []), element("div", *drawn, class_="figures")
    )


# Calibration


def calibration(facts: Facts) -> Html | None:
    """Whether confidence can be taken at its word."""
    main = facts.main
    if main is None or facts.task not in ("binary", "multiclass"):
        return None
    table_ = metrics.calibration(main.probabilities, main.target)
    error = metrics.expected_calibration_error(main.probabilities, main.target)
    confidence, right = main.probabilities.max(1).mean(), main.scores["accuracy"]
    words = (
        f"On average the network claims {percent(confidence)} and is right in {percent(right)} of "
        f"the rows. Expected calibration error: {number(float(error))} (ten bins; a network that "
        "is exactly calibrated still shows some, from the chance in few rows)."
    )
    return section(
        "Calibration",
        paragraph(words),
        element("div", figures.reliability(table_), class_="figures"),
    )
