"""The RBF network: interpolation, ridge regression, both ways of training."""

import json

import numpy as np
import pytest
import torch

from neurarium import networks
from neurarium.learning import Backprop
from neurarium.networks import RBFNetwork
from neurarium.objectives import supervised
from neurarium.training import fit


def waves(rows, dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = 4 * torch.rand(rows, 2, generator=generator, dtype=dtype) - 2
    return x, torch.sin(2 * x[:, 0]) * torch.cos(x[:, 1])


@pytest.mark.parametrize("kernel", ["gaussian", "multiquadric", "inverse_multiquadric"])
def test_with_a_unit_on_each_row_it_interpolates_as_scipy_does(kernel):
    from scipy.interpolate import RBFInterpolator

    (x, y), (new, _) = waves(40), waves(30, seed=1)
    model = RBFNetwork(2, 40, 1, kernel, beta=4.0, bias=False).double()
    model.solve(x, y, ridge=0, centers="rows")
    torch.testing.assert_close(model(x)[:, 0], y, rtol=1e-8, atol=1e-8)
    # scipy's epsilon multiplies the distance, beta its square.
    peer = RBFInterpolator(x, y, kernel=kernel, epsilon=2.0, degree=-1)
    torch.testing.assert_close(model(new)[:, 0], torch.from_numpy(peer(new)), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("bias", [True, False])
def test_the_second_stage_is_ridge_regression_on_the_units(bias):
    from sklearn.linear_model import Ridge

    x, y = waves(60)
    y = torch.stack([y, y.square() + 3], 1)
    model = RBFNetwork(2, 12, 2, bias=bias).double().solve(x, y, ridge=0.1)
    features = model.rbf(x).detach().numpy()
    peer = Ridge(0.1, fit_intercept=bias).fit(features, y.numpy())
    np.testing.assert_allclose(model.linear.weight.detach(), peer.coef_, rtol=1e-8)
    np.testing.assert_allclose(model(x).detach(), peer.predict(features), rtol=1e-8)


def test_classes_become_one_hot_and_the_data_are_not_needed_in_double():
    x, _ = waves(80, torch.float32)
    target = (x.norm(dim=1) > 1.2).long()
    a, b = RBFNetwork(2, 15, 2), RBFNetwork(2, 15, 2)
    a.solve(x, target)
    b.solve(x, torch.nn.functional.one_hot(target).float())
    assert torch.equal(a.linear.weight, b.linear.weight)
    assert (a(x).argmax(1) == target).float().mean() > 0.95


def test_a_system_that_float32_cannot_solve_is_solved():
    # Units so wide that their columns are nearly one: the condition number is beyond 1e7.
    x, y = waves(200, torch.float32)
    model = RBFNetwork(2, 60, 1).solve(x, y, ridge=1e-6, width=4)
    features = model.rbf(x)
    assert torch.linalg.cond(features.double()) > 1e7
    residual = (model(x)[:, 0] - y).square().mean() / y.var()
    normal = features.T @ features + 1e-6 * torch.eye(60)
    naive = torch.linalg.solve(normal, features.T @ y)
    assert residual < 0.01
    assert (features @ naive - y).square().mean() / y.var() > residual


def test_gradients_go_on_where_two_stages_stopped():
    x, y = waves(100, torch.float32)
    model = RBFNetwork(2, 8, 1).solve(x, y)
    before = (model(x)[:, 0] - y).square().mean().item()
    centers = model.rbf.centers.detach().clone()
    fit(
        model, (x, y), supervised("mse"), Backprop("adam", lr=0.02), epochs=150, batch_size=100,
        verbose=False,
    )  # fmt: skip
    assert not torch.equal(model.rbf.centers, centers)
    learnt = (model(x)[:, 0] - y).square().mean().item()
    assert learnt < before / 2
    # The linear layer can be solved for again, the units staying where they are.
    model.solve(x, y, ridge=0, centers=None)
    assert (model(x)[:, 0] - y).square().mean().item() <= learnt


def test_it_is_made_for_data_and_comes_back_from_its_configuration():
    model = networks.for_data("RBFNetwork:units=7,kernel=multiquadric", (2, 3), 4)
    x = torch.randn(5, 2, 3)
    assert model(x).shape == (5, 4)
    assert model.rbf.beta.tolist() == pytest.approx([0.5 / 6] * 7)
    again = networks.build(json.loads(json.dumps(networks.config(model))))
    again.load_state_dict(model.state_dict())
    assert torch.equal(again(x), model(x))
    with pytest.raises(ValueError, match="2 categorical columns; take MLP"):
        networks.for_data("RBFNetwork", (5,), 2, categories=(3, 4))


def test_what_cannot_be_solved_is_refused(unchecked):
    x, y = waves(10)
    with pytest.raises(ValueError, match="needs 4 rows, a unit's each, got 10"):
        RBFNetwork(2, 4, 1).solve(x, y, centers="rows")
    with pytest.raises(ValueError, match="must not be negative, got -1"):
        RBFNetwork(2, 4, 1).solve(x, y, ridge=-1)
    with pytest.raises(ValueError, match=r"must have 3 numbers a row, .* got 1"):
        RBFNetwork(2, 4, 3).solve(x, y)
