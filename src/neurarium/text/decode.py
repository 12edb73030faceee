"""From a model of the next token to a text: greedy, sampled, or searched by beam.

All take a `step(tokens, state) -> (logits, state)`, such as `GPT.step` or `Transformer.step`, whose
state is made of tensors with the batch first.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.utils import _pytree

__all__ = [
    "Hypothesis",
    "beam",
    "coverage_penalty",
    "greedy",
    "keep_likely",
    "length_penalty",
    "sample",
    "step_of",
]

Step = Callable[[Tensor, Any], tuple[Tensor, Any]]
Tokens = Int[Tensor, "batch tokens"]


@torch.no_grad()
def greedy(
    step: Step, tokens: Tokens, steps: int, end: int | None = None, state: Any = None
) -> Int[Tensor, "batch _"]:
    r"""Always the likeliest next token.

    $$y_t = \arg\max_v\, p(v \mid y_{<t})$$

    Args:
        tokens: how each text begins; at least one token.
        steps: number of tokens to add, fewer where all texts have ended.
        end: the token that ends a text; what follows it is filled up with it.
        state: what `step` needs beside, such as `Transformer.start(source)`.

    Returns:
        The added tokens.

    Source: Sutskever, Vinyals & Le (2014), Sequence to Sequence Learning with Neural Networks,
    arXiv:1409.3215 (a beam of 1).
    """
    return _extend(step, tokens, steps, end, state, lambda logits: logits.argmax(-1))


@torch.no_grad()
def sample(
    step: Step,
    tokens: Tokens,
    steps: int,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    end: int | None = None,
    state: Any = None,
    generator: torch.Generator | None = None,
) -> Int[Tensor, "batch _"]:
    r"""Draw each next token, sharpened by a temperature and without the unlikely ones.

    $$y_t \sim p_t^{1/T} / Z \quad \text{on the likeliest } k \text{ tokens, or the fewest whose
      probability is at least } p$$

    Args:
        tokens: how each text begins; at least one token.
        steps: number of tokens to add.
        temperature: 0 is greedy, 1 the model's own.
        top_k: number of tokens that are kept.
        top_p: probability that is kept, after the temperature.
        end: the token that ends a text.
        state: what `step` needs beside.

    Source: Fan, Lewis & Dauphin (2018), Hierarchical Neural Story Generation, arXiv:1805.04833;
    Holtzman et al. (2020), The Curious Case of Neural Text Degeneration, arXiv:1904.09751.
    """
    if temperature < 0:
        raise ValueError(f"temperature must be at least 0 (which is greedy), got {temperature}")
    if temperature == 0:
        return greedy(step, tokens, steps, end, state)
    _check_kept(top_k, top_p)

    def draw(logits: Tensor) -> Tensor:
        likely = keep_likely(logits.float() / temperature, top_k, top_p)
        return torch.multinomial(likely.softmax(-1), 1, generator=generator).squeeze(-1)

    return _extend(step, tokens, steps, end, state, draw)


def keep_likely(
    logits: Float[Tensor, "*batch vocab"], top_k: int | None = None, top_p: float | None = None
) -> Float[Tensor, "*batch vocab"]:
    r"""The same logits, minus infinity beyond the `top_k` likeliest and the nucleus `top_p`.

    $$V_p = \operatorname*{argmin}_{V} |V| \quad \text{with} \quad
      \textstyle\sum_{v \in V} p(v) \ge p$$

    Source: Holtzman et al. (2020), arXiv:1904.09751.
    """
    if top_k is not None and top_k < logits.shape[-1]:
        least = logits.topk(top_k, -1).values[..., -1:]
        logits = logits.masked_fill(logits < least, -math.inf)
    if top_p is not None and top_p < 1:
        ranked, order = logits.sort(-1, descending=True)
        before = ranked.softmax(-1).cumsum(-1) - ranked.softmax(-1)
        beyond = (before >= top_p).scatter(-1, order, before >= top_p)
        logits = logits.masked_fill(beyond, -math.inf)
    return logits


def step_of(model: nn.Module) -> Step:
    """What continues a text with this model: its `step`, or a recurrent network's `unroll`."""
    known: Any = model
    if hasattr(model, "step"):
        return known.step
    if hasattr(model, "unroll"):
        return lambda tokens, state: known.unroll(tokens, state=state)
    raise ValueError(
        f"{type(model).__name__} cannot write a text: it has no step(tokens, state); train GPT or "
        "LanguageModel"
    )


def _check_kept(top_k: int | None, top_p: float | None) -> None:
    if top_k is not None and top_k < 1:
        raise ValueError(f"top_k must be at least 1, got {top_k}; it is the number of tokens kept")
    if top_p is not None and not 0 < top_p <= 1:
        raise ValueError(f"top_p must lie in (0, 1], got {top_p}; it is the probability kept")


def _extend(
    step: Step,
    tokens: Tensor,
    steps: int,
    end: int | None,
    state: Any,
    choose: Callable[[Tensor], Tensor],
) -> Tensor:
    _check_begun(tokens)
    added: list[Tensor] = []
    ended: Bool[Tensor, " batch"] = torch.zeros(len(tokens), dtype=torch.bool, device=tokens.device)
    for _ in range(steps):
        logits, state = step(tokens, state)
        following = choose(logits[:, -1])
        if end is not None:
            following = following.masked_fill(ended, end)
            ended = ended | (following == end)
        added.append(following)
        if end is not None and bool(ended.all()):
            break
        tokens = following[:, None]
    return torch.stack(added, 1) if added else tokens[:, :0]


def _check_begun(tokens: Tensor) -> None:
    if tokens.shape[1] == 0:
        raise ValueError(
            "tokens must hold at least one token to begin with, got none; begin with a start or "
            "end-of-line token"
        )


# Beam search -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Hypothesis:
    """A text that was found: its added tokens, log-probability, and the score it is ranked by."""

    tokens: list[int]
    log_probability: float
    score: float


@torch.no_grad()
def beam(
    step: Step,
    tokens: Tokens,
    steps: int,
    width: int = 4,
    alpha: float = 0.0,
    end: int | None = None,
    state: Any = None,
) -> list[list[Hypothesis]]:
    r"""Keep the `width` likeliest beginnings at each length; rank by probability and length.

    $$s(Y) = \frac{\log P(Y)}{lp(Y)}, \qquad lp(Y) = \Bigl(\frac{5 + |Y|}{6}\Bigr)^{\alpha}$$

    Args:
        tokens: how each text begins.
        steps: the largest number of tokens to add.
        alpha: 0 ranks by probability, which favours short texts; 0.6 to 1 are usual. (In Hugging
            Face's `length_penalty` the divisor is another one, $|Y|^p$.)
        end: the token that ends a text.
        state: what `step` needs beside.

    Returns:
        For each of the batch the best hypotheses, at most `width`, the best first.

    Source: Wu et al. (2016), Google's Neural Machine Translation System, arXiv:1609.08144.
    """
    _check_begun(tokens)
    if width < 1:
        raise ValueError(f"width must be at least 1, got {width}; it is the number of beginnings")
    logits, state = step(tokens, state)
    batch, vocab = len(tokens), logits.shape[-1]
    # One hypothesis to begin with: the others are so unlikely that none of theirs is chosen.
    totals = torch.full((batch, width), -math.inf, dtype=torch.float64, device=tokens.device)
    totals[:, 0] = 0
    rows = torch.arange(batch, device=tokens.device).repeat_interleave(width)
    state, logits = _pick(state, rows, batch), logits[:, -1][rows]
    texts = tokens.new_zeros(batch, width, 0)
    found: list[list[Hypothesis]] = [[] for _ in range(batch)]
    for length in range(1, steps + 1):
        following = logits.double().log_softmax(-1).view(batch, width, vocab)
        scores = (totals[..., None] + following).flatten(1)
        # An ended text leaves the beam, so twice as many must be looked at to keep it full.
        best, place = scores.topk(min(2 * width, width * vocab), -1)
        source, token = place // vocab, place % vocab
        chosen = torch.cat([texts.gather(1, _like(source, texts)), token[..., None]], -1)
        over = torch.zeros_like(best, dtype=torch.bool) if end is None else token == end
        for i, j in (over & best.isfinite()).nonzero().tolist():
            if j < width:
                found[i].append(_hypothesis(chosen[i, j], best[i, j], length, alpha))
        order = (best.masked_fill(over, -math.inf)).topk(width, -1)
        totals, keep = order.values, order.indices
        texts = chosen.gather(1, _like(keep, chosen))
        if length == steps or _settled(found, totals, width, steps, alpha):
            break
        source = source.gather(1, keep) + torch.arange(batch, device=place.device)[:, None] * width
        state = _pick(state, source.flatten(), batch * width)
        logits, state = step(texts[..., -1].reshape(-1, 1), state)
        logits = logits[:, -1]
    for i, hypotheses in enumerate(found):
        for j in range(width):
            if totals[i, j].isfinite() and (end is None or len(hypotheses) < width):
                hypotheses.append(_hypothesis(texts[i, j], totals[i, j], texts.shape[-1], alpha))
    return [sorted(h, key=lambda h: -h.score)[:width] for h in found]


def length_penalty(length: int, alpha: float) -> float:
    r"""What a hypothesis's log-probability is divided by; 1 for one token.

    $$lp(Y) = \Bigl(\frac{5 + |Y|}{6}\Bigr)^{\alpha}$$

    Source: Wu et al. (2016), arXiv:1609.08144, equation 14.
    """
    return ((5 + length) / 6) ** alpha


def coverage_penalty(
    attention: Float[Tensor, "*batch target source"], beta: float
) -> Float[Tensor, "*batch"]:
    r"""What is added to the score of a translation that leaves parts of the source unread.

    $$cp = \beta \sum_i \log \min\Bigl(\sum_j p_{ij},\, 1\Bigr)$$

    Args:
        attention: weights of each target token over the source, $p_{ij}$ for source place $i$.

    Source: Wu et al. (2016), arXiv:1609.08144, equation 14.
    """
    return beta * attention.sum(-2).clamp(max=1).log().sum(-1)


def _hypothesis(tokens: Tensor, total: Tensor, length: int, alpha: float) -> Hypothesis:
    log_probability = float(total)
    score = log_probability / length_penalty(length, alpha)
    return Hypothesis(tokens.tolist(), log_probability, score)


def _settled(
    found: list[list[Hypothesis]], totals: Tensor, width: int, steps: int, alpha: float
) -> bool:
    """Whether no text that goes on can still be among the best."""
    # A log-probability only falls; the divisor is largest at the greatest length (alpha > 0).
    largest = max(length_penalty(steps, alpha), 1.0)
    for hypotheses, total in zip(found, totals, strict=True):
        if len(hypotheses) < width:
            return False
        worst = sorted((h.score for h in hypotheses), reverse=True)[width - 1]
        if float(total.max()) / largest > worst:
            return False
    return True


def _like(index: Tensor, texts: Tensor) -> Tensor:
    return index[..., None].expand(*index.shape, texts.shape[-1])


def _pick(state: Any, rows: Tensor, batch: int) -> Any:
    """The state of these rows of the batch."""
    return _pytree.tree_map_only(
        Tensor, lambda t: t.index_select(0, rows) if t.ndim and len(t) == batch else t, state
    )
