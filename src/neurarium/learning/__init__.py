"""Learning rules: how parameters move on one batch."""

from neurarium.learning.backprop import Backprop
from neurarium.learning.rule import NonFiniteError, Rule

__all__ = ["Backprop", "NonFiniteError", "Rule"]
