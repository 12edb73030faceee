import os
from collections.abc import Callable, Iterator
from pathlib import Path

import jaxtyping
import pytest

DATA = Path(os.environ.get("NEURARIUM_DATA", Path(__file__).parents[2] / "shared" / "data"))


@pytest.fixture
def unchecked() -> Iterator[None]:
    """Turn the shape checks of jaxtyping off, as they are for users; for errors, compile, speed."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture
def data_path() -> Callable[[str], Path]:
    """`data_path("mnist")` is that file or folder under NEURARIUM_DATA; absent, the test skips."""

    def find(name: str) -> Path:
        path = DATA / name
        if not path.exists():
            pytest.skip(f"{name} is not in {DATA}; set NEURARIUM_DATA to the folder that has it")
        return path

    return find
