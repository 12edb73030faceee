"""How fast gradients grow or vanish with depth, by initialization."""

import statistics

import torch
from torch import nn

from neurarium.networks import MLP
from neurarium.recipes.reproduction import recipe


@recipe(
    source="Glorot & Bengio (2010), AISTATS; He et al. (2015), arXiv:1502.01852, section 2.2",
    figure="gradient's factor per layer, rectifiers with He's weights",
    expect=(0.95, 1.05),
    minutes=0.1,
    quick={"draws": 4},
)
def depth_rates(
    seed: int = 0, depth: int = 20, width: int = 64, rows: int = 256, draws: int = 8
) -> dict[str, float]:
    r"""What the gradient is multiplied by on its way through each of 20 layers.

    $(\lVert\delta_1\rVert / \lVert\delta_L\rVert)^{1/(L - 1)}$ with $\delta_l$ the gradient of a
    random linear loss with respect to layer l's sums, on inputs from N(0, 1), mean over draws of
    the network. He's argument gives 1 for rectifiers, and so 2 for doubled weights; the others are
    what these widths give.
    """

    def rate(init: str, activation: str) -> float:
        model = MLP([width] * (depth + 1) + [1], activation, init=init)
        h, sums = torch.randn(rows, width), []
        for layer in model.layers:
            h = layer(h)
            if isinstance(layer, nn.Linear):
                sums.append(h)
        first, *_, last = torch.autograd.grad(h.sum(), sums[:-1])
        return (first.norm() / last.norm()).item() ** (1 / (depth - 1))

    settings = {
        "relu, kaiming": ("kaiming", "relu"),
        "relu, twice kaiming": (f"normal:std={2 * (2 / width) ** 0.5}", "relu"),
        "relu, torch's default": (f"uniform:bound={width**-0.5}", "relu"),
        "tanh, xavier": ("xavier", "tanh"),
        "tanh, kaiming": ("kaiming", "tanh"),
        "tanh, orthogonal": ("orthogonal", "tanh"),
        "tanh, N(0, 0.05^2)": ("normal:std=0.05", "tanh"),
        "sigmoid, N(0, 1/n)": ("lecun", "sigmoid"),
    }
    return {
        name: statistics.fmean(rate(*setting) for _ in range(draws))
        for name, setting in settings.items()
    }
