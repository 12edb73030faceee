"""Elementwise penalties: derivatives, proximal steps, and what each leaves of the parameters."""

import pytest
import torch
from torch import nn

from neurarium.learning import Backprop
from neurarium.objectives import supervised
from neurarium.penalties import L1, L2, MCP, SCAD

DOUBLE = {"dtype": torch.float64}
THETA = torch.linspace(-6, 6, 97, **DOUBLE)  # off the kinks at 0.8 and 2.4 and 2.96
PENALTIES = {"L1": L1(0.8), "L2": L2(0.8), "SCAD": SCAD(0.8), "MCP": MCP(0.8)}


def each(penalty, theta):
    return torch.stack([penalty.value(t) for t in theta])


def soft(t, threshold):
    return t.sign() * (t.abs() - threshold).clamp(min=0)


# Derivatives for t > 0 as the papers print them.
SLOPES = {
    "L1": lambda t: torch.full_like(t, 0.8),
    "L2": lambda t: 2 * 0.8 * t,
    "SCAD": lambda t: 0.8 * ((t <= 0.8) + (3.7 * 0.8 - t).clamp(min=0) / (2.7 * 0.8) * (t > 0.8)),
    "MCP": lambda t: (0.8 - t / 3).clamp(min=0),
}


@pytest.mark.parametrize("name", PENALTIES)
def test_the_slope_is_the_printed_one_times_the_sign(name):
    theta = THETA.clone().requires_grad_()
    (slope,) = torch.autograd.grad(PENALTIES[name].value(theta), theta)
    torch.testing.assert_close(slope, SLOPES[name](THETA.abs()) * THETA.sign())


@pytest.mark.parametrize("name", PENALTIES)
def test_the_value_is_the_integral_of_the_slope_and_even(name):
    t = torch.linspace(0, 5, 100_001, **DOUBLE)
    integral = torch.cumulative_trapezoid(SLOPES[name](t), t)[9_999::10_000]
    ends = t[10_000::10_000]
    torch.testing.assert_close(each(PENALTIES[name], ends), integral, rtol=0, atol=1e-4)
    torch.testing.assert_close(each(PENALTIES[name], -ends), each(PENALTIES[name], ends))
    assert PENALTIES[name].value(torch.zeros(3, **DOUBLE)) == 0


@pytest.mark.parametrize("name", PENALTIES)
def test_a_model_in_any_memory_layout_is_penalized_as_one_vector(name):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(2, 3, 3), nn.Conv2d(3, 2, 3)).double()
    model = model.to(memory_format=torch.channels_last)
    value = PENALTIES[name](model)
    vector = torch.cat([layer.weight.flatten() for layer in model]).detach().requires_grad_()
    expected = PENALTIES[name].value(vector)
    torch.testing.assert_close(value, expected)
    value.backward()
    expected.backward()
    slopes = torch.cat([layer.weight.grad.flatten() for layer in model])
    torch.testing.assert_close(slopes, vector.grad)
    # So that the slopes add up with the loss's without a change of layout.
    assert all(
        layer.weight.grad.is_contiguous(memory_format=torch.channels_last) for layer in model
    )


def test_scad_and_mcp_are_constant_for_large_parameters():
    # λ²(a + 1)/2 and γλ²/2, from the threshold on.
    large = torch.tensor([2.96, 5, 1e6], **DOUBLE)
    torch.testing.assert_close(each(SCAD(0.8), large), torch.full_like(large, 0.64 * 4.7 / 2))
    torch.testing.assert_close(each(MCP(0.8), large), torch.full_like(large, 3 * 0.64 / 2))


def test_scad_and_mcp_with_far_thresholds_are_l1():
    for penalty in (SCAD(0.8, a=1e9), MCP(0.8, gamma=1e9)):
        torch.testing.assert_close(penalty.value(THETA), L1(0.8).value(THETA))
        torch.testing.assert_close(penalty.prox(THETA, 0.7), L1(0.8).prox(THETA, 0.7))


@pytest.mark.parametrize("step", [0.1, 0.7, 1.4])
@pytest.mark.parametrize("name", PENALTIES)
def test_prox_is_the_minimizer_on_a_grid(name, step):
    grid = torch.linspace(-7, 7, 56_001, **DOUBLE)
    penalty = PENALTIES[name]
    values = SLOPES[name](grid.abs())  # integrate the slope: independent of `value`
    values = torch.cumulative_trapezoid(values * grid.sign(), grid, dim=0)
    omega = torch.cat([torch.zeros(1, **DOUBLE), values])
    objective = (grid - THETA[:, None]).square() / 2 + step * omega
    torch.testing.assert_close(
        penalty.prox(THETA, step), grid[objective.argmin(1)], rtol=0, atol=6e-4
    )


def test_scads_prox_is_not_the_unit_step_with_a_smaller_lambda():
    # Between (1 + η)λ = 0.96 and aλ = 2.96, at θ = 2, η = 0.2, by hand:
    # (2.7·2 - 0.2·3.7·0.8)/(2.7 - 0.2) = 1.9232
    assert SCAD(0.8).prox(torch.tensor(2.0, **DOUBLE), 0.2).item() == pytest.approx(1.9232)
    assert MCP(0.8).prox(torch.tensor(2.0, **DOUBLE), 0.2).item() == pytest.approx(1.84 * 15 / 14)


def test_a_step_beyond_the_concavity_is_an_error():
    with pytest.raises(ValueError, match=r"below a - 1 = 2\.7, got 2\.7; use a lower learning"):
        SCAD(0.8).prox(THETA, 2.7)
    with pytest.raises(ValueError, match="below gamma = 3, got 4"):
        MCP(0.8).prox(THETA, 4.0)


@pytest.mark.parametrize("name", PENALTIES)
def test_a_penalty_of_weight_zero_does_nothing(name):
    penalty = type(PENALTIES[name])(0.0)
    theta = THETA.clone().requires_grad_()
    value = penalty.value(theta)
    assert value == 0
    (slope,) = torch.autograd.grad(value, theta)
    assert (slope == 0).all()
    torch.testing.assert_close(penalty.prox(THETA, 0.5), THETA)


def test_arguments_out_of_range_are_errors():
    with pytest.raises(ValueError, match="weight must be at least 0, got -1"):
        L1(-1)
    with pytest.raises(ValueError, match="a must be above 2, got 2"):
        SCAD(0.1, a=2)
    with pytest.raises(ValueError, match="gamma must be above 1, got 1"):
        MCP(0.1, gamma=1)


# --- weight decay ------------------------------------------------------------------------


def _after(optimizer, penalties=(), steps=20):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 2)).double()
    batch = {"input": torch.randn(12, 4, **DOUBLE), "target": torch.randn(12, 2, **DOUBLE)}
    rule = Backprop(optimizer(model.parameters()))
    rule.bind(model, supervised("mse", penalties))
    for _ in range(steps):
        rule.step(batch)
    return nn.utils.parameters_to_vector(model.parameters()).detach()


def test_under_gradient_descent_l2_is_weight_decay_of_twice_its_weight():
    penalized = _after(lambda p: torch.optim.SGD(p, lr=0.1), [L2(0.05, on="all")])
    decayed = _after(lambda p: torch.optim.SGD(p, lr=0.1, weight_decay=0.1))
    torch.testing.assert_close(penalized, decayed, rtol=1e-10, atol=1e-12)


def test_under_adam_l2_is_not_decoupled_decay():
    penalized = _after(lambda p: torch.optim.Adam(p, lr=0.1), [L2(0.05, on="all")])
    decayed = _after(lambda p: torch.optim.AdamW(p, lr=0.1, weight_decay=0.1))
    assert (penalized - decayed).abs().max() > 0.05


def test_l2_on_a_linear_model_ends_at_the_ridge_solution():
    torch.manual_seed(0)
    x, y = torch.randn(30, 4, **DOUBLE), torch.randn(30, **DOUBLE)
    model = nn.Linear(4, 1, bias=False).double()
    rule = Backprop(torch.optim.SGD(model.parameters(), lr=0.2))
    rule.bind(model, supervised("mse", [L2(0.3)]))
    for _ in range(300):
        rule.step({"input": x, "target": y})
    # Normal equations of 1/n ‖Xw - y‖² + λ‖w‖².
    ridge = torch.linalg.solve(x.T @ x / 30 + 0.3 * torch.eye(4, **DOUBLE), x.T @ y / 30)
    torch.testing.assert_close(model.weight.detach()[0], ridge, rtol=1e-8, atol=1e-10)
