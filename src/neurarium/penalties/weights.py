r"""Penalties that judge each parameter by itself: $\Omega(\theta) = \sum_j p(|\theta_j|)$."""

from abc import ABC, abstractmethod
from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from neurarium.penalties._selection import On, check, select, shown

__all__ = ["L1", "L2", "MCP", "SCAD"]


class _Elementwise(ABC):
    """Called as `(model, batch)`; `value` and `prox` are the formulas of a tensor."""

    weight = 1.0

    def __init__(self, on: On) -> None:
        self.on = check(on)

    def __call__(
        self, model: nn.Module, batch: Mapping[str, Tensor] | None = None
    ) -> Float[Tensor, ""]:
        parameters = self.select(model)
        if parameters[0].is_cuda:  # one vector: launching kernels is what costs there
            return self.value(torch.cat([p.flatten() for p in parameters]))
        # Each in its own memory layout, in which its slope then adds to the loss's without a copy;
        # weighted once, which is a sixth of the time.
        return self.weight * torch.stack([self.total(p) for p in parameters]).sum()

    __repr__ = shown

    def select(self, model: nn.Module) -> list[nn.Parameter]:
        """The parameters that are penalized."""
        return select(model, self.on, type(self).__name__)

    def value(self, theta: Float[Tensor, "*shape"]) -> Float[Tensor, ""]:
        """The penalty of these parameters."""
        return self.weight * self.total(theta)

    @abstractmethod
    def total(self, theta: Float[Tensor, "*shape"]) -> Float[Tensor, ""]:
        """The same for a weight of 1."""

    @abstractmethod
    def prox(self, theta: Float[Tensor, "*shape"], step: float) -> Float[Tensor, "*shape"]:
        r"""$\arg\min_x \tfrac12\lVert x-\theta\rVert^2 + \eta\,\Omega(x)$, step $\eta$."""


class L1(_Elementwise):
    r"""Sum of absolute values: makes parameters small, and with `prox` exactly zero.

    $$\Omega(\theta) = \lambda \lVert\theta\rVert_1, \qquad
      \operatorname{prox}_{\eta\Omega}(\theta) = \operatorname{sign}(\theta)\,
      (|\theta| - \eta\lambda)_+$$

    Added to a loss it shrinks parameters but hardly any becomes zero: its gradient step oscillates
    around zero. The callback `training.Proximal(L1(weight))` in its place gives exact zeros.

    Args:
        weight: $\lambda$.
        on: "weights", "all", or a function (name, parameter) -> bool.

    Source: Tibshirani (1996), Regression shrinkage and selection via the lasso, JRSS B 58(1);
    prox: Beck & Teboulle (2009), A fast iterative shrinkage-thresholding algorithm, SIAM J.
    Imaging Sciences 2(1).
    """

    def __init__(self, weight: float, on: On = "weights") -> None:
        super().__init__(on)
        self.weight = _positive("weight", weight)

    def total(self, theta: Float[Tensor, "*shape"]) -> Float[Tensor, ""]:
        return theta.abs().sum()

    def prox(self, theta: Float[Tensor, "*shape"], step: float) -> Float[Tensor, "*shape"]:
        return F.softshrink(theta, step * self.weight)


class L2(_Elementwise):
    r"""Sum of squares: ridge regression's penalty, or the logarithm of a Gaussian prior.

    $$\Omega(\theta) = \lambda \lVert\theta\rVert_2^2, \qquad
      \operatorname{prox}_{\eta\Omega}(\theta) = \frac{\theta}{1 + 2\eta\lambda}$$

    Under plain gradient descent it is weight decay of $2\lambda$; under Adam it is not, as its
    gradient is rescaled with the loss's. Decoupled decay is AdamW's `weight_decay`.

    Args:
        weight: $\lambda$.
        on: "weights", "all", or a function (name, parameter) -> bool.

    Source: Hoerl & Kennard (1970), Ridge regression, Technometrics 12(1); Krogh & Hertz (1992),
    A simple weight decay can improve generalization, NIPS 4; Loshchilov & Hutter (2019),
    Decoupled Weight Decay Regularization, arXiv:1711.05101.
    """

    def __init__(self, weight: float, on: On = "weights") -> None:
        super().__init__(on)
        self.weight = _positive("weight", weight)

    def total(self, theta: Float[Tensor, "*shape"]) -> Float[Tensor, ""]:
        return theta.square().sum()

    def prox(self, theta: Float[Tensor, "*shape"], step: float) -> Float[Tensor, "*shape"]:
        return theta / (1 + 2 * step * self.weight)


class SCAD(_Elementwise):
    r"""Like L1 near zero, constant for large parameters, which it therefore does not shrink.

    $$p'(t) = \lambda \Bigl\{ 1[t \le \lambda] +
      \frac{(a\lambda - t)_+}{(a - 1)\lambda}\, 1[t > \lambda] \Bigr\}, \qquad
      \Omega(\theta) = \sum_j p(|\theta_j|)$$

    It is not convex: start from the L1 solution.

    Args:
        lam: $\lambda$, the slope at zero, and where the slope begins to fall.
        a: the slope is 0 from $a\lambda$ on; the paper's 3.7.
        on: "weights", "all", or a function (name, parameter) -> bool.

    Source: Fan & Li (2001), Variable selection via nonconcave penalized likelihood and its oracle
    properties, JASA 96.
    """

    def __init__(self, lam: float, a: float = 3.7, on: On = "weights") -> None:
        super().__init__(on)
        if not a > 2:
            raise ValueError(f"a must be above 2, got {a}; the paper's is 3.7")
        self.lam, self.a = _positive("lam", lam), a

    def total(self, theta: Float[Tensor, "*shape"]) -> Float[Tensor, ""]:
        t = F.hardtanh(theta, -self.a * self.lam, self.a * self.lam)  # beyond, the slope is 0
        bend = F.softshrink(t, self.lam).square().sum() / (2 * (self.a - 1))
        return self.lam * t.abs().sum() - bend

    def prox(self, theta: Float[Tensor, "*shape"], step: float) -> Float[Tensor, "*shape"]:
        _check_step(step, self.a - 1, "a - 1")
        t, lam, a = theta.abs(), self.lam, self.a
        bend = ((a - 1) * theta - step * a * lam * theta.sign()) / (a - 1 - step)
        beyond = torch.where(t <= a * lam, bend, theta)
        return torch.where(t <= (1 + step) * lam, F.softshrink(theta, step * lam), beyond)


class MCP(_Elementwise):
    r"""The penalty that leaves large parameters alone soonest, for its concavity.

    $$p(t) = \int_0^t \lambda \Bigl(1 - \frac{x}{\gamma\lambda}\Bigr)_+ dx, \qquad
      \Omega(\theta) = \sum_j p(|\theta_j|)$$

    It is not convex: start from the L1 solution.

    Args:
        lam: $\lambda$, the slope at zero.
        gamma: the slope falls evenly to 0 at $\gamma\lambda$.
        on: "weights", "all", or a function (name, parameter) -> bool.

    Source: Zhang (2010), Nearly unbiased variable selection under minimax concave penalty, Annals
    of Statistics 38(2), arXiv:1002.4734.
    """

    def __init__(self, lam: float, gamma: float = 3.0, on: On = "weights") -> None:
        super().__init__(on)
        if not gamma > 1:
            raise ValueError(f"gamma must be above 1, got {gamma}; 3 is usual")
        self.lam, self.gamma = _positive("lam", lam), gamma

    def total(self, theta: Float[Tensor, "*shape"]) -> Float[Tensor, ""]:
        t = F.hardtanh(theta, -self.gamma * self.lam, self.gamma * self.lam)
        return self.lam * t.abs().sum() - t.square().sum() / (2 * self.gamma)

    def prox(self, theta: Float[Tensor, "*shape"], step: float) -> Float[Tensor, "*shape"]:
        _check_step(step, self.gamma, "gamma")
        shrunk = F.softshrink(theta, step * self.lam) / (1 - step / self.gamma)
        return torch.where(theta.abs() <= self.gamma * self.lam, shrunk, theta)


def _positive(name: str, value: float) -> float:
    if not value >= 0:
        raise ValueError(f"{name} must be at least 0, got {value}; it multiplies the penalty")
    return value


def _check_step(step: float, limit: float, what: str) -> None:
    # Beyond it the concave penalty outweighs the square, and the minimum jumps.
    if not step < limit:
        raise ValueError(
            f"the step must be below {what} = {limit:g}, got {step:g}; use a lower learning rate"
        )
