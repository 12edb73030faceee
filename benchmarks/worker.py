"""One measurement in a process of its own: `python -m benchmarks.worker WORKLOAD CONTENDER`.

The last line of its output is JSON: the timed units, and what it took to get there.
"""

import itertools
import json
import logging
import resource
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

from benchmarks.machine import Mark, Unit


def main(workload_name: str, contender_name: str) -> None:
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    import torch

    from benchmarks import contenders
    from benchmarks.workloads import WORKLOADS

    workload = WORKLOADS[workload_name]
    train = getattr(contenders, contender_name)
    torch.manual_seed(0)
    x, y = workload.data()
    # What a process does once (imports on first use, kernels chosen) is not the loop's speed.
    train(workload, x[: workload.batch_size], y[: workload.batch_size], 1, lambda: None)
    start_up = time.process_time()
    if workload.epochs_per_unit is None:
        units, engine = _epochs(train, workload, x, y)
    else:
        units, engine = _calls(train, workload, x, y)
    report = {
        "units": [unit.record() for unit in units],
        "steps": -(-workload.rows // workload.batch_size) * (workload.epochs_per_unit or 1),
        "start_up_cpu": start_up,
        "rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "engine": engine,
        "torch": str(torch.__version__),
        "threads": torch.get_num_threads(),
    }
    print(json.dumps(report))


def _epochs(train: Callable[..., Any], workload: Any, x: Any, y: Any) -> tuple[list[Unit], Any]:
    marks: list[Mark] = []
    engine = train(workload, x, y, workload.units, lambda: marks.append(Mark.now()))
    return [Unit.between(*pair) for pair in itertools.pairwise(marks)], engine


def _calls(train: Callable[..., Any], workload: Any, x: Any, y: Any) -> tuple[list[Unit], Any]:
    units, engine = [], None
    for _ in range(workload.units):
        start = Mark.now()
        engine = train(workload, x, y, workload.epochs_per_unit, lambda: None)
        units.append(Unit.between(start, Mark.now()))
    return units, engine


if __name__ == "__main__":
    main(*sys.argv[1:])
