"""Residual networks that start as their shortcuts."""

import functools
from collections.abc import Sequence
from typing import Any

from torch import nn

from neurarium.initialization._layers import assign, names, refill, weighted
from neurarium.initialization.schemes import kaiming_

__all__ = ["fixup_", "zero_gamma_"]

Branch = nn.Module | Sequence[nn.Module]

_NORMALIZATIONS = (
    nn.modules.batchnorm._NormBase,
    nn.GroupNorm,
    nn.LayerNorm,
    nn.RMSNorm,
)


def zero_gamma_(model: nn.Module, branches: Sequence[Branch] | None = None) -> nn.Module:
    r"""Start each residual block as its shortcut: the last normalization of its branch gives 0.

    $$y = s(x) + \gamma\,\widehat{F(x)} + \beta, \qquad \gamma = \beta = 0$$

    Nothing but these scales and shifts is changed.

    Args:
        branches: the residual branches, each a module or its modules in the order of the forward
            pass (`[(b.conv1, b.bn1, b.conv2, b.bn2) for b in ...]`); by default whatever the
            model's blocks call `residual`, as those of `networks.ResNet` do.

    Source: He T. et al. (2019), Bag of tricks for image classification with convolutional neural
    networks, arXiv:1812.01187.
    """
    for branch in _branches(model, branches):
        norms: list[Any] = [m for m in _modules(branch) if isinstance(m, _NORMALIZATIONS)]
        if not norms or norms[-1].weight is None:
            raise ValueError(
                f"the branch {names(model, branch)} ends in no normalization with a scale; "
                "initialize a network without them by 'fixup'"
            )
        nn.init.zeros_(norms[-1].weight)
        if getattr(norms[-1], "bias", None) is not None:
            nn.init.zeros_(norms[-1].bias)
    return model


def fixup_(
    model: nn.Module,
    branches: Sequence[Branch] | None = None,
    classifier: nn.Module | None = None,
    activation: Any = "relu",
) -> nn.Module:
    r"""Train deep residual networks without normalization: small branches that start at 0.

    $$\operatorname{Var}(W) = \frac{g^2}{n_\text{in}}\, L^{-1/(m-1)} \text{ in the branches},
      \qquad W_m = 0, \qquad W_\text{classifier} = 0$$

    for L branches of m layers each: He's standard deviation times $L^{-1/(2m-2)}$. Layers outside
    the branches are He's. The paper's scalar biases and multipliers are the block's to have.

    Args:
        branches: as for `zero_gamma_`.
        classifier: the last layer; by default the last one registered outside the branches.

    Source: Zhang, Dauphin & Ma (2019), Fixup initialization: residual learning without
    normalization, arXiv:1901.09321.
    """
    found = _branches(model, branches)
    norms = [m for branch in found for m in _modules(branch) if isinstance(m, _NORMALIZATIONS)]
    if norms:
        raise ValueError(
            f"{names(model, norms[:1])} would undo the small scale of its branch; fixup is for "
            "networks without normalization, take 'zero_gamma'"
        )
    for layer in weighted(model):
        refill(layer, functools.partial(kaiming_, activation=activation))
    inside: set[nn.Module] = set()
    for branch in found:
        layers = [layer for part in branch for layer in weighted(part)]
        for layer in layers[:-1]:
            assign(layer, layer.weight * len(found) ** (-1 / (2 * len(layers) - 2)))
        refill(layers[-1], nn.init.zeros_)
        inside |= set(layers)
    outside = [layer for layer in weighted(model) if layer not in inside]
    for layer in outside[-1:] if classifier is None else weighted(classifier):
        refill(layer, nn.init.zeros_)
    return model


def _branches(model: nn.Module, given: Sequence[Branch] | None) -> list[list[nn.Module]]:
    """Each branch as a list of modules."""
    if given is None:
        candidates = [getattr(block, "residual", None) for block in model.modules()]
        given = [branch for branch in candidates if isinstance(branch, nn.Module)]
    if not given:
        raise ValueError(
            "found no residual branch: no module of this model has one called 'residual'; name "
            "them by branches=[block.my_branch for block in model.my_blocks]"
        )
    return [[branch] if isinstance(branch, nn.Module) else list(branch) for branch in given]


def _modules(branch: list[nn.Module]) -> list[Any]:
    return [module for part in branch for module in part.modules()]
