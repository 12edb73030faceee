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

from benchmarks import accuracy, components, machine, page, seeds, tables
from benchmarks.workloads import WORKLOADS, Workload

_ROOT = Path(__file__).parents[1]
_SLOWEST_PROCESS = 240  # seconds
_ALONE = {module.NAME: module for module in (components, seeds)}  # which time their own contenders
_APART = {"graphs": ["--large"], "gpu": []}  # which have their own table, and their arguments


def main() -> None:
    arguments = _arguments()
    started, facts = time.monotonic(), machine.facts()
    print(tables.heading(facts), flush=True)
    print(page.versions(), flush=True)
    names = arguments.only or [*WORKLOADS, accuracy.NAME, *_ALONE, *_APART]
    chosen = [WORKLOADS[name] for name in names if name in WORKLOADS]
    found = _report("benchmarks.peaks", [], threads=os.cpu_count() or 1) if chosen else {}
    peaks = {} if "error" in found or not found else {**found, "cores": facts["cores"]}
    measured: dict[str, dict[str, list[Any]]] = {
        w.name: {c: [] for c in _contenders(w, arguments.contenders)} for w in chosen
    }
    if accuracy.NAME in names:
        measured[accuracy.NAME] = {precision: [] for precision in accuracy.PRECISIONS}
    measured |= {name: {"all": []} for name in _ALONE if name in names}
    for round_ in range(arguments.rounds):
        for name, contenders in measured.items():
            if round_ and name in _ALONE:
                continue  # which takes turns of its own
            for contender, reports in contenders.items():
                if any("error" in report for report in reports):
                    continue  # it failed once; spare the time
                reports.append(_measure(name, contender, round_))
                _say(round_, name, contender, reports[-1])
    texts, verdicts = [], []
    for workload in chosen:
        text, reached = tables.table(workload, measured[workload.name], peaks)
        texts.append(text)
        verdicts += reached
    if accuracy.NAME in names:
        texts.append(accuracy.table(measured[accuracy.NAME]))
    texts += [m.table(measured[name]["all"]) for name, m in _ALONE.items() if name in names]
    print("\n" + "\n\n".join(texts), flush=True)
    for name in (name for name in _APART if name in names):
        texts.append(_tell(name, arguments.rounds))
    print(f"\n{time.monotonic() - started:.0f} s in all")
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    arguments.json.write_text(json.dumps({"machine": facts, "measured": measured}, indent=1))
    print(f"everything measured: {arguments.json}")
    if arguments.page:
        page.write(arguments.page, tables.heading(facts), peaks, verdicts, texts)
        page.tell_readme(_ROOT / "README.md", verdicts, texts)
        print(f"the page: {arguments.page}")


def _tell(name: str, rounds: int) -> str:
    """What a program that makes its own table prints, shown while it does."""
    words = [sys.executable, "-W", "ignore", "-m", f"benchmarks.{name}", "--rounds", str(rounds)]
    said = []
    with subprocess.Popen([*words, *_APART[name]], cwd=_ROOT, stdout=-1, text=True) as told:
        assert told.stdout is not None
        for line in told.stdout:
            print(line, end="", flush=True)
            said.append(line)
    return "".join(said).strip()


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
        "KERAS_BACKEND": "jax" if "keras_jax" in words else "torch",
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
    print(f"round {round_ + 1}  {name:9}{contender:13}{said}", file=sys.stderr, flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--rounds", type=int, default=2, help="interleaved rounds (2)")
    parser.add_argument(
        "--only",
        nargs="+",
        choices=[*WORKLOADS, accuracy.NAME, *_ALONE, *_APART],
        help="just these",
    )
    parser.add_argument("--contenders", nargs="+", help="just these, and each workload's baseline")
    parser.add_argument(
        "--json", type=Path, default=_ROOT / "runs" / "benchmarks.json", help="where figures go"
    )
    parser.add_argument("--page", type=Path, help="where a page for readers goes, and into README")
    return parser.parse_args()


if __name__ == "__main__":
    main()
