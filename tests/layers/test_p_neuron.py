"""The p-neuron is a linear layer over inputs cut into intervals."""

import pytest
import torch
from sklearn.preprocessing import KBinsDiscretizer

from neurarium.layers import PNeuron


def filled(inputs, outputs, levels):
    layer = PNeuron(inputs, outputs, levels).double()
    torch.manual_seed(0)
    torch.nn.init.normal_(layer.weight)
    return layer


def test_a_sum_of_picked_weights_worked_by_hand():
    layer = PNeuron(2, 1, 3).double()
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[1.0], [2], [4], [10], [20], [40]]))
    # Thirds: 0.3 is in the first, 0.4 in the second, 1 counts as the last, as do 7 and, below, -7.
    x = torch.tensor([[0.3, 0.4], [0.4, 1], [1, 0], [7, -7]], dtype=torch.float64)
    assert layer(x).flatten().tolist() == [21, 42, 14, 14]


def test_it_equals_a_linear_layer_over_one_hot_bins():
    x = torch.rand(50, 6, dtype=torch.float64)
    x[0], x[1] = 0, 1  # the peer takes its range from the data
    bins = KBinsDiscretizer(5, encode="onehot-dense", strategy="uniform", subsample=None)
    hot = torch.from_numpy(bins.fit_transform(x.numpy()))
    layer = filled(6, 4, 5)
    torch.testing.assert_close(layer(x), hot @ layer.weight)


def test_gradients_reach_the_weights_that_were_picked():
    layer = filled(3, 2, 4)
    x = torch.tensor([[0.1, 0.6, 0.9]], dtype=torch.float64)
    layer(x).sum().backward()
    assert layer.weight.grad.sum(1).nonzero().flatten().tolist() == [0, 6, 11]
    assert layer.weight.grad.max() == 1


def test_no_level_is_refused():
    with pytest.raises(ValueError, match="levels must be at least 1, got 0"):
        PNeuron(3, 2, 0)
