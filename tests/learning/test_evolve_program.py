"""Programs that evolve: formulas and their constants are found, exactly."""

import copy
import itertools
import math

import pytest
import sympy
import torch
from torch import nn

from neurarium.data import Data
from neurarium.learning import EvolveProgram, NonFiniteError, Rule
from neurarium.learning.evolve_program import _newton
from neurarium.losses import AdaptiveRobust
from neurarium.networks import DCGP, MLP
from neurarium.objectives import supervised
from neurarium.training import fit

pytestmark = pytest.mark.usefixtures("unchecked")  # thousands of small evaluations


def bound(seed=0, loss="mse", genes=None, model=None, **arguments):
    torch.manual_seed(seed)
    model = DCGP(1, **(model or {})).double()
    if genes is not None:
        model.genes.copy_(torch.tensor(genes))
    rule = EvolveProgram(**arguments)
    rule.bind(model, supervised(loss))
    return rule


def values_of(formula, start=-1.0, stop=1.0):
    x = torch.linspace(start, stop, 20, dtype=torch.float64)[:, None]
    return {"input": x, "target": formula(x)}


def test_a_quintic_is_recovered_as_a_formula():
    rule, batch = bound(seed=5), values_of(lambda x: x**5 - 2 * x**3 + x)
    for _ in range(300):
        if rule.step(batch)["loss"] < 1e-28:
            break
    x = sympy.Symbol("x")
    found = sympy.sympify(rule.model.formula(["x"])[0], {"x": x})
    assert sympy.simplify(found - (x**5 - 2 * x**3 + x)) == 0


def test_formula_and_constant_are_recovered_together():
    rule = bound(seed=4, model={"constants": 1, "nodes": 10})
    batch = values_of(lambda x: x**3 - math.pi * x, 1, 3)
    for _ in range(300):
        if rule.step(batch)["loss"] < 1e-20:
            break
    x = sympy.Symbol("x")
    found = sympy.Poly(sympy.expand(sympy.sympify(rule.model.formula(["x"], 17)[0])), x)
    assert found.degree() == 3
    assert found.coeff_monomial(x**3) == pytest.approx(1, abs=1e-8)
    assert found.coeff_monomial(x) == pytest.approx(-math.pi, abs=1e-6)


def two_constants():
    """c0 x + c1, as genes over the values x, c0, c1."""
    return bound(
        genes=[0, 0, 1, 1, 3, 2, 4], model={"constants": 2, "nodes": 2, "kernels": ("mul", "add")}
    )


def test_one_newton_step_solves_for_constants_that_enter_linearly():
    rule = two_constants()
    batch = values_of(lambda x: 2.5 * x - 0.75)
    rule.refine(batch, rule.loss(batch))
    expected = torch.tensor([2.5, -0.75], dtype=torch.float64)
    torch.testing.assert_close(rule.model.c.data, expected, rtol=1e-12, atol=1e-12)


def test_a_newton_step_never_raises_the_loss_and_leaves_constants_that_do_not_count():
    # cos(c0 x): where the loss curves down, Newton's own step would climb, and some are too long.
    rule = bound(
        genes=[0, 1, 0, 1, 3, 3, 4], model={"constants": 2, "nodes": 2, "kernels": ("mul", "cos")}
    )
    batch = values_of(lambda x: torch.cos(3 * x))
    improved = 0
    for start in torch.linspace(0.1, 8, 20).tolist():
        rule.model.c.data.fill_(start)
        before = rule.loss(batch)
        after = rule.refine(batch, before)
        assert after <= before
        improved += after < before
        assert after == rule.loss(batch)
        assert rule.model.c[1].item() == pytest.approx(start)
    assert improved >= 19
    assert _newton(torch.tensor([1.0]), torch.tensor([[-4.0]])).item() == 0.25
    assert _newton(torch.tensor([1.0, 0.0]), torch.diag(torch.tensor([2.0, 0.0]))).tolist() == [
        0.5, 0,
    ]  # fmt: skip


def test_the_best_never_gets_worse_and_equals_drift():
    rule, batch = bound(seed=1, model={"nodes": 8}), values_of(lambda x: x**4 + x)
    losses, programs = [], []
    for _ in range(60):
        losses.append(rule.step(batch)["loss"].item())
        programs.append(tuple(rule.model.genes.tolist()))
    assert all(b <= a * (1 + 1e-12) for a, b in itertools.pairwise(losses))
    drifted = sum(
        p != q and math.isclose(a, b, rel_tol=1e-12)
        for (p, a), (q, b) in itertools.pairwise(zip(programs, losses, strict=True))
    )
    assert drifted > 10
    assert losses[-1] == rule.loss(batch)


def test_a_start_that_divides_by_zero_is_left_at_once():
    rule = bound(genes=[1, 0, 0, 3, 0, 1, 2], model={"nodes": 2})  # x / (x - x)
    batch = values_of(lambda x: x, start=0.0)  # 0 / 0 is not even infinite
    assert rule.loss(batch) == math.inf
    assert math.isfinite(rule.step(batch)["loss"])


def test_data_that_are_not_numbers_are_an_error():
    rule, batch = bound(), values_of(lambda x: x)
    batch["target"][0] = torch.nan
    with pytest.raises(NonFiniteError, match="no program is finite"):
        rule.step(batch)


def test_it_is_a_rule_and_goes_on_exactly_where_it_stopped():
    rule, batch = bound(model={"constants": 1}), values_of(torch.sin)
    assert isinstance(rule, Rule)
    rule.step(batch)
    again = EvolveProgram()
    again.bind(copy.deepcopy(rule.model), rule.objective)
    again.load_state_dict(rule.state_dict())
    for one in (rule, again):
        torch.manual_seed(7)
        for _ in range(10):
            one.step(batch)
    assert torch.equal(rule.model.genes, again.model.genes)
    assert torch.equal(rule.model.c, again.model.c)


def test_alignment_leaves_the_program_as_it_was():
    rule = two_constants()
    batch = values_of(lambda x: 2.5 * x - 0.75)
    before = rule.read()
    cosines = rule.alignment(batch)
    assert set(cosines) == {""}
    assert cosines[""] > 0.5  # Newton's step on a nearly round bowl
    assert all(torch.equal(a, b) for a, b in zip(before, rule.read(), strict=True))


def test_it_trains_within_fit():
    torch.manual_seed(0)
    model = DCGP(1, nodes=6)
    x = torch.linspace(-1, 1, 20)[:, None]
    data = Data({"input": x, "target": (x * x)[:, 0]}, task="regression")
    run = fit(
        model, data, supervised("mse"), EvolveProgram(), epochs=30, batch_size=20, verbose=False,
        precision="32",
    )  # fmt: skip
    assert run.history["train_loss"][-1] < 1e-12


@pytest.mark.parametrize(
    ("model", "objective", "error"),
    [
        (MLP([2, 1]), supervised("mse"), "this MLP has no genes; take neurarium.networks.DCGP"),
        (nn.Linear(2, 1), supervised("mse"), "this Linear has no genes"),
        (DCGP(2), supervised(AdaptiveRobust()), "freeze the objective's parameters"),
    ],
)
def test_what_it_cannot_train_is_refused_at_bind(model, objective, error):
    with pytest.raises(ValueError, match=error):
        EvolveProgram().bind(model, objective)


def test_impossible_arguments_are_errors():
    with pytest.raises(ValueError, match="newton at least 0, got 4, 0 and 1"):
        EvolveProgram(mutations=0)
