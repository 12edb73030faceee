"""Losses as modules, for where a module is wanted: `Loss` around any function, twins by name.

Torch's own (`nn.CrossEntropyLoss`, `nn.HuberLoss`, ...) work wherever these do.
"""

import inspect
from collections.abc import Callable
from typing import Any, Literal

from jaxtyping import Float
from torch import Tensor, nn

from neurarium.losses import classification, regression, robust
from neurarium.losses._common import Reduction


class Loss(nn.Module):
    """Any loss function as a module, `Loss(tukey, delta=3)`; twins derive from it."""

    def __init__(self, function: Callable[..., Tensor], **arguments: Any) -> None:
        super().__init__()
        inspect.signature(function).bind(None, None, **arguments)  # now, not at the first batch
        self.function = function
        self.arguments = {k: v for k, v in arguments.items() if not isinstance(v, Tensor)}
        for name, value in arguments.items():
            if isinstance(value, Tensor):  # class weights move to the device with the module
                self.register_buffer(name, value)

    def forward(self, prediction: Float[Tensor, "..."], target: Tensor) -> Float[Tensor, "..."]:
        return self.function(prediction, target, **self.arguments, **dict(self.named_buffers()))

    def extra_repr(self) -> str:
        named = [f"{name}={value}" for name, value in self.arguments.items()]
        return ", ".join([*([self.function.__name__] if type(self) is Loss else []), *named])


class FocalLoss(Loss):
    """`losses.focal` as a module."""

    def __init__(
        self,
        gamma: float = 2.0,
        alpha: Float[Tensor, " classes"] | None = None,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__(classification.focal, gamma=gamma, alpha=alpha, reduction=reduction)


class HingeLoss(Loss):
    """`losses.hinge` as a module; `nn.HingeEmbeddingLoss` is another loss."""

    def __init__(self, reduction: Reduction = "mean") -> None:
        super().__init__(classification.hinge, reduction=reduction)


class SquaredHingeLoss(Loss):
    """`losses.squared_hinge` as a module."""

    def __init__(self, reduction: Reduction = "mean") -> None:
        super().__init__(classification.squared_hinge, reduction=reduction)


class QuadraticCost(Loss):
    """`losses.quadratic_cost` as a module."""

    def __init__(self, reduction: Reduction = "mean") -> None:
        super().__init__(regression.quadratic_cost, reduction=reduction)


class TukeyLoss(Loss):
    """`losses.tukey` as a module."""

    def __init__(
        self,
        delta: float = 4.685,
        scale: float | Literal["mad"] = 1.0,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__(robust.tukey, delta=delta, scale=scale, reduction=reduction)


class GeneralRobustLoss(Loss):
    """`losses.general_robust` as a module; `AdaptiveRobust` learns its shape and scale."""

    def __init__(
        self, alpha: float = 1.0, scale: float = 1.0, reduction: Reduction = "mean"
    ) -> None:
        super().__init__(robust.general_robust, alpha=alpha, scale=scale, reduction=reduction)
