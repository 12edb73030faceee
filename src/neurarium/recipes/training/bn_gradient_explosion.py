"""Batch normalization makes gradients explode with depth, before training."""

import itertools
from typing import Literal

import torch
from torch import nn

from neurarium.initialization import init_
from neurarium.networks import MLP
from neurarium.recipes.reproduction import recipe


@recipe(
    source="Yang et al. (2019), A mean field theory of batch normalization, arXiv:1902.08129",
    figure="growth of the squared gradient per layer",
    published=1.467,
    expect=(1.423, 1.511),
    minutes=0.1,
    quick={"depth": 12, "width": 256},
)
def bn_gradient_explosion(
    seed: int = 0, depth: int = 30, width: int = 512, rows: int = 256
) -> dict[str, float]:
    r"""Rectifiers after batch normalization, without shortcuts, at any scale of the weights.

    The squared gradient of a random linear loss with respect to the layers' outputs, from one
    hidden layer to the one before it: $\pi/(\pi - 1)$ for infinite width and batch. Weights are
    N(0, 1/width), then ten times as large; He's without normalization in the last row.
    """

    def growth(norm: Literal["batch"] | None, init: str) -> float:
        model = MLP([width] * (depth + 2), norm=norm, bias=False)
        init_(model, init)
        h, outputs = torch.randn(rows, width), []
        for layer in list(model.layers)[:-1]:
            h = layer(h)
            if isinstance(layer, nn.ReLU):
                outputs.append(h)
        loss = (h * torch.randn_like(h)).sum()
        squares = [g.square().sum() for g in torch.autograd.grad(loss, outputs)]
        ratios = [below / above for below, above in itertools.pairwise(squares[2:-2])]
        return torch.stack(ratios).log().mean().exp().item()

    return {
        "batch norm": growth("batch", "lecun"),
        "batch norm, weights 10 times as large": growth("batch", f"normal:std={10 / width**0.5}"),
        "no batch norm, He's weights": growth(None, "kaiming"),
    }
