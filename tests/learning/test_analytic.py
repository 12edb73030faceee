"""The written-out steps are Backprop's own, whatever happens to the model in between."""

import copy

import pytest
import torch
from torch import nn

from neurarium.data import Data
from neurarium.learning import Analytic, Backprop
from neurarium.learning.analytic import spare_autograd
from neurarium.networks import MLP, LeNet5
from neurarium.objectives import supervised
from neurarium.training import callbacks, fit


def twins(loss="cross_entropy", outputs=3, **options):
    torch.manual_seed(0)
    model = MLP([5, 7, 6, outputs], **options).double()
    target = torch.arange(8) % 3 if loss == "cross_entropy" else torch.randn(8, outputs).double()
    return model, copy.deepcopy(model), {"input": torch.randn(8, 5).double(), "target": target}


def trained(rule, model, objective, batch, steps=5):
    rule.bind(model, objective)
    return [rule.step(batch)["loss"].item() for _ in range(steps)]


def assert_same(model, twin):
    for a, b in zip(model.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("activation", ["relu", "tanh", "sigmoid", "swish:beta=2", "identity"])
@pytest.mark.parametrize("loss", ["cross_entropy", "mse"])
def test_steps_are_those_of_backprop(activation, loss):
    model, twin, batch = twins(loss, activation=activation)
    options = {"optimizer": "sgd:momentum=0.9", "lr": 0.1}
    found = trained(Analytic(**options), model, supervised(loss), batch)
    expected = trained(Backprop(**options), twin, supervised(loss), batch)
    assert found == pytest.approx(expected, rel=1e-10)
    assert_same(model, twin)


@pytest.mark.parametrize(
    "options",
    [
        {"optimizer": "adamw", "lr": 0.01, "weight_decay": 0.3},  # of weights only
        {"optimizer": "adam", "lr": 0.01, "schedule": "cosine", "total_steps": 6},
        {"optimizer": "sgd", "lr": 0.5, "max_grad_norm": 0.05},
        {"optimizer": "sgd", "lr": 0.5, "max_grad_value": 0.01},
        {"optimizer": "rmsprop", "lr": 0.01},
    ],
)
def test_decay_schedule_and_clipping_are_those_of_backprop(options):
    model, twin, batch = twins()
    trained(Analytic(**options), model, supervised("cross_entropy"), batch)
    trained(Backprop(**options), twin, supervised("cross_entropy"), batch)
    assert_same(model, twin)


@pytest.mark.parametrize("outputs", [{"bias": False}, {"out": "sigmoid"}])
def test_layers_without_bias_and_output_units(outputs):
    model, twin, batch = twins("mse", **outputs)
    trained(Analytic("sgd", lr=0.1), model, supervised("mse"), batch)
    trained(Backprop("sgd", lr=0.1), twin, supervised("mse"), batch)
    assert_same(model, twin)


def test_one_output_meets_a_target_without_an_axis():
    model, twin, batch = twins("mse", outputs=1)
    batch["target"] = batch["target"].squeeze(1)
    trained(Analytic("sgd", lr=0.1), model, supervised("mse"), batch)
    trained(Backprop("sgd", lr=0.1), twin, supervised("mse"), batch)
    assert_same(model, twin)


def test_alignment_is_one_and_leaves_no_gradient():
    model, _, batch = twins()
    rule = Analytic(lr=0.01)
    rule.bind(model, supervised("cross_entropy"))
    before = copy.deepcopy(model.state_dict())
    assert list(rule.alignment(batch).values()) == pytest.approx([1, 1, 1])
    assert all(torch.equal(model.state_dict()[n], v) for n, v in before.items())
    rule.step(batch)
    assert all(p.grad is None for p in model.parameters())


def test_weights_loaded_copied_or_replaced_are_what_it_goes_on_from():
    model, twin, batch = twins()
    objective = supervised("cross_entropy")
    other = MLP([5, 7, 6, 3]).double()
    rules = Analytic("sgd", lr=0.1), Backprop("sgd", lr=0.1)
    for rule, network in zip(rules, (model, twin), strict=True):
        rule.bind(network, objective)
        rule.step(batch)
        network.load_state_dict(other.state_dict())
        rule.step(batch)
        for parameter in network.parameters():
            parameter.data = parameter.data * 0.9  # no view of anything
        rule.step(batch)
        rule.step(batch)
    assert_same(model, twin)
    clone = copy.deepcopy(model)
    with torch.no_grad():
        next(clone.parameters()).zero_()
    assert_same(model, twin)


def test_it_resumes_bit_for_bit():
    model, _, batch = twins()
    objective = supervised("cross_entropy")
    rule = Analytic("adam", lr=0.01)
    trained(rule, model, objective, batch, 3)
    saved, weights = copy.deepcopy(rule.state_dict()), copy.deepcopy(model.state_dict())
    rule.step(batch)
    again, resumed = twins()[0], Analytic("adam", lr=0.01)
    resumed.bind(again, objective)
    again.load_state_dict(weights)
    resumed.load_state_dict(saved)
    resumed.step(batch)
    assert all(
        torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True)
    )


def test_fit_with_callbacks_gives_what_backprop_gives():
    results = []
    for kind in (Analytic, Backprop):
        torch.manual_seed(0)
        data = Data(
            (torch.randn(40, 5), torch.arange(40) % 3), (torch.randn(9, 5), torch.arange(9) % 3)
        )
        run = fit(
            MLP([5, 8, 3]), data, rule=kind("adam", lr=0.01), epochs=3, batch_size=8, seed=0,
            callbacks=[callbacks.EMA()], verbose=False, precision="32",
        )  # fmt: skip
        results.append(run.history["train_loss"] + [p.sum().item() for p in run.model.parameters()])
    assert results[0] == pytest.approx(results[1], rel=1e-4, abs=1e-5)


class Scaled(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale, self.layer = nn.Parameter(torch.ones(1)), nn.Linear(5, 3)

    def forward(self, x):
        return self.layer(x)


def frozen():
    model = MLP([5, 4, 3])
    model.layers[0].weight.requires_grad_(False)
    return model


CE = supervised("cross_entropy")


@pytest.mark.parametrize(
    ("model", "objective", "message"),
    [
        (LeNet5(), CE, "is a Conv2d"),
        (MLP([5, 4, 3], dropout=0.5), CE, "followed by ReLU, Dropout"),
        (MLP([5, 4, 3], dropout=0.5).eval(), CE, "draws nothing at random"),
        (MLP([5, 4, 3], activation="rrelu"), CE, "draws its slopes at random"),
        (MLP([5, 4, 3], activation="rrelu").eval(), CE, "draws nothing at random"),
        (MLP([5, 4, 3], norm="batch"), CE, "parameters of its own"),
        (Scaled(), CE, "has other or shared parameters"),
        (frozen(), CE, r"layers\.0\.weight is frozen"),
        (MLP([5, 3]), supervised("huber"), "needs the objective supervised"),
        (MLP([5, 3]), supervised("cross_entropy:label_smoothing=0.1"), "without options"),
        (MLP([5, 3]), supervised("mse", ["l2:0.1"]), "knows no penalties"),
        (MLP([5, 3]), lambda model, batch: model(batch["input"]).mean(), "needs the objective"),
    ],
)
def test_what_it_cannot_train_is_refused(model, objective, message):
    with pytest.raises(ValueError, match=message):
        Analytic(lr=0.1).bind(model, objective)


def test_any_optimizer_and_parts_of_batches_give_the_same():
    for options in (
        {"optimizer": "LAMB", "lr": 0.1},
        {"lr": 0.1, "gradient_accumulation_steps": 3},
    ):
        model, twin, batch = twins()
        trained(Analytic(**options), model, CE, batch)
        trained(Backprop(**options), twin, CE, batch)
        assert_same(model, twin)


def test_ignored_targets_have_no_slope():
    model, twin, batch = twins()
    batch["target"][:3] = -100
    trained(Analytic("sgd", lr=0.1), model, CE, batch)
    trained(Backprop("sgd", lr=0.1), twin, CE, batch)
    assert_same(model, twin)


# What fit does by itself


def spared(model, objective=CE):
    rule = Backprop("sgd", lr=0.1)
    rule.bind(model, objective)
    spare_autograd(rule, model, objective)
    return rule


def test_fit_spares_autograd_where_it_can():
    x, y = torch.randn(40, 5), torch.arange(40) % 3
    rules = []
    for model in (
        MLP([5, 8, 3]),
        nn.Sequential(nn.Linear(5, 3)),
        Scaled(),
        MLP([5, 4, 3], dropout=0.5),
    ):
        run = fit(model, Data((x, y)), rule=Backprop("adam", lr=0.01), epochs=1, verbose=False)
        rules.append(run.rule.by_hand is not None)
    assert rules == [True, True, False, False]


def test_without_autograd_the_bytes_are_the_same():
    model, twin, batch = twins()
    rules = spared(model), Backprop("sgd", lr=0.1)
    rules[1].bind(twin, CE)
    for rule in rules:
        for _ in range(5):
            rule.step(batch)
    assert rules[0].by_hand is not None
    assert all(
        torch.equal(a, b) for a, b in zip(model.parameters(), twin.parameters(), strict=True)
    )


def test_layers_applied_to_every_place_go_to_autograd():
    model = nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 2))
    x, y = torch.randn(12, 3, 5), torch.randn(12, 3, 2)
    run = fit(model, Data((x, y)), supervised("mse"), Backprop("sgd", lr=0.1), epochs=1,
              verbose=False)  # fmt: skip
    assert run.history["train_loss"][0] > 0
    rule = Analytic("sgd", lr=0.1)
    rule.bind(model, supervised("mse"))
    with pytest.raises(ValueError, match="needs rows of numbers"):
        rule.step({"input": x, "target": y})


def test_who_listens_inside_the_model_hears():
    model, _, batch = twins()
    rule, heard = spared(model), []
    handle = model.layers[0].register_forward_hook(lambda *_: heard.append("forward"))
    rule.step(batch)
    handle.remove()
    rule.step(batch)
    assert heard == ["forward"]


def test_soft_targets_go_to_autograd():
    model, twin, batch = twins()
    batch["target"] = torch.rand(8, 3).double().softmax(1)
    rule, other = spared(model), Backprop("sgd", lr=0.1)
    other.bind(twin, CE)
    assert torch.equal(rule.step(batch)["loss"], other.step(batch)["loss"])
    assert_same(model, twin)


def test_a_forward_pass_of_ones_own_is_left_alone():
    class Counting(nn.Sequential):
        calls = 0

        def forward(self, x):
            self.calls += 1
            return super().forward(x)

    assert spared(Counting(nn.Linear(5, 3))).by_hand is None


def test_soft_targets_and_autocast_are_refused_at_the_step():
    model, _, batch = twins()
    rule = Analytic(lr=0.1)
    rule.bind(model, CE)
    with pytest.raises(ValueError, match="class numbers"):
        rule.step({**batch, "target": torch.rand(8, 3).double()})
    with torch.autocast("cpu"), pytest.raises(RuntimeError, match="not under autocast"):
        rule.step(batch)
