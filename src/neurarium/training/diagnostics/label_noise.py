"""Labels that the network, sure of itself on rows it never saw, contradicts."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

__all__ = ["confident_joint", "suspicious_labels"]


def confident_joint(
    probabilities: Float[Tensor, "rows classes"], labels: Int[Tensor, " rows"]
) -> Int[Tensor, "classes classes"]:
    r"""Count rows labelled i that are confidently of class j.

    $$C_{ij} = \Bigl\lvert\bigl\{n : y_n = i,\; j = \arg\max_{k:\, p_{nk} \ge t_k} p_{nk}
      \bigr\}\Bigr\rvert, \qquad t_k = \frac{1}{\lvert\{n : y_n = k\}\rvert} \sum_{n : y_n = k}
      p_{nk}$$

    A row that reaches no class's threshold is not counted. The share off the diagonal estimates
    the share of wrong labels.

    Args:
        probabilities: of each class, by a network that was not trained on these rows.

    Source: Northcutt, Jiang & Chuang (2021), Confident learning: estimating uncertainty in
    dataset labels, Journal of Artificial Intelligence Research 70, arXiv:1911.00068.
    """
    classes = probabilities.shape[1]
    confident = _confident_class(probabilities, labels)
    counted = confident >= 0
    pairs = labels[counted] * classes + confident[counted]
    return torch.bincount(pairs, minlength=classes**2).reshape(classes, classes)


def suspicious_labels(
    probabilities: Float[Tensor, "rows classes"], labels: Int[Tensor, " rows"]
) -> Int[Tensor, " suspicious"]:
    r"""Rows that are confidently of another class than their label says, the surest first.

    $$\{n : j_n \ne y_n\}, \qquad j_n = \arg\max_{k:\, p_{nk} \ge t_k} p_{nk}, \qquad
      \text{by } p_{n y_n} - p_{n j_n}$$

    Source: Northcutt, Jiang & Chuang (2021), Confident learning: estimating uncertainty in
    dataset labels, Journal of Artificial Intelligence Research 70, arXiv:1911.00068.
    """
    confident = _confident_class(probabilities, labels)
    rows = ((confident >= 0) & (confident != labels)).nonzero().flatten()
    own = probabilities[rows, labels[rows]]
    return rows[(own - probabilities[rows, confident[rows]]).argsort(stable=True)]


def _confident_class(probabilities: Tensor, labels: Tensor) -> Tensor:
    """The class of each row's largest probability above its class's threshold; -1 without one."""
    classes = probabilities.shape[1]
    totals = torch.zeros(classes, dtype=probabilities.dtype)
    totals.index_add_(0, labels, probabilities.gather(1, labels[:, None])[:, 0])
    counts = torch.bincount(labels, minlength=classes)
    thresholds = torch.where(counts > 0, totals / counts.clamp(min=1), torch.inf)
    reached = torch.where(probabilities >= thresholds, probabilities, -1.0)
    best = reached.max(1)
    return torch.where(best.values >= 0, best.indices, -1)
