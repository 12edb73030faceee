"""Neurons fire when, and as often as, their equations say."""

import math

import pytest
import torch

from neurarium.networks import SpikingMLP, neuron_models
from neurarium.networks.neuron_models import adex, hodgkin_huxley, izhikevich, lif


def steps(values, count):
    return torch.tensor(values, dtype=torch.float64).expand(count, len(values))


def periods(trace, neuron):
    return trace.spike_times(neuron).diff()


@pytest.mark.parametrize("refractory", [0.0, 2.0])
def test_the_rate_of_lif_is_the_closed_form(refractory):
    # [t_ref + tau ln(RI / (RI - threshold))]^-1; spikes wait for the end of their step.
    currents, dt = [1.05, 1.5, 4.0], 0.02
    trace = lif(steps(currents, 6000), dt, tau=10.0, refractory=refractory)
    for i, current in enumerate(currents):
        period = refractory + 10 * math.log(current / (current - 1))
        found = periods(trace, i)
        assert len(found) > 1
        assert ((found >= period - 1e-9) & (found < period + dt + 1e-9)).all()


def test_lif_stays_silent_below_its_threshold_and_meets_its_goal():
    trace = lif(steps([0.99], 2000), 0.1, resistance=2.0, threshold=2.0, rest=-0.5, reset=-0.5)
    assert not trace.spikes.any()
    assert trace.voltage[-1, 0].item() == pytest.approx(-0.5 + 2 * 0.99)


def test_hodgkin_and_huxley_fire_once_from_2_3_and_for_ever_between_6_2_and_6_4():
    trace = hodgkin_huxley(steps([0.0, 2.2, 2.3, 6.2, 6.4], 1700))
    late = trace.spikes[1200:].sum(0)  # beyond 60 ms
    assert trace.spikes.sum(0)[:3].tolist() == [0, 0, 1]
    assert late.tolist()[:4] == [0, 0, 0, 0]
    assert late[4] == 1
    assert trace.voltage[:, 0].min() > -65.1  # it rests at -65
    assert trace.voltage[:, 0].max() < -64.9
    assert 30 < trace.voltage[:, 4].max() < 50  # a spike stays below sodium's potential


def test_the_gates_open_at_the_published_rates():
    # At rest, -65 mV, in the original 0: alpha_m = 2.5/(e^2.5 - 1), beta_m = 4,
    # alpha_h = 0.07, beta_h = 1/(e^3 + 1), alpha_n = 0.1/(e - 1), beta_n = 0.125.
    opening, closing = neuron_models._gates(torch.tensor([-65.0, -40.0, -55.0]).double())
    e = math.e
    expected = [2.5 / (e**2.5 - 1), 0.07, 0.1 / (e - 1)]
    assert opening[:, 0].tolist() == pytest.approx(expected)
    assert closing[:, 0].tolist() == pytest.approx([4, 1 / (e**3 + 1), 0.125])
    assert opening[0, 1].item() == pytest.approx(1)  # 0/0 in the formula
    assert opening[2, 2].item() == pytest.approx(0.1)


def test_izhikevich_rests_at_minus_70():
    trace = izhikevich(steps([0.0], 300))
    torch.testing.assert_close(trace.voltage, torch.full((300, 1), -70.0).double())
    torch.testing.assert_close(trace.states["u"], torch.full((300, 1), -14.0).double())


def test_izhikevich_without_recovery_has_the_period_of_a_quadratic():
    # With a = d = 0, u stays at -14: v' = 0.04 v^2 + 5 v + K with K = 154 + I, and from c to 30
    # it takes 2/q [atan((0.08 v + 5)/q)], q = sqrt(0.16 K - 25).
    dt, i, c = 0.01, 10.0, -65.0
    trace = izhikevich(steps([i], 1000), dt, a=0.0, d=0.0, c=c)
    q = math.sqrt(0.16 * (154 + i) - 25)
    period = 2 / q * (math.atan((0.08 * 30 + 5) / q) - math.atan((0.08 * c + 5) / q))
    found = periods(trace, 0)
    assert len(found) > 1
    assert ((found >= period - 1e-6) & (found < period + dt + 1e-6)).all()


def test_a_regular_spiking_neuron_tires_and_a_spike_adds_d():
    trace = izhikevich(steps([10.0], 900))
    found = periods(trace, 0)
    assert found[0] < found[1]
    (at,) = (trace.spike_times(0)[:1] / 0.1).round().long() - 1
    jump = trace.states["u"][at, 0] - trace.states["u"][at - 1, 0]
    assert jump.item() == pytest.approx(8, abs=0.1)
    assert trace.voltage[at, 0] == -65


def test_adex_without_adaptation_fires_beyond_its_rheobase():
    # The slope -g (v - E) + g s e^((v-T)/s) + I has its minimum at v = T: g (E - T + s) + I.
    rheobase = 30 * (-50.4 + 70.6 - 2)
    trace = adex(steps([rheobase - 6, rheobase + 6], 2000), a=0.0, b=0.0)
    assert trace.spikes.sum(0).tolist() == [0, 1]
    assert trace.voltage[-1, 0] < -50.4


def test_adex_tires_by_b_a_spike():
    trace = adex(steps([800.0], 1200))
    found = periods(trace, 0)
    assert (found.diff() > 0).all()
    (at,) = (trace.spike_times(0)[:1] / 0.1).round().long() - 1
    jump = trace.states["w"][at, 0] - trace.states["w"][at - 1, 0]
    assert jump.item() == pytest.approx(80.5, abs=1)


def test_times_and_rates_of_a_trace():
    spikes = torch.tensor([[0, 1], [0, 0], [1, 1], [0, 0]]).bool()
    trace = neuron_models.Trace(0.5, torch.zeros(4, 2), spikes)
    assert trace.spike_times(1).tolist() == [0.5, 1.5]
    assert trace.rate().tolist() == [0.5, 1]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda i: lif(i, tau=0.0), "tau must be positive, got 0"),
        (lambda i: izhikevich(i, dt=-1.0), "dt must be positive"),
        (lambda i: adex(i, sharpness=0.0), "sharpness must be positive"),
    ],
)
def test_impossible_constants_are_an_error(make, message):
    with pytest.raises(ValueError, match=message):
        make(torch.zeros(3))


def test_a_spiking_perceptron_answers_with_the_mean_over_time():
    torch.manual_seed(0)
    model, x = SpikingMLP([4, 6, 3], steps=9), torch.rand(5, 1, 2, 2)
    torch.manual_seed(1)
    spikes = model.layers[:3](x.flatten(1))
    torch.manual_seed(1)
    head = model.layers[3]
    torch.testing.assert_close(model(x), spikes.mean(0) @ head.weight.T + head.bias)
    assert spikes.shape == (9, 5, 6)
    with pytest.raises(ValueError, match="at least inputs and outputs"):
        SpikingMLP([4])
