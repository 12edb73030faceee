"""What happens besides the steps: stopping, averaging, saving, telling."""

from neurarium.training.callbacks.average_checkpoints import AverageCheckpoints
from neurarium.training.callbacks.base import Callback
from neurarium.training.callbacks.batch_growth import BatchGrowth
from neurarium.training.callbacks.checkpoint import Checkpoint
from neurarium.training.callbacks.clip import Clip
from neurarium.training.callbacks.conformal import ConformalIntervals
from neurarium.training.callbacks.early_stopping import EarlyStopping
from neurarium.training.callbacks.ema import EMA
from neurarium.training.callbacks.generalization_report import GeneralizationReport
from neurarium.training.callbacks.gradual_unfreeze import GradualUnfreeze
from neurarium.training.callbacks.logging import JSONLines, Progress
from neurarium.training.callbacks.max_norm import MaxNorm
from neurarium.training.callbacks.proximal import Proximal
from neurarium.training.callbacks.reduce_on_plateau import ReduceOnPlateau
from neurarium.training.callbacks.scheduled_sampling import ScheduledSampling

__all__ = [
    "EMA",
    "AverageCheckpoints",
    "BatchGrowth",
    "Callback",
    "Checkpoint",
    "Clip",
    "ConformalIntervals",
    "EarlyStopping",
    "GeneralizationReport",
    "GradualUnfreeze",
    "JSONLines",
    "MaxNorm",
    "Progress",
    "Proximal",
    "ReduceOnPlateau",
    "ScheduledSampling",
]
