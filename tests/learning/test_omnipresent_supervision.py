"""Discriminant information: what it is of a regression, of a unit, and as every layer's teacher."""

import copy

import pytest
import torch
from torch import nn

from neurarium.data import load
from neurarium.learning import (
    Backprop,
    OmnipresentSupervision,
    Rule,
    discriminant_information,
    discriminant_scores,
)
from neurarium.networks import MLP
from neurarium.objectives import supervised


def classified(rows=40, features=6, classes=4):
    torch.manual_seed(0)
    labels = torch.arange(rows) % classes
    means = torch.randn(classes, features, dtype=torch.float64)
    return means[labels] + torch.randn(rows, features, dtype=torch.float64), labels


def left_over(x, labels, rho):
    """min |X W - Y|^2 + rho |W|^2, solved as ordinary least squares with rows for the ridge."""
    x = x - x.mean(0)
    y = nn.functional.one_hot(labels).double()
    y = y / y.sum(0).sqrt()
    y = y - y.mean(0)
    d = x.shape[1]
    padded = torch.cat([x, rho**0.5 * torch.eye(d).double()])
    wished = torch.cat([y, torch.zeros(d, y.shape[1]).double()])
    found = torch.linalg.lstsq(padded, wished).solution
    return (padded @ found - wished).square().sum(), y.square().sum()


@pytest.mark.parametrize("rho", [0.1, 1.0, 30.0])
def test_it_is_what_ridge_regression_to_the_classes_explains(rho):
    x, labels = classified()
    rest, whole = left_over(x, labels, rho)
    assert whole == pytest.approx(3)  # classes - 1
    information = discriminant_information(x, labels, rho)
    torch.testing.assert_close(information, whole - rest, rtol=1e-10, atol=1e-10)


def test_on_the_digits_it_has_the_measured_value():
    digits = load("digits", val_size=0)
    x = digits.train.tensors["input"].double().flatten(1)
    labels = digits.train.tensors["target"]
    for scaled, known in ((x, None), (x / 16, 3.1063634)):
        rest, whole = left_over(scaled, labels, 1.0)
        found = discriminant_information(scaled, labels)
        torch.testing.assert_close(found, whole - rest, rtol=1e-9, atol=1e-9)
        if known is not None:
            assert 9 - found.item() == pytest.approx(known, abs=1e-6)


def test_it_is_bounded_by_the_classes_and_by_the_features():
    x, labels = classified()
    whole = discriminant_information(nn.functional.one_hot(labels).double(), labels, 1e-9)
    assert whole.item() == pytest.approx(3)
    assert 0 < discriminant_information(x[:, :1], labels, 1e-9) < 1
    assert discriminant_information(x, torch.zeros_like(labels)) == pytest.approx(0)
    # class numbers are names
    torch.testing.assert_close(
        discriminant_information(x, labels), discriminant_information(x, 10 - 2 * labels)
    )


def test_gradients_are_those_of_differences():
    x, labels = classified(12, 3, 3)
    torch.autograd.gradcheck(
        lambda x: discriminant_information(x, labels, 0.5), x.requires_grad_(), atol=1e-6
    )


def test_a_score_is_what_the_removal_of_the_feature_loses():
    x, labels = classified()
    scores = discriminant_scores(x, labels, 0.3)
    whole = discriminant_information(x, labels, 0.3)
    for j in range(6):
        without = torch.cat([x[:, :j], x[:, j + 1 :]], 1)
        lost = whole - discriminant_information(without, labels, 0.3)
        torch.testing.assert_close(scores[j], lost, rtol=1e-8, atol=1e-10)
    twins = torch.cat([x, x[:, :1]], 1)
    assert discriminant_scores(twins, labels, 1e-3)[[0, 6]].max() < scores[0] / 50


# The rule -----------------------------------------------------------------------------------------


def bound(weight, model=None, seed=0):
    torch.manual_seed(seed)
    model = model or MLP([6, 5, 4, 4], activation="tanh").double()
    rule = OmnipresentSupervision("sgd:momentum=0.9", lr=0.05, weight=weight)
    rule.bind(model, supervised("cross_entropy"))
    return rule


def batch():
    x, labels = classified()
    return {"input": x, "target": labels}


@pytest.mark.usefixtures("unchecked")
def test_without_weight_it_is_backpropagation():
    rule = bound(0.0)
    other = copy.deepcopy(rule.model)
    plain = Backprop("sgd:momentum=0.9", lr=0.05)
    plain.bind(other, supervised("cross_entropy"))
    for _ in range(3):
        rule.step(batch())
        plain.step(batch())
    for a, b in zip(rule.model.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


@pytest.mark.usefixtures("unchecked")
def test_each_layer_hears_of_its_own_information_alone():
    rule, data = bound(0.7), batch()
    values = rule.estimate(data)
    layers = [m for m in rule.model.layers if isinstance(m, nn.Linear)]
    found = [layer.weight.grad.clone() for layer in layers]
    x, information = data["input"], []
    for index, layer in enumerate(layers):
        loss = nn.functional.cross_entropy(rule.model(data["input"]), data["target"])
        (expected,) = torch.autograd.grad(loss, layer.weight)
        if index < 2:
            x = torch.tanh(layer(x.detach()))  # nothing reaches the layer below
            information.append(discriminant_information(x, data["target"]))
            expected -= 0.7 * torch.autograd.grad(information[-1], layer.weight)[0]
        torch.testing.assert_close(found[index], expected, rtol=1e-10, atol=1e-12)
    mean = sum(information).detach() / 2
    torch.testing.assert_close(values["discriminant_information"], mean)


@pytest.mark.usefixtures("unchecked")
def test_hidden_layers_tell_the_classes_apart_better_than_by_the_loss_alone():
    told = {}
    for weight in (0.0, 0.5):
        rule = bound(weight)
        for _ in range(60):
            figures = rule.step(batch())
        told[weight] = figures["discriminant_information"].item()
    assert told[0.5] > told[0.0] + 0.2


@pytest.mark.usefixtures("unchecked")
def test_it_is_a_rule_and_goes_on_exactly_where_it_stopped():
    rule = bound(0.3)
    assert isinstance(rule, Rule)
    rule.step(batch())
    resumed = bound(0.3, copy.deepcopy(rule.model))
    resumed.load_state_dict(copy.deepcopy(rule.state_dict()))
    for _ in range(2):
        rule.step(batch())
        resumed.step(batch())
    for a, b in zip(rule.model.parameters(), resumed.model.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.usefixtures("unchecked")
def test_alignment_is_one_where_only_the_loss_speaks():
    cosines = bound(0.3).alignment(batch())
    *hidden, last = cosines.values()
    assert last == pytest.approx(1)
    assert all(cosine < 0.9999 for cosine in hidden)
    assert min(bound(0.0).alignment(batch()).values()) == pytest.approx(1)


@pytest.mark.usefixtures("unchecked")
def test_convolutions_are_told_too():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(8, 4)
    )
    rule = bound(0.3, model)
    data = {"input": torch.randn(40, 1, 6, 6), "target": torch.arange(40) % 4}
    plain = bound(0.0, copy.deepcopy(model))
    rule.step(data)
    plain.step(data)
    assert torch.equal(model[4].weight, plain.model[4].weight)
    assert not torch.equal(model[0].weight, plain.model[0].weight)


@pytest.mark.usefixtures("unchecked")
def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match="this Linear has none; take Backprop"):
        bound(0.1, nn.Linear(6, 4))
    with pytest.raises(ValueError, match=r"and found torch\.float64 of"):
        bound(0.1).step({**batch(), "target": torch.randn(40, 4, dtype=torch.float64)})
    with pytest.raises(ValueError, match="weight must be at least 0, got -1"):
        OmnipresentSupervision(weight=-1.0)
    with pytest.raises(ValueError, match="rho must be positive, got 0"):
        OmnipresentSupervision(rho=0.0)
    x, labels = classified()
    with pytest.raises(ValueError, match="rho must be positive"):
        discriminant_information(x, labels, 0.0)
    with pytest.raises(ValueError, match=r"got shapes \(39,\) and \(40, 6\)"):
        discriminant_scores(x, labels[1:])
