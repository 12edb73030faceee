"""Losses: `loss(prediction, target, ..., reduction="mean")`, a number to make small.

`__all__` lists the functions, which names such as "huber:delta=0.5" mean; `FocalLoss` and the like
are modules of those that torch has none for.
"""

from neurarium.losses._common import Reduction as Reduction
from neurarium.losses.classification import (
    binary_cross_entropy,
    cross_entropy,
    focal,
    hinge,
    multiclass_hinge,
    nll,
    squared_hinge,
)
from neurarium.losses.ctc import ctc
from neurarium.losses.divergences import bregman
from neurarium.losses.label_smoothing import label_smoothing
from neurarium.losses.modules import FocalLoss as FocalLoss
from neurarium.losses.modules import GeneralRobustLoss as GeneralRobustLoss
from neurarium.losses.modules import HingeLoss as HingeLoss
from neurarium.losses.modules import Loss as Loss
from neurarium.losses.modules import QuadraticCost as QuadraticCost
from neurarium.losses.modules import SquaredHingeLoss as SquaredHingeLoss
from neurarium.losses.modules import TukeyLoss as TukeyLoss
from neurarium.losses.regression import gaussian_nll, mae, mse, quadratic_cost
from neurarium.losses.robust import (
    AdaptiveRobust,
    general_robust,
    huber,
    tukey,
)

__all__ = [
    "AdaptiveRobust",
    "binary_cross_entropy",
    "bregman",
    "cross_entropy",
    "ctc",
    "focal",
    "gaussian_nll",
    "general_robust",
    "hinge",
    "huber",
    "label_smoothing",
    "mae",
    "mse",
    "multiclass_hinge",
    "nll",
    "quadratic_cost",
    "squared_hinge",
    "tukey",
]
