"""N-BEATS: residuals, bases, and a trend with a season told apart."""

import math

import pytest
import torch
from torch import nn

from neurarium import networks
from neurarium.data import Data, windows
from neurarium.learning import Backprop
from neurarium.networks import NBEATS
from neurarium.objectives import supervised
from neurarium.training import fit


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


def test_each_block_sees_what_those_before_left():
    model = NBEATS(8, 3, hidden=16, blocks=2).double()
    x = torch.randn(5, 8).double()
    left, total = x, torch.zeros(5, 3).double()
    for block in model.parts:
        h = block.body(left)
        total = total + block.of_future(h) @ block.future
        left = left - block.of_past(h) @ block.past
    torch.testing.assert_close(model(x), total)
    forecasts, rest = model.explain(x)
    torch.testing.assert_close(rest, left)
    torch.testing.assert_close(forecasts.sum(0).squeeze(2), total)


def test_the_rank_of_what_a_block_can_say_is_that_of_its_basis():
    model = NBEATS(20, 12, stacks="trend+season", blocks=1, hidden=64, degree=2).double()
    for parameter in model.parameters():
        nn.init.normal_(parameter)
    trend, season = model.explain(torch.randn(200, 20).double())[0].squeeze(3)
    # Parabolas have no third difference; the bases are of single precision.
    assert torch.diff(trend, 3, 1).abs().max() < 1e-6 * trend.abs().max()
    assert torch.linalg.matrix_rank(trend, rtol=1e-5) == 3
    assert torch.linalg.matrix_rank(season, rtol=1e-5) == 11  # of 12 rows, as sin 0 is none
    turns = torch.arange(12) / 12
    basis = model.parts[1].future
    torch.testing.assert_close(basis[3].float(), torch.cos(2 * math.pi * 3 * turns))
    torch.testing.assert_close(basis[6 + 3].float(), torch.sin(2 * math.pi * 3 * turns))


def test_shapes_quantiles_and_configuration():
    model = NBEATS(10, 4, 2, (0.1, 0.5, 0.9), stacks=("trend", "generic"), hidden=8, blocks=1)
    x = torch.randn(5, 10, 3)
    assert model(x).shape == (5, 4, 2, 3)
    twin = networks.build(networks.config(model))
    twin.load_state_dict(model.state_dict())
    assert torch.equal(twin(x), model(x))
    assert NBEATS(10, 4, hidden=8)(x[..., 0]).shape == (5, 4)


def test_a_trend_and_a_season_are_forecast_and_told_apart():
    time = torch.arange(900.0)
    trend, season = time / 300, torch.sin(2 * math.pi * time / 12)
    cut, whole = 700, trend + season
    data = Data(windows(whole[:cut], 24, 12), None, windows(whole[cut:], 24, 12))
    model = NBEATS(24, 12, stacks="trend+season", blocks=2, hidden=64)
    run = fit(
        model, data, supervised("mse"), Backprop("adam", lr=3e-3, schedule="one_cycle"),
        epochs=40, batch_size=64, verbose=False, precision="32",
    )  # fmt: skip
    output, target = run.outputs("test")
    assert (output - target).square().mean() < 0.05 * season.var()
    with torch.no_grad():
        parts = model.explain(data.test.tensors["input"])[0].squeeze(3)
    slope = parts[:2].sum(0).diff(dim=1).mean()
    assert abs(float(slope) - 1 / 300) < 5e-3  # as flat as the trend, in which no wave is
    assert parts[2:].sum(0).std() > 0.5


def test_what_does_not_fit_is_refused(unchecked):
    with pytest.raises(ValueError, match="stacks must be among generic, trend, season"):
        NBEATS(8, 3, stacks="trend+noise")
