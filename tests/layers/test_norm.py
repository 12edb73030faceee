"""One formula equals torch's five layers; gradients derived by hand equal autograd's."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from neurarium.layers import batch_norm_backward, layer_norm_backward, normalize


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def images(*shape):
    return (3 + 2 * torch.randn(shape)).double()


X = (4, 6, 5, 3)
LAYERS = {
    "batch": (lambda x: normalize(x, (0, 2, 3)), nn.BatchNorm2d(6)),
    "layer": (lambda x: normalize(x, (1, 2, 3)), nn.LayerNorm(X[1:])),
    "layer, last axis": (lambda x: normalize(x, (-1,)), nn.LayerNorm(3)),
    "instance": (lambda x: normalize(x, (2, 3)), nn.InstanceNorm2d(6)),
    "group": (
        lambda x: normalize(x.unflatten(1, (2, -1)), (2, 3, 4)).flatten(1, 2),
        nn.GroupNorm(2, 6),
    ),
    "rms": (lambda x: normalize(x, (-1,), center=False, eps=1e-3), nn.RMSNorm(3, eps=1e-3)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_one_formula_is_torchs_layer(name):
    ours, layer = LAYERS[name]
    x = images(*X)
    torch.testing.assert_close(ours(x), layer.double()(x), rtol=1e-12, atol=1e-12)


def test_one_group_is_layer_norm_and_a_group_per_channel_is_instance_norm():
    x = images(*X)
    one = F.group_norm(x, 1, eps=1e-5)
    torch.testing.assert_close(normalize(x, (1, 2, 3)), one, rtol=1e-12, atol=1e-12)
    each = F.group_norm(x, 6, eps=1e-5)
    torch.testing.assert_close(normalize(x, (2, 3)), each, rtol=1e-12, atol=1e-12)


def test_two_values_worked_by_hand():
    # mean 3, variance 4, eps 5: (x - 3) / 3; without the mean: mean square 13, eps 3.
    x = torch.tensor([[1.0, 5.0]])
    torch.testing.assert_close(normalize(x, (1,), eps=5), torch.tensor([[-2 / 3, 2 / 3]]))
    torch.testing.assert_close(normalize(x, (1,), False, eps=3), torch.tensor([[0.25, 1.25]]))


class ByHand(torch.autograd.Function):
    """A normalization with a scale and a shift whose gradient is the one under test."""

    @staticmethod
    def forward(ctx, x, weight, bias, dims, backward, shape):
        ctx.save_for_backward(x, weight)
        ctx.backward_by_hand = backward
        return normalize(x, dims) * weight.view(shape) + bias.view(shape)

    @staticmethod
    def backward(ctx, grad):
        return *ctx.backward_by_hand(grad, *ctx.saved_tensors), None, None, None


CASES = {
    "batch, images": (batch_norm_backward, (3, 2, 2, 3), (2,), (0, 2, 3), (2, 1, 1)),
    "batch, table": (batch_norm_backward, (5, 4), (4,), (0,), (4,)),
    "layer, table": (layer_norm_backward, (5, 4), (4,), (1,), (4,)),
    "layer, images": (layer_norm_backward, (3, 2, 2, 3), (2, 2, 3), (1, 2, 3), (2, 2, 3)),
    "layer, sequence": (layer_norm_backward, (2, 3, 4), (4,), (2,), (4,)),
    "layer, one row": (layer_norm_backward, (4,), (4,), (0,), (4,)),
}


@pytest.mark.parametrize("name", CASES)
def test_the_backward_by_hand_is_the_derivative(name):
    backward, shape, parameters, dims, view = CASES[name]
    arguments = [images(*shape), torch.randn(parameters).double(), torch.randn(parameters).double()]
    arguments = [a.requires_grad_() for a in arguments]
    assert torch.autograd.gradcheck(ByHand.apply, (*arguments, dims, backward, view))


@pytest.mark.parametrize(
    ("backward", "layer", "shape"),
    [
        (batch_norm_backward, nn.BatchNorm2d(6), (40, 6, 5, 3)),
        (batch_norm_backward, nn.BatchNorm1d(6), (40, 6)),
        (layer_norm_backward, nn.LayerNorm(6), (4, 30, 6)),
    ],
)
def test_the_backward_by_hand_equals_autograd_through_torchs_layer(backward, layer, shape):
    x, layer = images(*shape).requires_grad_(), layer.double()
    nn.init.normal_(layer.weight)
    grad = torch.randn(shape).double()
    expected = torch.autograd.grad(layer(x), (x, layer.weight, layer.bias), grad)
    ours = backward(grad, x.detach(), layer.weight.detach())
    torch.testing.assert_close(ours, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("eps", [0.0, 0.1])
def test_batch_norms_gradient_is_the_closed_form_orthogonal_to_1_and_but_for_eps_to_x(eps):
    x, grad, gamma = images(50, 3), torch.randn(50, 3).double(), torch.randn(3).double()
    ours, _, _ = batch_norm_backward(grad, x, gamma, eps)
    variance = x.var(0, correction=0)
    x_hat, m = normalize(x, (0,), eps=eps), 50
    scale = gamma / (m * (variance + eps).sqrt())
    closed = scale * (m * grad - grad.sum(0) - x_hat * (grad * x_hat).sum(0))
    torch.testing.assert_close(ours, closed, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(ours.sum(0), torch.zeros(3).double(), rtol=0, atol=1e-12)
    along = gamma * eps * (variance + eps) ** -1.5 * (grad * x_hat).sum(0)
    torch.testing.assert_close((x_hat * ours).sum(0), along, rtol=1e-9, atol=1e-12)


def test_training_and_evaluation_differ_by_the_running_statistics():
    # After one batch with momentum 1 the running variance is the batch's unbiased one.
    x, layer = images(8, 3), nn.BatchNorm1d(3, momentum=1.0).double()
    trained, judged = layer(x), layer.eval()(x)
    unbiased = x.var(0, correction=1)
    expected = (x - x.mean(0)) / (unbiased + layer.eps).sqrt()
    torch.testing.assert_close(judged, expected)
    assert not torch.allclose(trained, judged, rtol=0.01)
    torch.testing.assert_close(trained, normalize(x, (0,)))


def test_one_value_per_mean_is_an_error(unchecked):
    with pytest.raises(ValueError, match=r"shape \(1, 4\) has 1 value in each mean over dims=\[0"):
        normalize(torch.zeros(1, 4), (0,))
    with pytest.raises(ValueError, match="larger batch"):
        batch_norm_backward(torch.zeros(1, 4), torch.zeros(1, 4), torch.ones(4))
    with pytest.raises(ValueError, match="1 value"):
        layer_norm_backward(torch.zeros(4, 1), torch.zeros(4, 1), torch.ones(1))
    assert normalize(torch.full((1, 1), 3.0), (1,), center=False).item() == pytest.approx(1)
