"""Documents and words as one graph."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from neurarium.data.graph import Graph, csr

__all__ = ["text_graph"]


def text_graph(
    docs: Sequence[str], window: int = 20, min_count: int = 1
) -> tuple[Graph, list[str]]:
    r"""A graph of documents, then words, whose weights say how they belong together.

    $$A_{ij} = \begin{cases} \max(0, \ln \frac{p_{ij}}{p_i p_j}) & i, j \text{ words} \\
      \operatorname{tf}_{ij} \ln \frac{N}{\operatorname{df}_j} & i \text{ document},\, j
      \text{ word} \\ 1 & i = j \end{cases}$$

    p being shares of sliding windows. Each node is its own feature, and the diagonal is there
    already: use operator "sym". New documents need a new graph.

    Args:
        docs: words separated by blanks.
        window: words of a sliding window; a shorter document is one window.
        min_count: words met less often are left out.

    Returns:
        The graph, documents first in their order, and the words in theirs.

    Source: Yao, Mao & Luo (2019), Graph Convolutional Networks for Text Classification,
    arXiv:1809.05679.
    """
    from scipy.sparse import csr_matrix, diags_array, eye_array, triu

    split = [doc.split() for doc in docs]
    words, number = _vocabulary(split, min_count)
    numbered = [[number[word] for word in doc if word in number] for doc in split]
    windows = [
        sorted(set(doc[start : start + window]))
        for doc in numbered
        for start in range(max(1, len(doc) - window + 1))
    ]
    met = _incidence(windows, len(words))
    together = triu(met.T @ met, k=1).tocoo()
    share = np.asarray(met.sum(0)).ravel() / len(windows)
    with np.errstate(divide="ignore"):
        pmi = np.log(together.data / len(windows) / (share[together.row] * share[together.col]))
    keep = pmi > 0
    shape = (len(words), len(words))
    word_word = csr_matrix((pmi[keep], (together.row[keep], together.col[keep])), shape)
    counts = _counts(numbered, len(words))
    frequency = np.asarray((counts > 0).sum(0)).ravel()
    doc_word = counts @ diags_array(np.log(len(docs) / np.maximum(frequency, 1)))
    return _joined(doc_word, word_word, eye_array(len(docs) + len(words))), words


def _vocabulary(split: Sequence[Sequence[str]], min_count: int) -> tuple[list[str], dict[str, int]]:
    from collections import Counter

    count = Counter(word for doc in split for word in doc)
    words = sorted(word for word, times in count.items() if times >= min_count)
    if not words:
        raise ValueError(f"no word comes {min_count} times in these documents; lower min_count")
    return words, {word: i for i, word in enumerate(words)}


def _incidence(windows: Sequence[Sequence[int]], words: int) -> Any:
    from scipy.sparse import csr_matrix

    starts = np.cumsum([0, *map(len, windows)])
    columns = np.array([w for found in windows for w in found], dtype=np.int64)
    return csr_matrix((np.ones(len(columns)), columns, starts), (len(windows), words))


def _counts(numbered: Sequence[Sequence[int]], words: int) -> Any:
    found = _incidence(numbered, words)
    found.sum_duplicates()
    return found


def _joined(doc_word: Any, word_word: Any, loops: Any) -> Graph:
    docs, nodes = doc_word.shape[0], loops.shape[0]
    a, b = doc_word.tocoo(), word_word.tocoo()
    here = np.concatenate([a.row, b.row + docs])
    there = np.concatenate([a.col + docs, b.col + docs])
    weight = np.concatenate([a.data, b.data])
    known = weight != 0  # a word of every document has an idf of 0
    here, there, weight = here[known], there[known], weight[known]
    every = np.arange(nodes)
    edges = np.stack([np.concatenate([here, there, every]), np.concatenate([there, here, every])])
    values = np.concatenate([weight, weight, np.ones(nodes)]).astype(np.float32)
    numbers = torch.arange(nodes + 1)
    identity = csr(numbers, numbers[:-1], torch.ones(nodes), (nodes, nodes))
    return Graph(
        identity, torch.from_numpy(edges.astype(np.int64)), edge_weight=torch.from_numpy(values)
    )
