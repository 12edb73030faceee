"""Studies: does this part help, and which settings are best? Answered with intervals."""

from neurarium.study.ablate import Ablation, ablate
from neurarium.study.comparison import study
from neurarium.study.statistics import (
    bootstrap_interval,
    detectable,
    effect_size,
    holm,
    interval,
    nemenyi,
    paired_t,
    power,
    seeds_needed,
)
from neurarium.study.tune import Tuning, tune

__all__ = [
    "Ablation",
    "Tuning",
    "ablate",
    "bootstrap_interval",
    "detectable",
    "effect_size",
    "holm",
    "interval",
    "nemenyi",
    "paired_t",
    "power",
    "seeds_needed",
    "study",
    "tune",
]
