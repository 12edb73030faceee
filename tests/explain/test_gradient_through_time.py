"""Gradients that go back through time: exact in a linear network, bounded in a squashing one."""

import pytest
import torch
from torch import nn

from neurarium.explain import gradient_through_time
from neurarium.layers.recurrent import recurrent_
from neurarium.networks import SequenceTagger


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


def network(cell, scale=1.0):
    model = SequenceTagger(2, 3, cell=cell, hidden=6).double()
    recurrent_(model)
    weight = next(p for name, p in model.named_parameters() if "weight_hh" in name)
    weight.data *= scale
    return model


BATCH = {"input": torch.randn(4, 30, 2, dtype=torch.float64)}


@pytest.mark.parametrize("scale", [0.8, 1.0, 1.3])
def test_a_linear_network_of_scaled_rotations_has_exact_powers(scale):
    found = gradient_through_time(network("rnn:activation=identity", scale), BATCH)
    powers = scale ** torch.arange(30, dtype=torch.float64)
    torch.testing.assert_close(found.norms / found.norms[0], powers)
    assert found.rate == pytest.approx(scale)


def test_squashing_never_exceeds_the_bound_and_vanishes_below_one():
    found = gradient_through_time(network("rnn", 0.9), BATCH)
    bound = 0.9 ** torch.arange(30, dtype=torch.float64)
    assert (found.norms <= found.norms[0] * bound * (1 + 1e-12)).all()
    assert found.rate < 0.9
    free = gradient_through_time(network("rnn:activation=identity", 0.9), BATCH)
    assert found.norms[-1] < free.norms[-1] / 2


def test_saturation_is_counted():
    model = network("rnn")
    for name, p in model.named_parameters():
        if "bias_ih" in name:
            nn.init.constant_(p, 50.0)
    assert gradient_through_time(model, BATCH).saturated == 1
    assert gradient_through_time(network("rnn", 0.1), BATCH).saturated < 0.2


def test_lengths_layers_and_frozen_networks(unchecked):
    model = SequenceTagger(2, 3, layers=2, hidden=4).double()
    batch = BATCH | {"length": torch.tensor([30, 5, 9, 1])}
    assert len(gradient_through_time(model, batch, layer=1).norms) == 30
    with pytest.raises(ValueError, match="ran 2 recurrent layers, so there is no layer 2"):
        gradient_through_time(model, batch, layer=2)
    with pytest.raises(ValueError, match="no parameter of the model requires a gradient"):
        gradient_through_time(model.requires_grad_(False), BATCH)
