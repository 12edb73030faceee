"""A grid of equal cells: what travels, how far, and that all are one."""

import pytest
import torch

from neurarium.networks import CellularSRN
from neurarium.networks.build import build, config


def network(iterations=20, **arguments):
    torch.manual_seed(0)
    return CellularSRN(iterations=iterations, **arguments).double()


def grids(count=2, height=5, width=4):
    torch.manual_seed(1)
    return torch.randn(count, 2, height, width, dtype=torch.float64)


def cell(model, seen):
    """The three neurons of one cell, from what it sees."""
    U, b, (v10, v20, v21) = model.given.weight, model.given.bias, model.within
    first = torch.tanh(b[0] + U[0] @ seen)
    second = torch.tanh(b[1] + U[1] @ seen + v10 * first)
    return torch.stack([first, second, torch.tanh(b[2] + U[2] @ seen + v20 * first + v21 * second)])


def test_it_is_the_sources_cell_place_by_place():
    model, x = network(iterations=3, neurons=3), grids(1)[0]
    model.scale.data.fill_(2.5)
    own = torch.zeros(7, 6, 3, dtype=torch.float64)  # with a border that says nothing
    for _ in range(3):
        new = torch.zeros_like(own)
        for i in range(1, 6):
            for j in range(1, 5):
                y = own[:, :, 2]
                sides = torch.stack([y[i - 1, j], y[i + 1, j], y[i, j - 1], y[i, j + 1]])
                new[i, j] = cell(model, torch.cat([x[:, i - 1, j - 1], sides, own[i, j]]))
        own = new.detach()
    torch.testing.assert_close(model(x[None])[0], model.scale * own[1:-1, 1:-1, 2])


@pytest.mark.parametrize("iterations", [1, 2, 4])
def test_an_iteration_carries_word_one_step_further(iterations):
    model = network(iterations)
    x = grids(1, 7, 7).requires_grad_()
    (slope,) = torch.autograd.grad(model(x)[0, 3, 3], x)
    i = torch.arange(7)
    steps = (i[:, None] - 3).abs() + (i - 3).abs()
    assert torch.equal(slope[0].abs().sum(0) > 0, steps < iterations)


def test_moved_grids_have_moved_answers_away_from_the_border():
    model = network(iterations=3)
    x = torch.zeros(1, 2, 12, 12, dtype=torch.float64)
    x[0, :, 4, 5] = 1
    moved = x.roll((1, 2), (2, 3))
    torch.testing.assert_close(
        model(x)[0, 3:7, 4:8], model(moved)[0, 4:8, 6:10], rtol=1e-12, atol=1e-12
    )


def test_it_fits_data_of_its_kind_and_is_built_anew_from_its_configuration():
    model = CellularSRN.for_data((2, 5, 5), 25, (), neurons=4, iterations=7)
    assert model(torch.zeros(3, 2, 5, 5)).shape == (3, 5, 5)
    # 4 x (2 + 4 + 4) weights and 4 biases, 6 between neurons, the scale
    assert sum(p.numel() for p in model.parameters()) == 40 + 4 + 6 + 1
    again = build(config(model))
    again.load_state_dict(model.state_dict())
    x = torch.randn(2, 2, 5, 5)
    assert torch.equal(model(x), again(x))
    with pytest.raises(ValueError, match="leads to 10 outputs; take MLP"):
        CellularSRN.for_data((1, 8, 8), 10, ())
    with pytest.raises(ValueError, match="must be at least 1, got 2, 0 and 20"):
        CellularSRN(neurons=0)
