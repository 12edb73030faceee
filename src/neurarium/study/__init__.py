"""Studies: does this part help, and which settings are best? Answered with intervals."""

from neurarium.study.ablate import Ablation, ablate
from neurarium.study.statistics import interval
from neurarium.study.tune import Tuning, tune

__all__ = ["Ablation", "Tuning", "ablate", "interval", "tune"]
