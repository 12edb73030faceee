"""Radial units: values, gradients, and where they are placed."""

import math

import pytest
import torch

from neurarium.layers import RBF


def units(centers, beta=1.0, kernel="gaussian"):
    centers = torch.tensor(centers, dtype=torch.float64)
    layer = RBF(centers.shape[1], len(centers), kernel, beta).double()
    with torch.no_grad():
        layer.centers.copy_(centers)
        layer.log_beta.fill_(math.log(beta))  # in double
    return layer


def widths(layer):
    """Each centre's sigma, beta being 1 / (2 sigma^2)."""
    sigma = (2 * layer.beta).rsqrt().tolist()
    return dict(zip(layer.centers.flatten().tolist(), sigma, strict=True))


# s = beta r^2 with r = 5 (the triangle 3, 4, 5) and beta = 1/25 or 3/25: s = 1 and 3.
BY_HAND = {
    ("gaussian", 1): math.exp(-1),
    ("multiquadric", 3): 2,
    ("inverse_multiquadric", 3): 0.5,
    ("thin_plate", 1): 0,
    ("thin_plate", 25): 25 * math.log(5),  # beta = 1: r^2 ln r
}


@pytest.mark.parametrize(("kernel", "s"), BY_HAND)
def test_values_worked_by_hand(kernel, s):
    layer = units([[1.0, 1]], beta=s / 25, kernel=kernel)
    x = torch.tensor([[4.0, 5]], dtype=torch.float64)
    assert layer(x).item() == pytest.approx(BY_HAND[kernel, s], rel=1e-12, abs=1e-12)


def test_every_unit_has_its_own_centre_and_width_and_batches_any_shape():
    layer = units([[0.0], [2.0]])
    with torch.no_grad():
        layer.log_beta.copy_(torch.tensor([0.0, math.log(0.25)]))
    x = torch.tensor([[[1.0], [4.0]]], dtype=torch.float64)
    expected = [[math.exp(-1), math.exp(-0.25)], [math.exp(-16), math.exp(-1)]]
    torch.testing.assert_close(layer(x), torch.tensor([expected], dtype=torch.float64))


@pytest.mark.parametrize("kernel", ["gaussian", "multiquadric", "inverse_multiquadric"])
def test_gradients_of_first_and_second_order(kernel):
    torch.manual_seed(0)
    layer = units(torch.randn(4, 3).tolist(), 0.3, kernel)
    x = torch.randn(5, 3, dtype=torch.float64, requires_grad=True)

    def function(x, centers, log_beta):
        parameters = {"centers": centers, "log_beta": log_beta}
        return torch.func.functional_call(layer, parameters, (x,))

    inputs = (x, layer.centers, layer.log_beta)
    assert torch.autograd.gradcheck(function, inputs)
    assert torch.autograd.gradgradcheck(function, inputs)


@pytest.mark.parametrize("kernel", ["gaussian", "thin_plate", "multiquadric"])
def test_on_its_centre_a_unit_is_flat(kernel):
    layer = units([[1.0, 2], [0, 0]], kernel=kernel)
    x = layer.centers.detach().clone().requires_grad_()
    (grad,) = torch.autograd.grad(layer(x).diagonal().sum(), x)
    torch.testing.assert_close(grad, torch.zeros_like(grad))


def test_far_from_the_origin_distances_keep_their_digits_in_float32():
    layer = units([[1000.0, 1000], [1001, 1000]]).float()
    x = torch.tensor([[1000.3125, 1000]])  # squared it needs 28 bits, of which float32 has 24
    expected = torch.tensor([[math.exp(-(0.3125**2)), math.exp(-(0.6875**2))]])
    torch.testing.assert_close(layer(x), expected)


# --- placing -----------------------------------------------------------------------------


def test_widths_reach_to_the_nearest_centres():
    # Centres 0, 1, 3, 7: mean distances to the two nearest are 2, 1.5, 2.5, 5 for centre 0 (1, 3),
    # 1 (1, 2), 3 (2, 3) and 7 (4, 6).
    x = torch.tensor([[0.0], [1], [3], [7]], dtype=torch.float64)
    layer = RBF(1, 4).double().place(x, "random")
    sigma = dict(
        zip(layer.centers.flatten().tolist(), (2 * layer.beta).rsqrt().tolist(), strict=True)
    )
    assert sigma == pytest.approx({0.0: 2, 1.0: 1.5, 3.0: 2.5, 7.0: 5})
    wide = RBF(1, 4).double().place(x, "random", neighbours=1, width=3)
    sigma = dict(
        zip(wide.centers.flatten().tolist(), (2 * wide.beta).rsqrt().tolist(), strict=True)
    )
    assert sigma == pytest.approx({0.0: 3, 1.0: 3, 3.0: 6, 7.0: 12})


def test_kmeans_finds_the_middles_of_three_clouds():
    torch.manual_seed(0)
    middles = torch.tensor([[0.0, 0], [10, 0], [0, 10]])
    x = (middles[:, None] + 0.1 * torch.randn(3, 50, 2)).flatten(0, 1)
    found = RBF(2, 3).place(x).centers.detach()
    means = x.reshape(3, 50, 2).mean(1)
    assert (torch.cdist(means, found).min(1).values < 1e-5).all()


def test_random_places_are_different_rows_drawn_by_the_seed():
    x = torch.arange(20.0).repeat(3)[:, None]  # each row thrice
    places = [
        sorted(RBF(1, 8).place(x, "random", seed=s).centers.flatten().tolist()) for s in (0, 0, 1)
    ]
    assert places[0] == places[1] != places[2]
    assert len(set(places[0])) == 8
    assert set(places[0]) <= set(range(20))


def test_a_single_unit_keeps_its_width():
    layer = RBF(1, 1, beta=0.7).place(torch.tensor([[1.0], [3.0]]))
    assert layer.centers.item() == pytest.approx(2)
    assert layer.beta.item() == pytest.approx(0.7)


def test_what_cannot_be_placed_or_made_is_refused(unchecked):
    x = torch.tensor([[0.0], [0.0], [1.0]])
    with pytest.raises(ValueError, match="3 units need as many different rows, got 2"):
        RBF(1, 3).place(x)
    with pytest.raises(ValueError, match="'kmeans' or 'random', got 'grid'"):
        RBF(1, 2).place(x, "grid")
    with pytest.raises(ValueError, match="got 0 and 1"):
        RBF(1, 2).place(x, neighbours=0)
    with pytest.raises(ValueError, match="beta must be positive, got -1"):
        RBF(1, 2, beta=-1)
    with pytest.raises(ValueError, match="unknown kernel 'gausian'; did you mean gaussian"):
        RBF(1, 2, "gausian")
