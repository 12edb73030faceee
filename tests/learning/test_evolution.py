"""Evolution strategies and the genetic algorithm."""

import copy
import math

import pytest
import torch
from torch import nn

from neurarium.learning.evolution import CMAES, ES, GA, centred_ranks
from neurarium.learning.rule import NonFiniteError, Rule
from neurarium.objectives import supervised

X = torch.randn(32, 3, generator=torch.Generator().manual_seed(0))
BATCH = {"input": X, "target": (X @ torch.tensor([[1.0], [-2.0], [0.5]])).squeeze(1)}
RULES = [ES(lr=0.05, population=10), GA(population=10, parents=3), CMAES()]


class Point(nn.Module):
    """A point, whose loss an objective of ours reads off."""

    def __init__(self, *start):
        super().__init__()
        self.x = nn.Parameter(torch.tensor(start, dtype=torch.float64))


def bound(rule, model, objective):
    torch.manual_seed(0)
    rule.bind(model, objective)
    return rule


NOTHING = {"input": torch.zeros(1)}
A = torch.tensor([[3.0, 1.0], [1.0, 2.0]], dtype=torch.float64)


def quadratic(model, batch):
    return model.x @ A @ model.x / 2 + model.x[0] + 5


@pytest.mark.parametrize("antithetic", [True, False])
def test_raw_losses_estimate_the_gradient_of_a_quadratic_without_bias(antithetic):
    # The smoothed loss is L + sigma^2 tr(A)/2, so its gradient is that of L: A x + e_1.
    rule = ES(population=200_000, sigma=0.5, antithetic=antithetic, rank=False)
    model = Point(1.0, -1.0)
    bound(rule, model, quadratic)
    rule.estimate(NOTHING)
    expected = A @ model.x.detach() + torch.tensor([1.0, 0.0])
    # One sample's standard deviation is about 4 with pairs, and 15 without (it sees the 5).
    error = 5 * (4 / math.sqrt(100_000) if antithetic else 15 / math.sqrt(200_000))
    torch.testing.assert_close(model.x.grad, expected, rtol=0, atol=error)


def test_pairs_cancel_what_is_even():
    even = bound(ES(population=10, rank=False), Point(0.0, 0.0), lambda m, b: m.x @ A @ m.x + 7)
    even.estimate(NOTHING)
    assert even.model.x.grad.abs().max() < 1e-12
    alone = bound(ES(population=10, rank=False, antithetic=False), Point(0.0, 0.0), even.objective)
    alone.estimate(NOTHING)
    assert alone.model.x.grad.abs().max() > 1


def test_one_pair_estimates_as_the_formula_says():
    rule = bound(ES(population=2, sigma=0.1, rank=False), Point(1.0, -1.0), quadratic)
    torch.manual_seed(5)
    rule.estimate(NOTHING)
    torch.manual_seed(5)
    noise = torch.randn(1, 2, dtype=torch.float64)[0]
    # Of a quadratic the central difference is exact: the slope along the noise, times the noise.
    slope = (A @ torch.tensor([1.0, -1.0], dtype=torch.float64) + torch.tensor([1.0, 0])) @ noise
    torch.testing.assert_close(rule.model.x.grad, slope * noise)


def test_ranks_do_not_see_how_large_a_loss_is():
    def estimate(objective):
        rule = bound(ES(population=20), Point(1.0, -1.0), objective)
        torch.manual_seed(3)
        rule.estimate(NOTHING)
        return rule.model.x.grad

    ours = estimate(quadratic)
    assert ours @ (A @ torch.tensor([1.0, -1.0], dtype=torch.float64)) > 0
    assert torch.equal(ours, estimate(lambda m, b: (quadratic(m, b) / 3).exp()))


def test_centred_ranks_by_hand():
    values = torch.tensor([7.0, 1.0, torch.inf, 7.0, 0.0])
    assert centred_ranks(values).tolist() == [0.125, -0.25, 0.5, 0.125, -0.5]
    assert centred_ranks(torch.zeros(4)).tolist() == [0.0] * 4


def test_more_candidates_align_more():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1))
    few, many = ES(population=4), ES(population=4000, sigma=0.01, rank=False)
    for rule in (few, many):
        bound(rule, model, supervised("mse"))
    assert min(many.alignment(BATCH).values()) > 0.95
    assert min(few.alignment(BATCH).values()) < 0.6
    assert all(p.grad is None for p in model.parameters())


def test_a_candidate_of_infinite_loss_is_named_by_raw_losses():
    rule = bound(ES(rank=False), Point(0.0, 0.0), lambda m, b: 1 / (m.x[0] >= 0).double())
    with pytest.raises(NonFiniteError, match="take rank=True"):
        rule.step(NOTHING)
    bound(ES(), Point(0.0, 0.0), rule.objective).step(NOTHING)


# GA


def test_the_best_of_the_genetic_algorithm_never_gets_worse_on_one_batch():
    rule = bound(GA(population=8, parents=2, sigma=0.1), nn.Linear(3, 1), supervised("mse"))
    steps = [rule.step(BATCH) for _ in range(60)]
    losses = [step["loss"].item() for step in steps]
    assert losses == sorted(losses, reverse=True)
    # What is best of a step is the model, which the next step starts with.
    for step, then in zip(steps, losses[1:], strict=False):
        assert step["best"].item() == pytest.approx(then, rel=1e-5)
    assert losses[-1] < losses[0] / 10


def test_the_parents_are_the_best_in_their_order():
    rule = bound(GA(population=50, parents=4, sigma=0.3), Point(2.0, 2.0), quadratic)
    rule.step(NOTHING)
    assert rule.alive.shape == (4, 2)
    losses = [quadratic(Point(*p.tolist()), None).item() for p in rule.alive]
    assert losses == sorted(losses)
    assert torch.equal(rule.model.x, rule.alive[0])
    torch.manual_seed(0)
    chosen, noise = torch.randint(1, (49,)), torch.randn(49, 2, dtype=torch.float64)
    assert chosen.sum() == 0
    everyone = torch.cat([torch.full((1, 2), 2.0, dtype=torch.float64), 2 + 0.3 * noise])
    best = sorted(everyone.tolist(), key=lambda p: quadratic(Point(*p), None).item())
    torch.testing.assert_close(rule.alive, torch.tensor(best[:4], dtype=torch.float64))


# CMA-ES


def sphere(model, batch):
    return model.x @ model.x


def test_covariance_adaptation_converges_on_what_is_stretched_a_thousandfold():
    scales = torch.logspace(0, 6, 4, dtype=torch.float64)
    turned = torch.linalg.qr(torch.randn(4, 4, dtype=torch.float64)).Q

    def ellipsoid(model, batch):
        return scales @ (turned @ model.x) ** 2

    rule = bound(CMAES(sigma=0.5), Point(*[1.0] * 4), ellipsoid)
    for _ in range(300):
        outputs = rule.step(NOTHING)
    assert outputs["loss"] < 1e-8
    # The covariance has become the inverse Hessian, up to its size.
    whitened = turned.T @ torch.diag(scales) @ turned @ rule.state["covariance"]
    found = torch.linalg.eigvals(whitened).real
    assert found.max() / found.min() < 30


def test_the_step_size_grows_on_a_slope_and_shrinks_at_the_goal():
    slope = bound(CMAES(), Point(*[0.0] * 5), lambda m, b: m.x.sum())
    goal = bound(CMAES(), Point(*[0.0] * 5), sphere)
    for _ in range(40):
        up, down = slope.step(NOTHING)["sigma"], goal.step(NOTHING)["sigma"]
    assert up > 100 * 0.3
    assert down < 0.3 / 10


def test_a_generation_of_covariance_adaptation_by_the_tutorials_formulas():
    rule = bound(CMAES(population=6, sigma=0.5), Point(1.0, 2.0), sphere)
    torch.manual_seed(4)
    rule.step(NOTHING)
    torch.manual_seed(4)
    y = torch.randn(6, 2, dtype=torch.float64)
    m = torch.tensor([1.0, 2.0], dtype=torch.float64)
    y = y[(m + 0.5 * y).square().sum(1).argsort()][:3]
    w = torch.tensor([math.log(3.5), math.log(3.5 / 2), math.log(3.5 / 3)]).double()
    w /= w.sum()
    mu = 1 / (w**2).sum()
    move = w @ y
    torch.testing.assert_close(rule.model.x.detach(), m + 0.5 * move)
    cs = (mu + 2) / (2 + mu + 5)
    ds = 1 + 2 * max(0, math.sqrt((mu - 1) / 3) - 1) + cs
    cc = (4 + mu / 2) / (2 + 4 + 2 * mu / 2)
    c1 = 2 / (3.3**2 + mu)
    cmu = 2 * (mu - 2 + 1 / mu + 0.25) / (4**2 + mu)
    ps = (cs * (2 - cs) * mu).sqrt() * move
    chi = math.sqrt(2) * (1 - 1 / 8 + 1 / 84)
    torch.testing.assert_close(
        rule.state["step_size"], 0.5 * (cs / ds * (ps.norm() / chi - 1)).exp()
    )
    h = ps.norm() / (1 - (1 - cs) ** 2).sqrt() < (1.4 + 2 / 3) * chi
    assert h
    pc = (cc * (2 - cc) * mu).sqrt() * move
    C = (1 - c1 - cmu) * torch.eye(2).double() + c1 * pc.outer(pc) + cmu * (y.T * w) @ y
    torch.testing.assert_close(rule.state["covariance"], C)


def test_a_large_model_is_refused_with_advice():
    with pytest.raises(ValueError, match=r"20200 x 20200 numbers .*; take ES"):
        CMAES().bind(nn.Linear(201, 100), supervised("mse"))


# All


@pytest.mark.parametrize("rule", RULES, ids=lambda r: type(r).__name__)
def test_every_rule_solves_a_line_and_resumes_exactly(rule):
    torch.manual_seed(1)
    model = nn.Linear(3, 1)
    bound(rule, model, supervised("mse"))
    assert isinstance(rule, Rule)
    first = rule.step(BATCH)["loss"]
    for _ in range(20):
        rule.step(BATCH)
    saved = copy.deepcopy((rule.state_dict(), model.state_dict(), torch.get_rng_state()))
    for _ in range(80):
        last = rule.step(BATCH)["loss"]
    assert last < first / 5
    again = copy.deepcopy(rule)
    again.bind(copy.deepcopy(model), supervised("mse"))
    again.load_state_dict(saved[0])
    again.model.load_state_dict(saved[1])
    torch.set_rng_state(saved[2])
    for _ in range(80):
        repeated = again.step(BATCH)["loss"]
    assert torch.equal(repeated, last)
    assert torch.equal(again.model.weight, model.weight)


@pytest.mark.parametrize("rule", RULES, ids=lambda r: type(r).__name__)
def test_a_trial_step_leaves_no_trace(rule):
    model = nn.Linear(3, 1)
    bound(rule, model, supervised("mse"))
    rule.step(BATCH)
    before = copy.deepcopy((rule.state_dict(), model.state_dict()))
    assert set(rule.alignment(BATCH)) == {""}
    torch.testing.assert_close((rule.state_dict(), model.state_dict()), before, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ES(population=5), "population must be even, for pairs"),
        (lambda: ES(sigma=0), "sigma must be positive"),
        (lambda: GA(population=5, parents=5), "fewer than population=5"),
        (lambda: GA(sigma=-1), "sigma must be positive"),
        (lambda: CMAES(population=3), "at least 4, got 3"),
        (lambda: CMAES(sigma=0), "sigma must be positive"),
    ],
)
def test_wrong_arguments_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
