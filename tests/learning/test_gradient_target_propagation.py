"""One step of a target's descent is backpropagation; many steps are what the paper says."""

import copy

import pytest
import torch
from tests.training.conftest import make_data, make_network
from torch import nn

from neurarium.learning import GradientTargetPropagation, Rule
from neurarium.learning.rule import value_of
from neurarium.networks import MLP, LeNet5
from neurarium.objectives import supervised
from neurarium.training import fit

pytestmark = pytest.mark.usefixtures("unchecked")  # a trace is of proxies, which have no shape

GENERATOR = torch.Generator().manual_seed(1)
BATCH = {
    "input": torch.randn(8, 5, generator=GENERATOR).double(),
    "target": torch.randn(8, 3, generator=GENERATOR).double(),
}


def deep(activation="sigmoid"):
    torch.manual_seed(0)
    return MLP([5, 7, 6, 3], activation=activation, out=activation).double()


def half_squares(model, batch):
    return (model(batch["input"]) - batch["target"]).square().sum(1).mean() / 2


def estimated(rule, model, objective, batch):
    rule.bind(model, objective)
    rule.estimate(batch)
    found = {n: p.grad.clone() for n, p in model.named_parameters()}
    model.zero_grad()
    return found


def exact(model, objective, batch):
    value_of(objective(model, batch))["loss"].backward()
    found = {n: p.grad.clone() for n, p in model.named_parameters()}
    model.zero_grad()
    return found


def images():
    torch.manual_seed(0)
    return {"input": torch.randn(6, 1, 8, 8).double(), "target": torch.arange(6) % 3}


@pytest.mark.parametrize("tau", [0.1, 100.0])
@pytest.mark.parametrize(
    ("make", "batch"), [(deep, BATCH), (lambda: LeNet5(1, 3, 8).double(), images())]
)
def test_one_step_from_the_forward_values_is_backpropagation(make, batch, tau):
    model = make()
    objective = supervised("mse" if batch is BATCH else "cross_entropy", ["l2:0.1"])
    rule = GradientTargetPropagation(tau=tau, period=1, start="forward")
    found = estimated(rule, model, objective, batch)
    torch.testing.assert_close(found, exact(model, objective, batch))


def test_one_step_from_zero_tends_to_backpropagation_as_the_step_grows():
    model = deep()
    gradient = exact(model, half_squares, BATCH)

    def distance(tau):
        rule = GradientTargetPropagation(tau=tau, period=1, start="zero")
        found = estimated(rule, model, half_squares, BATCH)
        return max((found[n] - gradient[n]).norm().item() for n in found)

    # What is left of the forward values is h / tau, and h / tau^2 two layers down.
    assert distance(1e6) == pytest.approx(distance(1e5) / 10, rel=1e-3)
    assert distance(1e6) < 1e-5
    assert distance(1.0) > 0.1


@pytest.mark.parametrize("start", ["forward", "zero"])
def test_the_papers_iteration_by_hand(start):
    model = deep()
    tau, period = 0.3, 4
    first, second, third = (m for m in model.modules() if isinstance(m, nn.Linear))
    with torch.no_grad():
        h0 = BATCH["input"]
        x1 = first(h0)
        h1 = x1.sigmoid()
        x2 = second(h1)
        h2 = x2.sigmoid()
        x3 = third(h2)

        def target(layer, h, x, above):
            t = h if start == "forward" else torch.zeros_like(h)
            for _ in range(period):
                y = x.sigmoid()
                t = t - tau * ((y - above) * y * (1 - y)) @ layer.weight
                x = layer(t)
            return t

        t2 = target(third, h2, x3, BATCH["target"])  # of half the squares the label on top
        t1 = target(second, h1, x2, t2)
        delta2 = (h2 - t2) * h2 * (1 - h2) / (8 * tau * period)
        delta1 = (h1 - t1) * h1 * (1 - h1) / (8 * (tau * period) ** 2)
    rule = GradientTargetPropagation(tau=tau, period=period, start=start)
    found = list(estimated(rule, model, half_squares, BATCH).values())
    torch.testing.assert_close(found[2:4], [delta2.T @ h1, delta2.sum(0)])
    torch.testing.assert_close(found[0:2], [delta1.T @ h0, delta1.sum(0)])
    expected = exact(model, half_squares, BATCH)
    torch.testing.assert_close(found[4:], list(expected.values())[4:])


def test_a_small_rate_descends_until_the_layer_above_meets_its_target():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 6), nn.Linear(6, 3)).double()
    rule = GradientTargetPropagation(tau=0.5, period=2000, start="forward")
    rule.bind(model, half_squares)
    found = rule.chain.forward(BATCH["input"])
    aim = rule.descend(found, 0, BATCH["target"])
    torch.testing.assert_close(model[1](aim).detach(), BATCH["target"])


@pytest.mark.parametrize(
    "options", [{}, {"tau": 0.1, "period": 3, "start": "forward"}], ids=["default", "descent"]
)
def test_it_trains_and_resumes(options):
    rule = GradientTargetPropagation(lr=0.1, **options)
    model = make_network(dropout=0.0)
    run = fit(model, make_data(), rule=rule, epochs=30, batch_size=10, verbose=False)
    assert isinstance(rule, Rule)
    assert run.history["train_loss"][-1] < 0.6 * run.history["train_loss"][0]
    twin = copy.deepcopy(model)
    other = GradientTargetPropagation(lr=0.1, **options)
    other.bind(twin, rule.objective)
    other.load_state_dict(copy.deepcopy(rule.state_dict()))
    batch = {"input": torch.randn(6, 4), "target": torch.arange(6) % 3}
    rule.step(batch)
    other.step(batch)
    torch.testing.assert_close(model.state_dict(), twin.state_dict(), rtol=0, atol=0)


def test_it_refuses_what_it_cannot_train():
    with pytest.raises(ValueError, match="GradientTargetPropagation needs a plain chain"):
        GradientTargetPropagation().bind(nn.Sequential(nn.ReLU()), half_squares)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"tau": 0}, "tau must be positive, got 0"),
        ({"period": 0}, "period must be at least 1"),
        ({"start": "one"}, "start must be 'forward' or 'zero', got 'one'"),
    ],
)
def test_wrong_arguments_are_refused(options, why):
    with pytest.raises(ValueError, match=why):
        GradientTargetPropagation(**options)
