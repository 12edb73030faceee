"""`neurarium doctor`: what this machine has, and what may go wrong on it."""

import os
import platform
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from neurarium.cli import flags
from neurarium.cli.output import Output

_PACKAGES = (
    "torch",
    "numpy",
    "scikit-learn",
    "pandas",
    "safetensors",
    "matplotlib",
    "rich",
    "typer",
)
_EXTRAS = {"parquet": ("pyarrow",), "docs": ("zensical",), "dev": ("pytest", "ruff", "mypy")}
_LITTLE_DISK = 2 * 2**30


@dataclass(frozen=True)
class Finding:
    """One line of the examination.

    Args:
        warning: what may go wrong, and what to do.
    """

    what: str
    found: str
    warning: str = ""


def doctor(as_json: flags.Json = False) -> None:
    """Examine this machine for known traps."""
    output = Output(as_json)
    findings = list(_examine())
    width = max(len(finding.what) for finding in findings)
    for finding in findings:
        output.say(f"{finding.what:{width}}  {finding.found}")
    warnings = [finding.warning for finding in findings if finding.warning]
    output.say()
    for warning in warnings:
        output.say(f"warning: {warning}")
    if not warnings:
        output.say("nothing to warn of")
    values = {finding.what: finding.found for finding in findings}
    output.result({**values, "warnings": warnings})


def _examine() -> Iterator[Finding]:
    from neurarium import __version__

    yield Finding("neurarium", f"{__version__} in {Path(__file__).parents[1]}")
    yield Finding("python", f"{platform.python_version()} on {platform.platform()}")
    yield Finding("packages", ", ".join(f"{name} {_version(name)}" for name in _PACKAGES))
    yield from _extras()
    yield from _hardware()
    yield from _places()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "absent"


def _extras() -> Iterator[Finding]:
    absent = [
        extra for extra, modules in _EXTRAS.items() if any(find_spec(m) is None for m in modules)
    ]
    have = [extra for extra in _EXTRAS if extra not in absent]
    hint = f"; absent: {', '.join(absent)} (pip install 'neurarium[NAME]')" if absent else ""
    yield Finding("extras", (", ".join(have) or "none") + hint)
    if find_spec("torchvision") is not None and _cuda_build("torchvision") != _cuda_build("torch"):
        yield Finding(
            "torchvision",
            _version("torchvision"),
            f"torchvision {_version('torchvision')} was built for another torch than "
            f"{_version('torch')}: libraries that import it will fail; Neurarium does not",
        )


def _cuda_build(package: str) -> str:
    """The build after the plus of "2.13.0+cpu"; from PyPI there is none."""
    return _version(package).partition("+")[2]


def _hardware() -> Iterator[Finding]:
    import torch

    from neurarium.training import engine

    device = engine.find_device()
    name = torch.cuda.get_device_name() if device == "cuda" else platform.machine()
    yield Finding("device", f"{device} ({name})")
    fast = engine.has_fast_bf16(device)
    yield Finding("bf16", "fast here, used where it pays" if fast else "not fast here: 32 bits")
    cores, threads = len(os.sched_getaffinity(0)), torch.get_num_threads()
    yield Finding(
        "threads",
        f"{threads} of {cores} cores",
        f"torch uses {threads} threads on {cores} cores; set OMP_NUM_THREADS={cores}"
        if threads > cores
        else "",
    )
    policy = os.environ.get("OMP_WAIT_POLICY", "")
    yield Finding(
        "OMP policy",
        policy or "not set",
        ""
        if policy.upper() == "PASSIVE"
        else f"OMP_WAIT_POLICY is '{policy}': waiting threads spin, which can stall a busy machine "
        "for minutes; unset it or set it to PASSIVE",
    )


def _places() -> Iterator[Finding]:
    from neurarium.data.download import cache_directory

    data = os.environ.get("NEURARIUM_DATA")
    lost = data is not None and not Path(data).is_dir()
    yield Finding(
        "data folder",
        data or "NEURARIUM_DATA is not set",
        f"NEURARIUM_DATA is {data}, which is no folder" if lost else "",
    )
    cache = cache_directory()
    used = sum(file.stat().st_size for file in cache.rglob("*") if file.is_file())
    yield Finding("cache", f"{cache} ({used / 2**20:.0f} MiB)" if used else f"{cache} (empty)")
    free = shutil.disk_usage(Path.cwd()).free
    yield Finding(
        "disk",
        f"{free / 2**30:.1f} GiB free here",
        "less than 2 GiB are free here; checkpoints may not fit" if free < _LITTLE_DISK else "",
    )
    encoding = sys.stdout.encoding or ""
    if encoding.lower().replace("-", "") != "utf8":
        yield Finding("output", encoding, f"this terminal writes {encoding}; set PYTHONUTF8=1")
