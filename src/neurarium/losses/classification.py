"""Losses for class targets: cross-entropy and its relatives, and the hinges."""

from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from neurarium.losses._common import Reduction, _check_classes, _check_same_shape, _reduce

__all__ = [
    "binary_cross_entropy",
    "cross_entropy",
    "focal",
    "hinge",
    "multiclass_hinge",
    "nll",
    "squared_hinge",
]


def cross_entropy(
    logits: Float[Tensor, "..."],
    target: Int[Tensor, "..."] | Float[Tensor, "..."],
    weight: Float[Tensor, " classes"] | None = None,
    label_smoothing: float = 0.0,
    ignore_index: int = -100,
    reduction: Reduction = "mean",
) -> Float[Tensor, "..."]:
    r"""Cross-entropy of softmax(logits), classes on axis 1, with class numbers or soft targets.

    $$H(d, p) = -\sum_i d_i \log p_i, \qquad p = \operatorname{softmax}(z), \qquad
      \frac{\partial H}{\partial z} = p - d$$

    Args:
        target: class numbers without the class axis, or probabilities in the shape of `logits`.
        weight: one factor per class. For class numbers the mean is then the weighted mean.
        label_smoothing: the share $\varepsilon$ of the target spread evenly over all classes.
        ignore_index: class number that counts for nothing; among soft targets a row of zeros.

    Source: Good (1952), Rational decisions, JRSS B 14(1); label smoothing: Szegedy et al. (2016),
    Rethinking the Inception Architecture, arXiv:1512.00567.
    """
    if target.is_floating_point():
        _check_same_shape(logits, target)
        loss = F.cross_entropy(
            logits, target, weight=weight, label_smoothing=label_smoothing, reduction="none"
        )
        return _mean_of_real_rows(loss, target.sum(1) > 0, reduction)
    _check_classes(logits, target)
    return F.cross_entropy(
        logits,
        target,
        weight=weight,
        label_smoothing=label_smoothing,
        ignore_index=ignore_index,
        reduction=reduction,
    )


def _mean_of_real_rows(loss: Tensor, real: Tensor, reduction: Reduction) -> Tensor:
    # Smoothing gives even a row of zeros a loss, and torch's mean would count the row.
    loss = torch.where(real, loss, 0)
    return loss.sum() / real.sum() if reduction == "mean" else _reduce(loss, reduction)


def nll(
    log_probabilities: Float[Tensor, "n classes *rest"],
    target: Int[Tensor, " n *rest"],
    weight: Float[Tensor, " classes"] | None = None,
    ignore_index: int = -100,
    reduction: Reduction = "mean",
) -> Float[Tensor, "..."]:
    r"""Negative log-likelihood, for models that end in log-probabilities themselves.

    $$L = -\log p_\text{model}(d)$$

    Of logits take `cross_entropy`, which is this of their log-softmax.

    Source: Fisher (1922), On the mathematical foundations of theoretical statistics, Phil. Trans.
    R. Soc. A 222.
    """
    _check_classes(log_probabilities, target)
    return F.nll_loss(
        log_probabilities, target, weight=weight, ignore_index=ignore_index, reduction=reduction
    )


def binary_cross_entropy(
    logits: Float[Tensor, "*shape"],
    target: Float[Tensor, "*shape"],
    pos_weight: Float[Tensor, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Tensor, "..."]:
    r"""Cross-entropy of independent yes-or-no answers, from logits; the multilabel loss.

    $$L = -w\,d \log \sigma(z) - (1 - d) \log (1 - \sigma(z))$$

    Args:
        pos_weight: factor $w$ of the positive answers, one or one per label.

    Source: Good (1952), Rational decisions, JRSS B 14(1).
    """
    _check_same_shape(logits, target)
    return F.binary_cross_entropy_with_logits(
        logits, target, pos_weight=pos_weight, reduction=reduction
    )


def focal(
    logits: Float[Tensor, "n classes *rest"],
    target: Int[Tensor, " n *rest"],
    gamma: float = 2.0,
    alpha: Float[Tensor, " classes"] | None = None,
    reduction: Reduction = "mean",
) -> Float[Tensor, "..."]:
    r"""Cross-entropy that turns away from examples already classified well.

    $$L = -\alpha_t\, (1 - p_t)^\gamma \log p_t, \qquad p_t = \operatorname{softmax}(z)_t$$

    Args:
        gamma: how fast easy examples are forgotten; 0 is cross-entropy.
        alpha: one factor per class; the paper's detection setting is 0.25 for the positive class
            and 0.75 for the negative one.

    Source: Lin et al. (2017), Focal Loss for Dense Object Detection, arXiv:1708.02002.
    """
    _check_classes(logits, target)
    index = target.unsqueeze(1)
    log_p = F.log_softmax(logits, dim=1)
    # log(1 - p_t) from the other logits: 1 - exp(log p_t) loses every digit, and its power
    # the gradient, once p_t is near 1.
    log_others = log_p.scatter(1, index, -torch.inf).logsumexp(1)
    loss = -(gamma * log_others).exp() * log_p.gather(1, index).squeeze(1)
    return _reduce(loss if alpha is None else alpha[target] * loss, reduction)


def hinge(
    score: Float[Tensor, "*shape"],
    target: Float[Tensor, "*shape"] | Int[Tensor, "*shape"],
    reduction: Reduction = "mean",
) -> Float[Tensor, "..."]:
    r"""Zero once the score is on the right side by 1; linear before.

    $$L = \max(0,\; 1 - t\,s), \qquad t = \pm 1$$

    Raises:
        ValueError: if the shapes differ or a target is not -1 or 1.

    Source: Cortes & Vapnik (1995), Support-vector networks, Machine Learning 20(3).
    """
    return _reduce(_margin_violation(score, target), reduction)


def squared_hinge(
    score: Float[Tensor, "*shape"],
    target: Float[Tensor, "*shape"] | Int[Tensor, "*shape"],
    reduction: Reduction = "mean",
) -> Float[Tensor, "..."]:
    r"""The hinge squared: smooth where the margin is reached, harder on gross mistakes.

    $$L = \max(0,\; 1 - t\,s)^2, \qquad t = \pm 1$$

    Raises:
        ValueError: if the shapes differ or a target is not -1 or 1.

    Source: Cortes & Vapnik (1995), Support-vector networks, Machine Learning 20(3); Tang (2013),
    Deep Learning using Linear Support Vector Machines, arXiv:1306.0239.
    """
    return _reduce(_margin_violation(score, target).square(), reduction)


def _margin_violation(score: Tensor, target: Tensor) -> Tensor:
    _check_same_shape(score, target)
    if not ((target == 1) | (target == -1)).all():
        raise ValueError(
            f"target must hold -1 and 1 only, got {target.unique().tolist()[:5]}; "
            "2 * target - 1 turns 0 and 1 into them"
        )
    return F.relu(1 - target * score)


def multiclass_hinge(
    scores: Float[Tensor, "n classes"],
    target: Int[Tensor, " n"],
    kind: Literal["crammer-singer", "weston-watkins"] = "crammer-singer",
    reduction: Reduction = "mean",
) -> Float[Tensor, "..."]:
    r"""Hinge over classes: the true class must lead the best rival (or every rival) by 1.

    $$L_\text{CS} = \max_{j \ne y} \max(0,\; 1 + s_j - s_y), \qquad
      L_\text{WW} = \sum_{j \ne y} \max(0,\; 1 + s_j - s_y)$$

    Args:
        kind: `torch.nn.functional.multi_margin_loss` is the Weston-Watkins form divided by the
            number of classes; ours is not divided, as in the paper.

    Source: Crammer & Singer (2001), On the algorithmic implementation of multiclass kernel-based
    vector machines, JMLR 2; Weston & Watkins (1999), Support vector machines for multi-class
    pattern recognition, ESANN.
    """
    _check_classes(scores, target)
    if kind not in ("crammer-singer", "weston-watkins"):
        raise ValueError(f"kind must be 'crammer-singer' or 'weston-watkins', got {kind!r}")
    index = target.unsqueeze(1)
    violation = F.relu(1 + scores - scores.gather(1, index)).scatter(1, index, 0)
    loss = violation.amax(1) if kind == "crammer-singer" else violation.sum(1)
    return _reduce(loss, reduction)
