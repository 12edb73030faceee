"""What a few seeds can tell: intervals, paired tests, corrections, power."""

import functools
import math
import statistics
from collections.abc import Mapping, Sequence

import numpy as np

__all__ = [
    "bootstrap_interval",
    "detectable",
    "effect_size",
    "holm",
    "interval",
    "nemenyi",
    "paired_t",
    "power",
    "seeds_needed",
]

_MOST_SEEDS = 100_000


def interval(
    values: Sequence[float], confidence: float = 0.95, *, overlap: float = 0.0, floor: float = 0.0
) -> tuple[float, float] | None:
    r"""Confidence interval of the mean; None for fewer than two values.

    $$\bar x \pm t_{n-1,\,(1+p)/2}\; s \sqrt{\tfrac1n + \rho}$$

    For two arms run with the same seeds give it the differences: pairing removes what the seeds
    have in common.

    Args:
        overlap: $\rho$, validation rows for each training row where every value comes from another
            random split of the same rows: such values vary together, and more of them tell less
            than independent ones would (Nadeau & Bengio). 0 for Student's own interval.
        floor: least standard deviation to suppose. Figures that move in steps, such as the accuracy
            on 30 rows, can agree by chance, which is no certainty.

    Source: Student (1908), The probable error of a mean, Biometrika 6(1); Nadeau & Bengio (2003),
    Inference for the generalization error, Machine Learning 52.
    """
    if len(values) < 2:
        return None
    from scipy.special import stdtrit

    reach = float(stdtrit(len(values) - 1, (1 + confidence) / 2)) * _error(values, overlap, floor)
    mean = statistics.fmean(values)
    return mean - reach, mean + reach


def paired_t(differences: Sequence[float], *, overlap: float = 0.0, floor: float = 0.0) -> float:
    r"""Probability of a mean difference at least this far from 0 if there were none; two-sided.

    $$p = 2\, P\Bigl(T_{n-1} \ge \frac{|\bar d|}{s \sqrt{1/n + \rho}}\Bigr)$$

    Args:
        overlap: as of `interval`, like `floor`.

    Source: Student (1908), The probable error of a mean, Biometrika 6(1); Nadeau & Bengio (2003),
    Inference for the generalization error, Machine Learning 52.
    """
    from scipy.special import stdtr

    error, mean = _error(differences, overlap, floor), abs(statistics.fmean(differences))
    if error == 0:
        return 0.0 if mean else 1.0
    return float(2 * stdtr(len(differences) - 1, -mean / error))


def _error(values: Sequence[float], overlap: float, floor: float) -> float:
    """Standard error of the mean."""
    return max(statistics.stdev(values), floor) * math.sqrt(1 / len(values) + overlap)


def bootstrap_interval(
    values: Sequence[float], confidence: float = 0.95, *, resamples: int = 10_000, seed: int = 0
) -> tuple[float, float] | None:
    r"""Percentiles of the mean over values drawn again with replacement; None for fewer than two.

    $$\bigl[\hat F^{-1}(\tfrac{1-p}{2}),\, \hat F^{-1}(\tfrac{1+p}{2})\bigr], \qquad
      \hat F \text{ the distribution of } \overline{x^*}$$

    It supposes nothing of the distribution and never leaves the range of the values. Of few values
    it is too narrow (of five normal ones, that called 95 % holds the mean 83 times in 100), so it
    shows where an arm lies, and `interval` decides.

    Source: Efron (1979), Bootstrap methods: another look at the jackknife, Annals of Statistics
    7(1).
    """
    if len(values) < 2:
        return None
    drawn = np.random.default_rng(seed).choice(np.asarray(values), (resamples, len(values)))
    low, high = np.quantile(drawn.mean(1), [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def holm(p: Mapping[str, float], alpha: float = 0.05) -> dict[str, tuple[float, float]]:
    r"""For each of several tests its corrected p-value, and the level its interval is drawn at.

    $$\tilde p_{(k)} = \max_{j \le k} \min\bigl(1, (m - j + 1)\, p_{(j)}\bigr), \qquad
      \alpha_{(k)} = \frac{\alpha}{m - \min(k, k^*) + 1}$$

    with $k^*$ the first that is not significant. The chance that any test of a true null is called
    significant is at most `alpha`; and $p < \alpha_{(k)}$, which is $\tilde p < \alpha$, is the
    interval of confidence $1 - \alpha_{(k)}$ without 0.

    Source: Holm (1979), A simple sequentially rejective multiple test procedure, Scandinavian
    Journal of Statistics 6(2).
    """
    found: dict[str, tuple[float, float]] = {}
    corrected, level, left = 0.0, alpha, len(p)
    rejecting = True
    for name in sorted(p, key=p.__getitem__):
        corrected = max(corrected, min(1.0, left * p[name]))
        if rejecting:
            level, rejecting = alpha / left, p[name] < alpha / left
        found[name] = (corrected, level)
        left -= 1
    return {name: found[name] for name in p}


def effect_size(differences: Sequence[float], *, floor: float = 0.0) -> float | None:
    r"""Mean difference in standard deviations of the differences, freed of its bias for few seeds.

    $$g = \Bigl(1 - \frac{3}{4 (n - 1) - 1}\Bigr)\, \frac{\bar d}{s}$$

    None for fewer than three values, or for differences that are all the same.

    Source: Hedges (1981), Distribution theory for Glass's estimator of effect size, Journal of
    Educational Statistics 6(2).
    """
    if len(differences) < 3:
        return None
    spread = max(statistics.stdev(differences), floor)
    if spread == 0:
        return None
    bias = 1 - 3 / (4 * (len(differences) - 1) - 1)
    return bias * statistics.fmean(differences) / spread


def power(
    difference: float, deviation: float, seeds: int, alpha: float = 0.05, *, overlap: float = 0.0
) -> float:
    r"""Chance that so many seeds find a true difference of this size.

    $$P\bigl(|T_{n-1}(\lambda)| > t_{n-1,\,1-\alpha/2}\bigr), \qquad
      \lambda = \frac{\Delta}{\sigma \sqrt{1/n + \rho}}$$

    Args:
        deviation: $\sigma$, standard deviation of the paired differences.
        overlap: $\rho$, as of `interval`.

    Source: Cohen (1988), Statistical power analysis for the behavioral sciences, chapter 2.
    """
    from scipy.special import ndtr

    if seeds < 2:
        return 0.0
    if deviation == 0:
        return 1.0 if difference else alpha
    away = abs(difference) / (deviation * math.sqrt(1 / seeds + overlap))
    # Given the measured deviation this is the normal distribution's; its mean over the deviations
    # stays exact where the noncentral t of scipy is nan.
    scales, weights, limit = _deviations(seeds - 1, alpha)
    return float(weights @ (ndtr(away - limit * scales) + ndtr(-away - limit * scales)))


@functools.lru_cache(maxsize=4096)
def _deviations(freedom: int, alpha: float) -> tuple[np.ndarray, np.ndarray, float]:
    """Measured over true deviation: nodes and weights of its distribution; and t's limit."""
    from scipy.stats import chi2, t

    nodes, weights = np.polynomial.legendre.leggauss(256)
    scales = np.sqrt(chi2.ppf((nodes + 1) / 2, freedom) / freedom)
    return scales, weights / 2, float(t.ppf(1 - alpha / 2, freedom))


def seeds_needed(
    difference: float,
    deviation: float,
    alpha: float = 0.05,
    *,
    wanted: float = 0.8,
    overlap: float = 0.0,
) -> int | None:
    r"""The least number of seeds that finds this difference with the wanted power; None if none do.

    $$n^* = \min \{ n : \text{power}(\Delta, \sigma, n) \ge 1 - \beta \}$$

    Where every seed splits the same rows anew, their number helps only so far: what is then missing
    are rows.

    Source: Cohen (1988), Statistical power analysis for the behavioral sciences, chapter 2.
    """

    def enough(seeds: int) -> bool:
        return power(difference, deviation, seeds, alpha, overlap=overlap) >= wanted

    low, high = 1, 2
    while not enough(high):
        low, high = high, 2 * high
        if high > _MOST_SEEDS:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def detectable(
    deviation: float,
    seeds: int,
    alpha: float = 0.05,
    *,
    wanted: float = 0.8,
    overlap: float = 0.0,
) -> float:
    r"""The least true difference that so many seeds find with the wanted power.

    $$\Delta^* = \min \{ \Delta : \text{power}(\Delta, \sigma, n) \ge 1 - \beta \}$$

    Source: Cohen (1988), Statistical power analysis for the behavioral sciences, chapter 2.
    """
    if seeds < 2:
        return math.inf
    if deviation == 0:
        return 0.0
    from scipy.optimize import brentq

    def lacking(multiple: float) -> float:
        return power(multiple, 1.0, seeds, alpha, overlap=overlap) - wanted

    highest = 1.0
    while lacking(highest) < 0:
        highest *= 2
    return deviation * float(brentq(lacking, 0.0, highest))


def nemenyi(
    values: Mapping[str, Sequence[float]], *, higher_is_better: bool = True, alpha: float = 0.05
) -> tuple[dict[str, float], float]:
    r"""Mean rank of each arm over the seeds, 1 being best, and how far two must lie apart.

    $$\text{CD} = q_{\alpha,k} \sqrt{\frac{k (k + 1)}{6 n}}$$

    for $k$ arms and $n$ seeds; ties share their ranks.

    Source: Demšar (2006), Statistical comparisons of classifiers over multiple data sets, JMLR 7.
    """
    from scipy.stats import rankdata, studentized_range

    table = np.array([values[name] for name in values], dtype=float)
    arms, seeds = table.shape
    ranks = rankdata(-table if higher_is_better else table, axis=0).mean(1)
    # The range of k standard normal variables: 10 000 degrees of freedom are as good as infinite.
    quantile = float(studentized_range.ppf(1 - alpha, arms, 10_000)) / math.sqrt(2)
    distance = quantile * math.sqrt(arms * (arms + 1) / (6 * seeds))
    return dict(zip(values, map(float, ranks), strict=True)), distance
