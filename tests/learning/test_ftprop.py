"""Targets of threshold units, the slopes of their losses, and the straight-through identity."""

import math

import pytest
import torch
from tests.training.test_resume import StopAt
from torch import nn

from neurarium import activations
from neurarium.data import Data
from neurarium.layers import QuantizedReLU
from neurarium.learning import FTPROP, Rule
from neurarium.networks import MLP
from neurarium.objectives import supervised
from neurarium.training import Interrupted, fit

LOSSES = {
    "soft_hinge": lambda z, t: torch.tanh(-t * z) + 1,
    "hinge": lambda z, t: (1 - t * z).clamp(min=0),
    "saturated_hinge": lambda z, t: (1 - t * z).clamp(0, 2),
}
Z = torch.tensor([-2.0, -0.7, -0.1, 0.0, 0.4, 0.9, 3.0], dtype=torch.float64)


def batch(rows=12):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(rows, 5, generator=generator, dtype=torch.float64)
    return {"input": x, "target": torch.arange(rows) % 3}


def network(activation="hardlims", norm=None):
    torch.manual_seed(0)
    return MLP([5, 8, 7, 3], activation=activation, norm=norm).double()


def estimated(rule, model, objective, data):
    rule.bind(model, objective)
    rule.estimate(data)
    found = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    return found


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("target", [-1.0, 1.0])
def test_slopes_are_those_of_the_papers_losses(loss, target):
    z = Z.clone().requires_grad_()
    (expected,) = torch.autograd.grad(LOSSES[loss](z, target).sum(), z)
    # The layers above want t = 1 where their slope by the output is negative.
    wanted = torch.full_like(Z, -3 * target)
    torch.testing.assert_close(FTPROP(loss=loss).slope(Z, wanted), expected / len(Z))
    found = FTPROP(loss=loss, weighted=True).slope(Z, wanted)
    torch.testing.assert_close(found, 3 * expected)


def test_a_unit_that_nothing_depends_on_has_no_target():
    assert not FTPROP().slope(Z, torch.zeros_like(Z)).any()


@pytest.mark.parametrize("name", ["hardlims", "hardlim", "step", "sign"])
@pytest.mark.parametrize("norm", [None, "batch"])
def test_the_weighted_saturated_hinge_is_the_straight_through_estimate(name, norm):
    objective = supervised("cross_entropy", ["l2:0.1"])
    rule = FTPROP(loss="saturated_hinge", weighted=True)
    found = estimated(rule, network(name, norm), objective, batch())
    through = network(f"{name}:straight_through=true", norm)
    objective(through, batch())["loss"].backward()
    expected = {n: p.grad for n, p in through.named_parameters()}
    assert expected["layers.0.weight"].norm() > 0.1
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("loss", LOSSES)
def test_targets_go_down_layer_by_layer(loss):
    # Written out for two hidden layers: the top's gradient, its signs as targets of the second
    # layer; that layer's own loss differentiated by the first layer's outputs, and so on.
    model, data = network(), batch()
    first, second, third = (m for m in model.modules() if isinstance(m, nn.Linear))
    h1 = activations.hardlims(first(data["input"])).detach().requires_grad_()
    h2 = activations.hardlims(second(h1)).detach().requires_grad_()
    top = nn.functional.cross_entropy(third(h2), data["target"])
    t2 = -torch.autograd.grad(top, h2)[0].sign()
    middle = LOSSES[loss](second(h1), t2).sum() / 12
    expected = [*torch.autograd.grad(middle, [h1, second.weight, second.bias])]
    t1 = -expected.pop(0).sign()
    bottom = LOSSES[loss](first(data["input"]), t1).sum() / 12
    expected = [*torch.autograd.grad(bottom, [first.weight, first.bias]), *expected]
    rule = FTPROP(loss=loss)
    found = list(estimated(rule, model, supervised("cross_entropy"), data).values())
    torch.testing.assert_close(found[:4], expected)


def test_the_hinge_makes_a_layers_problem_convex_and_the_others_do_not():
    z = torch.linspace(-3, 3, 61, dtype=torch.float64)
    middle, ends = z[1:-1], (z[:-2], z[2:])
    bends = {n: ((f(ends[0], 1) + f(ends[1], 1)) / 2 - f(middle, 1)) for n, f in LOSSES.items()}
    assert bends["hinge"].min() > -1e-12
    assert bends["saturated_hinge"].min() < -1e-3
    assert bends["soft_hinge"].min() < -1e-3
    # And our slope of the hinge rises with z, as a convex function's does.
    slope = FTPROP(loss="hinge", weighted=True).slope(z, torch.full_like(z, -1.0))
    assert (slope.diff() >= 0).all()
    assert slope[0] == -1


@pytest.mark.parametrize("weighted", [True, False])
def test_every_threshold_of_a_quantized_rectifier_has_its_own_target(weighted):
    # Inputs one-hot: the weights are the sums z, and their gradients the slopes by z.
    layer = nn.Linear(7, 1, bias=False).double()
    layer.weight.data = Z[None].clone()
    error = torch.tensor([1.0, -2, 3, -4, 5, -6, 7], dtype=torch.float64)
    rule = FTPROP(weighted=weighted)
    rule.bind(
        nn.Sequential(layer, QuantizedReLU(2)),
        lambda model, batch: (model(batch["input"])[:, 0] * error).sum(),
    )
    rule.estimate({"input": torch.eye(7, dtype=torch.float64)})
    t = -error.sign()
    weight = error.abs() / 2 if weighted else 1 / 7  # each jump makes half of the output
    expected = sum(-t * (1 - torch.tanh(Z - p) ** 2) * weight for p in (0.25, 0.75))
    torch.testing.assert_close(layer.weight.grad[0], expected)


def test_the_last_layer_has_the_true_gradient_and_hidden_ones_a_descent():
    model, data = network(norm="batch"), batch(60)
    rule = FTPROP()
    rule.bind(model, supervised("cross_entropy"))
    before = [p.detach().clone() for p in model.parameters()]
    found = rule.alignment(data)
    assert found["layers.6"] == pytest.approx(1)
    assert found["layers.0"] == 0  # the thresholds' true slope
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    assert not any(m._forward_hooks for m in model.modules())


def test_it_trains_and_resumes_to_the_same_bytes(tmp_path):
    torch.manual_seed(0)
    x = torch.randn(60, 5)
    data = Data((x, x[:, :3].argmax(1)))

    def train(folder, stop=0, resume=False):
        torch.manual_seed(1)
        model, rule = MLP([5, 32, 32, 3], activation="sign", norm="batch"), FTPROP(lr=0.03)
        run = fit(
            model, data, rule=rule, epochs=12, batch_size=20, directory=folder,
            callbacks=[StopAt(stop)], resume=resume, verbose=False, precision="32",
        )  # fmt: skip
        assert isinstance(rule, Rule)
        return run, torch.cat([p.detach().flatten() for p in model.parameters()])

    run, whole = train(tmp_path / "whole")
    assert run.evaluate("train")["accuracy"] > 0.9
    with pytest.raises(Interrupted):
        train(tmp_path / "cut", 17)
    assert torch.equal(train(tmp_path / "cut", resume=True)[1], whole)


def test_an_output_of_signs_learns_by_its_own_target():
    # Half the squares over signs: where the answer is wrong its slope has the sign of the answer.
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 1), activations.Hardlims()).double()
    x = torch.randn(30, 3).double()
    y = activations.hardlims(x @ torch.tensor([[1.0], [-2], [0.5]]).double())
    rule = FTPROP("sgd", lr=1.0)
    rule.bind(model, supervised("quadratic_cost"))
    for _ in range(100):
        rule.step({"input": x, "target": y})
    assert torch.equal(model(x), y)


def test_a_network_without_thresholds_and_an_unknown_loss_are_refused(unchecked):
    with pytest.raises(ValueError, match="hard thresholds, and this MLP has no such module; build"):
        FTPROP().bind(MLP([4, 3, 2]), supervised("mse"))
    with pytest.raises(ValueError, match=r"loss must be one of soft_hinge, .*, got 'soft'"):
        FTPROP(loss="soft")


def test_the_soft_hinge_falls_to_its_half_at_the_threshold():
    slope = FTPROP(weighted=True).slope(torch.tensor([0.0, 1.0]), torch.tensor([-1.0, -1.0]))
    assert slope.tolist() == pytest.approx([-1, -1 / math.cosh(1) ** 2])
