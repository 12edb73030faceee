"""Feed thousands of damaged files to every loader: each must load or be refused in one sentence.

    python benchmarks/fuzz.py --files 10000

Each file is a good one (see `fuzz_files.py`) damaged at random (`mutations.py`) and read as its
kind is (`fuzz_kinds.py`). Its kind and a number name it, so that `--case npz:123` gives the same
again, with its traceback. Two processes read the files, each with a limit on its address space; one
that does not answer in time is killed. A planted pickle or YAML tag that runs would leave a folder
behind, which is looked for after every file. Exit code 1 unless every file was loaded or refused.
"""

import argparse
import collections
import contextlib
import io
import json
import os
import queue
import random
import resource
import select
import shutil
import subprocess
import sys
import tempfile
import threading
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks import fuzz_files
from benchmarks.fuzz_kinds import KINDS

LIMIT = 2**30  # bytes of address space beyond what the libraries take
PATIENCE, LONGEST = 10.0, 300.0  # seconds for one file: of a processor, and of the clock
OUTCOMES = ("loaded", "refused", "crashed", "hung", "killed", "executed")
BAD = OUTCOMES[2:]
_STARTING = threading.Lock()


def main() -> None:
    arguments = _arguments()
    if arguments.child:
        serve(Path(arguments.child), arguments.seed)
    elif arguments.case:
        kind, number = arguments.case.split(":")
        with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
            fuzz_files.make_good_files(Path(folder) / "good")
            print(json.dumps(Reader(Path(folder), arguments.seed).judge(kind, int(number), True)))
    else:
        chosen = arguments.kinds.split(",") if arguments.kinds else list(KINDS)
        found = fuzz(arguments.files, chosen, arguments.seed, arguments.processes)
        read = sum(len(results) for results in found.values())
        sys.exit(report(found) or read != arguments.files)


def fuzz(files: int, kinds: list[str], seed: int, processes: int) -> dict[str, list[Any]]:
    """What became of each file, by kind."""
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        waiting: queue.SimpleQueue[tuple[str, int]] = queue.SimpleQueue()
        for i in range(files):
            waiting.put((kinds[i % len(kinds)], i // len(kinds)))
        found: dict[str, list[Any]] = {kind: [] for kind in kinds}
        threads = [
            threading.Thread(target=_feed, args=(Path(folder), seed, n, waiting, found))
            for n in range(processes)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    return found


def report(found: dict[str, list[Any]]) -> int:
    """Print the table and each failure; 1 if there was one."""
    print(f"{'kind':12}{'files':>7}" + "".join(f"{name:>10}" for name in OUTCOMES) + "   memory")
    failures = []
    for kind, results in [*found.items(), ("all", [r for each in found.values() for r in each])]:
        counts = collections.Counter(result["outcome"] for result in results)
        memory = max((result.get("memory", 0) for result in results), default=0)
        cells = "".join(f"{counts[name]:10,}" for name in OUTCOMES)
        print(f"{kind:12}{len(results):7,}{cells} {memory / 2**20:6,.0f} MB")
        if kind != "all":
            failures += [(kind, result) for result in results if result["outcome"] in BAD]
    groups: dict[str, list[str]] = {}
    for kind, result in failures:
        groups.setdefault(f"{result['outcome']}: {result.get('said', '')}", []).append(
            f"{kind}:{result['number']}"
        )
    for what, cases in sorted(groups.items(), key=lambda group: -len(group[1])):
        print(f"{len(cases):5} {what[:300]}   --case {cases[0]}")
    return int(bool(failures))


def _feed(folder: Path, seed: int, number: int, waiting: Any, found: Any) -> None:
    """Give one child file after file; a new one where it died or does not answer."""
    child = None
    while True:
        try:
            kind, case = waiting.get_nowait()
        except queue.Empty:
            break
        if child is None:
            with _STARTING:  # the first one makes the good files
                child = _spawn(folder, seed, number)
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write(f"{kind} {case}\n")
        child.stdin.flush()
        answered = _answers(child)
        line = child.stdout.readline() if answered else ""
        if line:
            result = json.loads(line)
        else:
            child.kill()
            code = child.wait()
            result = {"outcome": "killed" if answered else "hung", "said": f"exit code {code}"}
            child = None
        found[kind].append({**result, "number": case})
    if child is not None:
        assert child.stdin is not None
        child.stdin.close()
        child.wait()


def _answers(child: subprocess.Popen[str]) -> bool:
    """Whether an answer, or the child's end, comes before it has computed for too long."""
    start = _computed(child)
    for _ in range(int(LONGEST / 2)):
        if select.select([child.stdout], [], [], 2)[0]:
            return True
        if _computed(child) - start > PATIENCE:
            break
    return False


def _computed(child: subprocess.Popen[str]) -> float:
    """Seconds of a processor, which a busy machine does not stretch."""
    fields = Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _spawn(folder: Path, seed: int, number: int) -> subprocess.Popen[str]:
    own = folder / f"child-{number}"
    own.mkdir(exist_ok=True)
    child = subprocess.Popen(
        [sys.executable, __file__, "--child", str(folder), "--seed", str(seed)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "TMPDIR": str(own), "MPLBACKEND": "agg"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    return child


# The child


def serve(folder: Path, seed: int) -> None:
    """Read kinds and numbers from standard input; answer each with what became of that file."""
    import neurarium.cli.evaluate
    import neurarium.cli.generate
    import neurarium.cli.predict
    import neurarium.cli.resume
    import neurarium.data
    import neurarium.report
    import neurarium.training.automatic  # noqa: F401

    if not (folder / "good").exists():
        fuzz_files.make_good_files(folder / "good")
    reader = Reader(folder, seed)
    for kind in KINDS:  # whatever is imported late is imported now
        reader.judge(kind, -1)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + LIMIT
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    print("ready", flush=True)
    for line in sys.stdin:
        kind, number = line.split()
        print(json.dumps(reader.judge(kind, int(number))), flush=True)


class Reader:
    """Damages the good files and reads them as the command line would."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.good, self.seed = folder / "good", seed
        self.place = Path(tempfile.mkdtemp(prefix="case-", dir=folder))
        self.marker = self.place / "executed"

    def judge(self, kind: str, number: int, loud: bool = False) -> dict[str, Any]:
        """Damage the file of this number (-1: leave it) and tell what the loader made of it."""
        case = self.place / "case"
        shutil.rmtree(case, ignore_errors=True)
        case.mkdir()
        draw = random.Random(f"{self.seed}:{kind}:{number}")
        read = KINDS[kind](self, case, draw, number < 0)
        result: dict[str, Any] = {"outcome": "loaded"}
        try:
            with warnings.catch_warnings(), _unheard():
                warnings.simplefilter("ignore")
                read()
        except BaseException as error:
            if loud:
                traceback.print_exc()
            result = _refusal(error)
        if self.marker.exists():
            self.marker.rmdir()
            result["outcome"] = "executed"
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        return {**result, "memory": peak}


@contextlib.contextmanager
def _unheard() -> Iterator[None]:
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield


def _refusal(error: BaseException) -> dict[str, Any]:
    """Refused, if the command would have said one sentence that needs no traceback."""
    from neurarium.cli.failures import explain

    sentence = explain(error)[1]
    foreign = "--debug" in sentence or isinstance(error, KeyboardInterrupt | SystemExit)
    if sentence and not foreign:
        return {"outcome": "refused", "said": sentence}
    frames = traceback.extract_tb(error.__traceback__)
    ours = [f for f in frames if "neurarium" in f.filename] or frames
    where = f"{Path(ours[-1].filename).name}:{ours[-1].lineno}"
    return {"outcome": "crashed", "said": f"{type(error).__name__} at {where}: {sentence[:160]}"}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--files", type=int, default=10_000, help="how many files (10000)")
    parser.add_argument("--kinds", help=f"of {','.join(KINDS)}; by default all")
    parser.add_argument("--seed", type=int, default=0, help="of all damage (0)")
    parser.add_argument("--processes", type=int, default=2, help="that read files (2)")
    parser.add_argument("--case", help="one file, KIND:NUMBER, with its traceback")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
