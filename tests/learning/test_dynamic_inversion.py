"""The circuit rests where the formula says, inverts without leak, and is stable."""

import copy

import pytest
import torch
from tests.training.conftest import make_data, make_network
from torch import nn

from neurarium.learning import DynamicInversion, Rule
from neurarium.networks import MLP
from neurarium.objectives import supervised
from neurarium.training import fit

pytestmark = pytest.mark.usefixtures("unchecked")  # a trace is of proxies, which have no shape

SHAPES = [(3, 6), (6, 3), (5, 5)]  # inputs, outputs
BATCH = {
    "input": torch.randn(8, 5, generator=torch.Generator().manual_seed(1)).double(),
    "target": torch.arange(8) % 3,
}


def around(inputs, outputs, **options):
    """A rule whose only circuit is around a layer of that shape."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, inputs), nn.Linear(inputs, outputs)).double()
    rule = DynamicInversion(**options)
    rule.bind(model, supervised("mse"))
    return rule, model[1].weight.detach(), torch.randn(4, outputs).double()


@pytest.mark.parametrize("feedback", ["minus_transpose", "random"])
@pytest.mark.parametrize("shape", SHAPES)
def test_at_rest_nothing_moves(shape, feedback):
    rule, weight, delta = around(*shape, alpha=0.3, feedback=feedback)
    r, matrix = rule.invert("1", delta), rule.matrix("1")
    # du = 0 gives u = (W r - delta) / alpha, and dr = 0 then r = B u.
    u = (r @ weight.T - delta) / 0.3
    torch.testing.assert_close(r, u @ matrix.T)
    eye = torch.eye(len(weight)).double()
    formula = matrix @ torch.linalg.inv(weight @ matrix - 0.3 * eye) @ delta.T
    torch.testing.assert_close(r, formula.T)


@pytest.mark.parametrize("feedback", ["minus_transpose", "random"])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_dynamics_settle_on_the_steady_state(shape, feedback):
    steady, _, delta = around(*shape, feedback=feedback)
    dynamic, _, _ = around(*shape, feedback=feedback, mode="dynamic")
    torch.testing.assert_close(
        dynamic.invert("1", delta), steady.invert("1", delta), rtol=0, atol=3e-9
    )


@pytest.mark.parametrize("shape", SHAPES)
def test_minus_the_transpose_is_the_damped_pseudo_inverse(shape):
    rule, weight, delta = around(*shape, alpha=0.2)
    damped = weight @ weight.T + 0.2 * torch.eye(len(weight)).double()
    expected = weight.T @ torch.linalg.inv(damped) @ delta.T
    torch.testing.assert_close(rule.invert("1", delta), expected.T)


def test_without_leak_the_inversion_is_exact():
    for feedback in ("minus_transpose", "random"):
        rule, weight, delta = around(6, 3, alpha=0.0, feedback=feedback)
        torch.testing.assert_close(rule.invert("1", delta) @ weight.T, delta)
    rule, weight, delta = around(3, 6, alpha=0.0)  # more equations than unknowns
    expected = torch.linalg.lstsq(weight, delta.T).solution.T
    torch.testing.assert_close(rule.invert("1", delta), expected)


def test_with_a_large_leak_it_is_feedback_alignment_and_with_the_transpose_backpropagation():
    rule, _, delta = around(5, 5, alpha=1e8, feedback="random")
    torch.testing.assert_close(
        1e8 * rule.invert("1", delta), -delta @ rule.matrix("1").T, rtol=1e-6, atol=1e-7
    )
    torch.manual_seed(0)
    model = MLP([5, 7, 6, 3], activation="tanh").double()
    rule = DynamicInversion(alpha=1e3)
    rule.bind(model, supervised("cross_entropy", ["l2:0.1"]))
    aligned = rule.alignment({**BATCH})
    assert min(aligned.values()) < 0.99  # the penalty's part has another scale
    rule.bind(model, supervised("cross_entropy"))
    assert rule.alignment(BATCH) == pytest.approx(dict.fromkeys(aligned, 1), abs=1e-4)
    rule = DynamicInversion(alpha=0.01)
    rule.bind(model, supervised("cross_entropy"))
    assert min(rule.alignment(BATCH).values()) < 0.99


def test_slopes_by_hand():
    torch.manual_seed(0)
    model = MLP([5, 7, 6, 3], activation="tanh").double()
    batch = {**BATCH, "target": torch.randn(8, 3).double()}
    rule = DynamicInversion(alpha=0.5)
    rule.bind(model, lambda m, b: (m(b["input"]) - b["target"]).square().sum() / 2)
    rule.estimate(batch)
    first, second, third = (m for m in model.modules() if isinstance(m, nn.Linear))
    h1 = first(batch["input"]).tanh()
    h2 = second(h1).tanh()
    delta = third(h2) - batch["target"]
    deltas = {third: delta}
    for layer, h, below in ((third, h2, second), (second, h1, first)):
        w = layer.weight
        r = w.T @ torch.linalg.inv(w @ w.T + 0.5 * torch.eye(len(w)).double()) @ delta.T
        deltas[below] = delta = r.T * (1 - h**2)
    for layer, h in ((first, batch["input"]), (second, h1), (third, h2)):
        torch.testing.assert_close(layer.weight.grad, (deltas[layer].T @ h).detach())
        torch.testing.assert_close(layer.bias.grad, deltas[layer].sum(0).detach())


@pytest.mark.parametrize("feedback", ["minus_transpose", "random"])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_abscissa_is_that_of_the_whole_circuit(shape, feedback):
    rule, weight, _ = around(*shape, feedback=feedback)
    inputs, outputs = shape
    circuit = torch.zeros(inputs + outputs, inputs + outputs).double()
    circuit[:inputs, :inputs] = -torch.eye(inputs)
    circuit[:inputs, inputs:] = rule.matrix("1")
    circuit[inputs:, :inputs] = weight
    circuit[inputs:, inputs:] = -0.1 * torch.eye(outputs)
    largest = torch.linalg.eigvals(circuit).real.max().item()
    assert largest < 0
    # The plain leaks -1 and -0.1 are stable whatever B.
    leak = -0.1 if outputs > inputs else -1
    assert largest == pytest.approx(max(rule.abscissa()["1"], leak))


def test_random_feedback_is_made_stable_and_kept_so():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 12), nn.Tanh(), nn.Linear(12, 8)).double()
    free = torch.randn(12, 8, generator=torch.Generator().manual_seed(0)) * 8**-0.5
    rule = DynamicInversion("sgd", lr=1e-3, feedback="random")
    rule.bind(model, supervised("mse"))
    kept = rule.matrix("2").clone()
    rule.returns["2"] = free.double()
    assert rule.abscissa()["2"] > 0.1
    cosine = torch.cosine_similarity(kept.flatten(), free.double().flatten(), 0)
    assert 0.3 < cosine < 1  # moved, not replaced
    batch = {"input": torch.randn(4, 2).double(), "target": torch.randn(4, 8).double()}
    for _ in range(100):
        assert rule.abscissa()["2"] > 0.1
        rule.step(batch)
    assert rule.abscissa()["2"] < 0


def test_random_feedback_starts_with_variance_one_over_the_outputs():
    rule, _, _ = around(400, 50, alpha=1e3, feedback="random")  # stable as drawn
    assert rule.matrix("1").std().item() == pytest.approx(50**-0.5, rel=0.02)


def test_an_unstable_circuit_is_reported_not_run():
    rule, _, delta = around(5, 5, mode="dynamic", feedback="random")
    rule.returns["1"] = -rule.returns["1"]
    with pytest.raises(ValueError, match=r"unstable \(an eigenvalue has real part .*take feedback"):
        rule.invert("1", delta)


@pytest.mark.parametrize(
    "options", [{}, {"feedback": "random", "alpha": 1.0}, {"mode": "dynamic", "alpha": 1.0}]
)
def test_it_trains_and_resumes(options):
    rule = DynamicInversion(lr=0.02, **options)
    model = make_network(dropout=0.0)
    run = fit(model, make_data(), rule=rule, epochs=30, batch_size=10, verbose=False)
    assert isinstance(rule, Rule)
    assert run.history["train_loss"][-1] < 0.6 * run.history["train_loss"][0]
    twin = copy.deepcopy(model)
    other = DynamicInversion(lr=0.02, **options, seed=5)  # the state has the matrices
    other.bind(twin, rule.objective)
    other.load_state_dict(copy.deepcopy(rule.state_dict()))
    batch = {"input": torch.randn(6, 4), "target": torch.arange(6) % 3}
    rule.step(batch)
    other.step(batch)
    torch.testing.assert_close(model.state_dict(), twin.state_dict(), rtol=0, atol=0)


def test_convolutions_are_refused_but_for_the_first():
    first = nn.Sequential(nn.Conv1d(1, 2, 2), nn.ReLU(), nn.Flatten(), nn.Linear(6, 3))
    rule = DynamicInversion()
    rule.bind(first, supervised("cross_entropy"))
    rule.step({"input": torch.randn(4, 1, 4), "target": torch.arange(4) % 3})
    second = nn.Sequential(nn.Linear(4, 4), nn.Unflatten(1, (1, 4)), nn.Conv1d(1, 2, 2))
    with pytest.raises(ValueError, match=r"inverts linear layers, but 2 is an nn.Conv1d; only the"):
        rule.bind(second, supervised("mse"))


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"alpha": -1}, "alpha must not be negative, got -1"),
        ({"mode": "fast"}, "mode must be 'steady' or 'dynamic', got 'fast'"),
        ({"feedback": "exact"}, "feedback must be 'minus_transpose' or 'random', got 'exact'"),
    ],
)
def test_wrong_arguments_are_refused(options, why):
    with pytest.raises(ValueError, match=why):
        DynamicInversion(**options)
