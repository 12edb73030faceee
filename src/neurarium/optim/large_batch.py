"""Optimizers for very large batches: each layer's step is in proportion to its weights."""

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor
from torch.optim.optimizer import Optimizer

__all__ = ["LAMB", "LARS"]

Adapt = Literal["weights", "all", "none"]


class LARS(Optimizer):
    r"""Momentum SGD whose step in each layer is a fixed share of the norm of that layer's weights.

    $$v \leftarrow \mu v + \eta \lambda (g + \beta w), \qquad w \leftarrow w - v, \qquad
      \lambda = \text{trust}\, \frac{\lVert w \rVert}{\lVert g \rVert + \beta \lVert w \rVert}$$

    $\lambda = 1$ where either norm is 0. Tensors of fewer than two dimensions (biases,
    normalizations) are neither adapted nor decayed: they take the rate `lr` as it is. Since
    `trust` is small, rates near 10 are usual, which those tensors may not bear; give them a
    parameter group of their own with a lower `lr`, or let `adapt="all"` scale them too. Clip
    gradients before: $\lambda$ undoes any rescaling of a whole layer.

    Args:
        momentum: $\mu$.
        weight_decay: $\beta$, inside the adapted step.
        trust: share of the weights' norm that a step moves at `lr` 1.
        adapt: which tensors of a parameter group are adapted: "weights", of two or more
            dimensions; "all"; "none", whose group is plain momentum SGD.

    Source: You, Gitman & Ginsburg (2017), Large batch training of convolutional networks,
    arXiv:1708.03888.
    """

    def __init__(
        self,
        params: Any,
        lr: float = 1.0,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        trust: float = 1e-3,
        adapt: Adapt = "weights",
    ) -> None:
        _check_positive(lr=lr, trust=trust)
        _check_share(momentum=momentum)
        _check_adapt(adapt)
        super().__init__(
            params,
            {
                "lr": lr,
                "momentum": momentum,
                "weight_decay": weight_decay,
                "trust": trust,
                "adapt": adapt,
            },
        )

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """Move the parameters once."""
        loss = _evaluate(closure)
        for group in self.param_groups:
            adapted, plain = _divided(group)
            if adapted:
                decay, trust = group["weight_decay"], group["trust"]
                gradients = _gradients(adapted)
                norms, slopes = _norms(adapted), _norms(gradients)
                ratios = _one_where_zero(trust * norms / (slopes + decay * norms), norms, slopes)
                if decay:
                    gradients = list(torch._foreach_add(gradients, adapted, alpha=decay))
                steps = torch._foreach_mul(gradients, list((group["lr"] * ratios).unbind()))
                self._move(adapted, list(steps), group["momentum"])
            if plain:
                steps = torch._foreach_mul(_gradients(plain), group["lr"])
                self._move(plain, list(steps), group["momentum"])
        return loss

    def _move(self, parameters: list[Tensor], steps: list[Tensor], momentum: float) -> None:
        if momentum:
            for parameter, step in zip(parameters, steps, strict=True):
                self.state[parameter].setdefault("velocity", torch.zeros_like(step))
            velocities = [self.state[parameter]["velocity"] for parameter in parameters]
            torch._foreach_mul_(velocities, momentum)
            torch._foreach_add_(velocities, steps)
            steps = velocities
        torch._foreach_sub_(parameters, steps)


class LAMB(Optimizer):
    r"""Adam whose step in each layer has the norm of that layer's weights, times the rate.

    $$r = \frac{\hat m}{\sqrt{\hat v} + \epsilon} + \beta w, \qquad
      w \leftarrow w - \eta\, \frac{\phi(\lVert w \rVert)}{\lVert r \rVert}\, r$$

    $\hat m, \hat v$ are Adam's averages with bias correction; the ratio is 1 where either norm
    is 0. Tensors of fewer than two dimensions (biases, normalizations) are neither adapted nor
    decayed: their step is Adam's. Clip gradients before: the ratio undoes any rescaling after.

    Args:
        weight_decay: $\beta$, inside the adapted step.
        max_norm: $\phi(z) = \min(z, \text{max\_norm})$; None is the identity.
        adapt: which tensors of a parameter group are adapted: "weights", of two or more
            dimensions; "all"; "none", whose group is plain Adam.

    Source: You et al. (2020), Large batch optimization for deep learning: training BERT in 76
    minutes, arXiv:1904.00962.
    """

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-6,
        weight_decay: float = 0.0,
        max_norm: float | None = None,
        adapt: Adapt = "weights",
    ) -> None:
        _check_positive(lr=lr, eps=eps)
        _check_share(beta1=betas[0], beta2=betas[1])
        _check_adapt(adapt)
        super().__init__(
            params,
            {
                "lr": lr,
                "betas": betas,
                "eps": eps,
                "weight_decay": weight_decay,
                "max_norm": max_norm,
                "adapt": adapt,
            },
        )

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """Move the parameters once."""
        loss = _evaluate(closure)
        for group in self.param_groups:
            adapted, plain = _divided(group)
            if adapted:
                steps = self._adam(adapted, group)
                if group["weight_decay"]:
                    torch._foreach_add_(steps, adapted, alpha=group["weight_decay"])
                norms, lengths = _norms(adapted), _norms(steps)
                wanted = norms if group["max_norm"] is None else norms.clamp(max=group["max_norm"])
                ratios = _one_where_zero(wanted / lengths, norms, lengths)
                torch._foreach_mul_(steps, list(ratios.unbind()))
                torch._foreach_add_(adapted, steps, alpha=-group["lr"])
            if plain:
                torch._foreach_add_(plain, self._adam(plain, group), alpha=-group["lr"])
        return loss

    def _adam(self, parameters: list[Tensor], group: dict[str, Any]) -> list[Tensor]:
        """Adam's step of rate 1, without decay."""
        beta1, beta2 = group["betas"]
        states = [self.state[parameter] for parameter in parameters]
        gradients = _gradients(parameters)
        for state, gradient in zip(states, gradients, strict=True):
            if not state:
                state["step"] = 0
                state["mean"] = torch.zeros_like(gradient)
                state["square"] = torch.zeros_like(gradient)
            state["step"] += 1
        means, squares = [s["mean"] for s in states], [s["square"] for s in states]
        torch._foreach_lerp_(means, gradients, 1 - beta1)
        torch._foreach_mul_(squares, beta2)
        torch._foreach_addcmul_(squares, gradients, gradients, 1 - beta2)
        scale = torch._foreach_div(squares, [1 - beta2 ** s["step"] for s in states])
        torch._foreach_sqrt_(scale)
        torch._foreach_add_(scale, group["eps"])
        steps = torch._foreach_div(means, [1 - beta1 ** s["step"] for s in states])
        torch._foreach_div_(steps, scale)
        return list(steps)


def _evaluate(closure: Any) -> Any:
    if closure is None:
        return None
    with torch.enable_grad():
        return closure()


def _divided(group: dict[str, Any]) -> tuple[list[Tensor], list[Tensor]]:
    """The group's parameters that have a gradient: those adapted, and the others."""
    moving = [p for p in group["params"] if p.grad is not None]
    least = {"weights": 2, "all": 0, "none": float("inf")}[group["adapt"]]
    return [p for p in moving if p.ndim >= least], [p for p in moving if p.ndim < least]


def _gradients(parameters: Sequence[Tensor]) -> list[Tensor]:
    return [p.grad for p in parameters if p.grad is not None]


def _norms(tensors: Sequence[Tensor]) -> Tensor:
    return torch.stack(list(torch._foreach_norm(list(tensors))))


def _one_where_zero(ratios: Tensor, *norms: Tensor) -> Tensor:
    positive = torch.stack([norm > 0 for norm in norms]).all(0)
    return torch.where(positive, ratios, torch.ones_like(ratios))


def _check_positive(**values: float) -> None:
    for name, value in values.items():
        if not value > 0:
            raise ValueError(f"{name} must be positive, got {value}")


def _check_share(**values: float) -> None:
    for name, value in values.items():
        if not 0 <= value < 1:
            raise ValueError(f"{name} must lie in [0, 1), got {value}")


def _check_adapt(adapt: str) -> None:
    if adapt not in ("weights", "all", "none"):
        raise ValueError(f"adapt must be 'weights', 'all' or 'none', got {adapt!r}")
