"""Small perceptrons in NumPy: autograd's slopes, torch's steps, and its way where they differ."""

import copy
import itertools

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from neurarium import activations, losses
from neurarium.data import Data
from neurarium.learning import Backprop, NonFiniteError
from neurarium.learning.flat_backprop import FlatBackprop, find_flat
from neurarium.learning.perceptron_in_numpy import PerceptronInNumpy
from neurarium.networks import MLP
from neurarium.objectives import supervised
from neurarium.training import Callback, fit

CLASSES, NUMBERS = supervised("cross_entropy"), supervised("mse")


class Watching(Callback):
    """Looks at single steps, so that every step is torch's."""

    def on_train_batch_end(self, trainer, outputs, batch, batch_idx):
        assert outputs["loss"].isfinite()


@pytest.fixture
def steps(monkeypatch):
    """How many steps were made on the vectors."""
    made = []
    step = FlatBackprop.step
    monkeypatch.setattr(
        FlatBackprop, "step", lambda self, batch: step(self, batch) and not made.append(1)
    )
    return made


def make_data(task="classes", rows=100, dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(rows, 6, generator=generator, dtype=dtype)
    z = x @ torch.randn(6, 3, generator=generator, dtype=dtype)
    return Data((x, z.argmax(1) if task == "classes" else z), task=None)


def train(rule, data, objective=CLASSES, activation="relu", callbacks=(), dtype=None, **options):
    torch.manual_seed(0)
    network = MLP([6, 8, 5, 3], activation=activation, **options).to(dtype)
    return fit(
        network, data, objective, rule, epochs=4, batch_size=16, callbacks=callbacks,
        precision="32", verbose=False,
    )  # fmt: skip


def same(first, second, tolerance):
    assert first.history["train_loss"] == pytest.approx(second.history["train_loss"], rel=1e-5)
    for (name, p), q in zip(first.model.named_parameters(), second.model.parameters(), strict=True):
        torch.testing.assert_close(
            p, q, rtol=tolerance, atol=tolerance, msg=lambda m, n=name: n + m
        )


# The mathematics


@pytest.mark.parametrize("networks", [(), (4,)], ids=["one", "four side by side"])
@pytest.mark.parametrize("loss", [losses.cross_entropy, losses.mse])
@pytest.mark.parametrize("name", ["relu", "tanh", "sigmoid", "identity"])
def test_slopes_are_those_of_autograd(name, loss, networks):
    generator = torch.Generator().manual_seed(0)

    def draw(*shape):
        return torch.randn(*networks, *shape, generator=generator, dtype=torch.float64)

    sizes, function = [4, 6, 3], getattr(activations, name)
    weights = [draw(o, i).requires_grad_() for i, o in itertools.pairwise(sizes)]
    biases = [draw(o, 1).requires_grad_() for o in sizes[1:]]
    x, h = draw(4, 7), None
    classes = torch.randint(3, (*networks, 7), generator=generator)
    target = classes if loss is losses.cross_entropy else draw(7, 3)
    h = x
    for weight, bias in zip(weights, biases, strict=True):
        h = function(weight @ h + bias)
    answer, d = h.mT.reshape(-1, 7, 3), target.reshape(-1, 7, *target.shape[len(networks) + 1 :])
    means = torch.stack([loss(one, own) for one, own in zip(answer, d, strict=True)])
    means.sum().backward()

    arrays = [p.detach().numpy() for p in weights], [p.detach().numpy() for p in biases]
    slopes = [np.empty_like(w) for w in arrays[0]], [np.empty_like(b[..., 0]) for b in arrays[1]]
    layers = zip(arrays[0], slopes[0], arrays[1], slopes[1], [function] * 2, strict=True)
    found = PerceptronInNumpy(list(layers), loss).gradients(x.numpy(), target.numpy())
    np.testing.assert_allclose(np.atleast_1d(found), means.detach().numpy(), rtol=1e-12)
    for parameter, slope in zip([*weights, *biases], [*slopes[0], *slopes[1]], strict=True):
        np.testing.assert_allclose(
            slope.reshape(parameter.shape), parameter.grad.numpy(), rtol=1e-10, atol=1e-13
        )


def test_large_sums_stay_finite():
    weight = np.array([[300.0], [-300.0]])
    layers = [(weight, np.empty_like(weight), None, None, activations.identity)]
    network = PerceptronInNumpy(layers, losses.cross_entropy)
    assert network.gradients(np.array([[10.0, -10.0]]), np.array([0, 1])) == 0
    assert network.gradients(np.array([[10.0, -10.0]]), np.array([1, 0])) == 6000


# The steps


@pytest.mark.parametrize("activation", ["relu", "tanh", "sigmoid", "gelu"])
@pytest.mark.parametrize(("task", "objective"), [("classes", CLASSES), ("numbers", NUMBERS)])
def test_a_run_is_the_one_of_torch(activation, task, objective, steps):
    def rule():
        momentum = "one_cycle_momentum"
        return Backprop(
            "adamw", lr=0.01, schedule="one_cycle", momentum_schedule=momentum, weight_decay=0.1
        )

    data = make_data(task)
    quick = train(rule(), data, objective, activation)
    assert len(steps) == 4 * 7 - 1, "all but the first, before which Adam has no state"
    usual = train(rule(), data, objective, activation, [Watching()])
    assert len(steps) == 4 * 7 - 1
    same(quick, usual, 2e-5)
    assert quick.history["lr"] == usual.history["lr"]


def test_in_double_precision_it_is_the_same_to_rounding(steps):
    data = make_data("numbers", dtype=torch.float64)
    runs = [
        train(Backprop("adam", lr=0.01), data, NUMBERS, "tanh", callbacks, torch.float64)
        for callbacks in ([], [Watching()])
    ]
    assert steps
    same(*runs, 1e-11)


def test_in_bf16_it_is_the_autocast_run_to_bf16s_rounding(steps):
    def run(callbacks):
        torch.manual_seed(0)
        rule = Backprop("adamw", lr=0.003)
        return fit(
            MLP([6, 40, 40, 3]), make_data(rows=256), CLASSES, rule, epochs=4, batch_size=32,
            callbacks=callbacks, precision="bf16", verbose=False,
        )  # fmt: skip

    quick, usual = run([]), run([Watching()])
    assert len(steps) == 4 * 8 - 1
    losses = quick.history["train_loss"], usual.history["train_loss"]
    assert losses[0] == pytest.approx(losses[1], rel=1e-2)
    assert losses[0] != losses[1], "the passes differ in their order of rounding"
    assert losses[0][-1] < 0.8 * losses[0][0]


def test_the_products_in_bf16_are_those_of_bf16_weights():
    torch.manual_seed(0)
    model = MLP([6, 8, 3])
    rule = Backprop("adam", lr=0.01)
    rule.bind(model, CLASSES)
    batch = {"input": torch.randn(64, 6), "target": torch.randint(3, (64,))}
    rule.step(batch)
    half = copy.deepcopy(model).bfloat16()
    loss = F.cross_entropy(half(batch["input"].bfloat16()).float(), batch["target"])
    loss.backward()
    flat = find_flat(rule, model, CLASSES, torch.bfloat16)
    with flat.opened(batch) as is_open:
        assert is_open
        found = flat._network.gradients(batch["input"], batch["target"])
        assert found == pytest.approx(loss.item(), rel=1e-5)
        for own, p in zip(flat._vectors[0].parts[1], half.parameters(), strict=True):
            torch.testing.assert_close(own, p.grad.float(), rtol=2e-2, atol=1e-3)


def test_the_optimizer_goes_on_where_it_was_left(steps):
    rule, other = Backprop("adam", lr=0.01), Backprop("adam", lr=0.01)
    train(rule, make_data())
    train(other, make_data(), callbacks=[Watching()])
    assert rule.steps == other.steps == 28
    mine, theirs = rule.optimizer.state_dict()["state"], other.optimizer.state_dict()["state"]
    for number, kept in mine.items():
        assert float(kept["step"]) == 28
        torch.testing.assert_close(kept["exp_avg"], theirs[number]["exp_avg"], rtol=1e-3, atol=1e-6)
        torch.testing.assert_close(
            kept["exp_avg_sq"], theirs[number]["exp_avg_sq"], rtol=1e-3, atol=1e-8
        )


def test_same_seed_same_bytes(steps):
    first, second = (train(Backprop("adam", lr=0.01), make_data()) for _ in range(2))
    assert steps
    for p, q in zip(first.model.parameters(), second.model.parameters(), strict=True):
        assert torch.equal(p, q)


# What only torch can do


@pytest.mark.parametrize(
    ("rule", "options"),
    [
        (lambda: Backprop("sgd", lr=0.1), {}),
        (lambda: Backprop("adam:amsgrad=True", lr=0.01), {}),
        (lambda: Backprop("adam", lr=0.01, max_grad_norm=1.0), {}),
        (lambda: Backprop("adam", lr=0.01, gradient_accumulation_steps=2), {}),
        (lambda: Backprop("adam", lr=0.01), {"dropout": 0.5}),
        (lambda: Backprop("adam", lr=0.01), {"norm": "batch"}),
        (lambda: Backprop("adam", lr=0.01), {"objective": supervised("huber"), "task": "numbers"}),
    ],
    ids=["sgd", "amsgrad", "clipped", "accumulated", "dropout", "normalized", "huber"],
)
def test_more_than_it_knows_goes_torchs_way(rule, options, steps):
    train(rule(), make_data(options.pop("task", "classes")), **options)
    assert not steps


def test_augmented_data_go_torchs_way(steps):
    data = make_data()
    data.augment = lambda batch: {**batch, "input": batch["input"] + 1}
    train(Backprop("adam", lr=0.01), data)
    assert not steps


def test_a_layer_that_a_callback_freezes_stays(steps):
    class Freeze(Callback):
        def on_fit_start(self, trainer):
            trainer.model.layers[0].requires_grad_(False)

    torch.manual_seed(0)
    before = MLP([6, 8, 5, 3]).layers[0].weight.clone()
    run = train(Backprop("adam", lr=0.1), make_data(), callbacks=[Freeze()])
    assert torch.equal(run.model.layers[0].weight, before)
    assert not steps


def test_hooks_are_heard(steps):
    heard = []
    network = MLP([6, 8, 3])
    network.layers[0].register_forward_hook(lambda *_: heard.append(1))
    fit(network, make_data(), CLASSES, Backprop("adam", lr=0.1), epochs=2, verbose=False)
    assert heard
    assert not steps


def test_a_target_that_is_no_class_fails_as_in_torch(unchecked):
    x, y = torch.randn(40, 6), torch.randint(3, (40,))
    for wrong in (-1, 3):
        with pytest.raises(IndexError, match=f"Target {wrong} is out of bounds"):
            train(Backprop("adam", lr=0.1), Data((x, y.where(torch.arange(40) != 7, wrong))))


def test_rows_left_out_of_the_loss_are_left_out(steps):
    x, y = torch.randn(64, 6), torch.randint(3, (64,))
    y[::4] = -100
    run = train(Backprop("adam", lr=1e-9), Data((x, y), task=None))
    with torch.no_grad():
        parts = run.model(x[y >= 0])
    assert run.history["train_loss"][-1] == pytest.approx(
        float(F.cross_entropy(parts, y[y >= 0])), rel=0.1
    )
    assert not steps


def test_a_loss_that_is_not_finite_is_told_by_its_step(steps):
    x, y = torch.randn(64, 6), torch.randn(64, 3)
    x[40] = float("inf")
    with pytest.raises(NonFiniteError, match="step"):
        train(Backprop("adam", lr=0.01), Data((x, y), task=None), NUMBERS)


def test_outputs_of_another_shape_go_torchs_way(steps, unchecked):
    x, y = torch.randn(64, 6), torch.randn(64)
    network = nn.Sequential(nn.Linear(6, 1))
    fit(network, Data((x, y)), NUMBERS, Backprop("adam", lr=0.1), epochs=2, verbose=False)
    assert steps, "one number each is the usual column"
    steps.clear()
    with pytest.raises(ValueError, match="shape"):
        fit(nn.Linear(6, 3), Data((x, y)), NUMBERS, Backprop("adam", lr=0.1), verbose=False)
    assert not steps
