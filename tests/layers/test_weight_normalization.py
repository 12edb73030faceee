"""What weight normalization's gradient does, and weights standardized filter by filter."""

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import weight_norm
from torch.nn.utils.parametrize import register_parametrization

from neurarium import initialization as init
from neurarium.layers import WeightStandardization, weight_norm_backward


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def parts(layer):
    return layer.parametrizations.weight.original1, layer.parametrizations.weight.original0


LAYERS = [lambda: nn.Linear(5, 4), lambda: nn.Conv2d(3, 4, 2), lambda: nn.Conv1d(4, 6, 3, groups=2)]


@pytest.mark.parametrize("build", LAYERS)
def test_the_gradient_by_hand_is_autograds_and_orthogonal_to_v(build):
    layer = weight_norm(build()).double()
    v, g = parts(layer)
    nn.init.normal_(g)
    with torch.no_grad():
        v *= 3  # the length of v matters, though not to w
    weight = layer.weight
    w_grad = torch.randn_like(weight)
    expected = torch.autograd.grad(weight, (v, g), w_grad)
    ours = weight_norm_backward(w_grad, v.detach(), g.detach())
    torch.testing.assert_close(ours, expected, rtol=1e-10, atol=1e-12)
    along = (ours[0] * v).flatten(1).sum(1)
    torch.testing.assert_close(along, torch.zeros_like(along), rtol=0, atol=1e-12)


def test_directions_grow_under_plain_gradient_descent_as_pythagoras_says():
    layer = weight_norm(nn.Linear(6, 3)).double()
    v, _ = parts(layer)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.5)
    x, y = torch.randn(20, 6).double(), torch.randn(20, 3).double()
    for _ in range(30):
        before = v.detach().norm(dim=1)
        optimizer.zero_grad()
        (layer(x) - y).square().mean().backward()
        optimizer.step()
        # The step is at a right angle to v.
        expected = (before.square() + (0.5 * v.grad.norm(dim=1)).square()).sqrt()
        torch.testing.assert_close(v.detach().norm(dim=1), expected, rtol=1e-12, atol=0)
        assert (v.norm(dim=1) > before).all()


@pytest.mark.parametrize("build", LAYERS)
def test_standardized_filters_have_mean_0_and_variance_1(build):
    layer = build().double()
    nn.init.normal_(layer.weight, mean=2, std=3)
    raw = layer.weight.detach().clone()
    register_parametrization(layer, "weight", WeightStandardization(eps=0))
    deviation, mean = torch.std_mean(layer.weight.flatten(1), 1, correction=0)
    torch.testing.assert_close(mean, torch.zeros_like(mean), rtol=0, atol=1e-12)
    torch.testing.assert_close(deviation, torch.ones_like(mean))
    # A filter shifted and stretched is the same filter.
    layer.weight = 5 * raw + 7
    torch.testing.assert_close(layer.weight, WeightStandardization(eps=0)(raw))


def test_standardization_takes_the_mean_out_of_the_gradient():
    layer = register_parametrization(nn.Conv2d(3, 4, 3), "weight", WeightStandardization()).double()
    layer(torch.randn(2, 3, 6, 6).double()).square().sum().backward()
    grad = layer.parametrizations.weight.original.grad.flatten(1)
    assert grad.abs().mean() > 1e-3
    torch.testing.assert_close(grad.sum(1), torch.zeros(4).double(), rtol=0, atol=1e-12)


def test_a_parametrized_layer_is_initialized_through_its_parametrization():
    layer = register_parametrization(nn.Linear(300, 200), "weight", WeightStandardization())
    init.init_(layer, "normal:std=0.3")
    assert layer.parametrizations.weight.original.std().item() == pytest.approx(0.3, rel=0.02)
    normed = init.init_(weight_norm(nn.Linear(300, 200)), "normal:std=0.3")
    assert normed.weight.std().item() == pytest.approx(0.3, rel=0.02)
    assert (normed.bias == 0).all()


def test_a_filter_of_one_weight_is_an_error(unchecked):
    with pytest.raises(ValueError, match="has 1 value in each mean"):
        register_parametrization(nn.Conv2d(1, 3, 1), "weight", WeightStandardization())
