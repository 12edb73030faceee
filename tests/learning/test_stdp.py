"""Traces add up what every pair of spikes is worth, and a network learns what repeats."""

import copy
import math

import pytest
import torch
from torch import nn

from neurarium.layers import LIF, SpikeTrain
from neurarium.learning import STDP
from neurarium.networks import MLP, SpikingMLP
from neurarium.objectives import supervised


def window(dt, rule):
    if dt > 0:
        return rule.a_plus * math.exp(-dt / rule.tau_plus)
    return -rule.a_minus * math.exp(dt / rule.tau_minus) if dt < 0 else 0.0


def test_the_change_is_the_sum_of_the_window_over_all_pairs():
    torch.manual_seed(0)
    rule = STDP(a_plus=0.7, a_minus=1.3, tau_plus=4.0, tau_minus=9.0)
    pre, post = (torch.bernoulli(torch.full((15, 2, n), 0.3).double()) for n in (3, 2))
    expected = torch.zeros(2, 3).double()
    for row in range(2):
        for s, _, j in (t.tolist() for t in pre[:, row : row + 1].nonzero()):
            for t, _, i in (t.tolist() for t in post[:, row : row + 1].nonzero()):
                expected[i, j] += window(t - s, rule) / 2
    torch.testing.assert_close(rule.change(pre, post), expected)


def spiking(inputs=3, units=2):
    torch.manual_seed(0)
    return nn.Sequential(SpikeTrain(12), nn.Linear(inputs, units), LIF(), nn.Linear(units, 2))


class Mean(nn.Module):
    """The objective's own mean over time, so that the model can be a plain chain."""

    def forward(self, model, batch):
        return (model(batch["input"]).mean(0) - batch["target"]).square().mean()


def batch(rows=4, inputs=3):
    torch.manual_seed(1)
    return {"input": torch.rand(rows, inputs), "target": torch.zeros(rows, 2)}


def test_a_step_changes_the_spiking_layer_by_its_own_spikes(unchecked):
    model = spiking()
    before = copy.deepcopy(model.state_dict())
    rule = STDP(lr=0.1)
    rule.bind(model, Mean())
    torch.manual_seed(5)
    pre = model[0](batch()["input"])
    expected = before["1.weight"] + 0.1 * rule.change(pre, model[2](model[1](pre)).detach())
    torch.manual_seed(5)
    rule.step(batch())
    assert not torch.equal(model[1].weight, before["1.weight"])
    torch.testing.assert_close(model[1].weight.detach(), expected)
    for name in ("1.bias", "3.weight", "3.bias"):
        assert torch.equal(model.state_dict()[name], before[name])


def test_weights_stay_within_bounds(unchecked):
    model = spiking()
    rule = STDP(lr=100.0, bounds=(-0.1, 0.2))
    rule.bind(model, Mean())
    rule.step(batch())
    assert model[1].weight.min() >= -0.1
    assert model[1].weight.max() <= 0.2


def test_what_fires_before_a_unit_is_strengthened_and_what_fires_after_it_weakened(unchecked):
    # Input 1 makes the unit fire at step 2; input 0 came one step before, input 2 comes one after.
    model = nn.Sequential(nn.Linear(3, 1, bias=False), LIF()).double()
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[0.0, 1.5, 0.0]]))
    rule = STDP(lr=1.0, a_plus=0.5, a_minus=0.25, tau_plus=4.0, tau_minus=8.0)
    rule.bind(model, lambda model, batch: model(batch["input"]).mean())
    x = torch.zeros(4, 1, 3).double()
    x[1, 0, 0] = x[2, 0, 1] = x[3, 0, 2] = 1
    rule.step({"input": x})
    expected = [[0.5 * math.exp(-1 / 4), 1.5, -0.25 * math.exp(-1 / 8)]]
    torch.testing.assert_close(model[0].weight.detach(), torch.tensor(expected).double())


def test_alignment_leaves_everything_as_it_was(unchecked):
    model = spiking()
    rule = STDP()
    rule.bind(model, Mean())
    before = copy.deepcopy(model.state_dict())
    rows = batch()
    state = torch.random.get_rng_state()
    found = rule.alignment(rows)
    assert set(found) == {"1", "3"}
    assert found["3"] == 0  # which does not move
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(model.state_dict()[name], value) for name, value in before.items())


def test_a_frozen_layer_stays_and_a_model_without_spikes_is_an_error(unchecked):
    model = SpikingMLP([3, 4, 4, 2])
    model.layers[1].requires_grad_(False)
    rule = STDP()
    rule.bind(model, supervised("cross_entropy"))
    before = copy.deepcopy(model.state_dict())
    rule.step({"input": torch.rand(6, 3), "target": torch.zeros(6, dtype=torch.long)})
    moved = [n for n, v in model.state_dict().items() if not torch.equal(v, before[n])]
    assert moved == ["layers.3.weight"]
    with pytest.raises(ValueError, match=r"with layers.LIF behind it, and this MLP has none"):
        STDP().bind(MLP([3, 4, 2]), supervised("mse"))


@pytest.mark.parametrize(
    ("options", "message"),
    [({"lr": 0.0}, "lr must be positive"), ({"bounds": (1.0, 0.0)}, "smallest and a largest")],
)
def test_impossible_settings_are_an_error(unchecked, options, message):
    with pytest.raises(ValueError, match=message):
        STDP(**options)
