import itertools
from fractions import Fraction

import pytest
import torch

from neurarium.networks.theory import ExactStack, SiegelmannSontag

# Unary addition: 1^m 0 1^n on the first stack becomes 1^(m+n) on the second.
ADDER = {
    ("first", (1, None)): ("first", ("pop", 1)),
    ("first", (1, 1)): ("first", ("pop", 1)),
    ("first", (0, None)): ("second", ("pop", "keep")),
    ("first", (0, 1)): ("second", ("pop", "keep")),
    ("second", (1, None)): ("second", ("pop", 1)),
    ("second", (1, 1)): ("second", ("pop", 1)),
    ("second", (None, None)): ("done", ("keep", "keep")),
    ("second", (None, 1)): ("done", ("keep", "keep")),
}
# 0^n 1^n: zeros are carried over, each one takes one of them back.
BALANCED = {
    ("zeros", (0, None)): ("zeros", ("pop", 0)),
    ("zeros", (0, 0)): ("zeros", ("pop", 0)),
    ("zeros", (1, 0)): ("ones", ("pop", "pop")),
    ("zeros", (None, None)): ("done", ("keep", "keep")),
    ("ones", (1, 0)): ("ones", ("pop", "pop")),
    ("ones", (None, None)): ("done", ("keep", "keep")),
}


def simulated(rules, start, word, steps):
    state, stacks = start, [list(word), []]
    for _ in range(steps):
        shown = tuple(stack[0] if stack else None for stack in stacks)
        if (state, shown) not in rules:
            return None, None
        state, moves = rules[state, shown]
        for stack, move in zip(stacks, moves, strict=True):
            if move == "pop":
                del stack[:1]
            elif move != "keep":
                stack.insert(0, move)
        if state == "done":
            return state, stacks
    raise AssertionError


def test_a_number_is_a_stack_of_any_depth():
    generator = torch.Generator().manual_seed(0)
    stack, real = ExactStack(), []
    for draw in torch.rand(600, generator=generator).tolist():
        if draw < 0.3:
            stack.pop()
            real = real[1:]
        else:
            bit = int(draw < 0.65)
            stack.push(bit)
            real.insert(0, bit)
        assert stack.nonempty == bool(real)
        assert stack.top == (real[0] if real else 0)
    assert len(real) > 150
    expected = sum((Fraction(2 * bit + 1, 4 ** (i + 1)) for i, bit in enumerate(real)), Fraction(0))
    assert stack.q == expected


def test_double_precision_ends_at_27_bits_where_the_top_is_1():
    generator = torch.Generator().manual_seed(0)
    for _ in range(50):
        bits = torch.randint(2, (30,), generator=generator).tolist()
        exact, rounded = ExactStack(), ExactStack(0.0)
        for depth, bit in enumerate(bits, 1):
            exact.push(bit)
            rounded.push(bit)
            same = Fraction(rounded.q) == exact.q
            if depth <= 26:
                assert same
            elif depth == 27:
                assert same == (bit == 0)
            else:
                assert not same


@pytest.mark.parametrize(("rules", "start"), [(ADDER, "first"), (BALANCED, "zeros")])
def test_the_network_is_the_machine_on_every_word_up_to_12_bits(rules, start):
    machine = SiegelmannSontag(rules, start)
    for size in range(13):
        words = list(itertools.product((0, 1), repeat=size))
        x = torch.tensor([[float(v) for v in machine.begin(word)] for word in words])
        x, done = x.double(), {}
        for _ in range(size + 1):
            x = machine(x)
            for row in (x[:, machine.states.index("done")] == 1).nonzero().flatten().tolist():
                done.setdefault(row, machine.read(x[row].tolist())[1])
        for row, word in enumerate(words):
            state, stacks = simulated(rules, start, word, size + 1)
            assert (row in done) == (state == "done")
            if state == "done":
                assert done[row] == stacks


def test_it_adds_in_exact_arithmetic_beyond_double_precision():
    machine = SiegelmannSontag(ADDER, "first")
    x = machine.begin([1] * 35 + [0] + [1] * 20)
    for _ in range(57):
        x = machine.exact(x)
    assert machine.read(x) == ("done", [[], [1] * 55])
    assert all(isinstance(value, Fraction) for value in x)


def test_where_no_rule_applies_the_control_is_gone():
    machine = SiegelmannSontag(BALANCED, "zeros")
    x = machine.begin([1])
    for _ in range(2):
        x = machine.exact(x)
        assert machine.read(x) == (None, [[], []])


def test_rules_must_name_all_stacks(unchecked):
    with pytest.raises(ValueError, match=r"must name all stacks, got \[1, 2\]"):
        SiegelmannSontag({("a", (0,)): ("a", ("pop", "keep"))}, "a")
