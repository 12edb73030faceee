"""The range test finds the edge of stability, and leaves no trace."""

import copy

import pytest
import torch
from tests.training.conftest import make_network
from torch import nn

from neurarium.data import Data
from neurarium.learning import Backprop
from neurarium.objectives import supervised
from neurarium.training import fit, lr_find


class Bowl(nn.Module):
    """An isotropic quadratic of curvature L."""

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.ones(3))

    def forward(self, x):
        return self.w.expand(len(x), 3)


def test_the_raw_loss_first_rises_past_two_over_the_curvature():
    curvature = 4.0
    losses = []

    def objective(model, batch):
        loss = 0.5 * curvature * model.w.square().sum()
        losses.append(loss.item())
        return loss

    data = Data(torch.zeros(8, 1))
    found = lr_find(Bowl(), data, objective, Backprop("sgd"), 1e-3, 10, 100)
    # losses[i] is met before step i, so the first rise belongs to the rate of the step before.
    first = next(i for i in range(1, len(losses)) if losses[i] > losses[i - 1]) - 1
    grid = found.lrs[1] / found.lrs[0]
    assert 1 / grid <= found.lrs[first] / (2 / curvature) <= grid**2


@pytest.mark.parametrize("optimizer", ["sgd:momentum=0.9", "adamw"])
def test_everything_is_bit_identical_afterwards(optimizer, data):
    model, rule = make_network(), Backprop(optimizer, lr=0.05, schedule="cosine", total_steps=9)
    objective = supervised("cross_entropy")
    before = copy.deepcopy(model.state_dict())
    states = torch.get_rng_state()
    lr_find(model, data, objective, rule, batch_size=8)
    assert torch.equal(states, torch.get_rng_state())
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())  # buffers too
    assert rule.steps == 0
    assert not rule.optimizer.state
    assert rule.optimizer.param_groups[0]["initial_lr"] == 0.05
    assert all(p.grad is None for p in model.parameters())


def test_training_after_the_test_is_training_without_it(data):
    weights = []
    for look in (False, True):
        model, rule = make_network(), Backprop("adamw", lr=0.01, schedule="one_cycle")
        if look:
            lr_find(model, data, supervised("cross_entropy"), rule)
        fit(model, data, rule=rule, epochs=3, verbose=False)
        weights.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    assert torch.equal(*weights)


def test_it_repeats_itself(data):
    found = [lr_find(make_network(), data, supervised("cross_entropy"), Backprop()) for _ in "ab"]
    assert found[0] == found[1]


def test_the_steepest_point_is_where_the_loss_falls_fastest_per_factor():
    from neurarium.training import LRFinder

    lrs = [10.0**e for e in range(-15, 1)]
    found = LRFinder(lrs, [0.1] + 9 * [1.0] + [1.0, 0.99, 0.8, 0.3, 0.25, 0.9])
    assert found.suggestion == pytest.approx(1e-2)  # the lucky first batch is no minimum
    found = LRFinder(lrs[10:], [1.0, 0.99, 0.8, 0.3, 0.25, 0.9])
    assert found.steepest == pytest.approx(1e-3)


def test_an_empty_range_is_refused(data, network):
    with pytest.raises(ValueError, match="needs 0 < start_lr < end_lr"):
        lr_find(network, data, supervised("cross_entropy"), Backprop(), 1.0, 0.1)


def test_digits_train_well_at_the_suggestion():
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    data = Data((x[:1400] / 16, y[:1400]), (x[1400:] / 16, y[1400:]))
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 100), nn.ReLU(), nn.Linear(100, 10))
    found = lr_find(model, data, supervised("cross_entropy"), Backprop("sgd:momentum=0.9"))
    rule = Backprop("sgd:momentum=0.9", lr=found.suggestion, schedule="one_cycle")
    run = fit(model, data, rule=rule, epochs=30, verbose=False)
    assert run.evaluate("val")["accuracy"] > 0.9  # the last writers of this set are the hard ones


def test_the_suggestion_is_sane_on_a_small_noisy_table():
    from sklearn.datasets import load_diabetes

    x, y = load_diabetes(return_X_y=True)
    data = Data(((x / x.std(0))[:280], ((y - y.mean()) / y.std())[:280, None]))
    for seed in range(5):
        torch.manual_seed(seed)
        model = nn.Sequential(nn.Linear(10, 64), nn.ReLU(), nn.Linear(64, 1))
        found = lr_find(model, data, supervised("mse"), Backprop(), seed=seed)
        assert 1e-4 < found.suggestion < 0.1
