"""The rule of p-neuron networks: an example's error is spread over its weights, and gone."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from neurarium.data import Batch
from neurarium.layers import PNeuron
from neurarium.learning.direct import Direct
from neurarium.learning.splitting import judged
from neurarium.objectives import Objective

__all__ = ["PANNRule"]


class PANNRule(Direct):
    r"""Correct the weights that an example has picked by equal parts of its error.

    $$w_{i,\, d_i,\, n} \leftarrow w_{i,\, d_i,\, n} + \eta\, \frac{t_n - y_n}{m}, \qquad
      i = 1, \dots, m$$

    With $\eta = 1$ the example is right after its turn, and what it disturbs is only what shares
    its intervals. This is normalized least mean squares on inputs in one-hot intervals, without an
    interaction between inputs: on the 8 x 8 digits it ends below logistic regression (recipe
    `pann-digits`). The objective is only reported. Class numbers become 1 for their unit and 0 for
    the others; float targets are taken as they are.

    The author holds patents on this method (US 9,619,749 and its family): this is for education.

    Args:
        lr: $\eta$, below 2.

    Raises:
        ValueError: at `bind`, unless all that can be trained is one `layers.PNeuron` whose outputs
            are the model's; at a step, if the inputs are not in [0, 1].

    Source: Pescianschi, Main Principles of the General Theory of Neural Network with Internal
    Feedback, progress.ai; US patent 9,619,749 (2017).
    """

    def __init__(self, lr: float = 1.0) -> None:
        if not 0 < lr < 2:
            raise ValueError(f"lr must lie between 0 and 2, where errors shrink, got {lr}")
        self.lr = lr

    def bind(self, model: nn.Module, objective: Objective) -> None:
        """Find the layer."""
        self.model, self.objective = model, objective
        layers = [module for module in model.modules() if isinstance(module, PNeuron)]
        trained = [name for name, p in model.named_parameters() if p.requires_grad]
        if len(layers) != 1 or len(trained) != 1 or not layers[0].weight.requires_grad:
            raise ValueError(
                "PANNRule trains one layers.PNeuron, but the trainable parameters of this "
                f"{type(model).__name__} are {', '.join(trained[:4]) or 'none'}; take "
                "nn.Sequential(nn.Flatten(), PNeuron(inputs, outputs)), or another rule"
            )
        (self.layer,) = layers

    @torch.no_grad()
    def step(self, batch: Batch) -> dict[str, Tensor]:
        """Correct the layer by every row of the batch in turn."""
        x, outputs = self._heard(batch)
        weight = self.layer.weight
        for rows, target in zip(self.layer.selected(x), self._targets(batch), strict=True):
            error = target - weight[rows].sum(0)
            weight[rows] += self.lr / len(rows) * error
        return outputs

    def _heard(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """What enters the layer, and the objective's values."""
        seen: list[Tensor] = []
        hook = self.layer.register_forward_pre_hook(lambda layer, inputs: seen.append(inputs[0]))
        try:
            outputs = judged(self.objective, self.model, batch)
        finally:
            hook.remove()
        x = seen[-1]
        low, high = float(x.min()), float(x.max())
        if not 0 <= low <= high <= 1:
            raise ValueError(
                "PANNRule cuts [0, 1] into intervals, but the layer's inputs lie between "
                f"{low:g} and {high:g}; scale them by data.MinMax"
            )
        return x, outputs

    def _targets(self, batch: Batch) -> Tensor:
        target = batch["target"]
        if not target.is_floating_point():
            target = F.one_hot(target.long(), self.layer.out_features)
        return target.to(self.layer.weight).view(-1, self.layer.out_features)

    def state_dict(self) -> dict[str, Any]:
        return {}  # all that it learns is in the model

    def load_state_dict(self, state: dict[str, Any]) -> None:
        assert not state

    def __repr__(self) -> str:
        return f"PANNRule(lr={self.lr})"
