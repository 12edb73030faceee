"""What rules that write parameters share: a trial step that leaves no trace."""

import copy

import pytest
import torch
from torch import nn

from neurarium.learning import Rule
from neurarium.learning.direct import Direct
from neurarium.learning.rule import value_of
from neurarium.losses import AdaptiveRobust
from neurarium.objectives import supervised


class Drawn(Direct):
    """Plain descent with a random number, a running count and figures for whoever listens."""

    def __init__(self, noise=0.0):
        self.noise, self.count, self.drawn = noise, 0, []
        self.notify = lambda event, *arguments: self.drawn.append(event)

    def bind(self, model, objective):
        self.model, self.objective = model, objective

    def step(self, batch):
        loss = value_of(self.objective(self.model, batch))["loss"]
        loss.backward()
        with torch.no_grad():
            for parameter in self.model.parameters():
                parameter -= 0.1 * parameter.grad + self.noise * torch.randn_like(parameter)
                parameter.grad = None
        self.count += 1
        self.notify("on_after_backward")
        return {"loss": loss.detach()}

    def state_dict(self):
        return {"count": self.count}

    def load_state_dict(self, state):
        self.count = state["count"]


BATCH = {
    "input": torch.arange(12.0).view(4, 3).sin(),
    "target": torch.tensor([1.0, 0, 2, 1]),
}


def bound(noise=0.0, loss="mse"):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 1))
    rule = Drawn(noise)
    rule.bind(model, supervised(loss))
    return rule


def test_a_step_along_the_gradient_is_aligned_and_a_random_one_is_not():
    # Only if both see the same dropout masks.
    exact = bound().alignment(BATCH)
    assert exact.keys() == {"0", "1", "3"}
    assert exact["3"] == pytest.approx(1, abs=1e-5)
    assert exact["1"] == pytest.approx(1, abs=1e-5)
    assert abs(bound(noise=10.0).alignment(BATCH)["3"]) < 0.95


def test_the_trial_step_leaves_no_trace():
    rule = bound(noise=1.0, loss=AdaptiveRobust())
    rule.model[0].weight.grad = torch.ones(4, 3)
    before = copy.deepcopy(rule.model.state_dict()), torch.get_rng_state()
    rule.alignment(BATCH)
    torch.testing.assert_close(dict(rule.model.state_dict()), dict(before[0]), rtol=0, atol=0)
    assert torch.equal(torch.get_rng_state(), before[1])
    assert rule.count == 0
    assert rule.drawn == []
    assert torch.equal(rule.model[0].weight.grad, torch.ones(4, 3))
    assert all(p.grad is None for p in rule.objective.parameters())
    rule.step(BATCH)
    assert rule.drawn == ["on_after_backward"]
    assert isinstance(rule, Rule)
