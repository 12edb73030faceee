"""Prechelt's criteria: whether to stop, from the errors of all epochs so far."""

import itertools
from collections.abc import Sequence

__all__ = ["GL", "PQ", "UP"]

Errors = Sequence[float]


class GL:
    r"""Generalization loss: stop once the error is `alpha` percent above its least.

    $$GL(t) = 100 \Bigl(\frac{E_\text{va}(t)}{E_\text{opt}(t)} - 1\Bigr) > \alpha$$

    Source: Prechelt (1998), Early stopping - but when?, in: Neural Networks: Tricks of the Trade.
    """

    def __init__(self, alpha: float = 5.0) -> None:
        self.alpha = alpha

    def __call__(self, val: Errors, train: Errors) -> bool:
        return generalization_loss(val) > self.alpha


class PQ:
    r"""Loss over progress: let the error rise as long as the training error falls fast.

    $$\frac{GL(t)}{P_k(t)} > \alpha, \qquad P_k(t) = 1000 \Bigl(
      \frac{\sum_{i=t-k+1}^t E_\text{tr}(i)}{k \min_{i=t-k+1}^t E_\text{tr}(i)} - 1\Bigr)$$

    Judged at the end of each strip of $k$ epochs.

    Source: Prechelt (1998), Early stopping - but when?, in: Neural Networks: Tricks of the Trade.
    """

    def __init__(self, alpha: float = 0.5, strip: int = 5) -> None:
        self.alpha, self.strip = alpha, strip

    def __call__(self, val: Errors, train: Errors) -> bool:
        if len(val) % self.strip:
            return False
        last = train[-self.strip :]
        progress = 1000 * (sum(last) / (self.strip * min(last)) - 1)
        return generalization_loss(val) > self.alpha * progress


class UP:
    r"""Stop once the error has risen in `successive` strips of $k$ epochs, however little.

    $$E_\text{va}(t - ik) > E_\text{va}(t - (i + 1)k), \qquad i = 0, \dots, s - 1$$

    Judged at the end of each strip.

    Source: Prechelt (1998), Early stopping - but when?, in: Neural Networks: Tricks of the Trade.
    """

    def __init__(self, successive: int = 3, strip: int = 5) -> None:
        self.successive, self.strip = successive, strip

    def __call__(self, val: Errors, train: Errors) -> bool:
        ends = val[self.strip - 1 :: self.strip][-self.successive - 1 :]
        if len(val) % self.strip or len(ends) <= self.successive:
            return False
        return all(later > earlier for earlier, later in itertools.pairwise(ends))


def generalization_loss(val: Errors) -> float:
    """By how many percent the last error is above the least one so far."""
    return 100 * (val[-1] / min(val) - 1)
