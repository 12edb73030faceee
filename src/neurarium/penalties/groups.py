"""Penalties of whole rows, filters or matrices, which they switch off together."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from neurarium.penalties._selection import On, check, select, shown
from neurarium.penalties.weights import _positive

__all__ = ["GroupLasso", "Nuclear"]

Groups = Literal["rows", "columns", "filters", "channels"]

# Group -> axis that counts the groups, and whether the parameter is a convolution's.
_GROUPS = {
    "rows": (0, False),
    "columns": (1, False),
    "filters": (0, True),
    "channels": (1, True),
}


class _Tensorwise(ABC):
    """Called as `(model, batch)`: the sum of `value` over the selected parameters."""

    def __init__(self, weight: float, on: On) -> None:
        self.weight, self.on = _positive("weight", weight), check(on)

    def __call__(
        self, model: nn.Module, batch: Mapping[str, Tensor] | None = None
    ) -> Float[Tensor, ""]:
        return torch.stack([self.value(p) for p in self.select(model)]).sum()

    __repr__ = shown

    def select(self, model: nn.Module) -> list[nn.Parameter]:
        """The parameters that are penalized."""
        return [p for p in select(model, self.on, type(self).__name__) if p.ndim > 1]

    @abstractmethod
    def value(self, theta: Float[Tensor, "*shape"]) -> Float[Tensor, ""]:
        """The penalty of one parameter."""

    @abstractmethod
    def prox(self, theta: Float[Tensor, "*shape"], step: float) -> Float[Tensor, "*shape"]:
        r"""$\arg\min_x \tfrac12\lVert x-\theta\rVert^2 + \eta\,\Omega(x)$, step $\eta$."""


class GroupLasso(_Tensorwise):
    r"""Sum of the lengths of groups of weights: a whole group becomes zero, or none of it.

    $$\Omega(\theta) = \lambda \sum_g \sqrt{|g|}\, \lVert\theta_g\rVert_2, \qquad
      \operatorname{prox}_{\eta\Omega}(\theta_g) =
      \Bigl(1 - \frac{\eta\lambda\sqrt{|g|}}{\lVert\theta_g\rVert}\Bigr)_+ \theta_g$$

    A neuron, filter or channel that is zero can be removed from the network. Exact zeros come from
    the callback `training.Proximal`.

    Args:
        weight: $\lambda$.
        groups: "rows" (the weights into each unit of a linear layer), "columns" (those out of each
            of its inputs), "filters" (each output of a convolution) or "channels" (each input of
            one). Only parameters of that kind are penalized.
        on: "weights", "all", or a function (name, parameter) -> bool.

    Source: Yuan & Lin (2006), Model selection and estimation in regression with grouped variables,
    JRSS B 68(1); Wen et al. (2016), Learning Structured Sparsity in Deep Neural Networks,
    arXiv:1608.03665.
    """

    def __init__(self, weight: float, groups: Groups = "rows", on: On = "weights") -> None:
        super().__init__(weight, on)
        if groups not in _GROUPS:
            raise ValueError(f"groups must be one of {', '.join(_GROUPS)}, got {groups!r}")
        self.groups = groups
        self._axis, self._convolutions = _GROUPS[groups]

    def select(self, model: nn.Module) -> list[nn.Parameter]:
        """The parameters that have such groups."""
        chosen = [p for p in super().select(model) if (p.ndim > 2) == self._convolutions]
        if not chosen:
            kind = "convolution" if self._convolutions else "linear layer"
            raise ValueError(
                f"GroupLasso(groups={self.groups!r}) found no {kind} in {type(model).__name__}; "
                "rows and columns are a linear layer's, filters and channels a convolution's"
            )
        return chosen

    def value(self, theta: Float[Tensor, "*shape"]) -> Float[Tensor, ""]:
        return self.weight * self._root(theta) * self._lengths(theta).sum()

    def prox(self, theta: Float[Tensor, "*shape"], step: float) -> Float[Tensor, "*shape"]:
        lengths = self._lengths(theta)
        threshold = step * self.weight * self._root(theta)
        return theta * (1 - threshold / lengths.clamp(min=threshold or 1.0))

    def _lengths(self, theta: Tensor) -> Tensor:
        others = [axis for axis in range(theta.ndim) if axis != self._axis]
        return torch.linalg.vector_norm(theta, dim=others, keepdim=True)

    def _root(self, theta: Tensor) -> float:
        return math.sqrt(theta.numel() // theta.shape[self._axis])


class Nuclear(_Tensorwise):
    r"""Sum of the singular values of each weight matrix: makes its rank low.

    $$\Omega(W) = \lambda \lVert W \rVert_* = \lambda \sum_i \sigma_i, \qquad
      \operatorname{prox}_{\eta\Omega}(W) = U (\Sigma - \eta\lambda)_+ V^\top$$

    A convolution's filters are the rows of its matrix. Each evaluation decomposes every matrix: it
    is the one penalty here that costs more than a step of a small network.

    Args:
        weight: $\lambda$.
        on: "weights", "all", or a function (name, parameter) -> bool.

    Source: Fazel, Hindi & Boyd (2001), A rank minimization heuristic with application to minimum
    order system approximation, ACC; prox: Cai, Candès & Shen (2010), arXiv:0810.3286.
    """

    def __init__(self, weight: float, on: On = "weights") -> None:
        super().__init__(weight, on)

    def value(self, theta: Float[Tensor, "*shape"]) -> Float[Tensor, ""]:
        return self.weight * torch.linalg.svdvals(theta.flatten(1)).sum()

    def prox(self, theta: Float[Tensor, "*shape"], step: float) -> Float[Tensor, "*shape"]:
        u, s, vh = torch.linalg.svd(theta.flatten(1), full_matrices=False)
        shrunk = (s - step * self.weight).clamp(min=0)
        return ((u * shrunk) @ vh).reshape(theta.shape)
