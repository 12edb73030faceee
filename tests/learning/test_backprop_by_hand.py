"""The written-out chain rule is autograd's, central differences' and forward mode's gradient."""

import pytest
import torch
from torch import nn
from torch.func import functional_call, jvp

from neurarium import losses
from neurarium.learning import backprop_by_hand
from neurarium.learning.chain import Chain
from neurarium.networks import MLP, LeNet5

pytestmark = pytest.mark.usefixtures("unchecked")  # a trace is of proxies, which have no shape

SMOOTH = ["identity", "sigmoid:slope=2", "tanh", "softplus", "swish:beta=2", "bent_identity"]
KINKED = ["relu", "leaky_relu:0.2", "elu", "hardtanh"]


def perceptron(activation="tanh", **options):
    torch.manual_seed(0)
    model = MLP([5, 7, 6, 3], activation=activation, **options).double()
    return model, torch.randn(8, 5).double(), torch.randn(8, 3).double()


def by_autograd(model, x, d, loss):
    names, parameters = zip(*model.named_parameters(), strict=True)
    return dict(zip(names, torch.autograd.grad(loss(model(x), d), parameters), strict=True))


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("activation", SMOOTH + KINKED)
@pytest.mark.parametrize("out", [None, "sigmoid"])
def test_it_is_the_gradient_of_autograd(activation, out):
    model, x, d = perceptron(activation, out=out)
    assert_same(backprop_by_hand(model, x, d), by_autograd(model, x, d, losses.mse))


def test_it_takes_any_loss_by_name_or_function_and_layers_without_bias():
    model, x, _ = perceptron(bias=False)
    d = torch.arange(8) % 3
    expected = by_autograd(model, x, d, losses.cross_entropy)
    assert_same(backprop_by_hand(model, x, d, "cross_entropy"), expected)
    assert_same(backprop_by_hand(Chain(model), x, d, losses.cross_entropy), expected)


def test_images_are_flattened_and_a_silent_dropout_passed():
    model, _, d = perceptron(dropout=0.5)
    model.eval()
    x = torch.randn(8, 1, 5, 1).double()
    assert_same(backprop_by_hand(model, x, d), by_autograd(model, x, d, losses.mse))


def test_a_unit_by_hand():
    # z = 2 * 3 - 5 = 1, h = z^+ = 1; f = 4 h + 1 = 5; L = (f - 3)^2 = 4.
    # dL/df = 4: dW2 = 4 h = 4, db2 = 4; delta1 = 4 * 4 = 16: dW1 = 16 * 3 = 48, db1 = 16.
    model = nn.Sequential(nn.Linear(1, 1), nn.ReLU(), nn.Linear(1, 1)).double()
    for parameter, value in zip(model.parameters(), (2.0, -5.0, 4.0, 1.0), strict=True):
        nn.init.constant_(parameter, value)
    found = backprop_by_hand(model, torch.full((1, 1), 3.0).double(), torch.full((1, 1), 3.0))
    slopes = {name: gradient.item() for name, gradient in found.items()}
    assert slopes == {"0.weight": 48, "0.bias": 16, "2.weight": 4, "2.bias": 4}


# Torch's forward mode makes its rules by a part of torch that torch itself calls deprecated.
@pytest.mark.filterwarnings("ignore:`torch.jit.script`:DeprecationWarning")
@pytest.mark.parametrize("activation", SMOOTH)
def test_central_differences_and_forward_mode_agree(activation):
    model, x, d = perceptron(activation)
    found = backprop_by_hand(model, x, d)
    parameters = {name: p.detach() for name, p in model.named_parameters()}
    direction = {name: torch.randn_like(p) for name, p in parameters.items()}

    def value(point):
        return losses.mse(functional_call(model, point, x), d)

    slope = sum((found[name] * direction[name]).sum() for name in found)
    _, forward = jvp(value, (parameters,), (direction,))
    torch.testing.assert_close(slope, forward, rtol=1e-10, atol=1e-12)
    up, down = (
        value({name: p + h * direction[name] for name, p in parameters.items()})
        for h in (1e-5, -1e-5)
    )
    torch.testing.assert_close(slope, (up - down) / 2e-5, rtol=1e-6, atol=1e-8)


def test_the_model_is_left_as_it_was():
    model, x, d = perceptron()
    before = [p.detach().clone() for p in model.parameters()]
    backprop_by_hand(model, x, d)
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    assert all(p.grad is None for p in model.parameters())


class Functional(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(5, 4), nn.Linear(4, 3)

    def forward(self, x):
        return self.last(torch.tanh(self.first(x)))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (LeNet5(), "is a Conv2d"),
        (MLP([5, 4, 3], norm="layer"), "'layers.0' is followed by a part with parameters"),
        (MLP([5, 4, 3], activation="prelu"), "'layers.0' is followed by a part with parameters"),
        (MLP([5, 4, 3], dropout=0.5), "followed by ReLU, Dropout"),
        (MLP([5, 4, 3], out="softmax"), r"'layers.2' is followed by Activation\(softmax\)"),
        (Functional(), "'first' is followed by tanh"),
    ],
)
def test_another_model_is_an_error_that_names_the_layer(model, message):
    with pytest.raises(ValueError, match=message):
        backprop_by_hand(model, torch.randn(2, 5), torch.randn(2, 3))
