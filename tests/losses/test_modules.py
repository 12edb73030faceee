"""Losses as modules are their functions."""

import pytest
import torch
from torch import nn

from neurarium import losses
from neurarium.objectives import supervised

LOGITS, CLASSES = torch.tensor([[2.0, 0, -1], [0, 1, 0]]), torch.tensor([0, 2])
PREDICTION, TARGET = torch.tensor([0.3, -2.0, 5.0]), torch.tensor([1.0, -1.0, 1.0])
ALPHA = torch.tensor([0.2, 0.3, 0.5])

TWINS = [
    (losses.FocalLoss(1.5, ALPHA), LOGITS, CLASSES, losses.focal(LOGITS, CLASSES, 1.5, ALPHA)),
    (losses.HingeLoss(), PREDICTION, TARGET, losses.hinge(PREDICTION, TARGET)),
    (losses.SquaredHingeLoss("sum"), PREDICTION, TARGET,
     losses.squared_hinge(PREDICTION, TARGET, reduction="sum")),
    (losses.QuadraticCost(), PREDICTION, TARGET, losses.quadratic_cost(PREDICTION, TARGET)),
    (losses.TukeyLoss(2.0, "mad"), PREDICTION, TARGET,
     losses.tukey(PREDICTION, TARGET, delta=2.0, scale="mad")),
    (losses.GeneralRobustLoss(-2.0, 0.5), PREDICTION, TARGET,
     losses.general_robust(PREDICTION, TARGET, alpha=-2.0, scale=0.5)),
    (losses.Loss(losses.huber, delta=0.5), PREDICTION, TARGET,
     losses.huber(PREDICTION, TARGET, delta=0.5)),
]  # fmt: skip


@pytest.mark.parametrize(("module", "prediction", "target", "expected"), TWINS)
def test_a_module_is_its_function(module, prediction, target, expected):
    torch.testing.assert_close(module(prediction, target), expected)
    assert supervised(module)(nn.Identity(), {"input": prediction, "target": target}) == expected


def test_class_weights_go_with_the_module_and_arguments_are_checked_at_once():
    module = losses.FocalLoss(alpha=ALPHA).double()
    assert module.alpha.dtype == torch.float64
    assert repr(module) == "FocalLoss(gamma=2.0, reduction=mean)"
    with pytest.raises(TypeError, match="sigma"):
        losses.Loss(losses.huber, sigma=2.0)


@pytest.mark.parametrize("name", ["focal_loss", "cross_entropy_loss", "tukey_loss"])
def test_a_twins_name_in_a_string_leads_to_the_function(name):
    with pytest.raises(ValueError, match=f"did you mean .*{name.removesuffix('_loss')}"):
        supervised(name)
