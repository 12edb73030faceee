"""Initial weights: `init_(model, "kaiming")`, or each scheme by itself, in place.

Most schemes fill one tensor; `lsuv_` and `weight_norm_` look at a batch on its way through the
model, `zero_gamma_` and `fixup_` at its residual branches.
"""

from neurarium.initialization.data_driven import lsuv_, weight_norm_
from neurarium.initialization.initialize import init_
from neurarium.initialization.residual import fixup_, zero_gamma_
from neurarium.initialization.schemes import (
    constant_,
    gain,
    kaiming_,
    lecun_,
    nielsen_,
    normal_,
    orthogonal_,
    uniform_,
    xavier_,
)

__all__ = [
    "constant_",
    "fixup_",
    "gain",
    "init_",
    "kaiming_",
    "lecun_",
    "lsuv_",
    "nielsen_",
    "normal_",
    "orthogonal_",
    "uniform_",
    "weight_norm_",
    "xavier_",
    "zero_gamma_",
]
