"""Objectives say what is good: callables `(model, batch) -> loss`, or a mapping with key `loss`."""

from neurarium.objectives.supervised import Objective, supervised

__all__ = ["Objective", "supervised"]
