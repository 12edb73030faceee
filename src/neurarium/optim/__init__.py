"""Optimizers by name, parameter groups, learning-rate schedules."""

from neurarium.optim.parameters import get, param_groups
from neurarium.optim.schedules import constant, cosine, linear, one_cycle, step_decay, warmup

__all__ = [
    "constant",
    "cosine",
    "get",
    "linear",
    "one_cycle",
    "param_groups",
    "step_decay",
    "warmup",
]
