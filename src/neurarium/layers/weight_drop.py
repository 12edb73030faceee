"""Dropout of recurrent weights, in torch's fused layers too."""

from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

__all__ = ["WeightDrop"]


class WeightDrop(nn.Module):
    r"""A recurrent layer some of whose state-to-state weights are gone, the same at all steps.

    $$W_{hh} \leftarrow \frac{m}{1 - p} \odot W_{hh}, \qquad m_{ij} \sim \text{Bernoulli}(1 - p)$$

    One mask for each pass, so the loop, torch's too, is what it was. It stands in for its layer:
    `model.recurrent = WeightDrop(model.recurrent, 0.5)`.

    Args:
        layer: with weights of these names.
        p: probability that a weight is dropped.
        names: beginnings of the weights' names.

    Source: Merity, Keskar & Socher (2018), Regularizing and optimizing LSTM language models,
    arXiv:1708.02182; of any weights: Wan et al. (2013), Regularization of neural networks using
    DropConnect, ICML.
    """

    def __init__(
        self, layer: nn.Module, p: float = 0.5, names: tuple[str, ...] = ("weight_hh",)
    ) -> None:
        super().__init__()
        if not 0 <= p < 1:
            raise ValueError(f"p must be a probability below 1, got {p}")
        self.layer, self.p = layer, p
        every = [name for name, _ in layer.named_parameters()]
        self.dropped = [n for n in every if n.rpartition(".")[2].startswith(names)]
        if not self.dropped:
            raise ValueError(
                f"{type(layer).__name__} has no weight whose name begins with "
                f"{' or '.join(names)}, but {', '.join(every)}; pass names"
            )

    def forward(self, *inputs: Any, **options: Any) -> Any:
        if not self.training or not self.p:
            return self.layer(*inputs, **options)
        weights = dict(self.layer.named_parameters())
        held = {name: F.dropout(weights[name], self.p) for name in self.dropped}
        return torch.func.functional_call(self.layer, held, inputs, options)

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:  # what the layer can do besides
            return getattr(super().__getattr__("layer"), name)

    def extra_repr(self) -> str:
        return f"p={self.p}"
