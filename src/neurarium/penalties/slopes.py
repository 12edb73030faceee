"""Penalties of how fast the network's output changes with its input."""

import functools
import importlib
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from neurarium.penalties._selection import shown
from neurarium.penalties._statistics import uncounted
from neurarium.penalties.weights import _positive

__all__ = ["Jacobian", "TangentProp"]


class TangentProp:
    r"""Slope of the outputs along directions in which they should not change.

    $$\Omega = \frac{\lambda}{n} \sum_x \sum_i
      \Bigl\lVert \frac{\partial f(x)}{\partial x}\, v_i(x) \Bigr\rVert^2, \qquad
      v_i(x) = \frac{\partial T_i(x, \alpha)}{\partial \alpha}\Big|_{\alpha = 0}$$

    The directions are tangents of transformations $T_i$ that keep the class, such as shifts:
    `data.tangents` computes them. Their length is the unit in which `weight` is measured.

    Args:
        weight: $\lambda$.
        tangents: the batch key of directions of shape (rows, directions, *input), or a function
            that computes them from the input. They are those of the input as the model meets it:
            scaled if it is.

    Raises:
        ValueError: if the batch lacks the key, or the shapes do not fit.

    Source: Simard, Victorri, LeCun & Denker (1992), Tangent Prop, NIPS 4.
    """

    def __init__(
        self, weight: float, tangents: str | Callable[[Tensor], Tensor] = "tangents"
    ) -> None:
        self.weight, self.tangents = _positive("weight", weight), tangents

    __repr__ = shown

    def __call__(self, model: nn.Module, batch: Mapping[str, Tensor]) -> Float[Tensor, ""]:
        x = batch["input"]
        directions = self._directions(batch).movedim(1, 0).to(x.dtype)
        if directions.shape[1:] != x.shape:
            raise ValueError(
                "tangents must have the shape (rows, directions, *input), got "
                f"{tuple(directions.movedim(0, 1).shape)} for an input of {tuple(x.shape)}"
            )

        _load_forward_mode()

        def slope(direction: Tensor) -> Tensor:
            # `forward`, past the hooks of those who listen to the model's real outputs.
            return torch.func.jvp(model.forward, (x,), (direction,))[1]

        with uncounted(model):
            slopes = torch.vmap(slope, randomness="same")(directions)
        return self.weight * slopes.square().sum() / len(x)

    def _directions(self, batch: Mapping[str, Tensor]) -> Tensor:
        if not isinstance(self.tangents, str):
            return self.tangents(batch["input"])
        if self.tangents not in batch:
            raise ValueError(
                f"TangentProp needs the batch key {self.tangents!r}, found {', '.join(batch)}; add "
                "data.tangents(images) to every split, or pass a function of the input as tangents"
            )
        return batch[self.tangents]


@functools.cache
def _load_forward_mode() -> None:
    # At its first use torch scripts decompositions, and warns of its own `torch.jit.script`.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        importlib.import_module("torch._decomp.decompositions_for_jvp")


class Jacobian:
    r"""Slope of the outputs in all directions of the input: what a small disturbance can do.

    $$\Omega = \frac{\lambda}{n} \sum_x \Bigl\lVert \frac{\partial f(x)}{\partial x} \Bigr\rVert_F^2
      = \frac{\lambda}{n} \sum_x m\, \mathbb{E}_u \lVert u^\top J(x) \rVert^2, \qquad
      \lVert u \rVert = 1$$

    Args:
        weight: $\lambda$.
        projections: number of random directions $u$ of the $m$ outputs that estimate the norm
            without bias; the paper's 1 costs one more backward pass. None is exact, with one
            backward pass per output.

    Source: Hoffman, Roberts & Yaida (2019), Robust Learning with Jacobian Regularization,
    arXiv:1908.02729; Drucker & LeCun (1992), Improving generalization performance using double
    backpropagation, IEEE Trans. Neural Networks 3(6).
    """

    def __init__(self, weight: float, projections: int | None = 1) -> None:
        if projections is not None and projections < 1:
            raise ValueError(f"projections must be at least 1, or None for all, got {projections}")
        self.weight, self.projections = _positive("weight", weight), projections

    __repr__ = shown

    def __call__(self, model: nn.Module, batch: Mapping[str, Tensor]) -> Float[Tensor, ""]:
        wanted = torch.is_grad_enabled()
        with torch.enable_grad():
            x = batch["input"].detach().requires_grad_()
            with uncounted(model):
                output = model.forward(x)
            slopes = [self._slope(output, x, u, wanted) for u in self._outputs(output)]
        return self.weight * torch.stack(slopes).sum() / len(x)

    def _outputs(self, output: Tensor) -> Any:
        size = output[0].numel()
        if self.projections is None:
            for unit in torch.eye(size, dtype=output.dtype, device=output.device):
                yield unit.reshape(output.shape[1:]).expand_as(output)
            return
        for _ in range(self.projections):
            u = torch.randn_like(output).flatten(1)
            u = u / u.norm(dim=1, keepdim=True) * (size / self.projections) ** 0.5
            yield u.reshape(output.shape)

    def _slope(self, output: Tensor, x: Tensor, u: Tensor, wanted: bool) -> Tensor:
        (slope,) = torch.autograd.grad(output, x, u, create_graph=wanted, retain_graph=True)
        return slope.square().sum()
