"""Why a network does not learn: measurements of its layers, and verdicts that rest on them."""

from neurarium.training.diagnostics.checks import Check as Check
from neurarium.training.diagnostics.diagnosis import Diagnosis as Diagnosis
from neurarium.training.diagnostics.diagnosis import diagnose
from neurarium.training.diagnostics.flow import GradientFlow as GradientFlow
from neurarium.training.diagnostics.flow import gradient_flow
from neurarium.training.diagnostics.label_noise import confident_joint, suspicious_labels
from neurarium.training.diagnostics.layer_stats import LayerStats
from neurarium.training.diagnostics.rehearsal import update_ratios
from neurarium.training.diagnostics.units import DeadUnits as DeadUnits
from neurarium.training.diagnostics.units import dead_units

__all__ = [
    "LayerStats",
    "confident_joint",
    "dead_units",
    "diagnose",
    "gradient_flow",
    "suspicious_labels",
    "update_ratios",
]
