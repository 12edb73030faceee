"""What trials take, and what a budget leaves for them."""

import math
import re
import statistics
import time
from collections.abc import Sequence

from neurarium.study.arms import Arm
from neurarium.study.configuration import Configured
from neurarium.study.trials import Trial

__all__ = ["Clock", "duration", "parse_budget"]


def parse_budget(budget: float | str | None) -> float | None:
    """Seconds of a time such as 90, "90s", "10m", "1h30m" or "00:10:00"; None is no limit.

    Raises:
        ValueError: for anything else.
    """
    if budget is None:
        return None
    text = str(budget).strip().lower()
    parts = re.fullmatch(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+(?:\.\d+)?)s?)?", text)
    clock = re.fullmatch(r"(?:(\d+):)?(\d+):(\d+)", text)
    matched = parts or clock
    if not text or matched is None:
        raise ValueError(f"budget must be a time such as 90s, 10m or 1h30m, got {budget!r}")
    hours, minutes, seconds = (float(part or 0) for part in matched.groups())
    total = 3600 * hours + 60 * minutes + seconds
    if not total > 0:
        raise ValueError(f"budget must be longer than no time at all, got {budget!r}")
    return total


def duration(seconds: float) -> str:
    """A time for reading: "8 s", "2 min 10 s"."""
    whole = math.ceil(seconds)
    hours, minutes, rest = whole // 3600, whole // 60 % 60, whole % 60
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


class Clock:
    """What trials take, as far as it is known, and what the budget leaves."""

    def __init__(
        self, arms: Sequence[Arm], workers: int, budget: float | None, begun: float
    ) -> None:
        self.workers, self.budget, self.begun = workers, budget, begun
        self.guessed: dict[str, float] = {}
        self.measured: dict[str, list[float]] = {arm.name: [] for arm in arms}

    def of(self, arm: str) -> float:
        """Seconds of one trial of this arm, 0 where nothing is known."""
        if self.measured[arm]:
            return statistics.fmean(self.measured[arm])
        known = [seconds for of in self.measured.values() for seconds in of]
        return self.guessed.get(arm, statistics.fmean(known) if known else 0.0)

    def left(self, trials: Sequence[Trial]) -> float:
        """Seconds for these trials on all workers."""
        return sum(self.of(trial.arm.name) for trial in trials) / self.workers

    def tight(self, left: Sequence[Trial]) -> bool:
        """Whether the budget may end the study before all of these trials end."""
        if self.budget is None:
            return False
        return time.monotonic() - self.begun + 2 * self.left(left) > self.budget

    def may_start(self, trial: Trial) -> bool:
        """Whether the trial would end within the budget."""
        spent = time.monotonic() - self.begun
        return self.budget is None or spent + self.of(trial.arm.name) <= self.budget

    def rehearse(self, experiment: Configured, left: Sequence[Trial], metric: str) -> None:
        """Try every arm for a moment, then see whether the budget has room for one seed of all."""
        arms = {trial.arm.name: trial.arm for trial in left}
        for name, arm in arms.items():
            self.guessed[name] = experiment.rehearse(arm, metric)
        if self.budget is None or not arms:
            return
        spent = time.monotonic() - self.begun
        first = [trial for trial in left if trial.seed == left[0].seed]
        one = max(self.left(first), max(self.of(t.arm.name) for t in first))
        if spent + one > self.budget:
            least, whole = spent + one, spent + self.left(left)
            raise ValueError(
                f"a budget of {duration(self.budget)} is too small: one seed of each of the "
                f"{len(first)} arms takes about {duration(least)} with {self.workers} "
                f"process{'es' * (self.workers > 1)}, all {len(left)} trials about "
                f"{duration(max(whole, least))}; allow at least {duration(1.2 * least)}, or fewer "
                "epochs"
            )
