"""Learning rules: how parameters move on one batch."""

from neurarium.learning.backprop import Backprop
from neurarium.learning.backprop_by_hand import backprop_by_hand
from neurarium.learning.delta_rule import DeltaRule
from neurarium.learning.feedback_alignment import FeedbackAlignment
from neurarium.learning.perceptron_rule import PerceptronRule
from neurarium.learning.rule import NonFiniteError, Rule
from neurarium.learning.sam import SAM
from neurarium.learning.synthetic_gradients import SyntheticGradients

__all__ = [
    "SAM",
    "Backprop",
    "DeltaRule",
    "FeedbackAlignment",
    "NonFiniteError",
    "PerceptronRule",
    "Rule",
    "SyntheticGradients",
    "backprop_by_hand",
]
