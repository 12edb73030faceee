"""Bidirectional backpropagation: one set of weights that maps inputs to outputs and back."""

import itertools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from neurarium import losses
from neurarium._names import resolve
from neurarium.data import Batch
from neurarium.learning.chain import Chain
from neurarium.learning.pseudo_gradient import PseudoGradient
from neurarium.learning.rule import value_of
from neurarium.objectives import Objective

__all__ = ["BidirectionalBackprop"]


class BidirectionalBackprop(PseudoGradient):
    r"""Train a network in both directions: forward by its weights, back by their transposes.

    $$E = E_f\bigl(N(x), d\bigr) + \beta\, E_b\bigl(N^\top(d), x\bigr), \qquad
      N^\top(d) = W_1^\top \varphi_1\bigl(b_1 + W_2^\top \varphi_2(b_2 + \cdots W_L^\top d)\bigr)$$

    A hidden unit keeps its bias and its function in both directions; the input's units have
    neither. $E_f$ is the objective, $E_b$ another loss of the backward pass, which starts from the
    target: class numbers become one-hot rows. Both should be negative log-likelihoods of what their
    end is, or one drowns the other: cross-entropy of classes and of bits, half the squares of
    numbers. A class has many inputs, and is sent back to something like their mean.

    Args:
        optimizer: as of `Backprop`, like `lr`, `schedule` and all `options`.
        back_weight: $\beta$; 0 is backpropagation.
        back_loss: $E_b$, a function or the name of one in `neurarium.losses`:
            "binary_cross_entropy" for inputs between 0 and 1.

    Raises:
        ValueError: at `bind`, unless the model is a chain of linear layers with elementwise
            functions between them.

    Source: Adigun & Kosko (2019), Bidirectional Backpropagation, IEEE Trans. Systems, Man, and
    Cybernetics: Systems 50(5).
    """

    def __init__(
        self,
        optimizer: Any = "adam",
        lr: float | None = None,
        schedule: Any = None,
        *,
        back_weight: float = 1.0,
        back_loss: str | Callable[..., Tensor] = "quadratic_cost",
        **options: Any,
    ) -> None:
        super().__init__(optimizer, lr, schedule, **options)
        if not back_weight >= 0:
            raise ValueError(f"back_weight must not be negative, got {back_weight}")
        self.back_weight = back_weight
        self.back_loss: Callable[..., Tensor] = resolve(back_loss, losses, "loss")

    def prepare(self, model: nn.Module, objective: Objective) -> None:
        """Look whether the model can be walked backwards."""
        rule = "BidirectionalBackprop"
        self.chain = Chain(model, rule)
        stages = self.chain.stages
        for stage in stages:
            if not isinstance(stage.layer, nn.Linear):
                raise ValueError(
                    f"{rule} goes back through linear layers, but layer {stage.name} is an "
                    f"nn.{type(stage.layer).__name__}; take Backprop"
                )
        for stage, above in itertools.pairwise(stages):
            _ = stage.activation  # which refuses what is not elementwise
            if stage.layer.out_features != above.layer.in_features:
                raise ValueError(
                    f"{rule} needs hidden units that are as many in both directions, but layer "
                    f"{stage.name} has {stage.layer.out_features} outputs and {above.name} "
                    f"{above.layer.in_features} inputs; take an elementwise activation"
                )

    def estimate(self, batch: Batch) -> dict[str, Tensor]:
        """The slopes of both directions' losses."""
        with torch.enable_grad():
            values = value_of(self.objective(self.model, batch))
            entered = self.chain.enter(batch["input"])
            back = self.back_loss(self._returned(batch["target"]), entered)
            self.notify("on_before_backward", values["loss"])
            (values["loss"] + self.back_weight * back).backward()
        return {name: value.detach() for name, value in values.items()} | {"back": back.detach()}

    @torch.no_grad()
    def recall(self, target: Tensor) -> Tensor:
        """What the network sends back to its input for these targets, one row each.

        With a `back_loss` of logits these are logits.
        """
        return self._returned(target)

    def _returned(self, target: Tensor) -> Tensor:
        stages = self.chain.stages
        units, like = stages[-1].layer.out_features, stages[-1].layer.weight
        if not target.is_floating_point():
            target = F.one_hot(target.long(), units)
        h = target.to(like).view(-1, units)
        for stage, below in zip(stages[:0:-1], stages[-2::-1], strict=True):
            z = h @ stage.layer.weight
            h = below.after(z if below.layer.bias is None else z + below.layer.bias)
        return h @ stages[0].layer.weight

    def __repr__(self) -> str:
        name = getattr(self.back_loss, "__name__", self.back_loss)
        return (
            f"BidirectionalBackprop({self.descent!r}, back_weight={self.back_weight}, "
            f"back_loss={name})"
        )
