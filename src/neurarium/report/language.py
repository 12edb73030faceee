"""Sections on a language model: how surprised it is, what it writes, where it looks."""

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from neurarium.data import TextPreprocessing, Windows
from neurarium.layers.attention import recording
from neurarium.report import figures
from neurarium.report.examples import image
from neurarium.report.facts import Facts
from neurarium.report.overview import card
from neurarium.report.page import Html, element, join, number, paragraph, percent, section, table
from neurarium.text import decode
from neurarium.training import Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Language", "language_of", "sections"]

_ROWS, _PASSAGE, _PROMPT, _WRITTEN, _MAPPED = 512, 400, 60, 240, 48
_MOST_PAIRS = 5_000  # of so many tokens a table of pairs still fits


@dataclass
class Language:
    """A text's surprise under a model, and under counts of the training text.

    Attributes:
        surprise: nats of each token that was to come (rows, context).
    """

    run: Run
    name: str
    rows: Windows
    prepared: TextPreprocessing
    surprise: Tensor
    right: float

    @classmethod
    @torch.no_grad()
    def of(cls, run: Run, rows: Windows, name: str) -> "Language":
        """Ask the model for rows spread over the text."""
        assert isinstance(run.preprocessing, TextPreprocessing)
        some = torch.linspace(0, len(rows) - 1, min(len(rows), _ROWS)).long()
        tokens, target = (rows.tensors[key][some].long() for key in ("input", "target"))
        device = next(run.model.parameters()).device
        run.model.eval()
        found, hits = [], 0
        for part, after in zip(tokens.split(32), target.split(32), strict=True):
            logits = run.model(part.to(device)).float().cpu()
            log_p = logits.log_softmax(-1).gather(-1, after.unsqueeze(-1)).squeeze(-1)
            found.append(-log_p)
            hits += int((logits.argmax(-1) == after).sum())
        right = hits / target.numel()
        return cls(run, name, rows, run.preprocessing, torch.cat(found), right)

    @property
    def loss(self) -> float:
        """Nats of a token, the mean."""
        return float(self.surprise.mean())

    @property
    def interval(self) -> tuple[float, float]:
        """Of the mean over rows, 95 %."""
        each = self.surprise.mean(1)
        reach = 1.96 * float(each.std()) / len(each) ** 0.5 if len(each) > 1 else float("nan")
        return self.loss - reach, self.loss + reach

    @cached_property
    def baselines(self) -> dict[str, float]:
        """Nats of a token by counts of the training text: of tokens, and of pairs."""
        train = getattr(self.run.data, "train", None)
        if not isinstance(train, Windows):
            return {}
        vocab, seen, asked = self.prepared.vocab, train.tokens.long(), self.rows.tokens.long()
        single = torch.bincount(seen, minlength=vocab).double() + 1
        found = {"a token's frequency": float(-(single / single.sum()).log()[asked[1:]].mean())}
        if vocab <= _MOST_PAIRS:
            pair = seen[:-1] * vocab + seen[1:]
            counts = torch.bincount(pair, minlength=vocab**2).double() + 1
            log_p = (counts / counts.view(vocab, vocab).sum(1).repeat_interleave(vocab)).log()
            found["the token before"] = float(-log_p[asked[:-1] * vocab + asked[1:]].mean())
        return found


def language_of(facts: Facts) -> Language | None:
    """The model's surprise at the first split reported; None if it is no language model."""
    if facts.data is None or not isinstance(facts.run.preprocessing, TextPreprocessing):
        return None
    for name in ("test", "val"):
        rows = getattr(facts.data, name, None)
        if isinstance(rows, Windows) and len(rows):
            return Language.of(facts.run, rows, name)
    return None


def sections(facts: Facts, found: Language) -> list[Html | None]:
    """What stands in place of the figures of rows."""
    return [_headline(facts, found), _samples(found), _passage(found), _places(found), _maps(found)]


def _headline(facts: Facts, found: Language) -> Html:
    low, high = found.interval
    each = "character" if type(found.prepared.tokenizer).__name__ == "Characters" else "piece"
    cards = [
        card(
            f"{found.name.capitalize()} loss",
            number(found.loss),
            f"nats per {each}, 95 % interval {low:.3f} to {high:.3f}",
            "main",
        ),
        card("Perplexity", number(float(np.exp(found.loss))), f"as many choices per {each}"),
        card("Bits", number(found.loss / float(np.log(2))), f"per {each}"),
        card("Guessed right", percent(found.right), f"of the {each}s to come"),
    ]
    known = found.baselines
    words = "; ".join(f"by {name} it would be {value:.3f}" for name, value in known.items())
    below = bool(known) and high < min(known.values())
    judged = "The whole interval is better than counting. " if below else ""
    if known and low > min(known.values()):
        judged = "Counting does better: train it longer, or on more text. "
    return element(
        "header",
        element("h1", facts.title),
        paragraph(f"language model, {found.prepared.vocab:,} tokens", class_="soft"),
        element("div", *cards, class_="headline"),
        *([paragraph(f"{judged}Counted in the training text, {words}.")] if known else []),
    )


def _samples(found: Language) -> Html:
    """What the model writes behind a passage that it has not seen."""
    tokens, tokenizer = found.rows.tokens.long(), found.prepared.tokenizer
    prompt, after = tokens[:_PROMPT], tokens[_PROMPT : _PROMPT + _WRITTEN]
    begun = prompt[None].to(next(found.run.model.parameters()).device)
    rows: list[list[Any]] = []
    for temperature in (0.0, 0.5, 0.8, 1.0):
        step = decode.step_of(found.run.model)
        generator = torch.Generator().manual_seed(0)
        written = decode.sample(
            step, begun, _WRITTEN, temperature=temperature, generator=generator
        )[0]
        rows.append([f"{temperature:g}", _text(tokenizer.decode(written.tolist()))])
    rows.append(["as it is", _text(tokenizer.decode(after.tolist()))])
    return section(
        "What it writes",
        paragraph(f"Behind this beginning of the {found.name} text:"),
        element("blockquote", _text(tokenizer.decode(prompt.tolist()))),
        table("By temperature: 0 takes the likeliest token always", ["temperature", "text"], rows),
    )


def _text(words: str) -> Html:
    return element("span", words, style="white-space: pre-wrap; font-family: monospace")


def _passage(found: Language) -> Html:
    """A stretch of the text, each token the darker the less it was expected."""
    count = max(1, -(-_PASSAGE // found.prepared.context))
    # Rows are spread over the text; those that follow each other are asked anew.
    whole = Language.of(found.run, found.rows.head(min(count, len(found.rows))), found.name)
    nats = whole.surprise.flatten()[:_PASSAGE]
    tokens = whole.rows.tensors["target"].long().flatten()[: len(nats)].tolist()
    marks = []
    for token, cost in zip(tokens, (nats / 6).clamp(0, 1).tolist(), strict=True):
        style = f"background: rgb(217 127 39 / {0.85 * cost:.2f})"
        marks.append(element("span", found.prepared.tokenizer.decode([token]), style=style))
    body = element("p", join(*marks), style="white-space: pre-wrap; font-family: monospace")
    return section(
        "What surprises it",
        paragraph(
            f"The beginning of the {found.name} text; the darker a token, the less it was "
            "expected (full colour: 6 nats, one in 400)."
        ),
        body,
    )


def _places(found: Language) -> Html:
    """Surprise by how much of the text was seen."""
    means = found.surprise.mean(0).numpy()

    def plot(axes: "Axes") -> None:
        axes.plot(range(1, len(means) + 1), means, color=figures.BLUE, lw=1.5)
        for value in found.baselines.values():
            axes.axhline(value, color=figures.INK, lw=0.8, ls=(0, (4, 3)))
        axes.set_xlabel("tokens seen")
        axes.set_ylabel("nats of the next")

    alt = f"Surprise falls from {means[0]:.2f} nats after one token to {means[-1]:.2f} at the end"
    caption = "Nats of the next token by how many of the row were seen; dashed: by counts alone"
    drawn = figures.draw("surprise-by-place", alt, caption, plot)
    return section("What more context brings", element("div", drawn, class_="figures"))


@torch.no_grad()
def _maps(found: Language) -> Html | None:
    """Where each layer looks, its heads averaged, in one stretch of the text."""
    length = min(_MAPPED, found.prepared.context)
    tokens = found.rows.tokens[:length].long()[None]
    found.run.model.eval()
    with recording() as layers:
        found.run.model(tokens.to(next(found.run.model.parameters()).device))
    square = [w for w in layers if w.ndim == 4 and w.shape[-2:] == (length, length)]
    if not square:
        return None
    from matplotlib import colormaps

    drawn = []
    for number_, weights in enumerate(square):
        shares = weights[0].mean(0).float().cpu().numpy() ** 0.5
        picture = colormaps["inferno"](shares / max(shares.max(), 1e-12))[..., :3]
        said = f"Layer {number_ + 1}: the attention of {length} tokens, its heads averaged"
        large = np.kron(picture, np.ones((4, 4, 1)))
        drawn.append(element("figure", image(large, said), element("figcaption", said)))
    return section(
        "Where it looks",
        paragraph("Each row is a token, each column one before it; brighter is more attention."),
        element("div", *drawn, class_="pictures"),
    )
