r"""Robust losses $\rho(r)$ of a residual, with their influence $\psi = \rho'$ and weight $\psi/r$.

A loss here is two formulas, $\rho$ and the weight; iteratively reweighted least squares and
plots of influence need the second, and $\psi(r) = r \cdot \text{weight}(r)$.
"""

import math
from collections.abc import Callable
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from neurarium.losses._common import Reduction, _check_same_shape, _reduce

__all__ = ["AdaptiveRobust", "general_robust", "huber", "psi", "rho", "tukey", "weight"]


def huber(
    prediction: Float[Tensor, "*shape"],
    target: Float[Tensor, "*shape"],
    delta: float = 1.0,
    reduction: Reduction = "mean",
) -> Float[Tensor, "..."]:
    r"""Quadratic near zero, linear beyond `delta`: an outlier pulls, but no harder than `delta`.

    $$\rho(r) = \begin{cases} \tfrac12 r^2 & |r| \le \delta \\
      \delta\,(|r| - \tfrac12\delta) & \text{otherwise} \end{cases}$$

    Source: Huber (1964), Robust estimation of a location parameter, Ann. Math. Statistics 35(1).
    """
    _check_same_shape(prediction, target)
    return _reduce(rho(prediction - target, "huber", delta=delta), reduction)


def tukey(
    prediction: Float[Tensor, "*shape"],
    target: Float[Tensor, "*shape"],
    delta: float = 4.685,
    scale: float | Literal["mad"] = 1.0,
    reduction: Reduction = "mean",
) -> Float[Tensor, "..."]:
    r"""Tukey's biweight: quadratic near zero, flat beyond `delta`, so an outlier pulls at nothing.

    $$\rho(r) = \tfrac{\delta^2}{6}\,\bigl(1 - (1 - \min(r^2/\delta^2,\, 1))^3\bigr),
      \qquad r = \text{prediction} - \text{target}$$

    Where all residuals exceed `delta` there is no gradient at all: start from `huber`.

    Args:
        delta: residual beyond which the loss is flat, in units of `scale`; 4.685 standard
            deviations keep 95 % of the efficiency of least squares on Gaussian noise.
        scale: standard deviation of the good residuals; "mad" estimates it from the batch, as
            1.4826 times the median absolute residual, which half of all outliers cannot move.

    Source: Beaton & Tukey (1974), The fitting of power series, Technometrics 16(2).
    """
    _check_same_shape(prediction, target)
    residual = prediction - target
    if isinstance(scale, str):
        if scale != "mad":
            raise ValueError(f"scale must be a number or 'mad', got {scale!r}")
        # Around 0, not around the median: then residuals that are all large are not all outliers.
        scale = _mad(residual)
    return _reduce(rho(residual, "tukey", delta=delta, scale=scale), reduction)


def general_robust(
    prediction: Float[Tensor, "*shape"],
    target: Float[Tensor, "*shape"],
    alpha: float | Float[Tensor, "..."] = 1.0,
    scale: float | Float[Tensor, "..."] = 1.0,
    reduction: Reduction = "mean",
) -> Float[Tensor, "..."]:
    r"""One family from least squares to losses that ignore outliers, by its shape `alpha`.

    $$\rho(r) = \frac{|\alpha - 2|}{\alpha} \left(\left(
      \frac{(r/c)^2}{|\alpha - 2|} + 1\right)^{\alpha/2} - 1\right)$$

    Args:
        alpha: 2 is half the squared error, 1 Charbonnier (smooth absolute error), 0 Cauchy,
            -2 Geman-McClure, minus infinity Welsch.
        scale: $c$, the residual where the quadratic bowl ends.

    Source: Barron (2019), A General and Adaptive Robust Loss Function, arXiv:1701.03077.
    """
    _check_same_shape(prediction, target)
    return _reduce(rho(prediction - target, "general", alpha=alpha, scale=scale), reduction)


# --- influence functions -----------------------------------------------------------------


def rho(
    residual: Float[Tensor, "*shape"], loss: str = "huber", **parameters: Any
) -> Float[Tensor, "*shape"]:
    r"""The loss of each residual by itself; `loss` is "huber", "tukey" or "general".

    $$\rho(r) \ge 0, \qquad \rho(0) = 0, \qquad \rho''(0) = 1 \text{ at scale } 1$$

    Source: Huber (1964), Robust estimation of a location parameter, Ann. Math. Statistics 35(1).
    """
    return _formulas(loss, parameters)[0](residual, **parameters)


def weight(
    residual: Float[Tensor, "*shape"], loss: str = "huber", **parameters: Any
) -> Float[Tensor, "*shape"]:
    r"""How much each residual counts in iteratively reweighted least squares.

    $$w(r) = \psi(r)/r$$

    Source: Beaton & Tukey (1974), The fitting of power series, Technometrics 16(2).
    """
    return _formulas(loss, parameters)[1](residual, **parameters)


def psi(
    residual: Float[Tensor, "*shape"], loss: str = "huber", **parameters: Any
) -> Float[Tensor, "*shape"]:
    r"""How hard each residual pulls.

    $$\psi(r) = \rho'(r) = r\, w(r)$$

    Source: Hampel (1974), The influence curve and its role in robust estimation, JASA 69.
    """
    return residual * weight(residual, loss, **parameters)


def _formulas(loss: str, parameters: dict[str, Any]) -> tuple[Callable, Callable]:
    if loss not in _FORMULAS:
        raise ValueError(f"loss must be one of {', '.join(_FORMULAS)}, got {loss!r}")
    for name in ("delta", "scale"):
        value = parameters.get(name)
        if isinstance(value, int | float) and not value > 0:
            raise ValueError(f"{name} must be positive, got {value}; it is a size of residuals")
    return _FORMULAS[loss]


def _huber_rho(r: Tensor, delta: float = 1.0) -> Tensor:
    return F.huber_loss(r, torch.zeros_like(r), delta=delta, reduction="none")


def _huber_weight(r: Tensor, delta: float = 1.0) -> Tensor:
    return delta / r.abs().clamp(min=delta)


def _tukey_rho(r: Tensor, delta: float = 4.685, scale: float = 1.0) -> Tensor:
    reach = delta * scale
    u = (r / reach).square().clamp(max=1)
    return reach**2 / 6 * (1 - (1 - u) ** 3)


def _tukey_weight(r: Tensor, delta: float = 4.685, scale: float = 1.0) -> Tensor:
    return (1 - (r / (delta * scale)).square().clamp(max=1)) ** 2


def _mad(residual: Tensor) -> float:
    """Median absolute deviation, which for Gaussian residuals is their standard deviation."""
    median = residual.detach().abs().median().item()
    return max(1.4826 * median, torch.finfo(residual.dtype).tiny ** 0.25)


def _general_rho(r: Tensor, alpha: float | Tensor = 1.0, scale: float | Tensor = 1.0) -> Tensor:
    # With y = log1p(x / b) / 2, b = |alpha - 2|, the printed formula is b y (e^(alpha y) - 1) /
    # (alpha y): nothing cancels, and alpha = 0 needs no branch. As printed, float32 is off by
    # 0.1 at alpha = 1e-6.
    alpha = torch.as_tensor(alpha, dtype=r.dtype, device=r.device)
    x = (r / scale).square()
    usual = alpha.isfinite() & (alpha != 2)
    safe = torch.where(usual, alpha, 1)  # no nan or inf may reach the branch not taken
    b = (safe - 2).abs().clamp(min=torch.finfo(r.dtype).eps)
    y = torch.log1p(x / b) / 2
    limit = torch.where(alpha == 2, x / 2, -torch.expm1(-x / 2))
    return torch.where(usual, b * y * _expm1_ratio(safe * y), limit)


def _general_weight(r: Tensor, alpha: float | Tensor = 1.0, scale: float | Tensor = 1.0) -> Tensor:
    alpha = torch.as_tensor(alpha, dtype=r.dtype, device=r.device)
    x = (r / scale).square()
    usual = alpha.isfinite() & (alpha != 2)
    safe = torch.where(usual, alpha, 1)
    b = (safe - 2).abs().clamp(min=torch.finfo(r.dtype).eps)
    limit = torch.where(alpha == 2, torch.ones_like(x), torch.exp(-x / 2))
    return torch.where(usual, torch.exp((safe / 2 - 1) * torch.log1p(x / b)), limit) / scale**2


def _expm1_ratio(y: Tensor) -> Tensor:
    """(e^y - 1) / y, with a gradient that stays exact through y = 0."""
    near = y.abs() < 1e-2
    series = 1 + y / 2 * (1 + y / 3 * (1 + y / 4 * (1 + y / 5 * (1 + y / 6))))
    far = torch.where(near, 1, y)
    return torch.where(near, series, torch.expm1(far) / far)


_FORMULAS: dict[str, tuple[Callable, Callable]] = {
    "huber": (_huber_rho, _huber_weight),
    "tukey": (_tukey_rho, _tukey_weight),
    "general": (_general_rho, _general_weight),
}


# --- the adaptive loss -------------------------------------------------------------------


class AdaptiveRobust(nn.Module):
    r"""The general robust loss with a shape and a scale per output, learnt with the model.

    $$L = \rho(r, \alpha, c) + \log c + \log Z(\alpha), \qquad
      Z(\alpha) = \int e^{-\rho(x, \alpha, 1)}\, dx$$

    The negative log-likelihood of a density: without $Z$ and $c$ the loss would be least where
    it ignores all data. $\alpha = 2\,\sigma(\cdot)$ and $c = \operatorname{softplus}(\cdot)$, as
    $Z$ exists for $\alpha \ge 0$ only.

    Args:
        outputs: size of the last axis of predictions; 1 shares one shape and scale.
        alpha: where the shape starts, in (0, 2).
        scale: where the scale starts.

    Source: Barron (2019), A General and Adaptive Robust Loss Function, arXiv:1701.03077.
    """

    def __init__(self, outputs: int = 1, alpha: float = 1.0, scale: float = 1.0) -> None:
        super().__init__()
        if not 0 < alpha < 2:
            raise ValueError(f"alpha must start between 0 and 2, got {alpha}")
        if not scale > 1e-5:
            raise ValueError(f"scale must start above 1e-5, its least value, got {scale}")
        self.outputs = outputs
        self.alpha_logit = nn.Parameter(torch.full((outputs,), math.log(alpha / (2 - alpha))))
        inverse_softplus = math.log(math.expm1(scale)) if scale < 30 else scale
        self.scale_raw = nn.Parameter(torch.full((outputs,), inverse_softplus))

    @property
    def alpha(self) -> Float[Tensor, " outputs"]:
        return 2 * torch.sigmoid(self.alpha_logit)

    @property
    def scale(self) -> Float[Tensor, " outputs"]:
        # A scale of 0 would be an infinite likelihood of one example.
        return F.softplus(self.scale_raw) + 1e-5

    def forward(
        self,
        prediction: Float[Tensor, "*shape"],
        target: Float[Tensor, "*shape"],
        reduction: Reduction = "mean",
    ) -> Float[Tensor, "..."]:
        loss = general_robust(prediction, target, self.alpha, self.scale, reduction="none")
        return _reduce(loss + self.scale.log() + log_partition(self.alpha), reduction)


def log_partition(alpha: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    r"""Logarithm of the integral that makes $e^{-\rho}$ a density, for $0 \le \alpha \le 2$.

    $$Z(\alpha) = \int e^{-\rho(x, \alpha, 1)}\, dx, \qquad Z(2) = \sqrt{2\pi},\;
      Z(0) = \pi\sqrt2$$

    The paper tabulates it; 129 points of double exponential quadrature, x = exp(sinh(t) pi/2),
    reach 1e-12 for the Gaussian's tail and the Cauchy's alike, and autograd differentiates them.

    Source: Takahasi & Mori (1974), Double exponential formulas for numerical integration, Publ.
    RIMS 9.
    """
    t = torch.linspace(-4, 4, 129, dtype=torch.float64, device=alpha.device)
    x = torch.exp(math.pi / 2 * torch.sinh(t))
    step = math.pi / 2 * torch.cosh(t) * x * (8 / 128)
    density = torch.exp(-_general_rho(x, alpha.double().unsqueeze(-1)))
    return (2 * density @ step).log().to(alpha.dtype)
