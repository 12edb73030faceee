"""Forecasts: direct and recursive, of columns and quantiles, from windows of any length."""

import pytest
import torch
from torch import nn

from neurarium import networks
from neurarium.data import Data, windows
from neurarium.learning import Backprop
from neurarium.networks import Forecaster, pinball
from neurarium.objectives import supervised
from neurarium.training import fit


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


def test_one_step_is_the_same_either_way():
    direct = Forecaster(2, 1, hidden=4).double()
    recursive = Forecaster(2, 1, hidden=4, strategy="recursive").double()
    recursive.load_state_dict(direct.state_dict())
    x = torch.randn(3, 6, 2).double()
    torch.testing.assert_close(direct(x), recursive(x))


def test_a_recursive_forecast_reads_its_own_answers():
    model = Forecaster(1, 3, hidden=4, cell="gru", strategy="recursive").double()
    nn.init.normal_(model.out.weight)
    x = torch.randn(2, 5, 1).double()
    series = x
    for _ in range(3):
        h, _ = model.recurrent(series)
        series = torch.cat([series, series[:, -1:] + model.out(h[:, -1:])], 1)
    torch.testing.assert_close(model(x), series[:, 5:])


def test_padding_changes_no_forecast():
    length = torch.tensor([4, 2, 6])
    x = torch.randn(3, 6, 2).double()
    for strategy in ("direct", "recursive"):
        model = Forecaster(2, 3, hidden=4, strategy=strategy).double()
        nn.init.normal_(model.out.weight)
        for b, n in enumerate(length.tolist()):
            torch.testing.assert_close(model(x, length)[b], model(x[b : b + 1, :n])[0])


def test_an_untrained_network_is_nearly_the_naive_forecast():
    x = torch.randn(4, 9)
    forecast = Forecaster(1, 5, hidden=8)(x)
    assert forecast.shape == (4, 5)
    assert (forecast - x[:, -1:]).abs().max() < 0.02


def test_shapes_of_columns_and_quantiles():
    x = torch.randn(4, 9, 3)
    assert Forecaster(3, 5)(x).shape == (4, 5, 3)
    assert Forecaster(3, 5, targets=1)(x).shape == (4, 5, 1)
    model = Forecaster(3, 5, targets=2, quantiles=(0.1, 0.5, 0.9))
    assert model(x).shape == (4, 5, 2, 3)
    twin = networks.build(networks.config(model))
    twin.load_state_dict(model.state_dict())
    assert torch.equal(twin(x), model(x))


def test_pinball_by_hand_and_its_minimum():
    prediction = torch.tensor([[1.0, 1.0]])
    assert pinball(prediction, torch.tensor([3.0]), (0.25, 0.9)).item() == pytest.approx(
        (0.25 * 2 + 0.9 * 2) / 2
    )
    assert pinball(prediction, torch.tensor([0.0]), (0.25, 0.9)).item() == pytest.approx(
        (0.75 + 0.1) / 2
    )
    y = torch.randn(4001).double()
    grid = torch.linspace(-2, 2, 401).double()
    losses = torch.stack([pinball(g.expand(4001, 1), y, (0.8,)) for g in grid])
    assert abs(grid[losses.argmin()] - y.quantile(0.8)) < 0.02


def test_what_cannot_be_forecast_is_refused(unchecked):
    with pytest.raises(ValueError, match="strategy must be"):
        Forecaster(1, 2, strategy="seq2seq")
    with pytest.raises(ValueError, match="is fed back as the next input"):
        Forecaster(3, 2, targets=1, strategy="recursive")
    with pytest.raises(ValueError, match="quantiles must lie between 0 and 1"):
        Forecaster(3, 2, quantiles=(0.5, 1.0))
    with pytest.raises(ValueError, match="one more axis than target"):
        pinball(torch.zeros(3, 2), torch.zeros(2), (0.1, 0.9))


def test_a_wave_is_forecast_far_better_than_by_its_last_value():
    series = torch.sin(torch.arange(600.0) * 0.3)
    data = Data(windows(series[:400], 16, 4), None, windows(series[400:], 16, 4))
    run = fit(
        Forecaster(1, 4, hidden=16, cell="gru"), data, supervised("mse"),
        Backprop("adam", lr=0.01), epochs=6, batch_size=32, verbose=False, precision="32",
    )  # fmt: skip
    output, target = run.outputs("test")
    naive = data.test.tensors["input"][:, -1:].expand_as(target)
    assert (output - target).square().mean() < (naive - target).square().mean() / 20
