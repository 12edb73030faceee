"""Targets: the Gauss-Newton step through exact inverses, at rest where differences are taken."""

import pytest
import torch
from tests.training.conftest import make_data
from tests.training.test_resume import StopAt
from torch import nn

from neurarium.learning import Rule, TargetPropagation, difference_target_propagation
from neurarium.learning.chain import judge
from neurarium.networks import MLP
from neurarium.objectives import supervised
from neurarium.training import Interrupted, fit

pytestmark = pytest.mark.usefixtures("unchecked")  # a trace is of proxies, which have no shape

GENERATOR = torch.Generator().manual_seed(1)
BATCH = {
    "input": torch.randn(8, 5, generator=GENERATOR).double(),
    "target": torch.randn(8, 5, generator=GENERATOR).double(),
}


def half_squares(model, batch):
    return (model(batch["input"]) - batch["target"]).square().sum(1).mean() / 2


def bound(rule, model, objective=half_squares):
    rule.bind(model, objective)
    return rule


def targets(rule, batch=BATCH):
    """The forward pass, the targets, and the loss's slope for each example."""
    found = rule.chain.forward(batch["input"])
    _, slope = judge(rule.objective, rule.model, found.outputs[-1], batch)
    return found, rule.targets(found, slope), slope * len(slope)


def gradients(model):
    found = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    return found


def square(activation="tanh", out=None):
    torch.manual_seed(0)
    return MLP([5, 5, 5, 5], activation=activation, out=out).double()


def test_exact_inverses_give_the_gauss_newton_step():
    model = nn.Sequential(*(nn.Linear(5, 5) for _ in range(4))).double()
    rule = bound(TargetPropagation(inverses="pinv", step=0.3), model)
    found, aims, slope = targets(rule)
    assert sorted(aims) == [0, 1, 2, 3]
    for index in range(4):
        # The Jacobian of the output by h_l is the product of the weights above.
        jacobian = torch.eye(5).double()
        for layer in model[index + 1 :]:
            jacobian = layer.weight @ jacobian
        expected = -0.3 * slope @ torch.linalg.inv(jacobian).T
        moved = (aims[index] - found.outputs[index]).detach()
        torch.testing.assert_close(moved, expected.detach(), rtol=1e-9, atol=1e-10)
        # Of least squares the Gauss-Newton step is -(J'J)^-1 J' e.
        newton = -0.3 * torch.linalg.lstsq(jacobian, slope.T).solution.T
        torch.testing.assert_close(moved, newton.detach(), rtol=1e-9, atol=1e-10)


def test_through_activations_the_targets_make_the_layers_above_meet_the_target():
    rule = bound(TargetPropagation(inverses="pinv", step=1e-6), square("softsign"))
    found, aims, slope = targets(rule)
    for index in (0, 1):
        above = rule.chain.stages[index + 1]
        made = above.after(above.layer(aims[index]))
        torch.testing.assert_close(made.detach(), aims[index + 1], rtol=0, atol=1e-12)
        assert (aims[index] - found.outputs[index]).abs().max() > 1e-8
    expected = (found.outputs[2] - 1e-6 * slope).detach()
    torch.testing.assert_close(aims[2], expected, rtol=0, atol=1e-12)


def test_targets_that_no_unit_reaches_stay_finite():
    rule = bound(TargetPropagation(inverses="pinv", step=50.0), square("tanh", out="tanh"))
    found, aims, _ = targets(rule)
    assert aims[2].abs().max() > 1
    assert all(aim.isfinite().all() for aim in aims.values())
    most = 2 * found.sums[2].abs().max()
    layer = rule.chain.stages[2].layer
    torch.testing.assert_close(  # what is out of reach asks for the largest sum
        layer(aims[1])[aims[2] > 1], most.expand(int((aims[2] > 1).sum()))
    )


def test_gradients_are_the_distances_to_the_targets():
    model = square()
    rule = bound(TargetPropagation(step=0.7), model)
    found, aims, _ = targets(rule)
    rule.estimate(BATCH)
    result = gradients(model)
    names = [stage.name for stage in rule.chain.stages]
    for index, name in enumerate(names):
        z = found.sums[index].detach()
        off = (found.outputs[index] - aims[index]).detach() / (0.7 * 8)
        delta = off if index == 2 else off * (1 - z.tanh().square())
        torch.testing.assert_close(result[f"{name}.weight"], delta.T @ found.inputs[index].detach())
        torch.testing.assert_close(result[f"{name}.bias"], delta.sum(0))


def test_without_difference_the_targets_are_what_the_inverses_say():
    rule = bound(TargetPropagation(), square())
    _, aims, _ = targets(rule)
    for index in (2, 1):
        g = rule.inverses[rule.chain.stages[index].name]
        torch.testing.assert_close(aims[index - 1], g(aims[index]).tanh().detach())


@pytest.mark.parametrize("top", ["output", "hidden"])
def test_with_difference_a_layer_at_its_target_asks_nothing_of_those_below(top):
    model = square()
    rule = bound(TargetPropagation(difference=True, top=top), model)
    solved = {**BATCH, "target": model(BATCH["input"]).detach()}
    found, aims, _ = targets(rule, solved)
    assert len(rule.inverses) == (2 if top == "output" else 1)  # untrained: any will do
    for index, aim in aims.items():
        torch.testing.assert_close(aim, found.outputs[index].detach())
    plain = bound(TargetPropagation(top=top), model)
    found, aims, _ = targets(plain, solved)
    assert (aims[0] - found.outputs[0]).abs().max() > 0.1


def test_differences_are_of_the_inverse_at_two_places():
    rule = bound(difference_target_propagation(step=0.5), square())
    found, aims, slope = targets(rule)
    assert sorted(aims) == [0, 1]
    weight = rule.chain.stages[2].layer.weight
    torch.testing.assert_close(aims[1], (found.outputs[1] - 0.5 * slope @ weight).detach())
    (g,) = rule.inverses.values()
    moved = g(aims[1]).tanh() - g(found.outputs[1]).tanh()
    torch.testing.assert_close(aims[0], (found.outputs[0] + moved).detach())


def test_the_layers_at_the_top_have_the_true_gradient():
    model = square()
    for rule, exact in ((TargetPropagation(), 1), (difference_target_propagation(), 2)):
        aligned = list(bound(rule, model).alignment(BATCH).values())
        assert aligned[-exact:] == pytest.approx([1] * exact)
        assert aligned[-exact - 1] < 0.9


def test_inverses_learn_to_undo_their_layers():
    model = square()
    for layer in (m for m in model.modules() if isinstance(m, nn.Linear)):
        nn.init.orthogonal_(layer.weight)
        layer.weight.requires_grad_(False)  # it stands still
    rule = bound(TargetPropagation("sgd", lr=1e-9, inverse_lr=0.02, noise=0.02), model)
    losses = [rule.step(BATCH)["inverse_loss"].item() for _ in range(300)]
    assert losses[-1] < 0.05 * losses[0]
    found = rule.chain.forward(BATCH["input"])
    undone = rule.invert(found, 1, found.outputs[1])
    assert (undone - found.inputs[1]).square().mean() < 0.05 * found.inputs[1].square().mean()


def test_alignment_and_estimates_draw_no_random_numbers():
    rule = bound(TargetPropagation(seed=3), square())
    before = torch.get_rng_state()
    rule.alignment(BATCH)
    rule.estimate(BATCH)
    assert torch.equal(before, torch.get_rng_state())
    first = next(iter(rule.inverses.values())).weight
    again = bound(TargetPropagation(seed=3), square())
    again.estimate(BATCH)
    torch.testing.assert_close(next(iter(again.inverses.values())).weight, first, rtol=0, atol=0)


def conv():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Unflatten(1, (1, 4)), nn.Conv1d(1, 3, 2), nn.BatchNorm1d(3), nn.ReLU(),
        nn.Conv1d(3, 4, 2), nn.Tanh(), nn.Flatten(), nn.Linear(8, 6), nn.Tanh(), nn.Linear(6, 3),
    )  # fmt: skip


def test_learning_inverses_leaves_the_running_statistics():
    model = conv()
    rule = bound(TargetPropagation("sgd", lr=1e-9), model, supervised("cross_entropy"))
    rule.step({"input": torch.randn(16, 4), "target": torch.arange(16) % 3})
    assert model[2].num_batches_tracked == 1


@pytest.mark.parametrize(
    "rule",
    [lambda: TargetPropagation(lr=0.05, difference=True),
     lambda: difference_target_propagation(lr=0.05)],
)  # fmt: skip
def test_it_trains_convolutions(rule):
    rule = rule()
    run = fit(conv(), make_data(), rule=rule, epochs=40, batch_size=10, verbose=False)
    assert isinstance(rule, Rule)
    assert run.history["train_loss"][-1] < 0.5 * run.history["train_loss"][0]


def test_a_resumed_run_ends_in_the_same_bytes(tmp_path):
    def train(directory, stop=0, **options):
        model = MLP([4, 6, 6, 3], activation="tanh", dropout=0.2, init="kaiming")
        rule = difference_target_propagation(lr=0.05)
        run = fit(
            model, make_data(), rule=rule, epochs=3, batch_size=9, directory=directory,
            callbacks=[StopAt(stop)], verbose=False, **options,
        )  # fmt: skip
        return model.state_dict(), run.history["train_inverse_loss"], rule.state_dict()["own"]

    torch.manual_seed(0)
    whole = train(tmp_path / "whole")
    torch.manual_seed(0)
    with pytest.raises(Interrupted):
        train(tmp_path / "cut", stop=7)
    torch.manual_seed(0)
    torch.testing.assert_close(train(tmp_path / "cut", resume=True), whole, rtol=0, atol=0)


def test_what_cannot_be_inverted_is_refused_by_name():
    with pytest.raises(ValueError, match=r"inverts linear layers, but 4 is an nn.Conv1d"):
        bound(TargetPropagation(inverses="pinv"), conv())
    with pytest.raises(ValueError, match=r"one invertible activation behind layer .*ReLU"):
        bound(TargetPropagation(inverses="pinv"), square("relu"))
    with pytest.raises(ValueError, match="TargetPropagation needs a plain chain"):
        bound(TargetPropagation(), nn.Sequential(nn.Embedding(3, 4), nn.Linear(4, 2)))


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"inverses": "exact"}, "inverses must be 'learn' or 'pinv', got 'exact'"),
        ({"top": "input"}, "top must be 'output' or 'hidden'"),
        ({"step": 0}, "step must be positive, got 0"),
        ({"inverse_lr": -1}, "inverse_lr must be positive"),
        ({"noise": -0.1}, "noise must not be negative, got -0.1"),
    ],
)
def test_wrong_arguments_are_refused(options, why):
    with pytest.raises(ValueError, match=why):
        TargetPropagation(**options)
