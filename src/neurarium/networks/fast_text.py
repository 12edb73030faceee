"""Texts by the mean of their words' vectors: all that a bag of words tells, and nothing more."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from neurarium.layers import masks
from neurarium.networks._config import remember

__all__ = ["FastText"]


class FastText(nn.Module):
    r"""A linear classifier of the mean of the words' vectors; their order plays no part.

    $$\hat y = V \, \frac1n \sum_{t=1}^n E_{x_t} + c$$

    In training each word is left out with probability `word_dropout`. The paper's hashed pairs of
    words are left out: on ten thousand sentences they are too rare to help.

    Args:
        vocabulary: how many words there are.
        outputs: classes, or numbers to predict.
        width: of a word's vector.
        dropout: of the mean.

    Source: Joulin, Grave, Bojanowski & Mikolov (2017), Bag of tricks for efficient text
    classification, EACL, arXiv:1607.01759; words left out: Iyyer et al. (2015), Deep unordered
    composition rivals syntactic methods for text classification, ACL.
    """

    reads = ("length",)
    word_dropout: float

    def __init__(
        self,
        vocabulary: int,
        outputs: int,
        width: int = 64,
        dropout: float = 0.5,
        word_dropout: float = 0.3,
    ) -> None:
        super().__init__()
        remember(self, vocabulary=vocabulary, outputs=outputs, width=width, dropout=dropout)
        remember(self, word_dropout=word_dropout)
        if not 0 <= word_dropout < 1:
            raise ValueError(f"word_dropout must lie from 0 to below 1, got {word_dropout}")
        self.embedding = nn.Embedding(vocabulary, width)
        nn.init.normal_(self.embedding.weight, std=0.1)  # of 1, the noise drowns a sentence's words
        self.drop = nn.Dropout(dropout)
        self.out = nn.Linear(width, outputs)

    @classmethod
    def for_data(
        cls,
        input_shape: Sequence[int],
        outputs: int,
        categories: Sequence[int],
        vocabulary: int = 0,
        **arguments: Any,
    ) -> "FastText":
        """For texts as numbers of their words."""
        if not vocabulary:
            raise ValueError("FastText reads texts, and these data have none; take an MLP")
        return cls(vocabulary, outputs, **arguments)

    def forward(
        self, x: Int[Tensor, "batch words"], length: Int[Tensor, " batch"] | None = None
    ) -> Float[Tensor, "batch outputs"]:
        """Answers.

        Args:
            x: numbers of the words.
            length: words of each text, of which those beyond are padding; all if None.
        """
        kept = torch.ones_like(x, dtype=self.out.weight.dtype)
        if length is not None:
            kept = masks.padding(length, x.shape[1]).to(kept.dtype)
        if self.training and self.word_dropout:
            kept = kept * (torch.rand_like(kept) >= self.word_dropout)
        total = (kept.unsqueeze(1) @ self.embedding(x)).squeeze(1)
        return self.out(self.drop(total / kept.sum(1, keepdim=True).clamp(min=1)))
