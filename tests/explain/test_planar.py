"""Regions and hidden views against what the network itself answers."""

import numpy as np
import pytest
import torch
from torch import nn

from neurarium.data import Data, Standardize
from neurarium.explain import planar
from neurarium.networks import MLP, Perceptron


def test_the_boundary_of_a_perceptron_is_its_line_to_a_pixel():
    model = Perceptron(2)
    model.linear.weight.data = torch.tensor([[1.0, 2.0]])
    model.linear.bias.data = torch.tensor([-0.3])
    view = planar(model, bounds=(-1, 1, -2, 2), resolution=100)
    # x + 2y = 0.3 crosses the column x at y = (0.3 - x) / 2; above it the unit fires.
    for column, x in enumerate(view.x):
        fires = view.y[view.classes[:, column] == 1]
        line = (0.3 - x) / 2
        assert 0 <= fires.min() - line <= 4 / 100
        assert (np.diff(view.classes[:, column]) >= 0).all()


def test_each_pixel_has_the_class_of_its_centre_through_the_data_s_scaling():
    torch.manual_seed(0)
    x = torch.randn(80, 2) * torch.tensor([5.0, 0.1]) + 3
    data = Data((x, torch.arange(80) % 3), transform=Standardize.fit(x))
    model = MLP([2, 20, 3], activation="tanh")
    view = planar(model, data, resolution=30)
    assert view.x.min() < float(x[:, 0].min()) < float(x[:, 0].max()) < view.x.max()
    generator = np.random.default_rng(0)
    for row, column in generator.integers(0, 30, (40, 2)):
        point = torch.tensor([[view.x[column], view.y[row]]], dtype=torch.float32)
        assert int(model(data.transform(point)).argmax()) == view.classes[row, column]
    np.testing.assert_array_equal(view.points, x.numpy())


def test_a_layer_of_two_units_bends_the_grid_as_it_bends_points():
    torch.manual_seed(0)
    model = MLP([2, 2, 2, 2], activation="tanh")
    points = torch.randn(30, 2)
    view = planar(model, (points, torch.arange(30) % 2), bounds=(-2, 2, -1, 1))
    assert list(view.views) == ["layers.0", "layers.1", "layers.2", "layers.3"]
    first = view.views["layers.1"]
    corner = torch.tanh(model.layers[0](torch.tensor([[2.0, -1.0]])))[0]
    np.testing.assert_allclose(first.grid[0, -1], corner.detach().numpy(), atol=1e-6)
    wanted = model.layers[:2](points).detach().numpy()
    np.testing.assert_allclose(first.points, wanted, atol=1e-6)
    assert first.axes == ("unit 0", "unit 1")


def test_the_grid_lines_of_an_invertible_layer_do_not_cross():
    model = MLP([2, 2, 2], activation="tanh")
    model.layers[0].weight.data = torch.tensor([[1.0, 0.5], [-0.3, 0.8]])
    grid = planar(model, bounds=(-1, 1, -1, 1)).views["layers.1"].grid
    # Each cell keeps its orientation: the two triangles' signed areas all have one sign.
    right, up = np.diff(grid, axis=1)[:-1], np.diff(grid, axis=0)[:, :-1]
    areas = right[..., 0] * up[..., 1] - right[..., 1] * up[..., 0]
    assert (areas > 0).all()
    model.layers[0].weight.data[1] = 2 * model.layers[0].weight.data[0]  # a singular matrix
    grid = planar(model, bounds=(-1, 1, -1, 1)).views["layers.0"].grid
    right, up = np.diff(grid, axis=1)[:-1], np.diff(grid, axis=0)[:, :-1]
    areas = right[..., 0] * up[..., 1] - right[..., 1] * up[..., 0]
    np.testing.assert_allclose(areas, 0, atol=1e-6)


def test_wider_layers_are_shown_by_units_or_principal_components():
    torch.manual_seed(0)
    model, points = MLP([2, 7, 2]), torch.randn(50, 2)
    assert planar(model, points).views == {}
    by_units = planar(model, points, layers=["layers.1"], units=(3, 5)).views["layers.1"]
    hidden = model.layers[:2](points).detach()
    np.testing.assert_allclose(by_units.points, hidden[:, [3, 5]].numpy(), atol=1e-6)
    by_parts = planar(model, points, layers=["layers.1"]).views["layers.1"]
    variances = torch.linalg.svdvals(hidden - hidden.mean(0)).square()[:2]
    np.testing.assert_allclose(np.square(by_parts.points).sum(0), variances.numpy(), rtol=1e-4)


def test_a_plane_of_many_inputs_passes_through_its_three_points():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 4))
    corners = tuple(torch.randn(3, 2, 2) for _ in range(3))
    view = planar(model, plane=corners, resolution=400)
    assert view.points[0].tolist() == [0, 0]
    assert view.points[1, 0] == pytest.approx(float((corners[1] - corners[0]).norm()), rel=1e-5)
    assert abs(view.points[1, 1]) < 1e-5
    assert view.points[2, 1] > 0
    for (s, t), corner in zip(view.points, corners, strict=True):
        row, column = np.abs(view.y - t).argmin(), np.abs(view.x - s).argmin()
        wanted = model(corner[None])[0].detach().numpy()
        np.testing.assert_allclose(view.outputs[row, column], wanted, atol=0.05)


def test_the_model_is_left_as_it_was():
    model = MLP([2, 2, 2], dropout=0.5)
    model.layers[0].eval()
    planar(model, torch.randn(9, 2))
    assert model.training
    assert not model.layers[0].training
    assert not any(module._forward_hooks for module in model.modules())


def test_wrong_uses_are_one_sentence(unchecked):
    with pytest.raises(ValueError, match="pass plane="):
        planar(MLP([5, 2]), torch.randn(9, 5))
    with pytest.raises(ValueError, match="pass data or bounds"):
        planar(MLP([2, 2]))
    with pytest.raises(ValueError, match="lie on a line"):
        planar(MLP([4, 2]), plane=(torch.zeros(4), torch.ones(4), 2 * torch.ones(4)))
    with pytest.raises(ValueError, match=r"called 'hidden', only layers\.0"):
        planar(MLP([2, 2, 2]), torch.randn(9, 2), layers=["hidden"])


def test_the_figure_has_a_panel_for_each_layer():
    view = planar(MLP([2, 2, 2]), (torch.randn(9, 2), torch.arange(9) % 2))
    figure = view.plot()
    titles = [axes.get_title() for axes in figure.axes]
    assert titles == ["decision regions", "layers.0", "layers.1"]
    assert len(figure.axes[1].lines) == 42
