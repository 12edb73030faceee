r"""The manifold tangent classifier: directions found in the data instead of known ones.

Three stages: `contractive` trains an auto-encoder, `tangent_basis` reads the directions in which
the data lie off its encoder, and `manifold_tangent` trains a classifier not to change along them.
"""

import copy
import functools
from collections.abc import Callable, Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from neurarium.data import Batch
from neurarium.objectives.supervised import Objective, supervised
from neurarium.penalties import TangentProp

__all__ = ["contractive", "manifold_tangent", "tangent_basis"]


class _Contractive(nn.Module):
    def __init__(self, weight: float, curvature: float, noise: float) -> None:
        super().__init__()
        self.weight, self.curvature, self.noise = weight, curvature, noise

    def forward(self, model: nn.Module, batch: Batch) -> Mapping[str, Tensor]:
        encoder, decoder = _parts(model)
        x = batch["input"]
        training = torch.is_grad_enabled()
        with torch.enable_grad():  # judging needs slopes too
            x = x.detach().requires_grad_()
            code = encoder(x)
            u = torch.randn_like(code)
            slope = _pulled_back(code, x, u, training)
            parts = {
                "reconstruction": (decoder(code).reshape(x.shape) - x).square().flatten(1).sum(1),
                "contraction": self.weight * slope.square().sum(1),
            }
            if self.curvature:
                near = (x + self.noise * torch.randn_like(x)).detach().requires_grad_()
                bend = slope - _pulled_back(encoder(near), near, u, training)
                parts["curvature"] = self.curvature * bend.square().sum(1)
        means = {name: part.mean() for name, part in parts.items()}
        return {"loss": torch.stack(list(means.values())).sum(), **means}

    def __repr__(self) -> str:
        return f"contractive({self.weight}, {self.curvature}, {self.noise})"


def _pulled_back(code: Tensor, x: Tensor, u: Tensor, training: bool) -> Tensor:
    """U'J for each row: its squared length has the mean ‖J‖² over standard normal u."""
    (slope,) = torch.autograd.grad(code, x, u, create_graph=training, retain_graph=True)
    return slope.flatten(1)


def _parts(model: Any) -> tuple[nn.Module, nn.Module]:
    if isinstance(model, nn.Sequential) and len(model) == 2:
        return model[0], model[1]
    if isinstance(getattr(model, "encoder", None), nn.Module):
        return model.encoder, model.decoder
    raise ValueError(
        "an auto-encoder must be nn.Sequential(encoder, decoder), or a module with the parts "
        f"`encoder` and `decoder`, got {type(model).__name__}"
    )


def contractive(weight: float = 0.1, curvature: float = 0.1, noise: float = 0.1) -> Objective:
    r"""An auto-encoder whose code changes along the data and as little as it can elsewhere.

    $$\lVert x - g(f(x)) \rVert^2 + \lambda \lVert J_f(x) \rVert_F^2
      + \gamma\, \mathbb{E}_\varepsilon \lVert J_f(x) - J_f(x + \varepsilon) \rVert_F^2$$

    The model is `nn.Sequential(encoder, decoder)` or has parts of these names. The norms are
    estimated, without bias, along one random direction of the code per row: one more backward pass
    each, where the whole Jacobian would take one per unit.

    Args:
        weight: $\lambda$.
        curvature: $\gamma$; 0 is the contractive auto-encoder of first order.
        noise: standard deviation of $\varepsilon$.

    Source: Rifai, Vincent, Muller, Glorot & Bengio (2011), Contractive Auto-Encoders, ICML; with
    the curvature: Rifai, Mesnil et al. (2011), Higher Order Contractive Auto-Encoder, ECML.
    """
    for name, value in (("weight", weight), ("curvature", curvature), ("noise", noise)):
        if not value >= 0:
            raise ValueError(f"{name} must be at least 0, got {value}")
    return _Contractive(weight, curvature, noise)


@torch.no_grad()
def tangent_basis(
    encoder: Callable[[Tensor], Tensor],
    x: Float[Tensor, " n *shape"],
    directions: int = 10,
    batch_size: int = 64,
) -> Float[Tensor, " n directions *shape"]:
    r"""The directions of the input in which an encoder's code changes most, at each point.

    $$J_f(x) = U \Sigma V^\top, \qquad B_x = (v_1, \dots, v_d)$$

    They have length 1 and are orthogonal. A contractive encoder leaves only those along the data.

    Args:
        encoder: rows to codes.
        directions: $d$.
        batch_size: rows whose Jacobians are held at a time.

    Source: Rifai, Dauphin, Vincent, Bengio & Muller (2011), The Manifold Tangent Classifier,
    NIPS 24.
    """
    rows = [_basis(encoder, part, directions) for part in x.split(batch_size)]
    return torch.cat(rows)


def _basis(encoder: Callable[[Tensor], Tensor], x: Tensor, directions: int) -> Tensor:
    def code_of(row: Tensor) -> Tensor:
        return encoder(row.unsqueeze(0)).flatten()

    jacobian = torch.vmap(torch.func.jacrev(code_of))(x).flatten(2)  # rows, units, features
    units, features = jacobian.shape[1:]
    if directions > min(units, features):
        raise ValueError(
            f"directions must be at most {min(units, features)}, as a code of {units} units of "
            f"{features} features has no more, got {directions}"
        )
    _, _, vh = torch.linalg.svd(jacobian, full_matrices=False)
    return vh[:, :directions].reshape(len(x), directions, *x.shape[1:])


def manifold_tangent(
    loss: str | Callable[..., Tensor] = "cross_entropy",
    weight: float = 0.1,
    encoder: nn.Module | None = None,
    directions: int = 10,
) -> Objective:
    r"""A classifier's loss, and the slopes of its outputs along the data's own directions.

    $$J = L\bigl(f(x), d\bigr) + \lambda \sum_{v \in B_x}
      \Bigl\lVert \frac{\partial f(x)}{\partial x}\, v \Bigr\rVert^2$$

    Args:
        loss: as in `supervised`.
        weight: $\lambda$.
        encoder: whose `tangent_basis` to take at each batch; a copy is kept as it is now. None
            reads the batch key "tangents", which is much faster over many epochs: put
            `tangent_basis(encoder, x)` into the data once.
        directions: $d$, of an encoder.

    Source: Rifai, Dauphin, Vincent, Bengio & Muller (2011), The Manifold Tangent Classifier,
    NIPS 24.
    """
    if encoder is None:
        return supervised(loss, [TangentProp(weight)])
    frozen = copy.deepcopy(encoder).eval()  # the classifier may go on to train these layers
    basis = functools.partial(tangent_basis, frozen, directions=directions)
    return supervised(loss, [TangentProp(weight, basis)])
