"""Feedback alignment: exact where B is the transpose, by hand where it is not, on any model."""

import copy

import pytest
import torch
from tests.test_every_part import UsersNetwork, images
from tests.training.conftest import make_data, make_network
from tests.training.test_resume import StopAt
from torch import nn
from torch.nn import functional as F

from neurarium.data import Data
from neurarium.learning import Backprop, FeedbackAlignment, Rule, feedback
from neurarium.networks import MLP, LeNet5
from neurarium.objectives import supervised
from neurarium.penalties import TangentProp
from neurarium.training import Interrupted, fit

MODES = ["fa", "dfa", "sign", "usf", "mirror", "kp"]

# The mechanism -----------------------------------------------------------------------------------

LAYERS = {
    "linear": (lambda: nn.Linear(5, 3), (4, 5)),
    "linear on sequences": (lambda: nn.Linear(5, 3), (4, 2, 5)),
    "conv1d": (lambda: nn.Conv1d(4, 6, 3, stride=2, padding=1), (2, 4, 9)),
    "conv2d": (lambda: nn.Conv2d(4, 6, 3), (2, 4, 7, 6)),
    "stride, padding, dilation, groups": (
        lambda: nn.Conv2d(4, 6, (3, 2), stride=(2, 3), padding=(2, 1), dilation=(1, 2), groups=2),
        (2, 4, 9, 8),
    ),
    "depthwise": (lambda: nn.Conv2d(4, 8, 3, groups=4, bias=False), (2, 4, 6, 6)),
    "conv3d": (lambda: nn.Conv3d(2, 3, 2, stride=2), (2, 2, 4, 5, 4)),
    "same": (lambda: nn.Conv2d(2, 3, (4, 3), padding="same", dilation=(1, 2)), (2, 2, 6, 7)),
    "valid": (lambda: nn.Conv2d(2, 3, 3, padding="valid"), (2, 2, 6, 7)),
    "reflect": (lambda: nn.Conv2d(2, 3, 3, padding=1, padding_mode="reflect"), (2, 2, 5, 5)),
    "circular same": (
        lambda: nn.Conv1d(2, 3, 4, padding="same", padding_mode="circular"),
        (2, 2, 7),
    ),
    "transposed": (
        lambda: nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, output_padding=1, groups=2),
        (2, 4, 5, 4),
    ),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize("name", LAYERS)
def test_the_slope_returns_by_the_matrix_and_no_other_changes(name):
    make, shape = LAYERS[name]
    torch.manual_seed(0)
    layer, twin = make().double(), make().double()
    x = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    y = layer(x)
    weights = torch.randn_like(y)
    exact = torch.autograd.grad((y * weights).sum(), [x, *layer.parameters()])
    # The layer is linear, so the twin's own gradient by x is the return through the twin's weights.
    (through_twin,) = torch.autograd.grad((twin(x) * weights).sum(), x)

    for matrix, by_x in ((layer.weight, exact[0]), (twin.weight, through_twin)):

        def route(name, x, matrix=matrix):
            return feedback.transposed(layer, matrix.detach(), x)

        with feedback.rerouted({"": layer}, route):
            z = layer(x)
        torch.testing.assert_close(z, y, rtol=0, atol=0)
        found = torch.autograd.grad((z * weights).sum(), [x, *layer.parameters()])
        torch.testing.assert_close(found, (by_x, *exact[1:]))


def test_fan_out_keeps_the_size_of_slopes():
    # Entries of variance 1/fan_out: the slopes by x have the variance of those by z, away from the
    # borders, which a circle does not have.
    torch.manual_seed(0)
    for layer, shape in (
        (nn.Conv1d(8, 12, 4, stride=2, padding=1, padding_mode="circular", groups=2), (50, 8, 64)),
        (nn.ConvTranspose1d(8, 12, 4, stride=2, groups=2), (50, 8, 64)),
        (nn.Linear(30, 40), (200, 30)),
    ):
        x = torch.randn(shape, requires_grad=True)
        matrix = torch.randn_like(layer.weight) * feedback.fan_out(layer) ** -0.5
        entrance, pullback = feedback.transposed(layer, matrix, x)
        slope = torch.randn_like(layer(x))
        (by_x,) = torch.autograd.grad(entrance, x, pullback(slope))
        assert by_x.var().item() == pytest.approx(1, rel=0.15)


def test_layers_are_as_before_however_the_block_ends():
    layer = nn.Linear(2, 2)
    outer = layer.forward
    layer.forward = lambda x: outer(x) + 1  # as tools that wrap layers do
    plain = nn.Linear(2, 2)
    wrapped = layer.forward
    x = torch.ones(1, 2, requires_grad=True)

    def fail():
        with feedback.rerouted({"a": layer, "b": plain}, lambda name, x: (x, lambda slope: slope)):
            torch.testing.assert_close(layer(x), outer(x) + 1)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert layer.forward is wrapped
    assert "forward" not in vars(plain)


# The modes, by hand -------------------------------------------------------------------------------


def bound(rule, model, objective=None):
    rule.bind(model, objective or supervised("mse"))
    return rule


def gradients(model):
    found = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    return found


def deep(seed=0):
    torch.manual_seed(seed)
    return MLP([5, 7, 6, 3], activation="tanh").double()


BATCH = {
    "input": torch.randn(8, 5, generator=torch.Generator().manual_seed(1)).double(),
    "target": torch.randn(8, 3, generator=torch.Generator().manual_seed(2)).double(),
}


def linear_layers(model):
    return {n: m for n, m in model.named_modules() if isinstance(m, nn.Linear)}


def by_hand(model, batch, returns):
    """Slopes of the mean squared error, `returns(index, delta, error)` being that by h."""
    layers = list(linear_layers(model).items())
    h, seen = batch["input"], []
    for index, (_, layer) in enumerate(layers):
        seen.append(h)
        z = h @ layer.weight.T + layer.bias
        h = z if index == len(layers) - 1 else z.tanh()
    error = 2 * (h - batch["target"]) / h.numel()
    delta, result = error, {}
    for index in reversed(range(len(layers))):
        name = layers[index][0]
        result[f"{name}.weight"], result[f"{name}.bias"] = delta.T @ seen[index], delta.sum(0)
        if index:
            delta = returns(index, delta, error) * (1 - seen[index] ** 2)
    return {n: v.detach() for n, v in result.items()}


@pytest.mark.parametrize("mode", ["fa", "sign", "usf"])
def test_errors_return_by_the_matrices(mode):
    model = deep()
    rule = bound(FeedbackAlignment(mode=mode), model)
    rule.estimate(BATCH)
    found, names = gradients(model), list(linear_layers(model))
    assert list(rule.feedback) == names[1:]  # nothing returns through the first
    expected = by_hand(model, BATCH, lambda index, delta, _: delta @ rule.matrix(names[index]))
    torch.testing.assert_close(found, expected)
    assert min(rule.angles().values()) > (60 if mode == "fa" else 20)


def test_direct_errors_come_from_the_output_whatever_the_layers_between():
    model = deep()
    rule = bound(FeedbackAlignment(mode="dfa"), model)
    rule.estimate(BATCH)
    found, names = gradients(model), list(linear_layers(model))
    assert {n: m.shape for n, m in rule.feedback.items()} == {names[1]: (3, 7), names[2]: (3, 6)}
    expected = by_hand(model, BATCH, lambda index, _, e: e @ rule.feedback[names[index]])
    torch.testing.assert_close(found, expected)


def test_direct_updates_do_not_depend_on_order():
    # Each layer's from its own input, sums and the output's error alone: no other layer's is used.
    model = deep()
    rule = bound(FeedbackAlignment(mode="dfa"), model)
    rule.estimate(BATCH)
    found, layers = gradients(model), list(linear_layers(model).items())
    h = [BATCH["input"]]
    for _, layer in layers[:-1]:
        h.append(layer(h[-1]).tanh().detach())
    error = 2 * (layers[-1][1](h[-1]) - BATCH["target"]).detach() / 24
    for order in ((0, 1), (1, 0)):
        for index in order:
            name, layer = layers[index]
            delta = error @ rule.feedback[layers[index + 1][0]] * (1 - h[index + 1] ** 2)
            torch.testing.assert_close(found[f"{name}.weight"], delta.T @ h[index])


def test_below_one_hidden_layer_direct_is_the_same_rule():
    torch.manual_seed(0)
    model = MLP([5, 7, 3], activation="tanh").double()
    found = []
    for mode in ("fa", "dfa"):
        bound(FeedbackAlignment(mode=mode, seed=4), model).estimate(BATCH)
        found.append(gradients(model))
    torch.testing.assert_close(*found)


def test_two_calls_of_a_model_have_an_error_each():
    model = deep()
    rule = FeedbackAlignment(mode="dfa")

    def both(model, batch):
        first, second = model(batch["input"]), model(-batch["input"])
        return F.mse_loss(first, batch["target"]) + 3 * F.mse_loss(second, batch["target"])

    bound(rule, model, both).estimate(BATCH)
    found, names = gradients(model), list(linear_layers(model))
    one, two = (
        by_hand(model, batch, lambda index, _, e: e @ rule.feedback[names[index]])
        for batch in (BATCH, {**BATCH, "input": -BATCH["input"]})
    )
    torch.testing.assert_close(found, {n: one[n] + 3 * two[n] for n in one})


def test_signs_follow_the_weights_and_sizes_stay():
    model = deep()
    rule = bound(FeedbackAlignment("sgd", lr=1.0, mode="sign"), model)
    rule.estimate(BATCH)
    name = list(linear_layers(model))[1]
    layer, sizes = linear_layers(model)[name], rule.matrix(name).abs()
    with torch.no_grad():
        layer.weight.neg_()
    torch.testing.assert_close(rule.matrix(name), sizes * layer.weight.sign())
    assert sizes.std() > 0.1
    one_size = bound(FeedbackAlignment(mode="usf"), model)
    torch.testing.assert_close(one_size.matrix(name), layer.weight.sign() * 6**-0.5)


@pytest.mark.parametrize(
    "layer", [nn.Linear(40, 20), nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=2)]
)
def test_a_mirror_shows_the_weights(layer):
    torch.manual_seed(0)
    shape = (40,) if isinstance(layer, nn.Linear) else (4, 6, 6)
    layer.requires_grad_(False)  # they stand still
    model = nn.Sequential(
        nn.Unflatten(1, shape), nn.PReLU(), layer, nn.Tanh(), nn.Flatten(), nn.LazyLinear(2)
    )
    size = torch.Size(shape).numel()
    batch = {"input": torch.randn(4, size), "target": torch.randn(4, 2)}
    model(batch["input"])
    rule = bound(FeedbackAlignment("sgd", lr=1e-3, mode="mirror"), model)
    rule.estimate(batch)
    assert rule.angles()["2"] > 60
    for _ in range(400):
        rule._mirror()
        rule.descent.steps += 1
    assert rule.angles()["2"] < 10
    torch.testing.assert_close(  # and as large: no factor is lost
        rule.feedback["2"].norm(), layer.weight.norm(), rtol=0.05, atol=0
    )
    before = rule.feedback["2"].clone()
    rule.step(batch)
    assert not torch.equal(before, rule.feedback["2"])


def test_kolen_and_pollack_bring_the_matrices_together():
    model = deep()
    rule = bound(FeedbackAlignment("adamw", lr=0.01, mode="kp", rate=0.05), model)
    rule.step(BATCH)
    layers = {n: m for n, m in linear_layers(model).items() if n in rule.feedback}
    assert min(rule.angles().values()) > 45
    for _ in range(100):
        before = {n: m.weight - rule.feedback[n] for n, m in layers.items()}
        rule.step(BATCH)
        for name, layer in layers.items():
            torch.testing.assert_close(layer.weight - rule.feedback[name], 0.95 * before[name])
    assert max(rule.angles().values()) < 2


# Any model ---------------------------------------------------------------------------------------


class InPlace(nn.Module):
    """A layer's output is overwritten by what follows, as in torchvision's networks."""

    def __init__(self):
        super().__init__()
        self.conv, self.deep = nn.Conv2d(1, 4, 3), nn.Conv2d(4, 4, 3, padding=1)
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        x = F.relu_(self.conv(x))
        x = F.relu(self.deep(x).mul_(2).add_(x), inplace=True)
        return self.head(x.mean((2, 3)))


IMAGES = {"input": images().double(), "target": torch.arange(24) % 3}


@pytest.mark.parametrize("make", [UsersNetwork, InPlace, lambda: LeNet5(1, 3, 8)])
def test_with_the_weights_themselves_it_is_backpropagation(make, unchecked):
    torch.manual_seed(0)
    model = make().double()
    objective = supervised("cross_entropy", ["l2:0.1"])
    rule = bound(FeedbackAlignment(), model, objective)
    first = rule.alignment(IMAGES)
    assert min(first.values()) < 0.5
    for name in rule.feedback:
        rule.feedback[name] = rule.layers[name].weight.detach().clone()
    state = torch.get_rng_state()
    rule.estimate(IMAGES)
    found = gradients(model)
    torch.set_rng_state(state)
    objective(model, IMAGES)["loss"].backward()
    torch.testing.assert_close(found, gradients(model))
    aligned = rule.alignment(IMAGES)  # which sees the same dropout masks
    assert aligned == pytest.approx(dict.fromkeys(aligned, 1))


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_trains_a_users_network(mode, unchecked):
    model = UsersNetwork()
    rule = FeedbackAlignment(lr=0.01, mode=mode)
    data = Data((images(), torch.arange(24) % 3))
    run = fit(model, data, rule=rule, epochs=30, batch_size=12, verbose=False, precision="32")
    loss = run.history["train_loss"]
    assert loss[-1] < 0.6 * loss[0]
    assert not any("forward" in vars(module) for module in model.modules())
    assert isinstance(rule, Rule)


@pytest.mark.parametrize("mode", ["fa", "dfa"])
def test_it_works_under_autocast_and_slope_penalties(mode, unchecked):
    model, data = UsersNetwork(normalized=False), Data((images(), torch.arange(24) % 3))
    along = TangentProp(0.1, lambda x: torch.ones_like(x).unsqueeze(1))
    objective = supervised("cross_entropy", [along, "jacobian:0.01"])
    for precision in ("bf16", "32"):
        rule = FeedbackAlignment(lr=0.01, mode=mode)
        run = fit(
            model, data, objective, rule, epochs=2, batch_size=12, verbose=False,
            precision=precision,
        )  # fmt: skip
        assert torch.isfinite(torch.tensor(run.history["train_loss"])).all()


def test_parts_of_a_batch_add_up():
    model = deep()
    whole = bound(FeedbackAlignment(mode="dfa"), model)
    parts = bound(FeedbackAlignment(mode="dfa", gradient_accumulation_steps=4), model)
    whole.estimate(BATCH)
    expected = gradients(model)
    parts.estimate(BATCH)
    torch.testing.assert_close(gradients(model), expected)


@pytest.mark.parametrize("mode", MODES)
def test_a_resumed_run_ends_on_the_same_bytes(mode, tmp_path):
    def train(directory, stop=0, resume=False):
        model = make_network()
        rule = FeedbackAlignment(lr=0.01, mode=mode, seed=3)
        fit(
            model, make_data(), rule=rule, epochs=3, batch_size=10, directory=directory,
            callbacks=[StopAt(stop)], resume=resume, verbose=False,
        )  # fmt: skip
        return torch.cat([p.detach().flatten() for p in model.parameters()]), rule.feedback

    whole, matrices = train(tmp_path / "whole")
    with pytest.raises(Interrupted):
        train(tmp_path / "cut", 6)
    again, restored = train(tmp_path / "cut", resume=True)
    assert torch.equal(again, whole)
    assert all(torch.equal(restored[n], matrices[n]) for n in matrices)


def test_the_seed_alone_decides_the_matrices():
    def drawn(seed):
        torch.manual_seed(seed + 17)
        model = copy.deepcopy(MODEL)
        rule = bound(FeedbackAlignment(seed=seed), model)
        rule.estimate(BATCH)
        return rule.feedback

    first, again, other = drawn(0), drawn(0), drawn(1)
    torch.randn(3)
    assert all(torch.equal(first[n], again[n]) for n in first)
    assert not any(torch.equal(first[n], other[n]) for n in first)
    a, b = (m.flatten()[:18] for m in first.values())
    assert not torch.equal(a * 3**0.5, b * 6**0.5)  # nor are two layers' alike


MODEL = deep()


def test_alignment_leaves_all_as_it_was():
    model = make_network()  # with normalization and dropout
    batch = {"input": torch.randn(6, 4), "target": torch.randn(6, 3)}
    rule = bound(FeedbackAlignment(), model)
    rule.estimate(batch)
    slopes = [p.grad.clone() for p in model.parameters()]
    state, random = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    rule.alignment(batch)
    assert all(torch.equal(p.grad, g) for p, g in zip(model.parameters(), slopes, strict=True))
    assert all(torch.equal(v, state[n]) for n, v in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random)


def test_callbacks_hear_of_steps_and_not_of_alignment():
    heard = []
    rule = bound(FeedbackAlignment(), deep())
    rule.notify = lambda event, *arguments: heard.append(event)
    aligned = rule.alignment(BATCH)
    assert list(aligned.values())[-1] == pytest.approx(1)  # the last layer's is the gradient
    assert not heard
    rule.step(BATCH)
    assert heard == ["on_before_backward", "on_after_backward", "on_before_optimizer_step"]


def test_by_name_it_trains_lenet(unchecked):
    x = images()
    data = Data((x, (x[:, 0, :, :4].mean((1, 2)) > 0).long()))  # whether the left half is bright
    run = fit(
        LeNet5(1, 2, 8), data, rule="feedback_alignment", epochs=40, batch_size=8, verbose=False,
        precision="32",
    )  # fmt: skip
    assert run.evaluate("train")["accuracy"] > 0.9


# Errors ------------------------------------------------------------------------------------------


class Loop(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(5, 5)

    def forward(self, x):
        return self.layer(self.layer(self.layer(x).tanh()).tanh())[:, :3]


class Folded(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner, self.outer = nn.Linear(5, 5), nn.Linear(5, 3)

    def forward(self, x):
        return self.outer(self.inner(x).repeat(2, 1))[: len(x)]


class Tuple(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(5, 5)

    def forward(self, x):
        return self.layer(x), x


def refused(model, match, mode="dfa", objective=None):
    with pytest.raises(ValueError, match=match) as error:
        bound(FeedbackAlignment(mode=mode), model, objective).step(BATCH)
    assert "\n" not in str(error.value)
    assert not any("forward" in vars(module) for module in model.modules())


def test_models_it_cannot_train_are_refused(unchecked):
    shared = nn.Linear(5, 5)
    refused(nn.Sequential(nn.Linear(5, 5), nn.GRU(5, 3)), r"module '1' \(nn.GRU\)", "fa")
    refused(nn.TransformerEncoderLayer(4, 2), r"'self_attn' \(nn.MultiheadAttention\)", "fa")
    refused(nn.PReLU(), "this PReLU has none", "fa")
    refused(nn.Sequential(shared, nn.Tanh(), shared), "uses layer '0' more than once")
    refused(Loop().double(), "uses layer 'layer' more than once")
    refused(Folded().double(), "'outer' sees 16 rows where the model returns 8")
    refused(Tuple().double(), "must be one tensor, got tuple", objective=lambda m, b: m(b["input"]))
    model = deep()

    def aside(model, batch):
        seen = []
        layer = list(linear_layers(model).values())[1]
        hook = layer.register_forward_hook(lambda module, inputs, out: seen.append(out))
        model(batch["input"])
        hook.remove()
        return seen[0].square().mean()

    refused(model, "the loss uses layer '.*' by another way", objective=aside)
    computed = torch.nn.utils.parametrizations.weight_norm(nn.Linear(5, 3)).double()
    refused(computed, "those of layer '' are computed from other parameters", "kp")


def test_examples_of_another_size_are_refused(unchecked):
    model = nn.Sequential(nn.Conv1d(1, 2, 3), nn.Tanh(), nn.Conv1d(2, 3, 3))
    rule = bound(FeedbackAlignment(mode="dfa"), model, lambda m, b: m(b["input"]).mean())
    rule.step({"input": torch.randn(4, 1, 9)})
    with pytest.raises(ValueError, match="'2' has 16 inputs and the model 18 outputs where it had"):
        rule.step({"input": torch.randn(4, 1, 10)})


def test_wrong_arguments_are_refused(unchecked):
    with pytest.raises(ValueError, match=r"mode must be one of fa, dfa, .* got 'random'"):
        FeedbackAlignment(mode="random")
    with pytest.raises(ValueError, match="rate is of the modes mirror and kp"):
        FeedbackAlignment(rate=0.1)
    with pytest.raises(ValueError, match=r"rate must lie in \(0, 1\], got 0"):
        FeedbackAlignment(mode="kp", rate=0)
    rule = bound(FeedbackAlignment(mode="dfa"), deep())
    with pytest.raises(ValueError, match="no error returns by a layer's weights"):
        rule.angles()


def test_it_steps_as_backprop_does():
    # One layer alone, whose gradient is exact.
    torch.manual_seed(0)
    one = nn.Linear(5, 3).double()
    other = copy.deepcopy(one)
    bound(FeedbackAlignment("sgd:momentum=0.9", lr=0.1), one).step(BATCH)
    bound(Backprop("sgd:momentum=0.9", lr=0.1), other).step(BATCH)
    torch.testing.assert_close(one.weight, other.weight, rtol=0, atol=0)
