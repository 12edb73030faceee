"""Exact laws of competing units, equilibrium propagation, predictive coding, forward-forward."""

import copy

import pytest
import torch
from tests.training.test_resume import StopAt
from torch import nn
from torch.nn import functional as F

from neurarium.data import Data
from neurarium.learning import (
    CompetingUnits,
    EquilibriumPropagation,
    ForwardForward,
    PredictiveCoding,
    Rule,
)
from neurarium.networks import MLP, EnergyNetwork, GoodnessNetwork
from neurarium.objectives import supervised
from neurarium.training import Interrupted, fit


def bound(rule, model, objective=None):
    rule.bind(model, objective or supervised("quadratic_cost"))
    return rule


def estimated(rule, batch):
    """The gradients that a rule fills, which are then forgotten."""
    rule.estimate(batch)
    found = {n: p.grad.clone() for n, p in rule.model.named_parameters() if p.grad is not None}
    rule.model.zero_grad()
    return found


def exact(model, objective, batch):
    value = objective(model, batch)
    (value["loss"] if isinstance(value, dict) else value).backward()
    found = {n: p.grad.clone() for n, p in model.named_parameters()}
    model.zero_grad()
    return found


def flat(slopes):
    return torch.cat([slope.flatten() for slope in slopes.values()])


def distance(found, expected):
    return ((flat(found) - flat(expected)).norm() / flat(expected).norm()).item()


def made_data(rows=40):
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(rows, 4, generator=generator)
    return Data({"input": x, "target": x[:, :3].argmax(1), "index": torch.arange(rows)})


def resumes(network, rule, path):
    """Stopped in the middle of an epoch and resumed, a run ends on the same bytes."""

    def train(directory, stop=0, resume=False):
        torch.manual_seed(0)
        model, rule_ = network(), rule()
        fit(
            model, made_data(), supervised("cross_entropy"), rule_, epochs=3, batch_size=10,
            directory=directory, callbacks=[StopAt(stop)], resume=resume, verbose=False,
        )  # fmt: skip
        return torch.cat([p.detach().flatten() for p in model.parameters()]), rule_

    whole, first = train(path / "whole")
    with pytest.raises(Interrupted):
        train(path / "cut", 6)
    again, second = train(path / "cut", resume=True)
    assert torch.equal(again, whole)
    return first, second


# Competing units ---------------------------------------------------------------------------------


def test_the_winner_comes_nearer_and_the_second_goes_away():
    # x = (2, 1): drives 2, 1.5 and -2. The first moves by x - 2w, the second by -0.4(x - 1.5w):
    # (0, 1) and -0.4(1.25, 0.25). The largest entry is 1 already.
    model = nn.Linear(2, 3).double()
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[1.0, 0.0], [0.5, 0.5], [-1.0, 0.0]]))
    before = [p.detach().clone() for p in model.parameters()]
    rule = bound(CompetingUnits(lr=0.1, schedule=None), model, lambda m, b: m(b["input"]).mean())
    rule.step({"input": torch.tensor([[2.0, 1.0]]).double()})
    change = torch.tensor([[0.0, 1.0], [-0.5, -0.1], [0.0, 0.0]]).double()
    torch.testing.assert_close(model.weight - before[0], 0.1 * change)
    assert torch.equal(model.bias, before[1])


@pytest.mark.parametrize("p", [2.0, 3.0])
def test_lengths_move_towards_the_radius(p):
    # With the same powers of W as in the drive, the change is sum g I (R^p - |W|_p^p): each unit's
    # p-norm grows below R and falls above it, where it wins what drives it.
    torch.manual_seed(0)
    model = nn.Linear(6, 5).double()
    x = torch.rand(20, 6).double()
    rule = bound(CompetingUnits(p=p, k=3, R=1.5, total_steps=5), model, lambda m, b: m(b["input"]))
    w = model.weight.detach()
    powers = w.sign() * w.abs() ** (p - 1)
    drive = x @ powers.T
    g = torch.zeros_like(drive)
    for row, order in enumerate(drive.argsort(dim=1, descending=True)):
        g[row, order[0]], g[row, order[2]] = 1, -0.4
    law = (g * drive).sum(0) * (1.5**p - w.abs().pow(p).sum(1))
    change = rule.change(x)
    assert change.abs().max().item() == pytest.approx(1)
    found = (powers * change).sum(1)
    torch.testing.assert_close(found / found.norm(), law / law.norm())


@pytest.mark.parametrize("R", [1.0, 2.0])
def test_weights_come_to_the_sphere(R):
    torch.manual_seed(0)
    x = torch.rand(200, 8)
    x[:, :4] *= (torch.arange(200) % 2)[:, None]
    x[:, 4:] *= (torch.arange(200) % 2 == 0)[:, None]
    model = nn.Linear(8, 2, bias=False)
    nn.init.normal_(model.weight, std=0.1)
    fit(
        model, Data({"input": x}), lambda m, b: m(b["input"]).mean(), CompetingUnits(R=R, delta=0),
        epochs=60, batch_size=50, verbose=False,
    )  # fmt: skip
    assert model.weight.norm(dim=1).tolist() == pytest.approx([R, R], rel=0.01)


def test_what_is_above_learns_by_its_gradient_and_frozen_layers_do_not():
    torch.manual_seed(0)
    model = MLP([4, 6, 3]).double()
    batch = {"input": torch.rand(7, 4).double(), "target": torch.arange(7) % 3}
    objective = supervised("cross_entropy")
    rule = bound(CompetingUnits(schedule=None), model, objective)
    found, expected = estimated(rule, batch), exact(model, objective, batch)
    assert "layers.0.bias" not in found
    for name in ("layers.2.weight", "layers.2.bias"):
        torch.testing.assert_close(found[name], expected[name])
    torch.testing.assert_close(found["layers.0.weight"], -rule.change(batch["input"]))
    assert rule.alignment(batch)["layers.2"] == pytest.approx(1)
    model.layers[2].requires_grad_(False)
    assert list(estimated(rule, batch)) == ["layers.0.weight"]


def test_competing_units_resume_and_refuse(tmp_path, unchecked):
    resumes(lambda: MLP([4, 6, 3]), CompetingUnits, tmp_path)
    with pytest.raises(ValueError, match="needs a linear layer, and this Conv1d has none"):
        bound(CompetingUnits(), nn.Conv1d(1, 2, 3))
    with pytest.raises(ValueError, match="none called 'top'; there are 0"):
        bound(CompetingUnits(layer="top"), nn.Sequential(nn.Linear(2, 2)))
    with pytest.raises(ValueError, match="k must be at most 3, the units of layer '', got 4"):
        bound(CompetingUnits(k=4), nn.Linear(2, 3))
    with pytest.raises(ValueError, match="layer '', whose units compete, is frozen"):
        bound(CompetingUnits(), nn.Linear(2, 3).requires_grad_(False))
    with pytest.raises(ValueError, match="k must be at least 2"):
        CompetingUnits(k=1)


# Equilibrium propagation -------------------------------------------------------------------------


def resting():
    """A network and a batch whose states lie well inside the box, but for two held at its ends."""
    torch.manual_seed(3)
    model = EnergyNetwork([5, 8, 6, 3], steps=80, eps=0.7).double()
    with torch.no_grad():
        for layer in model.layers:
            layer.weight.mul_(0.2)
            layer.bias.fill_(0.35)
        model.layers[0].bias[:2] = torch.tensor([-3.0, 3.0])
    x = torch.rand(6, 5).double()
    batch = {"input": x, "target": torch.rand(6, 3).double(), "index": torch.arange(6)}
    states = model.relax(x, model.start(x))
    assert [((u > 0.05) & (u < 0.95)).all(0).sum().item() for u in states] == [6, 6, 3]
    return model, batch


def errors_of_equilibrium_propagation(sign, loss="quadratic_cost"):
    model, batch = resting()
    objective = supervised(loss)
    expected = exact(model, objective, batch)  # through all steps, so that of C at rest
    result = []
    for beta in (0.02, 0.01):
        rule = EquilibriumPropagation(beta=beta, nudged=80, sign=sign)
        found = estimated(bound(rule, model, objective), batch)
        cosine = F.cosine_similarity(flat(found), flat(expected), 0)
        result.append((distance(found, expected), cosine.item()))
    return result


def test_the_estimate_tends_to_the_gradient_in_proportion_to_beta():
    (double, _), (single, cosine) = errors_of_equilibrium_propagation("positive")
    assert cosine > 0.9999
    assert single < 0.02
    assert double / single == pytest.approx(2, rel=0.05)


def test_two_opposite_pushes_leave_an_error_of_the_second_order():
    (double, _), (single, cosine) = errors_of_equilibrium_propagation("symmetric")
    assert cosine > 0.99999
    assert single < 4e-4
    assert double / single == pytest.approx(4, rel=0.1)


@pytest.mark.parametrize("loss", ["mse", "cross_entropy"])
def test_any_objective_pushes_each_row_by_its_own_slope(loss, unchecked):
    # A mean over outputs or classes, and not half the squared distance.
    model, batch = resting()
    if loss == "cross_entropy":
        batch["target"] = torch.arange(6) % 3
    objective = supervised(loss, ["l2:0.1"])
    rule = bound(EquilibriumPropagation(beta=0.01, nudged=80, sign="symmetric"), model, objective)
    assert distance(estimated(rule, batch), exact(model, objective, batch)) < 1e-3
    assert rule.alignment(batch) == pytest.approx(dict.fromkeys(("layers.0", "layers.1"), 1.0) | {
        "layers.2": 1.0
    }, abs=1e-5)  # fmt: skip


def test_random_signs_have_the_mean_of_both():
    model, batch = resting()
    found = [
        flat(estimated(bound(EquilibriumPropagation(beta=0.3, nudged=50, sign=s), model), batch))
        for s in ("symmetric", "positive")
    ]
    negative = 2 * found[0] - found[1]
    torch.manual_seed(0)
    rule = bound(EquilibriumPropagation(beta=0.3, nudged=50), model)
    drawn = [flat(estimated(rule, batch)) for _ in range(12)]
    kinds = [min((found[1], negative), key=lambda k: (d - k).norm()) for d in drawn]
    for d, kind in zip(drawn, kinds, strict=True):
        torch.testing.assert_close(d, kind)
    assert len({id(kind) for kind in kinds}) == 2


def test_persistent_states_go_on_where_they_were():
    model, batch = resting()
    rule = bound(EquilibriumPropagation(free=3, persistent=True), model)
    rule.estimate({name: value[2:5] for name, value in batch.items()})
    rule.estimate(batch)
    # Rows 2 to 4 have had six steps, the others three.
    x = batch["input"]
    for steps, rows in ((6, slice(2, 5)), (3, [0, 1, 5])):
        expected = model.relax(x, model.start(x), steps)
        for kept, state in zip(rule.kept, expected, strict=True):
            torch.testing.assert_close(kept[rows], state[rows])
    del batch["index"]
    with pytest.raises(ValueError, match="needs its number; give the data a key 'index'"):
        rule.estimate(batch)


def test_equilibrium_propagation_learns_resumes_and_refuses(tmp_path, unchecked):
    whole, again = resumes(
        lambda: EnergyNetwork([4, 8, 3]), lambda: EquilibriumPropagation(persistent=True), tmp_path
    )
    assert len(whole.kept) == 2
    assert all(torch.equal(a, b) for a, b in zip(whole.kept, again.kept, strict=True))
    torch.manual_seed(0)
    split = dict(made_data().train.tensors)
    data = Data({**split, "vector": F.one_hot(split["target"], 3).float()})
    run = fit(
        EnergyNetwork([4, 20, 3]), data, supervised("quadratic_cost", target="vector"),
        EquilibriumPropagation(lr=0.5), epochs=60, batch_size=10, verbose=False,
    )  # fmt: skip
    assert run.evaluate("train")["accuracy"] > 0.8
    with pytest.raises(ValueError, match=r"EnergyNetwork, which has an energy .* but got Linear"):
        bound(EquilibriumPropagation(), nn.Linear(2, 2))
    with pytest.raises(ValueError, match="sign must be one of random, symmetric, positive"):
        EquilibriumPropagation(sign="both")
    with pytest.raises(ValueError, match="beta must be positive, got -1"):
        EquilibriumPropagation(beta=-1)


# Predictive coding -------------------------------------------------------------------------------


def predicted(scale):
    """A network and targets off its outputs by noise of this size."""
    torch.manual_seed(0)
    model = MLP([5, 7, 6, 3], activation="tanh").double()
    x = torch.randn(8, 5).double()
    target = model(x).detach() + scale * torch.randn(8, 3).double()
    return model, {"input": x, "target": target}


def test_with_small_errors_it_is_backpropagation(unchecked):
    # At rest the errors obey backpropagation's recursion at activities moved by the errors
    # themselves: the difference is of the first order in them, once the constant factor has gone,
    # which a loss with little weight does not have.
    objective = supervised("quadratic_cost")
    differences = []
    for weight in (2e-3, 1e-3):

        def light(model, batch, weight=weight):
            return weight * objective(model, batch)

        model, batch = predicted(1.0)
        rule = bound(PredictiveCoding(steps=300, rate=0.3), model, light)
        differences.append(distance(estimated(rule, batch), exact(model, light, batch)))
    assert differences[1] < 5e-3
    assert differences[0] / differences[1] == pytest.approx(2, rel=0.05)
    model, batch = predicted(1e-3)  # or a small error under the loss as it is: the same direction
    aligned = bound(PredictiveCoding(steps=300, rate=0.3), model).alignment(batch)
    assert min(aligned.values()) > 0.98


def test_a_linear_chain_at_rest_by_hand(unchecked):
    # One unit each: f1 = 2x, f2 = 3h, x = 1, d = 8. F = (h - 2)^2/2 + (3h - 8)^2/2 is least where
    # h - 2 + 3(3h - 8) = 0, h = 2.6: errors 0.6 below and 0.2 above. dF/dw2 = -0.2 * 2.6,
    # dF/dw1 = -0.6 * 1; backpropagation has -2 * 2 and -2 * 3.
    model = nn.Sequential(nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)).double()
    with torch.no_grad():
        model[0].weight.fill_(2.0)
        model[1].weight.fill_(3.0)
    batch = {"input": torch.ones(1, 1).double(), "target": torch.full((1, 1), 8.0).double()}
    rule = bound(PredictiveCoding(steps=200, rate=0.1), model)
    outputs = rule.estimate(batch)
    assert model[1].weight.grad.item() == pytest.approx(-0.52)
    assert model[0].weight.grad.item() == pytest.approx(-0.6)
    assert outputs["loss"].item() == pytest.approx(2.0)  # before the activities moved
    assert outputs["energy"].item() == pytest.approx(0.36 / 2 + 0.04 / 2)


def test_penalties_count_once_and_the_energy_falls(unchecked):
    model, batch = predicted(1.0)
    plain = bound(PredictiveCoding(steps=5), model)
    without = estimated(plain, batch)
    objective = supervised("quadratic_cost", ["l2:0.1"])
    penalty = exact(model, supervised(lambda p, t: 0 * p.sum(), ["l2:0.1"]), batch)
    found = estimated(bound(PredictiveCoding(steps=5), model, objective), batch)
    torch.testing.assert_close(found, {n: without[n] + penalty[n] for n in without})
    energies = []
    for steps in (1, 5, 20, 80):
        rule = bound(PredictiveCoding(steps=steps), model)
        energies.append(rule.estimate(batch)["energy"].item())
    assert energies == sorted(energies, reverse=True)
    assert energies[0] < exact_loss(model, batch)


def exact_loss(model, batch):
    return supervised("quadratic_cost")(model, batch).item()


def test_predictive_coding_trains_convolutions_resumes_and_refuses(tmp_path, unchecked):
    resumes(lambda: MLP([4, 6, 3]), lambda: PredictiveCoding("sgd", lr=0.1), tmp_path)
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(36, 2)
    )
    x = torch.randn(24, 1, 8, 8)
    data = Data((x, (x[:, 0, :, :4].mean((1, 2)) > 0).long()))
    rule = PredictiveCoding(lr=0.01)
    run = fit(model, data, rule=rule, epochs=30, batch_size=8, verbose=False, precision="32")
    assert run.evaluate("train")["accuracy"] > 0.9
    assert isinstance(rule, Rule)
    for norm, dropout, name in (("batch", 0.0, "layers.1"), (None, 0.5, "layers.2")):
        with pytest.raises(ValueError, match=f"'{name}', an nn.* is different each time"):
            bound(PredictiveCoding(), MLP([4, 6, 3], norm=norm, dropout=dropout))
    with pytest.raises(ValueError, match="rate must be positive, got 0"):
        PredictiveCoding(rate=0)


# Forward-forward ---------------------------------------------------------------------------------


def goodness():
    torch.manual_seed(0)
    model = GoodnessNetwork([4, 8, 6], 3).double()
    return model, {"input": torch.rand(9, 4).double(), "target": torch.arange(9) % 3}


def test_each_layer_descends_its_own_loss_and_no_gradient_crosses():
    model, batch = goodness()
    rule = bound(ForwardForward(threshold=1.5), model, supervised("cross_entropy"))
    torch.manual_seed(5)
    found = estimated(rule, batch)
    torch.manual_seed(5)
    wrong = (batch["target"] + torch.randint_like(batch["target"], 1, 3)) % 3
    assert (wrong != batch["target"]).all()
    h = [torch.cat([batch["input"], F.one_hot(c, 3)], 1) for c in (batch["target"], wrong)]
    for index, layer in enumerate(model.layers):
        h = [layer(rows.detach()).relu() for rows in h]
        right, bad = (rows.square().sum(1) / rows.shape[1] for rows in h)
        loss = ((1 + (1.5 - right).exp()).log() + (1 + (bad - 1.5).exp()).log()).mean()
        loss.backward()
        h = [rows * (rows.shape[1] ** 0.5 / rows.norm(dim=1, keepdim=True)) for rows in h]
        for name in ("weight", "bias"):
            expected = getattr(layer, name).grad
            torch.testing.assert_close(found[f"layers.{index}.{name}"], expected)
    model.zero_grad()
    with torch.no_grad():  # nor does a layer hear of those above it
        model.layers[1].weight.neg_()
    torch.manual_seed(5)
    again = estimated(rule, batch)
    assert torch.equal(again["layers.0.weight"], found["layers.0.weight"])
    assert not torch.equal(again["layers.1.weight"], found["layers.1.weight"])


def test_a_layers_loss_remembers_nothing_of_the_layers_below():
    # Its graph ends at its own layer, for either label: that is what spares the way back.
    model, batch = goodness()
    rule = bound(ForwardForward(), model, supervised("cross_entropy"))
    below, own = model.layers[0].weight, model.layers[1].weight
    _, loss = rule.losses(batch["input"], batch["target"])
    found = torch.autograd.grad(loss, [below, own], allow_unused=True)
    assert found[0] is None
    assert found[1] is not None


def test_penalties_hold_and_the_objective_is_reported():
    model, batch = goodness()
    plain = bound(ForwardForward(), model, supervised("cross_entropy"))
    objective = supervised("cross_entropy", ["l2:0.1"])
    rule = bound(ForwardForward(), model, objective)
    torch.manual_seed(5)
    without = estimated(plain, batch)
    torch.manual_seed(5)
    outputs = rule.estimate(batch)
    torch.testing.assert_close(outputs["loss"], objective(model, batch)["loss"].detach())
    model.zero_grad()
    penalty = exact(model, supervised(lambda p, t: 0 * p.sum(), ["l2:0.1"]), batch)
    torch.manual_seed(5)
    found = estimated(rule, batch)
    torch.testing.assert_close(found, {n: without[n] + penalty[n] for n in without})


def test_forward_forward_learns_resumes_and_refuses(tmp_path, unchecked):
    resumes(lambda: GoodnessNetwork([4, 8, 6], 3), ForwardForward, tmp_path)
    torch.manual_seed(0)
    model, rule = GoodnessNetwork([4, 20, 20], 3), ForwardForward(lr=0.02)
    run = fit(model, made_data(), rule=rule, epochs=60, batch_size=10, verbose=False)
    assert run.evaluate("train")["accuracy"] > 0.7
    assert run.history["train_goodness_loss"][-1] < 0.8 * run.history["train_goodness_loss"][0]
    assert set(rule.alignment(next(iter(made_data().train.batches(10))))) == {
        "layers.0", "layers.1"
    }  # fmt: skip
    with pytest.raises(ValueError, match=r"GoodnessNetwork, which reads the label .* got MLP"):
        bound(ForwardForward(), MLP([4, 3]))
    with pytest.raises(ValueError, match="needs class numbers as target"):
        bound(ForwardForward(), model).estimate({"input": X, "target": torch.rand(2)})
    with pytest.raises(ValueError, match="threshold must be positive"):
        ForwardForward(threshold=0)


X = torch.rand(2, 4)


@pytest.mark.parametrize("rule", [CompetingUnits, EquilibriumPropagation, PredictiveCoding])
def test_a_state_survives_its_dictionary(rule, unchecked):
    make = EnergyNetwork if rule is EquilibriumPropagation else MLP
    torch.manual_seed(0)
    model = make([4, 6, 3])
    batch = {"input": torch.rand(8, 4), "target": torch.arange(8) % 3}
    options = {"total_steps": 9} if rule is CompetingUnits else {}
    one = bound(rule("sgd:momentum=0.9", lr=0.1, **options), model, supervised("cross_entropy"))
    one.step(batch)
    twin = copy.deepcopy(model)
    two = rule("sgd:momentum=0.9", lr=0.1, **options)
    bound(two, twin, supervised("cross_entropy")).load_state_dict(copy.deepcopy(one.state_dict()))
    state = torch.get_rng_state()
    one.step(batch)
    torch.set_rng_state(state)
    two.step(batch)
    for a, b in zip(model.parameters(), twin.parameters(), strict=True):
        assert torch.equal(a, b)
