"""Surfaces that are known: spheres and planes."""

import math
import sys

import numpy as np
import pytest
import torch
from torch import nn

from neurarium.explain import level_surfaces
from neurarium.networks import MLP


@pytest.fixture
def skimage():
    return pytest.importorskip(
        "skimage", reason='scikit-image is not installed; pip install "neurarium[explain]"'
    )


def square(x):
    return x.square().sum(1)


@pytest.mark.parametrize("radius", [0.5, 0.8])
def test_the_level_of_the_squared_norm_is_a_sphere(skimage, radius):
    (sphere,) = level_surfaces(square, [radius**2])
    assert sphere.area == pytest.approx(4 * math.pi * radius**2, rel=0.01)
    np.testing.assert_allclose(np.linalg.norm(sphere.vertices, axis=1), radius, atol=1e-5)


def test_a_network_has_the_level_at_every_vertex(skimage):
    torch.manual_seed(0)
    model = MLP([3, 20, 2], activation="tanh")
    middle = model(torch.zeros(1, 3)).detach()[0]
    levels = [float(middle[1]), 50.0]  # the second is taken nowhere
    (surface,) = level_surfaces(model, levels, output=1, resolution=24)
    values = model(torch.tensor(surface.vertices))[:, 1].detach()
    assert float((values - levels[0]).abs().max()) < 1e-4
    assert surface.level == pytest.approx(levels[0])
    assert model.training
    assert surface.plot().axes[0].get_title().startswith("f = ")


def test_without_scikit_image_the_error_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "skimage", None)
    monkeypatch.setitem(sys.modules, "skimage.measure", None)
    with pytest.raises(ModuleNotFoundError, match=r'pip install "neurarium\[explain\]"'):
        level_surfaces(nn.Linear(3, 1))


def test_an_empty_cube_is_refused(skimage, unchecked):
    with pytest.raises(ValueError, match="low < high"):
        level_surfaces(nn.Linear(3, 1), bounds=(1.0, -1.0))
