"""Simulated annealing: the walk's law, its widths, its cold limit and a landscape of valleys."""

import copy
import math

import pytest
import torch
from torch import nn

from neurarium.learning.rule import Rule
from neurarium.learning.simulated_annealing import SimulatedAnnealing, accepts
from neurarium.objectives import supervised

NOTHING = {"input": torch.zeros(1)}


class Point(nn.Module):
    def __init__(self, *start):
        super().__init__()
        self.x = nn.Parameter(torch.tensor(start, dtype=torch.float64))


def walk(rule, loss, *start, steps=1):
    torch.manual_seed(0)
    model = Point(*start)
    rule.bind(model, lambda m, b: loss(m.x))
    return model, [rule.step(NOTHING) for _ in range(steps)]


def test_three_states_are_visited_as_boltzmann_says():
    # From each state one of the other two is proposed; detailed balance makes exp(-E/T) the law.
    energies, T = [0.0, 0.5, 1.2], 0.7
    generator = torch.Generator().manual_seed(0)
    state, visits, every = 0, [0, 0, 0], 10
    draws = torch.rand(100_000, 2, generator=generator, dtype=torch.float64).tolist()
    for i, (proposal, u) in enumerate(draws):
        other = (state + (1 if proposal < 0.5 else 2)) % 3
        if accepts(energies[other] - energies[state], T, u):
            state = other
        visits[state] += i % every == 0  # far enough apart to be independent
    weights = [math.exp(-e / T) for e in energies]
    expected = [w / sum(weights) * sum(visits) for w in weights]
    chi_square = sum((v - e) ** 2 / e for v, e in zip(visits, expected, strict=True))
    assert chi_square < 13.8  # two degrees of freedom: 1 in 1000 by chance


def test_a_walk_at_one_temperature_has_the_temperatures_mean_energy():
    # Of x^2/2 + y^2 the mean energy is T/2 for each coordinate, whatever the stiffness.
    rule = SimulatedAnnealing(T0=0.3, cool=1, adapt=False, width=1.5, moves=2)
    model, energies = Point(0.0, 0.0), []
    torch.manual_seed(0)
    rule.bind(model, lambda m, b: m.x[0] ** 2 / 2 + m.x[1] ** 2)
    for _ in range(3000):
        rule.step(NOTHING)
        energies.append((rule.point[0] ** 2 / 2 + rule.point[1] ** 2).item())
    assert sum(energies) / len(energies) == pytest.approx(0.3, rel=0.12)


def test_the_widths_settle_where_half_of_the_moves_are_accepted():
    rule = SimulatedAnnealing(T0=0.1, nt=10_000, width=50.0)
    _, steps = walk(rule, lambda x: x[0] ** 2 + 100 * x[1] ** 2, 0.0, 0.0, steps=1000)
    late = [step["accepted"].item() for step in steps[400:]]
    assert sum(late) / len(late) == pytest.approx(0.5, abs=0.06)
    assert 4 < rule.widths[0] / rule.widths[1] < 25  # 10 on average


def test_widths_are_adapted_by_coranas_formula():
    rule = SimulatedAnnealing(ns=10, nt=5)
    walk(rule, lambda x: x.square().sum(), 0.0, 0.0, 0.0, steps=9)
    assert rule.widths.tolist() == [1, 1, 1]
    rule.accepted = torch.tensor([9.0, 5.0, 1.0], dtype=torch.float64)
    rule._swept()
    # 1 + 2 (0.9 - 0.6)/0.4; unchanged; 1/(1 + 2 (0.4 - 0.1)/0.4).
    torch.testing.assert_close(rule.widths, torch.tensor([2.5, 1, 0.4], dtype=torch.float64))
    assert rule.accepted.tolist() == [0, 0, 0]


def test_it_cools_after_the_adaptations_and_restarts_from_the_best():
    rule = SimulatedAnnealing(T0=1.0, cool=0.5, ns=2, nt=3)
    model, steps = walk(rule, lambda x: x.square().sum(), 3.0, -3.0, steps=12)
    temperatures = [step["temperature"].item() for step in steps]
    assert temperatures == [1.0] * 5 + [0.5] * 6 + [0.25]
    assert torch.equal(rule.point, model.x)  # the twelfth sweep was the last before it cooled


def test_without_temperature_it_never_goes_up():
    rule = SimulatedAnnealing(T0=0, ns=1)
    model, steps = walk(rule, lambda x: x.square().sum(), 3.0, -3.0, steps=50)
    losses = [step["loss"].item() for step in steps]
    assert losses == sorted(losses, reverse=True)
    assert torch.equal(rule.point, model.x)  # where it is, is the best
    assert losses[-1] < 1e-3
    assert accepts(0.0, 0.0, 0.99)
    assert not accepts(1e-9, 0.0, 0.0)


def test_the_model_holds_the_best_point_while_the_walk_goes_on():
    rule = SimulatedAnnealing(T0=5.0, cool=1)
    model, steps = walk(rule, lambda x: x.square().sum(), 3.0, -3.0, steps=40)
    losses = [step["loss"].item() for step in steps]
    assert losses == sorted(losses, reverse=True)
    assert steps[-1]["best"].item() == model.x.detach().square().sum().item()
    assert rule.point.square().sum() > model.x.detach().square().sum()


def test_rastrigins_valleys_are_left():
    def rastrigin(x):
        return 10 * len(x) + (x.square() - 10 * (2 * math.pi * x).cos()).sum()

    rule = SimulatedAnnealing(T0=10, cool=0.85, ns=20, nt=2, moves=1000)
    model, _ = walk(rule, rastrigin, 4.2, -3.1, steps=6)
    assert rastrigin(model.x.detach()) < 1e-3
    greedy = SimulatedAnnealing(T0=0, ns=10, nt=2, moves=1000)
    stuck, _ = walk(greedy, rastrigin, 4.2, -3.1, steps=3)
    assert rastrigin(stuck.x.detach()) > 0.9


X = torch.randn(16, 3, generator=torch.Generator().manual_seed(0))
BATCH = {"input": X, "target": X.sum(1)}


def test_it_resumes_exactly():
    torch.manual_seed(0)
    rule, model = SimulatedAnnealing(ns=2, nt=2, moves=7), nn.Linear(3, 1)
    rule.bind(model, supervised("mse"))
    assert isinstance(rule, Rule)
    for _ in range(5):
        rule.step(BATCH)
    saved = rule.state_dict(), copy.deepcopy(model.state_dict()), torch.get_rng_state()
    for _ in range(10):
        last = rule.step(BATCH)
    again = SimulatedAnnealing(ns=2, nt=2, moves=7)
    again.bind(copy.deepcopy(model), supervised("mse"))
    again.load_state_dict(saved[0])
    again.model.load_state_dict(saved[1])
    torch.set_rng_state(saved[2])
    for _ in range(10):
        repeated = again.step(BATCH)
    assert repeated == last
    assert torch.equal(again.model.weight, model.weight)
    assert torch.equal(again.point, rule.point)


def test_a_trial_step_leaves_no_trace():
    rule, model = SimulatedAnnealing(), nn.Linear(3, 1)
    rule.bind(model, supervised("mse"))
    before = copy.deepcopy((rule.state_dict(), model.state_dict()))
    assert set(rule.alignment(BATCH)) == {""}
    torch.testing.assert_close((rule.state_dict(), model.state_dict()), before, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"T0": -1}, "T0 must be at least 0"),
        ({"cool": 1.1}, r"cool must lie in \(0, 1\]"),
        ({"width": 0}, "width must be positive"),
        ({"ns": 0}, "ns must be at least 1"),
        ({"moves": 0}, "moves must be at least 1"),
    ],
)
def test_wrong_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        SimulatedAnnealing(**arguments)
