"""The loss's Hessian at a network, known only through its products with vectors."""

import contextlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from neurarium.learning import NonFiniteError
from neurarium.objectives import Objective
from neurarium.training.landscape.loss import LossFunction

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Estimate", "Spectrum", "spectrum", "top_eigenvalues", "trace"]

Product = Callable[[Tensor], Tensor]


class Estimate(NamedTuple):
    """A mean over random probes, and its standard error (NaN for one probe)."""

    value: float
    error: float


@dataclass(frozen=True)
class Spectrum:
    """Eigenvalue density as point masses; `weights` sum to 1.

    Attributes:
        nodes: where the masses are; the outermost ones are close to the outermost eigenvalues.
    """

    nodes: Tensor
    weights: Tensor

    @property
    def mean(self) -> float:
        """Mean eigenvalue; times the number of parameters it is the trace by the same probes."""
        return float(self.nodes @ self.weights)

    def density(self, x: Float[Tensor, " points"], sigma: float) -> Float[Tensor, " points"]:
        """The masses smoothed by a Gaussian of standard deviation `sigma`."""
        z = (x[:, None] - self.nodes) / sigma
        return torch.exp(-z.square() / 2) @ self.weights / (sigma * math.sqrt(2 * math.pi))

    def plot(self, sigma: float | None = None) -> "Figure":
        """Smoothed density, on a logarithmic axis; `sigma` is a hundredth of the range."""
        from matplotlib.figure import Figure

        low, high = float(self.nodes.min()), float(self.nodes.max())
        sigma = sigma or max(high - low, 1e-12) / 100
        x = torch.linspace(low - 5 * sigma, high + 5 * sigma, 1000, dtype=torch.float64)
        figure = Figure(figsize=(5, 3.2), layout="constrained")
        axes = figure.add_subplot(yscale="log", xlabel="eigenvalue", ylabel="density")
        axes.plot(x.numpy(), self.density(x, sigma).clamp(min=1e-8 / sigma).numpy())
        return figure


def top_eigenvalues(
    model: nn.Module,
    objective: Objective,
    data: Any,
    k: int = 1,
    *,
    which: Literal["largest", "smallest", "magnitude"] = "largest",
    split: str = "train",
    batch_size: int = 1024,
    seed: int = 0,
) -> Float[Tensor, " k"]:
    r"""The outermost eigenvalues of the loss's Hessian, by Lanczos; the first is the sharpness.

    $$H = \nabla^2_\theta L, \qquad H v = \nabla_\theta\,(\nabla_\theta L \cdot v), \qquad
      \lambda_{\max} = \max_{\lVert v\rVert = 1} v^\top H v$$

    Judged in evaluation mode on the whole split; the model is afterwards as it was.

    Args:
        data: a `Data`, of which `split` is taken, or rows as `Data` takes them.
        k: how many, from the outermost inwards.
        which: "largest", "smallest" (most negative) or largest in "magnitude".

    Raises:
        NonFiniteError: if the loss or its curvature is NaN or infinite here.
        RuntimeError: if Lanczos did not converge.

    Source: Pearlmutter (1994), Fast exact multiplication by the Hessian, Neural Computation 6(1);
    sharpness and flat minima: Keskar et al. (2017), arXiv:1609.04836.
    """
    with _hessian(model, objective, data, split, batch_size) as (product, like):
        n = like.numel()
        if not 1 <= k <= n:
            raise ValueError(f"k must lie between 1 and the {n} parameters, got {k}")
        if n <= max(2 * k, 20):  # a Krylov space as large as the whole
            matrix = torch.stack([product(row) for row in torch.eye(n).to(like)])
            values = torch.linalg.eigvalsh(matrix.double().cpu())
        else:
            values = _by_arpack(product, like, k, which, seed)
    order = {"largest": -values, "smallest": values, "magnitude": -values.abs()}[which].argsort()
    return values[order[:k]]


def spectrum(
    model: nn.Module,
    objective: Objective,
    data: Any,
    *,
    steps: int = 80,
    probes: int = 1,
    split: str = "train",
    batch_size: int = 1024,
    seed: int = 0,
) -> Spectrum:
    r"""The density of the Hessian's eigenvalues, by stochastic Lanczos quadrature.

    $$\varphi(t) = \frac1n \sum_{i=1}^n \delta(t - \lambda_i) \approx
      \frac1k \sum_{p=1}^k \sum_{j=1}^m \bigl(e_1^\top u_{pj}\bigr)^2\, \delta(t - \theta_{pj}),
      \qquad T_p\, u_{pj} = \theta_{pj}\, u_{pj}$$

    with $T_p$ the tridiagonal matrix of $m$ Lanczos steps from the random signs $v_p$. The
    vectors are kept orthogonal, which takes `steps` times the memory of the parameters.

    Args:
        steps: $m$; the quadrature is exact for polynomials of degree 2m - 1.
        probes: $k$ random starting vectors.

    Source: Ghorbani, Krishnan & Xiao (2019), An investigation into neural net optimization via
    Hessian eigenvalue density, arXiv:1901.10159.
    """
    _check_counts(steps=steps, probes=probes)
    with _hessian(model, objective, data, split, batch_size) as (product, like):
        found = [_lanczos(product, v, steps) for v in _signs(like, probes, seed)]
    nodes, weights = (torch.cat(parts) for parts in zip(*found, strict=True))
    return Spectrum(nodes, weights / probes)


def trace(
    model: nn.Module,
    objective: Objective,
    data: Any,
    *,
    probes: int = 30,
    split: str = "train",
    batch_size: int = 1024,
    seed: int = 0,
) -> Estimate:
    r"""The trace of the loss's Hessian, by Hutchinson's estimator, with its standard error.

    $$\operatorname{tr} H = \mathbb{E}\, v^\top H v, \qquad v_i = \pm 1$$

    Source: Hutchinson (1990), A stochastic estimator of the trace of the influence matrix,
    Communications in Statistics: Simulation and Computation 19(2).
    """
    _check_counts(probes=probes)
    with _hessian(model, objective, data, split, batch_size) as (product, like):
        samples = [float(v.double() @ product(v).double()) for v in _signs(like, probes, seed)]
    error = float(np.std(samples, ddof=1)) / math.sqrt(probes) if probes > 1 else math.nan
    return Estimate(float(np.mean(samples)), error)


@contextlib.contextmanager
def _hessian(
    model: nn.Module, objective: Objective, data: Any, split: str, batch_size: int
) -> Iterator[tuple[Product, Tensor]]:
    """The map v -> Hv on flat vectors, and one such vector."""
    loss = LossFunction(model, objective, data, split, batch_size)
    like = torch.cat([p.flatten() for p in loss.parameters.values()])
    recurrent = any(isinstance(module, nn.RNNBase) for module in model.modules())
    # Fused attention and cuDNN's recurrent layers have no second derivative.
    plain = torch.backends.cudnn.flags(enabled=not recurrent)
    with loss.active(), sdpa_kernel(SDPBackend.MATH), plain:
        yield _product(loss), like


def _product(loss: LossFunction) -> Product:
    point = {name: p.clone().requires_grad_() for name, p in loss.parameters.items()}
    leaves = list(point.values())

    def gradient(batch: dict[str, Tensor]) -> Tensor:
        with torch.enable_grad():
            value = loss.on_batch(point, batch)
            parts = torch.autograd.grad(
                value, leaves, create_graph=True, allow_unused=True, materialize_grads=True
            )
            return torch.cat([part.flatten() for part in parts])

    def derivative(slope: Tensor, v: Tensor, keep: bool) -> Tensor:
        if not slope.requires_grad:  # the loss is linear in the parameters
            return torch.zeros_like(v)
        parts = torch.autograd.grad(
            slope, leaves, v, retain_graph=keep, allow_unused=True, materialize_grads=True
        )
        return torch.cat([part.flatten() for part in parts])

    def finite(product: Tensor) -> Tensor:
        if not product.isfinite().all():
            raise NonFiniteError(
                "the loss has no finite curvature here: its second derivative is NaN or infinite"
            )
        return product

    batches = list(zip(range(2), loss.batches(), strict=False))
    # Rows of one batch: its graph serves all products, which halves their price.
    kept = gradient(batches[0][1]) if len(batches) == 1 else None

    def product(v: Tensor) -> Tensor:
        if kept is not None:
            return finite(derivative(kept, v, keep=True))
        total, rows = torch.zeros_like(v), 0
        for batch in loss.batches():
            count = len(next(iter(batch.values())))
            total += derivative(gradient(batch), v, keep=False) * count
            rows += count
        return finite(total / rows)

    return product


def _by_arpack(product: Product, like: Tensor, k: int, which: str, seed: int) -> Tensor:
    from scipy.sparse.linalg import ArpackError, LinearOperator, eigsh

    def matvec(v: np.ndarray) -> np.ndarray:
        return product(torch.from_numpy(v.ravel()).to(like)).double().cpu().numpy()

    n = like.numel()
    start = np.random.default_rng(seed).standard_normal(n)
    # Products in single precision cannot be resolved to ARPACK's default, double rounding.
    tolerance = 0.0 if like.dtype == torch.float64 else 1e-4
    kind = {"largest": "LA", "smallest": "SA", "magnitude": "LM"}[which]
    try:
        values = eigsh(
            LinearOperator((n, n), matvec=matvec, dtype=np.float64),
            k, which=kind, v0=start, tol=tolerance, return_eigenvectors=False,
        )  # fmt: skip
    except ArpackError as error:
        raise RuntimeError(
            f"Lanczos did not converge to the {k} {which} eigenvalues ({error}); ask for fewer, "
            "or for those of largest magnitude"
        ) from error
    return torch.from_numpy(values)


def _signs(like: Tensor, probes: int, seed: int) -> Iterator[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    for _ in range(probes):
        yield (torch.randint(2, like.shape, generator=generator) * 2 - 1).to(like)


def _lanczos(product: Product, start: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    """Eigenvalues of the tridiagonal matrix, and the squared first entries of its vectors."""
    basis = [start / start.norm()]
    diagonal: list[float] = []
    beside: list[float] = []
    for _ in range(min(steps, start.numel())):
        w = product(basis[-1])
        diagonal.append(float(w.double() @ basis[-1].double()))
        spanned = torch.stack(basis)
        for _ in range(2):  # once is not enough in finite precision
            w = w - spanned.T @ (spanned @ w)
        norm = float(w.norm())
        if norm <= torch.finfo(w.dtype).eps * 10 * max(map(abs, diagonal)):
            break  # the space is invariant: what is found is exact
        beside.append(norm)
        basis.append(w / norm)
    beside = beside[: len(diagonal) - 1]
    tridiagonal = np.diag(diagonal) + np.diag(beside, 1) + np.diag(beside, -1)
    nodes, vectors = torch.linalg.eigh(torch.from_numpy(tridiagonal))
    return nodes, vectors[0].square()


def _check_counts(**counts: int) -> None:
    for name, count in counts.items():
        if count < 1:
            raise ValueError(f"{name} must be at least 1, got {count}")
