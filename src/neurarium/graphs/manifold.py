"""Curvatures of the surfaces that a molecule's atoms make."""

from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["element_curvatures", "surface_curvatures"]


def surface_curvatures(
    points: Float[Tensor, "points 3"],
    centres: Float[Tensor, "atoms 3"],
    eta: float,
    kappa: float = 2.0,
    kernel: Literal["exponential", "lorentz"] = "exponential",
    weights: Float[Tensor, " atoms"] | None = None,
) -> dict[str, Float[Tensor, " points"]]:
    r"""Curvatures, at each point, of the surface of constant density through it.

    $$\rho(r) = \sum_j w_j\, e^{-(\lVert r - r_j \rVert / \eta)^\kappa}, \qquad
      H = \frac{\nabla\rho^\top \nabla^2\rho\, \nabla\rho - |\nabla\rho|^2 \operatorname{tr}
      \nabla^2\rho}{2 |\nabla\rho|^3}, \qquad K = \frac{\nabla\rho^\top \operatorname{adj}
      (\nabla^2\rho) \nabla\rho}{|\nabla\rho|^4}$$

    and $\kappa_{1,2} = H \mp \sqrt{H^2 - K}$. The normal points to lower density, so a ball is
    curved positively: a single atom has $H = 1/r$ and $K = 1/r^2$. Where the gradient vanishes all
    are 0.

    Args:
        kernel: "lorentz" for $1 / (1 + (\lVert r - r_j \rVert / \eta)^\kappa)$.

    Returns:
        "mean", "gaussian", "minimum" and "maximum" curvature.

    Source: Nguyen & Wei (2019), DG-GL: Differential geometry-based geometric learning of molecular
    datasets, arXiv:1806.03765.
    """
    if not (eta > 0 and kappa > 0):
        raise ValueError(f"eta and kappa must be positive, got {eta} and {kappa}")
    mass = centres.new_ones(len(centres)) if weights is None else weights

    gradient, hessian = _derivatives(points, centres, mass, eta, kappa / 2, kernel)
    squared = gradient.square().sum(1)
    bent = torch.einsum("pi,pij,pj->p", gradient, hessian, gradient)
    trace = hessian.diagonal(dim1=1, dim2=2).sum(1)
    safe = squared > 1e-20
    squared = torch.where(safe, squared, 1.0)
    mean = torch.where(safe, (bent - squared * trace) / (2 * squared**1.5), 0.0)
    whole = torch.einsum("pi,pij,pj->p", gradient, _adjugate(hessian), gradient)
    gaussian = torch.where(safe, whole / squared**2, 0.0)
    root = (mean.square() - gaussian).clamp(min=0).sqrt()
    return {"mean": mean, "gaussian": gaussian, "minimum": mean - root, "maximum": mean + root}


def _derivatives(
    points: Tensor, centres: Tensor, mass: Tensor, eta: float, p: float, kernel: str
) -> tuple[Tensor, Tensor]:
    """Gradient and Hessian of the density at each point."""
    away = points[:, None] - centres
    # With s the squared distance and u = s^p; an atom at the very point adds nothing.
    s = (away.square().sum(-1) / eta**2).clamp(min=1e-24)
    u, du, ddu = s**p, p * s ** (p - 1), p * (p - 1) * s ** (p - 2)
    if kernel == "exponential":
        first, second = -du * (-u).exp(), (du.square() - ddu) * (-u).exp()
    else:
        first = -du / (1 + u).square()
        second = 2 * du.square() / (1 + u) ** 3 - ddu / (1 + u).square()
    first, second = mass * first * 2 / eta**2, mass * second * 4 / eta**4
    gradient = torch.einsum("pa,pai->pi", first, away)
    hessian = torch.einsum("pa,pai,paj->pij", second, away, away)
    unit = torch.eye(3, dtype=points.dtype, device=points.device)
    return gradient, hessian + first.sum(1)[:, None, None] * unit


def _adjugate(m: Tensor) -> Tensor:
    """Of symmetric 3 x 3 matrices: columns are cross products of the others."""
    a, b, c = m.unbind(-1)
    rows = [torch.linalg.cross(b, c), torch.linalg.cross(c, a), torch.linalg.cross(a, b)]
    return torch.stack(rows, -2)


def element_curvatures(
    xyz: Float[Tensor, "atoms 3"],
    elements: Sequence[str],
    eta: float,
    kappa: float = 2.0,
    kernel: Literal["exponential", "lorentz"] = "exponential",
    pairs: Sequence[tuple[str, str]] | None = None,
) -> dict[str, float]:
    r"""Features of a molecule: curvatures at atoms of one element in the density of another.

    $$F^{AB} = \Bigl\{ \sum, \min, \max, \text{mean} \Bigr\}_{i \in A} \kappa(r_i), \qquad
      \rho^{AB}(r_i) = \sum_{j \in B,\, j \ne i} e^{-(\lVert r_i - r_j \rVert / \eta)^\kappa}$$

    They do not change when the molecule is turned or moved.

    Args:
        pairs: the pairs of elements; by default all that occur.

    Returns:
        Values by name, "C-O mean sum" for carbons in the density of oxygens.

    Source: Nguyen & Wei (2019), arXiv:1806.03765.
    """
    if len(xyz) != len(elements):
        raise ValueError(f"there are {len(xyz)} places but {len(elements)} elements")
    kinds = sorted(set(elements))
    wanted = [(a, b) for a in kinds for b in kinds] if pairs is None else pairs
    found: dict[str, float] = {}
    for a, b in wanted:
        of_b = [i for i, element in enumerate(elements) if element == b]
        rows = []
        for i, element in enumerate(elements):
            others = [j for j in of_b if j != i]
            if element == a and others:
                rows.append(surface_curvatures(xyz[[i]], xyz[others], eta, kappa, kernel))
        for name in ("mean", "gaussian", "minimum", "maximum"):
            values = torch.cat([row[name] for row in rows]) if rows else xyz.new_zeros(1)
            for how in ("sum", "min", "max", "mean"):
                found[f"{a}-{b} {name} {how}"] = float(getattr(values, how)())
    return found
