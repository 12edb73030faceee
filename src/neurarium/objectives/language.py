"""Objectives of models that read texts in both directions."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor, nn

from neurarium import losses
from neurarium.data import Batch
from neurarium.layers import masks
from neurarium.objectives.supervised import Objective, ask

__all__ = [
    "bidirectional_language_model",
    "mask_tokens",
    "masked_language_model",
    "next_sentence",
    "permutation_language_model",
]

Tokens = Int[Tensor, "batch tokens"]


def mask_tokens(
    tokens: Tokens,
    vocab: int,
    mask: int,
    p: float = 0.15,
    mix: Sequence[float] = (0.8, 0.1, 0.1),
    specials: Sequence[int] = (),
    real: Bool[Tensor, "batch tokens"] | None = None,
    generator: torch.Generator | None = None,
) -> tuple[Tokens, Bool[Tensor, "batch tokens"]]:
    r"""Choose tokens to be guessed; mask most of them, replace some, leave some as they are.

    $$\tilde u_t = \begin{cases} \text{[MASK]} & 0.8 \\ \text{another} & 0.1 \\ u_t & 0.1
      \end{cases} \quad \text{for } t \in C, \qquad P(t \in C) = 0.15$$

    Args:
        mask: the token [MASK].
        p: share of the tokens that are chosen.
        mix: shares of the chosen that are masked, replaced by a random token, left.
        specials: tokens that are never chosen, such as [CLS] and [SEP]; nor are they drawn.
        real: which tokens are no padding.

    Returns:
        The tokens to show, and which were chosen.

    Source: Devlin, Chang, Lee & Toutanova (2019), BERT, arXiv:1810.04805.
    """
    if not 0 < p <= 1 or abs(sum(mix) - 1) > 1e-6:
        raise ValueError(f"p must lie in (0, 1] and mix sum to 1, got {p} and {tuple(mix)}")
    never = torch.tensor([mask, *specials], device=tokens.device)
    draw = torch.rand(tokens.shape, generator=generator, device=tokens.device)
    chosen = (draw < p) & ~torch.isin(tokens, never)
    if real is not None:
        chosen = chosen & real
    how = torch.rand(tokens.shape, generator=generator, device=tokens.device)
    every = torch.arange(vocab, device=tokens.device)
    ordinary = every[~torch.isin(every, never)]
    pick = torch.randint(len(ordinary), tokens.shape, generator=generator, device=tokens.device)
    shown = torch.where(chosen & (how < mix[0]), mask, tokens)
    replaced = chosen & (how >= mix[0]) & (how < mix[0] + mix[1])
    return torch.where(replaced, ordinary[pick].to(tokens), shown), chosen


def masked_language_model(
    vocab: int,
    mask: int,
    p: float = 0.15,
    mix: Sequence[float] = (0.8, 0.1, 0.1),
    specials: Sequence[int] = (),
) -> Objective:
    r"""How badly the chosen tokens are guessed from all others, in nats per chosen token.

    $$L = -\frac{1}{|C|} \sum_{t \in C} \log p(u_t \mid \tilde u)$$

    The choice is drawn anew for each batch (RoBERTa's dynamic masking). Reads `input`, and
    `length` where rows are padded. Arguments are those of `mask_tokens`.

    Source: Devlin, Chang, Lee & Toutanova (2019), BERT, arXiv:1810.04805; Liu et al. (2019),
    RoBERTa, arXiv:1907.11692.
    """
    return _Masked(vocab, mask, p, tuple(mix), tuple(specials))


class _Masked(nn.Module):
    def __init__(
        self, vocab: int, mask: int, p: float, mix: Sequence[float], specials: Sequence[int]
    ) -> None:
        super().__init__()
        self.options = vocab, mask, p, mix, specials

    def forward(self, model: nn.Module, batch: Batch) -> Tensor | dict[str, Tensor]:
        tokens = batch["input"].long()
        real = masks.padding(batch["length"], tokens.shape[1]) if "length" in batch else None
        shown, chosen = mask_tokens(tokens, *self.options, real)
        logits = ask(model, {**batch, "input": shown}).float()
        target = torch.where(chosen, tokens, -100)
        if not bool(chosen.any()):  # the mean of nothing
            return logits.sum() * 0
        loss = losses.cross_entropy(logits.flatten(0, 1), target.flatten())
        if torch.is_grad_enabled():
            return loss
        right = (logits.argmax(-1) == tokens)[chosen].float().mean()
        return {"loss": loss, "accuracy": right}

    def __repr__(self) -> str:
        return f"masked_language_model(vocab={self.options[0]}, p={self.options[2]})"


def next_sentence(weight: float = 1.0, masked: Objective | None = None) -> Objective:
    r"""Whether the second segment follows the first; with `masked`, beside guessing tokens.

    $$L = L_{\text{masked}} - w\, \log p(\text{next} \mid u), \qquad
      \text{target } 0: \text{ follows}, \; 1: \text{ drawn at random}$$

    Reads `input`, `segment`, `target` and `length` if there is one; the model answers by
    `follows`.

    Source: Devlin, Chang, Lee & Toutanova (2019), BERT, arXiv:1810.04805.
    """
    return _NextSentence(weight, masked)


class _NextSentence(nn.Module):
    def __init__(self, weight: float, masked: Objective | None) -> None:
        super().__init__()
        self.weight, self.masked = weight, masked

    def forward(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        answers: Any = model
        extra = [batch.get("segment"), batch.get("length")]
        logits = answers.follows(batch["input"], *extra).float()
        loss = losses.cross_entropy(logits, batch["target"])
        parts = {"loss": self.weight * loss, "next_sentence": loss}
        if self.masked is not None:
            found = self.masked(model, batch)
            guess = found if isinstance(found, Tensor) else found["loss"]
            parts = {**parts, "loss": parts["loss"] + guess, "masked": guess}
        return parts


def permutation_language_model(predict: float = 1 / 6) -> Objective:
    r"""How badly the last tokens of a random order are guessed from those before them in it.

    $$L = -\mathbb{E}_{z}\, \frac{1}{n - c} \sum_{t > c} \log p(x_{z_t} \mid x_{z_{\le t - 1}}),
      \qquad n - c = \lceil p\, n \rceil$$

    An order of the places is drawn anew for each row and batch; the tokens stay where they are.
    Reads `input`, and `segment` and `length` where there are; the model is one like `XLNet`, which
    takes an `order`. With `predict=1` every token is guessed, the first from nothing; a batch that
    holds an `order` of its own keeps it.

    Args:
        predict: $p$, the share of an order that is guessed; the paper's best is 1/6.

    Source: Yang et al. (2019), XLNet, arXiv:1906.08237.
    """
    if not 0 < predict <= 1:
        raise ValueError(f"predict must lie in (0, 1], got {predict}; it is a share of the tokens")
    return _Permuted(predict)


class _Permuted(nn.Module):
    def __init__(self, predict: float) -> None:
        super().__init__()
        self.predict = predict

    def forward(self, model: nn.Module, batch: Batch) -> Tensor | dict[str, Tensor]:
        tokens = batch["input"].long()
        rows, size = tokens.shape
        length = batch.get("length", torch.full((rows,), size, device=tokens.device))
        real = masks.padding(length, size)
        if "order" in batch:
            order = batch["order"].long()
        else:  # padding comes last, where nobody sees it
            draw = torch.rand(rows, size, device=tokens.device)
            order = draw.masked_fill(~real, 2).argsort(1)
        count = (self.predict * length).ceil().long()[:, None]
        rank = order.argsort(1)
        chosen = real & (rank >= length[:, None] - count)
        logits = ask(model, {**batch, "input": tokens, "order": order}).float()
        if not bool(chosen.any()):  # the mean of nothing
            return logits.sum() * 0
        loss = losses.cross_entropy(logits[chosen], tokens[chosen])
        if torch.is_grad_enabled():
            return loss
        right = (logits.argmax(-1) == tokens)[chosen].float().mean()
        return {"loss": loss, "accuracy": right}

    def __repr__(self) -> str:
        return f"permutation_language_model(predict={self.predict})"


def bidirectional_language_model() -> Objective:
    r"""How badly each word is guessed from those before it, and from those behind it.

    $$L = -\frac{1}{2} \Bigl(\frac{1}{n - 1} \sum_{k > 1} \log p(t_k \mid t_{<k}) +
      \frac{1}{n - 1} \sum_{k < n} \log p(t_k \mid t_{>k})\Bigr)$$

    Reads `input`, `length` where rows are padded, and `target`, the words' numbers, where `input`
    holds their characters. The model is one like `ELMo`, which answers for both directions.

    Source: Peters et al. (2018), Deep contextualized word representations, arXiv:1802.05365.
    """
    return _BothWays()


class _BothWays(nn.Module):
    def forward(self, model: nn.Module, batch: Batch) -> Tensor | dict[str, Tensor]:
        words = batch.get("target", batch["input"]).long()
        ahead, back = ask(model, batch).float()
        if "length" in batch:
            words = words.masked_fill(~masks.padding(batch["length"], words.shape[1]), -100)
        # A real word has a real one on its other side, but for the last of a padded row.
        following, before = words[:, 1:], words[:, :-1].masked_fill(words[:, 1:] == -100, -100)
        parts = [
            losses.cross_entropy(logits.flatten(0, 1), target.flatten())
            if bool((target != -100).any())
            else logits.sum() * 0
            for logits, target in ((ahead[:, :-1], following), (back[:, 1:], before))
        ]
        loss = (parts[0] + parts[1]) / 2
        return {"loss": loss, "forward": parts[0], "backward": parts[1]}

    def __repr__(self) -> str:
        return "bidirectional_language_model()"
