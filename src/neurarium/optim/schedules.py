"""Schedules: functions `(step, total) -> multiplier` of the learning rate, once per step.

Two are of something else: `one_cycle_momentum` of the momentum, `batch_growth` of the batch size.
"""

import math
from collections.abc import Callable, Sequence

__all__ = [
    "batch_growth",
    "constant",
    "cosine",
    "exp_range",
    "linear",
    "noam",
    "one_cycle",
    "one_cycle_momentum",
    "polynomial",
    "sgdr",
    "slanted_triangular",
    "step_decay",
    "triangular",
    "triangular2",
    "warmup",
]

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


def one_cycle_momentum(
    step: int, total: int, warm: float = 0.3, high: float = 0.95, low: float = 0.85
) -> float:
    r"""The momentum of 1cycle: down while the rate goes up, and up again while it goes down.

    $$\mu_t = \begin{cases}
      \text{low} + (\text{high} - \text{low})\, c(t/t_w) & t \le t_w \\
      \text{high} - (\text{high} - \text{low})\, c\bigl((t - t_w)/(T - 1 - t_w)\bigr) & t > t_w
      \end{cases} \qquad c(u) = \tfrac{1 + \cos \pi u}{2},\; t_w = w T - 1$$

    The value itself, no multiplier: for `Backprop(momentum_schedule="one_cycle_momentum")`. Equal
    to what torch's `OneCycleLR` does with `cycle_momentum`.

    Args:
        warm: share $w$ of the steps in which the momentum falls; that of `one_cycle`.

    Source: Smith (2018), A disciplined approach to neural network hyper-parameters: part 1,
    arXiv:1803.09820.
    """
    top = warm * total - 1
    if step <= top and top > 0:
        return low + (high - low) * _half_cosine(step / top)
    return high - (high - low) * _half_cosine(min((step - top) / max(total - 1 - top, 1e-9), 1))


def noam(step: int, total: int, warmup: int = 4000, dim: int | None = None) -> float:
    r"""Up in a straight line, then down with the root of the steps: the Transformer's.

    $$\eta_t = d^{-1/2} \min\bigl(t^{-1/2},\; t\, w^{-3/2}\bigr), \qquad t = 1, 2, \dots$$

    Args:
        warmup: steps $w$ at whose end the rate is highest.
        dim: $d$; with it this is the paper's rate for a base rate of 1. Without it the peak is
            the base rate.

    Source: Vaswani et al. (2017), Attention Is All You Need, arXiv:1706.03762.
    """
    t = step + 1  # the paper's steps begin with 1; at 0 the root would be infinite
    scale = math.sqrt(warmup) if dim is None else dim**-0.5
    return scale * min(t**-0.5, t * warmup**-1.5)


def slanted_triangular(step: int, total: int, cut_frac: float = 0.1, ratio: float = 32.0) -> float:
    r"""Up quickly, down slowly: for fine-tuning a language model.

    $$\eta_t = \eta\, \frac{1 + p\,(\text{ratio} - 1)}{\text{ratio}}, \qquad
      p = \begin{cases} t / c & t < c \\ 1 - \frac{t - c}{c\,(1/\text{cut\_frac} - 1)}
      & \text{else} \end{cases}, \quad c = \lfloor T \cdot \text{cut\_frac} \rfloor$$

    Source: Howard & Ruder (2018), Universal Language Model Fine-tuning for Text Classification,
    arXiv:1801.06146.
    """
    cut = max(1, math.floor(total * cut_frac))
    p = step / cut if step < cut else 1 - (step - cut) / (cut * (1 / cut_frac - 1))
    return (1 + max(p, 0.0) * (ratio - 1)) / ratio


def triangular(step: int, total: int, cycles: float = 3, low: float = 0.1) -> float:
    r"""Up and down in straight lines between `low` times the base rate and the base rate.

    $$\eta_t = \eta\,\bigl(\text{low} + (1 - \text{low}) \max(0,\, 1 - |x|)\bigr), \qquad
      x = t/s - 2k + 1, \quad k = \lfloor 1 + t/(2s) \rfloor, \quad s = \tfrac{T}{2 \cdot
      \text{cycles}}$$

    Equal to torch's `CyclicLR` with `max_lr` = the base rate. The run ends at the end of a cycle.

    Args:
        cycles: number of triangles; the paper takes at least 3, of 4 to 20 epochs each.
        low: least multiplier; the paper finds it by a range test.

    Source: Smith (2017), Cyclical learning rates for training neural networks, arXiv:1506.01186.
    """
    return low + (1 - low) * _triangle(step, total, cycles)[0]


def triangular2(step: int, total: int, cycles: float = 3, low: float = 0.1) -> float:
    r"""Triangles each half as high as the one before.

    $$\eta_t = \eta\,\bigl(\text{low} + (1 - \text{low})\, 2^{1 - k} \max(0,\, 1 - |x|)\bigr)$$

    with `triangular`'s $x$ and number of the cycle $k$. Equal to torch's `CyclicLR` of that mode.

    Source: Smith (2017), Cyclical learning rates for training neural networks, arXiv:1506.01186.
    """
    height, cycle = _triangle(step, total, cycles)
    return low + (1 - low) * height / 2 ** (cycle - 1)


def exp_range(
    step: int, total: int, cycles: float = 3, low: float = 0.1, gamma: float = 0.99994
) -> float:
    r"""Triangles whose height decays with every step.

    $$\eta_t = \eta\,\bigl(\text{low} + (1 - \text{low})\, \gamma^t \max(0,\, 1 - |x|)\bigr)$$

    with `triangular`'s $x$. Equal to torch's `CyclicLR` of that mode.

    Args:
        gamma: decay of the height per step.

    Source: Smith (2017), Cyclical learning rates for training neural networks, arXiv:1506.01186.
    """
    return low + (1 - low) * _triangle(step, total, cycles)[0] * gamma**step


def sgdr(step: int, total: int, cycles: int = 3, growth: float = 2.0, final: float = 0.0) -> float:
    r"""Half cosines down, with a warm restart after each; every cycle `growth` times as long.

    $$\eta_t = \eta\,\Bigl(\text{final} + \tfrac{1 - \text{final}}{2}
      \bigl(1 + \cos(\pi\, T_{\text{cur}} / T_i)\bigr)\Bigr), \qquad
      T_{i+1} = \text{growth} \cdot T_i, \quad \sum_i T_i = T$$

    Equal to torch's `CosineAnnealingWarmRestarts`, with a first cycle such that the last one ends
    with the run.

    Args:
        growth: $T_\text{mult}$; 1 makes all cycles equally long.
        final: multiplier at the end of each cycle.

    Source: Loshchilov & Hutter (2017), SGDR: Stochastic gradient descent with warm restarts,
    arXiv:1608.03983.
    """
    length = total * (growth - 1) / (growth**cycles - 1) if growth != 1 else total / cycles
    begin = 0.0
    for _ in range(cycles - 1):
        if step < begin + length:
            break
        begin, length = begin + length, length * growth
    return final + (1 - final) * _half_cosine(min((step - begin) / length, 1))


def polynomial(step: int, total: int, power: float = 0.9) -> float:
    r"""Down to zero as a power of the steps that are left: the "poly" policy.

    $$\eta_t = \eta\,(1 - t/T)^p$$

    Equal to torch's `PolynomialLR`.

    Args:
        power: $p$; 1 is a straight line.

    Source: Chen et al. (2017), DeepLab: semantic image segmentation with deep convolutional nets,
    arXiv:1606.00915.
    """
    return (1 - min(step / max(total, 1), 1)) ** power


def batch_growth(
    step: int, total: int, milestones: Sequence[float] = (1 / 3, 2 / 3), factor: float = 5.0
) -> float:
    r"""The multiplier of the batch size that stands for dividing the rate by `factor`.

    $$B_t = B\, k^{|\{m \in M :\, m \le t\}|}, \qquad
      g \approx \frac{\eta N}{B (1 - \mu)} \text{ as under } \eta_t = \eta\, k^{-|\{m \le t\}|}$$

    Of epochs, not steps: for the callback `BatchGrowth`.

    Args:
        milestones: where the batch grows: shares of the training, if below 1, else epochs.
        factor: $k$.

    Source: Smith, Kindermans, Ying & Le (2018), Don't decay the learning rate, increase the batch
    size, arXiv:1711.00489.
    """
    places = (m * total if m < 1 else m for m in milestones)
    return factor ** sum(step >= place for place in places)


def _triangle(step: int, total: int, cycles: float) -> tuple[float, int]:
    """Height in [0, 1], and the number of the cycle, from 1."""
    position = 2 * cycles * step / max(total, 1)
    cycle = math.floor(1 + position / 2)
    return max(0.0, 1 - abs(position - 2 * cycle + 1)), cycle


def _half_cosine(u: float) -> float:
    """From 1 at 0 to 0 at 1."""
    return (1 + math.cos(math.pi * u)) / 2
