"""Torch's optimizers do what the papers' update equations say."""

import math

import pytest
import torch

from neurarium.optim import get

STEPS = 20


def sgd(w, g, s, t):
    return w - 0.1 * g(w)


def momentum(w, g, s, t):
    s["v"] = 0.9 * s.get("v", 0) + g(w)
    return w - 0.1 * s["v"]


def nesterov(w, g, s, t):
    # Torch keeps the point looked ahead at, so the slope is taken where w already is.
    slope = g(w)
    s["v"] = 0.9 * s.get("v", 0) + slope
    return w - 0.1 * (slope + 0.9 * s["v"])


def adagrad(w, g, s, t):
    slope = g(w)
    s["sum"] = s.get("sum", 0) + slope**2
    return w - 0.1 * slope / (s["sum"].sqrt() + 1e-10)


def adadelta(w, g, s, t):
    slope = g(w)
    s["g2"] = 0.9 * s.get("g2", torch.zeros_like(w)) + 0.1 * slope**2
    move = ((s.get("d2", torch.zeros_like(w)) + 1e-6) / (s["g2"] + 1e-6)).sqrt() * slope
    s["d2"] = 0.9 * s.get("d2", torch.zeros_like(w)) + 0.1 * move**2
    return w - move


def rmsprop(w, g, s, t):
    slope = g(w)
    s["g2"] = 0.99 * s.get("g2", torch.zeros_like(w)) + 0.01 * slope**2
    return w - 0.1 * slope / (s["g2"].sqrt() + 1e-8)


def moments(w, slope, s, t, b1=0.9, b2=0.999):
    s["m"] = b1 * s.get("m", torch.zeros_like(w)) + (1 - b1) * slope
    s["v"] = b2 * s.get("v", torch.zeros_like(w)) + (1 - b2) * slope**2
    return s["m"] / (1 - b1**t), s["v"] / (1 - b2**t)


def adam(w, g, s, t):
    mean, square = moments(w, g(w), s, t)
    return w - 0.1 * mean / (square.sqrt() + 1e-8)


def coupled_adam(w, g, s, t):
    mean, square = moments(w, g(w) + 0.2 * w, s, t)  # decay inside the gradient
    return w - 0.1 * mean / (square.sqrt() + 1e-8)


def adamw(w, g, s, t):
    mean, square = moments(w, g(w), s, t)
    return w - 0.1 * (mean / (square.sqrt() + 1e-8) + 0.2 * w)  # decay beside it


def adamax(w, g, s, t):
    slope = g(w)
    s["m"] = 0.9 * s.get("m", torch.zeros_like(w)) + 0.1 * slope
    s["u"] = torch.maximum(0.999 * s.get("u", torch.zeros_like(w)), slope.abs() + 1e-8)
    return w - 0.1 / (1 - 0.9**t) * s["m"] / s["u"]


def amsgrad(w, g, s, t):
    mean, _ = moments(w, g(w), s, t)
    s["top"] = torch.maximum(s.get("top", torch.zeros_like(w)), s["v"])
    return w - 0.1 * mean / ((s["top"] / (1 - 0.999**t)).sqrt() + 1e-8)


def nadam(w, g, s, t):
    slope = g(w)
    now, then = (0.9 * (1 - 0.5 * 0.96 ** (n * 0.004)) for n in (t, t + 1))
    s["product"] = s.get("product", 1.0) * now
    _, square = moments(w, slope, s, t)
    mean = then * s["m"] / (1 - s["product"] * then) + (1 - now) * slope / (1 - s["product"])
    return w - 0.1 * mean / (square.sqrt() + 1e-8)


def radam(w, g, s, t):
    mean, _ = moments(w, g(w), s, t)
    longest = 2 / (1 - 0.999) - 1
    length = longest - 2 * t * 0.999**t / (1 - 0.999**t)
    if length <= 5:
        return w - 0.1 * mean  # the variance of the scale cannot be told yet
    rectified = math.sqrt(
        (length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length)
    )
    correction = math.sqrt(1 - 0.999**t)  # torch adds its epsilon before the correction
    return w - 0.1 * rectified * mean * correction / (s["v"].sqrt() + 1e-8)


def rprop(w, g, s, t):
    slope = g(w)
    agree = slope * s.get("last", torch.zeros_like(w))
    factor = 1 + 0.2 * (agree > 0).double() - 0.5 * (agree < 0).double()
    s["size"] = (s.get("size", torch.full_like(w, 0.1)) * factor).clamp(1e-6, 50)
    s["last"] = torch.where(agree < 0, 0.0, slope)
    return w - s["size"] * s["last"].sign()


CASES = [
    ("sgd", sgd),
    ("sgd:momentum=0.9", momentum),
    ("sgd:momentum=0.9,nesterov=true", nesterov),
    ("adagrad", adagrad),
    ("adadelta:lr=1.0", adadelta),
    ("rmsprop", rmsprop),
    ("adam", adam),
    ("adam:weight_decay=0.2", coupled_adam),
    ("adamw:weight_decay=0.2", adamw),
    ("adamax", adamax),
    ("adam:amsgrad=true", amsgrad),
    ("nadam", nadam),
    ("radam", radam),
    ("rprop", rprop),
]


@pytest.mark.parametrize(("name", "reference"), CASES, ids=[name for name, _ in CASES])
def test_a_step_is_the_papers(name, reference):
    A = torch.tensor([[3.0, 1.0, 0.0], [1.0, 2.0, -0.5], [0.0, -0.5, 0.7]], dtype=torch.float64)
    start = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)

    def gradient(w):
        return A @ w + torch.sin(3 * w)

    theirs = start.clone().requires_grad_()
    rate = {} if "lr=" in name else {"lr": 0.1}
    optimizer, ours, state = get(name)([theirs], **rate), start.clone(), {}
    for t in range(1, STEPS + 1):
        theirs.grad = gradient(theirs.detach())
        optimizer.step()
        ours = reference(ours, gradient, state, t)
        # NAdam keeps its product of momenta in single precision.
        torch.testing.assert_close(theirs.detach(), ours, rtol=1e-8, atol=1e-8)


def test_plain_descent_is_the_steepest_of_all_steps_of_its_length():
    # |dv| = eps and dC = g.dv: least for dv = -eta g with eta = eps/|g| (Cauchy-Schwarz).
    torch.manual_seed(0)
    g = torch.randn(5, dtype=torch.float64)
    w = torch.zeros(5, dtype=torch.float64, requires_grad=True)
    w.grad = g.clone()
    get("sgd")([w], lr=0.01 / g.norm().item()).step()
    steepest = w.detach()
    assert steepest.norm().item() == pytest.approx(0.01)
    others = torch.randn(1000, 5, dtype=torch.float64)
    others *= 0.01 / others.norm(dim=1, keepdim=True)
    assert (g @ steepest < others @ g).all()
