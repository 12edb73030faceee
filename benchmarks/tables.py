"""Medians and ratios of what was measured, as text."""

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


def table(workload: Workload, measured: dict[str, list[dict[str, Any]]]) -> str:
    """One row a contender; speeds are relative to the baseline, more is faster."""
    figures = {name: _figures(reports) for name, reports in measured.items()}
    base = figures[workload.baseline]
    lines = [
        workload.title,
        f"{'':12}{'wall ms':>10}{'(best)':>10}{'CPU ms':>10}{'(best)':>10}{'/step':>9}"
        f"{'speed':>8}{'by CPU':>8}{'start-up':>10}{'MB':>6}  units, of them disturbed",
    ]
    for name, own in figures.items():
        lines.append(f"{name:12}" + (own["error"] if "error" in own else _row(own, base)))
    if "wall" in base and "wall" in figures.get("neurarium", {}):
        lines += _verdict(workload, figures["neurarium"], base)
    return "\n".join(lines)


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


def _verdict(workload: Workload, own: dict[str, Any], base: dict[str, Any]) -> list[str]:
    measure = workload.measure
    speed = base[measure] / own[measure]
    best = base[f"best_{measure}"] / own[f"best_{measure}"]
    kind = "CPU time" if measure == "cpu" else "wall time"
    lines = [
        f"neurarium / {workload.baseline} by {kind}: speed {speed:.2f} (best units {best:.2f}), "
        f"wanted {workload.target:.2f}: {'reached' if speed >= workload.target else 'MISSED'}"
    ]
    engine = own["engine"]
    if engine:
        settings = ("precision", "channels_last", "threads", "compile")
        lines.append("engine: " + ", ".join(f"{name} {engine[name]}" for name in settings))
    return lines
