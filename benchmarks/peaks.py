"""What this machine can do at most: `python -m benchmarks.peaks` prints JSON.

Products of matrices of 2048 in fp32 and bf16, in operations a second, and a copy of 256 MB in bytes
a second, read and written; the best of several turns, on all cores.
"""

import json
import time
from collections.abc import Callable

import torch

_SIZE, _COPIED, _TURNS = 2048, 2**26, 12


def main() -> None:
    torch.set_grad_enabled(False)
    peaks = {"copy": 8 * _COPIED / _seconds(_copy())}
    for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        a, b = torch.randn(2, _SIZE, _SIZE).to(dtype)
        out = torch.empty_like(a)
        peaks[name] = 2 * _SIZE**3 / _seconds(lambda a=a, b=b, out=out: torch.mm(a, b, out=out))
    print(json.dumps(peaks))


def _copy() -> Callable[[], object]:
    source, target = torch.ones(_COPIED), torch.empty(_COPIED)
    return lambda: target.copy_(source)


def _seconds(run: Callable[[], object]) -> float:
    run()
    best = float("inf")
    for _ in range(_TURNS):
        start = time.perf_counter()
        run()
        best = min(best, time.perf_counter() - start)
    return best


if __name__ == "__main__":
    main()
