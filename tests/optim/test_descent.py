"""Paths down a function of two variables."""

import io

import pytest
import torch

from neurarium.optim import descent
from neurarium.optim.descent import figure

CURVATURES = torch.tensor([1.0, 8.0], dtype=torch.float64)


def bowl(p):
    return 0.5 * (CURVATURES * p**2).sum(-1)


def test_plain_descent_of_a_quadratic_is_a_power_of_its_curvatures():
    path = descent(bowl, ["sgd:lr=0.2"], start=(-1.0, 1.0), steps=30)["sgd:lr=0.2"]
    t = torch.arange(31, dtype=torch.float64)[:, None]
    expected = torch.tensor([-1.0, 1.0]).double() * (1 - 0.2 * CURVATURES) ** t
    torch.testing.assert_close(path, expected)


@pytest.mark.parametrize(("share", "converges"), [(0.99, True), (1.01, False)])
def test_plain_descent_converges_iff_the_rate_is_below_two_over_the_curvature(share, converges):
    name = f"sgd:lr={share * 2 / 8}"
    path = descent(bowl, [name], steps=500)[name]
    assert (path[-1].norm() < 0.1) == converges
    assert (bowl(path)[-1] < bowl(path)[0]) == converges


def test_heavy_ball_with_polyaks_settings_contracts_by_his_rate():
    # lr = 4/(sqrt L + sqrt l)^2, momentum = q^2, contraction q = (sqrt k - 1)/(sqrt k + 1).
    root = CURVATURES.sqrt()
    q = ((root[1] - root[0]) / (root[1] + root[0])).item()
    name = f"sgd:lr={4 / (root.sum() ** 2).item()},momentum={q**2}"
    path = descent(bowl, [name], steps=60)[name].norm(dim=1)
    assert (path[60] / path[30]).item() ** (1 / 30) == pytest.approx(q, rel=0.03)


def test_functions_and_names_go_side_by_side_into_the_figure(unchecked):
    adam = {"Adam": "adam:lr=0.2", "mine": lambda p: torch.optim.SGD(p, lr=0.1)}
    paths = descent(bowl, {**adam, "diverges": "sgd:lr=1e300"}, steps=20)
    drawn = figure(bowl, paths)
    assert [line.get_label() for line in drawn.axes[0].lines] == list(paths)
    xs, ys = drawn.axes[0].lines[1].get_data()
    assert xs[0] == -1
    assert ys[0] == 1
    drawn.savefig(io.BytesIO())


def test_a_surface_that_is_none_is_refused(unchecked):
    with pytest.raises(ValueError, match=r"one height for a point of shape \(2,\), got shape \(2,"):
        descent(lambda p: p**2, ["sgd:lr=0.1"])
