"""Norms at most the limit, directions kept, the norm before returned."""

import pytest
import torch
from torch import nn

from neurarium.optim import clipping


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def with_gradients(*shapes):
    parameters = [nn.Parameter(torch.randn(shape).double()) for shape in shapes]
    for p in parameters:
        p.grad = 5 * torch.randn_like(p)
    return parameters


def flat(parameters):
    return torch.cat([p.grad.flatten() for p in parameters]).clone()


def test_the_norm_of_all_together_is_the_limit_and_the_direction_stays():
    parameters = with_gradients((4, 3), (5,), (2, 3, 2))
    before = flat(parameters)
    returned = clipping.clip_gradients_(parameters, norm=2.0)
    torch.testing.assert_close(returned, before.norm())
    torch.testing.assert_close(flat(parameters), 2 * before / before.norm(), rtol=1e-6, atol=0)
    short = flat(parameters)
    clipping.clip_gradients_(parameters, norm=2.1)  # short enough already
    assert torch.equal(flat(parameters), short)


def test_clamping_comes_before_scaling_and_the_norm_is_that_before_both():
    parameters = with_gradients((6, 3))
    before = flat(parameters)
    returned = clipping.clip_gradients_(parameters, norm=1.0, value=0.5)
    clamped = before.clamp(-0.5, 0.5)
    torch.testing.assert_close(returned, before.norm())
    torch.testing.assert_close(flat(parameters), clamped / clamped.norm(), rtol=1e-5, atol=0)
    clipping.clip_gradients_(parameters, value=0.1)
    assert flat(parameters).abs().max() == pytest.approx(0.1)


def test_without_a_limit_the_norm_is_only_measured():
    parameters = [*with_gradients((3, 2)), nn.Parameter(torch.ones(3))]  # one has no gradient
    before = flat(parameters[:1])
    torch.testing.assert_close(clipping.clip_gradients_(parameters), before.norm())
    assert torch.equal(flat(parameters[:1]), before)
    parameters[0].grad.fill_(torch.inf)
    assert clipping.clip_gradients_(parameters).isinf()
    assert parameters[0].grad.isinf().all()


def test_adaptive_clipping_bounds_each_row_by_its_weights():
    # Row norms 5, 0 (counts as 1e-3) and 10 with c = 0.1: at most 0.5, 1e-4 and 1.
    weight = nn.Parameter(torch.tensor([[3.0, 4.0], [0.0, 0.0], [6.0, 8.0]]).double())
    weight.grad = torch.tensor([[0.6, 0.8], [0.0, 2.0], [0.3, 0.4]]).double()
    clipping.clip_adaptively_([weight], 0.1)
    expected = torch.tensor([[0.3, 0.4], [0.0, 1e-4], [0.3, 0.4]]).double()
    torch.testing.assert_close(weight.grad, expected)


def test_adaptive_clipping_takes_filters_as_units_and_vectors_whole():
    filters, bias, scalar = with_gradients((4, 3, 2, 2), (7,), ())
    before = [p.grad.clone() for p in (filters, bias, scalar)]
    clipping.clip_adaptively_([filters, bias, scalar, nn.Parameter(torch.ones(2))], 0.01)
    for i in range(4):
        most = 0.01 * filters[i].norm()
        expected = before[0][i] * most / before[0][i].norm()
        torch.testing.assert_close(filters.grad[i], expected)
    torch.testing.assert_close(bias.grad, before[1] * 0.01 * bias.norm() / before[1].norm())
    torch.testing.assert_close(scalar.grad.abs(), 0.01 * scalar.abs())


def test_a_zero_gradient_stays_zero():
    weight = nn.Parameter(torch.zeros(3, 2))
    weight.grad = torch.zeros(3, 2)
    clipping.clip_adaptively_([weight], 0.01)
    clipping.clip_gradients_([weight], norm=1.0)
    assert (weight.grad == 0).all()


@pytest.mark.parametrize("limit", [0, -1.0, float("nan")])
def test_a_limit_that_is_not_positive_is_refused_by_name(limit):
    with pytest.raises(ValueError, match=f"norm must be positive, got {limit}"):
        clipping.check(norm=limit, value=None)
