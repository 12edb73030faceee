"""Losses: `loss(prediction, target, ..., reduction="mean")`, a number to make small."""

from neurarium.losses._common import Reduction as Reduction
from neurarium.losses.classification import (
    binary_cross_entropy,
    cross_entropy,
    focal,
    hinge,
    multiclass_hinge,
    squared_hinge,
)
from neurarium.losses.divergences import bregman
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
    "focal",
    "gaussian_nll",
    "general_robust",
    "hinge",
    "huber",
    "mae",
    "mse",
    "multiclass_hinge",
    "quadratic_cost",
    "squared_hinge",
    "tukey",
]
