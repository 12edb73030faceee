"""The range test finds the edge of stability, and leaves no trace."""

import copy
import random

import numpy as np
import pytest
import torch
from tests.training.conftest import make_network
from torch import nn

from neurarium.data import Data
from neurarium.learning import SAM, Backprop
from neurarium.objectives import supervised
from neurarium.optim import Lookahead
from neurarium.training import LRFinder, fit, lr_find


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
def test_everything_is_bit_identical_afterwards(optimizer, data, unchecked):  # checks draw too
    model, rule = make_network(), Backprop(optimizer, lr=0.05, schedule="cosine", total_steps=9)
    model[1].register_buffer("count", torch.zeros(()), persistent=False)
    model[1].register_forward_hook(lambda module, i, o: count(module))
    objective = supervised("cross_entropy")
    before = copy.deepcopy(model.state_dict())
    torch.manual_seed(7), np.random.seed(7), random.seed(7)  # noqa: NPY002
    drawn = draws()
    torch.manual_seed(7), np.random.seed(7), random.seed(7)  # noqa: NPY002
    lr_find(model, data, objective, rule, batch_size=8)
    assert draws() == drawn
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())  # buffers too
    assert model[1].count == 0
    assert rule.steps == 0
    assert not rule.optimizer.state
    assert rule.optimizer.param_groups[0]["initial_lr"] == 0.05
    assert all(p.grad is None for p in model.parameters())
    assert rule.schedule is not None


def count(module):
    module.count += 1


def draws():
    numpy = np.random.random()  # noqa: NPY002
    return torch.rand(()).item(), numpy, random.random()


MAKERS = {
    "by name": lambda model: Backprop("adamw", lr=0.01),
    "an optimizer": lambda model: Backprop(torch.optim.Adam(model.parameters(), lr=0.01)),
    "scheduled": lambda model: Backprop(
        "sgd:momentum=0.9",
        lr=0.01,
        schedule="one_cycle",
        momentum_schedule="one_cycle_momentum",
        total_steps=12,
    ),
    "lookahead": lambda model: Backprop(Lookahead(torch.optim.Adam(model.parameters()), k=4)),
    "SAM": lambda model: SAM("sgd:momentum=0.9", lr=0.01),
}


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_a_training_that_is_under_way_goes_on_as_if_nothing_had_been(make, data):
    def run(look):
        model, objective = make_network(dropout=0.5), supervised("cross_entropy")
        rule, batches = make(model), list(data.train.batches(8, seed=3))
        rule.bind(model, objective)
        torch.manual_seed(5)
        for i, batch in enumerate(batches + batches):
            if look and i == 6:
                lr_find(model, data, objective, rule, batch_size=8)
            rule.step(batch)
        return torch.cat([v.flatten().double() for v in model.state_dict().values()])

    assert torch.equal(run(True), run(False))


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


def test_suggestions_by_hand():
    lrs = [10.0**e for e in range(-15, 1)]
    found = LRFinder(lrs, [0.1] + 9 * [1.0] + [1.0, 0.99, 0.8, 0.3, 0.25, 0.9])
    assert found.suggestion == pytest.approx(1e-2)  # the lucky first batch is no minimum
    found = LRFinder(lrs[10:], [1.0, 0.99, 0.8, 0.3, 0.25, 0.9])
    assert found.steepest == pytest.approx(1e-3)
    # Below where it began, four decrease: 0.99, 0.8, 0.3, 0.25; the third of them.
    assert found.valley == pytest.approx(1e-2)
    # Of 5, 1, 4, 3, 2, 6 those that decrease the longest are 5, 4, 3, 2.
    assert LRFinder(lrs[10:], [5.0, 1.0, 4.0, 3.0, 2.0, 6.0]).valley == pytest.approx(1e-2)
    # A spread of 0.2 around the beginning hides the first two steps down: 0.3 and 0.25 are left.
    raw = [0.8, 1.0, 1.2, 0.0, 0.0, 0.0]
    assert LRFinder(lrs[10:], [1.0, 0.9, 0.7, 0.3, 0.25, 0.9], raw).valley == pytest.approx(1e-1)


def test_the_steepest_slope_is_per_factor_of_the_rate_not_per_point_or_unit():
    # Rates not evenly spaced: the loss falls by 0.3 over a factor 1000, then by 0.2 over 2.
    found = LRFinder([1e-5, 1e-2, 2e-2, 4e-2], [1.0, 0.7, 0.5, 0.6])
    assert found.steepest == 1e-2
    # Beyond the minimum nothing counts, however steep.
    found = LRFinder([1e-4, 1e-3, 1e-2, 1e-1, 1.0], [1.0, 0.9, 0.85, 2.0, 0.9])
    assert found.steepest == 1e-4


def test_where_there_is_none_a_reason_stands_for_the_suggestion(data):
    rising = LRFinder([1e-3, 1e-2, 1e-1], [1.0, 1.5, 4.0])
    assert rising.reason.startswith("the loss never fell by more than its noise between 0.001")
    assert rising.suggestion is rising.steepest is rising.valley is None
    early = LRFinder([1.0, 1.2], [1.0, 9.0])
    assert early.reason.startswith("the loss diverged within 2 steps, at a rate of 1.2")
    rising.plot()
    # A network whose output does not depend on what is trained learns nothing but noise.
    model = make_network()
    with torch.no_grad():
        model[4].weight.zero_()
    model[4].requires_grad_(False)
    noisy = lr_find(model, data, supervised("cross_entropy"), Backprop("sgd"), batch_size=8)
    assert "never fell" in noisy.reason
    assert noisy.suggestion is None


def test_fit_falls_back_to_the_usual_rate(data):
    model = make_network()
    with torch.no_grad():
        model[4].weight.zero_()
    model[4].requires_grad_(False)
    run = fit(model, data, epochs=1, verbose=False)
    assert run.config["rule"].startswith("Backprop(AdamW, lr=0.001, schedule=one_cycle")


def test_a_rule_without_a_rate_is_refused(data, network, unchecked):
    class Rateless:
        def bind(self, model, objective): ...
        def step(self, batch): ...
        def state_dict(self): ...
        def load_state_dict(self, state): ...

    with pytest.raises(ValueError, match="needs a rule with a learning rate to set"):
        lr_find(network, data, supervised("cross_entropy"), Rateless())


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
