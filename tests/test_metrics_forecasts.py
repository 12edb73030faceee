"""Figures of forecasts: identities, closed forms, and honest intervals."""

import itertools
import math

import numpy as np
import pytest
from scipy import integrate, stats

from neurarium import metrics


def test_the_seasonal_naive_has_a_mase_of_1_on_its_own_training_data():
    series = np.random.default_rng(0).normal(size=(60, 2)).cumsum(0) * [1, 50]
    for season in (1, 12):
        error = metrics.naive_error(series, season)
        assert metrics.mase(series[season:], series[:-season], error) == pytest.approx(1)


def test_naive_error_by_hand():
    # season 2: |3-1|, |2-5|, |9-3| = 2, 3, 6
    assert metrics.naive_error(np.array([1, 5, 3, 2, 9.0]), 2) == pytest.approx(11 / 3)
    assert metrics.naive_error(np.array([1, np.nan, 3, 2, 9.0]), 2) == pytest.approx(4)
    with pytest.raises(ValueError, match="from 1 to 4 steps, got 5"):
        metrics.naive_error(np.arange(5.0), 5)


def test_each_column_has_an_error_of_its_own():
    target, guess = np.zeros((3, 2)), np.array([[1, 10.0]] * 3)
    assert metrics.mase(target, guess, np.array([2, 20.0])) == pytest.approx(0.5)


def test_smape_by_hand():
    assert metrics.smape(np.array([100, 0, 1.0]), np.array([50, 0, -1.0])) == pytest.approx(
        (2 * 50 / 150 + 0 + 2) / 3
    )


def test_crps_of_a_normal_distribution_is_its_closed_form():
    y, mean, deviation = 0.7, 0.2, 1.5
    z = (y - mean) / deviation
    normal = stats.norm
    exact = deviation * (z * (2 * normal.cdf(z) - 1) + 2 * normal.pdf(z) - 1 / math.sqrt(math.pi))
    levels = (np.arange(4000) + 0.5) / 4000
    samples = normal.ppf(levels, mean, deviation)
    assert metrics.crps(np.array(y), samples) == pytest.approx(exact, abs=1e-3)


def test_crps_of_samples_is_the_integral_of_their_steps():
    samples, y = np.array([3.0, -1.0, 0.5, 0.5]), 0.9
    steps = lambda x: ((samples <= x).mean() - (x >= y)) ** 2  # noqa: E731
    parts = [-1, 0.5, 0.9, 3]
    exact = sum(integrate.quad(steps, a, b)[0] for a, b in itertools.pairwise(parts))
    assert metrics.crps(np.array([y]), samples[None]) == pytest.approx(exact)
    assert metrics.crps(np.array([y]), np.array([[4.0]])) == pytest.approx(3.1)


def test_blocks_cover_the_mean_of_neighbours_that_resemble_each_other():
    rng = np.random.default_rng(0)
    inside = {1: 0, 40: 0}
    for turn in range(200):
        noise = rng.normal(size=1200)
        values = np.convolve(noise, np.ones(10) / 10, "valid")  # mean 0
        for block in inside:
            low, high = metrics.block_bootstrap(values, block, resamples=300, seed=turn)
            inside[block] += low < 0 < high
    assert inside[1] < 120  # taken for independent: half as often as they claim
    assert inside[40] > 172


def test_too_few_blocks_have_no_interval():
    assert metrics.block_bootstrap(np.arange(39.0), 10) is None
    assert metrics.block_bootstrap(np.arange(40.0), 10) is not None
