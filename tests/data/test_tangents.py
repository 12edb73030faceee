"""Tangents against the derivative of an image whose transforms are known exactly."""

import math

import pytest
import torch

from neurarium.data import tangents

DOUBLE = {"dtype": torch.float64}
SIZE, WIDE, NARROW, SIGMA = 21, 3.0, 2.0, 1.5


def blob(u, v):
    """A Gaussian off the centre, and what smoothing with SIGMA makes of it."""
    wide, narrow = WIDE**2 + SIGMA**2, NARROW**2 + SIGMA**2
    height = WIDE * NARROW / math.sqrt(wide * narrow)
    return height * torch.exp(-((u - 1.0) ** 2) / (2 * wide) - (v + 2.0) ** 2 / (2 * narrow))


def sharp_blob(u, v):
    return torch.exp(-((u - 1.0) ** 2) / (2 * WIDE**2) - (v + 2.0) ** 2 / (2 * NARROW**2))


place = torch.arange(SIZE, **DOUBLE) - (SIZE - 1) / 2
V, U = torch.meshgrid(place, place, indexing="ij")  # rows are down, columns right

# Where each point of the image comes from after the transformation by alpha.
ORIGINS = {
    "x": lambda a: (U - a, V),
    "y": lambda a: (U, V - a),
    "rotation": lambda a: (a.cos() * U + a.sin() * V, -a.sin() * U + a.cos() * V),
    "scale": lambda a: (U * (-a).exp(), V * (-a).exp()),
}


@pytest.mark.parametrize("kind", ORIGINS)
def test_a_tangent_is_the_derivative_of_the_transformed_image(kind):
    expected = torch.func.jacrev(lambda a: blob(*ORIGINS[kind](a)))(torch.zeros((), **DOUBLE))
    image = sharp_blob(U, V)[None, None]
    ours = tangents(image, (kind,), sigma=SIGMA)
    assert ours.shape == (1, 1, 1, SIZE, SIZE)
    inner = (slice(4, -4), slice(4, -4))
    difference = (ours[0, 0, 0] - expected)[inner].abs().max()
    assert difference < 0.01 * expected.abs().max()


def test_kinds_come_in_the_order_asked_for_and_channels_alike():
    image = torch.rand(3, 2, 9, 7, **DOUBLE)
    every = tangents(image)
    assert every.shape == (3, 4, 2, 9, 7)
    torch.testing.assert_close(tangents(image, ("scale", "x")), every[:, [3, 0]])
    torch.testing.assert_close(tangents(image[:, :1]), every[:, :, :1])


def test_a_ramp_has_its_slope_and_a_constant_none():
    ramp = (2 * U + 5 * V)[None, None]
    inner = (..., slice(5, -5), slice(5, -5))
    for sigma in (0.3, 1.0):
        x, y, rotation, _ = tangents(ramp, sigma=sigma)[0, :, 0]
        torch.testing.assert_close(x[inner], torch.full_like(x[inner], -2))
        torch.testing.assert_close(y[inner], torch.full_like(y[inner], -5))
        torch.testing.assert_close(rotation[inner], (2 * V - 5 * U)[inner])
    assert tangents(torch.ones(1, 1, 8, 8, **DOUBLE)).abs().max() < 1e-12  # at the edges too


def test_unknown_kinds_and_no_width_are_errors(unchecked):
    with pytest.raises(ValueError, match=r"some of x, y, rotation, scale, got \['turn'\]"):
        tangents(torch.ones(1, 1, 8, 8), ("turn",))
    with pytest.raises(ValueError, match="sigma must be positive, got 0"):
        tangents(torch.ones(1, 1, 8, 8), sigma=0)
