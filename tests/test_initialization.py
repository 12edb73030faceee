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
