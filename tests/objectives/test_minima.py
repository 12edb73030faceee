"""Auxiliary scalars: their gradients, and that the only finite minima left are global."""

import math

import pytest
import torch
from torch import nn

from neurarium.objectives import WithoutBadMinima, supervised
from neurarium.penalties import L2

DOUBLE = {"dtype": torch.float64}


def objective(a, b, reg=0.1):
    made = WithoutBadMinima(supervised("mse"), reg=reg).double()
    with torch.no_grad():
        made.a.fill_(a)
        made.b.fill_(b)
    return made


def batch_with_loss(loss):
    target = torch.zeros(3, **DOUBLE)
    return {"input": torch.full((3,), math.sqrt(loss), **DOUBLE), "target": target}


@pytest.mark.parametrize(("a", "b"), [(0.5, 0.0), (1.3, -0.7), (-0.2, 2.0)])
def test_value_and_gradients_are_those_of_the_paper(a, b):
    made, L, reg = objective(a, b), 0.7, 0.1
    total = made(nn.Identity(), batch_with_loss(L))["loss"]
    gap = a * math.exp(b) - 1
    assert total.item() == pytest.approx(L * (1 + gap**2) + reg * a**2)
    by_a, by_b = torch.autograd.grad(total, [made.a, made.b])
    assert by_a.item() == pytest.approx(2 * L * gap * math.exp(b) + 2 * reg * a)
    assert by_b.item() == pytest.approx(2 * L * a * math.exp(b) * gap)


def test_stationary_points_with_finite_b_have_no_loss_left():
    # ∂b = 0 needs L a (a e^b - 1) = 0. With a e^b = 1, ∂a = 2λa is not 0; with a = 0,
    # ∂a = -2 L e^b is not, unless L = 0. So for L > 0 the gradient never vanishes.
    grid = [(a, b) for a in torch.linspace(-2, 2, 41).tolist() for b in range(-3, 6)]
    for a, b in [*grid, *((math.exp(-b), b) for b in range(-3, 6))]:
        made = objective(a, float(b))
        loss = made(nn.Identity(), batch_with_loss(0.5))["loss"]
        assert max(g.abs() for g in torch.autograd.grad(loss, [made.a, made.b])) > 1e-4
    made = objective(0.0, 1.0)  # while a global minimum stays one
    loss = made(nn.Identity(), batch_with_loss(0.0))["loss"]
    assert loss == 0
    assert torch.autograd.grad(loss, [made.a, made.b]) == (0, 0)


def test_the_parts_of_the_objective_are_kept_and_the_scalars_are_parameters():
    made = WithoutBadMinima(supervised("mse", [L2(0.1)]))
    model = nn.Linear(2, 1)
    parts = made(model, {"input": torch.randn(4, 2), "target": torch.randn(4)})
    assert list(parts) == ["loss", "original", "mse", "l2"]
    torch.testing.assert_close(parts["original"], parts["mse"] + parts["l2"])
    # It starts as the objective itself and a constant.
    torch.testing.assert_close(parts["loss"], parts["original"] + 0.1)
    assert {name for name, _ in made.named_parameters()} == {"a", "b"}


def test_a_large_b_does_not_overflow():
    made = objective(1e-13, 1e4)
    loss = made(nn.Identity(), batch_with_loss(0.5))["loss"]
    loss.backward()
    assert loss.isfinite()
    assert made.a.grad.isfinite()


def test_without_regularization_it_is_an_error():
    with pytest.raises(ValueError, match="reg must be positive, got 0"):
        WithoutBadMinima(supervised("mse"), reg=0.0)
