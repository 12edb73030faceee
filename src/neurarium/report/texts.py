"""Sections on texts: the rows that were most wrong, and the words that told."""

from collections import defaultdict

import numpy as np
import torch
from torch import Tensor

from neurarium.data import FreeTextPreprocessing, Resident
from neurarium.report.facts import Facts, SplitFacts
from neurarium.report.page import Html, element, join, paragraph, percent, section, table

__all__ = ["of_texts"]

_ROWS, _WORDS, _ASKED, _LEAST = 8, 12, 400, 4
_MOST_SHOWN = 60  # words of a text


def of_texts(facts: Facts) -> list[Html | None] | None:
    """What a reader of texts looks for, in place of columns; None where rows are no texts."""
    main, fitted = facts.main, facts.run.preprocessing
    if main is None or not isinstance(fitted, FreeTextPreprocessing):
        return None
    split = getattr(facts.data, main.name)
    assert isinstance(split, Resident)
    return [_worst(facts, main, split, fitted), _telling(facts, main, split, fitted)]


@torch.no_grad()
def left_out(facts: Facts, split: Resident, row: int) -> tuple[Tensor, Tensor]:
    """The answer to a text, and to it without each of its words in turn."""
    n = int(split.tensors["length"][row])
    words = split.tensors["input"][row, :n]
    kept = ~torch.eye(n, dtype=torch.bool)
    shorter = words.expand(n, n)[kept].view(n, n - 1) if n > 1 else words.new_zeros(n, 1)
    model = facts.run.model.eval()
    device = next(model.parameters()).device
    whole = model(words[None].to(device), torch.tensor([n], device=device)).float().cpu()
    length = torch.full((n,), n - 1, device=device)
    return whole[0], model(shorter.to(device), length).float().cpu()


def _shares(output: Tensor, task: str | None) -> Tensor:
    """Log-probabilities, whose differences say what a word tells; of a regression the answer."""
    return output if task in ("regression", "multilabel") else output.log_softmax(-1)


def _worst(
    facts: Facts, main: SplitFacts, split: Resident, fitted: FreeTextPreprocessing
) -> Html | None:
    losses = facts.row_losses(main.output, main.target).numpy()
    worst = np.argsort(-losses, kind="stable")[:_ROWS]
    classes = facts.task in ("binary", "multiclass")
    title = "Most confidently wrong" if classes else "Largest errors"
    if classes:
        wrong = worst[main.predicted[worst] != main.target[worst]]
        title, worst = (title, wrong) if len(wrong) else ("Least sure of the right answer", worst)
    rows = []
    for row in map(int, worst):
        n = int(split.tensors["length"][row])
        marked: Html | str = fitted.words.decode(split.tensors["input"][row, :n].tolist())
        if classes and 0 < n <= _MOST_SHOWN:
            marked = _marked(facts, main, split, fitted, row)
        rows.append([main.row_name(row), *_answers(facts, main, row), marked])
    explained = (
        "Words as the network reads them; � is one that was rare in training. The more a word "
        "speaks for the predicted class, against all others, the stronger its mark."
    )
    return section(
        title,
        paragraph(explained, class_="soft"),
        table(
            f"{main.name.capitalize()} rows with the largest loss",
            ["row", "true", "predicted", f"'{fitted.column}'"],
            rows,
        ),
    )


def _answers(facts: Facts, main: SplitFacts, row: int) -> list[str]:
    if facts.task not in ("binary", "multiclass"):
        return [", ".join(f"{v:.4g}" for v in np.ravel(values[row])[:5])
                for values in (main.target, main.predicted)]  # fmt: skip
    p = main.probabilities[row]
    return [f"{facts.classes[c]} ({percent(p[c])})"
            for c in (int(main.target[row]), int(main.predicted[row]))]  # fmt: skip


def _marked(
    facts: Facts, main: SplitFacts, split: Resident, fitted: FreeTextPreprocessing, row: int
) -> Html:
    """The text, each word marked by what the predicted class loses without it."""
    whole, without = left_out(facts, split, row)
    c = int(main.predicted[row])
    gain = _shares(whole, facts.task)[c] - _shares(without, facts.task)[:, c]
    strength = (gain.clamp(min=0) / gain.max().clamp(min=1e-6)).tolist()
    tokens = split.tensors["input"][row, : len(gain)].tolist()
    found: list[object] = []
    for token, share in zip(tokens, strength, strict=True):
        word = fitted.words.decode([token])
        style = f"background: rgb(217 127 39 / {0.75 * share:.2f}); color: inherit"
        found += [element("mark", word, style=style) if share > 0.05 else word, " "]
    return join(*found)


def _telling(
    facts: Facts, main: SplitFacts, split: Resident, fitted: FreeTextPreprocessing
) -> Html | None:
    """For each class the words without which its share falls most, over many texts."""
    if facts.task not in ("binary", "multiclass") or len(facts.classes) > 12:
        return None
    rows = np.random.default_rng(0).permutation(len(main))[:_ASKED]
    gains: dict[int, list[Tensor]] = defaultdict(list)
    for row in map(int, rows):
        n = int(split.tensors["length"][row])
        if not 0 < n <= _MOST_SHOWN:
            continue
        whole, without = left_out(facts, split, row)
        told = _shares(whole, facts.task) - _shares(without, facts.task)
        for token, gain in zip(split.tensors["input"][row, :n].tolist(), told, strict=True):
            gains[token].append(gain)
    often = {t: torch.stack(g) for t, g in gains.items() if len(g) >= _LEAST and t}
    if not often:
        return None
    means = torch.stack([g.mean(0) for g in often.values()])
    tokens, lines = list(often), []
    for c, name in enumerate(facts.classes):
        order = means[:, c].argsort(descending=True)[:_WORDS].tolist()
        words = [
            f"{fitted.words.decode([tokens[i]])} ({means[i, c]:+.2f})".replace("-", "−")
            for i in order
            if means[i, c] > 0
        ]
        lines.append([name, ", ".join(words) or "none"])
    explained = (
        f"Rise of a class's log-probability by a word, mean over its places in {len(rows):,} "
        f"{main.name} rows, for words that occur at least {_LEAST} times there."
    )
    return section(
        "Words that told",
        paragraph(explained),
        table("The most telling first", ["class", "words"], lines),
    )
