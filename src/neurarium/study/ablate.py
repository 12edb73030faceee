"""What is each part of an experiment worth? Take it out and run again."""

import inspect
import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from neurarium.study.statistics import interval

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

__all__ = ["Ablation", "ablate"]

Order = Literal["remove", "add"]


@dataclass(frozen=True)
class Ablation:
    """The figures of every arm, seed by seed; the first arm is what the others are held against.

    Attributes:
        values: arm -> its figure for each seed.
        reference: arm -> the arm it differs from by one part.
    """

    values: dict[str, list[float]]
    reference: dict[str, str]
    seeds: list[int]

    def differences(self, arm: str) -> list[float]:
        """The arm's figure minus its reference's, for each seed."""
        pairs = zip(self.values[arm], self.values[self.reference[arm]], strict=True)
        return [value - other for value, other in pairs]

    @property
    def table(self) -> "pd.DataFrame":
        """One row per arm: mean, mean difference to its reference, that difference's interval."""
        import pandas as pd

        rows = []
        for arm, values in self.values.items():
            row: dict[str, Any] = {"arm": arm, "mean": statistics.fmean(values)}
            if arm in self.reference:
                differences = self.differences(arm)
                low, high = interval(differences) or (None, None)
                row |= {
                    "against": self.reference[arm],
                    "difference": statistics.fmean(differences),
                    "low": low,
                    "high": high,
                }
            rows.append(row)
        return pd.DataFrame(rows)

    def plot(self) -> "Figure":
        """Each arm's difference to its reference, with the interval over seeds."""
        from matplotlib.figure import Figure

        table = self.table.dropna(subset=["difference"]).iloc[::-1]
        figure = Figure(figsize=(6, 0.8 + 0.35 * len(table)), layout="constrained")
        axes = figure.add_subplot(xlabel="difference, 95 % of the mean over seeds")
        low = (table["difference"] - table["low"].fillna(table["difference"])).abs()
        high = (table["high"].fillna(table["difference"]) - table["difference"]).abs()
        axes.errorbar(table["difference"], range(len(table)), xerr=[low, high], fmt="o", capsize=3)
        axes.axvline(0, color="gray", linewidth=1)
        axes.set_yticks(range(len(table)), list(table["arm"]))
        return figure


def ablate(
    experiment: Callable[..., float | Mapping[str, float]],
    factors: Mapping[str, Mapping[str, Any]],
    *,
    seeds: int = 5,
    order: Order = "remove",
) -> Ablation:
    r"""Run an experiment without each of its parts in turn, or with one part more each time.

    $$\Delta_k = \frac1n \sum_{s=1}^n \bigl(f_s(\text{all but } k) - f_s(\text{all})\bigr)$$

    Every arm sees the same seeds, so each difference is paired.

    Args:
        experiment: a function or recipe, called as `experiment(seed=s, **arguments)`; it returns
            the figure, or a mapping of which the first value is the figure.
        factors: part -> the arguments with which the experiment runs without it, e.g.
            `{"momentum": {"momentum": 0.0}, "mixup": {"alpha": 0.0}}`.
        seeds: number of runs per arm, with seeds 0 ... `seeds` - 1.
        order: "remove" takes each part out of the whole; "add" begins without any and adds them in
            the order of `factors`, each arm held against the one before.

    Raises:
        ValueError: when there are no factors, no seeds, an argument that the experiment does not
            have, or one that two factors set.

    Source: Meyes, Lu, Waubert de Puiseau & Meisen (2019), Ablation studies in artificial neural
    networks, arXiv:1901.08644.
    """
    _check(experiment, factors, seeds, order)
    if order == "remove":
        arms: dict[str, dict[str, Any]] = {"everything": {}}
        arms |= {f"without {name}": dict(removed) for name, removed in factors.items()}
        reference = {arm: "everything" for arm in list(arms)[1:]}
    else:
        arms, reference, names = {}, {}, list(factors)
        for count in range(len(names) + 1):
            arm = f"+ {names[count - 1]}" if count else "none of them"
            arms[arm] = {k: v for name in names[count:] for k, v in factors[name].items()}
            if count:
                reference[arm] = list(arms)[-2]
    numbers = list(range(seeds))
    values = {
        arm: [_figure(experiment(seed=seed, **arguments)) for seed in numbers]
        for arm, arguments in arms.items()
    }
    return Ablation(values, reference, numbers)


def _figure(result: float | Mapping[str, float]) -> float:
    return float(next(iter(result.values())) if isinstance(result, Mapping) else result)


def _check(
    experiment: Callable[..., Any],
    factors: Mapping[str, Mapping[str, Any]],
    seeds: int,
    order: str,
) -> None:
    if order not in ("remove", "add"):
        raise ValueError(f"order must be 'remove' or 'add', got {order!r}")
    if not factors or seeds < 1:
        raise ValueError(
            f"ablate needs at least one factor and one seed, got {len(factors)} and {seeds}"
        )
    function = getattr(experiment, "function", experiment)  # a recipe's own
    parameters = inspect.signature(function).parameters
    anything = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    owner: dict[str, str] = {}
    for name, arguments in factors.items():
        for argument in arguments:
            if argument not in parameters and not anything:
                raise ValueError(
                    f"factor {name!r} sets {argument!r}, which the experiment does not take; it "
                    f"takes {', '.join(parameters)}"
                )
            if owner.setdefault(argument, name) != name and order == "add":
                raise ValueError(
                    f"factors {owner[argument]!r} and {name!r} both set {argument!r}; added one "
                    "after the other they would undo each other"
                )
