"""One update puts an example right; the whole is normalized least mean squares."""

import pytest
import torch
from sklearn.preprocessing import KBinsDiscretizer
from tests.training.test_resume import StopAt
from torch import nn

from neurarium.data import Data
from neurarium.layers import PNeuron
from neurarium.learning import PANNRule, Rule
from neurarium.objectives import supervised
from neurarium.training import Interrupted, fit

SQUARES = supervised("quadratic_cost")


def example(rows=1, inputs=6, outputs=4):
    torch.manual_seed(1)
    x = torch.rand(rows, inputs, dtype=torch.float64)
    return {"input": x, "target": torch.randn(rows, outputs, dtype=torch.float64)}


def filled():
    layer = PNeuron(6, 4, 5).double()
    torch.manual_seed(0)
    nn.init.normal_(layer.weight)
    return layer


def bound(rule, model, objective=SQUARES):
    rule.bind(model, objective)
    return rule


@pytest.mark.parametrize(("lr", "left"), [(1.0, 0.0), (0.25, 0.75), (1.5, -0.5)])
def test_an_update_leaves_one_minus_lr_of_the_examples_error(lr, left):
    layer, batch = filled(), example()
    error = batch["target"] - layer(batch["input"])
    rule = bound(PANNRule(lr), layer)
    assert isinstance(rule, Rule)
    loss = rule.step(batch)["loss"]
    torch.testing.assert_close(loss, error.square().sum() / 2)  # before the step
    torch.testing.assert_close(batch["target"] - layer(batch["input"]), left * error)


def test_only_the_picked_weights_move_and_by_equal_parts():
    layer, batch = filled(), example()
    before = layer.weight.detach().clone()
    bound(PANNRule(), layer).step(batch)
    change = layer.weight.detach() - before
    picked = layer.selected(batch["input"])[0]
    moved = change.abs().sum(1).nonzero().flatten()
    assert moved.tolist() == picked.tolist()
    for row in change[picked]:
        torch.testing.assert_close(row, change[picked[0]])


def test_a_pass_is_normalized_least_mean_squares_on_one_hot_bins():
    layer, batch = filled(), example(rows=40)
    batch["input"][0], batch["input"][1] = 0, 1  # the peer takes its range from the data
    bins = KBinsDiscretizer(5, encode="onehot-dense", strategy="uniform", subsample=None)
    hot = torch.from_numpy(bins.fit_transform(batch["input"].numpy()))
    w = layer.weight.detach().clone()
    for h, t in zip(hot, batch["target"], strict=True):
        w += 0.7 * torch.outer(h, t - h @ w) / (h @ h)
    bound(PANNRule(0.7), layer).step(batch)
    torch.testing.assert_close(layer.weight.detach(), w)


def test_class_numbers_are_one_for_their_unit_and_zero_for_others():
    layer = filled()
    x = example()["input"]
    bound(PANNRule(), layer, supervised("cross_entropy")).step(
        {"input": x, "target": torch.tensor([2])}
    )
    torch.testing.assert_close(layer(x), torch.tensor([[0.0, 0, 1, 0]]).double())


def test_one_examples_step_is_a_descent_of_its_squared_error():
    # The gradient of half the squares by the picked weights is minus the error: all one direction.
    layer, batch = filled(), example()
    rule = bound(PANNRule(), nn.Sequential(nn.Flatten(), layer))
    before = layer.weight.detach().clone()
    assert rule.alignment(batch) == {"1": pytest.approx(1)}
    assert torch.equal(layer.weight, before)


def test_it_trains_and_resumes_to_the_same_bytes(tmp_path):
    torch.manual_seed(0)
    x = torch.rand(60, 6)
    data = Data((x, (x[:, 0] > 0.5).long() + (x[:, 1] > 0.5).long()))

    def train(folder, stop=0, resume=False):
        model = nn.Sequential(nn.Flatten(), PNeuron(6, 3, 4))
        run = fit(
            model, data, supervised("cross_entropy"), PANNRule(0.3), epochs=10, batch_size=15,
            directory=folder, callbacks=[StopAt(stop)], resume=resume, verbose=False,
        )  # fmt: skip
        return run, model[1].weight.detach().clone()

    run, whole = train(tmp_path / "whole")
    assert run.evaluate("train")["accuracy"] > 0.9
    with pytest.raises(Interrupted):
        train(tmp_path / "cut", 6)
    assert torch.equal(train(tmp_path / "cut", resume=True)[1], whole)


@pytest.mark.parametrize(
    ("model", "named"),
    [
        (nn.Linear(3, 2), "weight, bias"),
        (nn.Sequential(PNeuron(3, 4), PNeuron(4, 2)), "0.weight, 1.weight"),
        (nn.Sequential(nn.Linear(3, 3), PNeuron(3, 2)), "0.weight, 0.bias, 1.weight"),
        (PNeuron(3, 2).requires_grad_(False), "none"),
    ],
)
def test_other_models_are_refused(model, named, unchecked):
    with pytest.raises(ValueError, match=rf"parameters of this \w+ are {named}; take nn.Seq"):
        PANNRule().bind(model, SQUARES)


def test_inputs_that_are_not_scaled_and_wrong_rates_are_refused():
    rule, batch = bound(PANNRule(), filled()), example()
    with pytest.raises(ValueError, match=r"inputs lie between 0\.\d+ and 8\.\d+; scale them"):
        rule.step({**batch, "input": 16 * batch["input"]})
    for lr in (0, 2):
        with pytest.raises(ValueError, match="lr must lie between 0 and 2"):
            PANNRule(lr)
