"""How good a network is, and how sure one may be of it: scikit-learn's scores, and what it lacks.

Outputs are what the network returns: logits `(N, classes)`, logits `(N, labels)` for multilabel, or
regression outputs. scikit-learn is imported on first use.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import torch
from torch import Tensor

Array = np.ndarray | Tensor
Interval = tuple[float, float]

__all__ = [
    "CalibrationTable",
    "accuracy",
    "block_bootstrap",
    "calibration",
    "conformal_widening",
    "crps",
    "entity_f1",
    "expected_calibration_error",
    "intervals",
    "mase",
    "naive_error",
    "probabilities",
    "scores",
    "smape",
    "wilson",
]

# Counts held at once while resampling; 2 million doubles stay within a few caches' reach.
_CHUNK = 2_000_000


@torch.no_grad()
def accuracy(output: Tensor, target: Tensor) -> Tensor:
    """Fraction of rows whose largest logit is the target; of rows wholly right for 0/1 targets.

    It stays on the device and does not synchronize, so it may be called on every batch.
    """
    if output.shape == target.shape:
        return ((output > 0) == (target > 0.5)).flatten(1).all(1).float().mean()
    return (output.argmax(1) == target).float().mean()


def probabilities(task: str, output: Array) -> np.ndarray:
    """Probabilities of logits in float64: softmax over classes, or a sigmoid for each label."""
    logits = torch.as_tensor(output).detach().cpu().double()
    return (logits.sigmoid() if task == "multilabel" else logits.softmax(1)).numpy()


def scores(
    task: str,
    target: Array,
    output: Array,
    classes: Sequence[object] | None = None,
    decode: Callable[[Tensor], np.ndarray] | None = None,
) -> dict[str, float]:
    """Test figures under scikit-learn's names, computed from what the network returns.

    Binary and multiclass: `accuracy`, `balanced_accuracy`, `f1` (of class 1; the mean over classes
    when there are more), `log_loss`, `roc_auc` (one against the rest, averaged). Multilabel:
    `accuracy` (all labels right), `f1` and `roc_auc` averaged over labels. Regression: `r2`, `mae`,
    `rmse`. A figure the rows cannot define is left out, such as `roc_auc` where a class is absent.
    `log_loss` is taken from the logits and is not clipped as scikit-learn's is.

    Args:
        classes: labels of the classes, to check that there is one logit for each.
        decode: regression only: maps outputs and targets to the user's units before scoring.

    Raises:
        ValueError: if the task is unknown, the shapes do not fit or an output is not finite.
    """
    target_, output_ = _checked(task, target, output, classes, decode)
    return _SCORES[task](target_, output_) if len(target_) else {}


def intervals(
    task: str,
    target: Array,
    output: Array,
    level: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
    decode: Callable[[Tensor], np.ndarray] | None = None,
) -> dict[str, Interval]:
    r"""Confidence interval of each test figure: Wilson's for accuracy, else percentile bootstrap.

    $$\bigl[\hat F^{-1}(\tfrac{1 - \text{level}}{2}),\; \hat F^{-1}(\tfrac{1 + \text{level}}{2})
      \bigr], \qquad \hat F \text{ the distribution of the figure over resampled rows}$$

    They measure the chance in drawing the test rows, not that in training. `roc_auc` has one for
    binary tasks only, and figures that a resample cannot define are skipped in that resample.

    Source: Efron (1979), Bootstrap methods: another look at the jackknife, Annals of Statistics
    7(1).
    """
    target_, output_ = _checked(task, target, output, None, decode)
    if len(target_) < 2:
        return {}
    samples = _RESAMPLED[task](target_, output_, resamples, np.random.default_rng(seed))
    tails = [(1 - level) / 2, (1 + level) / 2]
    found = {}
    if task != "regression":
        right = _right(task, target_, output_)
        found["accuracy"] = wilson(int(right.sum()), len(right), level)
    for name, values in samples.items():
        values = values[np.isfinite(values)]
        if len(values):
            low, high = np.quantile(values, tails)
            found[name] = (float(low), float(high))
    return found


def wilson(successes: int, trials: int, level: float = 0.95) -> Interval:
    r"""Wilson's score interval of a proportion: sound for few trials and near 0 and 1.

    $$\frac{\hat p + \frac{z^2}{2n} \pm z \sqrt{\frac{\hat p (1 - \hat p)}{n} + \frac{z^2}{4n^2}}}
      {1 + \frac{z^2}{n}}$$

    Source: Wilson (1927), Probable inference, the law of succession, and statistical inference,
    Journal of the American Statistical Association 22(158).
    """
    if not 0 <= successes <= trials or trials < 1:
        raise ValueError(f"successes must lie in 0..trials, got {successes} of {trials} trials")
    z, p = NormalDist().inv_cdf((1 + level) / 2), successes / trials
    middle = p + z**2 / (2 * trials)
    half = z * (p * (1 - p) / trials + z**2 / (4 * trials**2)) ** 0.5
    scale = 1 + z**2 / trials
    # At the ends the formula is exactly 0 or 1, which rounding would miss by 1e-17.
    low = (middle - half) / scale if successes else 0.0
    high = (middle + half) / scale if successes < trials else 1.0
    return low, high


@dataclass(frozen=True)
class CalibrationTable:
    """Rows grouped by confidence; `confidence` and `accuracy` are nan where `count` is 0."""

    lower: np.ndarray
    upper: np.ndarray
    count: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray


def calibration(probabilities: Array, target: Array, bins: int = 10) -> CalibrationTable:
    r"""Reliability table: how often the network is right where it claims a given confidence.

    $$\text{acc}(B_m) = \frac{1}{|B_m|} \sum_{i \in B_m} \mathbf 1[\hat y_i = y_i], \qquad
      \text{conf}(B_m) = \frac{1}{|B_m|} \sum_{i \in B_m} \max_k p_{ik}, \qquad
      B_m = \{i : \max_k p_{ik} \in (\tfrac{m-1}{M}, \tfrac{m}{M}]\}$$

    Args:
        probabilities: `(N, classes)`, rows summing to 1.
        bins: number M of equal widths.

    Source: Guo et al. (2017), On calibration of modern neural networks, arXiv:1706.04599.
    """
    p, y = _numpy(probabilities), _numpy(target)
    if p.ndim != 2 or y.shape != p.shape[:1]:
        raise ValueError(
            "probabilities must be (N, classes) and target (N,), "
            f"got {p.shape} and {y.shape}; stack (1 - p, p) for a binary probability"
        )
    top = p.max(1)
    edges = np.linspace(0, 1, bins + 1)
    # Not ceil(top * bins): the product of 0.3 and 10 must fall in the bin that ends at edges[3].
    place = np.clip(np.searchsorted(edges, top, side="left") - 1, 0, bins - 1)
    count = np.bincount(place, minlength=bins)
    per_row = np.where(count, count, np.nan)
    return CalibrationTable(
        lower=edges[:-1],
        upper=edges[1:],
        count=count,
        confidence=np.bincount(place, top, bins) / per_row,
        accuracy=np.bincount(place, p.argmax(1) == y, bins) / per_row,
    )


def expected_calibration_error(probabilities: Array, target: Array, bins: int = 10) -> float:
    r"""Mean gap between confidence and accuracy over the bins of the reliability table.

    $$\text{ECE} = \sum_{m=1}^{M} \frac{|B_m|}{N}\,
      \bigl|\text{acc}(B_m) - \text{conf}(B_m)\bigr|$$

    Source: Naeini et al. (2015), Obtaining well calibrated probabilities using Bayesian binning,
    AAAI.
    """
    table = calibration(probabilities, target, bins)
    gap = np.abs(table.accuracy - table.confidence)
    return float(np.nansum(table.count * gap) / max(table.count.sum(), 1))


# Entities


def entity_f1(target: Sequence[Sequence[str]], prediction: Sequence[Sequence[str]]) -> float:
    r"""Share of entities found with their exact words and type, precision and recall balanced.

    $$F_1 = \frac{2\,\lvert T \cap P \rvert}{\lvert T \rvert + \lvert P \rvert}, \qquad
      T, P = \{(\text{sentence}, \text{first word}, \text{last word}, \text{type})\}$$

    Tags are "O", "B-type" and "I-type"; an entity begins at a "B-", and also at an "I-" whose type
    is not that of the tag before. 0 where neither side has any entity.

    Args:
        target: the true tags of each sentence.
        prediction: as many tags for each.

    Source: Tjong Kim Sang & De Meulder (2003), Introduction to the CoNLL-2003 shared task,
    arXiv:cs/0306050, and its script conlleval.
    """
    if [len(tags) for tags in target] != [len(tags) for tags in prediction]:
        raise ValueError(
            "entity_f1 needs one tag for each word of the same sentences, got "
            f"{len(target)} and {len(prediction)} sentences with "
            f"{sum(map(len, target))} and {sum(map(len, prediction))} tags"
        )
    true, found = _entities(target), _entities(prediction)
    total = len(true) + len(found)
    return 2 * len(true & found) / total if total else 0.0


def _entities(sentences: Sequence[Sequence[str]]) -> set[tuple[int, int, int, str]]:
    """Sentence, first word, last word and type of each."""
    found = set()
    for number, tags in enumerate(sentences):
        start, kind = 0, ""  # of the entity that is open, "" for none
        for i, tag in enumerate([*tags, "O"]):
            mark, _, own = tag.partition("-")
            if mark not in ("B", "I", "O") or bool(own) == (mark == "O"):
                raise ValueError(f"tags must be 'O', 'B-type' or 'I-type', got {tag!r}")
            if kind and (mark != "I" or own != kind):
                found.add((number, start, i - 1, kind))
                kind = ""
            if own and not kind:
                start, kind = i, own
    return found


# Forecasts


def naive_error(past: Array, season: int = 1) -> np.ndarray:
    r"""How far a series moves in a season: the error of repeating the last one, on known values.

    $$\frac{1}{T - m} \sum_{t = m + 1}^{T} |y_t - y_{t - m}|$$

    Args:
        past: `(T,)`, or `(T, columns)` for the error of each; NaN where unknown.
        season: $m$ steps; 1 repeats the last value.

    Source: Hyndman & Koehler (2006), Another look at measures of forecast accuracy, International
    Journal of Forecasting 22(4).
    """
    series = _numpy(past).astype(np.float64)
    if not 1 <= season < len(series):
        raise ValueError(f"season must be from 1 to {len(series) - 1} steps, got {season}")
    return np.asarray(np.nanmean(np.abs(series[season:] - series[:-season]), 0))


def mase(target: Array, prediction: Array, error: float | np.ndarray) -> float:
    r"""Mean absolute error as a share of that of the seasonal naive forecast in training.

    $$\text{MASE} = \frac{\operatorname{mean} |y - \hat y|}
      {\frac{1}{T - m} \sum_{t > m} |y_t - y_{t - m}|}$$

    It has no unit; below 1, forecasts are better than repeating a season is one step ahead.

    Args:
        error: `naive_error` of the training values, one for each column (the last axis) or for all.

    Source: Hyndman & Koehler (2006), Another look at measures of forecast accuracy, International
    Journal of Forecasting 22(4).
    """
    return float(np.mean(np.abs(_numpy(target) - _numpy(prediction)) / np.asarray(error)))


def smape(target: Array, prediction: Array) -> float:
    r"""Symmetric relative error: 0 to 2; 0 where forecast and value both are 0.

    $$\text{sMAPE} = \operatorname{mean} \frac{2\,|y - \hat y|}{|y| + |\hat y|}$$

    Source: Makridakis (1993), Accuracy measures: theoretical and practical concerns, International
    Journal of Forecasting 9(4).
    """
    y, guess = _numpy(target).astype(np.float64), _numpy(prediction).astype(np.float64)
    size = np.abs(y) + np.abs(guess)
    ratio = np.divide(2 * np.abs(y - guess), size, out=np.zeros_like(size), where=size > 0)
    return float(ratio.mean())


def crps(target: Array, samples: Array) -> float:
    r"""Continuous ranked probability score of a forecast given by samples: 0 is perfect.

    $$\text{CRPS}(F, y) = \int (F(x) - \mathbf 1[x \ge y])^2\, dx
      = \operatorname{E} |X - y| - \tfrac12 \operatorname{E} |X - X'|$$

    In the unit of the values; of one sample it is the absolute error.

    Args:
        samples: as `target`, with a last axis of samples; quantiles at evenly spaced levels do.

    Source: Gneiting & Raftery (2007), Strictly proper scoring rules, prediction, and estimation,
    Journal of the American Statistical Association 102(477).
    """
    y, x = _numpy(target).astype(np.float64), np.sort(_numpy(samples).astype(np.float64), -1)
    if x.shape[:-1] != y.shape:
        raise ValueError(f"samples need one axis more than target, got {x.shape} and {y.shape}")
    count = x.shape[-1]
    # The mean of |x_i - x_j| over all pairs, from the order of the samples.
    weight = (2 * np.arange(1, count + 1) - count - 1) / count**2
    return float(np.mean(np.abs(x - y[..., None]).mean(-1) - x @ weight))


def conformal_widening(target: Array, low: Array, high: Array, level: float) -> np.ndarray:
    r"""How much to move both ends of intervals outwards so that they hold as often as they claim.

    $$Q = \text{the } \lceil (n + 1)\, \text{level} \rceil \text{-th smallest of } E_i = \max(
      l_i - y_i,\; y_i - h_i), \qquad y_{n+1} \in [l_{n+1} - Q,\; h_{n+1} + Q]$$

    with probability of at least `level`, whatever made the intervals, if the new row and these $n$,
    none of them trained on, could have come in any order. Windows of a series that overlap, or
    whose manner changes, hold to that only roughly. Negative where intervals are too wide; of so
    few rows that no $Q$ would do, the largest $E_i$.

    Args:
        target, low, high: `(N, ...)`; the answer has the shape of the rest.
        level: share that the intervals claim to hold.

    Source: Romano, Patterson & Candès (2019), Conformalized quantile regression, arXiv:1905.03222.
    """
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, got {level}; 0.8 for four in five")
    y, below, above = (_numpy(values).astype(np.float64) for values in (target, low, high))
    if not len(y) or y.shape != below.shape or y.shape != above.shape:
        raise ValueError(
            "target, low and high must have one shape, of at least one row, got "
            f"{y.shape}, {below.shape} and {above.shape}"
        )
    # (n + 1) level may miss a whole number by rounding: 10 * 0.8 must be 8.
    place = math.ceil(round((len(y) + 1) * level, 9))
    return np.asarray(np.sort(np.maximum(below - y, y - above), 0)[min(place, len(y)) - 1])


def block_bootstrap(
    values: Array, block: int, level: float = 0.95, resamples: int = 1000, seed: int = 0
) -> Interval | None:
    r"""Interval of a mean over neighbours that resemble each other: whole blocks are resampled.

    $$\bar v^* = \tfrac{1}{k \ell} \sum_{j=1}^{k} \sum_{i=1}^{\ell} v_{s_j + i}, \qquad
      s_j \text{ uniform on } 0 \dots n - \ell$$

    Errors of overlapping forecasts are such; taken for independent they promise too much.

    Args:
        values: one for each row, in order.
        block: $\ell$ rows, at least as many as resemble each other.

    Returns:
        None for fewer than four blocks, which tell little.

    Source: Künsch (1989), The jackknife and the bootstrap for general stationary observations,
    Annals of Statistics 17(3).
    """
    v = _numpy(values).astype(np.float64)
    count = len(v) // block
    if count < 4:
        return None
    sums = np.convolve(v, np.ones(block), "valid") / block
    drawn = np.random.default_rng(seed).integers(len(sums), size=(resamples, count))
    low, high = np.quantile(sums[drawn].mean(1), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


# Checks


def _numpy(values: Array) -> np.ndarray:
    return np.asarray(values.detach().cpu() if isinstance(values, Tensor) else values)


def _checked(
    task: str,
    target: Array,
    output: Array,
    classes: Sequence[object] | None,
    decode: Callable[[Tensor], np.ndarray] | None,
) -> tuple[np.ndarray, np.ndarray]:
    if task not in _SCORES:
        raise ValueError(f"task must be one of {', '.join(_SCORES)}, got {task!r}")
    if task == "regression" and decode is not None:
        target, output = decode(torch.as_tensor(target)), decode(torch.as_tensor(output))
    target, output = _numpy(target), _numpy(output).astype(np.float64)
    if task == "regression":
        target, output = target.reshape(len(target), -1), output.reshape(len(output), -1)
    expected = output.shape[:1] if task in ("binary", "multiclass") else output.shape
    if output.ndim != 2 or target.shape != expected:
        raise ValueError(
            f"output must be (N, outputs) and target fit it for a {task} task, "
            f"got {output.shape} and {target.shape}"
        )
    if classes is not None and task != "regression" and len(classes) != output.shape[1]:
        raise ValueError(
            f"output must have one column for each of the {len(classes)} classes, "
            f"got {output.shape[1]}"
        )
    bad = int((~np.isfinite(output)).any(1).sum())
    if bad:
        raise ValueError(
            f"output must be finite, got nan or infinity in {bad} of {len(output)} rows; "
            "the training has diverged, lower lr"
        )
    return target, output


# Figures


def _right(task: str, target: np.ndarray, output: np.ndarray) -> np.ndarray:
    if task == "multilabel":
        return ((output > 0) == (target > 0.5)).all(1)
    return output.argmax(1) == target


def _row_losses(target: np.ndarray, output: np.ndarray) -> np.ndarray:
    log_p = torch.as_tensor(output).log_softmax(1).numpy()
    return -np.take_along_axis(log_p, target.astype(np.int64)[:, None], 1)[:, 0]


def _classification_scores(target: np.ndarray, output: np.ndarray) -> dict[str, float]:
    from sklearn.metrics import f1_score, recall_score, roc_auc_score

    predicted, present, count = output.argmax(1), np.unique(target), output.shape[1]
    binary = count == 2
    found = {
        "accuracy": np.mean(predicted == target),
        # The mean recall of the classes there are; balanced_accuracy_score warns about the others.
        "balanced_accuracy": recall_score(target, predicted, labels=present, average="macro"),
        "f1": f1_score(
            target, predicted, average="binary" if binary else "macro", zero_division=0.0
        ),
        "log_loss": np.mean(_row_losses(target, output)),
    }
    if len(present) == count > 1:
        p = probabilities("multiclass", output)
        # The difference of the logits ranks rows as p does and does not saturate at 1.
        ranking = output[:, 1] - output[:, 0] if binary else p
        found["roc_auc"] = roc_auc_score(target, ranking, multi_class="ovr")
    return {name: float(value) for name, value in found.items()}


def _multilabel_scores(target: np.ndarray, output: np.ndarray) -> dict[str, float]:
    from sklearn.metrics import f1_score, roc_auc_score

    truth, predicted = (target > 0.5).astype(int), (output > 0).astype(int)
    found = {
        "accuracy": np.mean(_right("multilabel", target, output)),
        "f1": f1_score(truth, predicted, average="macro", zero_division=0.0),
    }
    if ((truth.min(0) == 0) & (truth.max(0) == 1)).all():
        found["roc_auc"] = roc_auc_score(truth, output, average="macro")
    return {name: float(value) for name, value in found.items()}


def _regression_scores(target: np.ndarray, output: np.ndarray) -> dict[str, float]:
    from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error

    found = {} if len(target) < 2 else {"r2": float(r2_score(target, output))}
    found["mae"] = float(mean_absolute_error(target, output))
    found["rmse"] = float(root_mean_squared_error(target, output))
    return found


_SCORES: dict[str, Callable[[np.ndarray, np.ndarray], dict[str, float]]] = {
    "binary": _classification_scores,
    "multiclass": _classification_scores,
    "multilabel": _multilabel_scores,
    "regression": _regression_scores,
}


# The same figures over resampled rows


def _resample_counts(n: int, resamples: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """How often each of n rows was drawn: blocks `(b, n)` of `resamples` rows in all."""
    block = max(1, _CHUNK // n)
    for start in range(0, resamples, block):
        b = min(block, resamples - start)
        drawn = rng.integers(n, size=(b, n)) + n * np.arange(b)[:, None]
        yield np.bincount(drawn.ravel(), minlength=b * n).reshape(b, n).astype(np.float64)


def _resampled_confusion(
    target: np.ndarray,
    predicted: np.ndarray,
    classes: int,
    resamples: int,
    rng: np.random.Generator,
) -> dict[str, np.ndarray]:
    """Balanced accuracy and F1; resampling rows draws the confusion matrix from a multinomial."""
    cell, count = np.unique(target.astype(np.int64) * classes + predicted, return_counts=True)
    drawn = rng.multinomial(len(target), count / len(target), size=resamples)
    true, guess = cell // classes, cell % classes
    per_true, per_guess, hits = (
        drawn @ (np.arange(classes) == column[:, None]).astype(np.float64)
        for column in (true, guess, np.where(true == guess, true, -1))
    )
    with np.errstate(invalid="ignore"):
        recall = np.where(per_true > 0, hits / per_true, np.nan)
        f1 = np.where(per_true + per_guess > 0, 2 * hits / (per_true + per_guess), np.nan)
    return {
        "balanced_accuracy": np.nanmean(recall, 1),
        "f1": np.nan_to_num(f1[:, 1]) if classes == 2 else np.nanmean(f1, 1),
    }


def _resampled_classification(
    target: np.ndarray, output: np.ndarray, resamples: int, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    n, classes = output.shape
    losses = _row_losses(target, output)
    blocks: dict[str, list[np.ndarray]] = {"log_loss": []}
    if classes == 2 and 0 < target.sum() < n:
        blocks["roc_auc"] = []
        area = _area_under_resampled_curve(target, output[:, 1] - output[:, 0])
    for counts in _resample_counts(n, resamples, rng):
        blocks["log_loss"].append(counts @ losses / n)
        if "roc_auc" in blocks:
            blocks["roc_auc"].append(area(counts))
    found = _resampled_confusion(target, output.argmax(1), classes, resamples, rng)
    return found | {name: np.concatenate(values) for name, values in blocks.items()}


def _area_under_resampled_curve(
    target: np.ndarray, ranking: np.ndarray
) -> Callable[[np.ndarray], np.ndarray]:
    """Chance that a positive row outranks a negative one, half for ties (Mann & Whitney, 1947)."""
    order = np.argsort(ranking, kind="stable")
    starts = np.flatnonzero(np.diff(ranking[order], prepend=np.nan) != 0)  # first row of each tie
    positive = target[order] == 1

    def area(counts: np.ndarray) -> np.ndarray:
        drawn = counts[:, order]
        up = np.add.reduceat(drawn * positive, starts, axis=1)
        down = np.add.reduceat(drawn * ~positive, starts, axis=1)
        below = np.cumsum(down, 1) - down / 2
        with np.errstate(invalid="ignore"):
            return (up * below).sum(1) / (up.sum(1) * down.sum(1))

    return area


def _resampled_multilabel(
    target: np.ndarray, output: np.ndarray, resamples: int, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    truth, guess = target > 0.5, output > 0
    hits, size = (truth & guess).astype(np.float64), truth.astype(np.float64) + guess
    f1 = []
    for counts in _resample_counts(len(target), resamples, rng):
        total = counts @ size
        f1.append(np.divide(2 * counts @ hits, total, where=total > 0, out=total).mean(1))
    return {"f1": np.concatenate(f1)}


def _resampled_regression(
    target: np.ndarray, output: np.ndarray, resamples: int, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    n = len(target)
    error, centred = output - target, target - target.mean(0)
    blocks = []
    for counts in _resample_counts(n, resamples, rng):
        squared = counts @ error**2
        spread = counts @ centred**2 - (counts @ centred) ** 2 / n
        with np.errstate(divide="ignore", invalid="ignore"):
            r2 = (1 - squared / spread).mean(1)
        blocks.append((r2, (counts @ np.abs(error)).mean(1) / n, np.sqrt(squared / n).mean(1)))
    r2, mae, rmse = (np.concatenate(column) for column in zip(*blocks, strict=True))
    return {"r2": r2, "mae": mae, "rmse": rmse}


_RESAMPLED = {
    "binary": _resampled_classification,
    "multiclass": _resampled_classification,
    "multilabel": _resampled_multilabel,
    "regression": _resampled_regression,
}
