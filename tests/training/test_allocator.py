"""Freed memory is kept for the next step, and nothing else changes."""

import subprocess
import sys

import pytest

from neurarium.training import allocator

_FAULTS = """
import resource, sys
import torch
from neurarium.training import allocator

def faults(rounds=20):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(rounds):
        torch.ones(12_000_000)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

faults(2)
before, kept = faults(), allocator.keep_freed_memory()
faults(2)
after = faults()
allocator.give_back()
print(before, kept, after)
"""


def _run(**environment: str) -> tuple[int, bool, int]:
    done = subprocess.run(
        [sys.executable, "-c", _FAULTS], env=environment, capture_output=True, text=True, check=True
    )
    before, kept, after = done.stdout.split()
    return int(before), kept == "True", int(after)


@pytest.mark.skipif(allocator._function("mallopt") is None, reason="the C library is not glibc")
def test_large_blocks_are_taken_from_the_system_once():
    before, kept, after = _run()
    assert kept
    assert before > 20 * 48_000_000 / 2**21  # each tensor anew, even where pages are huge
    assert after < before / 20


def test_what_the_environment_says_stands():
    _, kept, _ = _run(MALLOC_TRIM_THRESHOLD_="131072")
    assert not kept
    _, kept, _ = _run(GLIBC_TUNABLES="glibc.malloc.trim_threshold=131072")
    assert not kept
