"""Radial basis functions: units that answer to places instead of directions."""

import math
from collections.abc import Callable
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from neurarium._names import resolve

__all__ = ["RBF"]

Kernel = Callable[[Tensor], Tensor]


class RBF(nn.Module):
    r"""Radial units: each answers by how far the input is from its centre.

    $$h_k(x) = \varphi\bigl(\beta_k \lVert x - c_k \rVert^2\bigr), \qquad
      \varphi(s) = e^{-s}$$

    Centres start at random, N(0, 1), or are placed by `place`; both they and the $\beta_k > 0$
    (kept as logarithms) are parameters that a gradient can go on from.

    Args:
        kernel: "gaussian"; "multiquadric" $\sqrt{1 + s}$, "inverse_multiquadric"
            $1/\sqrt{1 + s}$ or "thin_plate" $\tfrac12 s \ln s$, that is $r^2 \ln r$ for
            $\beta = 1$; or a function of $s$.
        beta: where every $\beta_k$ starts.

    Source: Broomhead & Lowe (1988), Multivariable functional interpolation and adaptive networks,
    Complex Systems 2; placing: Moody & Darken (1989), Fast learning in networks of locally-tuned
    processing units, Neural Computation 1(2).
    """

    def __init__(
        self, in_features: int, units: int, kernel: str | Kernel = "gaussian", beta: float = 1.0
    ) -> None:
        super().__init__()
        if not beta > 0:
            raise ValueError(f"beta must be positive, got {beta}; a wide unit has a small one")
        self.kernel: Kernel = resolve(kernel, _KERNELS, "kernel")
        self.centers = nn.Parameter(torch.randn(units, in_features))
        self.log_beta = nn.Parameter(torch.full((units,), math.log(beta)))

    @property
    def beta(self) -> Float[Tensor, " units"]:
        return self.log_beta.exp()

    def forward(self, x: Float[Tensor, "*batch in_features"]) -> Float[Tensor, "*batch units"]:
        # Not torch.cdist, which cannot be differentiated twice. Around the centres' mean the
        # squares are small, so little is lost in their difference.
        origin = self.centers.detach().mean(0)
        x, centers = x - origin, self.centers - origin
        squares = x.square().sum(-1, keepdim=True) + centers.square().sum(-1)
        distances = (squares - 2 * x @ centers.T).clamp(min=0)
        return self.kernel(self.beta * distances)

    @torch.no_grad()
    def place(
        self,
        x: Float[Tensor, "rows in_features"],
        centers: Literal["kmeans", "random"] = "kmeans",
        neighbours: int = 2,
        width: float = 1.0,
        seed: int = 0,
    ) -> "RBF":
        r"""Put the centres where the data are, and let the units reach to their neighbours.

        $$\beta_k = \frac{1}{2 \sigma_k^2}, \qquad
          \sigma_k = \text{width} \cdot \text{mean distance to the nearest centres}$$

        Args:
            centers: "kmeans" of the rows, or "random" rows.
            neighbours: how many nearest centres count; with one unit, $\beta$ stays as it is.

        Raises:
            ValueError: if there are fewer different rows than units.

        Source: Moody & Darken (1989), Fast learning in networks of locally-tuned processing units,
        Neural Computation 1(2).
        """
        if centers not in ("kmeans", "random"):
            raise ValueError(f"centers must be 'kmeans' or 'random', got {centers!r}")
        if neighbours < 1 or not width > 0:
            raise ValueError(
                f"neighbours must be at least 1 and width positive, got {neighbours} and {width}"
            )
        units, distinct = len(self.centers), torch.unique(x, dim=0)
        if len(distinct) < units:
            raise ValueError(
                f"{units} units need as many different rows, got {len(distinct)}; take fewer units"
            )
        if centers == "kmeans":
            found = _kmeans(x, units, seed)
        else:
            generator = torch.Generator().manual_seed(seed)
            order = torch.randperm(len(distinct), generator=generator)[:units]
            found = distinct[order.to(distinct.device)]
        self.centers.copy_(found)
        if units > 1:
            distances = torch.cdist(found.double(), found.double())
            nearest = distances.sort(1).values[:, 1 : neighbours + 1]  # the first is itself
            sigma = width * nearest.mean(1)
            self.log_beta.copy_(-(2 * sigma.square()).log())
        return self

    def extra_repr(self) -> str:
        units, in_features = self.centers.shape
        return f"{in_features}, {units}, {getattr(self.kernel, '__name__', self.kernel)}"


def _kmeans(x: Tensor, units: int, seed: int) -> Tensor:
    from sklearn.cluster import KMeans

    clusters: Any = KMeans(units, n_init=1, random_state=seed).fit(x.double().cpu().numpy())
    return torch.from_numpy(clusters.cluster_centers_).to(x)


def gaussian(s: Tensor) -> Tensor:
    return torch.exp(-s)


def multiquadric(s: Tensor) -> Tensor:
    return torch.sqrt(1 + s)


def inverse_multiquadric(s: Tensor) -> Tensor:
    return torch.rsqrt(1 + s)


def thin_plate(s: Tensor) -> Tensor:
    # At 0 the logarithm's gradient would be 0 times infinity.
    return 0.5 * s * torch.where(s > 0, s, 1).log()


_KERNELS = {
    kernel.__name__: kernel for kernel in (gaussian, multiquadric, inverse_multiquadric, thin_plate)
}
