"""Group lasso and nuclear norm: whole groups or ranks vanish together."""

import itertools
import math

import pytest
import torch
from torch import nn

from neurarium.penalties import GroupLasso, Nuclear

DOUBLE = {"dtype": torch.float64}


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), **DOUBLE)


def test_group_lasso_values_worked_by_hand():
    theta = torch.tensor([[3.0, 4], [0, 0], [5, 12]], **DOUBLE)
    # Rows: √2 (5 + 0 + 13); columns: √3 (√34 + √160).
    assert GroupLasso(0.5).value(theta).item() == pytest.approx(0.5 * math.sqrt(2) * 18)
    columns = GroupLasso(0.5, "columns").value(theta).item()
    assert columns == pytest.approx(0.5 * math.sqrt(3) * (math.sqrt(34) + math.sqrt(160)))


@pytest.mark.parametrize(("groups", "axis"), [("filters", 0), ("channels", 1)])
def test_filters_and_channels_are_a_convolutions_outputs_and_inputs(groups, axis):
    model = nn.Sequential(nn.Conv2d(2, 3, 2), nn.Flatten(), nn.Linear(3, 2)).double()
    weight = model[0].weight.detach()
    parts = [w.norm() * math.sqrt(w.numel()) for w in weight.unbind(axis)]
    torch.testing.assert_close(GroupLasso(0.1, groups)(model).detach(), 0.1 * sum(parts))


def test_the_prox_of_a_group_is_the_minimizer_on_a_grid():
    # Rotational symmetry puts the minimizer on the ray of θ: a grid along it suffices; a second
    # grid around the result shows that no neighbour is better.
    theta, step, weight = torch.tensor([[1.2, -1.6], [0.3, 0.1]], **DOUBLE), 0.5, 0.7
    penalty = GroupLasso(weight)
    found = penalty.prox(theta, step)

    def objective(x):
        return (x - theta).square().sum() / 2 + step * penalty.value(x)

    ray = torch.linspace(0, 1, 10_001, **DOUBLE)
    for row in range(2):
        lengths = (ray - 1).square() * theta[row].square().sum() / 2
        best = ray[(lengths + step * weight * math.sqrt(2) * ray * theta[row].norm()).argmin()]
        torch.testing.assert_close(found[row], best * theta[row], rtol=0, atol=2e-4)
    for shift in itertools.product((-1e-3, 0, 1e-3), repeat=4):
        assert objective(found) <= objective(found + torch.tensor(shift, **DOUBLE).reshape(2, 2))


def test_groups_become_exactly_zero_together():
    theta = draw(20, 5)
    theta[::2] *= 0.1
    shrunk = GroupLasso(0.5).prox(theta, 1.0)
    zero = shrunk == 0
    assert zero.all(1)[::2].all()
    assert not zero[1::2].any()


def test_zero_groups_and_zero_weight_give_no_nan():
    theta = torch.zeros(2, 3, **DOUBLE, requires_grad=True)
    for penalty in (GroupLasso(0.1), GroupLasso(0.0)):
        (slope,) = torch.autograd.grad(penalty.value(theta), theta)
        assert slope.tolist() == [[0, 0, 0]] * 2
        assert (penalty.prox(theta.detach(), 1.0) == 0).all()


def test_an_unknown_group_is_an_error(unchecked):
    with pytest.raises(ValueError, match="rows, columns, filters, channels, got 'layers'"):
        GroupLasso(0.1, "layers")


def test_the_nuclear_norm_is_the_sum_of_singular_values_and_its_slope_is_uv():
    w = draw(4, 3).requires_grad_()
    value = Nuclear(0.5).value(w)
    u, s, vh = torch.linalg.svd(w.detach(), full_matrices=False)
    torch.testing.assert_close(value.detach(), 0.5 * s.sum())
    torch.testing.assert_close(torch.autograd.grad(value, w)[0], 0.5 * u @ vh)


def test_the_prox_of_the_nuclear_norm_lowers_the_rank_and_is_optimal():
    w, step = draw(5, 4), 0.8
    penalty = Nuclear(1.0)
    found = penalty.prox(w, step)
    s = torch.linalg.svdvals(w)
    torch.testing.assert_close(torch.linalg.svdvals(found), (s - step).clamp(min=0), atol=1e-12,
                               rtol=1e-12)  # fmt: skip
    assert torch.linalg.matrix_rank(found) == (s > step).sum() < 4

    def objective(x):
        return (x - w).square().sum() / 2 + step * penalty.value(x)

    for seed in range(50):
        assert objective(found) < objective(found + 1e-2 * draw(5, 4, seed=seed + 1))


def test_a_convolutions_filters_are_the_rows_of_its_matrix():
    model = nn.Conv2d(2, 3, 2).double()
    matrix = model.weight.detach().reshape(3, 8)
    torch.testing.assert_close(Nuclear(2.0)(model).detach(), 2 * torch.linalg.svdvals(matrix).sum())
    assert Nuclear(2.0).prox(model.weight.detach(), 0.01).shape == (3, 2, 2, 2)
