"""Sections on the run itself: headline, data, choices, curves, how to rerun."""

import re
import shlex
from typing import Any

import numpy as np

from neurarium.data import FreeTextPreprocessing, Resident
from neurarium.report import figures
from neurarium.report.facts import HEADLINE, METRIC_NAMES, SHARES, Facts, SplitFacts, flatten
from neurarium.report.page import Html, element, join, number, paragraph, percent, section, table
from neurarium.report.tables import columns


def figure_text(name: str, value: float) -> str:
    """A figure as it is read: shares in percent, the rest with four digits."""
    return percent(value) if name in SHARES else number(float(value))


def interval_text(name: str, interval: tuple[float, float]) -> str:
    """Both ends of an interval."""
    low, high = (figure_text(name, value) for value in interval)
    return f"{low} to {high}"


# Headline


def headline(facts: Facts) -> Html:
    """What was learnt and how well, beside what a constant answer reaches."""
    heading = element("h1", facts.title)
    main = facts.main
    if main is None or facts.task is None or HEADLINE[facts.task] not in main.scores:
        return element("header", heading, paragraph(_kind(facts), class_="soft"))
    key = HEADLINE[facts.task]
    shown = card(
        f"{_split_name(main.name)} {METRIC_NAMES[key]}",
        figure_text(key, main.scores[key]),
        f"95 % interval {interval_text(key, main.intervals[key])}"
        if key in main.intervals
        else "too few rows for an interval",
        "main",
    )
    second = {"regression": "r2", "multilabel": "f1"}.get(facts.task, "balanced_accuracy")
    cards = [shown, *_baseline_card(facts, key), *_second_card(main, second)]
    verdict = _verdict(facts, key)
    return element(
        "header",
        heading,
        paragraph(_kind(facts), class_="soft"),
        element("div", *cards, class_="headline"),
        *([paragraph(verdict)] * bool(verdict)),
        paragraph(_caveat(main), class_="soft"),
    )


def _caveat(main: SplitFacts) -> str:
    chance = (
        f"The interval covers the chance in drawing these {len(main):,} {main.name} rows, not that "
        "in training again."
    )
    seen = {
        "val": " Validation rows may have chosen when training stopped, so the figure may flatter.",
        "train": " The network was trained on these very rows, so they say little about new ones.",
    }
    return chance + seen.get(main.name, "")


def card(label: str, value: str, below: str, class_: str | None = None) -> Html:
    """One figure of the headline."""
    return element(
        "div", label, element("strong", value), element("span", below, class_="soft"), class_=class_
    )


def _split_name(name: str) -> str:
    return {"val": "Validation", "train": "Training"}.get(name, name.capitalize())


def _kind(facts: Facts) -> str:
    if facts.task in ("binary", "multiclass"):
        return f"{facts.task} classification, {len(facts.classes)} classes"
    if facts.task == "regression" and facts.main is not None:
        return f"regression of {', '.join(facts.output_names[:5])}"
    return f"multilabel, {len(facts.classes)} labels" if facts.task else "no standard task"


def _baseline_card(facts: Facts, key: str) -> list[Html]:
    if facts.baseline is None:
        return []
    answer, known = facts.baseline
    return [card("Without a network", figure_text(key, known[key]), f"answering {answer}")]


def _second_card(main: SplitFacts, key: str) -> list[Html]:
    if key not in main.scores:
        return []
    low_high = main.intervals.get(key)
    below = f"95 % interval {interval_text(key, low_high)}" if low_high else ""
    name = METRIC_NAMES[key]
    return [card(name[0].upper() + name[1:], figure_text(key, main.scores[key]), below)]


def _verdict(facts: Facts, key: str) -> str:
    """Whether the interval clears the baseline, in words no stronger than that."""
    main = facts.main
    if main is None or facts.baseline is None or key not in main.intervals:
        return ""
    low, high = main.intervals[key]
    constant = facts.baseline[1][key]
    better, worse = low > constant, high < constant
    if key == "rmse":
        better, worse = worse, better
    if better:
        return "The whole interval is better than the constant answer."
    if worse:
        return "The whole interval is worse than the constant answer."
    return (
        "The interval holds the constant answer's figure too: these rows do not show that the "
        "network is better than it."
    )


# Data


def data_summary(facts: Facts) -> Html | None:
    """Rows of each split, balance of the classes, columns, and what was inferred."""
    if facts.data is None:
        return None
    targets = {
        name: split.tensors.get("target")
        for name in ("train", "val", "test")
        if isinstance(split := getattr(facts.data, name, None), Resident)
    }
    counts = {name: len(getattr(facts.data, name)) for name in targets}
    rows: list[list[object]] = [["rows", *counts.values()]]
    if facts.task in ("binary", "multiclass") and all(t is not None for t in targets.values()):
        rows += _balance(facts, {n: t.cpu().numpy() for n, t in targets.items() if t is not None})
    notes = [element("li", note) for note in facts.data.notes]
    return section(
        "Data",
        *([table("Rows of each split", ["", *counts], rows)] * bool(counts)),
        _columns(facts),
        *([element("h3", "What was inferred"), element("ul", *notes)] * bool(notes)),
    )


def _balance(facts: Facts, targets: dict[str, np.ndarray]) -> list[list[object]]:
    count = len(facts.classes)
    shares = {n: np.bincount(t, minlength=count) / max(len(t), 1) for n, t in targets.items()}
    order = np.argsort(-next(iter(shares.values())), kind="stable") if count > 20 else range(count)
    shown = [*order] if count <= 20 else [*order[:5], *order[-5:]]
    rows: list[list[object]] = [
        [
            facts.classes[i],
            *(element("td", percent(s[i]), class_="number") for s in shares.values()),
        ]
        for i in shown
    ]
    if count > 20:
        rows.insert(5, [f"… {count - 10} more classes …", *([""] * len(shares))])
    return rows


def _columns(facts: Facts) -> Html | None:
    if facts.data is None:
        return None
    shape = facts.data.input_shape
    fitted = facts.run.preprocessing
    if isinstance(fitted, FreeTextPreprocessing):
        length = facts.data.train.tensors["length"].float()  # type: ignore[union-attr]
        return paragraph(
            f"Each row is a text of {length.median():.0f} words in the middle, {length.max():.0f} "
            f"at most; {fitted.vocabulary:,} words are told apart."
        )
    if len(shape) != 1:
        return paragraph(f"Each input has the shape {' × '.join(map(str, shape))}.")
    known = columns(facts.run.preprocessing, shape[0])
    if not getattr(facts.run.preprocessing, "columns", None):
        return paragraph(f"Each input has {shape[0]} numbers.")
    kinds: dict[str, list[str]] = {}
    for column in known:
        kinds.setdefault(column.kind, []).append(column.name)
    rows = [[kind, len(names), _listing(names)] for kind, names in kinds.items()]
    return table("Columns by type", ["type", "columns", "names"], rows)


def _listing(names: list[str], most: int = 30) -> str:
    more = f", … {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


# Choices

# What readers look for first, and the flags that change it; all settings follow in a fold.
_CHOICES = {
    "network.class": ("network", "--network"),
    "objective": ("objective", "--loss"),
    "rule": ("learning rule", "--rule --optimizer --lr --schedule"),
    "epochs": ("epochs", "--epochs"),
    "batch_size": ("batch size", "--batch-size"),
    "max_steps": ("most steps", "--max-steps"),
    "max_time": ("most time", "--max-time"),
    "seed": ("seed", "--seed"),
    "engine.device": ("device", "--device"),
    "engine.precision": ("precision", "--precision"),
    "engine.channels_last": ("channels last", "--channels-last"),
    "engine.threads": ("threads", "--threads"),
    "engine.compile": ("compiled", "--compile"),
}
# Facts about the run rather than choices; they have a section of their own.
_RECORD = ("versions", "hardware", "fingerprint", "data.fingerprint", "command", "seconds")


def choices(facts: Facts) -> Html:
    """The network and the settings, each with the flag that changes it."""
    flat = {k: v for k, v in flatten(facts.config).items() if not _is_record(k)}
    rows = []
    for key, (label, flags) in _CHOICES.items():
        if flat.get(key) is not None:
            reason = flat.get(f"engine.reasons.{key.removeprefix('engine.')}") or flat.get(
                f"choice.reasons.{key.removesuffix('.class')}", ""
            )
            codes = join(*(element("code", flag) for flag in flags.split()), by=" ")
            rows.append([label, _value(flat[key]), codes, reason])
    model = facts.run.model
    network = element(
        "details",
        element("summary", f"The network: {type(model).__name__}, {facts.parameters:,} parameters"),
        element("pre", str(model)),
    )
    every = [[key, _value(value)] for key, value in flat.items()]
    settings = element(
        "details", element("summary", f"All {len(flat)} settings"), table("", ["", ""], every)
    )
    chosen = table(
        "Settings and the flags that change them", ["setting", "value", "flag", "because"], rows
    )
    return section(
        "What was chosen", network, *([chosen] * bool(rows)), *([settings] * bool(every))
    )


def _is_record(key: str) -> bool:
    return any(key == name or key.startswith(f"{name}.") for name in _RECORD)


def _value(value: Any) -> str:
    if isinstance(value, float):
        return number(value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else _shorter(str(value))


def _shorter(words: str) -> str:
    """Long fractions with four digits: `lr=0.013848863713938717` reads as `lr=0.01385`."""
    return re.sub(r"\d+\.\d{6,}(e-?\d+)?", lambda found: f"{float(found[0]):.4g}", words)


def training(facts: Facts) -> Html | None:
    """The curves."""
    drawn = figures.curves(facts.run.history)
    if not drawn:
        return None
    seconds = [s for s in facts.run.history.get("seconds", ()) if s is not None]
    epochs = max(map(len, facts.run.history.values()))
    took = f" in {number(float(seconds[-1]))} seconds" if seconds else ""
    return section(
        "Training",
        paragraph(f"{epochs} epoch{'s' * (epochs != 1)}{took}."),
        element("div", *drawn, class_="figures"),
    )


# Record


def rerun(facts: Facts) -> Html | None:
    """How to get this run again, and to use it."""
    parts: list[Html] = []
    command = facts.config.get("command")
    if command:
        line = command if isinstance(command, str) else shlex.join(map(str, command))
        parts += [paragraph("The same run from a shell:"), element("pre", line)]
    if facts.run.directory is not None:
        parts += [paragraph("The trained network in Python:"), element("pre", _python(facts))]
    return section("Again", *parts) if parts else None


def _python(facts: Facts) -> str:
    lines = [
        "import neurarium as nr",
        "",
        f"run = nr.Run.load({str(facts.run.directory)!r})",
        "run.predict(rows)  # rows as they were given for training",
    ]
    source = (facts.config.get("data") or {}).get("source")
    if source and facts.main is not None:
        given = ", ".join(f"{key}={value!r}" for key, value in source.items() if value is not None)
        lines += [
            f"run.attach(nr.load({given}))",
            f"run.evaluate({facts.main.name!r})  # the figures of this page",
        ]
    return "\n".join(lines)


def record(facts: Facts) -> Html | None:
    """Versions, hardware, seed and the data's fingerprint, as recorded when it was trained."""
    flat = flatten(facts.config)
    kept = {k: v for k, v in flat.items() if _is_record(k) and k != "command"}
    if "seed" in flat:
        kept["seed"] = flat["seed"]
    if facts.data is not None and not any("fingerprint" in key for key in kept):
        kept["data fingerprint"] = facts.data.fingerprint()
    if not kept:
        return None
    rows = [[key.replace("_", " "), str(value)] for key, value in kept.items()]
    return section("Record", table("Where and with what it was trained", ["", ""], rows))
