"""What `benchmarks.rules` measured, as text and as a page of the documentation."""

import math
import statistics
from typing import Any

from benchmarks.tables import heading

TITLE = "Digits 8 x 8, MLP 64-100-100-10: test accuracy by learning rule"
_LENET_WANTED = 1.6  # steps of backpropagation that a step of feedback alignment may cost
_MOST_SECONDS = 60
# Student's t at 97.5 %, by degrees of freedom.
_T = (math.nan, 12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)


def line(name: str, row: dict[str, Any]) -> str:
    """One row; the verdict where something is wanted of it."""
    runs = row["runs"]
    if isinstance(runs, str):
        return f"{name:32}{runs}"
    cosine = _cosine(runs)
    return (
        f"{name:32}{interval([run['accuracy'] for run in runs]):>18}{_seconds(runs):8.1f} s"
        f"{_megabytes(runs):6.0f} MB  cosine{'none' if cosine is None else f'{cosine:.2f}':>6}"
        f"  {', '.join(verdicts(row))}"
    ).rstrip()


def verdicts(row: dict[str, Any]) -> list[str]:
    """What was wanted and missed."""
    least = row["setting"]["least"]
    mean = statistics.mean(run["accuracy"] for run in row["runs"])
    missed = [f"MISSED {100 * least:.1f} %"] if least is not None and mean < least else []
    return missed + ([f"MISSED {_MOST_SECONDS} s"] if _seconds(row["runs"]) > _MOST_SECONDS else [])


def interval(values: list[float]) -> str:
    """Mean and 95 % interval, Student's."""
    mean = f"{100 * statistics.mean(values):.1f} %"
    if len(values) < 2:
        return f"{mean} (1 seed)"
    t = _T[min(len(values) - 1, len(_T) - 1)]
    return f"{mean} +- {100 * t * statistics.stdev(values) / len(values) ** 0.5:.1f}"


def cost(lenet: dict[str, float]) -> str:
    """A step of feedback alignment beside one of backpropagation."""
    ratio = lenet["FeedbackAlignment"] / lenet["Backprop"]
    return (
        f"LeNet-5, 64 images: a step of feedback alignment costs {ratio:.2f} of backpropagation's "
        f"({lenet['FeedbackAlignment']:.1f} and {lenet['Backprop']:.1f} ms of CPU); wanted at most "
        f"{_LENET_WANTED}: {'reached' if ratio <= _LENET_WANTED else 'MISSED'}"
    )


def page(report: dict[str, Any]) -> str:
    """Markdown for readers who ask whether there is something better than backpropagation."""
    rows = report["rows"]
    trained = {name: row for name, row in rows.items() if not isinstance(row["runs"], str)}
    seeds = min(len(row["runs"]) for row in trained.values())
    versions = ", ".join(f"{name} {version}" for name, version in report["versions"].items())
    lines = [
        "# Learning rules, measured",
        "",
        "Is there something better than backpropagation for this? On the 8 x 8 digits (1437 rows "
        "to train, 360 to test) every rule trained the same perceptron, 64-100-100-10. The second "
        "row is what its output layer learns on random hidden layers, and 95.8 % the most that "
        "such layers were seen to give: what lies below it teaches them nothing.",
        "",
        f"Mean of {seeds} seeds and 95 % interval (Student's t); CPU seconds of a run, one "
        "thread; the memory a rule takes beyond a process that has trained by backpropagation; "
        "the cosine of the first layer's change to the gradient after an epoch. Written by "
        "`python -m benchmarks.rules --page docs/learning-rules.md`, where the settings are.",
        "",
        "| rule | test accuracy | s | MB | cosine | |",
        "|---|---|---|---|---|---|",
        *(_page_row(name, row) for name, row in trained.items()),
        "",
        cost(report["lenet"]) + ".",
        "",
        "These train other models, or without labels:",
        "",
        *(f"- {_code(row['runs'])}." for name, row in rows.items() if name not in trained),
        "",
        f"{heading(report['machine'])}; {versions}.",
    ]
    return "\n".join(lines) + "\n"


def _page_row(name: str, row: dict[str, Any]) -> str:
    runs, setting = row["runs"], row["setting"]
    cosine = _cosine(runs)
    accuracy = interval([run["accuracy"] for run in runs]).replace("+-", "±")
    cells = [
        name,
        accuracy,
        f"{_seconds(runs):.1f}",
        f"{_megabytes(runs):.0f}",
        "" if cosine is None else f"{cosine:.2f}",
        _remark(setting["network"], verdicts(row)),
    ]
    return f"| {' | '.join(cells)} |"


def _remark(network: str, missed: list[str]) -> str:
    other = [] if network == "MLP" else [network]
    return "; ".join(other + ["below what is wanted"] * bool(missed))


def _code(message: str) -> str:
    name, _, rest = message.partition(" ")
    return f"`{name}` {rest}"


def _seconds(runs: list[dict[str, Any]]) -> float:
    return statistics.median(run["seconds"] for run in runs)


def _megabytes(runs: list[dict[str, Any]]) -> float:
    return runs[0]["megabytes"]


def _cosine(runs: list[dict[str, Any]]) -> float | None:
    cosines = [run["alignment"] for run in runs if run["alignment"] is not None]
    return statistics.mean(cosines) if cosines else None
