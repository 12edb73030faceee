"""Training: `fit`, its callbacks, its engine, and the run that it returns."""

from neurarium.learning import NonFiniteError
from neurarium.training.callbacks import (
    EMA,
    BatchGrowth,
    Callback,
    Checkpoint,
    Clip,
    EarlyStopping,
    GeneralizationReport,
    JSONLines,
    MaxNorm,
    Progress,
    Proximal,
    ReduceOnPlateau,
    ScheduledSampling,
)
from neurarium.training.checkpoints import CheckpointError
from neurarium.training.engine import Engine
from neurarium.training.fit import fit
from neurarium.training.history import History
from neurarium.training.interrupts import Interrupted
from neurarium.training.lr_finder import LRFinder, lr_find
from neurarium.training.noise_scale import NoiseScale, noise_scale
from neurarium.training.run import Run
from neurarium.training.together import fit_together
from neurarium.training.trainer import Trainer

__all__ = [
    "EMA",
    "BatchGrowth",
    "Callback",
    "Checkpoint",
    "CheckpointError",
    "Clip",
    "EarlyStopping",
    "Engine",
    "GeneralizationReport",
    "History",
    "Interrupted",
    "JSONLines",
    "LRFinder",
    "MaxNorm",
    "NoiseScale",
    "NonFiniteError",
    "Progress",
    "Proximal",
    "ReduceOnPlateau",
    "Run",
    "ScheduledSampling",
    "Trainer",
    "fit",
    "fit_together",
    "lr_find",
    "noise_scale",
]
