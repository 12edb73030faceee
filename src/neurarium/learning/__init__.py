"""Learning rules: how parameters move on one batch."""

from neurarium.activations.straight_through import straight_through
from neurarium.learning.admm import ADMM
from neurarium.learning.alternating_minimization import AltMin
from neurarium.learning.analytic import Analytic
from neurarium.learning.backprop import Backprop
from neurarium.learning.backprop_by_hand import backprop_by_hand
from neurarium.learning.backpropagation_through_time import BackpropThroughTime, bptt_gradients
from neurarium.learning.bidirectional_backprop import BidirectionalBackprop
from neurarium.learning.competing_units import CompetingUnits
from neurarium.learning.delta_rule import DeltaRule
from neurarium.learning.dl_admm import DlADMM
from neurarium.learning.dynamic_inversion import DynamicInversion
from neurarium.learning.ekf import EKF
from neurarium.learning.equilibrium_propagation import EquilibriumPropagation
from neurarium.learning.evolution import CMAES, ES, GA
from neurarium.learning.evolve_program import EvolveProgram
from neurarium.learning.feedback_alignment import FeedbackAlignment
from neurarium.learning.forward_forward import ForwardForward
from neurarium.learning.ftprop import FTPROP
from neurarium.learning.gradient_target_propagation import GradientTargetPropagation
from neurarium.learning.hebb import Hebb
from neurarium.learning.lpom import LPOM
from neurarium.learning.neat import NEAT
from neurarium.learning.omnipresent_supervision import (
    OmnipresentSupervision,
    discriminant_information,
    discriminant_scores,
)
from neurarium.learning.pann_rule import PANNRule
from neurarium.learning.perceptron_rule import PerceptronRule
from neurarium.learning.predictive_coding import PredictiveCoding
from neurarium.learning.professor_forcing import ProfessorForcing
from neurarium.learning.real_time_recurrent import RealTimeRecurrent
from neurarium.learning.ridge_readout import RidgeReadout
from neurarium.learning.rule import NonFiniteError, Rule
from neurarium.learning.sam import SAM
from neurarium.learning.simulated_annealing import SimulatedAnnealing
from neurarium.learning.stdp import STDP
from neurarium.learning.successive_approximations import MSA
from neurarium.learning.synthetic_gradients import SyntheticGradients
from neurarium.learning.target_propagation import (
    TargetPropagation,
    difference_target_propagation,
)

__all__ = [
    "ADMM",
    "CMAES",
    "EKF",
    "ES",
    "FTPROP",
    "GA",
    "LPOM",
    "MSA",
    "NEAT",
    "SAM",
    "STDP",
    "AltMin",
    "Analytic",
    "Backprop",
    "BackpropThroughTime",
    "BidirectionalBackprop",
    "CompetingUnits",
    "DeltaRule",
    "DlADMM",
    "DynamicInversion",
    "EquilibriumPropagation",
    "EvolveProgram",
    "FeedbackAlignment",
    "ForwardForward",
    "GradientTargetPropagation",
    "Hebb",
    "NonFiniteError",
    "OmnipresentSupervision",
    "PANNRule",
    "PerceptronRule",
    "PredictiveCoding",
    "ProfessorForcing",
    "RealTimeRecurrent",
    "RidgeReadout",
    "Rule",
    "SimulatedAnnealing",
    "SyntheticGradients",
    "TargetPropagation",
    "backprop_by_hand",
    "bptt_gradients",
    "difference_target_propagation",
    "discriminant_information",
    "discriminant_scores",
    "straight_through",
]
