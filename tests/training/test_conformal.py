"""Intervals that are moved by their errors in validation hold as often as they claim."""

import math

import numpy as np
import pandas as pd
import pytest
import torch

from neurarium import metrics
from neurarium.data import load
from neurarium.data.saving import preprocessing_from_json
from neurarium.learning import Backprop
from neurarium.networks import NLinear, pinball
from neurarium.objectives import supervised
from neurarium.report.forecasts import Forecasts
from neurarium.training import fit
from neurarium.training.callbacks import ConformalIntervals

LEVELS = (0.1, 0.5, 0.9)


def test_the_widening_is_the_quantile_of_finitely_many_errors():
    # Errors beyond [0, 0] are |y| = 1..9; of 9 rows the ceil(10 * 0.8) = 8th is taken, not the 7th
    # that 0.8 of 9 would round to; of 4 rows ceil(5 * 0.8) = 4, the largest.
    y = np.array([3, -1, 2, -9, 5, 4, -6, 8, 7.0])
    nothing = np.zeros(9)
    assert metrics.conformal_widening(y, nothing, nothing, 0.8) == 8
    assert metrics.conformal_widening(y[:4], nothing[:4], nothing[:4], 0.8) == 9
    assert metrics.conformal_widening(y[:3], nothing[:3], nothing[:3], 0.8) == 3
    wide = metrics.conformal_widening(y, nothing - 20, nothing + 20, 0.8)
    assert wide == 8 - 20  # intervals that hold everything are narrowed
    each = metrics.conformal_widening(np.stack([y, 2 * y], 1), *np.zeros((2, 9, 2)), 0.8)
    assert each.tolist() == [8, 16]


@pytest.mark.parametrize("n", [9, 19, 100])
def test_exchangeable_rows_are_covered_as_claimed_whatever_the_intervals(n):
    """The mean coverage is exactly ceil((n + 1) 0.8) / (n + 1) for continuous errors."""
    rng = np.random.default_rng(n)
    draws = rng.normal(size=(20_000, n + 1)) * 3 + 1
    scores = np.abs(draws)  # of intervals [0, 0]
    moved = metrics.conformal_widening(draws[:, :n].T, *np.zeros((2, n, 20_000)), 0.8)
    expected = math.ceil(round((n + 1) * 0.8, 9)) / (n + 1)
    covered = (scores[:, n] <= moved).mean()
    assert covered == pytest.approx(expected, abs=4 * (0.8 * 0.2 / 20_000) ** 0.5)
    assert expected >= 0.8


def test_wrong_intervals_are_one_sentence(unchecked):
    with pytest.raises(ValueError, match="level must lie between 0 and 1, got 80"):
        metrics.conformal_widening(np.zeros(3), np.zeros(3), np.zeros(3), 80)
    with pytest.raises(ValueError, match=r"at least one row, got \(3,\), \(3,\) and \(2,\)"):
        metrics.conformal_widening(np.zeros(3), np.zeros(3), np.zeros(2), 0.8)


class Sure(torch.nn.Module):
    """Quantiles of a network that is far too sure: 0 and a tenth of the deviation on both sides."""

    quantiles = LEVELS

    def __init__(self, horizon, targets, width=0.1):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor([-width, 0.0, width]))
        self.horizon, self.targets = horizon, targets

    def forward(self, x):
        return self.weight.expand(len(x), self.horizon, self.targets, 3)


def noise(rows, seed=0):
    rng = np.random.default_rng(seed)
    when = pd.date_range("2024-01-01", periods=rows, freq="h")
    return pd.DataFrame({"when": when, "a": rng.normal(5, 2, rows), "b": rng.normal(-1, 30, rows)})


def test_intervals_on_gaussian_noise_hold_within_two_in_a_hundred():
    data = load(noise(24_000), "a,b", time="when", horizon=3, history=8)
    how = {"epochs": 1, "batch_size": 4096, "metrics": {}, "seed": 0, "verbose": False}
    objective, rule = supervised(lambda output, y: pinball(output, y, LEVELS)), "sgd"
    runs = {}
    for width in (0.1, 4.0):
        model = Sure(3, 2, width)
        run = fit(
            model, data, objective, Backprop(rule, lr=1e-9), **how, callbacks=[ConformalIntervals()]
        )
        inside = Forecasts.of(run, data.test).inside
        assert np.abs(inside.mean(0) - 0.8).max() < 0.03  # every step of either target
        runs[width] = run
        assert abs(inside.mean() - 0.8) < 0.02
        # The ends of the noise's own interval: 1.28 deviations on both sides.
        outer = data.preprocessing.quantiles(run.forward(data.test))[0, :, :, 2]
        expected = 1.2816 * data.preprocessing.std + data.preprocessing.mean
        np.testing.assert_allclose((outer - expected) / data.preprocessing.std, 0, atol=0.08)
    again = preprocessing_from_json(data.preprocessing.to_json())
    assert np.array_equal(again.widening, data.preprocessing.widening)
    # What belongs to a network stays with its run, also where the data are read anew.
    assert (runs[0.1].preprocessing.widening > 1).all()
    assert (runs[4.0].preprocessing.widening < -2).all()
    fresh = load(noise(24_000), "a,b", time="when", horizon=3, history=8)
    before = runs[0.1].preprocessing.widening
    assert np.array_equal(runs[0.1].attach(fresh).preprocessing.widening, before)
    assert fresh.preprocessing.widening is None


def test_a_network_that_has_learnt_the_training_rows_is_set_right():
    """Many weights and few rows: the bare interval holds far less than it claims."""
    data = load(noise(700, 1), "a", time="when", horizon=2, history=96, val_size=0.4, test_size=0.4)
    torch.manual_seed(0)
    model = NLinear(96, 2, 1, quantiles=LEVELS)
    objective = supervised(lambda output, y: pinball(output, y, LEVELS))
    how = {"epochs": 30, "batch_size": 64, "metrics": {}, "seed": 0, "verbose": False}
    run = fit(model, data, objective, Backprop("adam", lr=0.04), **how)
    bare = Forecasts.of(run, data.test).scores["coverage"]
    held = fit(
        model, data, objective, Backprop("sgd", lr=1e-12), callbacks=[ConformalIntervals()], **how
    )
    right = Forecasts.of(held, data.test).scores["coverage"]
    assert bare < 0.6
    assert abs(right - 0.8) < 0.06


def test_narrowed_ends_never_pass_the_middle():
    data = load(noise(200), "a", time="when", horizon=2, history=4)
    fitted = data.preprocessing
    fitted.widening = np.array([[-5.0], [1.0]])
    output = torch.tensor([-1.0, 0.0, 1.0]).expand(1, 2, 1, 3)
    units = (fitted.quantiles(output)[0, :, 0] - fitted.mean[0]) / fitted.std[0]
    np.testing.assert_allclose(units, [[0, 0, 0], [-2, 0, 2]], atol=1e-12)
    assert fitted.in_units(output)[0, :, 0] == pytest.approx(fitted.mean[0].repeat(2))


def test_a_network_of_numbers_and_data_without_validation_are_left_alone():
    data = load(noise(200), "a", time="when", horizon=2, history=4)
    how = {"epochs": 1, "batch_size": 64, "metrics": {}, "seed": 0, "verbose": False}
    callbacks = [ConformalIntervals()]
    fit(NLinear(4, 2, 1), data, supervised("mse"), Backprop("sgd"), callbacks=callbacks, **how)
    assert data.preprocessing.widening is None
    alone = load(noise(200), "a", time="when", horizon=2, history=4, val_size=0)
    objective = supervised(lambda output, y: pinball(output, y, LEVELS))
    fit(Sure(2, 1), alone, objective, Backprop("sgd", lr=1e-12), callbacks=callbacks, **how)
    assert alone.preprocessing.widening is None
