"""Deep unrolling: the steps of an iterative method as the layers of a network."""

import copy
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from neurarium.networks._config import remember

__all__ = ["LISTA", "ista", "unroll"]


@torch.no_grad()
def ista(
    y: Float[Tensor, "batch rows"],
    dictionary: Float[Tensor, "rows atoms"],
    lam: float = 0.1,
    steps: int = 100,
) -> Float[Tensor, "batch atoms"]:
    r"""Iterative shrinkage: the sparse code of a signal, by steps of descent and soft thresholds.

    $$x \leftarrow S_{\lambda / L}\Bigl(x + \tfrac1L D^\top (y - D x)\Bigr), \qquad
      S_\theta(u) = \operatorname{sign}(u) \max(|u| - \theta, 0), \qquad L = \lVert D \rVert_2^2$$

    It starts from 0 and tends to $\arg\min_x \frac12 \lVert y - D x \rVert^2 + \lambda \lVert x
    \rVert_1$; the error in that value falls as 1/`steps`.

    Args:
        dictionary: $D$, an atom in each column.

    Source: Daubechies, Defrise & De Mol (2004), An iterative thresholding algorithm for linear
    inverse problems with a sparsity constraint, Comm. Pure Appl. Math. 57(11).
    """
    L = torch.linalg.matrix_norm(dictionary, 2).square()
    x = y.new_zeros(len(y), dictionary.shape[1])
    for _ in range(steps):
        x = _shrink(x + (y - x @ dictionary.T) @ dictionary / L, lam / L)
    return x


class LISTA(nn.Module):
    r"""Learned ISTA: as many steps of iterative shrinkage as there are layers, all of them learnt.

    $$x_{k+1} = S_{\theta_k}\bigl(W y + S\, x_k\bigr), \qquad x_0 = 0, \qquad
      S_\theta(u) = \operatorname{sign}(u) \max(|u| - \theta, 0)$$

    The weights start as ISTA's, $W = D^\top / L$, $S = I - D^\top D / L$, $\theta = \lambda / L$,
    $L = \lVert D \rVert_2^2$: untrained it is `ista` of so many steps. Trained on signals $y$ with
    their codes $x$ as targets it comes nearer in the same number of steps (recipe
    `lista-sparse-coding`).

    Args:
        dictionary: $D$, an atom in each column; or its sizes (rows, atoms), for columns of norm 1
            in random directions.
        layers: number of steps.
        tied: one $W$ and one $S$ for all layers, each of which has its own $\theta$; if not, each
            layer has its own of all.
        lam: $\lambda$ at the start.

    Source: Gregor & LeCun (2010), Learning fast approximations of sparse coding, ICML.
    """

    dictionary: Sequence[int]
    layers: int
    tied: bool
    lam: float

    def __init__(
        self,
        dictionary: Tensor | Sequence[int],
        layers: int = 16,
        tied: bool = True,
        lam: float = 0.1,
    ) -> None:
        super().__init__()
        D = _dictionary(dictionary)
        if layers < 1 or not lam > 0:
            raise ValueError(f"layers must be at least 1 and lam positive, got {layers} and {lam}")
        rows, atoms = D.shape
        remember(self, dictionary=[rows, atoms], layers=layers, tied=tied, lam=lam)
        L = torch.linalg.matrix_norm(D, 2).square()
        W, S = D.T / L, torch.eye(atoms).to(D) - D.T @ D / L
        own = 1 if tied else layers
        self.encode = nn.ParameterList(W.clone() for _ in range(own))
        self.inhibit = nn.ParameterList(S.clone() for _ in range(min(own, layers - 1)))
        self.threshold = nn.Parameter((lam / L).expand(layers).clone())

    @classmethod
    def for_data(
        cls,
        input_shape: Sequence[int],
        outputs: int,
        categories: Sequence[int],
        layers: int = 16,
        tied: bool = True,
        lam: float = 0.1,
    ) -> "LISTA":
        """A network from these inputs to as many atoms as there are outputs, drawn at random."""
        if categories:
            raise ValueError(
                f"LISTA reads numbers only, and the data have {len(categories)} categorical "
                "columns; take MLP, which embeds them"
            )
        return cls([math.prod(input_shape), outputs], layers, tied, lam)

    def forward(self, y: Float[Tensor, "batch ..."]) -> Float[Tensor, "batch atoms"]:
        y = y.flatten(1)
        drives = [F.linear(y, W) for W in self.encode]
        x = _shrink(drives[0], self.threshold[0])
        for k in range(1, self.layers):
            drive, S = (
                (drives[0], self.inhibit[0]) if self.tied else (drives[k], self.inhibit[k - 1])
            )
            x = _shrink(drive + F.linear(x, S), self.threshold[k])
        return x


def unroll(
    step: nn.Module,
    n: int,
    tied: bool = False,
    start: Callable[[Tensor], Tensor] = torch.zeros_like,
) -> "Unrolled":
    r"""A network of `n` steps of an iterative method, whose constants it can learn.

    $$x_{k+1} = f_{\theta_k}(x_k, y), \qquad x_0 = s(y), \qquad \text{output } x_n$$

    Args:
        step: $f$, a module of `(x, y)` that returns the next x; what it shall learn has to be among
            its parameters. Layers are copies of it.
        n: number of layers.
        tied: let all layers be this one module.
        start: $s$, which makes the first x from the input; zeros like it if not given.

    Source: Gregor & LeCun (2010), Learning fast approximations of sparse coding, ICML; Monga, Li &
    Eldar (2021), Algorithm unrolling, IEEE Signal Processing Magazine 38(2), arXiv:1912.10557.
    """
    if n < 1:
        raise ValueError(f"n must be at least 1, the number of steps, got {n}")
    return Unrolled([step] * n if tied else [copy.deepcopy(step) for _ in range(n)], start)


class Unrolled(nn.Module):
    """What `unroll` makes: steps, one after the other, each of which sees the input too."""

    def __init__(self, steps: Sequence[nn.Module], start: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.steps, self.start = nn.ModuleList(steps), start

    def forward(self, y: Float[Tensor, "batch ..."]) -> Float[Tensor, "batch ..."]:
        x = self.start(y)
        for step in self.steps:
            x = step(x, y)
        return x


def _shrink(u: Tensor, threshold: Tensor) -> Tensor:
    return F.relu(u - threshold) - F.relu(-u - threshold)


def _dictionary(given: Tensor | Sequence[int]) -> Any:
    if isinstance(given, Tensor):
        if given.dim() != 2 or not given.is_floating_point() or not given.any():
            raise ValueError(
                "dictionary must be a matrix of numbers with an atom in each column, got "
                f"{given.dtype} of shape {tuple(given.shape)}"
            )
        return given.detach()
    if len(given) != 2 or min(given) < 1:
        raise ValueError(f"dictionary must be a matrix or its (rows, atoms), got {given}")
    return F.normalize(torch.randn(*given), dim=0)
