"""The same function at other weights, as sharp or flat as one likes."""

import copy
import itertools
from collections.abc import Iterator

import torch
from torch import nn

__all__ = ["rescale_relu"]

_AFFINE = (nn.Linear, nn.modules.conv._ConvNd)
# f(a x) = a f(x) for every a > 0
_HOMOGENEOUS = (
    nn.ReLU,
    nn.LeakyReLU,
    nn.PReLU,
    nn.Identity,
    nn.Flatten,
    nn.Dropout,
    nn.modules.pooling._MaxPoolNd,
    nn.modules.pooling._AvgPoolNd,
    nn.modules.pooling._AdaptiveMaxPoolNd,
    nn.modules.pooling._AdaptiveAvgPoolNd,
)


def rescale_relu(model: nn.Module, alpha: float, pair: tuple[str, str] | None = None) -> nn.Module:
    r"""A copy that computes the same function with one layer times `alpha`, the next over it.

    $$(W_1, b_1, W_2) \mapsto (\alpha W_1,\, \alpha b_1,\, W_2/\alpha), \qquad
      \operatorname{relu}(\alpha z) = \alpha \operatorname{relu}(z) \text{ for } \alpha > 0$$

    The loss is the same, the Hessian's largest eigenvalue is not: it grows like $\alpha^2$ once
    $\alpha$ is far from 1. So flatness alone says nothing about generalization.

    Args:
        pair: names of two layers with only positively homogeneous functions between, such as
            ("layers.0", "layers.2"); by default the first two in some `nn.Sequential`.

    Raises:
        ValueError: if `alpha` is not positive, or no two layers are so joined.

    Source: Dinh, Pascanu, Bengio & Bengio (2017), Sharp minima can generalize for deep nets,
    arXiv:1703.04933.
    """
    if not alpha > 0:
        raise ValueError(f"alpha must be positive, got {alpha}; relu(-z) is not -relu(z)")
    rescaled = copy.deepcopy(model)
    if pair is None:
        first, second = next(_joined(rescaled), (None, None))
    else:
        first, second = (rescaled.get_submodule(name) for name in pair)
    if not isinstance(first, _AFFINE) or not isinstance(second, _AFFINE):
        raise ValueError(
            "no two linear or convolutional layers of this model are joined by rectifiers alone "
            "in an nn.Sequential; name two such layers with pair=(first, second)"
        )
    with torch.no_grad():
        first.weight.mul_(alpha)
        if first.bias is not None:
            first.bias.mul_(alpha)
        second.weight.div_(alpha)
    return rescaled


def _joined(model: nn.Module) -> Iterator[tuple[nn.Module, nn.Module]]:
    """Pairs of layers that follow each other, with homogeneous modules and a rectifier between."""
    for chain in model.modules():
        if not isinstance(chain, nn.Sequential):
            continue
        chained = list(chain)
        layers = [i for i, module in enumerate(chained) if isinstance(module, _AFFINE)]
        for i, j in itertools.pairwise(layers):
            if all(isinstance(module, _HOMOGENEOUS) for module in chained[i + 1 : j]):
                yield chained[i], chained[j]
