"""From a function that repeats an experiment to a verdict on the published figure."""

import importlib
import inspect
import json
import math
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from neurarium import __version__, zoo
from neurarium.data.errors import nearest
from neurarium.study.statistics import interval
from neurarium.training import checkpoints, randomness

Curves = dict[str, list[float]]
Figures = float | dict[str, float] | dict[str, float | Curves]


@dataclass(frozen=True)
class Recipe:
    """A function that repeats a published experiment, and what is expected of it."""

    function: Callable[..., Figures]
    source: str
    figure: str
    published: float | None
    expect: tuple[float | None, float | None]
    minutes: float
    quick: Mapping[str, Any]
    quick_expect: tuple[float | None, float | None]
    needs: tuple[str, ...]

    @property
    def name(self) -> str:
        """As typed after `neurarium reproduce`."""
        return self.function.__name__.replace("_", "-")

    def __call__(self, seed: int = 0, **scale: Any) -> Figures:
        """Run once; the seed decides the initial weights too. The caller's randomness stays."""
        with randomness.isolated():
            randomness.seed_everything(seed)
            return self.function(seed=seed, **scale)

    def holds(self, value: float) -> bool:
        """Whether the figure lies where it is expected."""
        low, high = self.expect
        return (-math.inf if low is None else low) <= value <= (math.inf if high is None else high)


def recipe(
    *,
    source: str,
    figure: str,
    expect: tuple[float | None, float | None],
    minutes: float,
    published: float | None = None,
    quick: Mapping[str, Any] | None = None,
    quick_expect: tuple[float | None, float | None] | None = None,
    needs: tuple[str, ...] = (),
) -> Callable[[Callable[..., Figures]], Recipe]:
    """Declare a function `(seed=0, **scale)` to be a recipe; its docstring lists each departure.

    The catalogue reads the arguments without running the file, so they must be literals. The
    function returns the figure, or a dict of which the figure is the first value. A value called
    "y by x" is curves, name -> the y of x = 1, 2, ..., and is drawn.

    Args:
        source: who published the figure, and where.
        figure: what it measures.
        expect: range in which the mean over seeds must lie for the recipe to hold; None is open.
        minutes: roughly how long one seed takes on two cores.
        published: the paper's figure, where there is one.
        quick: keyword arguments with which a test runs it in seconds.
        quick_expect: range for such a quick run, where it cannot reach `expect`; well above what
            a network that learns nothing gets.
        needs: files under NEURARIUM_DATA, such as "mnist".
    """

    def declare(function: Callable[..., Figures]) -> Recipe:
        scaled = dict(quick or {}), quick_expect or expect
        return Recipe(function, source, figure, published, expect, minutes, *scaled, needs)

    return declare


@dataclass(frozen=True)
class Reproduction:
    """Ours beside the published figure.

    Attributes:
        values: the figure of each seed, from seed 0.
        interval: 95 % confidence interval of the mean over seeds (Student's t); None for one seed.
        holds: whether the mean lies in `expect`.
        table: what else the recipe measured, by name, a value per seed.
        curves: "y by x" -> name -> the y of x = 1, 2, ..., means over the seeds.
        overrides: arguments given instead of the recipe's own; a scaled-down run, usually.
        record: the versions and the hardware that the seconds are of.
    """

    name: str
    source: str
    figure: str
    published: float | None
    expect: tuple[float | None, float | None]
    values: list[float]
    mean: float
    interval: tuple[float, float] | None
    holds: bool
    seconds: float
    table: dict[str, list[float]] = field(default_factory=dict)
    curves: dict[str, Curves] = field(default_factory=dict)
    overrides: dict[str, Any] = field(default_factory=dict)
    record: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in vars(self).items()}

    def save(self, path: str | Path | None = None) -> Path:
        """Write as JSON, by default to `runs/recipes/<name>.json`."""
        path = Path(path) if path is not None else Path("runs", "recipes", f"{self.name}.json")
        path.parent.mkdir(parents=True, exist_ok=True)
        checkpoints.write_text(path, json.dumps(self.to_json(), indent=1) + "\n")
        return path


def find(name: str) -> Recipe:
    """The recipe called `name`, with dashes or underscores.

    Raises:
        LookupError: if there is none; the message names the nearest.
    """
    known = {entry.name: entry for entry in zoo.recipes()}
    key = name.replace("_", "-").lower()
    if key not in known:
        raise LookupError(f"there is no recipe '{name}'; {nearest(key, known)}")
    # Only the family asked for is imported, and with it only the data sets and networks it needs.
    file = Path(known[key].file).with_suffix("")
    module = importlib.import_module(".".join(("neurarium", *file.parts)))
    return getattr(module, key.replace("-", "_"))


def run(name: str, seeds: int = 1, **overrides: Any) -> Reproduction:
    """Run a recipe with seeds 0 ... `seeds` - 1 and judge the mean.

    Args:
        overrides: arguments of the recipe other than its own, such as `epochs=2`.

    Raises:
        LookupError: for an unknown recipe.
        ValueError: for fewer than one seed, or an argument that the recipe does not have.
    """
    recipe = find(name)
    if seeds < 1:
        raise ValueError(f"seeds must be at least 1, got {seeds}; it is the number of runs")
    _check(recipe, overrides)
    start = time.monotonic()
    runs = [_by_name(recipe, recipe(seed, **overrides)) for seed in range(seeds)]
    figures: dict[str, list[Any]] = {key: [run[key] for run in runs] for key in runs[0]}
    drawn = {key: figures.pop(key) for key, value in runs[0].items() if isinstance(value, dict)}
    values = figures.pop(recipe.figure)
    mean = statistics.fmean(values)
    return Reproduction(
        name=recipe.name,
        source=recipe.source,
        figure=recipe.figure,
        published=recipe.published,
        expect=recipe.expect,
        values=values,
        mean=mean,
        interval=interval(values),
        holds=recipe.holds(mean),
        seconds=round(time.monotonic() - start, 1),
        table=figures,
        curves={key: _mean_curves(value) for key, value in drawn.items()},
        overrides=overrides,
        record=_record(),
    )


def _check(recipe: Recipe, overrides: Mapping[str, Any]) -> None:
    own = [name for name in inspect.signature(recipe.function).parameters if name != "seed"]
    for name in overrides:
        if name not in own:
            raise ValueError(
                f"recipe {recipe.name} has no argument '{name}'; it has {', '.join(own) or 'none'}"
            )


def _mean_curves(of_seeds: list[Curves]) -> Curves:
    return {
        name: [
            statistics.fmean(values) for values in zip(*(c[name] for c in of_seeds), strict=True)
        ]
        for name in of_seeds[0]
    }


def _by_name(recipe: Recipe, result: Figures) -> dict[str, float | Curves]:
    """The recipe's result by name, the figure's own name for the first of several values."""
    values: list[Any] = (
        list(result.items()) if isinstance(result, dict) else [(recipe.figure, result)]
    )
    values[0] = (recipe.figure, values[0][1])
    return {key: value if isinstance(value, dict) else float(value) for key, value in values}


def _record() -> dict[str, Any]:
    return {
        "neurarium": __version__,
        "torch": str(torch.__version__),
        "python": platform.python_version(),
        "machine": platform.machine(),
        "threads": torch.get_num_threads(),
    }
