"""The extended Kalman filter: recursive least squares, and what it is beyond."""

import copy
import io

import pytest
import torch
from torch import nn

from neurarium.learning import EKF, NonFiniteError, Rule
from neurarium.losses import AdaptiveRobust
from neurarium.networks import MLP
from neurarium.objectives import supervised

pytestmark = pytest.mark.usefixtures("unchecked")  # vmap hides the shapes


def half_squares(prediction, target):
    return (prediction - target).square().sum(1).mean() / 2


def bound(model, loss=half_squares, **arguments):
    rule = EKF(**arguments)
    rule.bind(model, loss if isinstance(loss, nn.Module) else supervised(loss))
    return rule


def linear(inputs=4, outputs=2, seed=0):
    torch.manual_seed(seed)
    return nn.Linear(inputs, outputs).double()


def rows(count=30, inputs=4, outputs=2):
    torch.manual_seed(1)
    x = torch.randn(count, inputs, dtype=torch.float64)
    return {"input": x, "target": torch.randn(count, outputs, dtype=torch.float64)}


def flat(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


@pytest.mark.parametrize("size", [1, 7, 30])
def test_on_a_linear_model_it_is_ridge_regression_whatever_the_batches(size):
    # min |Y - X W|^2 / 2R + |W - W0|^2 / 2P0: the inverse of P0 is the ridge around the start.
    model, data, P0, R = linear(), rows(), 0.7, 1.0
    start = torch.cat([model.weight, model.bias[:, None]], 1).detach()
    X = torch.cat([data["input"], torch.ones(30, 1)], 1)
    rule = bound(model, R=R, P0=P0)
    for i in torch.arange(30).split(size):
        rule.step({name: value[i] for name, value in data.items()})
    gram = X.T @ X / R + torch.eye(5).double() / P0
    ridge = torch.linalg.solve(gram, X.T @ data["target"] / R + start.T / P0).T
    found = torch.cat([model.weight, model.bias[:, None]], 1)
    torch.testing.assert_close(found, ridge, rtol=1e-10, atol=1e-10)
    # and the covariance is the inverse of the normal equations, for each output alike
    of_first = [0, 1, 2, 3, 8]
    covariance = rule.P[of_first][:, of_first]
    torch.testing.assert_close(covariance, torch.linalg.inv(gram), rtol=1e-9, atol=1e-11)


def test_mean_squared_errors_differ_by_their_scale_alone():
    first, second, data = linear(), linear(), rows()
    bound(first, R=3.0).step(data)
    bound(second, "mse", R=3.0 * 2 / 2).step(data)  # two outputs
    torch.testing.assert_close(first.weight, second.weight, rtol=1e-12, atol=1e-12)


def test_a_step_is_gauss_newton_from_where_all_batches_before_left_it():
    # P+ = (P^-1 + H'AH/R)^-1 + Q, and theta falls by (P^-1 + H'AH/R)^-1 H'g/R; with cross-entropy
    # g is softmax less one-hot and A is diag(p) - p p', so nothing here comes from the rule.
    torch.manual_seed(0)
    model = MLP([3, 4, 3], activation="tanh").double()
    rule = bound(model, "cross_entropy", Q=0.01, R=2.0, P0=0.5)
    P = 0.5 * torch.eye(31, dtype=torch.float64)
    x, target = torch.randn(6, 3, dtype=torch.float64), torch.tensor([0, 1, 2, 2, 1, 0])
    for _ in range(2):
        theta = flat(model)
        p = model(x).softmax(1).detach()
        H = torch.zeros(6, 3, 31, dtype=torch.float64)
        for row in range(6):
            for j in range(3):
                found = torch.autograd.grad(model(x)[row, j], list(model.parameters()))
                H[row, j] = torch.cat([part.flatten() for part in found])
        g = p - nn.functional.one_hot(target, 3)
        A = torch.diag_embed(p) - p[:, :, None] * p[:, None]
        certain = torch.linalg.inv(P) + torch.einsum("rin,rij,rjm->nm", H, A, H) / 2
        change = torch.linalg.solve(certain, torch.einsum("rin,ri->n", H, g) / 2)
        P = torch.linalg.inv(certain) + 0.01 * torch.eye(31).double()
        loss = rule.step({"input": x, "target": target})["loss"]
        torch.testing.assert_close(flat(model), theta - change, rtol=1e-9, atol=1e-11)
        torch.testing.assert_close(rule.P, P, rtol=1e-9, atol=1e-11)
        torch.testing.assert_close(loss, -p[torch.arange(6), target].log().mean())


def test_exclusive_or_in_a_few_passes():
    x = torch.tensor([[0.0, 0], [0, 1], [1, 0], [1, 1]])
    data = {"input": x, "target": torch.tensor([[0.0], [1], [1], [0]])}
    solved = 0
    for seed in range(5):
        torch.manual_seed(seed)
        model = MLP([2, 4, 1], activation="tanh")
        rule = bound(model, "mse", R=0.01)
        for _ in range(20):
            losses = rule.step(data)["loss"]
        solved += bool(losses < 1e-3)
    assert solved >= 4


def test_frozen_parameters_stay_and_have_no_share_in_the_covariance():
    torch.manual_seed(0)
    model = MLP([4, 3, 2], activation="tanh").double()
    model.layers[0].requires_grad_(False)
    before = model.layers[0].weight.clone()
    rule = bound(model)
    rule.step(rows())
    assert torch.equal(model.layers[0].weight, before)
    assert rule.P.shape == (8, 8)


def test_single_precision_parameters_keep_a_definite_covariance():
    torch.manual_seed(0)
    model = MLP([4, 8, 2], activation="tanh")
    data = {name: value.float() for name, value in rows().items()}
    rule = bound(model, R=1e-3, P0=100.0)
    for _ in range(100):
        rule.step(data)
    assert torch.equal(rule.P, rule.P.T)
    assert torch.linalg.eigvalsh(rule.P).min() > -1e-9 * rule.P.abs().max()
    assert model.layers[0].weight.dtype == torch.float32


def test_it_is_a_rule_and_goes_on_exactly_where_it_stopped():
    torch.manual_seed(0)
    model, data = MLP([4, 3, 2], activation="tanh"), rows()
    data = {name: value.float() for name, value in data.items()}
    rule = bound(model, Q=1e-3)
    assert isinstance(rule, Rule)
    rule.step(data)
    file = io.BytesIO()
    torch.save(rule.state_dict(), file)
    file.seek(0)
    again = copy.deepcopy(model)
    resumed = bound(again, Q=1e-3)
    resumed.load_state_dict(torch.load(file))
    for _ in range(2):
        rule.step(data)
        resumed.step(data)
    assert torch.equal(flat(model), flat(again))
    assert torch.equal(rule.P, resumed.P)


def test_alignment_is_one_at_first_on_whitened_rows_and_changes_nothing():
    # Where H'AH is a multiple of the identity, P is too, and the step has the gradient's direction.
    model = nn.Linear(3, 1, bias=False).double()
    x = torch.linalg.qr(torch.randn(8, 3, dtype=torch.float64)).Q
    rule = bound(model)
    batch = {"input": x, "target": torch.randn(8, 1, dtype=torch.float64)}
    before, P = model.weight.clone(), rule.P.clone()
    assert rule.alignment(batch)[""] == pytest.approx(1)
    assert torch.equal(model.weight, before)
    assert torch.equal(rule.P, P)
    mlp = MLP([4, 6, 2], activation="tanh").double()
    rule = bound(mlp)
    assert all(0 < cosine < 1 for cosine in rule.alignment(rows()).values())


@pytest.mark.parametrize(
    ("model", "error"),
    [
        (nn.Sequential(nn.Linear(4, 2), nn.BatchNorm1d(2)), "'1', an nn.BatchNorm1d; leave it"),
        (nn.Sequential(nn.Dropout(0.1), nn.Linear(4, 2)), "'0', an nn.Dropout; leave it away"),
        (nn.Linear(100, 60), "this Linear has 6060 that require a gradient"),
        (nn.Identity(), "this Identity has 0 that require"),
    ],
)
def test_what_it_cannot_train_is_refused_at_bind(model, error):
    with pytest.raises(ValueError, match=error):
        bound(model)


def test_a_loss_that_learns_is_refused():
    with pytest.raises(ValueError, match="freeze the objective's parameters"):
        bound(linear(), supervised(AdaptiveRobust()))


def test_a_penalty_and_a_loss_that_curves_down_are_errors_at_the_step():
    rule = EKF()
    rule.bind(linear(), supervised(half_squares, ["l2:0.1"]))
    with pytest.raises(ValueError, match="leave the penalties away: P0"):
        rule.step(rows())
    with pytest.raises(ValueError, match="convex in the outputs, but this one curves down"):
        bound(linear(), "tukey:delta=1").step(rows())


def test_nothing_moves_when_the_loss_is_not_a_number():
    model, data = linear(), rows()
    rule = bound(model)
    before = model.weight.clone()
    data["target"][0] = torch.nan
    with pytest.raises(NonFiniteError):
        rule.step(data)
    assert torch.equal(model.weight, before)
    assert torch.equal(rule.P, torch.eye(10, dtype=torch.float64))


@pytest.mark.parametrize("arguments", [{"Q": -1.0}, {"R": 0.0}, {"P0": float("nan")}])
def test_variances_must_be_variances(arguments):
    with pytest.raises(ValueError, match="is a variance and must be"):
        EKF(**arguments)


def test_a_vector_of_targets_meets_one_output():
    model = linear(outputs=1)
    data = rows(outputs=1)
    rule = bound(model, "mse")
    rule.step({**data, "target": data["target"][:, 0]})
    other = linear(outputs=1)
    bound(other, "mse").step(data)
    assert torch.equal(model.weight, other.weight)
