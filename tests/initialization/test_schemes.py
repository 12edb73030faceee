import math

import pytest
import torch
from torch import nn

from neurarium import initialization as init
from neurarium.networks import MLP


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def filled(scheme, shape=(400, 600), activation=None):
    layer = nn.Linear(shape[1], shape[0])
    return init.init_(layer, scheme, activation).weight


STANDARD_DEVIATIONS = {
    "xavier": math.sqrt(2 / 1000),
    "xavier:distribution=normal,gain=2": 2 * math.sqrt(2 / 1000),
    "kaiming": math.sqrt(2 / 600),
    "kaiming:mode=fan_out,distribution=uniform": math.sqrt(2 / 400),
    "lecun": math.sqrt(1 / 600),
    "normal": 0.01,
    "normal:std=3": 3,
    "uniform:bound=0.3": 0.3 / math.sqrt(3),
    "nielsen": 1,
}


@pytest.mark.parametrize("scheme", STANDARD_DEVIATIONS)
def test_weights_have_the_sources_variance(scheme):
    weight = filled(scheme)
    # 240 000 draws: the standard error of a standard deviation is below 0.15 %.
    assert weight.std().item() == pytest.approx(STANDARD_DEVIATIONS[scheme], rel=0.007)
    assert abs(weight.mean().item()) < 0.01 * weight.std().item()


def test_xavier_is_uniform_as_in_the_paper():
    bound = math.sqrt(6 / 1000)
    weight = filled("xavier")
    assert weight.abs().max().item() == pytest.approx(bound, rel=1e-3)
    assert weight.abs().max() <= bound


def test_convolutions_count_the_kernel_in_their_fan():
    layer = init.init_(nn.Conv2d(16, 400, 5), "kaiming")
    assert layer.weight.std().item() == pytest.approx(math.sqrt(2 / (16 * 25)), rel=0.02)


@pytest.mark.parametrize("shape", [(30, 50), (50, 30)])
def test_orthogonal_weights_keep_lengths(shape):
    weight = filled("orthogonal:gain=2", shape).double()
    small = weight @ weight.T if shape[0] < shape[1] else weight.T @ weight
    torch.testing.assert_close(small, 4 * torch.eye(30).double(), rtol=0, atol=1e-4)


def test_biases_start_at_zero_except_in_nielsens_first_chapter():
    layer = nn.Linear(10, 10_000)
    assert init.init_(layer, "kaiming").bias.abs().max() == 0
    assert init.init_(layer, "nielsen").bias.std().item() == pytest.approx(1, rel=0.03)
    assert init.init_(nn.Linear(3, 2, bias=False), "nielsen").bias is None


def test_constant_weights_keep_the_units_of_a_layer_equal():
    model = init.init_(MLP([4, 3, 2]), "constant:0.5")
    model(torch.randn(5, 4)).square().sum().backward()
    gradient = model.layers[0].weight.grad
    torch.testing.assert_close(gradient, gradient[:1].expand(3, 4))


def test_a_function_is_a_scheme_too_and_norms_and_embeddings_are_left_alone():
    model = MLP([4, 3, 2], norm="batch", categories=[5])
    before = model.embeddings[0].weight.clone()
    init.init_(model, nn.init.ones_)
    assert (model.layers[0].weight == 1).all()
    assert (model.layers[1].weight == 1).all()  # batch norm's own start
    torch.testing.assert_close(model.embeddings[0].weight, before)


def test_an_unknown_scheme_lists_the_nearest(unchecked):
    with pytest.raises(ValueError, match=r"unknown initialization 'kaimin'; did you mean kaiming"):
        init.init_(nn.Linear(1, 1), "kaimin")
    with pytest.raises(ValueError, match="must be 'normal' or 'uniform'"):
        init.lecun_(torch.zeros(2, 2), "gaussian")


# --- gain --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("activation", "expected"),
    [
        ("identity", 1),
        ("relu", math.sqrt(2)),
        ("leaky_relu:0.2", math.sqrt(2 / 1.04)),
        ("prelu", math.sqrt(2 / (1 + 0.25**2))),
        # SELU's fixed point: the second moment of N(0, 1) is kept.
        ("selu", 1),
        ("hardlims", 1),
    ],
)
def test_gain_has_the_closed_forms(activation, expected):
    assert init.gain(activation) == pytest.approx(expected, rel=1e-5)


def test_gain_keeps_the_signal_through_twenty_layers_where_another_loses_it():
    def length(scheme, activation):
        model = MLP([500, *[500] * 20, 500], activation, init=scheme)
        x = torch.randn(200, 500)
        return model.layers[:-1](x).square().mean().item()  # after the last activation

    with torch.no_grad():
        assert 0.3 < length("kaiming", "tanh") / (1 / init.gain("tanh") ** 2) < 3
        assert 0.2 < length("kaiming", "relu") / 0.5 < 5
        assert length("lecun", "relu") < 1e-5


def test_gain_of_activations_that_mix_their_inputs_is_an_error():
    with pytest.raises(ValueError, match="'glu' mixes its inputs and has no gain"):
        init.gain("glu")


# --- the rate at which a signal changes from layer to layer ---------------------------------


def backward_rate(model, x):
    """Factor of the gradient's length per layer, between the first and the last hidden layer."""
    sums = []
    for layer in model.layers[:-1]:
        x = layer(x)
        if isinstance(layer, nn.Linear):
            x.requires_grad_() if x.is_leaf else x.retain_grad()
            sums.append(x)
    direction = torch.randn(x.shape[1], 1)
    (x @ direction).sum().backward()
    lengths = [z.grad.norm().item() for z in sums]
    return (lengths[0] / lengths[-1]) ** (1 / (len(lengths) - 1))


# Measured on 20 layers of 64 units, 8 seeds; the rectifier's two follow from its gain of sqrt 2.
RATES = {
    ("kaiming", "relu"): 1.00,
    ("xavier", "tanh"): 0.92,
    ("normal:std=0.05", "tanh"): 0.40,
    ("double kaiming", "relu"): 2.00,
    ("normal:std=0.125", "sigmoid"): 0.23,
}


@pytest.mark.parametrize(("scheme", "activation"), RATES)
def test_gradients_change_by_the_known_rate_per_layer(scheme, activation):
    rates = []
    for seed in range(8):
        torch.manual_seed(seed)
        model = MLP([64, *[64] * 20, 1], activation, init=scheme.removeprefix("double "))
        if scheme.startswith("double"):
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter.mul_(2)
        rates.append(backward_rate(model, torch.randn(256, 64)))
    assert sum(rates) / 8 == pytest.approx(RATES[scheme, activation], rel=0.05)


def test_constant_weights_leave_the_units_equal_after_training_too():
    model = init.init_(MLP([4, 3, 3, 2], "tanh"), "constant:0.5")
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    x, y = torch.randn(8, 4), torch.arange(8) % 2
    for _ in range(20):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
    for layer in (model.layers[0], model.layers[2]):
        assert not torch.allclose(layer.weight, torch.full_like(layer.weight, 0.5))
        torch.testing.assert_close(layer.weight, layer.weight[:1].expand_as(layer.weight))
