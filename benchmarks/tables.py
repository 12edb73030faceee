"""Medians, ratios and floors of what was measured, as text."""

import statistics
from typing import Any

from benchmarks.machine import disturbed
from benchmarks.workloads import Workload

# A median of fewer undisturbed stretches than this says less than one of all of them.
_ENOUGH = 3


def heading(facts: dict[str, Any]) -> str:
    flags = ", ".join(facts["flags"]) or "no wide vectors"
    return (
        f"{facts['cores']} cores of {facts['processor']} ({flags}), Python {facts['python']}, "
        f"load {facts['load']:.2f} at the start; threads wait passively"
    )


def brief(report: dict[str, Any]) -> str:
    walls = [unit["wall"] for unit in report["units"]]
    mark = " (disturbed)" if any(map(disturbed, report["units"])) else ""
    return f"{min(walls):.3f} to {max(walls):.3f} s{mark}"


def table(
    workload: Workload, measured: dict[str, list[dict[str, Any]]], peaks: dict[str, float]
) -> "tuple[str, list[Verdict]]":
    """One row a contender, speeds relative to the baseline, and what came of each target."""
    figures = {name: _figures(reports) for name, reports in measured.items()}
    base = figures[workload.baseline]
    lines = [
        workload.title,
        f"{'':12}{'wall ms':>10}{'(best)':>10}{'CPU ms':>10}{'(best)':>10}{'/step':>9}"
        f"{'speed':>8}{'by CPU':>8}{'start-up':>10}{'MB':>6}  units, of them disturbed",
    ]
    for name, own in figures.items():
        lines.append(f"{name:12}" + (own["error"] if "error" in own else _row(own, base)))
    verdicts = [
        Verdict(workload, whose, figures[whose], versus, figures[versus], wanted)
        for whose, versus, wanted in workload.targets
        if "wall" in figures.get(whose, {}) and "wall" in figures.get(versus, {})
    ]
    lines += [verdict.said for verdict in verdicts]
    lines += _engine(workload, figures.get("neurarium", {}), peaks)
    return "\n".join(lines), verdicts


class Verdict:
    """Whether one contender was as much faster than another as wanted."""

    def __init__(
        self,
        workload: Workload,
        whose: str,
        own: dict[str, Any],
        versus: str,
        theirs: dict[str, Any],
        wanted: float,
    ) -> None:
        self.title, self.whose, self.versus, self.wanted = workload.title, whose, versus, wanted
        measure = workload.measure
        self.kind = "CPU time" if measure == "cpu" else "wall time"
        self.speed = theirs[measure] / own[measure]
        self.best = theirs[f"best_{measure}"] / own[f"best_{measure}"]

    @property
    def outcome(self) -> str:
        """In one word."""
        return "reached" if self.speed >= self.wanted else "MISSED"

    @property
    def said(self) -> str:
        """In one line."""
        return (
            f"{self.whose} / {self.versus} by {self.kind}: speed {self.speed:.2f} "
            f"(best units {self.best:.2f}), wanted {self.wanted:.2f}: {self.outcome}"
        )


def _figures(reports: list[dict[str, Any]]) -> dict[str, Any]:
    errors = [report["error"] for report in reports if "error" in report]
    if errors or not reports:
        return {"error": errors[0] if errors else "not run"}
    units = [unit for report in reports for unit in report["units"]]
    quiet = [unit for unit in units if not disturbed(unit)]
    kept = quiet if len(quiet) >= _ENOUGH else units
    return {
        "wall": statistics.median(unit["wall"] for unit in kept),
        "best_wall": min(unit["wall"] for unit in units),
        "cpu": statistics.median(unit["cpu"] for unit in kept),
        "best_cpu": min(unit["cpu"] for unit in units),
        "steps": reports[0]["steps"],
        "start_up": statistics.median(report["start_up_cpu"] for report in reports),
        "rss": max(report["rss_mb"] for report in reports),
        "units": len(units),
        "disturbed": len(units) - len(quiet),
        "engine": reports[-1]["engine"],
    }


def _row(own: dict[str, Any], base: dict[str, Any]) -> str:
    speeds = [base[key] / own[key] if key in base else float("nan") for key in ("wall", "cpu")]
    return (
        f"{1e3 * own['wall']:10.1f}{1e3 * own['best_wall']:10.1f}"
        f"{1e3 * own['cpu']:10.1f}{1e3 * own['best_cpu']:10.1f}"
        f"{1e3 * own['cpu'] / own['steps']:9.3f}{speeds[0]:8.2f}{speeds[1]:8.2f}"
        f"{own['start_up']:8.1f} s{own['rss']:6.0f}  {own['units']}, {own['disturbed']}"
    )


def _engine(workload: Workload, own: dict[str, Any], peaks: dict[str, float]) -> list[str]:
    """How Neurarium computed, and how far it is from what the machine could do."""
    if not own.get("engine"):
        return []
    settings = ("precision", "channels_last", "threads", "compile")
    lines = ["engine: " + ", ".join(f"{name} {own['engine'][name]}" for name in settings)]
    if peaks:
        least, share = floor(workload, own, peaks)
        lines.append(f"floor of a unit: {1e3 * least:.1f} ms; {share:.0%} of neurarium's best")
    return lines


def floor(workload: Workload, own: dict[str, Any], peaks: dict[str, float]) -> tuple[float, float]:
    """Seconds that a unit takes at the machine's peaks, and as a share of the best unit."""
    needs = workload.arithmetic()
    precision = "bf16" if own["engine"]["precision"] == "bf16-mixed" else "fp32"
    threads = min(workload.threads, own["engine"]["threads"] or workload.threads)
    flops = peaks[precision] * threads / peaks["cores"]
    least = max(needs["flops"] / flops, needs["bytes"] / peaks["copy"])
    return least, least / own["best_wall"]
