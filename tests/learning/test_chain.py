"""A chain has the model's own values, and its pieces multiply to the model's own gradient."""

import pytest
import torch
from tests.test_every_part import UsersNetwork
from torch import nn
from torch.nn import functional as F

from neurarium import objectives
from neurarium.learning import TargetPropagation, chain, pseudo_gradient
from neurarium.learning.chain import Chain
from neurarium.networks import MLP, LeNet5

pytestmark = pytest.mark.usefixtures("unchecked")  # a trace is of proxies, which have no shape


class Functional(nn.Module):
    """A user's convolutional network with functions between the layers."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, stride=2, padding=1)
        self.deep = nn.Conv2d(4, 4, 3, padding=1, groups=2)
        self.head = nn.Linear(4 * 4, 3)

    def forward(self, x):
        x = F.max_pool2d(torch.relu(self.conv(x)), 2)
        return self.head(torch.tanh(self.deep(x)).flatten(1))


CASES = {
    "mlp": (lambda: MLP([5, 7, 6, 3], activation="tanh", norm="layer"), (5,)),
    "lenet": (lambda: LeNet5(outputs=3, image_size=8), (1, 8, 8)),
    "functional": (Functional, (1, 8, 8)),
    "output unit": (lambda: MLP([5, 4, 3], activation="relu", out="sigmoid"), (5,)),
}


@pytest.mark.parametrize("name", CASES)
def test_the_stages_give_the_models_values_and_its_gradient(name):
    make, shape = CASES[name]
    torch.manual_seed(0)
    model = make().double()
    batch = {"input": torch.randn(6, *shape).double(), "target": torch.randn(6, 3).double()}
    objective = objectives.supervised("mse", ["l2:0.1"])
    view = Chain(model)
    found = view.forward(batch["input"])
    torch.testing.assert_close(found.outputs[-1], model(batch["input"]))

    values, slope = chain.judge(objective, model, found.outputs[-1], batch)
    for index in reversed(range(len(view))):
        found.fill(index, slope)
        slope = found.through_layer(index, found.through_activation(index, slope))
    by_stages = [p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    result = objective(model, batch)
    result["loss"].backward()
    torch.testing.assert_close(values["loss"], result["loss"].detach())
    for gradient, parameter in zip(by_stages, model.parameters(), strict=True):
        torch.testing.assert_close(gradient, parameter.grad)


def test_a_frozen_layer_passes_slopes_and_takes_none():
    torch.manual_seed(0)
    model = MLP([5, 4, 3], activation="tanh").double()
    first, second = (m for m in model.modules() if isinstance(m, nn.Linear))
    second.requires_grad_(False)
    found = Chain(model).forward(torch.randn(6, 5).double())
    slope = torch.randn(6, 3).double()
    found.fill(1, slope)
    found.fill(0, found.through_layer(1, found.through_activation(1, slope)))
    assert second.weight.grad is None
    (expected,) = torch.autograd.grad(model(found.inputs[0]), first.weight, slope)
    torch.testing.assert_close(first.weight.grad, expected)


def test_a_layer_alone_is_a_chain_of_one():
    layer = nn.Linear(3, 2)
    x = torch.randn(4, 3)
    found = Chain(layer).forward(x)
    torch.testing.assert_close(found.outputs[-1], layer(x))


def test_a_stage_knows_its_activation():
    view = Chain(
        nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.Tanh(), nn.Dropout(0.5), nn.Linear(3, 2))
    )
    assert [stage.name for stage in view.stages] == ["1", "4"]
    assert isinstance(view.stages[0].activation, nn.Tanh)
    assert view.stages[1].activation is None
    pooled = Chain(nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.MaxPool2d(2)))
    with pytest.raises(ValueError, match="layer 0 there must be one elementwise activation"):
        _ = pooled.stages[0].activation


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 3)

    def forward(self, x):
        return self.layer(torch.relu(self.layer(x)))


class Decides(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 3)

    def forward(self, x):
        return self.layer(x) if x.sum() > 0 else x


@pytest.mark.parametrize(
    ("model", "why"),
    [
        (UsersNetwork(), "branches or joins at"),
        (Twice(), "uses layer more than once"),
        (Decides(), "cannot be followed"),
        (nn.Sequential(nn.ReLU()), "has no linear or convolutional layer"),
        (nn.Sequential(nn.Embedding(3, 4), nn.Linear(4, 2)), "has 0, an nn.Embedding"),
    ],
)
def test_a_model_that_is_no_chain_is_refused_in_one_sentence(model, why):
    with pytest.raises(ValueError, match=f"ADMM needs .*{why}.*take Backprop") as error:
        Chain(model, "ADMM")
    assert "\n" not in str(error.value)


def test_the_cosine_of_tiny_slopes_is_not_shrunk():
    model = nn.Linear(2, 1, bias=False)
    a, b = {"weight": torch.tensor([[1e-12, 0]])}, {"weight": torch.tensor([[1e-12, 1e-12]])}
    assert pseudo_gradient.cosines(model, a, b)[""] == pytest.approx(0.5**0.5, rel=1e-5)
    assert pseudo_gradient.cosines(model, a, {}) == {"": 0.0}


def test_a_rule_that_takes_batches_whole_refuses_parts_of_them():
    with pytest.raises(ValueError, match="TargetPropagation takes each batch whole"):
        TargetPropagation(gradient_accumulation_steps=2)
