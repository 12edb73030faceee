"""Synthetic gradients: exact predictions are backpropagation, and predictors learn to be exact."""

import itertools

import pytest
import torch
from tests.test_every_part import UsersNetwork, images
from tests.training.conftest import make_data, make_network
from tests.training.test_resume import StopAt
from torch import nn

from neurarium.data import Data
from neurarium.learning import Rule, SyntheticGradients
from neurarium.networks import LeNet5
from neurarium.objectives import supervised
from neurarium.training import Interrupted, fit

pytestmark = pytest.mark.usefixtures("unchecked")  # a trace is of proxies, which have no shape

BATCH = {
    "input": torch.randn(8, 5, generator=torch.Generator().manual_seed(1)).double(),
    "target": torch.randn(8, 2, generator=torch.Generator().manual_seed(2)).double(),
}


def network():
    """tanh below, linear above: the slope by each hidden output is linear in it and the target."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3), nn.Linear(3, 2)).double()


def bound(rule, model, objective=None):
    rule.bind(model, objective or supervised("mse"))
    return rule


def gradients(model):
    found = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    return found


def exact_predictors(model):
    """Weights and biases of the maps from (h, target) to the slope of a row's mean squared error.

    The output is o = A h + a with A, a of the layers above, the loss of a row |o - y|^2 / 2, and
    so the slope by h is A'(A h + a - y).
    """
    (w2, b2), (w3, b3) = ((m.weight.detach(), m.bias.detach()) for m in (model[2], model[3]))
    for a, bias in ((w3 @ w2, w3 @ b2 + b3), (w3, b3)):
        yield torch.cat([a.T @ a, -a.T], 1), a.T @ bias


def test_exact_predictions_are_backpropagation():
    model = network()
    rule = bound(SyntheticGradients(), model)
    rule.estimate(BATCH)
    first = gradients(model)
    assert not any(first[n].any() for n in first if not n.startswith("3."))  # zero predicts zero
    for predictor, (weight, bias) in zip(rule.predictors, exact_predictors(model), strict=True):
        predictor.weight.data, predictor.bias.data = weight, bias
    rule.estimate(BATCH)
    found = gradients(model)
    supervised("mse")(model, BATCH).backward()
    torch.testing.assert_close(found, gradients(model))
    assert rule.step(BATCH)["agreement"].item() == pytest.approx(1)


def test_predictors_learn_the_exact_slopes():
    # The network all but stands still, so that each has one map to learn: the upper from the true
    # slope, the lower from what the upper predicts.
    model = network()
    rule = bound(SyntheticGradients("sgd", lr=1e-9, predictor_lr=1.8), model)
    assert rule.alignment(BATCH)["0"] == 0
    draws = torch.Generator().manual_seed(0)
    for step in range(500):
        x, y = (torch.randn(32, n, generator=draws).double() for n in (5, 2))
        outputs = rule.step({"input": 3 * x, "target": y})
        if not step:
            assert outputs["agreement"] == 0
    assert outputs["agreement"] > 0.999
    for predictor, (weight, _) in zip(rule.predictors, exact_predictors(model), strict=True):
        torch.testing.assert_close(predictor.weight, weight, rtol=0.05, atol=0.02)
    assert min(rule.alignment(BATCH).values()) > 0.99


def test_a_step_at_rate_one_corrects_a_row_and_is_stable_on_maps():
    rule, model = SyntheticGradients(conditional=False), network()
    row = {name: value[:1] for name, value in BATCH.items()}
    bound(rule, model)
    rule.step(row)
    torch.manual_seed(0)
    x, below = torch.randn(1, 3).double(), torch.randn(1, 3).double()
    rule._learn(rule.predictors[1], x, rule.predictors[1](x), below)
    torch.testing.assert_close(rule.predictors[1](x), below)
    maps, wanted = torch.randn(2, 2, 6, 6), torch.randn(2, 3, 6, 6)
    predictor = nn.Conv2d(2, 3, 5, padding=2)
    errors = []
    for _ in range(20):
        predicted = predictor(maps)
        errors.append((predicted - wanted).square().sum().item())
        rule._learn(predictor, maps, predicted, wanted)
    assert all(a > b for a, b in itertools.pairwise(errors))


def test_each_target_is_the_prediction_above_passed_through_one_layer():
    model = nn.Sequential(
        nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2)
    ).double()
    rule = bound(SyntheticGradients(conditional=False), model)
    rule.estimate(BATCH)
    for predictor in rule.predictors:
        nn.init.normal_(predictor.weight)
    rule.estimate(BATCH)
    h1 = model[:2](BATCH["input"])
    h2 = model[2:4](h1)
    exact = model[4](h2) - BATCH["target"]  # of a row's loss, |o - y|^2 / 2
    (seen1, below1), (seen2, below2) = rule.lessons
    torch.testing.assert_close((seen1, seen2), (h1, h2))
    torch.testing.assert_close(below2, exact @ model[4].weight)
    predicted = rule.predictors[1](h2)
    torch.testing.assert_close(below1, (predicted * (1 - h2**2)) @ model[2].weight)


def test_without_the_target_hidden_layers_do_not_see_it():
    model = network()
    rule = bound(SyntheticGradients(conditional=False), model)
    rule.estimate(BATCH)
    for predictor in rule.predictors:
        nn.init.normal_(predictor.weight)
    model.zero_grad()
    rule.estimate(BATCH)
    one = gradients(model)
    rule.estimate({**BATCH, "target": -BATCH["target"]})
    other = gradients(model)
    for name in one:
        assert torch.equal(one[name], other[name]) == (not name.startswith("3."))


def test_class_numbers_are_shown_as_unit_vectors():
    model = network()
    rule = bound(SyntheticGradients(), model, supervised("cross_entropy"))
    rule.estimate({**BATCH, "target": torch.tensor([1, 0, 0, 0, 1, 1, 0, 1])})
    torch.testing.assert_close(
        rule.lessons[0][0][:2, -2:], torch.tensor([[0.0, 1.0], [1.0, 0.0]]).double()
    )
    images_net = LeNet5(1, 3, 8)
    rule = bound(SyntheticGradients(), images_net, supervised("cross_entropy"))
    rule.estimate({"input": images(), "target": torch.arange(24) % 3})
    assert rule.lessons[0][0].shape == (24, 6 + 3, 4, 4)  # as maps of their own
    torch.testing.assert_close(rule.lessons[0][0][1, -3:, 2, 3], torch.tensor([0.0, 1.0, 0.0]))


def test_it_trains_a_convolutional_network():
    torch.manual_seed(0)
    x = images()
    data = Data((x, (x[:, 0, :, :4].mean((1, 2)) > 0).long()))
    run = fit(
        LeNet5(1, 2, 8), data, rule="synthetic_gradients", epochs=50, batch_size=8, verbose=False,
        precision="32",
    )  # fmt: skip
    assert run.evaluate("train")["accuracy"] > 0.9
    assert isinstance(SyntheticGradients(), Rule)


def test_a_resumed_run_ends_on_the_same_bytes(tmp_path):
    def train(directory, stop=0, resume=False):
        model = make_network()
        fit(
            model, make_data(), rule=SyntheticGradients(lr=0.01), epochs=3, batch_size=10,
            directory=directory, callbacks=[StopAt(stop)], resume=resume, verbose=False,
        )  # fmt: skip
        return torch.cat([p.detach().flatten() for p in model.parameters()])

    whole = train(tmp_path / "whole")
    with pytest.raises(Interrupted):
        train(tmp_path / "cut", 6)
    assert torch.equal(train(tmp_path / "cut", resume=True), whole)


def test_one_layer_needs_no_predictor():
    model = nn.Sequential(nn.Linear(5, 2)).double()
    rule = bound(SyntheticGradients(), model)
    assert rule.alignment(BATCH) == {"0": pytest.approx(1)}
    assert set(rule.step(BATCH)) == {"loss"}
    rule.load_state_dict(rule.state_dict())


def test_what_it_cannot_train_is_refused():
    with pytest.raises(ValueError, match=r"SyntheticGradients needs a plain chain .* branches"):
        bound(SyntheticGradients(), UsersNetwork())
    rule = bound(SyntheticGradients(target="label"), network())
    with pytest.raises(ValueError, match=r"shows the batch key 'label' .* found input, target"):
        rule.step(BATCH)
    with pytest.raises(ValueError, match=r"predictor_lr must lie between 0 and 2, .* got 2"):
        SyntheticGradients(predictor_lr=2)
