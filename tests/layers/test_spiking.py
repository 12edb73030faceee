"""Spiking layers follow their equations exactly, forwards and through the surrogate."""

import math

import pytest
import torch
from torch import nn

from neurarium.layers import LIF, SpikeTrain, spike


def test_a_spike_is_a_threshold_with_the_surrogate_slope():
    v = torch.tensor([-1.0, -0.1, 0.0, 0.5], dtype=torch.float64, requires_grad=True)
    s = spike(v, 10.0)
    assert s.tolist() == [0, 0, 1, 1]
    s.sum().backward()
    # 1 / (1 + 10 |v|)^2: 1/121, 1/4, 1, 1/36
    torch.testing.assert_close(v.grad, torch.tensor([1 / 121, 1 / 4, 1, 1 / 36]).double())


def test_potentials_and_resets_by_hand():
    # beta = 1/2, threshold 1, input 0.8: v = 0.8, 1.2 (spike; 0.2 or 0 is left), ...
    x = torch.full((5, 1), 0.8, dtype=torch.float64)
    tau = 1 / math.log(2)
    spikes, v = LIF(tau).simulate(x)
    torch.testing.assert_close(v[:, 0], torch.tensor([0.8, 1.2, 0.9, 1.25, 0.925]).double())
    assert spikes[:, 0].tolist() == [0, 1, 0, 1, 0]
    spikes, v = LIF(tau, reset="zero").simulate(x)
    torch.testing.assert_close(v[:, 0], torch.tensor([0.8, 1.2, 0.8, 1.2, 0.8]).double())
    assert spikes[:, 0].tolist() == [0, 1, 0, 1, 0]


def test_between_spikes_it_is_the_solution_of_the_differential_equation():
    # tau v' = -v + RI from 0: v(t) = RI (1 - e^(-t/tau)), with x = (1 - e^(-1/tau)) RI.
    tau, goal = 7.0, 0.9
    x = torch.full((50, 2), -math.expm1(-1 / tau) * goal, dtype=torch.float64)
    spikes, v = LIF(tau).simulate(x)
    t = torch.arange(1, 51, dtype=torch.float64)
    torch.testing.assert_close(v, (goal * (1 - torch.exp(-t / tau)))[:, None].expand(50, 2))
    assert not spikes.any()


@pytest.mark.parametrize("goal", [1.2, 2.0, 5.0])
def test_it_fires_at_the_period_of_the_equation_rounded_up(goal):
    tau = 10.0
    x = torch.full((300, 1), -math.expm1(-1 / tau) * goal, dtype=torch.float64)
    times = LIF(tau, reset="zero")(x)[:, 0].nonzero().flatten() + 1
    period = math.ceil(tau * math.log(goal / (goal - 1)))
    assert times.tolist() == list(range(period, 301, period))


def test_the_gradient_is_that_of_the_unrolled_equations_without_the_reset():
    # ds_2/dx_1 = g(v_2 - 1) dv_2/dx_1 = g(v_2 - 1) beta; nothing comes back through the reset.
    x = torch.tensor([[1.3], [0.6]], dtype=torch.float64, requires_grad=True)
    tau = 1 / math.log(2)
    s = LIF(tau, k=4.0)(x)
    (slope,) = torch.autograd.grad(s[1, 0], x)
    v2 = 0.5 * 0.3 + 0.6
    g = 1 / (1 + 4 * abs(v2 - 1)) ** 2
    torch.testing.assert_close(slope[:, 0], torch.tensor([0.5 * g, g]).double())


def test_every_call_begins_at_rest_and_rows_do_not_meet():
    torch.manual_seed(0)
    layer, x = LIF(), torch.rand(12, 4, 3)
    torch.testing.assert_close(layer(x), layer(x))
    torch.testing.assert_close(layer(x)[:, 1:2], layer(x[:, 1:2]))


def test_spike_trains_have_the_rates_they_are_given():
    torch.manual_seed(0)
    rates = torch.tensor([0.0, 0.2, 0.7, 1.0]).expand(500, 4)
    trains = SpikeTrain(40)(rates)
    assert trains.shape == (40, 500, 4)
    assert set(trains.unique().tolist()) == {0, 1}
    means = trains.mean((0, 1))
    assert means[[0, 3]].tolist() == [0, 1]
    torch.testing.assert_close(means, rates[0], atol=0.013, rtol=0)  # four standard errors
    assert not torch.equal(trains[0], trains[1])


def test_rates_beyond_0_and_1_are_an_error(unchecked):
    with pytest.raises(ValueError, match="got -1 to 2; scale the data with MinMax"):
        SpikeTrain()(torch.tensor([[-1.0, 2.0]]))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LIF(tau=0.0), "tau and threshold must be positive, got 0"),
        (lambda: LIF(threshold=-1.0), "positive, got 5.0 and -1.0"),
        (lambda: LIF(reset="half"), "reset must be 'subtract' or 'zero'"),
        (lambda: SpikeTrain(0), "steps must be at least 1"),
    ],
)
def test_impossible_settings_are_an_error(unchecked, make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_units_of_a_network_get_their_gradients_through_time():
    torch.manual_seed(0)
    model = nn.Sequential(SpikeTrain(10), nn.Linear(4, 8), LIF(), nn.Linear(8, 2))
    model(torch.rand(5, 4)).mean(0).square().sum().backward()
    assert model[1].weight.grad.abs().sum() > 0
