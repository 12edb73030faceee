"""The levels of the quantized rectifier, and where it jumps."""

import pytest
import torch

from neurarium import activations
from neurarium.layers import QuantizedReLU
from neurarium.networks import MLP


def test_it_jumps_at_a_sixth_a_half_and_five_sixths():
    # k = 3: thresholds 1/6, 1/2, 5/6; a unit fires at its threshold too.
    z = torch.tensor([-5, 0, 0.16, 0.17, 0.49, 0.5, 0.83, 0.84, 9], dtype=torch.float64)
    thirds = torch.tensor([0, 0, 0, 1, 1, 2, 2, 3, 3], dtype=torch.float64)
    assert QuantizedReLU(3).thresholds == pytest.approx((1 / 6, 1 / 2, 5 / 6))
    torch.testing.assert_close(QuantizedReLU(3)(z), thirds / 3)


def test_many_levels_are_the_rectifier_that_saturates_and_none_has_a_slope():
    z = torch.linspace(-1, 2, 301, dtype=torch.float64, requires_grad=True)
    y = QuantizedReLU(1000)(z)
    assert (y - z.clamp(0, 1)).abs().max() <= 1 / 2000 + 1e-12
    y.sum().backward()
    assert not z.grad.any()


def test_it_can_be_an_activation():
    hidden = MLP([4, 50, 2], activation=QuantizedReLU(2)).layers[:2]
    assert set(hidden(torch.randn(30, 4)).unique().tolist()) == {0.0, 0.5, 1.0}
    assert activations.module(QuantizedReLU(2)).extra_repr() == "levels=2"


def test_no_level_is_refused():
    with pytest.raises(ValueError, match="levels must be at least 1"):
        QuantizedReLU(0)
