"""Time Neurarium against its peers: `python -m benchmarks [--rounds N] [--only NAME ...]`.

Every measurement is a fresh process; a round runs each contender once, in turn, so that a slow
minute of the machine falls on all of them. Stretches in which other processes took more than a
quarter of a core are left out of the medians where enough others remain, and marked where not.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks import accuracy, components, machine, seeds, tables
from benchmarks.workloads import WORKLOADS, Workload

_ROOT = Path(__file__).parents[1]
_SLOWEST_PROCESS = 240  # seconds
_GRAPHS = "graphs"
_ALONE = {module.NAME: module for module in (components, seeds)}  # which time their own contenders


def main() -> None:
    arguments = _arguments()
    started, facts = time.monotonic(), machine.facts()
    print(tables.heading(facts), flush=True)
    names = arguments.only or [*WORKLOADS, accuracy.NAME, *_ALONE, _GRAPHS]
    chosen = [WORKLOADS[name] for name in names if name in WORKLOADS]
    measured: dict[str, dict[str, list[Any]]] = {
        w.name: {c: [] for c in _contenders(w, arguments.contenders)} for w in chosen
    }
    if accuracy.NAME in names:
        measured[accuracy.NAME] = {precision: [] for precision in accuracy.PRECISIONS}
    measured |= {name: {"all": []} for name in _ALONE if name in names}
    for round_ in range(arguments.rounds):
        for name, contenders in measured.items():
            for contender, reports in contenders.items():
                if any("error" in report for report in reports):
                    continue  # it failed once; spare the time
                reports.append(_measure(name, contender, round_))
                _say(round_, name, contender, reports[-1])
    for workload in chosen:
        print("\n" + tables.table(workload, measured[workload.name]))
    if accuracy.NAME in names:
        print("\n" + accuracy.table(measured[accuracy.NAME]))
    for name, module in _ALONE.items():
        if name in names:
            print("\n" + module.table(measured[name]["all"]))
    if _GRAPHS in names:  # against a peer of its own, which prints its own table
        print(flush=True)
        words = ["-m", "benchmarks.graphs", "--large", "--rounds", str(arguments.rounds)]
        subprocess.run([sys.executable, *words], cwd=_ROOT, check=False)
    print(f"\n{time.monotonic() - started:.0f} s in all")
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    arguments.json.write_text(json.dumps({"machine": facts, "measured": measured}, indent=1))
    print(f"everything measured: {arguments.json}")


def _measure(name: str, contender: str, seed: int) -> dict[str, Any]:
    """One fresh process's report."""
    if name == accuracy.NAME:
        return _report("benchmarks.accuracy", [contender, str(seed)], threads=2)
    if name in _ALONE:
        return _report(f"benchmarks.{name}", [], threads=2)
    return _report("benchmarks.worker", [name, contender], WORKLOADS[name].threads)


def _report(module: str, words: list[str], threads: int) -> dict[str, Any]:
    """The JSON that a module prints last, or its error in one line."""
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": str(min(threads, os.cpu_count() or 1)),
        # Threads that spin while they wait make every timing on a busy machine worthless.
        "OMP_WAIT_POLICY": "PASSIVE",
        "KERAS_BACKEND": "torch",
    }
    try:
        done = subprocess.run(
            [sys.executable, "-m", module, *words],
            cwd=_ROOT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=_SLOWEST_PROCESS,
        )
    except subprocess.TimeoutExpired:
        return {"error": f"not done in {_SLOWEST_PROCESS} s"}
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        return {"error": lines[-1]}
    return json.loads(done.stdout.splitlines()[-1])


def _contenders(workload: Workload, wanted: list[str] | None) -> tuple[str, ...]:
    if not wanted:
        return workload.contenders
    return tuple(c for c in workload.contenders if c in (*wanted, workload.baseline))


def _say(round_: int, name: str, contender: str, report: dict[str, Any]) -> None:
    if "units" in report:
        said = tables.brief(report)
    else:
        said = report.get("error") or (f"{report['accuracy']:.4f}" if "accuracy" in report else "")
    print(f"round {round_ + 1}  {name:9}{contender:12}{said}", file=sys.stderr, flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--rounds", type=int, default=3, help="interleaved rounds (3)")
    parser.add_argument(
        "--only",
        nargs="+",
        choices=[*WORKLOADS, accuracy.NAME, *_ALONE, _GRAPHS],
        help="just these",
    )
    parser.add_argument("--contenders", nargs="+", help="just these, and each workload's baseline")
    parser.add_argument(
        "--json", type=Path, default=_ROOT / "runs" / "benchmarks.json", help="where figures go"
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
