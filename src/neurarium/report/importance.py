"""Which inputs mattered: permutation importance of columns, gradients of pictures."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Importance:
    """Rise of the loss by each column: mean and standard deviation over the repeats."""

    mean: np.ndarray
    std: np.ndarray
    rows: int
    repeats: int


@torch.no_grad()
def permutation_importance(
    row_loss: Callable[[Tensor], Tensor],
    inputs: Tensor,
    groups: Sequence[Sequence[int]],
    repeats: int = 5,
    seed: int = 0,
) -> Importance:
    r"""How much the loss rises when a column's values are shuffled among the rows.

    $$I_j = \frac{1}{R} \sum_{r=1}^{R} L\bigl(X^{(j, r)}, y\bigr) - L(X, y), \qquad
      X^{(j, r)} \text{ has the columns of group } j \text{ permuted together}$$

    It says what this network uses, not what would help another; of two columns that tell the same,
    either may seem to matter little.

    Args:
        row_loss: loss of each row of `repeats` copies of `inputs`, one below the other.
        groups: positions of the inputs that are shuffled together.

    Source: Breiman (2001), Random forests, Machine Learning 45(1); for any model: Fisher et al.
    (2019), All models are wrong, but many are useful, JMLR 20(177).
    """
    generator = torch.Generator().manual_seed(seed)
    # The same orders for all columns: each repeat compares them under one shuffle.
    n = len(inputs)
    order = torch.cat([torch.randperm(n, generator=generator) for _ in range(repeats)])
    copies = inputs.repeat(repeats, 1)
    start = row_loss(copies).view(repeats, n).mean(1)
    rises = torch.empty(len(groups), repeats)
    for j, group in enumerate(map(list, groups)):
        kept = copies[:, group]
        copies[:, group] = inputs[:, group][order]
        rises[j] = row_loss(copies).view(repeats, n).mean(1) - start
        copies[:, group] = kept
    return Importance(rises.mean(1).numpy(), rises.std(1).numpy(), n, repeats)


def affordable_rows(
    n: int, groups: int, parameters: int, repeats: int = 5, budget: float = 1e10
) -> int:
    """How many rows keep the multiplications of all repeats under `budget`: about half a second."""
    return min(n, 2000, int(budget / (max(parameters, 1000) * max(groups, 1) * repeats)))


def saliency(model: nn.Module, inputs: Tensor) -> Tensor:
    r"""Size of the gradient of the winning logit at each pixel: where a small change tells most.

    $$S = \max_c \Bigl| \frac{\partial f_{\hat y}(x)}{\partial x_c} \Bigr|, \qquad
      \hat y = \arg\max_k f_k(x)$$

    Args:
        inputs: pictures `(N, C, H, W)` as the model takes them.

    Source: Simonyan et al. (2014), Deep inside convolutional networks, arXiv:1312.6034.
    """
    with torch.enable_grad():
        x = inputs.detach() if inputs.is_floating_point() else inputs.float()
        x = x.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(model(x).max(1).values.sum(), x)
    return gradient.abs().amax(1).cpu()
