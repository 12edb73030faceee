"""How far the mean over a few seeds can be trusted."""

import math
import statistics
from collections.abc import Sequence


def interval(values: Sequence[float], confidence: float = 0.95) -> tuple[float, float] | None:
    r"""Confidence interval of the mean; None for fewer than two values.

    $$\bar x \pm t_{n-1,\,(1+p)/2}\, \frac{s}{\sqrt n}$$

    For two arms run with the same seeds give it the differences: pairing removes what the seeds
    have in common.

    Source: Student (1908), The probable error of a mean, Biometrika 6(1).
    """
    if len(values) < 2:
        return None
    from scipy.stats import t

    mean, error = statistics.fmean(values), statistics.stdev(values) / math.sqrt(len(values))
    reach = float(t.ppf((1 + confidence) / 2, len(values) - 1)) * error
    return mean - reach, mean + reach
