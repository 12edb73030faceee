"""Reading labels out of a network trained by `losses.ctc`: the best path, or the best labels."""

import math
from collections import defaultdict

import torch
from jaxtyping import Float, Int
from torch import Tensor

__all__ = ["best_path", "collapse", "prefix_beam"]

Logits = Float[Tensor, "batch steps classes"]
Length = Int[Tensor, " batch"] | None


def collapse(path: list[int], blank: int = 0) -> list[int]:
    r"""The labels that a path spells: repetitions taken away, then blanks.

    $$B(a\, a\, \_\, a\, b\, b) = (a, a, b)$$

    Source: Graves, Fernández, Gomez & Schmidhuber (2006), Connectionist temporal classification,
    ICML.
    """
    changes = [c for i, c in enumerate(path) if not i or c != path[i - 1]]
    return [label for label in changes if label != blank]


@torch.no_grad()
def best_path(logits: Logits, length: Length = None, blank: int = 0) -> list[list[int]]:
    r"""The labels of the likeliest path, which are not always the likeliest labels.

    $$\hat y = B(\arg\max_\pi p(\pi)), \qquad \pi_t = \arg\max_c p_t(c)$$

    Args:
        length: real steps of each row; all where not given.

    Source: Graves, Fernández, Gomez & Schmidhuber (2006), Connectionist temporal classification,
    ICML, section 3.2.
    """
    ends = [logits.shape[1]] * len(logits) if length is None else length.tolist()
    paths = logits.argmax(-1).tolist()
    return [collapse(path[:end], blank) for path, end in zip(paths, ends, strict=True)]


@torch.no_grad()
def prefix_beam(
    logits: Logits, width: int = 16, length: Length = None, blank: int = 0
) -> list[list[tuple[list[int], float]]]:
    r"""The likeliest labels, all the paths of a beginning being counted together.

    $$p(y) = \sum_{\pi \in B^{-1}(y)} p(\pi), \qquad
      p_t(\ell) = p_t(\ell, \text{ends in a blank}) + p_t(\ell, \text{ends in its last label})$$

    Args:
        width: how many beginnings are kept at each step; with all of them the result is exact.
        length: real steps of each row; all where not given.

    Returns:
        For each row the labels that were found with their log-probability, the best first.

    Source: Graves, Fernández, Gomez & Schmidhuber (2006), ICML (prefix search); by beam: Hannun,
    Maas, Jurafsky & Ng (2014), First-pass large vocabulary continuous speech recognition,
    arXiv:1408.2873.
    """
    if width < 1:
        raise ValueError(f"width must be at least 1, got {width}; it is the number of beginnings")
    ends = [logits.shape[1]] * len(logits) if length is None else length.tolist()
    every = logits.double().log_softmax(-1).tolist()
    return [_search(steps[:end], width, blank) for steps, end in zip(every, ends, strict=True)]


def _search(steps: list[list[float]], width: int, blank: int) -> list[tuple[list[int], float]]:
    # Of each beginning: log-probability of the paths that end in a blank, and in a label.
    beams: dict[tuple[int, ...], tuple[float, float]] = {(): (0.0, -math.inf)}
    for step in steps:
        grown: dict[tuple[int, ...], list[float]] = defaultdict(lambda: [-math.inf, -math.inf])
        for prefix, (in_blank, in_label) in beams.items():
            both = _add(in_blank, in_label)
            for label, p in enumerate(step):
                if label == blank:
                    grown[prefix][0] = _add(grown[prefix][0], both + p)
                    continue
                last = prefix[-1:] == (label,)
                if last:  # the label goes on; only after a blank it is said again
                    grown[prefix][1] = _add(grown[prefix][1], in_label + p)
                longer = grown[(*prefix, label)]
                longer[1] = _add(longer[1], (in_blank if last else both) + p)
        ranked = sorted(grown.items(), key=lambda item: -_add(*item[1]))[:width]
        beams = {prefix: (a, b) for prefix, (a, b) in ranked}
    found = [([*prefix], _add(*ends)) for prefix, ends in beams.items()]
    possible = [item for item in found if item[1] > -math.inf]
    return sorted(possible, key=lambda item: -item[1])


def _add(a: float, b: float) -> float:
    """log(e^a + e^b)."""
    top = max(a, b)
    return top if top == -math.inf else top + math.log(math.exp(a - top) + math.exp(b - top))
