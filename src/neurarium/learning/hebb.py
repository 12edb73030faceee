"""Hebb's rule and those that keep its weights finite: principal components, unit by unit."""

import math
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from neurarium.data import Batch
from neurarium.learning._listening import listening, rows
from neurarium.learning.direct import Direct
from neurarium.learning.rule import NonFiniteError, value_of
from neurarium.objectives import Objective

__all__ = ["Hebb"]

Variant = Literal["hebb", "oja", "sanger"]


class Hebb(Direct):
    r"""What fires together wires together: weights grow by the product of both sides' activity.

    $$\Delta w_i = \eta\, \bigl\langle y_i\, (x - \hat x_i) \bigr\rangle, \qquad y = W x, \qquad
      \hat x_i = 0, \quad y_i w_i \quad \text{or} \quad \sum_{j \le i} y_j w_j$$

    - "hebb": nothing is taken off. Weights grow without end along the first principal component.
    - "oja": each unit takes off what it says of the input itself, and becomes the first principal
      component, of length 1.
    - "sanger": what the units before it say too, so that unit $i$ becomes component $i$.

    Every linear layer that is not frozen learns from its own inputs; biases stay, as do targets
    unused: the objective is only reported. The components are those of the inputs' mean square, so
    the data should be centred. The rates must stay below $1/\lambda_1$, the largest mean square
    along a direction.

    Args:
        lr: $\eta$, for the mean over a batch.

    Raises:
        ValueError: at `bind`, if something else than linear layers could be trained.
        NonFiniteError: when weights would become infinite, before they have moved.

    Source: Hebb (1949), The Organization of Behavior; Oja (1982), A simplified neuron model as a
    principal component analyzer, J. Math. Biology 15; Sanger (1989), Optimal unsupervised learning
    in a single-layer linear feedforward neural network, Neural Networks 2(6).
    """

    def __init__(self, lr: float = 0.01, variant: Variant = "oja") -> None:
        if not 0 < lr < math.inf:
            raise ValueError(f"lr must be a positive number, got {lr}")
        if variant not in get_args(Variant):
            raise ValueError(f"variant must be one of {', '.join(get_args(Variant))}: {variant!r}")
        self.lr, self.variant = lr, variant

    def bind(self, model: nn.Module, objective: Objective) -> None:
        """Find the linear layers that are not frozen."""
        self.model, self.objective = model, objective
        self.layers: dict[str, nn.Linear] = {}
        for name, module in model.named_modules():
            trained = [n for n, p in module.named_parameters(recurse=False) if p.requires_grad]
            if trained and not isinstance(module, nn.Linear):
                raise ValueError(
                    f"Hebb trains linear layers, but '{name}' is a {type(module).__name__} with "
                    f"{', '.join(trained)} to train; freeze it with requires_grad_(False)"
                )
            if "weight" in trained:
                self.layers[name] = module
        if not self.layers:
            raise ValueError(
                f"Hebb found no linear layer to train in this {type(model).__name__}; all weights "
                "are frozen, or there are none"
            )

    @torch.no_grad()
    def step(self, batch: Batch) -> dict[str, Tensor]:
        """Let the batch pass, and each layer learn from what it received."""
        with listening(self.layers) as heard:
            outputs = value_of(self.objective(self.model, batch))
        changes = {
            name: self.change(layer.weight, rows(heard[name], layer))
            for name, layer in self.layers.items()
            if heard[name]
        }
        if not all(change.isfinite().all() for change in changes.values()):
            raise NonFiniteError(
                f"the weights grow beyond all numbers; lr={self.lr:g} is too large"
            )
        for name, change in changes.items():
            self.layers[name].weight.add_(change, alpha=self.lr)
        return outputs

    def change(self, weight: Tensor, x: Tensor) -> Tensor:
        """The mean over the rows of x of what is added to the weights, for a rate of 1."""
        y = x @ weight.T
        seen, own = y.T @ x / len(x), y.T @ y / len(x)
        if self.variant == "hebb":
            return seen
        told = own.diag().diag() if self.variant == "oja" else own.tril()
        return seen - told @ weight

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing to restore: all that it learns is in the model."""

    def __repr__(self) -> str:
        return f"Hebb(lr={self.lr}, {self.variant})"
