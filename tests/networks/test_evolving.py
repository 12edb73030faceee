"""A network whose weights, where they are not 0, are its shape."""

import pytest
import torch

from neurarium import networks
from neurarium.networks.evolving import EvolvingNetwork


def s(z):
    return torch.sigmoid(torch.tensor(4.9 * z, dtype=torch.float64))


def network(**arguments):
    """Inputs 0, 1, bias 2, output 3, hidden 4, 5: 0 -> 4 -> 5 -> 3, 1 -> 5, 2 -> 4, 1 -> 3."""
    model = EvolvingNetwork(2, 1, max_hidden=2, **arguments).double()
    with torch.no_grad():
        model.weight.zero_()
        for source, target, weight in ((0, 4, 0.5), (2, 4, -0.3), (4, 5, 1.2), (1, 5, -0.7)):
            model.weight[target - 3, source] = weight
        model.weight[0, 5], model.weight[0, 1] = 0.9, 0.4
    return model


def test_the_output_is_that_of_the_neurons_one_after_the_other():
    x = torch.tensor([[0.2, -1.0]], dtype=torch.float64)
    four = s(0.5 * 0.2 - 0.3)
    five = s(1.2 * four.item() + 0.7)
    sums = 0.9 * five - 0.4
    assert network()(x).item() == pytest.approx(s(sums.item()).item(), abs=1e-12)
    assert network(sigmoid=False)(x).item() == pytest.approx(sums.item(), abs=1e-12)


def test_it_starts_with_inputs_and_bias_joined_to_the_outputs():
    torch.manual_seed(0)
    model = EvolvingNetwork(3, 2, max_hidden=4)
    assert model.weight.shape == (6, 10)
    assert model.weight.count_nonzero() == 8
    assert model.weight[:2, :4].all()
    x = torch.randn(5, 3)
    linear = x @ model.weight[:2, :3].T + model.weight[:2, 3]
    torch.testing.assert_close(model(x), torch.sigmoid(4.9 * linear))


def test_wrong_sizes_are_named():
    with pytest.raises(ValueError, match="max_hidden at least 0, got 2, 0 and 16"):
        EvolvingNetwork(2, 0)


def test_it_is_built_from_data_and_from_its_configuration():
    model = networks.for_data("EvolvingNetwork:max_hidden=3", (2, 2), 3)
    assert (model.inputs, model.outputs, model.max_hidden, model.sigmoid) == (4, 3, 3, False)
    again = networks.build(networks.config(model))
    assert again.weight.shape == model.weight.shape
