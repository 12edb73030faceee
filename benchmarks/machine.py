"""What the machine is, and how busy others kept it while something was timed."""

import os
import platform
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

_STAT = Path("/proc/stat")
_IDLE, _IOWAIT, _GUEST = 3, 4, 8
_RELEVANT_FLAGS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")

# Other processes taking more than this much of one core make a timing doubtful.
DISTURBED = 0.25


@dataclass(frozen=True)
class Mark:
    """One moment: wall clock, this process's CPU time, everybody's CPU time."""

    wall: float
    cpu: float
    everybody: float | None

    @classmethod
    def now(cls) -> "Mark":
        return cls(time.perf_counter(), time.process_time(), _busy_seconds())


@dataclass(frozen=True)
class Unit:
    """One timed stretch of work."""

    wall: float
    cpu: float
    others: float | None  # cores that other processes (and other guests) used; None if unknown

    @classmethod
    def between(cls, start: Mark, end: Mark) -> "Unit":
        wall, cpu = end.wall - start.wall, end.cpu - start.cpu
        others = None
        if start.everybody is not None and end.everybody is not None:
            others = max(0.0, (end.everybody - start.everybody - cpu) / wall)
        return cls(wall, cpu, others)

    def record(self) -> dict[str, Any]:
        return asdict(self)


def disturbed(unit: dict[str, Any]) -> bool:
    return unit["others"] is not None and unit["others"] > DISTURBED


def _busy_seconds() -> float | None:
    """CPU seconds that were not idle since boot, time stolen by other guests included."""
    if not _STAT.exists():
        return None
    fields = [int(word) for word in _STAT.read_text().split("\n", 1)[0].split()[1:]]
    busy = sum(fields[:_GUEST]) - fields[_IDLE] - fields[_IOWAIT]
    return busy / os.sysconf("SC_CLK_TCK")


def facts() -> dict[str, Any]:
    """Processor, cores, the instruction sets that matter here, and the load now."""
    cpuinfo = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    fields: dict[str, str] = {}
    for line in cpuinfo.splitlines():
        name, _, value = line.partition(":")
        fields[name.strip()] = value.strip()
    flags = fields.get("flags", "").split()
    return {
        "processor": fields.get("model name", platform.processor()),
        "cores": os.cpu_count(),
        "flags": [flag for flag in _RELEVANT_FLAGS if flag in flags],
        "python": platform.python_version(),
        "load": os.getloadavg()[0],
    }
