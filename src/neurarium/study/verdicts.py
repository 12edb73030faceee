"""From figures to words: better, worse, the same, or cannot tell."""

import functools
import itertools
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from neurarium.study.statistics import (
    detectable,
    effect_size,
    holm,
    interval,
    paired_t,
    seeds_needed,
)

__all__ = ["Comparison", "Verdict", "compare_arms"]

Verdict = Literal["better", "worse", "the same", "cannot tell"]

POWER = 0.8  # the usual one, of every statement on seeds that would be needed


@dataclass(frozen=True)
class Comparison:
    """One arm held against another, seed by seed.

    Attributes:
        difference: mean of the arm's figure minus the other's; None without a common seed.
        low: of the interval that is corrected for the number of comparisons, like `high`.
        p: corrected probability of such a difference by chance alone.
        effect: the difference in standard deviations of the paired differences.
        level: chance of an error that the corrected interval leaves.
        deviation: standard deviation of the paired differences.
        overlap: as of `statistics.interval`.
    """

    arm: str
    against: str
    seeds: int
    verdict: Verdict
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    effect: float | None = None
    level: float = 0.05
    deviation: float | None = None
    overlap: float = 0.0
    margin: float | None = None

    @functools.cached_property
    def detectable(self) -> float | None:
        """The least true difference that these seeds would find with 80 % power."""
        if self.deviation is None:
            return None
        return detectable(
            self.deviation, self.seeds, self.level, wanted=POWER, overlap=self.overlap
        )

    @functools.cached_property
    def more_seeds(self) -> int | None:
        """How many more would find the measured difference with 80 % power; None if none would.

        None also where the verdict does not ask for more.
        """
        if self.verdict != "cannot tell" or self.deviation is None or not self.difference:
            return None
        needed = seeds_needed(
            self.difference, self.deviation, self.level, wanted=POWER, overlap=self.overlap
        )
        # The luck of these seeds may owe one.
        return None if needed is None else max(1, needed - self.seeds)

    @property
    def why(self) -> str:
        """What stands behind the verdict: "3 more seeds would"."""
        if self.verdict == "the same":
            return f"within {self.margin:g}"
        if self.verdict != "cannot tell":
            return ""
        if self.difference is None:
            return "no seed ended in both"
        if self.deviation is None:
            return "one seed alone has no interval"
        if self.difference == 0:
            return "no difference was measured"
        more = self.more_seeds
        if more is None:
            return "seeds alone would not, more rows might" if self.overlap else "too alike"
        return "thousands of seeds would" if more > 999 else f"{more} more seed{_s(more)} would"

    @property
    def words(self) -> str:
        """The verdict, and for "cannot tell" what would be needed."""
        return f"{self.verdict}: {self.why}" if self.why else self.verdict


def _s(count: int) -> str:
    return "s" * (count != 1)


def compare_arms(
    values: Mapping[str, Mapping[int, float]],
    against: Mapping[str, str],
    *,
    higher_is_better: bool = True,
    alpha: float = 0.05,
    margin: float | None = None,
    overlap: float = 0.0,
) -> dict[str, Comparison]:
    r"""Every arm's verdict; "better" and "worse" only where the corrected interval excludes 0.

    Args:
        values: arm -> seed -> figure; a seed that failed is absent, and leaves its pair out.
        against: arm -> the arm it is held against. All tests are corrected together, by Holm.
        alpha: chance that any arm which makes no difference is called better or worse.
        margin: differences smaller than this do not matter: an interval that lies within it reads
            "the same".
        overlap: as of `statistics.interval`.
    """
    floor = _resolution(values) / 2
    pairs = {arm: _differences(values[arm], values[other]) for arm, other in against.items()}
    enough = {arm: d for arm, d in pairs.items() if len(d) >= 2}
    p = {arm: paired_t(d, overlap=overlap, floor=floor) for arm, d in enough.items()}
    corrected = holm(p, alpha)
    found = {}
    for arm, other in against.items():
        if arm not in enough:
            found[arm] = _too_few(arm, other, pairs[arm])
            continue
        d, (chance, level) = enough[arm], corrected[arm]
        low, high = interval(d, 1 - level, overlap=overlap, floor=floor) or (math.nan, math.nan)
        found[arm] = Comparison(
            arm,
            other,
            len(d),
            _verdict(low, high, higher_is_better, margin),
            statistics.fmean(d),
            low,
            high,
            chance,
            effect_size(d, floor=floor),
            level,
            max(statistics.stdev(d), floor),
            overlap,
            margin,
        )
    return found


def _differences(values: Mapping[int, float], others: Mapping[int, float]) -> list[float]:
    return [value - others[seed] for seed, value in values.items() if seed in others]


def _verdict(low: float, high: float, higher_is_better: bool, margin: float | None) -> Verdict:
    if margin is not None and -margin < low and high < margin:
        return "the same"
    if low > 0 or high < 0:
        return "better" if (low > 0) == higher_is_better else "worse"
    return "cannot tell"


def _too_few(arm: str, other: str, differences: Sequence[float]) -> Comparison:
    mean = statistics.fmean(differences) if differences else None
    return Comparison(arm, other, len(differences), "cannot tell", mean)


def _resolution(values: Mapping[str, Mapping[int, float]]) -> float:
    """The least step between figures: that of an accuracy is one row."""
    every = sorted({figure for by_seed in values.values() for figure in by_seed.values()})
    steps = [b - a for a, b in itertools.pairwise(every) if b - a > 1e-9 * max(abs(a), abs(b))]
    return min(steps, default=0.0)
