"""Many workers on one model: simulated in one process, or real ones, and what they send."""

from neurarium.training.distributed.compression import compression
from neurarium.training.distributed.dgc import DGC
from neurarium.training.distributed.float_truncate import FloatTruncate
from neurarium.training.distributed.parameter_server import ParameterServer
from neurarium.training.distributed.profile import StepProfile, profile_step
from neurarium.training.distributed.qsgd import QSGD
from neurarium.training.distributed.sign_sgd import SignSGD
from neurarium.training.distributed.simulated import SimulatedWorkers
from neurarium.training.distributed.terngrad import TernGrad

__all__ = [
    "DGC",
    "QSGD",
    "FloatTruncate",
    "ParameterServer",
    "SignSGD",
    "SimulatedWorkers",
    "StepProfile",
    "TernGrad",
    "compression",
    "profile_step",
]
