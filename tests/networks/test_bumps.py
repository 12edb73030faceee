"""The written-down approximator keeps the theorem's bound."""

import pytest
import torch
from torch import nn

from neurarium.networks import MLP, bump_network


def wiggles(x):
    """Nielsen's function of chapter 4."""
    return 0.2 + 0.4 * x**2 + 0.3 * x * torch.sin(15 * x) + 0.05 * torch.cos(50 * x)


GRID = torch.linspace(0, 1, 20_001, dtype=torch.float64)


def errors(pieces, **arguments):
    model = bump_network(wiggles, 0, 1, pieces, **arguments).double()
    return (model(GRID[:, None])[:, 0] - wiggles(GRID)).abs()


def test_the_largest_error_halves_when_the_pieces_double():
    largest = [errors(pieces).max().item() for pieces in (100, 200, 400, 800)]
    assert largest == pytest.approx([0.0290, 0.0145, 0.0072, 0.0036], abs=6e-5)


@pytest.mark.parametrize("pieces", [1, 7, 100])
def test_it_stays_below_the_modulus_of_continuity(pieces):
    # How far f varies over a piece's length, both ends on the grid.
    f = wiggles(GRID)
    reach = min(round(20_000 / pieces), 20_000)
    window = f.unfold(0, reach + 1, 1)
    modulus = (window.amax(1) - window.amin(1)).max()
    assert errors(pieces).max() <= modulus + 1e-9


def test_in_the_middle_of_a_piece_it_has_exactly_the_functions_value():
    model = bump_network(wiggles, -2, 3, 10).double()
    middles = torch.linspace(-1.75, 2.75, 10, dtype=torch.float64)
    torch.testing.assert_close(model(middles[:, None])[:, 0], wiggles(middles), rtol=0, atol=1e-5)
    edge = model(torch.tensor([[-1.0]], dtype=torch.float64))  # between pieces: the mean
    mean = wiggles(torch.tensor([-1.25, -0.75], dtype=torch.float64)).mean()
    assert edge.item() == pytest.approx(mean.item(), abs=1e-4)
    # And at the ends of the interval, where a step's half would show.
    ends = model(torch.tensor([[-2.0], [3.0]], dtype=torch.float64))[:, 0]
    torch.testing.assert_close(ends, wiggles(middles[[0, -1]]), rtol=0, atol=1e-5)


def test_it_is_an_mlp_of_one_hidden_layer_with_a_unit_per_edge():
    model = bump_network(wiggles, 0, 1, 30)
    assert isinstance(model, MLP)
    assert [list(p.shape) for p in model.parameters()] == [[31, 1], [31], [1, 31], [1]]


def test_towers_stand_on_every_cell_of_a_grid():
    def f(x, y):
        return x - 2 * y

    model = bump_network(f, [0, 1], [1, 3], 4).double()
    x, y = torch.meshgrid(
        torch.tensor([0.125, 0.375, 0.625, 0.875], dtype=torch.float64),
        torch.tensor([1.25, 1.75, 2.25, 2.75], dtype=torch.float64),
        indexing="ij",
    )
    points = torch.stack([x, y], -1).flatten(0, 1)
    torch.testing.assert_close(model(points)[:, 0], f(*points.T), rtol=0, atol=1e-4)
    # Constant over the cell, the corners apart.
    inside = points + torch.tensor([0.09, -0.18], dtype=torch.float64)
    torch.testing.assert_close(model(inside)[:, 0], f(*points.T), rtol=0, atol=1e-4)
    corner = model(torch.tensor([[0.25, 1.5]], dtype=torch.float64))
    assert corner.abs().item() < 1e-4  # the pinhole
    assert sum(isinstance(layer, nn.Linear) for layer in model.layers) == 3


def test_the_mean_error_of_towers_halves_when_the_pieces_double():
    def f(x, y):
        return torch.sin(3 * x) * torch.cos(2 * y)

    torch.manual_seed(0)
    points = torch.rand(5000, 2, dtype=torch.float64)
    mean = [
        (bump_network(f, [0, 0], [1, 1], n).double()(points)[:, 0] - f(*points.T)).abs().mean()
        for n in (5, 10, 20)
    ]
    assert 1.8 < mean[0] / mean[1] < 2.2
    assert 1.8 < mean[1] / mean[2] < 2.2


def test_intervals_and_pieces_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match="lo must lie below hi in every input, got 1 and 0"):
        bump_network(wiggles, 1, 0, 5)
    with pytest.raises(ValueError, match="lo must lie below hi"):
        bump_network(wiggles, [0, 0], [1], 5)
    with pytest.raises(ValueError, match="at least 1 and steepness positive, got 0"):
        bump_network(wiggles, 0, 1, 0)
