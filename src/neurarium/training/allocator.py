"""Keep the memory that a step has freed for the next step, which wants the same again.

glibc gives large blocks back to the system as soon as they are freed, and the system hands out
empty pages anew at the next step, one page fault for every 4 kB: a third of an LSTM's step.
"""

import ctypes
import functools
import os

# From malloc.h
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_KEPT = 1 << 30  # bytes
_WORTH_GIVING_BACK = 64 << 20


@functools.cache
def keep_freed_memory() -> bool:
    """Let this process keep up to a gigabyte that it has freed; False where that cannot be said.

    Once for the whole process. What its environment says of glibc's allocator is left as it is.
    """
    said = "MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_"
    if any(name in os.environ for name in said) or "malloc" in os.environ.get("GLIBC_TUNABLES", ""):
        return False
    mallopt = _function("mallopt")
    return mallopt is not None and all(
        mallopt(option, _KEPT) == 1 for option in (_MMAP_THRESHOLD, _TRIM_THRESHOLD)
    )


def give_back() -> None:
    """Return what is free to the system, if it is more than a little."""
    trim = _function("malloc_trim")
    if keep_freed_memory() and trim is not None and _free_bytes() > _WORTH_GIVING_BACK:
        trim(0)


class _Info(ctypes.Structure):
    """`struct mallinfo2`."""

    names = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost"
    _fields_ = [(name, ctypes.c_size_t) for name in names.split()]


def _free_bytes() -> int:
    """What the allocator holds for later."""
    mallinfo = _function("mallinfo2")  # since glibc 2.33
    if mallinfo is None:
        return _KEPT
    mallinfo.restype = _Info
    return mallinfo().fordblks


def _function(name: str) -> "ctypes._NamedFuncPointer | None":
    """A function of the C library, where there is one of that name."""
    try:
        return getattr(ctypes.CDLL(None), name, None)
    except (OSError, TypeError):  # Windows has no library without a name
        return None
