"""What would train on nonsense in silence is an error that names it, at the first batch."""

import pytest
import torch
from torch import nn

from neurarium import penalties
from neurarium.learning import Backprop
from neurarium.objectives import supervised
from neurarium.training import fit

X = torch.randn(8, 3, generator=torch.Generator().manual_seed(0))
NUMBERS = torch.linspace(-1, 1, 8)
CLASSES = torch.arange(8) % 2


def softmax_at_the_end() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 2), nn.Softmax(1))


@pytest.mark.parametrize(
    ("model", "target", "objective", "message"),
    [
        (nn.Linear(3, 1), CLASSES.float(), supervised("hinge"), r"-1 (and|or) 1|±1"),
        (nn.Linear(3, 1), CLASSES.float(), supervised("squared_hinge"), r"-1 (and|or) 1|±1"),
        (softmax_at_the_end(), CLASSES, supervised("cross_entropy"), "logits"),
        (softmax_at_the_end(), CLASSES, supervised(nn.CrossEntropyLoss()), "logits"),
        (softmax_at_the_end(), CLASSES, supervised("focal"), "logits"),
        (nn.Linear(3, 2), NUMBERS, supervised("mse"), r"\(8, 2\) and \(8,\)"),
        (nn.Linear(3, 1), NUMBERS[:, None, None], supervised("huber"), r"\(8, 1\) and \(8, 1, 1\)"),
        (nn.Linear(3, 1), NUMBERS, supervised("mse", [penalties.L1(0.1, on=lambda n, p: False)]),
         "L1"),
        (nn.Linear(3, 1, bias=False), NUMBERS, supervised("mse", [penalties.GroupLasso(
            0.1, "filters")]), "GroupLasso"),
    ],
)  # fmt: skip
def test_wrong_use_is_named_at_the_first_batch(model, target, objective, message, unchecked):
    before = [p.detach().clone() for p in model.parameters()]
    with pytest.raises((ValueError, TypeError), match=message) as error:
        fit(model, (X, target), objective, Backprop("sgd", lr=0.1), verbose=False)
    assert "\n" not in str(error.value)
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


@pytest.mark.parametrize("lr", [0.0, -0.1, float("nan")])
def test_a_rate_that_is_none_is_refused_before_any_training(lr, unchecked):
    with pytest.raises(ValueError, match="lr must be"):
        fit(nn.Linear(3, 1), (X, NUMBERS), lr=lr, verbose=False)
    with pytest.raises(ValueError, match="lr must be"):
        Backprop("adam", lr=lr)
