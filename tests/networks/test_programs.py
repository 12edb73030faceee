"""Programs: the genes, what counts of them, and slopes of any order."""

import math
import random

import pytest
import sympy
import torch

from neurarium.networks import DCGP
from neurarium.networks.build import build, config


def program(genes=None, seed=0, **arguments):
    torch.manual_seed(seed)
    model = DCGP(**{"inputs": 2, **arguments}).double()
    if genes is not None:
        model.genes.copy_(torch.tensor(genes))
    return model


def by_hand():
    """x0, x1, c0 are values 0, 1, 2; y = sin(x0 * c0) / (x1 + x0)."""
    model = program(
        [2, 0, 2, 0, 1, 0, 1, 1, 1, 4, 3, 0, 3, 6, 4, 7],
        nodes=5, constants=1, kernels=("add", "sub", "mul", "div", "sin"),
    )  # fmt: skip
    # nodes 3..7: x0 * c0, x1 + x0, x1 - x1 (unused), sin(3), 6 / 4
    model.c.data.fill_(1.5)
    return model


def test_a_program_worked_by_hand():
    model = by_hand()
    x = torch.rand(6, 2, dtype=torch.float64)
    assert model.active() == [0, 1, 3, 4]
    assert model.formula() == ["(sin((x0 * (1.5))) / (x1 + x0))"]
    assert model.formula(["a", "b"]) == ["(sin((a * (1.5))) / (b + a))"]
    expected = torch.sin(1.5 * x[:, 0]) / (x[:, 1] + x[:, 0])
    torch.testing.assert_close(model(x)[:, 0], expected)


def test_slopes_of_any_order_are_those_of_the_formula():
    # Those by the constant, by the inputs, and the third by an input, against sympy's.
    model = by_hand()
    a, b, c = sympy.symbols("a b c")
    y = sympy.sin(a * c) / (b + a)
    at = {a: 0.3, b: 0.9, c: 1.5}
    x = torch.tensor([[0.3, 0.9]], dtype=torch.float64, requires_grad=True)
    (by_c,) = torch.autograd.grad(model(x).sum(), model.c)
    assert by_c.item() == pytest.approx(float(y.diff(c).subs(at)), rel=1e-12)
    slope = model(x).sum()
    for order in (1, 2, 3):
        (slopes,) = torch.autograd.grad(slope, x, create_graph=True)
        slope = slopes[0, 0]
        assert slope.item() == pytest.approx(float(y.diff(a, order).subs(at)), rel=1e-12)


@pytest.mark.parametrize("seed", range(6))
def test_the_formula_of_a_random_program_says_what_it_computes(seed):
    kernels = ("add", "sub", "mul", "div", "sin", "cos", "exp", "log")
    model = program(seed=seed, outputs=3, nodes=12, constants=2, kernels=kernels)
    model.c.data.copy_(torch.tensor([0.7, -1.3]))
    x = 0.5 + torch.rand(4, 2, dtype=torch.float64)
    written = [sympy.lambdify(["x0", "x1"], f, "math") for f in model.formula(digits=17)]
    for row, found in zip(x.tolist(), model(x).tolist(), strict=True):
        for formula, value in zip(written, found, strict=True):
            try:
                expected = formula(*row)
            except (ValueError, ZeroDivisionError, OverflowError):
                assert not math.isfinite(value)
                continue
            assert isinstance(expected, complex) or value == pytest.approx(expected, rel=1e-9)


def test_a_mutation_changes_as_many_genes_that_count_as_it_says_and_stays_in_reach():
    model = program(nodes=10, levels_back=3, outputs=2, constants=1)
    dice = random.Random(0)
    counting = {3 * node + kind for node in model.active() for kind in range(3)} | {30, 31}
    for changes in (1, 2, 5):
        for _ in range(30):
            genes = model.mutated(changes, dice)
            changed = (genes != model.genes).nonzero()[:, 0].tolist()
            assert len(changed) == changes
            assert set(changed) <= counting
            for gene, value in enumerate(genes.tolist()):
                assert value in model.alleles(gene)
    # node 5 is value 8: it reaches x0, x1, c0 and values 5, 6, 7; an output reaches everything
    assert list(model.alleles(3 * 5 + 1)) == [0, 1, 2, 5, 6, 7]
    assert list(model.alleles(1)) == [0, 1, 2]
    assert list(model.alleles(30)) == list(range(13))


def test_every_place_comes_after_those_it_uses():
    model = program(nodes=30)
    for node in range(30):
        _, a, b = model.genes[3 * node : 3 * node + 3].tolist()
        assert max(a, b) < 2 + node


def test_genes_and_constants_are_saved_and_a_configuration_rebuilds_the_program():
    model = DCGP.for_data((3,), 2, (), nodes=6, constants=2)
    again = build(config(model))
    again.load_state_dict(model.state_dict())
    assert model.formula() == again.formula()
    x = torch.randn(4, 3)
    torch.testing.assert_close(model(x), again(x), rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"kernels": ("add", "pow")}, r"must be some of add, sub.* got \['add', 'pow'\]"),
        ({"kernels": ()}, "kernels must be some of"),
        ({"levels_back": 0}, "at least 1 node, got 0"),
        ({"nodes": 0}, "got 2, 1, 0 and 0"),
    ],
)
def test_impossible_programs_are_errors(arguments, error):
    with pytest.raises(ValueError, match=error):
        program(**arguments)


def test_names_must_be_one_for_each_input():
    with pytest.raises(ValueError, match="names must be 2"):
        by_hand().formula(["a"])
