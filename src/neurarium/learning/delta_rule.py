"""Widrow and Hoff's rule: move by the error before the threshold."""

from typing import Any

import torch
from torch import Tensor, nn

from neurarium.data import Batch
from neurarium.learning._single_layer import SingleLayer
from neurarium.objectives import Objective

__all__ = ["DeltaRule"]


class DeltaRule:
    r"""Least mean squares: correct a linear unit in proportion to its error, example by example.

    $$w \leftarrow w + \eta\, e\, x, \qquad b \leftarrow b + \eta\, e, \qquad
      e = d - (w^\top x + b)$$

    This is the gradient of $\tfrac12 e^2$ (the authors' $\alpha$ is $\eta$ or $\eta/2$, depending
    on the text). Threshold units learn by their sums, before the threshold. The objective is only
    reported. It converges if $\eta < 2/\max\lVert x\rVert^2$, the bias's 1 included, but with
    residuals it goes on hovering around the solution in proportion to $\eta$.

    Args:
        lr: $\eta$.
        per_example: take the rows of a batch in turn, whatever its size; if not, one step along
            the mean of $e\,x$ over the batch, which for the batch of all rows leads to the
            least-squares solution for $\eta < 2/\lambda_{\max}$ of the mean $x x^\top$.

    Float targets are taken as they are; class numbers become 1 for their unit and -1 for others.

    Raises:
        ValueError: at `bind`, unless all that can be trained is one layer with thresholds or
            nothing behind it.

    Source: Widrow & Hoff (1960), Adaptive switching circuits, IRE WESCON Convention Record 4.
    """

    def __init__(self, lr: float = 0.01, per_example: bool = True) -> None:
        if not lr > 0:
            raise ValueError(f"lr must be positive, got {lr}")
        self.lr, self.per_example = lr, per_example

    def bind(self, model: nn.Module, objective: Objective) -> None:
        """Find the layer."""
        self.layer = SingleLayer(model, objective, "DeltaRule")

    @torch.no_grad()
    def step(self, batch: Batch) -> dict[str, Tensor]:
        """Correct the layer by every row of the batch."""
        outputs, x = self.layer.judge(batch)
        target, point = batch["target"], self.layer.read()
        floats = target.is_floating_point()
        targets = self.layer.values(target) if floats else self.layer.decisions(target)
        if self.per_example:
            for row, wanted in zip(x, targets, strict=True):
                point.addr_(wanted - point @ row, row, alpha=self.lr)
        else:
            point += self.lr / len(x) * (targets - x @ point.T).T @ x
        self.layer.write(point)
        return outputs

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing to restore: all that it learns is in the model."""

    def __repr__(self) -> str:
        return f"DeltaRule(lr={self.lr}, per_example={self.per_example})"
