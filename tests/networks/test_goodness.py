"""Goodness: mean squares of activities whose lengths say nothing to the next layer."""

import pytest
import torch

from neurarium import networks
from neurarium.networks import GoodnessNetwork

X = torch.rand(3, 4, generator=torch.Generator().manual_seed(1)).double()


def network():
    torch.manual_seed(0)
    return GoodnessNetwork([4, 6, 5], 3).double()


def test_goodness_by_hand():
    # h1 = relu(2 * 3 + 1) = 7 with label 0 and relu(6 - 1) = 5 with label 1. Scaled to mean square
    # 1 both are 1 for the one unit of the second layer, which doubles it: 4 whatever the label.
    model = GoodnessNetwork([1, 1, 1], 2).double()
    with torch.no_grad():
        model.layers[0].weight.copy_(torch.tensor([[2.0, 1.0, -1.0]]))
        model.layers[1].weight.fill_(2.0)
        for layer in model.layers:
            layer.bias.zero_()
    expected = torch.tensor([[49.0 + 4, 25.0 + 4]]).double()
    torch.testing.assert_close(model(torch.tensor([[3.0]]).double()), expected)


def test_the_outputs_are_the_goodness_of_every_label():
    model = network()
    scores = model(X.view(3, 1, 2, 2))
    for label in range(3):
        goodness = model.goodness(X, torch.full((3,), label))
        torch.testing.assert_close(scores[:, label], goodness[0] + goodness[1])


def test_no_layer_sees_how_active_the_one_below_is():
    model, labels = network(), torch.tensor([0, 1, 2])
    first, second = model.goodness(X, labels)
    with torch.no_grad():
        model.layers[0].weight.mul_(3)
        model.layers[0].bias.mul_(3)
    tripled, same = model.goodness(X, labels)
    torch.testing.assert_close(tripled, 9 * first)
    torch.testing.assert_close(same, second)


def test_cut_layers_pass_no_gradient_and_uncut_ones_do():
    model, labels = network(), torch.tensor([0, 1, 2])
    below = model.layers[0].weight
    for cut in (True, False):
        last = model.goodness(X, labels, cut=cut)[1].sum()
        (slope,) = torch.autograd.grad(last, below, allow_unused=True)
        assert (slope is None) == cut


def test_it_is_rebuilt_from_its_configuration_and_fits_data():
    model = networks.for_data("GoodnessNetwork:hidden=20x10", (1, 4, 4), 3)
    again = networks.build(networks.config(model))
    assert [layer.weight.shape for layer in again.layers] == [(20, 19), (10, 20)]
    again.load_state_dict(model.state_dict())
    images = torch.rand(2, 1, 4, 4)
    torch.testing.assert_close(again(images), model(images), rtol=0, atol=0)


def test_a_silent_layer_is_finite():
    model = network()
    with torch.no_grad():
        model.layers[0].bias.fill_(-100)
    assert model(X).isfinite().all()


def test_wrong_arguments_are_named(unchecked):
    with pytest.raises(ValueError, match=r"inputs and at least a layer, got \[5\]"):
        GoodnessNetwork([5], 3)
    with pytest.raises(ValueError, match="classes must be at least 2, got 1"):
        GoodnessNetwork([5, 3], 1)
    with pytest.raises(ValueError, match="2 categorical columns; take MLP"):
        GoodnessNetwork.for_data((4,), 2, (3, 5))
