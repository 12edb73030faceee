"""Linear forecasters: what they recover, and what they cannot see."""

import pytest
import torch

from neurarium import networks
from neurarium.data import Data, windows
from neurarium.learning import Backprop
from neurarium.networks import DLinear, NLinear, pinball
from neurarium.objectives import supervised
from neurarium.training import fit


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


def randomized(model):
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter)
    return model.double()


def autoregression(phi, steps):
    noise, series = torch.randn(steps), torch.zeros(steps)
    for t in range(1, steps):
        series[t] = phi * series[t - 1] + noise[t]
    return series


def test_nlinear_by_hand():
    model = NLinear(3, 2)
    with torch.no_grad():
        model.linear.weight.copy_(torch.tensor([[1.0, 0, 0], [0, 2, 0]]))
        model.linear.bias.copy_(torch.tensor([0.5, 0]))
    # of (1, 4, 6): -5, -2, 0 above the last; 6 - 5 + 0.5 and 6 - 4
    torch.testing.assert_close(model(torch.tensor([[1.0, 4, 6]])), torch.tensor([[1.5, 2]]))


def test_a_level_moves_the_forecasts_of_nlinear_by_itself():
    model, x = randomized(NLinear(7, 4, 2)), torch.randn(3, 7, 2).double()
    torch.testing.assert_close(model(x + 100), model(x) + 100)


def test_nlinear_begins_as_the_naive_forecast():
    x = torch.randn(3, 7)
    assert torch.equal(NLinear(7, 4)(x), x[:, -1:].expand(-1, 4))


def test_dlinear_parts_a_series_into_its_moving_average_and_the_rest():
    model = DLinear(4, 1, kernel=3)
    x = torch.tensor([[3.0, 0, 6, 9]])
    trend = torch.tensor([2.0, 3, 5, 8])  # of 3 3 0 6 9 9
    for part, expected in (("trend", trend), ("rest", x[0] - trend)):
        for place in range(4):
            for layer in (model.trend, model.rest):
                torch.nn.init.zeros_(layer.weight)
            getattr(model, part).weight.data[0, place] = 1
            torch.testing.assert_close(model(x)[0, 0], expected[place])


def test_dlinear_begins_as_the_mean_of_the_past():
    x = torch.randn(3, 30)
    torch.testing.assert_close(DLinear(30, 4)(x), x.mean(1, keepdim=True).expand(-1, 4))


@pytest.mark.parametrize("network", [NLinear, DLinear])
def test_columns_are_forecast_apart_and_by_the_same_weights(network):
    model, x = randomized(network(30, 4, 2)), torch.randn(5, 30, 3).double()
    forecast = model(x)
    assert forecast.shape == (5, 4, 2)
    for column in range(2):
        one = randomized(network(30, 4))
        one.load_state_dict(model.state_dict())
        torch.testing.assert_close(one(x[..., column]), forecast[..., column])


@pytest.mark.parametrize("network", [NLinear, DLinear])
def test_they_come_back_from_their_configuration(network):
    model = randomized(network(30, 4, 2, (0.1, 0.5, 0.9)))
    twin = networks.build(networks.config(model)).double()
    twin.load_state_dict(model.state_dict())
    x = torch.randn(5, 30, 3).double()
    assert torch.equal(twin(x), model(x))
    assert model(x).shape == (5, 4, 2, 3)


def test_the_coefficient_of_an_autoregression_is_recovered():
    series = autoregression(0.7, 6000)
    data = Data(windows(series, 3, 1))
    run = fit(
        DLinear(3, 1, kernel=1), data, supervised("mse"),
        Backprop("adam", lr=0.02, schedule="one_cycle"),
        epochs=12, batch_size=256, verbose=False, precision="32",
    )  # fmt: skip
    weights = run.model.trend.weight[0].detach()
    torch.testing.assert_close(weights, torch.tensor([0, 0, 0.7]), atol=0.04, rtol=0)


def test_quantiles_of_gaussian_noise_cover_what_they_claim():
    series, levels = torch.randn(12_000), (0.1, 0.5, 0.9)
    data = Data(windows(series[:8000], 4, 2), None, windows(series[8000:], 4, 2))
    run = fit(
        DLinear(4, 2, quantiles=levels, kernel=3), data,
        supervised(lambda q, y: pinball(q, y, levels)),
        Backprop("adam", lr=0.02, schedule="one_cycle"),
        epochs=12, batch_size=256, verbose=False, precision="32", metrics={},
    )  # fmt: skip
    forecast, target = run.outputs("test")
    for i, level in enumerate(levels):
        assert abs((target <= forecast[..., i]).float().mean() - level) < 0.02


def test_what_does_not_fit_is_refused(unchecked):
    with pytest.raises(ValueError, match="must lie between 0 and 1"):
        NLinear(3, 2, quantiles=(0.5, 1))
    with pytest.raises(ValueError, match="kernel must be odd"):
        DLinear(30, 2, kernel=4)
    with pytest.raises(ValueError, match="2 targets, but the series has 1"):
        NLinear(3, 2, targets=2)(torch.zeros(4, 3))
