"""The rules of Rosenblatt and of Widrow and Hoff: bounds, limits, peers, refusals."""

import copy
import os
import signal
from itertools import product

import numpy as np
import pytest
import torch
from torch import nn

from neurarium.data import Data, load
from neurarium.learning import DeltaRule, PerceptronRule, Rule
from neurarium.networks import MLP, Adaline, Perceptron
from neurarium.objectives import supervised
from neurarium.training import Callback, Interrupted, fit

MSE = supervised("mse")


def clouds(n=60, dim=3, gap=1.0, seed=0):
    """Two clouds with labels -1 and 1, `gap` apart along the first axis, in random order."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, dim, generator=generator, dtype=torch.float64)
    y = torch.where(torch.rand(n, generator=generator) < 0.5, -1.0, 1.0).double()
    x[:, 0] = y * (x[:, 0].abs() + gap / 2)
    return x, y


def zeros(model):
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    return model.double()


def learn(rule, model, x, target, epochs=1, batch_size=None):
    """Ten lines without a trainer; the share of wrong answers of each epoch."""
    rule.bind(model, MSE if target.is_floating_point() else supervised("cross_entropy"))
    history = []
    for _ in range(epochs):
        parts = zip(x.split(batch_size or len(x)), target.split(batch_size or len(x)), strict=True)
        outputs = [(rule.step({"input": a, "target": b}), len(a)) for a, b in parts]
        history.append(sum(float(o.get("mistakes", 0)) * n for o, n in outputs) / len(x))
    return history


def weights(model):
    return torch.cat([model.linear.weight.detach(), model.linear.bias.detach()[:, None]], 1)


@pytest.mark.parametrize("rule", [PerceptronRule(), DeltaRule()])
def test_they_are_rules(rule):
    assert isinstance(rule, Rule)


# --- the perceptron rule -----------------------------------------------------------------


def test_three_steps_worked_by_hand():
    # hardlim, from zero: z = 0 fires. x = (1, 2), d = 0: e = -1, so w = (-1, -2), b = -1.
    # x = (1, -1), d = 1: z = -1 + 2 - 1 = 0 fires, right. x = (2, 0), d = 1: z = -3, e = 1:
    # w = (1, -2), b = 0.
    x = torch.tensor([[1.0, 2], [1, -1], [2, 0]], dtype=torch.float64)
    target = torch.tensor([0.0, 1, 1], dtype=torch.float64)
    model = zeros(Perceptron(2))
    assert learn(PerceptronRule(), model, x, target) == [pytest.approx(2 / 3)]
    assert weights(model).tolist() == [[1, -2, 0]]
    # Nielsen's perceptron is silent at 0: the first is right, the second moves it to (1, -1), 1;
    # then z = 2 + 1 is right.
    model = zeros(Perceptron(2, transfer="step:at_zero=0"))
    learn(PerceptronRule(), model, x, target)
    assert weights(model).tolist() == [[1, -1, 1]]
    # With -1 and 1 the boundary is always wrong: (-1, -2), -1; z = 0 is wrong: (0, -3), 0; z = 0
    # again: (2, -3), 1.
    for transfer in ("hardlims", "sign", "identity"):
        model = zeros(Perceptron(2, transfer=transfer))
        learn(PerceptronRule(), model, x, target)
        assert weights(model).tolist() == [[2, -3, 1]]


@pytest.mark.parametrize("gap", [0.5, 2.0])
def test_novikoffs_bound_on_the_number_of_mistakes(gap):
    from scipy.optimize import minimize

    x, y = clouds(gap=gap)
    augmented = torch.cat([x, torch.ones(len(x), 1)], 1).numpy()
    # The largest margin: the shortest w with y (w·x) >= 1 has margin 1/|w|.
    signed = augmented * y.numpy()[:, None]
    widest = minimize(
        lambda w: w @ w / 2,
        x0=np.array([4 / gap, 0, 0, 0]),
        jac=lambda w: w,
        constraints={"type": "ineq", "fun": lambda w: signed @ w - 1, "jac": lambda w: signed},
    )
    assert widest.success
    bound = (np.linalg.norm(augmented, axis=1).max() * np.linalg.norm(widest.x)) ** 2
    history = learn(PerceptronRule(), zeros(Perceptron(3, transfer="hardlims")), x, y, 200)
    mistakes = round(sum(history) * len(x))
    assert history[-1] == 0
    assert 1 <= mistakes <= bound


def test_from_zero_the_rate_scales_the_weights_and_changes_no_decision():
    x, y = clouds(gap=0.1)
    models = [zeros(Perceptron(3, transfer="hardlims")) for _ in range(2)]
    for model, lr in zip(models, (1.0, 0.125), strict=True):
        learn(PerceptronRule(lr=lr), model, x, y, epochs=3)
    assert torch.equal(weights(models[0]), 8 * weights(models[1]))


@pytest.mark.parametrize("epochs", [1, 2, 5])
def test_weights_equal_scikit_learns_perceptron(epochs):
    from sklearn.linear_model import Perceptron as Peer

    x, y = clouds(gap=-0.6, seed=3)  # they overlap: mistakes go on
    peer = Peer(shuffle=False, tol=None, max_iter=epochs, penalty=None).fit(x.numpy(), y.numpy())
    model = zeros(Perceptron(3, transfer="hardlims"))
    history = learn(PerceptronRule(), model, x, y, epochs)
    assert history[-1] > 0
    expected = np.concatenate([peer.coef_, peer.intercept_[:, None]], 1)
    np.testing.assert_allclose(weights(model), expected, rtol=1e-12, atol=1e-12)


def test_on_xor_it_never_stops_making_mistakes():
    x = torch.tensor(list(product([0.0, 1.0], repeat=2)), dtype=torch.float64)
    target = torch.tensor([0.0, 1, 1, 0], dtype=torch.float64)
    model = zeros(Perceptron(2))
    history = learn(PerceptronRule(), model, x, target, epochs=50)
    assert min(history) > 0
    # It cycles: the weights of an epoch come back.
    seen = []
    for _ in range(20):
        learn(PerceptronRule(), model, x, target)
        seen.append(tuple(weights(model).flatten().tolist()))
    assert len(set(seen)) < 10


def test_frozen_features_before_it_make_xor_learnable():
    x = torch.tensor(list(product([0.0, 1.0], repeat=2)), dtype=torch.float64)
    target = torch.tensor([0.0, 1, 1, 0], dtype=torch.float64)
    torch.manual_seed(0)
    model = MLP([2, 20, 1], activation="hardlim", out="hardlim").double()
    model.layers[0].requires_grad_(False)
    frozen = model.layers[0].weight.clone()
    history = learn(PerceptronRule(), model, x, target, epochs=50)
    assert history[-1] == 0
    assert model(x).flatten().tolist() == target.tolist()
    assert torch.equal(model.layers[0].weight, frozen)


def reference(x, y, epochs):
    """All weights that the plain rule passes through, one after each example."""
    w, path = np.zeros(x.shape[1] + 1), []
    for _ in range(epochs):
        for row, d in zip(x.numpy(), y.numpy(), strict=True):
            row = np.append(row, 1)
            if d * (w @ row) <= 0:
                w = w + d * row
            path.append(w)
    return np.array(path)


def test_averaged_is_the_mean_of_all_weights_it_passes_through():
    x, y = clouds(gap=-0.6)
    model = zeros(Perceptron(3, transfer="hardlims"))
    learn(PerceptronRule(variant="averaged"), model, x, y, epochs=3, batch_size=7)
    np.testing.assert_allclose(weights(model)[0], reference(x, y, 3).mean(0), rtol=1e-9)


def longest_right(path):
    """The first of the weights that went unmoved through most examples."""
    runs, length, before = [], 0, np.zeros_like(path[0])
    for point in path:
        length = length + 1 if np.array_equal(point, before) else 0
        before = point
        runs.append(length)
    return path[int(np.argmax(runs))]


@pytest.mark.parametrize("seed", range(3))
def test_pocket_keeps_the_weights_with_the_longest_run_of_right_answers(seed):
    x, y = clouds(n=15, gap=-0.6, seed=seed)
    path = reference(x, y, 2)
    model = zeros(Perceptron(3, transfer="hardlims"))
    learn(PerceptronRule(variant="pocket"), model, x, y, epochs=2, batch_size=7)
    np.testing.assert_allclose(weights(model)[0], longest_right(path), rtol=1e-12)
    assert not np.array_equal(longest_right(path), path[-1])


def test_the_units_of_argmax_go_into_the_pocket_together():
    torch.manual_seed(0)
    x, target = torch.randn(40, 3, dtype=torch.float64), torch.randint(0, 3, (40,))
    model, path = zeros(Perceptron(3, 3, transfer="identity")), []
    rule = PerceptronRule(multiclass="argmax")
    rule.bind(model, supervised("cross_entropy"))
    for row, d in zip(x.split(1), target.split(1), strict=True):
        rule.step({"input": row, "target": d})
        path.append(weights(model).numpy())
    zeros(model)
    learn(PerceptronRule(variant="pocket", multiclass="argmax"), model, x, target)
    np.testing.assert_allclose(weights(model), longest_right(path), rtol=1e-12)


def test_plain_goes_on_from_whatever_weights_the_model_has():
    x, y = clouds()
    model, rule = Perceptron(3, transfer="hardlims").double(), PerceptronRule()
    rule.bind(model, MSE)
    zeros(model)
    rule.step({"input": x, "target": y})
    np.testing.assert_allclose(weights(model)[0], reference(x, y, 1)[-1], rtol=1e-12)


def test_where_classes_overlap_pocket_and_average_settle_on_better_weights():
    x, y = clouds(n=2000, gap=-0.6, seed=1)
    right = {}
    for variant in ("plain", "pocket", "averaged"):
        model, rule = zeros(Perceptron(3, transfer="hardlims")), PerceptronRule(variant=variant)
        rule.bind(model, MSE)
        shares = []
        for part, labels in zip(x.split(20), y.split(20), strict=True):
            rule.step({"input": part, "target": labels})
            shares.append((model(x)[:, 0] == y).double().mean().item())
        right[variant] = min(shares[-50:])
    assert min(right["pocket"], right["averaged"]) > right["plain"] + 0.02


@pytest.mark.parametrize("variant", ["plain", "pocket", "averaged"])
@pytest.mark.parametrize("multiclass", ["one_vs_rest", "argmax"])
def test_rows_are_taken_in_turn_whatever_the_batch(variant, multiclass):
    torch.manual_seed(0)
    x, target = torch.randn(40, 3, dtype=torch.float64), torch.randint(0, 3, (40,))
    found = []
    for size in (1, 7, 40):
        model = zeros(Perceptron(3, 3, transfer="identity"))
        learn(PerceptronRule(0.5, variant, multiclass), model, x, target, 2, size)
        found.append(weights(model))
    torch.testing.assert_close(found[0], found[1], rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(found[0], found[2], rtol=1e-12, atol=1e-12)


def test_one_against_the_rest_is_a_perceptron_for_each_class():
    torch.manual_seed(0)
    x, target = torch.randn(50, 3, dtype=torch.float64), torch.randint(0, 3, (50,))
    together = zeros(Perceptron(3, 3, transfer="hardlims"))
    learn(PerceptronRule(variant="pocket"), together, x, target, 3)
    for k in range(3):
        alone = zeros(Perceptron(3, transfer="hardlims"))
        learn(PerceptronRule(variant="pocket"), alone, x, (target == k).double(), 3)
        torch.testing.assert_close(weights(together)[k : k + 1], weights(alone))


def test_argmax_moves_the_true_class_and_the_one_taken_for_it():
    # From zero the first unit wins: for d = 2 the row is added to unit 2 and taken from unit 0.
    x = torch.tensor([[1.0, -3]], dtype=torch.float64)
    model = zeros(Perceptron(2, 3, transfer="identity"))
    learn(PerceptronRule(0.5, multiclass="argmax"), model, x, torch.tensor([2]))
    assert weights(model).tolist() == [[-0.5, 1.5, -0.5], [0, 0, 0], [0.5, -1.5, 0.5]]
    learn(PerceptronRule(multiclass="argmax"), model, x, torch.tensor([2]))  # right: nothing moves
    assert weights(model)[0].tolist() == [-0.5, 1.5, -0.5]


# --- the delta rule ----------------------------------------------------------------------


def regression(noise=0.0):
    torch.manual_seed(0)
    x = torch.randn(30, 3, dtype=torch.float64)
    coefficients = torch.tensor([1.0, -2, 0.5], dtype=torch.float64)
    return x, x @ coefficients + 0.7 + noise * torch.randn(30, dtype=torch.float64)


@pytest.mark.parametrize("per_example", [True, False])
def test_it_equals_gradient_descent_on_half_the_squared_error(per_example):
    x, y = regression(noise=0.5)
    model = Adaline(3).double()
    twin = copy.deepcopy(model)
    learn(DeltaRule(0.05, per_example), model, x, y, epochs=3)
    optimizer = torch.optim.SGD(twin.parameters(), lr=0.05)
    rows = 1 if per_example else 30
    for _ in range(3):
        for part, d in zip(x.split(rows), y.split(rows), strict=True):
            optimizer.zero_grad()
            ((d - twin(part)[:, 0]).square() / 2).mean().backward()
            optimizer.step()
    torch.testing.assert_close(weights(model), weights(twin), rtol=1e-12, atol=1e-12)


def test_per_example_it_finds_the_weights_that_made_noiseless_data():
    x, y = regression()
    model = zeros(Adaline(3))
    rate = 1 / (x.square().sum(1).max() + 1).item()  # half of the safe limit
    learn(DeltaRule(rate), model, x, y, epochs=100)
    expected = torch.tensor([[1, -2, 0.5, 0.7]], dtype=torch.float64)
    torch.testing.assert_close(weights(model), expected, rtol=1e-6, atol=1e-6)


def test_on_whole_batches_it_reaches_least_squares_below_two_over_the_largest_eigenvalue():
    x, y = regression(noise=0.5)
    augmented = torch.cat([x, torch.ones(30, 1, dtype=torch.float64)], 1)
    limit = 2 / torch.linalg.eigvalsh(augmented.T @ augmented / 30).max().item()
    solution = torch.linalg.lstsq(augmented, y[:, None]).solution.T
    model = zeros(Adaline(3))
    learn(DeltaRule(0.95 * limit, per_example=False), model, x, y, epochs=500)
    torch.testing.assert_close(weights(model), solution, rtol=1e-7, atol=1e-9)
    model = zeros(Adaline(3))
    learn(DeltaRule(1.05 * limit, per_example=False), model, x, y, epochs=500)
    assert (weights(model) - solution).norm() > 1e6


def test_threshold_units_learn_by_their_sums():
    x, y = clouds(gap=0.5)
    linear, threshold = zeros(Adaline(3)), zeros(Perceptron(3, transfer="hardlims"))
    for model in (linear, threshold):
        learn(DeltaRule(0.01), model, x, y, epochs=20)
    assert torch.equal(weights(linear), weights(threshold))
    assert torch.equal(linear.predict(x), threshold(x))


def test_class_numbers_become_one_for_their_unit_and_minus_one_for_the_others():
    torch.manual_seed(0)
    x, target = torch.randn(20, 3, dtype=torch.float64), torch.randint(0, 3, (20,))
    coded = 2 * nn.functional.one_hot(target, 3).double() - 1
    models = [zeros(Adaline(3, 3)) for _ in range(2)]
    learn(DeltaRule(0.01), models[0], x, target)
    learn(DeltaRule(0.01), models[1], x, coded)
    assert torch.equal(weights(models[0]), weights(models[1]))


def test_adaline_separates_setosa_from_the_others():
    iris = load("iris", val_size=0, test_size=0.3)

    def against_the_rest(split):
        return {
            "input": split.tensors["input"],
            "target": torch.where(split.tensors["target"] == 0, 1.0, -1.0),
        }

    data = Data(against_the_rest(iris.train), test=against_the_rest(iris.test))
    run = fit(Adaline(4), data, MSE, DeltaRule(0.01), epochs=10, verbose=False)
    for split in (data.train, data.test):
        decisions = run.model.predict(split.tensors["input"])
        assert torch.equal(decisions[:, 0], split.tensors["target"])


# --- with a trainer, and refusals --------------------------------------------------------


class StopAt(Callback):
    def __init__(self, step=-1):
        self.step = step

    def on_train_batch_end(self, trainer, outputs, batch, batch_idx):
        if trainer.step == self.step:
            os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize(
    "make",
    [
        lambda: PerceptronRule(variant="plain"),
        lambda: PerceptronRule(variant="pocket"),
        lambda: PerceptronRule(0.3, "averaged", "argmax"),
        lambda: DeltaRule(0.01),
    ],
)
def test_a_run_resumed_ends_in_the_same_bytes(make, tmp_path):
    torch.manual_seed(0)
    x = torch.randn(50, 3)
    target = x.argmax(1)  # learnable, so that runs without a mistake grow

    def train(directory, stop=-1, resume=False):
        torch.manual_seed(1)
        model = Perceptron(3, 3, transfer="identity")
        run = fit(
            model,
            Data((x, target), task="multiclass", classes="abc"),
            rule=make(),
            epochs=3,
            batch_size=8,
            callbacks=[StopAt(stop)],
            directory=directory,
            resume=resume,
            verbose=False,
        )
        return weights(model), {k: v for k, v in run.history.items() if k != "seconds"}

    whole, history = train(tmp_path / "whole")
    with pytest.raises(Interrupted):
        train(tmp_path / "cut", stop=11)
    again, history_again = train(tmp_path / "cut", resume=True)
    assert torch.equal(whole, again)
    assert history == history_again


@pytest.mark.parametrize("rule", [PerceptronRule, DeltaRule])
def test_models_they_cannot_train_are_refused_by_name(rule):
    with pytest.raises(ValueError, match=r"this MLP are layers.0.weight, .*; freeze all but"):
        rule().bind(MLP([2, 3, 1]), MSE)
    model = Perceptron(2)
    model.linear.weight.requires_grad_(False)
    with pytest.raises(ValueError, match=r"this Perceptron are linear.bias; freeze"):
        rule().bind(model, MSE)
    with pytest.raises(ValueError, match=r"this Conv2d are weight, bias"):
        rule().bind(nn.Conv2d(1, 1, 1), MSE)
    with pytest.raises(ValueError, match=r"this MLP are none"):
        rule().bind(MLP([2, 1]).requires_grad_(False), MSE)
    with pytest.raises(ValueError, match=r"followed by layers.1 = Sigmoid\(\); end with hardlim"):
        rule().bind(MLP([2, 1], out="sigmoid"), MSE)
    frozen = MLP([2, 3, 1], activation="hardlim")
    frozen.layers[2].requires_grad_(False)
    with pytest.raises(ValueError, match=r"by layers.1 = Activation\(hardlim\), layers.2 = Lin"):
        rule().bind(frozen, MSE)


def test_targets_and_arguments_that_do_not_fit_are_refused(unchecked):
    x = torch.randn(4, 3)

    def step(rule, model, target):
        rule.bind(model, lambda model, batch: model(batch["input"]).sum())
        rule.step({"input": x, "target": target})

    with pytest.raises(ValueError, match=r"0 and 1, or -1 and 1, .* got \[0.0, 1.0, 2.0\]"):
        step(PerceptronRule(), Perceptron(3), torch.tensor([0, 1, 2, 1]))
    with pytest.raises(ValueError, match=r"class numbers below 2, .* got 0 to 2"):
        step(PerceptronRule(), Perceptron(3, 2), torch.tensor([0, 1, 2, 1]))
    with pytest.raises(ValueError, match=r"each of the 2 units, .*float32 of shape \(4,\)"):
        step(DeltaRule(), Adaline(3, 2), torch.zeros(4))
    with pytest.raises(ValueError, match="needs a unit for each class, got 1 unit"):
        PerceptronRule(multiclass="argmax").bind(Perceptron(3), MSE)
    with pytest.raises(ValueError, match="one true class in every row"):
        step(PerceptronRule(multiclass="argmax"), Perceptron(3, 2), torch.ones(4, 2))
    for arguments, message in (
        ({"lr": 0.0}, "lr must be positive, got 0.0"),
        ({"variant": "voted"}, "plain, pocket or averaged, got 'voted'"),
        ({"multiclass": "pairs"}, "one_vs_rest or argmax, got 'pairs'"),
    ):
        with pytest.raises(ValueError, match=message):
            PerceptronRule(**arguments)
    with pytest.raises(ValueError, match="lr must be positive, got -1"):
        DeltaRule(-1)


def test_a_nan_moves_nothing():
    model, x = Adaline(2), torch.tensor([[1.0, torch.nan]])
    before = weights(model)
    with pytest.raises(FloatingPointError, match="the loss is nan"):
        learn(DeltaRule(), model, x, torch.ones(1))
    assert torch.equal(weights(model), before)
