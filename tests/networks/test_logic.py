"""Circuits compute exactly what their truth tables say, as thresholds and as steep sigmoids."""

import itertools
import math
from itertools import product

import pytest
import torch
from torch import nn

from neurarium.networks import from_truth_table, gate, half_adder, ripple_adder


def inputs(n):
    return torch.tensor(list(product([0.0, 1.0], repeat=n)))


def linear_layers(circuit):
    return [layer for layer in circuit if isinstance(layer, nn.Linear)]


TRUTH = {
    "nand": [1, 1, 1, 0],
    "and": [0, 0, 0, 1],
    "or": [0, 1, 1, 1],
    "xor": [0, 1, 1, 0],
    "not": [1, 0],
}


@pytest.mark.parametrize("name", TRUTH)
def test_a_gate_has_its_truth_table(name):
    n = 1 if name == "not" else 2
    assert gate(name)(inputs(n)).flatten().tolist() == TRUTH[name]


def test_gates_have_the_weights_of_the_notes():
    layer, _ = gate("nand")
    assert layer.weight.tolist() == [[-2, -2]]
    assert layer.bias.tolist() == [3]


def test_the_half_adder_is_five_nands_one_of_them_with_a_doubled_line():
    adder = half_adder()
    a, b = inputs(2).bool().T
    assert torch.equal(adder(inputs(2)), torch.stack([a ^ b, a & b], 1).float())
    rows = [row for layer in linear_layers(adder) for row in layer.weight.tolist()]
    biases = [bias for layer in linear_layers(adder) for bias in layer.bias.tolist()]
    nands = [row for row, bias in zip(rows, biases, strict=True) if bias == 3]
    assert sorted(sum(row) for row in nands) == [-4] * 5
    assert sorted(min(row) for row in nands) == [-4, -2, -2, -2, -2]  # merged: one weight of -4
    # All others only pass on one signal.
    relays = [row for row, bias in zip(rows, biases, strict=True) if bias != 3]
    assert all(sorted(row)[-2:] == [0, 2] and sum(row) == 2 for row in relays)


def digits(number, bits):
    """Binary, the lowest digit first."""
    return [float(number >> i & 1) for i in range(bits)]


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_a_ripple_adder_adds_all_pairs_of_numbers(bits):
    pairs = list(itertools.product(range(2**bits), repeat=2))
    x = torch.tensor([digits(a, bits) + digits(b, bits) for a, b in pairs])
    expected = torch.tensor([digits(a + b, bits + 1) for a, b in pairs])
    assert torch.equal(ripple_adder(bits)(x), expected)


def test_a_ripple_adder_of_ever_steeper_sigmoids_becomes_the_one_of_thresholds():
    # 003's exercise: all weights and biases times c; no sum is 0, so the limit is the perceptrons'.
    x = inputs(6).double()
    exact = ripple_adder(3).double()(x)

    def error(c):
        return (ripple_adder(3, f"sigmoid:slope={c}").double()(x) - exact).abs().max().item()

    # Every unit's |z| is at least 1: the last one errs by 1/(1 + e^c) once its inputs are exact.
    assert error(4) > 0.01
    assert [error(c) * (1 + math.exp(c)) for c in (8, 16)] == pytest.approx([1, 1], rel=0.02)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_any_truth_table_becomes_a_network(n):
    every = [*product([0, 1], repeat=2**n)]
    for values in every:
        assert from_truth_table(values)(inputs(n)).flatten().tolist() == list(values)


def test_a_truth_table_may_have_several_outputs():
    table = [[a ^ b, a & b, 0, 1] for a, b in product([0, 1], repeat=2)]
    network = from_truth_table(table)
    assert network(inputs(2)).tolist() == table
    assert len(linear_layers(network)) == 2
    # x = (1, 0): w = (1, -1), b = 1/2 - 1, so z is 1/2 there and at most -1/2 elsewhere.
    (hidden, _) = linear_layers(from_truth_table([0, 0, 1, 0]))
    assert (hidden.weight.tolist(), hidden.bias.tolist()) == ([[1, -1]], [-0.5])


def test_a_circuit_goes_on_learning():
    # The AND of two bits is taught to be an OR, through the threshold.
    torch.manual_seed(0)
    circuit = gate("and", "hardlim:straight_through=True")
    optimizer = torch.optim.SGD(circuit.parameters(), lr=0.3)
    for _ in range(20):
        optimizer.zero_grad()
        (circuit(inputs(2)).flatten() - torch.tensor(TRUTH["or"])).square().mean().backward()
        optimizer.step()
    assert circuit(inputs(2)).flatten().tolist() == TRUTH["or"]


def test_four_sigmoid_units_write_the_recognised_digit_in_binary():
    # 003's exercise: the old output says at least 0.99 for the digit, at most 0.01 for the others.
    # Weight 10 where the digit has the bit, bias -5: z >= 9.9 - 5 if set, <= 9 * 0.1 - 5 if not.
    bits = torch.tensor([digits(number, 4) for number in range(10)])
    layer = nn.Linear(10, 4)
    with torch.no_grad():
        layer.weight.copy_(10 * bits.T)
        layer.bias.fill_(-5)
        for low, high in ((0.0, 1.0), (0.01, 0.99)):
            old = torch.full((10, 10), low).fill_diagonal_(high)
            new = torch.sigmoid(layer(old))
            assert torch.equal(new.round(), bits)
            assert ((new - bits).abs() < 0.02).all()
    # The four answers alone give the digit back.
    assert (new.round() @ torch.tensor([1.0, 2, 4, 8])).tolist() == list(range(10))


def test_names_tables_and_sizes_that_make_no_sense_are_refused(unchecked):
    with pytest.raises(ValueError, match="nand, and, or, not or xor, got 'nor'"):
        gate("nor")
    with pytest.raises(ValueError, match=r"each of the 2\^n inputs, .* got the shape \(3,\)"):
        from_truth_table([0, 1, 1])
    with pytest.raises(ValueError, match="0 and 1 only, got"):
        from_truth_table([0, 1, -1, 1])
    with pytest.raises(ValueError, match="at least 1, got 0"):
        ripple_adder(0)
