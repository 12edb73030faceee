"""The gradient is the sum of both directions', and a permutation is learnt both ways."""

import itertools

import pytest
import torch
from tests.training.test_resume import StopAt
from torch import nn

from neurarium import losses
from neurarium.data import Data
from neurarium.learning import BidirectionalBackprop, Rule
from neurarium.networks import MLP, LeNet5
from neurarium.objectives import supervised
from neurarium.training import Interrupted, fit

pytestmark = pytest.mark.usefixtures("unchecked")  # a trace is of proxies, which have no shape

GENERATOR = torch.Generator().manual_seed(1)
BATCH = {
    "input": torch.randn(8, 5, generator=GENERATOR).double(),
    "target": torch.arange(8) % 3,
}


def network(bias=True):
    torch.manual_seed(0)
    return MLP([5, 7, 6, 3], activation=["tanh", "sigmoid"], bias=bias).double()


def bound(rule, model, objective):
    rule.bind(model, objective)
    return rule


def estimated(rule, batch):
    figures = rule.estimate(batch)
    found = {n: p.grad.clone() for n, p in rule.model.named_parameters() if p.grad is not None}
    rule.model.zero_grad()
    return figures, found


def returned(model, target):
    """The backward pass written out: transposed weights, the hidden layers' own biases."""
    first, second, third = (m for m in model.modules() if isinstance(m, nn.Linear))
    b1, b2 = (0, 0) if first.bias is None else (first.bias, second.bias)
    h2 = torch.sigmoid(target @ third.weight + b2)
    return torch.tanh(h2 @ second.weight + b1) @ first.weight


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("weight", [0.0, 1.0, 0.3])
def test_the_gradient_is_the_sum_of_both_directions(bias, weight):
    model, objective = network(bias), supervised("cross_entropy", ["l2:0.1"])
    rule = bound(BidirectionalBackprop(back_weight=weight), model, objective)
    figures, found = estimated(rule, BATCH)
    forward = objective(model, BATCH)["loss"]
    hot = torch.eye(3).double()[BATCH["target"]]
    back = (returned(model, hot) - BATCH["input"]).square().sum(1).mean() / 2
    torch.testing.assert_close(figures["loss"], forward.detach())
    torch.testing.assert_close(figures["back"], back.detach())
    (forward + weight * back).backward()
    expected = {n: p.grad.clone() for n, p in model.named_parameters()}
    model.zero_grad()
    torch.testing.assert_close(found, expected)
    if not weight:
        cosines = rule.alignment(BATCH)
        assert min(cosines.values()) == pytest.approx(1)


def test_it_is_the_gradient_by_differences():
    model, objective = network(), supervised("cross_entropy")
    hot = torch.eye(3).double()[BATCH["target"]]
    _, found = estimated(bound(BidirectionalBackprop(), model, objective), BATCH)

    @torch.no_grad()
    def value():
        back = losses.quadratic_cost(returned(model, hot), BATCH["input"])
        return (objective(model, BATCH) + back).item()

    for name, parameter in model.named_parameters():
        entry = parameter.data.view(-1)[:1]
        entry += 1e-5
        up = value()
        entry -= 2e-5
        down = value()
        entry += 1e-5
        assert found[name].flatten()[0].item() == pytest.approx((up - down) / 2e-5, rel=1e-5)


def test_recall_goes_back_from_classes_and_from_numbers():
    model = network()
    rule = bound(BidirectionalBackprop(), model, supervised("cross_entropy"))
    expected = returned(model, torch.eye(3).double()).detach()
    torch.testing.assert_close(rule.recall(torch.arange(3)), expected)
    torch.testing.assert_close(rule.recall(torch.eye(3).double()), expected)
    assert not rule.recall(torch.arange(3)).requires_grad


def test_one_linear_layer_is_sent_back_by_its_transpose_without_a_bias():
    layer = nn.Linear(2, 2).double()
    layer.weight.data = torch.tensor([[1.0, 2], [3, 4]]).double()
    rule = bound(BidirectionalBackprop(), layer, supervised("mse"))
    # (1, 10) [[1, 2], [3, 4]] = (31, 42).
    assert rule.recall(torch.tensor([[1.0, 10.0]])).tolist() == [[31, 42]]


def test_a_bijection_of_three_bits_is_learnt_both_ways():
    torch.manual_seed(0)
    bits = torch.tensor(list(itertools.product((0.0, 1.0), repeat=3)))
    images = bits[torch.randperm(8)]
    model = MLP([3, 8, 3], activation="sigmoid")
    rule = BidirectionalBackprop("adam", 0.1, back_loss="binary_cross_entropy")
    rule.bind(model, supervised("binary_cross_entropy"))
    for _ in range(500):
        rule.step({"input": bits, "target": images})
    assert torch.equal((model(bits) > 0).float(), images)
    assert torch.equal((rule.recall(images) > 0).float(), bits)


def test_images_are_compared_as_the_first_layer_sees_them():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 4), nn.Tanh(), nn.Linear(4, 3)).double()
    rule = bound(BidirectionalBackprop(), model, supervised("cross_entropy"))
    x = torch.randn(6, 1, 3, 4).double()
    figures, _ = estimated(rule, {"input": x, "target": torch.arange(6) % 3})
    expected = losses.quadratic_cost(rule.recall(torch.arange(6) % 3), x.flatten(1))
    torch.testing.assert_close(figures["back"], expected)


def test_it_trains_and_resumes_to_the_same_bytes(tmp_path):
    torch.manual_seed(0)
    x = torch.randn(60, 5)
    data = Data((x, x[:, :3].argmax(1)))

    def train(folder, stop=0, resume=False):
        torch.manual_seed(1)
        model, rule = MLP([5, 16, 3], activation="tanh"), BidirectionalBackprop(lr=0.03)
        run = fit(
            model, data, rule=rule, epochs=12, batch_size=20, directory=folder,
            callbacks=[StopAt(stop)], resume=resume, verbose=False, precision="32",
        )  # fmt: skip
        assert isinstance(rule, Rule)
        return run, torch.cat([p.detach().flatten() for p in model.parameters()])

    run, whole = train(tmp_path / "whole")
    assert run.history["train_back"][-1] < 0.8 * run.history["train_back"][0]
    assert run.evaluate("train")["accuracy"] > 0.85
    with pytest.raises(Interrupted):
        train(tmp_path / "cut", 17)
    assert torch.equal(train(tmp_path / "cut", resume=True)[1], whole)


@pytest.mark.parametrize(
    ("model", "why"),
    [
        (LeNet5(1, 3, 8), "but layer .* is an nn.Conv2d; take Backprop"),
        (MLP([4, 5, 3], norm="batch"), "must be one elementwise activation, found BatchNorm1d"),
        (MLP([4, 5, 3], activation="glu"), "has 10 outputs and layers.2 5 inputs"),
        (nn.Sequential(nn.ReLU()), "BidirectionalBackprop needs a plain chain"),
    ],
)
def test_what_cannot_be_walked_backwards_is_refused(model, why):
    with pytest.raises(ValueError, match=why):
        BidirectionalBackprop().bind(model, supervised("cross_entropy"))


def test_a_negative_weight_is_refused():
    with pytest.raises(ValueError, match="back_weight must not be negative, got -1"):
        BidirectionalBackprop(back_weight=-1)
