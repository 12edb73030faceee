"""Alternating minimization and successive approximations: limits, hand derivations, refusals."""

import copy
import itertools

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from neurarium.data import Data
from neurarium.learning import Backprop, Rule
from neurarium.learning.alternating_minimization import AltMin
from neurarium.learning.successive_approximations import MSA
from neurarium.losses import AdaptiveRobust
from neurarium.networks import MLP, LeNet5
from neurarium.objectives import supervised
from neurarium.training import fit

pytestmark = pytest.mark.usefixtures("unchecked")  # a trace is of proxies, which have no shape

GENERATOR = torch.Generator().manual_seed(0)
X = torch.randn(12, 5, generator=GENERATOR).double()
BATCH = {"input": X, "target": torch.arange(12) % 3}
CROSS_ENTROPY = supervised("cross_entropy")
IMAGES = {
    "input": torch.randn(12, 1, 8, 8, generator=GENERATOR).double(),
    "target": torch.arange(12) % 3,
}


def network(activation="tanh", sizes=(5, 7, 6, 3), **options):
    torch.manual_seed(1)
    return MLP(list(sizes), activation=activation, **options).double()


def bound(rule, model=None, objective=CROSS_ENTROPY):
    rule.bind(model or network(), objective)
    return rule


def gradients(model):
    found = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    return found


def true_gradients(model, batch=BATCH, objective=CROSS_ENTROPY):
    value = objective(model, batch)
    (value["loss"] if isinstance(value, dict) else value).backward()
    return gradients(model)


# Alternating minimization ------------------------------------------------------------------------


def test_without_code_steps_only_the_last_layer_has_a_gradient():
    rule = bound(AltMin(code_steps=0))
    rule.estimate(BATCH)
    found, exact = gradients(rule.model), true_gradients(rule.model)
    for name, slope in found.items():
        if name.startswith("layers.4"):
            torch.testing.assert_close(slope, exact[name])
        else:
            assert slope.abs().max() < 1e-12


def test_after_a_code_step_hidden_layers_move_along_the_gradient():
    # From the forward pass the codes' slope of the loss is the backpropagated one, delta; a step of
    # size r makes c - W a = -r delta n-fold (for one example's terms), whose square has the slope
    # 2 mu r times backpropagation's. That is exact for the last hidden layer.
    rule = bound(AltMin(code_steps=1, code_lr=1e-4, mu=0.7))
    rule.estimate(BATCH)
    found, exact = gradients(rule.model), true_gradients(rule.model)
    for name in ("layers.2.weight", "layers.2.bias"):
        torch.testing.assert_close(found[name], 2 * 0.7 * 1e-4 * exact[name])
    rule.code_lr = 0.01
    cosines = rule.alignment(BATCH)
    # The layer below hears of it by the code above it: second order, the same direction.
    assert min(cosines.values()) > 0.999


def test_a_code_steps_slope_is_the_objectives_and_lowers_it():
    rule = bound(AltMin(mu=0.3, code_lr=0.05))
    codes = [torch.randn(12, w, generator=GENERATOR).double() for w in (7, 6)]

    def value():
        return rule.of_codes(codes, X, BATCH)

    for index in (1, 0, 1, 0):
        code = codes[index].requires_grad_()
        before = value()
        (slope,) = torch.autograd.grad(before, code)
        codes[index] = code.detach()
        rule.improve(codes, index, X, BATCH)
        torch.testing.assert_close(codes[index], code.detach() - 0.05 * 12 * slope)
        assert value() < before


def test_the_lifted_objective_by_hand():
    # x = 1, W1 = 2, c = 3 beside W1 x = 2, relu, W2 = 0.5: loss (1.5 - 1)^2, miss 0.1 * 1.
    model = nn.Sequential(nn.Linear(1, 1, False), nn.ReLU(), nn.Linear(1, 1, False))
    with torch.no_grad():
        model[0].weight.fill_(2)
        model[2].weight.fill_(0.5)
    rule = bound(AltMin(mu=0.1), model, supervised("mse"))
    one = torch.ones(1, 1)
    value = rule.of_codes([torch.tensor([[3.0]])], one, {"input": one, "target": one})
    assert value.item() == pytest.approx(0.25 + 0.1)
    # d/dc = 2 (1.5 - 1) 0.5 + 0.2 (3 - 2) = 0.7, so c = 3 - 0.2 * 0.7.
    codes = [torch.tensor([[3.0]])]
    rule.improve(codes, 0, one, {"input": one, "target": one})
    assert codes[0].item() == pytest.approx(3 - 0.14)


def test_layers_do_not_wait_for_each_other():
    # Whatever the others' weights are, given the codes: no slope passes from term to term.
    rule = bound(AltMin(mu=0.3))
    codes = [torch.randn(12, w, generator=GENERATOR).double() for w in (7, 6)]
    rule.of_codes(codes, X, BATCH).backward()
    found = gradients(rule.model)
    middle = rule.model.layers[2]
    error = codes[1] - middle(codes[0].tanh())
    expected = -2 * 0.3 / 12 * error.T @ codes[0].tanh()
    torch.testing.assert_close(found["layers.2.weight"], expected.detach())


def test_mu_grows_by_the_step():
    rule = bound(AltMin("sgd", lr=0.1, mu=0.1, mu_growth=0.05))
    values = []
    for _ in range(3):
        values.append(rule.current_mu)
        rule.step(BATCH)
    assert values == pytest.approx([0.1, 0.15, 0.2])


# Successive approximations -----------------------------------------------------------------------


@pytest.mark.parametrize("case", ["dense", "convolutional"])
def test_one_gradient_step_on_the_hamiltonians_is_backpropagations(case):
    make = network if case == "dense" else lambda: LeNet5(1, 3, 8).double()
    batch = BATCH if case == "dense" else IMAGES
    objective = supervised("cross_entropy", ["l2:0.1"])
    rule = bound(MSA(rho=0, inner="gradient", inner_steps=1, lr=0.3), make(), objective)
    twin = copy.deepcopy(rule.model)
    assert rule.alignment(batch) == pytest.approx(dict.fromkeys(rule.alignment(batch), 1), abs=1e-9)
    peer = Backprop("sgd", lr=0.3, weight_decay=0)
    peer.bind(twin, objective)
    # At the states themselves the two prices have no slope by the weights in the first; the
    # costates' has none either, being at its lowest, 0: the price changes nothing in one step.
    for rho in (0.0, 2.0):
        rule.rho = rho
        loss = rule.step(batch)["loss"]
        torch.testing.assert_close(loss, peer.step(batch)["loss"])
        for a, b in zip(rule.model.parameters(), twin.parameters(), strict=True):
            torch.testing.assert_close(a, b)


def test_costates_are_minus_the_slopes_of_each_examples_loss():
    rule = bound(MSA())
    states = rule.chain.forward(X)
    costates = rule.costates(states, BATCH)
    x = X.clone().requires_grad_()
    loss = F.cross_entropy(rule.model(x), BATCH["target"], reduction="sum")
    torch.testing.assert_close(costates[0], -torch.autograd.grad(loss, x)[0])
    expected = F.one_hot(BATCH["target"], 3) - states.outputs[-1].softmax(1)
    torch.testing.assert_close(costates[-1], expected.detach())


def test_the_best_weights_of_minus_and_plus_one_are_the_signs_of_a_sum():
    # For a linear layer H = tr(W sum_i x_i p_i') is linear, so each weight takes the sign of its
    # entry of sum_i p_i x_i': all 2^6 matrices of 2 x 3 compared.
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 2, bias=False)).double()
    rule = bound(MSA(rho=0), model, supervised("mse"))
    batch = {"input": X[:, :3], "target": torch.randn(12, 2, generator=GENERATOR).double()}
    states = rule.chain.forward(batch["input"])
    costates = rule.costates(states, batch)
    scores = {}
    for signs in itertools.product((-1.0, 1.0), repeat=6):
        with torch.no_grad():
            model[0].weight.copy_(torch.tensor(signs).view(2, 3))
        scores[signs] = rule.augmented(0, states, costates).item()
    best = torch.tensor(max(scores, key=scores.get)).view(2, 3).double()
    assert torch.equal(best, (costates[1].T @ states.inputs[0].detach()).sign())


def test_the_prices_are_those_of_left_states_and_costates():
    rule = bound(MSA(rho=0.6))
    states = rule.chain.forward(X)
    costates = rule.costates(states, BATCH)
    layer = rule.model.layers[2]
    with torch.no_grad():
        layer.weight.mul_(1.3)
    x, p = states.inputs[1].detach(), costates[2]
    f = layer(x).tanh()
    by_x = (p * (1 - f**2)) @ layer.weight
    expected = (p * f).sum() - 0.3 * (
        (states.outputs[1] - f).square().sum() + (costates[1] - by_x).square().sum()
    )
    torch.testing.assert_close(rule.augmented(1, states, costates), expected)


def test_each_layer_climbs_its_own_hamiltonian_and_no_other():
    rule = bound(MSA(rho=1.0))
    states = rule.chain.forward(X)
    costates = rule.costates(states, BATCH)
    before = [rule.augmented(i, states, costates).item() for i in range(3)]
    weights = copy.deepcopy(rule.model.state_dict())
    rule._maximize(1, states, costates, BATCH)
    after = [rule.augmented(i, states, costates).item() for i in range(3)]
    assert after[1] > before[1] + 1e-6
    assert (after[0], after[2]) == (before[0], before[2])
    rule.model.load_state_dict(weights)
    rule.inner_steps = 200
    rule._maximize(1, states, costates, BATCH)
    value = -rule.augmented(1, states, costates)
    slopes = torch.autograd.grad(value, list(rule.model.layers[2].parameters()))
    assert max(s.abs().max() for s in slopes) < 1e-3  # stationary, when let
    assert rule.augmented(1, states, costates) > after[1] - 1e-9


# Both --------------------------------------------------------------------------------------------

BOTH = [lambda: AltMin(lr=0.01), lambda: MSA(inner_steps=2)]


@pytest.mark.parametrize("make", BOTH)
def test_they_train_convolutions_with_penalties(make):
    objective = supervised("cross_entropy", ["l2:0.001"])
    rule = bound(make(), LeNet5(1, 3, 8).double(), objective)
    assert isinstance(rule, Rule)
    first = rule.step(IMAGES)["loss"]
    for _ in range(40):
        last = rule.step(IMAGES)["loss"]
    assert last < 0.7 * first


@pytest.mark.parametrize("make", BOTH)
def test_penalties_move_the_weights(make):
    # So strong that all weights must shrink.
    rule = bound(make(), objective=supervised("cross_entropy", ["l2:10"]))
    norm = sum(p.square().sum() for p in rule.model.parameters()).item()
    for _ in range(30):
        rule.step(BATCH)
    assert sum(p.square().sum() for p in rule.model.parameters()).item() < norm / 2


@pytest.mark.parametrize("make", BOTH)
def test_frozen_layers_stay(make):
    model = network()
    model.layers[0].requires_grad_(False)
    before = copy.deepcopy(model.state_dict())
    rule = bound(make(), model)
    rule.step(BATCH)
    changed = {n for n, p in model.named_parameters() if not torch.equal(p, before[n])}
    assert changed == {f"layers.{i}.{n}" for i in (2, 4) for n in ("weight", "bias")}


@pytest.mark.parametrize("make", BOTH)
def test_the_trainer_resumes_them_exactly(make, tmp_path):
    data = Data((X.float(), BATCH["target"]))

    def run(epochs, **options):
        model = network().float()
        return fit(
            model, data, rule=make(), epochs=epochs, batch_size=5, verbose=False,
            precision="32", **options,
        )  # fmt: skip

    whole = run(4)
    run(2, directory=tmp_path)
    resumed = run(4, directory=tmp_path, resume=True)
    for a, b in zip(whole.model.parameters(), resumed.model.parameters(), strict=True):
        assert torch.equal(a, b)
    assert whole.history["train_loss"] == resumed.history["train_loss"]


@pytest.mark.parametrize("make", BOTH)
def test_they_refuse_what_differs_at_each_evaluation(make):
    for model in (MLP([5, 4, 3], dropout=0.5), MLP([5, 4, 3], norm="batch")):
        with pytest.raises(ValueError, match="evaluates pieces of the model many times a step"):
            make().bind(model, CROSS_ENTROPY)
    with pytest.raises(ValueError, match="needs a plain chain"):
        make().bind(nn.Bilinear(2, 3, 4), CROSS_ENTROPY)


def test_msa_refuses_parameters_that_it_would_leave():
    model = nn.Sequential(nn.PReLU(), nn.Linear(5, 3))
    with pytest.raises(ValueError, match=r"MSA trains 1 only, but 0\.weight is trainable too"):
        MSA().bind(model, CROSS_ENTROPY)
    with pytest.raises(ValueError, match=r"but objective\..* is trainable too"):
        MSA().bind(network(), supervised(AdaptiveRobust()))


@pytest.mark.parametrize(
    "make",
    [
        lambda: AltMin(mu=0),
        lambda: AltMin(code_steps=-1),
        lambda: MSA(rho=-1),
        lambda: MSA(inner="newton"),
        lambda: MSA(inner_steps=0),
    ],
)
def test_wrong_settings_are_errors(make):
    with pytest.raises(ValueError, match="must"):
        make()
