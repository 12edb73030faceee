"""Rules that split a network: every block is at its lowest, the whole falls, limits are known."""

import copy
import itertools
import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from neurarium.data import Data
from neurarium.learning import Rule, splitting
from neurarium.learning.admm import ADMM
from neurarium.learning.dl_admm import DlADMM
from neurarium.learning.lpom import LPOM
from neurarium.networks import MLP, LeNet5
from neurarium.objectives import supervised
from neurarium.training import fit

pytestmark = pytest.mark.usefixtures("unchecked")  # a trace is of proxies, which have no shape

GENERATOR = torch.Generator().manual_seed(0)
X = torch.randn(12, 5, generator=GENERATOR).double()
CLASSES = torch.arange(12) % 3
BATCH = {"input": X, "target": CLASSES}
VALUES = {"input": X, "target": F.one_hot(CLASSES, 3).double()}
CROSS_ENTROPY = supervised("cross_entropy")


def squared(z, y):
    return (z - y).square().sum(1).mean()


def network(activation="relu", sizes=(5, 7, 6, 3), **options):
    torch.manual_seed(1)
    return MLP(list(sizes), activation=activation, **options).double()


def started(rule, model=None, batch=BATCH, objective=CROSS_ENTROPY, sweeps=3):
    rule.bind(model or network(), objective)
    for _ in range(sweeps):
        rule.step(batch)
    return rule


def directions(like, number=20):
    generator = torch.Generator().manual_seed(3)
    return [torch.randn(like.shape, generator=generator).to(like) for _ in range(number)]


# Blocks ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bias", [True, False])
def test_weights_are_scikit_learns_ridge_regression(bias):
    from sklearn.linear_model import Ridge

    layer = nn.Linear(5, 3, bias=bias).double()
    z = torch.randn(12, 3, generator=GENERATOR).double()
    splitting.solve_weights(layer, X, z, 0.3)
    inputs = np.concatenate([X, np.ones((12, 1))], 1) if bias else X.numpy()
    peer = Ridge(0.3, fit_intercept=False, tol=1e-12).fit(inputs, z.numpy()).coef_
    np.testing.assert_allclose(layer.weight.detach(), peer[:, :5], rtol=1e-8)
    if bias:
        np.testing.assert_allclose(layer.bias.detach(), peer[:, 5], rtol=1e-8)


def test_frozen_parts_stay_and_the_rest_fits_around_them():
    z = torch.randn(12, 3, generator=GENERATOR).double()
    layer = nn.Linear(5, 3).double()
    layer.bias.requires_grad_(False)
    bias = layer.bias.clone()
    splitting.solve_weights(layer, X, z, 0.0)
    torch.testing.assert_close(layer.weight.detach().T, torch.linalg.lstsq(X, z - bias).solution)
    assert torch.equal(layer.bias, bias)
    layer.bias.requires_grad_(True)
    layer.weight.requires_grad_(False)
    weight = layer.weight.clone()
    splitting.solve_weights(layer, X, z, 0.0)
    torch.testing.assert_close(layer.bias.detach(), (z - X @ weight.T).mean(0))
    assert torch.equal(layer.weight, weight)


@pytest.mark.parametrize("name", ["relu", "leaky_relu:negative_slope=0.3", "hardtanh", "identity"])
def test_sums_are_the_lowest_of_all(name):
    model = network(name, (1, 1, 1))
    stage = splitting.Chain(model).stages[0]
    parts = splitting.pieces(stage, "ADMM")
    a, m = torch.meshgrid(torch.linspace(-3, 3, 13), torch.linspace(-3, 3, 13), indexing="ij")
    a, m = a.flatten().double(), m.flatten().double()
    grid = torch.linspace(-8, 8, 16001).double()[:, None]
    for gamma, beta in ((1.0, 1.0), (10.0, 1.0), (0.2, 3.0)):

        def price(z, gamma=gamma, beta=beta):
            return gamma * (a - stage.after(z)).square() + beta * (z - m).square()

        found = price(splitting.nearest_sums(a, m, parts, gamma, beta))
        lowest = price(grid).min(0).values
        assert (found <= lowest + 1e-12).all()
        torch.testing.assert_close(found, lowest, rtol=0, atol=3e-5)  # the grid's fineness


def test_sums_behind_a_rectifier_by_hand():
    # gamma = beta = 1. a = 2, m = -1: on the right (2 - 1)/2 = 0.5 costs 1.5^2 + 1.5^2 = 4.5; on
    # the left z = m costs a^2 = 4, less. a = 3, m = -1: z = 1 costs 4 + 4 = 8 < 9.
    parts = splitting.pieces(splitting.Chain(network(sizes=(1, 1, 1))).stages[0], "ADMM")
    found = splitting.nearest_sums(torch.tensor([2.0, 3.0]), torch.tensor([-1.0, -1]), parts, 1, 1)
    assert found.tolist() == [-1, 1]


def test_minimize_finds_what_scipy_finds():
    from scipy.optimize import minimize

    center = torch.randn(12, 3, generator=GENERATOR).double()

    def judge(z):
        z = z.detach().requires_grad_()
        loss = F.cross_entropy(z, CLASSES, reduction="sum")
        return loss.detach(), torch.autograd.grad(loss, z)[0]

    for weight in (2.0, 0.05):
        found = splitting.minimize(judge, torch.zeros(12, 3).double(), center, weight, 300)

        def whole(z, weight=weight):
            z = torch.tensor(z).view(12, 3)
            value, slope = judge(z)
            away = z - center
            total = value + weight / 2 * away.square().sum()
            return total.item(), (slope + weight * away).flatten().numpy()

        peer = minimize(whole, np.zeros(36), jac=True, method="BFGS", options={"gtol": 1e-9})
        np.testing.assert_allclose(found.flatten(), peer.x, atol=1e-5)


# ADMM --------------------------------------------------------------------------------------------


def assert_lowest(rule, value, variable, tolerance=1e-9):
    """No small move of the variable, in place, makes the value smaller."""
    here = value().item()
    with torch.no_grad():
        for size in (1e-3, 0.1):
            for direction in directions(variable):
                variable += size * direction
                assert value().item() >= here - tolerance
                variable -= size * direction
    return here


@pytest.mark.parametrize("objective", [CROSS_ENTROPY, supervised(squared)])
def test_every_block_of_admm_is_an_argmin(objective):
    batch = VALUES if objective is not CROSS_ENTROPY else BATCH
    rule = started(ADMM(warm=1, ridge=0.05), None, batch, objective)
    assert rule.dual.abs().max() > 1e-3

    def value():
        with torch.no_grad():
            return rule.lagrangian(X, batch)

    last = len(rule.chain) - 1
    with torch.no_grad():
        before = value().item()
        for index in range(last):
            rule.solve_weights(index, X)
            for parameter in rule.chain.layers[index].parameters():
                assert_lowest(rule, value, parameter)
            rule.solve_outputs(index)
            assert_lowest(rule, value, rule.a[index])
            rule.solve_sums(index, X)
            now = assert_lowest(rule, value, rule.z[index])
            assert now < before
            before = now
        rule.solve_weights(last, X)
        rule.solve_output_sums(X, batch)
        assert assert_lowest(rule, value, rule.z[last], 1e-6) < before


def test_the_outputs_sums_are_the_sources_for_squares():
    rule = started(ADMM(beta=0.7, warm=0), None, VALUES, supervised(squared))
    m = rule.chain.layers[-1](rule.a[-1]).detach()
    expected = (VALUES["target"] - rule.dual / 2 + 0.7 * m) / 1.7
    rule.solve_output_sums(X, VALUES)
    torch.testing.assert_close(rule.z[-1], expected, rtol=1e-6, atol=1e-6)


def test_the_dual_moves_after_warm_sweeps_by_beta_times_the_residual():
    rule = started(ADMM(beta=2.0, warm=2), sweeps=2)
    assert rule.dual.abs().max() == 0
    figures = rule.step(BATCH)
    residual = rule.residual(2, X).detach()
    torch.testing.assert_close(rule.dual, 2 * residual)
    torch.testing.assert_close(figures["residual"], residual.square().mean())


def test_without_hidden_layers_admm_finds_least_squares():
    # One linear layer, no dual: Z = (Y + X W) / 2 and W = X^+ Z halve the distance to X^+ Y.
    model = network(sizes=(5, 3))
    start = torch.cat([model.layers[0].weight, model.layers[0].bias[:, None]], 1).detach().T
    rule = started(ADMM(warm=99, ridge=0.0), model, VALUES, supervised(squared), 11)
    fitted = torch.linalg.lstsq(torch.cat([X, torch.ones(12, 1)], 1), VALUES["target"]).solution
    layer = rule.chain.layers[0]
    found = torch.cat([layer.weight, layer.bias[:, None]], 1).detach().T
    expected = fitted + (start - fitted) / 2**10  # the first sweep meets its own sums
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


# dlADMM ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prices", [(1e-3, 1e-3), (0.1, 0.3), (1.0, 1.0)])
def test_no_block_of_dladmm_raises_the_lagrangian(prices):
    rule = started(DlADMM(*prices), network("leaky_relu"), sweeps=4)
    assert rule.dual.abs().max() > 0

    def value():
        with torch.no_grad():
            return rule.lagrangian(X, BATCH).item()

    with torch.no_grad():
        here = value()
        for index in (2, 1, 0, 1, 2):
            for update in (
                lambda i: rule.solve_sums(i, X, BATCH),
                lambda i: rule.solve_bias(i, X),
                lambda i: rule.step_weights(i, X),
                lambda i: rule.step_outputs(i, X) if i < 2 else None,
            ):
                update(index)
                now = value()
                assert now <= here + 1e-12
                here = now


def test_exact_blocks_of_dladmm_are_argmins():
    rule = started(DlADMM(0.5, 0.3))

    def value():
        with torch.no_grad():
            return rule.lagrangian(X, BATCH)

    with torch.no_grad():
        for index, layer in enumerate(rule.chain.layers):
            rule.solve_bias(index, X)
            assert_lowest(rule, value, layer.bias)
            rule.solve_sums(index, X, BATCH)
            # The output's takes 20 steps of FISTA.
            assert_lowest(rule, value, rule.z[index], 1e-5 if index == 2 else 1e-9)


def test_steps_of_dladmm_are_gradients_over_tau_and_lie_under_their_parabola():
    rule = started(DlADMM(0.5, 0.3))
    weight = rule.chain.layers[1].weight
    for name, variable, update in (
        ("W1", weight, rule.step_weights),
        ("a1", rule.a[1], rule.step_outputs),
    ):
        rule.a[1] = rule.a[1].detach()
        here = rule.a[1].requires_grad_() if name == "a1" else variable
        index = 1
        with torch.enable_grad():
            # The Lagrangian, differentiated by autograd.
            total = 0
            for layer in (1, 2):
                r = rule.residual(layer, X)
                price = 0.5 if layer == 2 else 0.3
                total = total + price / 2 * r.square().sum()
            total = total + (rule.dual * rule.residual(2, X)).sum()
            total = total + 0.15 * (rule.a[1] - rule.z[1].relu()).square().sum()
            (slope,) = torch.autograd.grad(total, here)
        before = here.detach().clone()
        with torch.no_grad():
            rule.a[1] = rule.a[1].detach()
            low = rule.lagrangian(X, BATCH)
            update(index, X)
            after = rule.a[1] if name == "a1" else weight.detach()
            tau = 2 * rule.tau[name]
            torch.testing.assert_close(after, before - slope / tau)
            promised = low - slope.square().sum() / (2 * tau)
            assert rule.lagrangian(X, BATCH) <= promised + 1e-12


def test_the_lagrangian_of_dladmm_never_rises_from_step_to_step():
    rule = DlADMM(0.01, 0.01)
    rule.bind(network(), CROSS_ENTROPY)
    figures = [rule.step(BATCH)["lagrangian"].item() for _ in range(60)]
    assert all(b <= a + 1e-9 for a, b in itertools.pairwise(figures))
    assert figures[-1] < 0.5 * figures[0]


def test_an_iteration_of_dladmm_is_the_sweeps_of_its_definition():
    rule = started(DlADMM(0.5, 0.3), sweeps=2)
    twin = copy.deepcopy(rule)
    with torch.no_grad():
        for index in (2, 1, 0):  # z, b, W, then the outputs below
            twin.solve_sums(index, X, BATCH)
            twin.solve_bias(index, X)
            twin.step_weights(index, X)
            if index > 0:
                twin.step_outputs(index - 1, X)
        for index in (0, 1, 2):  # W, b, z, then the layer's own outputs
            twin.step_weights(index, X)
            twin.solve_bias(index, X)
            twin.solve_sums(index, X, BATCH)
            if index < 2:
                twin.step_outputs(index, X)
        layer = twin.model.layers[4]
        dual = twin.dual + 0.5 * (twin.z[2] - twin.a[1] @ layer.weight.T - layer.bias)
    rule.step(BATCH)
    torch.testing.assert_close((rule.z, rule.a), (twin.z, twin.a))
    torch.testing.assert_close(rule.dual, dual)
    torch.testing.assert_close(rule.model.state_dict(), twin.model.state_dict())


def test_dladmm_goes_on_with_the_step_sizes_that_it_had():
    half, rest = started(DlADMM(), sweeps=2), DlADMM()
    half.tau = {name: 1e6 * tau for name, tau in half.tau.items()}  # far from a new start's
    model = copy.deepcopy(half.model)
    rest.bind(model, CROSS_ENTROPY)
    rest.load_state_dict(copy.deepcopy(half.state_dict()))
    assert rest.tau == half.tau
    half.step(BATCH)
    rest.step(BATCH)
    torch.testing.assert_close(model.state_dict(), half.model.state_dict(), rtol=0, atol=0)


# What both need ----------------------------------------------------------------------------------

FULL = [ADMM, DlADMM]


@pytest.mark.parametrize("rule", [*FULL, LPOM])
def test_they_are_rules_that_learn_and_know_their_alignment(rule):
    made = started(rule(), sweeps=0)
    assert isinstance(made, Rule)
    assert made.alignment(BATCH).keys() == {"layers.0", "layers.2", "layers.4"}
    first = made.step(BATCH)["loss"]
    for _ in range(60 if rule is DlADMM else 15):
        last = made.step(BATCH)["loss"]
    assert last < 0.7 * first


@pytest.mark.parametrize("rule", FULL)
def test_the_rows_may_come_in_any_order_if_they_are_numbered(rule):
    plain = started(rule(), sweeps=4)
    shuffled = rule()
    shuffled.bind(network(), CROSS_ENTROPY)
    for seed in range(4):
        order = torch.randperm(12, generator=torch.Generator().manual_seed(seed))
        shuffled.step({**{k: v[order] for k, v in BATCH.items()}, "index": 10 * order})
    for a, b in zip(plain.model.parameters(), shuffled.model.parameters(), strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("rule", FULL)
def test_other_rows_are_an_error(rule):
    made = started(rule(), sweeps=1)
    expected = rf"{rule.__name__} keeps a state for each training example.*torch.arange"
    for other in ({k: v[:6] for k, v in BATCH.items()}, {k: v.flip(0) for k, v in BATCH.items()}):
        with pytest.raises(ValueError, match=expected):
            made.step(other)
    with pytest.raises(ValueError, match=expected):
        made.step({**BATCH, "index": torch.arange(12)})


@pytest.mark.parametrize("rule", FULL)
def test_they_go_on_exactly_from_their_state(rule):
    whole = started(rule(), sweeps=5)
    half = started(rule(), sweeps=2)
    rest = rule()
    model = copy.deepcopy(half.model)
    rest.bind(model, CROSS_ENTROPY)
    rest.load_state_dict(copy.deepcopy(half.state_dict()))
    before = copy.deepcopy(rest.state_dict())
    rest.alignment(BATCH)
    torch.testing.assert_close(rest.state_dict(), before, rtol=0, atol=0)
    for _ in range(3):
        rest.step(BATCH)
    for a, b in zip(whole.model.parameters(), model.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("rule", FULL)
def test_the_trainer_shuffles_and_resumes_them(rule, tmp_path):
    x = X.float()
    data = Data({"input": x, "target": CLASSES, "index": torch.arange(12)})

    def run(epochs, **options):
        torch.manual_seed(0)
        return fit(
            MLP([5, 6, 3]), data, rule=rule(), epochs=epochs, batch_size=12, verbose=False,
            precision="32", **options,
        )  # fmt: skip

    whole = run(4)
    run(2, directory=tmp_path)
    resumed = run(4, directory=tmp_path, resume=True)
    for a, b in zip(whole.model.parameters(), resumed.model.parameters(), strict=True):
        assert torch.equal(a, b)
    assert "residual" in next(iter(whole.history.keys() & {"residual", "train_residual"}))


# LPOM --------------------------------------------------------------------------------------------


def conjugates(activation):
    """The integral of phi, and its convex conjugate: f + g + |X - z|^2 / 2 = P*(X) + P(z) - X z."""
    if activation == "relu":
        return lambda z: z.relu() ** 2 / 2, lambda x: x**2 / 2
    return (
        lambda z: F.softplus(2 * z) / 2 * 2 - z - math.log(2),  # log cosh
        lambda x: x * x.atanh() + torch.log1p(-(x**2)) / 2,
    )


def lifted(rule, outputs, batch, activation):
    integral, conjugate = conjugates(activation)
    last = len(outputs) - 1
    total = rule.chain.judge(outputs[-1], batch)[0]
    for index in range(1, len(outputs)):
        z = rule.chain.layers[index - 1](outputs[index - 1])
        price = rule.mu / math.prod(rule.ratios()[index - 1 :])
        x = outputs[index]
        if index == last:
            total = total + price / 2 * (x - z).square().sum()
        else:
            total = total + price * (conjugate(x) + integral(z) - x * z).sum()
    return total.detach()


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_lifted_layers_cost_nothing_exactly_at_their_outputs(activation):
    integral, conjugate = conjugates(activation)
    z = torch.linspace(-2, 2, 9).double()
    phi = getattr(torch, activation)(z)
    torch.testing.assert_close(conjugate(phi) + integral(z) - phi * z, torch.zeros(9).double())
    inside = phi + 0.1 * (0.99 - phi)
    assert (conjugate(inside) + integral(z) - inside * z > 1e-8).all()


def settle(rule, outputs, index, batch, times=200):
    for _ in range(times):
        outputs[index] = rule.settled(outputs, index, batch, rule.ratios())


@pytest.mark.parametrize("size", [1, 6])
@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_each_block_of_lpom_settles_at_its_lowest(activation, size):
    model = network(activation)
    with torch.no_grad():
        model.layers[4].weight.mul_(size)
    rule = LPOM()
    rule.bind(model, CROSS_ENTROPY)
    with torch.no_grad():
        found = rule.chain.forward(X)
        outputs = [X, *(a.detach() for a in found.outputs[:-1]), found.sums[-1].detach()]
        assert (rule.ratios()[1] < 0.1) == (size == 6)  # too large for it to attract
        before = lifted(rule, outputs, BATCH, activation)
        for index in (3, 2, 1, 2, 3):
            settle(rule, outputs, index, BATCH)
            now = lifted(rule, outputs, BATCH, activation)
            assert now < before + 1e-12
            before = now
            kept = outputs[index]
            for direction in directions(kept):
                moved = kept + 1e-3 * direction
                if activation == "relu":
                    moved = moved.clamp(min=0) if index < 3 else moved
                elif index < 3:
                    moved = moved.clamp(-1 + 1e-9, 1 - 1e-9)
                outputs[index] = moved
                assert lifted(rule, outputs, BATCH, activation) >= now - 1e-10
            outputs[index] = kept
        rule.ridge = 0.0
        rule.fit_weights(outputs)
        assert lifted(rule, outputs, BATCH, activation) < before


def test_lpom_stands_still_at_a_perfect_fit():
    # The loss is 0 at the forward pass, so outputs and weights are stationary.
    model = network("tanh")
    with torch.no_grad():
        batch = {"input": X, "target": model(X)}
    before = copy.deepcopy(model.state_dict())
    rule = started(LPOM(mu=4.0), model, batch, supervised(squared), 3)
    torch.testing.assert_close(dict(model.state_dict()), dict(before), rtol=0, atol=1e-9)
    assert rule.state_dict() == {}


def test_a_linear_layer_under_lpom_takes_the_ridge_step_to_its_prox():
    # X_n minimizes |x - y|^2 + mu/2 |x - z|^2: x = (2 y + mu z) / (2 + mu).
    model = network(sizes=(5, 3))
    layer, z = model.layers[0], model(X).detach()
    wished = (2 * VALUES["target"] + 4 * z) / 6
    expected = copy.deepcopy(layer)
    started(LPOM(mu=4.0, inner=60, ridge=0.1), model, VALUES, supervised(squared), 1)
    a = torch.cat([X, torch.ones(12, 1)], 1).double()
    move = torch.linalg.solve(a.T @ a + 0.1 * torch.eye(6).double(), a.T @ (wished - z))
    torch.testing.assert_close(layer.weight.detach(), expected.weight.detach() + move[:5].T)
    torch.testing.assert_close(layer.bias.detach(), expected.bias.detach() + move[5])


def test_lpom_steps_as_far_as_the_steepest_slope_allows():
    # A sigmoid is at most a quarter steep: W moves four times the ridge solution, and the fixed
    # points attract at prices 16 times those of tanh between two of them, 4 times before the sums.
    made = {}
    for activation in ("tanh", "sigmoid"):
        made[activation] = LPOM(ratio=1e9, ridge=0.1)
        made[activation].bind(network(activation), CROSS_ENTROPY)
    with torch.no_grad():
        found, reference = made["sigmoid"].ratios(), made["tanh"].ratios()
    assert [a / b for a, b in zip(found, reference, strict=True)] == pytest.approx([16, 4])
    layer = made["sigmoid"].model.layers[0]
    before = copy.deepcopy(layer)
    wished = torch.rand(12, 7, generator=torch.Generator().manual_seed(2)).double()
    off = wished - before(X).sigmoid().detach()
    with torch.no_grad():
        h = torch.ones(12, 6).double()
        made["sigmoid"].fit_weights([X, wished, h, torch.zeros(12, 3).double()])
    a = torch.cat([X, torch.ones(12, 1)], 1).double()
    move = 4 * torch.linalg.solve(a.T @ a + 0.1 * torch.eye(6).double(), a.T @ off)
    torch.testing.assert_close(layer.weight.detach(), before.weight.detach() + move[:5].T)
    torch.testing.assert_close(layer.bias.detach(), before.bias.detach() + move[5])


# Refusals ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", [*FULL, LPOM])
def test_they_refuse_what_they_cannot_solve(rule):
    name = rule.__name__
    for model, match in (
        (LeNet5(1, 3, 8), f"{name} solves for the weights of linear layers, but layer .*Conv2d"),
        (MLP([5, 4, 3], dropout=0.5), "evaluates pieces of the model many times"),
        (nn.Sequential(nn.Linear(5, 4), nn.PReLU(), nn.Linear(4, 3)), "PReLU|1.weight is"),
        (MLP([5, 4, 3], norm="layer"), "one elementwise activation"),
    ):
        with pytest.raises(ValueError, match=match):
            rule().bind(model, CROSS_ENTROPY)
    with pytest.raises(ValueError, match=f"{name} solves for weights without the objective's pen"):
        started(rule(), objective=supervised("cross_entropy", ["l2:0.1"]), sweeps=1)
    with pytest.raises(ValueError, match="nothing to train"):
        rule().bind(network().requires_grad_(False), CROSS_ENTROPY)
    with pytest.raises(ValueError, match="one vector for each example"):
        started(
            rule(),
            nn.Sequential(nn.Linear(5, 3).double()),
            {**BATCH, "input": X[:, None]},
            sweeps=1,
        )


def test_activations_must_be_piecewise_linear_or_increase():
    for rule in FULL:
        with pytest.raises(ValueError, match=r"closed form.*layers\.0 is followed by tanh"):
            rule().bind(network("tanh"), CROSS_ENTROPY)
    with pytest.raises(ValueError, match="LPOM needs increasing activations"):
        LPOM().bind(network("radial"), CROSS_ENTROPY)
    with pytest.raises(ValueError, match="LPOM needs to know how steep"):
        LPOM().bind(nn.Sequential(nn.Linear(5, 4), nn.Softmin(0), nn.Linear(4, 3)), CROSS_ENTROPY)


@pytest.mark.parametrize(
    "make",
    [
        lambda: ADMM(beta=0),
        lambda: ADMM(warm=-1),
        lambda: DlADMM(rho=0),
        lambda: LPOM(ratio=0),
        lambda: LPOM(inner=0),
    ],
)
def test_wrong_settings_are_errors(make):
    with pytest.raises(ValueError, match="must"):
        make()
