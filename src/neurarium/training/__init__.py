"""Training: `fit`, its callbacks, its engine, and the run that it returns."""

from neurarium.learning import NonFiniteError
from neurarium.training.callbacks import (
    EMA,
    AverageCheckpoints,
    BatchGrowth,
    Callback,
    Checkpoint,
    Clip,
    EarlyStopping,
    GeneralizationReport,
    GradualUnfreeze,
    JSONLines,
    MaxNorm,
    Progress,
    Proximal,
    ReduceOnPlateau,
    ScheduledSampling,
)
from neurarium.training.checkpoints import CheckpointError
from neurarium.training.engine import Engine
from neurarium.training.fine_tuning import discriminative_lr
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
    "AverageCheckpoints",
    "BatchGrowth",
    "Callback",
    "Checkpoint",
    "CheckpointError",
    "Clip",
    "EarlyStopping",
    "Engine",
    "GeneralizationReport",
    "GradualUnfreeze",
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
    "discriminative_lr",
    "fit",
    "fit_together",
    "lr_find",
    "noise_scale",
]
