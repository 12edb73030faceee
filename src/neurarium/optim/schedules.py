"""Schedules: functions `(step, total) -> multiplier` of the learning rate, once per step."""

import math
from collections.abc import Callable

__all__ = ["constant", "cosine", "linear", "one_cycle", "step_decay", "warmup"]

Schedule = Callable[[int, int], float]
"""Multiplier of the base learning rate at `step` (counted from 0) of `total` steps."""


def constant(step: int, total: int) -> float:
    r"""The base learning rate throughout.

    $$\eta_t = \eta$$

    Source: Robbins & Monro (1951), A stochastic approximation method, Ann. Math. Statist. 22(3).
    """
    return 1.0


def linear(step: int, total: int, final: float = 0.0) -> float:
    r"""A straight line from the base learning rate to `final` times it.

    $$\eta_t = \eta\,\bigl(1 + (\text{final} - 1)\, t/T\bigr)$$

    Source: Goodfellow et al. (2016), Deep Learning, section 8.3.1, equation 8.14.
    """
    return 1 + (final - 1) * min(step / max(total, 1), 1)


def cosine(step: int, total: int, final: float = 0.0) -> float:
    r"""Half a cosine from the base learning rate to `final` times it, without restarts.

    $$\eta_t = \eta\,\Bigl(\text{final} + \tfrac{1 - \text{final}}{2}
      \bigl(1 + \cos(\pi t / T)\bigr)\Bigr)$$

    Source: Loshchilov & Hutter (2017), SGDR: Stochastic gradient descent with warm restarts,
    arXiv:1608.03983.
    """
    return final + (1 - final) * _half_cosine(min(step / max(total, 1), 1))


def one_cycle(
    step: int,
    total: int,
    warm: float = 0.3,
    div_factor: float = 25.0,
    final_div_factor: float = 1e4,
) -> float:
    r"""Up from a low rate to the base rate, then down to almost nothing, each by a half cosine.

    $$\eta_t = \eta \begin{cases}
      \frac{1}{d} + \bigl(1 - \frac{1}{d}\bigr)\, c(1 - t/t_w) & t \le t_w \\
      \frac{1}{d f} + \bigl(1 - \frac{1}{d f}\bigr)\, c\bigl((t - t_w)/(T - 1 - t_w)\bigr) & t > t_w
      \end{cases} \qquad c(u) = \tfrac{1 + \cos \pi u}{2},\; t_w = w T - 1$$

    Equal to torch's `OneCycleLR` with `max_lr` = the base rate.

    Args:
        warm: share $w$ of the steps that go up.
        div_factor: $d$, the base rate over the first one.
        final_div_factor: $f$, the first rate over the last one.

    Source: Smith & Topin (2018), Super-convergence: very fast training of neural networks using
    large learning rates, arXiv:1708.07120.
    """
    top = warm * total - 1
    low, end = 1 / div_factor, 1 / (div_factor * final_div_factor)
    if step <= top and top > 0:
        return low + (1 - low) * _half_cosine(1 - step / top)
    return end + (1 - end) * _half_cosine(min((step - top) / max(total - 1 - top, 1e-9), 1))


def step_decay(step: int, total: int, factor: float = 0.1, pieces: int = 3) -> float:
    r"""Piecewise constant: `pieces` equal stretches, each `factor` times the one before.

    $$\eta_t = \eta\, \gamma^{\lfloor p\, t / T \rfloor}$$

    Source: He et al. (2016), Deep residual learning for image recognition, arXiv:1512.03385.
    """
    return factor ** min(pieces * step // max(total, 1), pieces - 1)


def warmup(step: int, total: int, steps: int = 100, then: Schedule = constant) -> float:
    r"""A straight line from near zero to the base rate over `steps`, then another schedule.

    $$\eta_t = \eta\,\min\bigl(1, (t + 1)/w\bigr) \cdot s(\max(t - w, 0), T - w)$$

    Source: Goyal et al. (2017), Accurate, large minibatch SGD: training ImageNet in 1 hour,
    arXiv:1706.02677.
    """
    return min(1.0, (step + 1) / steps) * then(max(step - steps, 0), max(total - steps, 1))


def _half_cosine(u: float) -> float:
    """From 1 at 0 to 0 at 1."""
    return (1 + math.cos(math.pi * u)) / 2
