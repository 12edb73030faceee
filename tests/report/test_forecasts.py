"""Forecasts in the report: baselines, figures and intervals worked out apart."""

from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from neurarium import metrics
from neurarium.data import Data, load
from neurarium.networks import NLinear, pinball
from neurarium.objectives import supervised
from neurarium.report import render
from neurarium.report.facts import Facts
from neurarium.report.forecasts import Forecasts, forecasts_of, verdict
from neurarium.training import Run


class Repeat(nn.Module):
    """The last value, with an interval of `width` to both sides if there is one."""

    def __init__(self, horizon, width=None):
        super().__init__()
        self.horizon, self.width = horizon, width
        self.quantiles = () if width is None else (0.2, 0.5, 0.8)

    def forward(self, x):
        last = x[:, -1:, :1].expand(-1, self.horizon, -1)
        if self.width is None:
            return last
        return torch.stack([last + self.width, last, last - self.width], -1)  # in no order


def table(rows=400, columns=("load",)):
    rng = np.random.default_rng(0)
    made = {"when": pd.date_range("2024-01-01", periods=rows, freq="D").strftime("%Y-%m-%d")}
    made |= {name: 50 + rng.normal(size=rows).cumsum() for name in columns}
    return pd.DataFrame(made)


def run_of(model, rows=400, columns=("load",), horizon=5, **options):
    data = load(
        table(rows, columns), list(columns), time="when", horizon=horizon, history=14, **options
    )
    levels = getattr(model, "quantiles", ())
    loss = partial(pinball, quantiles=levels) if levels else "mse"
    return Run(model, data=data, objective=supervised(loss))


def found_of(run):
    return Forecasts.of(run, run.data.test)


def test_baselines_are_in_the_users_units():
    run = run_of(Repeat(5))
    found, load_ = found_of(run), table()["load"].to_numpy()
    first = run.data.indices["test"][0]
    np.testing.assert_allclose(found.target[0, :, 0], load_[first : first + 5], rtol=1e-5)
    np.testing.assert_allclose(found.baselines["last value"][0, :, 0], load_[first - 1], rtol=1e-5)
    season = found.baselines["last season"]  # a week of 7 days, of which 5 are ahead
    np.testing.assert_allclose(season[0, :, 0], load_[first - 7 : first - 2], rtol=1e-5)
    assert found.scores == pytest.approx(found.figures(found.baselines["last value"]), rel=1e-5)
    error = metrics.naive_error(load_[: run.data.indices["val"][0]], 7)
    assert found.scores["mase"] == pytest.approx(found.scores["mae"] / error, rel=1e-4)


def test_the_linear_baseline_is_ridge_regression_on_the_training_windows():
    from sklearn.linear_model import Ridge

    run = run_of(Repeat(5))
    found, train, test = found_of(run), run.data.train.tensors, run.data.test.tensors
    peer = Ridge(alpha=1e-3 * len(run.data.train))
    peer.fit(train["input"][..., 0].double(), train["target"][..., 0].double())
    guess = torch.tensor(peer.predict(test["input"][..., 0].double()))[..., None]
    expected = run.data.preprocessing.in_units(guess)
    np.testing.assert_allclose(found.baselines["linear"], expected, rtol=1e-4)


def test_a_longer_horizon_than_the_season_repeats_it():
    found = found_of(run_of(Repeat(10), horizon=10))
    season = found.baselines["last season"]
    np.testing.assert_array_equal(season[:, 7:], season[:, :3])


def test_quantiles_are_put_in_order_and_their_coverage_is_counted():
    run = run_of(Repeat(5, width=0.1))
    found = found_of(run)
    low, high = found.quantiles[..., 0], found.quantiles[..., -1]
    std = run.data.preprocessing.std[0]
    np.testing.assert_allclose(high - low, 0.2 * std, rtol=1e-3)
    inside = np.abs(found.target - found.predicted) <= 0.1 * std
    assert found.scores["coverage"] == pytest.approx(inside.mean(), abs=0.01)
    assert found_of(run_of(Repeat(5))).scores.keys() == {"mae", "rmse", "mase", "smape"}


def test_no_network_is_said_to_beat_what_it_repeats():
    told = verdict(found_of(run_of(Repeat(5))))
    assert "not shown to differ from the last value, repeated" in told
    assert "better than the last season (7 rows), repeated" in told  # of a random walk


def test_few_forecasts_have_no_interval_and_no_verdict():
    found = found_of(run_of(Repeat(5), rows=100))
    assert len(found) == 16
    assert found.intervals == {}
    assert "too few forecasts" in verdict(found)


def test_the_interval_holds_the_figure_and_is_wider_than_that_of_independent_rows():
    found = found_of(run_of(Repeat(5), rows=1500))
    low, high = found.intervals["mae"]
    assert low < found.scores["mae"] < high
    rows = np.abs(found.predicted - found.target).mean((1, 2))
    independent = metrics.block_bootstrap(rows, 1)
    assert high - low > 1.5 * (independent[1] - independent[0])


@pytest.mark.parametrize("columns", [("load",), ("load", "heat")])
@pytest.mark.parametrize("quantiles", [(), (0.1, 0.5, 0.9)])
def test_the_page_shows_forecasts_and_errors_by_step(columns, quantiles):
    run = run_of(NLinear(14, 5, len(columns), quantiles), columns=columns)
    page = render(run)
    for words in ("Forecasts", "By how far ahead", "last season (7 rows), repeated", "MASE"):
        assert words in page
    assert ("inside the interval" in page) == bool(quantiles)
    assert page.count('aria-label="Line chart of heat, its forecast') == len(columns) - 1
    assert "Largest errors" not in page
    assert render(run) == page


def test_other_runs_have_no_such_section():
    x = torch.randn(60, 3)
    run = Run(nn.Linear(3, 2), objective=supervised("cross_entropy"))
    run.attach(Data((x, (x[:, 0] > 0).long()), None, (x, (x[:, 0] > 0).long())))
    assert forecasts_of(Facts(run, ["test"])) is None


def test_each_target_has_figures_in_its_own_unit():
    run = run_of(NLinear(14, 5, 2), columns=("load", "heat"))
    found = Forecasts.of(run, run.data.test, torch.zeros(len(run.data.test), 5, 2))
    assert list(found.of_targets) == ["load", "heat"]
    error = np.abs(found.predicted - found.target)
    for i, own in enumerate(found.of_targets.values()):
        assert own["mae"] == pytest.approx(error[..., i].mean())
        assert own["mase"] == pytest.approx(own["mae"] / found.fitted.naive_error[i])
        assert own["rmse"] == pytest.approx((error[..., i] ** 2).mean() ** 0.5)
    both = [own["mae"] for own in found.of_targets.values()]
    assert both[0] != pytest.approx(both[1])
    assert found.scores["mae"] == pytest.approx(np.mean(both))
    assert found.scores["mase"] == pytest.approx(
        np.mean([own["mase"] for own in found.of_targets.values()])
    )
    alone = run_of(Repeat(5))
    assert not found_of(alone).of_targets
    assert "Each target in its own unit" in render(run)
    assert "Each target in its own unit" not in render(alone)


def test_moved_intervals_are_told_and_counted():
    run = run_of(Repeat(5, width=0.01))
    bare = found_of(run).scores["coverage"]
    assert "split conformal" not in render(run)
    run.preprocessing.widening = np.full((5, 1), 2.0)
    assert found_of(run).scores["coverage"] > bare + 0.2
    assert "split conformal" in render(run)
