"""The tangent kernel, its limit, and training as it predicts it."""

import math

import numpy as np
import pytest
import scipy.linalg
import torch
from tests.training.conftest import make_data, make_network
from torch import nn

from neurarium.data import Data
from neurarium.learning import Backprop
from neurarium.networks import MLP
from neurarium.objectives import supervised
from neurarium.training import fit, ntk


def network(outputs=2):
    torch.manual_seed(0)
    return MLP([3, 20, outputs], activation="tanh").double()


def rows(n, seed=1, features=3):
    return torch.randn(n, features, generator=torch.Generator().manual_seed(seed)).double()


def jacobian(model, x):
    """(rows, outputs, parameters), entry by entry."""
    parameters = [p for p in model.parameters() if p.requires_grad]

    def gradient(value):
        parts = torch.autograd.grad(value, parameters, retain_graph=True, materialize_grads=True)
        return torch.cat([part.flatten() for part in parts])

    return torch.stack([torch.stack([gradient(v) for v in row]) for row in model(x)])


@pytest.mark.parametrize("numbers", [2**25, 500])  # in one chunk, and in chunks of a few rows
def test_the_kernel_is_the_product_of_jacobians(numbers, monkeypatch):
    monkeypatch.setattr(ntk, "_CHUNK_NUMBERS", numbers)
    model, x, z = network(), rows(5), rows(7, seed=2)
    model.layers.append(nn.Tanh())  # without it the kernel is symmetric in the two outputs
    expected = torch.einsum("ncp,mdp->nmcd", jacobian(model, x), jacobian(model, z))
    torch.testing.assert_close(ntk.kernel(model, x, z), expected)
    one = network(outputs=1)
    own = jacobian(one, x).flatten(1)
    torch.testing.assert_close(ntk.kernel(one, x), own @ own.T)


def test_frozen_parameters_have_no_part_in_the_kernel():
    model = network(outputs=1)
    model.layers[0].requires_grad_(False)
    x = rows(4)
    hidden = torch.tanh(x @ model.layers[0].weight.T + model.layers[0].bias)
    torch.testing.assert_close(ntk.kernel(model, x), hidden @ hidden.T + 1)  # 1: the bias


def test_the_kernel_of_a_wide_rectifier_layer_is_the_arc_cosine_kernel():
    # Expectations over w ~ N(0, I) of relu(w.x) relu(w.x') and of the two steps, Cho & Saul (2009).
    error = {}
    for width in (256, 4096):
        errors = []
        for seed in range(4):
            torch.manual_seed(seed)
            x = torch.randn(32, 16).double()
            norms, dots = x.norm(dim=1), x @ x.T / 16
            lengths = norms[:, None] * norms / 16
            cosine = (dots / lengths).clamp(-1, 1)
            angle = cosine.acos()
            limit = lengths * (angle.sin() + (math.pi - angle) * cosine) / math.pi
            limit += dots * (math.pi - angle) / math.pi
            model = MLP([16, width, 1], bias=False).double()
            found = ntk.kernel(ntk.parametrize_(model, gains=(1, math.sqrt(2))), x)
            errors.append(float((found - limit).norm() / limit.norm()))
        error[width] = sum(errors) / 4
    assert error[4096] < 0.06
    assert error[256] / error[4096] == pytest.approx(4, rel=0.35)  # 1 / sqrt(width)


def test_the_closed_form_of_discrete_steps_is_gradient_descent_on_the_linearization():
    model, x, y, z = network(), rows(6), rows(6, 2)[:, :2], rows(4, 3)
    lin, lr = ntk.linearize(model), 0.02
    for t in range(51):
        if t in (0, 1, 50):
            predicted = ntk.predict(model, x, y, z, t=t, lr=lr, flow=False)
            torch.testing.assert_close(lin(z).detach(), predicted)
        loss = (lin(x) - y).square().sum() / 2
        gradients = torch.autograd.grad(loss, list(lin.displacement))
        with torch.no_grad():
            for p, g in zip(lin.displacement, gradients, strict=True):
                p -= lr * g


def test_flow_is_the_matrix_exponential_and_the_limit_of_small_steps():
    model, x, y, z = network(outputs=1), rows(6), rows(6, 2)[:, :1], rows(4, 3)
    theta, lr, t = ntk.kernel(model, x).numpy(), 0.05, 7.0
    with torch.no_grad():
        before, start = model(x).numpy(), model(z).numpy()
    left = scipy.linalg.expm(-lr * t * theta)
    weights = np.linalg.solve(theta, (np.eye(6) - left) @ (y.numpy() - before))
    expected = torch.from_numpy(start + ntk.kernel(model, z, x).numpy() @ weights)
    flow = ntk.predict(model, x, y, z, t=t, lr=lr)
    torch.testing.assert_close(flow, expected)
    steps = ntk.predict(model, x, y, z, t=7 * 10**6, lr=lr * 1e-6, flow=False)
    torch.testing.assert_close(flow, steps, rtol=0, atol=1e-5)
    torch.testing.assert_close(ntk.predict(model, x, y.squeeze(1), z, t=t, lr=lr), flow)


def test_at_the_end_of_training_the_targets_are_met_and_at_its_start_nothing_has_changed():
    model, x, y, z = network(), rows(6), rows(6, 2)[:, :2], rows(4, 3)
    torch.testing.assert_close(ntk.predict(model, x, y, x), y)
    with torch.no_grad():
        torch.testing.assert_close(ntk.predict(model, x, y, z, t=0.0), model(z))


@pytest.mark.parametrize("flow", [True, False])
def test_a_short_time_moves_along_the_kernel(flow):
    model, x, y, z = network(outputs=1), rows(6), rows(6, 2)[:, :1], rows(4, 3)
    with torch.no_grad():
        missing, start = y - model(x), model(z)
    rate = (ntk.predict(model, x, y, z, t=1, lr=1e-10, flow=flow) - start) / 1e-10
    torch.testing.assert_close(rate, ntk.kernel(model, z, x) @ missing, rtol=0, atol=1e-4)


def test_a_singular_kernel_is_no_obstacle():
    model, y = nn.Linear(2, 1, bias=False).double(), torch.tensor([[1.0], [3.0], [2.0]]).double()
    x = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 0.0]]).double()
    # Least squares on two equal rows is their mean; a row of zeros moves nothing.
    met = ntk.predict(model, x, y, torch.eye(2).double())
    torch.testing.assert_close(met, torch.stack([torch.tensor([2.0]).double(),
                                                 model.weight.detach()[:, 1]]))  # fmt: skip
    late = ntk.predict(model, x, y, torch.eye(2).double(), t=100.0)
    torch.testing.assert_close(late, met)


def test_a_linearization_is_the_tangent_at_its_origin():
    model, x = network(), rows(5)
    lin = ntk.linearize(model)
    torch.testing.assert_close(lin(x), model(x))
    own = jacobian(model, x)
    step = [torch.randn_like(p) for p in model.parameters()]
    with torch.no_grad():
        for p, s in zip(lin.displacement, step, strict=True):
            p.copy_(s)
    flat = torch.cat([s.flatten() for s in step])
    torch.testing.assert_close(lin(x), model(x) + own @ flat)
    slopes = torch.autograd.grad(lin(x)[2, 1], list(lin.displacement))
    torch.testing.assert_close(torch.cat([s.flatten() for s in slopes]), own[2, 1])


def test_a_linearization_trains_as_any_module_and_leaves_the_network_alone():
    torch.manual_seed(0)
    model = make_network().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    lin = ntk.linearize(model)
    data = make_data(100)
    run = fit(lin, data, rule=Backprop("adam", lr=0.05), epochs=15, verbose=False)
    assert run.evaluate("train")["accuracy"] > 0.8
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(torch.equal(value, before[name]) for name, value in lin.base.state_dict().items())
    lin.train()
    x = data.train.tensors["input"]
    assert torch.equal(lin(x), lin(x))  # no dropout in the network inside


def test_a_wide_network_trains_as_its_linearization_predicts():
    torch.manual_seed(0)
    x, y, z = rows(8).float(), rows(8, 2)[:, :1].float(), rows(8, 3).float()
    apart = {}
    for width in (32, 8192):
        model = ntk.parametrize_(MLP([3, width, 1], activation="tanh"))
        with torch.no_grad():
            start = model(z)
        # The mean over 8 rows of the square has the gradient of half the sum at a quarter the rate.
        predicted = ntk.predict(model, x, y, z, t=60, lr=0.4 / 4, flow=False)
        fit(model, Data((x, y)), supervised("mse"), Backprop("sgd", lr=0.4), epochs=60,
            batch_size=8, verbose=False)  # fmt: skip
        with torch.no_grad():
            moved = (model(z) - start).norm()
            apart[width] = float((model(z) - predicted).norm() / moved)
    assert apart[8192] < 0.03
    assert apart[32] > 3 * apart[8192]


def test_the_ntk_parametrization_scales_fresh_weights_by_the_fan_in():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(4, 50, 5), nn.ReLU(), nn.Flatten(), nn.Linear(50, 200))
    ntk.parametrize_(model, gains=(1, 2))
    for layer, fan_in, gain in ((model[0], 100, 1), (model[3], 50, 2)):
        raw = layer.parametrizations.weight.original.detach()
        assert float(raw.std()) == pytest.approx(1, abs=0.03)
        torch.testing.assert_close(layer.weight.detach(), gain / math.sqrt(fan_in) * raw)
        assert not layer.bias.any()


def test_the_network_and_its_modes_are_as_they_were():
    model = make_network().train()
    model[1].eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    x = torch.randn(6, 4)
    ntk.kernel(model, x)
    with pytest.raises(ValueError, match="y must have the shape"):
        ntk.predict(model, x, torch.zeros(6, 4), x)
    assert [m.training for m in model.modules()] == [True, True, False, True, True, True]
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_wrong_arguments_are_told(unchecked):
    model, x, y = network(), rows(4), rows(4)[:, :2]
    with pytest.raises(ValueError, match=r"got \(4,\) and \(4, 2\); classes need one-hot"):
        ntk.predict(model, x, y[:, 0], x)
    with pytest.raises(ValueError, match=r"steps of lr=100.0 diverge; .* must be below"):
        ntk.predict(model, x, y, x, t=3, lr=100.0, flow=False)
    with pytest.raises(ValueError, match=r"whole number of steps when flow=False, got 2\.5"):
        ntk.predict(model, x, y, x, t=2.5, flow=False)
    with pytest.raises(ValueError, match="one number or one per layer, got 3 for 2 layers"):
        ntk.parametrize_(model, gains=(1, 2, 3))
    with pytest.raises(ValueError, match="requires_grad_"):
        ntk.kernel(model.requires_grad_(False), x)
