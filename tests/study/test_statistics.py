"""What the statistics promise, by hand, against scipy, and over simulated studies."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from neurarium.study import (
    bootstrap_interval,
    detectable,
    effect_size,
    holm,
    interval,
    nemenyi,
    paired_t,
    power,
    seeds_needed,
)
from neurarium.study.verdicts import compare_arms

DIFFERENCES = [0.3, -0.1, 0.4, 0.2, 0.6]


def test_the_paired_test_is_students():
    found = stats.ttest_1samp(DIFFERENCES, 0)
    assert paired_t(DIFFERENCES) == pytest.approx(found.pvalue)
    low, high = found.confidence_interval(0.9)
    assert interval(DIFFERENCES, 0.9) == pytest.approx((low, high))


def test_sharing_rows_widens_the_interval_by_the_corrected_variance():
    plain, shared = interval(DIFFERENCES), interval(DIFFERENCES, overlap=0.25)
    # Nadeau & Bengio: variance (1/n + n_validation/n_training) s^2 in place of s^2/n.
    ratio = (shared[1] - shared[0]) / (plain[1] - plain[0])
    assert ratio == pytest.approx(math.sqrt((1 / 5 + 0.25) / (1 / 5)))
    assert paired_t(DIFFERENCES, overlap=0.25) > paired_t(DIFFERENCES)


def test_shared_rows_are_allowed_for_where_splits_overlap():
    """A classifier's accuracy on random splits of the same rows, as a study draws them."""
    rng = np.random.default_rng(0)
    plain = corrected = 0
    studies, rows, held_out = 400, 200, 40
    for _ in range(studies):
        # Two rules right on each row with one chance: no true difference between them.
        first, second = rng.random((2, rows)) < 0.8
        splits = [rng.choice(rows, held_out, replace=False) for _ in range(20)]
        found = [float(first[s].mean() - second[s].mean()) for s in splits]
        plain += paired_t(found) < 0.05
        corrected += paired_t(found, overlap=held_out / (rows - held_out)) < 0.05
    assert plain / studies > 0.2  # Student's own test would call chance an effect
    assert corrected / studies < 0.12


def test_holms_correction_by_hand():
    # Sorted: a 0.01 * 3, c 0.02 * 2, b 0.04 * 1, none less than the one before.
    found = holm({"a": 0.01, "b": 0.04, "c": 0.02}, 0.05)
    assert {k: v[0] for k, v in found.items()} == pytest.approx({"a": 0.03, "b": 0.04, "c": 0.04})
    assert {k: v[1] for k, v in found.items()} == pytest.approx(
        {"a": 0.05 / 3, "b": 0.05, "c": 0.025}
    )
    # The first that fails fixes the level of those behind it.
    found = holm({"a": 0.01, "b": 0.03, "c": 0.5}, 0.05)
    assert {k: v[1] for k, v in found.items()} == pytest.approx(
        {"a": 0.05 / 3, "b": 0.025, "c": 0.025}
    )


def test_corrected_interval_and_corrected_p_never_disagree():
    rng = np.random.default_rng(1)
    for _ in range(200):
        arms = {str(k): list(rng.normal(rng.normal(0, 0.6), 1, 6)) for k in range(4)}
        p = {name: paired_t(d) for name, d in arms.items()}
        for name, (corrected, level) in holm(p).items():
            low, high = interval(arms[name], 1 - level)
            assert (corrected < 0.05) == (low > 0 or high < 0)


def test_effect_size_by_hand():
    # mean 0.28, sd sqrt(0.067); Hedges: 1 - 3 / (4 * 4 - 1) = 0.8
    assert effect_size(DIFFERENCES) == pytest.approx(0.8 * 0.28 / math.sqrt(0.067))
    assert effect_size([1.0, 1.0, 1.0]) is None


@pytest.mark.parametrize("seeds", [2, 3, 8, 30])
@pytest.mark.parametrize("away", [0.0, 0.4, 1.5])
def test_power_is_that_of_the_noncentral_distribution(seeds, away):
    limit, shift = stats.t.ppf(0.975, seeds - 1), away * math.sqrt(seeds)
    expected = stats.nct.sf(limit, seeds - 1, shift) + stats.nct.cdf(-limit, seeds - 1, shift)
    assert power(away, 1.0, seeds) == pytest.approx(expected, abs=1e-5)
    assert power(0.02 * away, 0.02, seeds) == pytest.approx(expected, abs=1e-5)


def test_a_planted_effect_is_found_with_the_stated_power():
    """Two points of accuracy, seeds that scatter by 1.5: as often as `power` says."""
    seeds = seeds_needed(0.02, 0.015)
    stated = power(0.02, 0.015, seeds)
    assert stated >= 0.8 > power(0.02, 0.015, seeds - 1)
    rng, found, studies = np.random.default_rng(2), 0, 400
    for _ in range(studies):
        of_seed = rng.normal(0.9, 0.02, seeds)  # what a seed does to both arms
        base = of_seed + rng.normal(0, 0.015 / math.sqrt(2), seeds)
        arm = of_seed + 0.02 + rng.normal(0, 0.015 / math.sqrt(2), seeds)
        values = {n: dict(enumerate(map(float, v))) for n, v in (("base", base), ("arm", arm))}
        found += compare_arms(values, {"arm": "base"})["arm"].verdict == "better"
    assert found / studies == pytest.approx(
        stated, abs=3 * math.sqrt(stated * (1 - stated) / studies)
    )


@pytest.mark.parametrize("rows", [28, 288, None])
@pytest.mark.parametrize("arms", [1, 3])
def test_the_same_arm_under_several_names_is_told_apart_in_at_most_5_of_100(arms, rows):
    """Accuracies on few rows move in steps and often agree, which must not pass for certainty."""
    rng, wrong, studies = np.random.default_rng(3), 0, 400
    for _ in range(studies):
        of_seed = rng.normal(0.9, 0.03, 5)
        values = {}
        for name in range(arms + 1):
            figures = of_seed + rng.normal(0, 0.02, 5)
            if rows is not None:
                figures = np.round(figures * rows) / rows
            values[str(name)] = dict(enumerate(map(float, figures)))
        found = compare_arms(values, {str(k): "0" for k in range(1, arms + 1)})
        wrong += any(one.verdict != "cannot tell" for one in found.values())
    assert wrong / studies < 0.05 + 2 * math.sqrt(0.05 * 0.95 / studies)


def test_one_arm_under_two_names_cannot_be_told_apart():
    values = {"a": {0: 0.9, 1: 0.95}, "b": {0: 0.9, 1: 0.95}}
    found = compare_arms(values, {"b": "a"})["b"]
    assert (found.verdict, found.why) == ("cannot tell", "no difference was measured")


def test_two_seeds_that_differ_by_one_row_alike_are_no_proof():
    values = {"a": {0: 27 / 28, 1: 26 / 28}, "b": {0: 28 / 28, 1: 27 / 28}}
    assert compare_arms(values, {"b": "a"})["b"].verdict == "cannot tell"


def test_verdicts_by_hand():
    base = {0: 0.80, 1: 0.85, 2: 0.82, 3: 0.87}
    values = {
        "base": base,
        "up": {s: v + d for (s, v), d in zip(base.items(), (0.05, 0.06, 0.05, 0.06), strict=True)},
        "down": {
            s: v - d for (s, v), d in zip(base.items(), (0.05, 0.06, 0.05, 0.06), strict=True)
        },
        "noise": {s: v + d for (s, v), d in zip(base.items(), (0.03, -0.02, 0.02, 0), strict=True)},
        "failed": {0: 0.9},
    }
    against = {arm: "base" for arm in values if arm != "base"}
    found = compare_arms(values, against)
    assert [found[a].verdict for a in against] == ["better", "worse", "cannot tell", "cannot tell"]
    assert found["up"].difference == pytest.approx(0.055)
    assert found["failed"].why == "one seed alone has no interval"
    # What more seeds would find is what `seeds_needed` says of the measured difference.
    noise = [0.03, -0.02, 0.02, 0.0]
    level = 0.05  # the last of those tested, after two that are significant
    needed = seeds_needed(np.mean(noise), np.std(noise, ddof=1), level)
    assert found["noise"].more_seeds == needed - 4
    assert f"{needed - 4} more seeds would" in found["noise"].words
    turned = compare_arms(values, against, higher_is_better=False)
    assert [turned[a].verdict for a in ("up", "down")] == ["worse", "better"]


def test_a_margin_makes_small_differences_the_same_and_leaves_large_ones():
    base = dict.fromkeys(range(5), 0.9)
    values = {
        "base": base,
        "near": {s: 0.9 + d for s, d in enumerate((0.001, 0.002, 0.001, 0.0, 0.002))},
        "far": {s: 0.9 + d for s, d in enumerate((0.05, 0.06, 0.05, 0.06, 0.04))},
    }
    found = compare_arms(values, {"near": "base", "far": "base"}, margin=0.01)
    assert found["near"].words == "the same: within 0.01"
    assert found["far"].verdict == "better"


def test_seeds_that_split_the_same_rows_help_only_so_far():
    assert seeds_needed(0.5, 1.0) == 34  # as tables of the paired t test say
    assert seeds_needed(0.5, 1.0, overlap=0.25) is None
    assert seeds_needed(3.0, 1.0, overlap=0.25) is not None


def test_what_is_detectable_is_found_with_80_percent():
    for seeds, overlap in itertools.product((2, 5, 20), (0.0, 0.25)):
        least = detectable(0.7, seeds, 0.025, overlap=overlap)
        assert power(least, 0.7, seeds, 0.025, overlap=overlap) == pytest.approx(0.8, abs=1e-6)


def test_the_bootstrap_interval_is_scipys_percentiles():
    values = [0.1, 0.4, 0.35, 0.8, 0.2, 0.25]
    ours = bootstrap_interval(values, resamples=40_000)
    found = stats.bootstrap(
        (values,), np.mean, n_resamples=40_000, method="percentile", rng=np.random.default_rng(1)
    )
    low, high = found.confidence_interval
    assert ours == pytest.approx((low, high), abs=0.01)
    assert bootstrap_interval([1.0]) is None


def test_the_bootstrap_of_five_values_covers_what_its_docstring_says():
    rng = np.random.default_rng(4)
    covered = 0
    for _ in range(300):
        low, high = bootstrap_interval(list(rng.normal(size=5)), resamples=500)
        covered += low < 0 < high
    assert covered / 300 == pytest.approx(0.83, abs=0.06)


def test_ranks_and_critical_difference_by_hand():
    # Ranks of three seeds: a 1 1 2, b 2 2 1, c 3 3 3; Demsar's table 5: q = 2.343 for three.
    values = {"a": [0.9, 0.9, 0.8], "b": [0.8, 0.8, 0.9], "c": [0.7, 0.7, 0.7]}
    ranks, distance = nemenyi(values)
    assert ranks == pytest.approx({"a": 4 / 3, "b": 5 / 3, "c": 3})
    assert distance == pytest.approx(2.343 * math.sqrt(3 * 4 / (6 * 3)), rel=1e-3)
    turned, _ = nemenyi(values, higher_is_better=False)
    assert turned["c"] == 1
    ties, _ = nemenyi({"a": [1.0, 1.0], "b": [1.0, 1.0]})
    assert ties == {"a": 1.5, "b": 1.5}
