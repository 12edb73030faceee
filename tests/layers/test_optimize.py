"""Layers that solve: minimizers equal closed forms, and so do their slopes."""

import copy
import sys

import pytest
import torch
from torch import nn

from neurarium.layers import Convex, argmin_activation

# cvxpylayers hands tensors to numpy 2 by an old protocol, forward and backward.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

DOUBLE = {"dtype": torch.float64}


@pytest.fixture
def cp():
    reason = 'needs cvxpylayers: pip install "neurarium[science]"'
    pytest.importorskip("cvxpylayers", reason=reason)
    return pytest.importorskip("cvxpy", reason=reason)


def inputs(rows=6, size=5):
    generator = torch.Generator().manual_seed(0)
    return 1.5 * torch.randn(rows, size, generator=generator, **DOUBLE)


def level(total, excess):
    """tau with excess(tau) = total, for an excess that falls: bisection, then its slope."""
    low, high = torch.full_like(total, -50), torch.full_like(total, 50)
    for _ in range(100):
        middle = (low + high) / 2
        above = excess(middle) > total
        low, high = torch.where(above, middle, low), torch.where(above, high, middle)
    return low


def sparsemax(x):
    # Martins & Astudillo's Algorithm 1, by sorting.
    z = x.sort(descending=True).values
    k = torch.arange(1, x.shape[-1] + 1, **DOUBLE)
    support = (1 + k * z > z.cumsum(-1)).sum(-1, keepdim=True)
    tau = (z.cumsum(-1).gather(-1, support - 1) - 1) / support
    return (x - tau).clamp(min=0)


def csoftmax(x, u):
    # Where y = u the bound holds; the others share what is left as a softmax.
    with torch.no_grad():
        total = torch.ones_like(x[:, :1])
        tau = level(total, lambda t: torch.minimum(u, (x - t).exp()).sum(-1, keepdim=True))
        held = (x - tau).exp() > u
    left = 1 - torch.where(held, u, 0).sum(-1, keepdim=True)
    return torch.where(held, u, left * x.masked_fill(held, -torch.inf).softmax(-1))


def csparsemax(x, u):
    with torch.no_grad():
        total = torch.ones_like(x[:, :1])
        tau = level(total, lambda t: torch.minimum(u, (x - t).clamp(min=0)).sum(-1, keepdim=True))
        held, free = x - tau >= u, (x - tau > 0) & (x - tau < u)
    spent = torch.where(held, u, 0).sum(-1, keepdim=True)
    tau = (torch.where(free, x, 0).sum(-1, keepdim=True) + spent - 1) / free.sum(-1, keepdim=True)
    return torch.where(held, u, torch.where(free, x - tau, 0))


def lml(x):
    # y = sigmoid(x - tau) with sum 2; a Newton step from the root gives tau its slope.
    with torch.no_grad():
        total = torch.full_like(x[:, :1], 2)
        tau = level(total, lambda t: torch.sigmoid(x - t).sum(-1, keepdim=True))
        y = torch.sigmoid(x - tau)
        steep = (y * (1 - y)).sum(-1, keepdim=True)
    return torch.sigmoid(x - tau - (torch.sigmoid(x - tau).sum(-1, keepdim=True) - 2) / steep)


UPPER = torch.tensor([0.3, 0.5, 0.25, 0.4, 0.35], **DOUBLE)
CLOSED = {
    "relu": torch.relu,
    "sigmoid": torch.sigmoid,
    "softmax": lambda x: x.softmax(-1),
    "sparsemax": sparsemax,
    "csoftmax": csoftmax,
    "csparsemax": csparsemax,
    "lml": lml,
}


def solved(name):
    return argmin_activation(name, 2 if name == "lml" else None)


@pytest.mark.parametrize("name", CLOSED)
def test_the_minimizer_is_the_closed_form_and_has_its_slope(cp, name):
    x = inputs().requires_grad_()
    given = [x]
    if name.startswith("c"):
        given.append(UPPER.expand_as(x).clone().requires_grad_())
    y, expected = solved(name)(*given), CLOSED[name](*given)
    torch.testing.assert_close(y, expected, rtol=0, atol=1e-6)
    weight = torch.linspace(-1, 2, x.numel(), **DOUBLE).view_as(x)
    slopes = torch.autograd.grad((y * weight).sum(), given)
    for slope, true in zip(
        slopes, torch.autograd.grad((expected * weight).sum(), given), strict=True
    ):
        torch.testing.assert_close(slope, true, rtol=0, atol=1e-5)


def test_the_bounds_of_the_test_above_hold_some_and_not_all(cp):
    y = solved("csoftmax")(inputs(), UPPER)
    assert (y <= UPPER + 1e-8).all()
    held = (y > UPPER - 1e-8).sum(1)
    assert held.min() >= 1
    assert held.max() < 5


def test_lml_sums_to_its_count_and_keeps_the_order(cp):
    x = inputs()
    y = argmin_activation("lml", 3)(x)
    torch.testing.assert_close(y.sum(-1), torch.full((6,), 3.0, **DOUBLE))
    assert torch.equal(y.argsort(-1), x.argsort(-1))
    assert ((y > 0) & (y < 1)).all()


@pytest.mark.parametrize("name", ["sparsemax", "lml"])
def test_slopes_pass_gradcheck(cp, name):
    # A tolerance of the solver of 1e-10 divided by the step is what a difference cannot resolve.
    x = inputs(2, 4).requires_grad_()
    assert torch.autograd.gradcheck(solved(name), x, eps=1e-4, atol=1e-4)


def test_any_leading_axes_any_length_and_the_precision_of_the_input(cp):
    softmax = solved("softmax")
    for shape in ((4,), (2, 3, 5), (1, 4)):
        x = torch.randn(shape, generator=torch.Generator().manual_seed(1))
        y = softmax(x)
        assert y.dtype == torch.float32
        torch.testing.assert_close(y, x.softmax(-1))


def test_a_layer_learns_the_parameters_that_are_its_own(cp):
    # The nearest point of a box whose corner is learned from points that it should keep.
    x, corner, y = cp.Parameter(2), cp.Parameter(2, value=[2.0, 2.0]), cp.Variable(2)
    problem = cp.Problem(cp.Minimize(cp.sum_squares(y - x)), [y <= corner])
    layer = Convex(problem, learned=[corner]).double()
    points = inputs(8, 2) + 2
    target = torch.minimum(points, torch.tensor([0.5, 1.5], **DOUBLE))
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.8)
    for _ in range(20):
        optimizer.zero_grad()
        (layer(points) - target).square().sum(1).mean().backward()
        optimizer.step()
    (learned,) = layer.parameters()
    torch.testing.assert_close(
        learned.detach(), torch.tensor([0.5, 1.5], **DOUBLE), atol=1e-3, rtol=0
    )


def test_a_problem_with_equalities_alone_is_a_linear_system(cp):
    # min y^2/2 - p y, A y = b: [I A'; A 0][y; nu] = [p; b]
    p, b, y = cp.Parameter(3), cp.Parameter(1), cp.Variable(3)
    A = torch.tensor([[1.0, 2, -1]], **DOUBLE)
    layer = Convex(cp.Problem(cp.Minimize(cp.sum_squares(y) / 2 - p @ y), [A.numpy() @ y == b]))
    given = torch.tensor([[0.3, -1, 2]], **DOUBLE), torch.tensor([[0.7]], **DOUBLE)
    system = torch.zeros(4, 4, **DOUBLE)
    system[:3, :3], system[:3, 3:], system[3:, :3] = torch.eye(3, **DOUBLE), A.T, A
    expected = torch.linalg.solve(system, torch.cat(given, 1)[0])[:3]
    torch.testing.assert_close(layer(*given)[0], expected, rtol=0, atol=1e-7)


def test_in_a_network_it_trains_and_is_copied(cp):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), argmin_activation("sparsemax"))
    x = torch.randn(5, 3)
    y = model(x)
    twin = copy.deepcopy(model)
    torch.testing.assert_close(twin(x), y)
    y.square().sum().backward()
    assert model[0].weight.grad.abs().sum() > 0
    assert twin[0].weight.grad is None


def test_what_has_no_solution_is_an_error_that_says_so(cp, unchecked):
    x, y = cp.Parameter(1), cp.Variable(1)
    empty = Convex(cp.Problem(cp.Minimize(cp.sum_squares(y - x)), [y <= -1, y >= 1]))
    with pytest.raises(ValueError, match=r"no solution .*constraints can hold together"):
        empty(torch.zeros(1, 1))
    with pytest.raises(ValueError, match="1 parameters that are not learned, got 2 tensors"):
        empty(torch.zeros(1, 1), torch.zeros(1, 1))
    corner = cp.Parameter(1, name="corner")
    with pytest.raises(ValueError, match=r"corner has none; set `\.value`"):
        Convex(cp.Problem(cp.Minimize(cp.sum_squares(y - x)), [y <= corner]), learned=[corner])
    with pytest.raises(ValueError, match="learned has 1 parameters that the problem has not"):
        Convex(cp.Problem(cp.Minimize(cp.sum_squares(y - x))), learned=[corner])
    with pytest.raises(ValueError, match=r"u must sum to at least 1, as y does, got 0\.5"):
        solved("csoftmax")(torch.zeros(1, 5), torch.full((5,), 0.1))
    with pytest.raises(ValueError, match="csparsemax is called with the bounds u too"):
        solved("csparsemax")(torch.zeros(1, 5))
    with pytest.raises(ValueError, match="count must be below the 2 entries of x, got 2"):
        solved("lml")(torch.zeros(1, 2))


def test_a_wrong_name_or_count_is_an_error():
    with pytest.raises(ValueError, match=r"name must be one of relu, .*lml, got 'tanh'"):
        argmin_activation("tanh")
    with pytest.raises(ValueError, match=r"count is .* 'lml' selects; got None for 'lml'"):
        argmin_activation("lml")
    with pytest.raises(ValueError, match="got 2 for 'relu'"):
        argmin_activation("relu", 2)


def test_without_cvxpylayers_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "cvxpy", None)
    with pytest.raises(ImportError, match=r'pip install "neurarium\[science\]"'):
        argmin_activation("relu")(torch.zeros(1, 2))
