"""`--workers N`: the same command in N processes of this machine, which train one network.

Several machines, and all else that `torchrun` can do, by `torchrun ... -m neurarium fit ...`.
"""

import logging
import os
from collections.abc import Sequence

from neurarium.cli.failures import FAILED, INTERRUPTED


def is_first() -> bool:
    """Whether this process alone writes and speaks: always, unless `torchrun` started several."""
    return int(os.environ.get("WORLD_SIZE", "1")) < 2 or os.environ.get("RANK", "0") == "0"


def start(count: int, arguments: Sequence[str]) -> int:
    """Run a command in so many processes; the exit code of the first that failed, or 0."""
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import main

    logging.disable(logging.CRITICAL)  # the processes speak
    threads = max(1, (os.cpu_count() or 1) // count)
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    try:
        main(["--standalone", f"--nproc-per-node={count}", "-m", "neurarium", *_without(arguments)])
    except ChildFailedError as failed:
        codes = [failure.exitcode for failure in failed.failures.values()]
        return next((code for code in codes if code > 0), FAILED)
    except (SignalException, KeyboardInterrupt):
        return INTERRUPTED
    return 0


def _without(arguments: Sequence[str]) -> list[str]:
    """The arguments but for `--workers N` itself."""
    left: list[str] = []
    words = iter(arguments)
    for word in words:
        if word == "--workers":
            next(words, None)
        elif not word.startswith("--workers="):
            left.append(word)
    return left
