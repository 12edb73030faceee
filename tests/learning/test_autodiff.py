"""The scalar tape and dual numbers find what torch finds, on any expression."""

import doctest
import operator

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from neurarium.learning import autodiff
from neurarium.learning.autodiff import Dual, Value

UNARY = {
    "tanh": lambda x: x.tanh(),
    "relu": lambda x: x.relu(),
    "exp": lambda x: x.tanh().exp(),
    "log": lambda x: (x**2 + 1.5).log(),
    "square": lambda x: x.tanh() ** 2,
    "cube": lambda x: x.tanh() ** 3,
    "root": lambda x: (x**2 + 0.5) ** 0.5,
    "power 0": lambda x: x**0,
    "negative": operator.neg,
    "reciprocal": lambda x: 1 / (x**2 + 1),
    "from the right": lambda x: 2 - 3 * x + (1 + x),
    "divided": lambda x: x / 4 - 1,
}
BINARY = {
    "add": operator.add,
    "sub": operator.sub,
    "mul": lambda x, y: x.tanh() * y,
    "div": lambda x, y: x / (y**2 + 1),
}
INPUTS = 3

# A program: each step applies an operation to numbers there are, and adds its result to them.
STEP = st.tuples(st.sampled_from([*UNARY, *BINARY]), st.integers(0, 10**6), st.integers(0, 10**6))
PROGRAM = st.lists(STEP, min_size=1, max_size=12)
POINT = st.lists(st.floats(-2, 2, allow_subnormal=False), min_size=INPUTS, max_size=INPUTS)


def run(program, inputs):
    numbers = list(inputs)
    for name, i, j in program:
        x, y = numbers[i % len(numbers)], numbers[j % len(numbers)]
        numbers.append(UNARY[name](x) if name in UNARY else BINARY[name](x, y))
    return numbers[-1] + inputs[0] * 0


def by_torch(program, point):
    inputs = [torch.tensor(x, dtype=torch.float64, requires_grad=True) for x in point]
    output = run(program, inputs)
    found = torch.autograd.grad(output, inputs, allow_unused=True, materialize_grads=True)
    return output.item(), [slope.item() for slope in found]


@settings(max_examples=150, deadline=None)
@given(PROGRAM, POINT)
def test_reverse_mode_is_torchs(program, point):
    inputs = [Value(x) for x in point]
    output = run(program, inputs)
    output.backward()
    value, slopes = by_torch(program, point)
    assert output.data == pytest.approx(value, rel=1e-9, abs=1e-9)
    assert [x.grad for x in inputs] == pytest.approx(slopes, rel=1e-9, abs=1e-9)


@settings(max_examples=75, deadline=None)
@given(PROGRAM, POINT)
def test_forward_mode_is_torchs_one_input_at_a_time(program, point):
    value, slopes = by_torch(program, point)
    for varied, slope in enumerate(slopes):
        output = run(program, [Dual(x, float(i == varied)) for i, x in enumerate(point)])
        assert output.data == pytest.approx(value, rel=1e-9, abs=1e-9)
        assert output.slope == pytest.approx(slope, rel=1e-9, abs=1e-9)


def test_a_number_used_twice_gets_both_slopes():
    # d/dx (x * x + x) = 2 x + 1
    x = Value(3.0)
    (x * x + x).backward()
    assert x.grad == 7


def test_slopes_are_passed_on_once_all_have_arrived():
    # y = 2 x, z = y * (y + 1) = 4 x^2 + 2 x: dz/dx = 8 x + 2. Passing y's slope on before that
    # through y + 1 had come would lose a part.
    x = Value(1.0)
    y = x * 2
    (y * (y + 1)).backward()
    assert (y.grad, x.grad) == (5, 10)


def test_a_second_backward_adds_its_own_slopes_only():
    x = Value(2.0)
    y = x**2
    y.backward()
    y.backward()
    assert (y.grad, x.grad) == (2, 8)


def test_a_long_tape_is_no_recursion():
    x = total = Value(1.0)
    for _ in range(20_000):
        total = total + x
    total.backward()
    assert x.grad == 20_001


def test_the_examples_are_true():
    assert doctest.testmod(autodiff).failed == 0
