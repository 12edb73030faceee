"""The multilayer perceptron; with arguments, also the sigmoid network, Adaline, Nielsen's net."""

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from neurarium import activations, initialization
from neurarium.networks._config import remember

__all__ = ["MLP"]

Activation = str | Callable[..., Any] | nn.Module


class MLP(nn.Module):
    r"""Fully connected layers, each an affine map and an elementwise function.

    $$H_0 = x, \qquad H_i = \sigma(W_i H_{i-1} + b_i), \qquad y = W H_D + b$$

    Everything but the batch axis is flattened. `layers` holds the chain: Linear, norm,
    activation, dropout for each hidden layer, then Linear and `out`.

    Args:
        sizes: numeric inputs, hidden widths, outputs: `[784, 30, 10]`.
        activation: name, function or module; a list has one per hidden layer.
        norm: "batch" or "layer", before the activation.
        init: scheme of `initialization`, such as "kaiming"; torch's default if not given.
        out: activation of the output; none gives logits or plain numbers.
        categories: cardinalities of the categorical columns, which come last in the input as
            codes; code 0 is missing or unseen.
        embedding: width of each column's embedding; if not given, fastai's 1.6 n^0.56.

    Source: Rumelhart, Hinton & Williams (1986), Learning representations by back-propagating
    errors, Nature 323; embeddings: Guo & Berkhahn (2016), arXiv:1604.06737.
    """

    sizes: Sequence[int]

    def __init__(
        self,
        sizes: Sequence[int],
        activation: Activation | Sequence[Activation] = "relu",
        norm: Literal["batch", "layer"] | None = None,
        dropout: float = 0.0,
        bias: bool = True,
        init: str | Callable[[Tensor], Any] | None = None,
        out: Activation | None = None,
        categories: Sequence[int] = (),
        embedding: int | None = None,
    ) -> None:
        super().__init__()
        if len(sizes) < 2:
            raise ValueError(f"sizes needs at least inputs and outputs, got {list(sizes)}")
        remember(self, sizes=sizes, activation=activation, norm=norm, dropout=dropout, bias=bias)
        remember(self, init=init, out=out, categories=categories, embedding=embedding)
        tables = [_embedding(cardinality, embedding) for cardinality in categories]
        self.embeddings = nn.ModuleList(tables)
        hidden = _per_layer(activation, len(sizes) - 2)
        inputs = sizes[0] + sum(table.embedding_dim for table in tables)
        layers: list[nn.Module] = []
        for width, spec in zip(sizes[1:-1], hidden, strict=True):
            layers += _hidden_layer(inputs, width, spec, norm, dropout, bias)
            inputs = width
        layers.append(nn.Linear(inputs, sizes[-1], bias=bias))
        if out is not None:
            layers.append(activations.module(out, sizes[-1]))
        self.layers = nn.Sequential(*layers)
        if init is not None:
            same = all(spec == hidden[0] for spec in hidden)
            initialization.init_(self, init, hidden[0] if hidden and same else None)

    @classmethod
    def for_data(
        cls,
        input_shape: Sequence[int],
        outputs: int,
        categories: Sequence[int],
        hidden: int | Sequence[int] = (256, 256),
        **arguments: Any,
    ) -> "MLP":
        """An MLP between these inputs and outputs, with `hidden` widths between."""
        hidden = (hidden,) if isinstance(hidden, int) else hidden
        numeric = math.prod(input_shape) - len(categories)
        return cls([numeric, *hidden, outputs], categories=categories, **arguments)

    def forward(self, x: Float[Tensor, "batch ..."]) -> Float[Tensor, "batch outputs"]:
        return self.layers(self.embed(x.flatten(1)))

    def embed(self, x: Float[Tensor, "batch columns"]) -> Float[Tensor, "batch features"]:
        """Replace the codes in the last columns by their embeddings."""
        if not self.embeddings:
            return x
        numeric, codes = x.tensor_split([self.sizes[0]], dim=1)
        columns = zip(self.embeddings, codes.long().unbind(1), strict=True)
        return torch.cat([numeric, *(table(code) for table, code in columns)], dim=1)


def _hidden_layer(
    inputs: int, width: int, spec: Activation, norm: str | None, dropout: float, bias: bool
) -> list[nn.Module]:
    wide = width * activations.widening(spec)
    # Batch norm subtracts the mean, and a bias with it.
    layers: list[nn.Module] = [nn.Linear(inputs, wide, bias=bias and norm != "batch")]
    if norm == "batch":
        layers.append(nn.BatchNorm1d(wide))
    elif norm == "layer":
        layers.append(nn.LayerNorm(wide))
    elif norm is not None:
        raise ValueError(f"norm must be 'batch', 'layer' or None, got {norm!r}")
    layers.append(activations.module(spec, wide))
    return [*layers, nn.Dropout(dropout)] if dropout else layers


def _per_layer(activation: Any, hidden: int) -> list[Activation]:
    if not isinstance(activation, list | tuple):
        return [activation] * hidden
    if len(activation) != hidden:
        raise ValueError(
            f"activation lists {len(activation)} functions for {hidden} hidden layers; "
            "give one per hidden layer, and the output's as out"
        )
    return list(activation)


def _embedding(cardinality: int, width: int | None) -> nn.Embedding:
    table = nn.Embedding(cardinality, width or min(600, round(1.6 * cardinality**0.56)))
    # A category never seen in training must say nothing rather than something random.
    nn.init.zeros_(table.weight[0])
    return table
