"""Prechelt's criteria on scripted errors; early stopping against ridge regression."""

import math

import pytest
import torch
from tests.training.conftest import make_data, make_network
from torch import nn

from neurarium.learning import Backprop
from neurarium.objectives import supervised
from neurarium.training import Callback, EarlyStopping, fit
from neurarium.training.callbacks.stopping_criteria import GL, PQ, UP


def stops_at(criterion, val, train=None):
    """First epoch, from 1, after which the criterion stops."""
    train = train or [1.0] * len(val)
    for epoch in range(1, len(val) + 1):
        if criterion(val[:epoch], train[:epoch]):
            return epoch
    return None


def test_generalization_loss_is_in_percent_of_the_least_error():
    val = [2.0, 1.0, 1.04, 1.0499, 1.06, 0.9, 1.2]
    assert stops_at(GL(5), val) == 5  # 1.0499 is not above 5 %
    assert stops_at(GL(3.9), val) == 3
    assert stops_at(GL(7), val) == 7  # 1.2 / 0.9


def test_progress_excuses_a_rising_error():
    val = [1.0, 0.9, 0.8, 0.8, 0.84, 0.84, 0.84, 0.84, 0.84, 0.84]  # 5 % above the least
    # Strip 1: mean 3, least 1, progress 2000. Strip 2: mean 1.002, progress 2: 5/2 > 0.5.
    train = [5.0, 4, 3, 2, 1, 1.004, 1.003, 1.002, 1.001, 1.0]
    assert stops_at(PQ(0.5), val, train) == 10
    assert stops_at(PQ(2.6), val, train) is None
    assert stops_at(PQ(0.5), val, [1.0] * 10) == 5  # no progress excuses nothing
    assert stops_at(PQ(0.5), [1.0] * 10, [1.0] * 10) is None  # and nothing needs an excuse


def test_up_counts_successive_strips_whose_last_error_rose():
    # Ends of strips of 2: 1, 2, 3, 1, 2, 3, 4.
    val = [9, 1, 9, 2, 9, 3, 9, 1, 9, 2, 9, 3, 9, 4]
    assert stops_at(UP(1, strip=2), val) == 4
    assert stops_at(UP(2, strip=2), val) == 6
    assert stops_at(UP(3, strip=2), val) == 14
    assert stops_at(UP(4, strip=2), val) is None


class Script(Callback):
    order = -100

    def __init__(self, values):
        self.values = values

    def on_validation_epoch_end(self, trainer):
        trainer.history["val_loss"][-1] = self.values[trainer.epoch]
        with torch.no_grad():
            trainer.model[0].weight.fill_(trainer.epoch + 1)


@pytest.mark.parametrize(
    ("criterion", "stops", "restored"),
    [
        ("GL:5", 5, 2),
        ("UP:successive=2,strip=1", 4, 2),
        ("PQ:alpha=1e9", 8, 8),
        (GL(40), 7, 6),
        (lambda val, train: len(train) == 3, 3, 2),
    ],
)
def test_a_criterion_stops_the_run_and_the_best_weights_return(criterion, stops, restored):
    values = [2.0, 1.0, 1.04, 1.049, math.nan if criterion == "GL:5" else 1.0, 0.7, 1.0, 0.6]
    model = make_network()
    run = fit(model, make_data(), epochs=8, lr=0.01, batch_size=20, verbose=False,
              callbacks=[Script(values), EarlyStopping(criterion=criterion)])  # fmt: skip
    assert run.history["epoch"][-1] == stops
    assert (model[0].weight == restored).all()


def test_criteria_refuse_what_is_not_an_error():
    with pytest.raises(ValueError, match="compares errors; monitor one with mode='min'"):
        EarlyStopping("val_accuracy", "max", criterion="GL")
    with pytest.raises(ValueError, match="unknown criterion 'GM'; did you mean GL"):
        EarlyStopping(criterion="GM")
    with pytest.raises(ValueError, match="monitor='val_loss' has fallen to -1; monitor a positive"):
        fit(make_network(), make_data(), epochs=2, lr=0.01, verbose=False,
            callbacks=[Script([-1.0, 1.0]), EarlyStopping(criterion="GL")])  # fmt: skip


def test_early_stopping_on_a_quadratic_bowl_is_nearly_ridge_regression():
    # J = ½ Σ h (θ - θ*)² from 0: after t steps θ/θ* = 1 - (1 - ηh)^t; with λ‖θ‖² it is
    # h/(h + 2λ), and λ = 1/(2ηt) makes them equal to first order in ηht.
    h = torch.logspace(-5, 0, 60, dtype=torch.float64)
    lr, steps = 0.1, 50
    model = nn.Linear(60, 1, bias=False).double()
    nn.init.zeros_(model.weight)
    rule = Backprop("sgd", lr=lr)
    bowl = supervised(lambda theta, best: (h * (theta - best).square()).sum() / 2)
    rule.bind(model, bowl)
    eye, best = torch.eye(60, dtype=torch.float64), torch.ones(60, dtype=torch.float64)
    for _ in range(steps):
        rule.step({"input": eye, "target": best})
    stopped = model.weight.detach()[0]
    torch.testing.assert_close(stopped, 1 - (1 - lr * h) ** steps)
    ridge = h / (h + 2 / (2 * lr * steps))
    gap = (stopped - ridge).abs()
    assert 0.15 < gap.max() < 0.22
    small = lr * h * steps
    # The filters' second-order terms differ by (1 + 1/t)/2, their third-order ones less.
    assert (gap <= 0.51 * small**2).all()
