"""Optimizers by name, those that torch lacks, parameter groups, learning-rate schedules."""

from neurarium.optim.descent import descent
from neurarium.optim.large_batch import LAMB, LARS
from neurarium.optim.lion import Lion
from neurarium.optim.lookahead import Lookahead
from neurarium.optim.parameters import get, param_groups
from neurarium.optim.schedules import (
    batch_growth,
    constant,
    cosine,
    exp_range,
    linear,
    noam,
    one_cycle,
    one_cycle_momentum,
    polynomial,
    sgdr,
    slanted_triangular,
    step_decay,
    triangular,
    triangular2,
    warmup,
)

__all__ = [
    "LAMB",
    "LARS",
    "Lion",
    "Lookahead",
    "batch_growth",
    "constant",
    "cosine",
    "descent",
    "exp_range",
    "get",
    "linear",
    "noam",
    "one_cycle",
    "one_cycle_momentum",
    "param_groups",
    "polynomial",
    "sgdr",
    "slanted_triangular",
    "step_decay",
    "triangular",
    "triangular2",
    "warmup",
]
