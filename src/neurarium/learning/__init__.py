"""Learning rules: how parameters move on one batch."""

from neurarium.learning.backprop import Backprop
from neurarium.learning.competing_units import CompetingUnits
from neurarium.learning.delta_rule import DeltaRule
from neurarium.learning.equilibrium_propagation import EquilibriumPropagation
from neurarium.learning.feedback_alignment import FeedbackAlignment
from neurarium.learning.forward_forward import ForwardForward
from neurarium.learning.hebb import Hebb
from neurarium.learning.perceptron_rule import PerceptronRule
from neurarium.learning.predictive_coding import PredictiveCoding
from neurarium.learning.rule import NonFiniteError, Rule
from neurarium.learning.sam import SAM
from neurarium.learning.synthetic_gradients import SyntheticGradients

__all__ = [
    "SAM",
    "Backprop",
    "CompetingUnits",
    "DeltaRule",
    "EquilibriumPropagation",
    "FeedbackAlignment",
    "ForwardForward",
    "Hebb",
    "NonFiniteError",
    "PerceptronRule",
    "PredictiveCoding",
    "Rule",
    "SyntheticGradients",
]
