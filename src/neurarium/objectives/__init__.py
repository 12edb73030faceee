"""Objectives say what is good: callables `(model, batch) -> loss`, or a mapping with key `loss`."""

from neurarium.objectives.language import (
    bidirectional_language_model,
    mask_tokens,
    masked_language_model,
    next_sentence,
    permutation_language_model,
)
from neurarium.objectives.likelihood import negative_log_likelihood
from neurarium.objectives.manifold_tangent import contractive, manifold_tangent, tangent_basis
from neurarium.objectives.minima import WithoutBadMinima
from neurarium.objectives.neural_augmentation import augment_and_classify
from neurarium.objectives.sequences import per_step, transcription
from neurarium.objectives.supervised import Objective, supervised
from neurarium.objectives.supervised import ask as ask
from neurarium.objectives.tables import table_answer
from neurarium.objectives.through_time import ActivationL2, VanishingGradientPenalty

__all__ = [
    "ActivationL2",
    "Objective",
    "VanishingGradientPenalty",
    "WithoutBadMinima",
    "augment_and_classify",
    "bidirectional_language_model",
    "contractive",
    "manifold_tangent",
    "mask_tokens",
    "masked_language_model",
    "negative_log_likelihood",
    "next_sentence",
    "per_step",
    "permutation_language_model",
    "supervised",
    "table_answer",
    "tangent_basis",
    "transcription",
]
