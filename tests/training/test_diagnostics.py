"""Measurements of layers by hand and by theory; verdicts by planted faults, and none without."""

import copy
import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from neurarium.data import Data, MinMax, load
from neurarium.learning import Backprop
from neurarium.networks import MLP, LeNet5
from neurarium.objectives import supervised
from neurarium.training import Run, fit
from neurarium.training.automatic import fit_source
from neurarium.training.diagnostics import (
    LayerStats,
    confident_joint,
    dead_units,
    diagnose,
    gradient_flow,
    suspicious_labels,
    update_ratios,
)

CROSS_ENTROPY = supervised("cross_entropy")


def rows(count=100, features=64, classes=10):
    torch.manual_seed(0)
    return {"input": torch.randn(count, features), "target": torch.arange(count) % classes}


# Gradients


@pytest.mark.parametrize("a", [0.3, 1.0, 1.7])
def test_the_ratio_of_a_deep_linear_network_is_its_weight(a):
    # delta_l = W' delta_{l+1} with W = a I, so every ratio and the rate are |a|, exactly.
    layers = [nn.Linear(6, 6) for _ in range(9)]
    for layer in layers:
        layer.weight.data = a * torch.eye(6)
    torch.manual_seed(0)
    batch = {"input": torch.randn(5, 6, dtype=torch.float64), "target": torch.randn(5, 6).double()}
    flow = gradient_flow(nn.Sequential(*layers).double(), batch, supervised("mse"))
    assert [layer.ratio for layer in flow.layers[:-1]] == pytest.approx([a] * 8, rel=1e-6)
    assert math.isnan(flow.layers[-1].ratio)
    assert flow.rate == pytest.approx(a, rel=1e-6)
    assert flow.reach == pytest.approx(a**8, rel=1e-6)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("activation", "init", "low", "high", "verdict"),
    [
        ("sigmoid", "lecun", 0.0, 0.3, "vanishing"),
        ("relu", "kaiming", 0.8, 1.25, "healthy"),
    ],
)
def test_sigmoids_lose_the_signal_and_rectifiers_of_critical_size_keep_it(
    activation, init, low, high, verdict, seed
):
    torch.manual_seed(seed)
    model = MLP([64, *[64] * 19, 10], activation=activation, init=init)
    flow = gradient_flow(model, rows(), CROSS_ENTROPY)
    assert low < flow.rate < high
    assert flow.verdict() == verdict
    assert len(flow.layers) == 20


def test_weights_that_are_too_large_explode():
    torch.manual_seed(0)
    model = MLP([64, *[64] * 19, 10], init="kaiming")
    for layer in model.layers:
        if isinstance(layer, nn.Linear):
            layer.weight.data *= 2
    assert gradient_flow(model, rows(), CROSS_ENTROPY).verdict() == "exploding"


def test_the_norms_are_those_of_autograd():
    torch.manual_seed(0)
    first, second = nn.Linear(64, 20), nn.Linear(20, 10)
    batch = rows()
    z1 = first(batch["input"])
    z2 = second(torch.tanh(z1))
    wanted = torch.autograd.grad(
        F.cross_entropy(z2, batch["target"]), [z1, z2, first.weight, second.weight]
    )
    flow = gradient_flow(nn.Sequential(first, nn.Tanh(), second), batch, CROSS_ENTROPY)
    found = [layer.delta for layer in flow.layers]
    found += [layer.weight_gradient for layer in flow.layers]
    assert found == pytest.approx([float(g.norm()) for g in wanted], rel=1e-5)
    assert flow.layers[0].mean == pytest.approx(float(z1.detach().mean()), abs=1e-6)
    assert flow.layers[0].std == pytest.approx(float(z1.detach().std(correction=0)), rel=1e-5)
    flat = (1 - torch.tanh(z1).square()).abs() < 0.01
    assert flow.layers[0].saturation == pytest.approx(float(flat.float().mean()))


class Functional(nn.Module):
    """Activations as functions, one of them in place, and a layer that is used twice."""

    def __init__(self):
        super().__init__()
        self.inner, self.outer = nn.Linear(64, 64), nn.Linear(64, 10)
        self.norm, self.drop = nn.BatchNorm1d(64), nn.Dropout(0.5)

    def forward(self, x):
        x = F.relu(self.norm(self.inner(x)), inplace=True)
        return self.outer(self.drop(torch.sigmoid(self.inner(x))))


def test_functional_activations_are_seen_and_a_shared_layer_adds_up():
    model, batch = Functional(), rows()
    with LayerStats(model) as stats:
        out = model(batch["input"])
        F.cross_entropy(out, batch["target"]).backward()
    assert list(stats.layers) == ["inner", "outer"]
    assert stats.layers["inner"].calls == 2
    assert list(stats.activations) == ["inner.relu", "inner.sigmoid"]
    assert stats.activations["inner.relu"].saturation == pytest.approx(0.5, abs=0.05)
    assert stats.activations["inner.sigmoid"].squashing
    assert not stats.activations["inner.relu"].squashing


def test_the_signals_of_a_layer_used_twice_add_up_in_squares():
    torch.manual_seed(0)
    layer, batch = nn.Linear(4, 4), torch.randn(7, 4)

    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = layer

        def forward(self, x):
            return self.layer(torch.tanh(self.layer(x)))

    first = layer(batch)
    second = layer(torch.tanh(first))
    deltas = torch.autograd.grad(second.square().mean(), [first, second])
    flow = gradient_flow(Twice(), {"input": batch, "target": torch.zeros(7, 4)}, supervised("mse"))
    wanted = math.sqrt(sum(float(delta.square().sum()) for delta in deltas))
    assert flow.layers[0].delta == pytest.approx(wanted, rel=1e-5)


def test_nothing_of_the_callers_changes():
    model, batch = Functional(), rows()
    model.eval()
    model.outer.train()
    before = copy.deepcopy(model.state_dict())
    model.inner.weight.grad = torch.ones_like(model.inner.weight)
    state = torch.get_rng_state()
    gradient_flow(model, batch, CROSS_ENTROPY)
    dead_units(model, [batch])
    diagnose(model, batch, rule=Backprop("sgd", lr=0.1), rehearsal_steps=2)
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert (model.inner.weight.grad == 1).all()
    assert model.outer.weight.grad is None
    assert (model.training, model.outer.training, model.norm.training) == (False, True, False)
    assert torch.equal(state, torch.get_rng_state())
    for module in model.modules():
        assert not module._forward_hooks
        assert not module._forward_pre_hooks


def test_hooks_are_removed_after_an_error():
    model = nn.Sequential(nn.Linear(3, 3), nn.ReLU())
    with pytest.raises(RuntimeError), LayerStats(model):
        model(torch.zeros(2, 4))
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    F.relu(torch.zeros(2, 2))  # the functions listen to nobody any more


def test_a_loss_without_a_gradient_is_refused(unchecked):
    model = nn.Linear(64, 10).requires_grad_(False)
    with pytest.raises(ValueError, match="unfreeze the layers"):
        gradient_flow(model, rows(), CROSS_ENTROPY)


# Units


@pytest.mark.parametrize("dead", [0, 1, 7])
def test_as_many_dead_units_are_found_as_were_planted(dead):
    torch.manual_seed(0)
    model = MLP([64, 20, 10])
    model.layers[0].bias.data[:dead] = -100
    found = dead_units(model, [rows()])
    assert (found.dead, found.units, found.rows) == (dead, 20, 100)
    assert list(found.layers[0].dead) == list(range(dead))
    F.cross_entropy(model(rows()["input"]), rows()["target"]).backward()
    gradient = model.layers[0].weight.grad
    assert (gradient[:dead] == 0).all()  # and no others: they are exactly those that stand still
    assert (gradient[dead:].abs().sum(1) > 0).all()


def test_leaks_keep_units_alive_and_underflow_kills_elus():
    for activation, dead in (("leaky_relu", 0), ("elu", 5), ("relu", 5)):
        model = MLP([64, 20, 10], activation=activation)
        model.layers[0].bias.data[:5] = -200  # e^-200 is 0 in float32
        assert dead_units(model, [rows()]).dead == dead


def test_a_unit_that_wakes_in_any_batch_is_alive():
    model = nn.Sequential(nn.Linear(1, 1), nn.ReLU(), nn.Linear(1, 1))
    model[0].weight.data.fill_(1)
    model[0].bias.data.fill_(-5)
    asleep, awake = torch.zeros(9, 1), torch.full((1, 1), 6.0)
    assert dead_units(model, [asleep]).dead == 1
    for order in ([asleep, awake], [awake, asleep]):
        found = dead_units(model, order)
        assert found.dead == 0
        assert found.layers[0].asleep == pytest.approx(0.9)


def test_saturated_units_are_those_whose_slope_is_small_on_every_row():
    model = MLP([64, 20, 10], activation="tanh")
    model.layers[0].bias.data[:4] = 5.0  # 1 - tanh(5)^2 is 1.8e-4, above 0 and below 0.01
    model.layers[0].weight.data[:4] *= 0.01
    (layer,) = dead_units(model, [rows()]).layers
    assert list(layer.saturated) == [0, 1, 2, 3]
    assert not layer.dead
    assert layer.squashing


def test_a_convolutions_unit_is_a_channel_over_all_places():
    model = LeNet5(image_size=12)
    model.convolutions[0].bias.data[2] = -100
    found = dead_units(model, [torch.rand(8, 1, 12, 12)])
    assert found.layers[0].units == 6
    assert list(found.layers[0].dead) == [2]


def test_an_empty_loader_is_an_error(unchecked):
    with pytest.raises(ValueError, match="pass the training rows"):
        dead_units(MLP([64, 10]), [])


# Updates


def test_the_update_ratio_of_a_plain_step_is_the_rate_times_the_gradient():
    torch.manual_seed(0)
    model, batch = MLP([64, 20, 10]), rows()
    data = Data(batch)
    flow = gradient_flow(model, batch, CROSS_ENTROPY)
    found = update_ratios(
        model, data, CROSS_ENTROPY, Backprop("sgd", lr=0.1), steps=1, batch_size=100
    )
    for layer, ratio in zip(flow.layers, found.values(), strict=True):
        weight = model.get_submodule(layer.name).weight.detach()
        assert ratio == pytest.approx(0.1 * layer.weight_gradient / float(weight.norm()), rel=1e-3)


# Labels


def test_the_confident_joint_by_hand():
    # Thresholds: class 0: (0.9 + 0.6 + 0.1) / 3 = 0.533, class 1: (0.8 + 0.7) / 2 = 0.75.
    # Row 2 is labelled 0 with p_1 = 0.9 >= 0.75: off the diagonal. Row 4 reaches none.
    p = torch.tensor([[0.9, 0.1], [0.6, 0.4], [0.1, 0.9], [0.2, 0.8], [0.3, 0.7]])
    labels = torch.tensor([0, 0, 0, 1, 1])
    assert confident_joint(p, labels).tolist() == [[2, 1], [0, 1]]
    assert suspicious_labels(p, labels).tolist() == [2]


def test_flipped_labels_are_counted_and_ranked_first():
    torch.manual_seed(0)
    true = torch.arange(600) % 3
    p = torch.softmax(6 * F.one_hot(true, 3) + torch.randn(600, 3), 1)
    flipped = torch.arange(0, 600, 20)
    labels = true.clone()
    labels[flipped] = (labels[flipped] + 1) % 3
    joint = confident_joint(p, labels)
    off = int(joint.sum() - joint.diag().sum())
    assert off / int(joint.sum()) == pytest.approx(0.05, abs=0.01)
    assert set(suspicious_labels(p, labels)[:20].tolist()) <= set(flipped.tolist())


def test_a_class_without_rows_is_no_trap():
    p = torch.tensor([[0.1, 0.2, 0.7], [0.6, 0.3, 0.1]])
    assert confident_joint(p, torch.tensor([0, 0])).sum() == 1


# Verdicts


@pytest.fixture(scope="module")
def digits():
    data = load("digits")
    data.transform = MinMax(torch.tensor(0.0), torch.tensor(16.0))
    return data


def changed(data, **changes):
    arguments = {
        "train": data.train, "val": data.val, "task": data.task, "classes": data.classes,
        "transform": data.transform,
    }  # fmt: skip
    return Data(**{**arguments, **changes})


def trained(data, model, rule, epochs=8, **arguments):
    run = fit(model, data, None, rule, epochs=epochs, seed=0, threads=1, verbose=False, **arguments)
    return diagnose(run, rule=rule, rehearsal_steps=90)


def sgd(lr=0.05):
    return Backprop("sgd:momentum=0.9", lr=lr)


def network(**arguments):
    torch.manual_seed(0)
    return MLP([64, 100, 100, 10], **arguments)


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_a_healthy_digits_network_has_nothing(digits, activation, unchecked):
    found = trained(digits, network(activation=activation), sgd(), epochs=20)
    assert found.names == []
    assert found.lines() == [
        f"No fault found in {sum(c.found is False for c in found.checks)} checks."
    ]
    assert all(1e-4 < ratio < 1e-1 for ratio in found.updates.values())


def test_a_healthy_lenet_on_mnist_has_nothing(data_path, monkeypatch, unchecked):
    monkeypatch.setenv("NEURARIUM_DATA", str(data_path("mnist").parent))
    mnist = load("mnist")
    scaled = MinMax(torch.tensor(0.0), torch.tensor(255.0))
    data = changed(mnist, train=mnist.train.head(1000), val=mnist.val.head(500), transform=scaled)
    torch.manual_seed(0)
    assert trained(data, LeNet5(), Backprop("adam", lr=3e-3), epochs=5).names == []


def test_a_healthy_regression_has_nothing(unchecked):
    data = load("diabetes")
    torch.manual_seed(0)
    assert trained(data, MLP([10, 50, 1]), Backprop("adam", lr=3e-3), epochs=30).names == []


def test_deep_sigmoids_vanish(digits, unchecked):
    torch.manual_seed(0)
    model = MLP([64, *[32] * 10, 10], activation="sigmoid")
    found = trained(digits, model, sgd(), epochs=3)
    assert {"vanishing gradients", "one answer for everything", "underfitting"} <= set(found.names)
    assert found["vanishing gradients"].value < 1e-6
    assert "init='kaiming'" in str(found)


def test_doubled_weights_explode(digits, unchecked):
    torch.manual_seed(0)
    model = MLP([64, *[64] * 19, 10], init="kaiming")
    for layer in model.layers:
        if isinstance(layer, nn.Linear):
            layer.weight.data *= 2
    found = diagnose(model, digits, rehearsal_steps=0)
    assert "exploding gradients" in found.names
    assert "vanishing gradients" not in found.names


def test_dead_units_are_named_as_the_cause(digits, unchecked):
    model = network()
    model.layers[0].bias.data.fill_(-1000)
    found = diagnose(model, digits, rehearsal_steps=0)
    assert "dead units" in found.names
    assert "vanishing gradients" not in found.names  # a consequence
    assert found["dead units"].value == 1


def test_a_rate_far_too_high_is_seen(digits, unchecked):
    found = trained(digits, network(), sgd(3.0), epochs=4)
    assert {"learning rate too high", "dead units"} <= set(found.names)
    assert found["learning rate too high"].value > 0.5


@pytest.mark.parametrize("rule", [Backprop("sgd", lr=1e-4), Backprop("adam", lr=1e-6)])
def test_a_rate_far_too_low_is_seen(digits, rule, unchecked):
    found = trained(digits, network(), rule, epochs=5)
    assert {"learning rate too low", "underfitting"} <= set(found.names)
    assert "learning rate too high" not in found.names


def test_an_optimizer_object_can_be_tried_with_another_rate(digits, unchecked):
    model = network()
    rule = Backprop(torch.optim.SGD(model.parameters(), lr=1e-4))
    assert "learning rate too low" in trained(digits, model, rule, epochs=5).names


def test_weight_decay_that_holds_the_weights_down_is_seen(digits, unchecked):
    rule = Backprop("adamw", lr=0.01, weight_decay=10.0)  # each step takes a tenth of each weight
    found = trained(digits, network(), rule, epochs=5)
    assert "weight decay too strong" in found.names
    check = found["weight decay too strong"]
    assert not trained(digits, network(), Backprop("adamw", lr=1e-5, weight_decay=0.1), epochs=5)[
        check.name
    ].found


def test_saturated_units_are_seen(digits, unchecked):
    model = network(activation="tanh")
    for layer in model.layers:
        if isinstance(layer, nn.Linear):
            layer.weight.data *= 50
    found = trained(digits, model, sgd(0.01), epochs=2)
    assert "saturated units" in found.names
    assert "label noise suspected" not in found.names


def test_inputs_in_raw_units_are_seen(digits, unchecked):
    raw = changed(digits, transform=MinMax(torch.tensor(0.0), torch.tensor(16 / 255)))
    found = diagnose(network(), raw, rehearsal_steps=0)
    assert "inputs not scaled" in found.names
    normalized = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(64), nn.Linear(64, 10))
    assert "inputs not scaled" not in diagnose(normalized, raw, rehearsal_steps=0).names


def test_one_column_in_other_units_is_seen(unchecked):
    torch.manual_seed(0)
    x = torch.randn(200, 8)
    y = (x[:, 0] > 0).long()
    assert "inputs not scaled" not in diagnose(MLP([8, 9, 2]), (x, y)).names
    x[:, 3] *= 1000
    assert "inputs not scaled" in diagnose(MLP([8, 9, 2]), (x, y)).names


def test_one_answer_for_everything_is_seen(digits, unchecked):
    model = network()
    model.layers[-1].bias.data[3] = 100
    found = diagnose(model, digits, rehearsal_steps=0)
    assert "100.0% of the training rows are called 3" in found["one answer for everything"].figure


def noisy(data, share):
    generator = torch.Generator().manual_seed(0)

    def flipped(split):
        target = split.tensors["target"].clone()
        chosen = torch.rand(len(target), generator=generator) < share
        target[chosen] = (target[chosen] + 1 + torch.arange(int(chosen.sum())) % 9) % 10
        return {"input": split.tensors["input"], "target": target}

    return changed(data, train=flipped(data.train), val=flipped(data.val))


@pytest.mark.parametrize("share", [0.1, 0.3])
def test_label_noise_is_suspected_where_it_was_planted(digits, share, unchecked):
    data = noisy(digits, share)
    found = trained(data, network(), sgd(), epochs=15)
    check = found["label noise suspected"]
    assert check.found
    assert check.value == pytest.approx(share, abs=0.05)
    wrong = data.val.tensors["target"] != digits.val.tensors["target"]
    assert check.split == "val"
    assert wrong[list(check.rows[:10])].float().mean() >= 0.9


def test_classes_that_overlap_are_no_label_noise(unchecked):
    torch.manual_seed(0)
    x, y = torch.randn(1500, 2), torch.randint(2, (1500,))
    x[:, 0] += 1.7 * y
    data = Data((x[:1000], y[:1000]), (x[1000:], y[1000:]))
    found = trained(data, MLP([2, 50, 2]), Backprop("adam", lr=3e-3), epochs=30)
    assert found.names == []
    assert found["label noise suspected"].value > 0.05  # what counting alone would accuse


def test_a_few_rows_are_overfitted(digits, unchecked):
    data = changed(digits, train=digits.train.head(60))
    found = trained(data, network(), sgd(), epochs=60, batch_size=20)
    assert found.names == ["overfitting"]


def test_a_bottleneck_underfits(digits, unchecked):
    torch.manual_seed(0)
    found = trained(digits, MLP([64, 2, 10]), sgd(), epochs=15)
    assert found.names == ["underfitting"]
    assert "linear model" in found["underfitting"].figure


# The call


def test_a_loaded_run_of_fit_source_knows_its_rule(tmp_path, unchecked):
    run = fit_source(
        load("iris"), network="MLP:hidden=16", epochs=3, lr=1e-5, directory=tmp_path, verbose=False
    )
    found = diagnose(run)
    assert "learning rate too low" in found.names
    loaded = Run.load(tmp_path).attach(run.data)
    assert diagnose(loaded).json() == found.json()


def test_what_is_missing_is_said(digits, unchecked):
    with pytest.raises(ValueError, match=r"run\.attach"):
        diagnose(network())
    sequences = Data((torch.randn(40, 5, 3), torch.zeros(40, 5, dtype=torch.long)))
    with pytest.raises(ValueError, match="pass the objective"):
        diagnose(nn.Linear(3, 2), sequences)


def test_an_unusual_task_is_checked_as_far_as_it_goes(unchecked):
    sequences = Data((torch.randn(40, 5, 3), torch.zeros(40, 5, dtype=torch.long)))
    objective = supervised(lambda output, target: (output.mean(-1) - target).square().mean())
    found = diagnose(nn.Linear(3, 2), sequences, objective, Backprop("sgd", lr=0.1))
    assert found["dead units"].found is None
    assert found["label noise suspected"].found is None


def test_weights_that_are_not_finite_are_no_crash(digits, unchecked):
    model = network()
    model.layers[0].weight.data.fill_(math.nan)
    found = diagnose(model, digits, rule=sgd(3.0))
    assert "learning rate too high" in found.names
    assert "one answer for everything" in found.names


def test_streams_are_diagnosed(unchecked):
    torch.manual_seed(0)
    x = torch.randn(128, 5)
    batches = [(part, (part[:, 0] > 0).long()) for part in x.split(32)]
    found = diagnose(MLP([5, 16, 2]), Data(batches, task="binary"), rule=Backprop("adam", lr=1e-2))
    assert found["dead units"].found is False


def test_the_json_holds_plain_values(digits, unchecked):
    import json

    found = diagnose(network(), digits, rehearsal_steps=0)
    assert json.loads(json.dumps(found.json()))["findings"] == found.names
