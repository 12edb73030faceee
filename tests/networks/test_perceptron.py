import itertools

import pytest
import torch

from neurarium import networks
from neurarium.networks import Perceptron

INPUTS = torch.tensor(list(itertools.product([0.0, 1.0], repeat=3)))


def perceptron(weights, bias, transfer="hardlim"):
    model = Perceptron(len(weights), transfer=transfer)
    with torch.no_grad():
        model.linear.weight.copy_(torch.tensor([weights]))
        model.linear.bias.fill_(bias)
    return model


def test_the_cheese_festival_decisions_of_the_notes():
    # 003: weather weighs 6, company and transport 2 each.
    x1, x2, x3 = INPUTS.bool().T
    threshold_5 = perceptron([6.0, 2, 2], -5)(INPUTS).flatten().bool()
    assert torch.equal(threshold_5, x1)
    threshold_3 = perceptron([6.0, 2, 2], -3)(INPUTS).flatten().bool()
    assert torch.equal(threshold_3, x1 | (x2 & x3))


def test_nand_of_the_notes():
    pairs = INPUTS[:4, 1:]
    assert perceptron([-2.0, -2], 3)(pairs).flatten().tolist() == [1, 1, 1, 0]


def test_on_the_boundary_hardlim_fires_and_nielsens_perceptron_does_not():
    on = torch.tensor([[1.0, 1.0]])
    assert perceptron([1.0, 1], -2)(on).item() == 1
    assert perceptron([1.0, 1], -2, "step:at_zero=0")(on).item() == 0
    assert perceptron([1.0, 1], -2, "hardlims")(-on).item() == -1


@pytest.mark.parametrize("c", [1e-3, 0.5, 7.0, 1e3])
def test_scaling_weights_and_bias_changes_no_decision(c):
    torch.manual_seed(0)
    x, weights, bias = torch.randn(500, 4), torch.randn(4).tolist(), 0.3
    scaled = perceptron([c * w for w in weights], c * bias)
    assert torch.equal(scaled(x), perceptron(weights, bias)(x))


def test_distance_is_measured_from_the_boundary_in_the_inputs_own_units():
    model = perceptron([3.0, 4], -5)
    # 3x + 4y = 5: the origin lies 5/5 = 1 below, (3, 4) lies (25 - 5)/5 = 4 above.
    distance = model.distance(torch.tensor([[0.0, 0], [3, 4]]))
    torch.testing.assert_close(distance.flatten(), torch.tensor([-1.0, 4]))
    weight, bias = model.boundary()
    foot = torch.tensor([0.6, 0.8])  # one unit along w / |w|
    torch.testing.assert_close(weight @ foot + bias, torch.zeros(1))


def test_no_perceptron_computes_xor():
    # Feasibility of w·x + b >= 1 where XOR holds and <= -1 where not, as a linear programme.
    from scipy.optimize import linprog

    def separable(truth):
        rows = [[-s * a, -s * b, -s] for (a, b), s in zip(PAIRS, truth, strict=True)]
        return linprog([0, 0, 0], A_ub=rows, b_ub=[-1] * 4, bounds=[(None, None)] * 3).success

    PAIRS = list(itertools.product([0, 1], repeat=2))
    assert not separable([-1, 1, 1, -1])
    assert separable([1, 1, 1, -1])  # NAND


def test_for_data_gives_scores_a_gradient_can_train():
    model = networks.for_data("Perceptron", (2, 3), 4)
    scores = model(torch.randn(5, 2, 3))
    assert scores.shape == (5, 4)
    scores.square().sum().backward()
    assert model.linear.weight.grad.abs().sum() > 0
    assert networks.for_data("Perceptron:hardlims", (3,), 1)(torch.ones(1, 3)).abs().item() == 1
    with pytest.raises(ValueError, match="2 categorical columns; take MLP"):
        networks.for_data("Perceptron", (5,), 2, categories=(3, 4))


def test_adaline_returns_sums_and_predicts_their_signs():
    model = networks.for_data("Adaline", (3,), 1)
    with torch.no_grad():
        model.linear.weight.copy_(torch.tensor([[1.0, -2, 3]]))
        model.linear.bias.fill_(0.5)
    x = torch.tensor([[1.0, 1, 1], [0, 0.25, 0], [0, 1, 0]])
    assert model(x).flatten().tolist() == [2.5, 0, -1.5]
    assert model.predict(x).flatten().tolist() == [1, 1, -1]
    again = networks.build(networks.config(model))
    again.load_state_dict(model.state_dict())
    assert torch.equal(again(x), model(x))
    with pytest.raises(ValueError, match=r"Adaline reads numbers only, .* 1 categorical"):
        networks.for_data("Adaline", (5,), 2, categories=(3,))
