"""The random states a run depends on: torch's, NumPy's and Python's."""

import contextlib
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch


def seed_everything(seed: int) -> None:
    """Seed torch (all devices), NumPy's global state and Python's `random`."""
    if torch.accelerator.is_available():
        torch.manual_seed(seed)
    else:  # torch's function then notes where it was called from, for a device that may yet come
        torch.default_generator.manual_seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 - users' transforms draw from it
    random.seed(seed)


def capture() -> dict[str, Any]:
    """All states as tensors and numbers, so that a checkpoint needs no pickle to hold them."""
    legacy: Any = np.random.get_state()  # noqa: NPY002
    kind, keys, position, has_gauss, cached = legacy
    version, words, gauss = random.getstate()
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "numpy": [str(kind), torch.from_numpy(keys.astype(np.int64)), position, has_gauss, cached],
        "python": [version, torch.from_numpy(np.array(words, dtype=np.int64)), gauss],
    }


def restore(state: dict[str, Any]) -> None:
    """Set every state to what `capture` saw."""
    torch.set_rng_state(state["torch"])
    if len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])
    kind, keys, position, has_gauss, cached = state["numpy"]
    words = keys.numpy().astype(np.uint32)
    np.random.set_state((kind, words, position, has_gauss, cached))  # noqa: NPY002
    version, words, gauss = state["python"]
    random.setstate((version, tuple(words.tolist()), gauss))


@contextlib.contextmanager
def isolated() -> Iterator[None]:
    """Give the caller's random states back afterwards."""
    before = capture()
    try:
        yield
    finally:
        restore(before)


def epoch_seed(seed: int, epoch: int) -> int:
    """A seed of the data order of one epoch; far apart for neighbouring seeds and epochs."""
    return (seed * 1_000_003 + epoch * 7_919 + 12_345) % 2**63


def resumed_seed(seed: int, step: int) -> int:
    """A seed of what is random after a step, where the states of that moment are of no use."""
    return (seed * 1_000_033 + step * 104_729 + 54_321) % 2**63
