"""Universal approximation made visible: a network that is written down instead of trained."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from neurarium.networks.mlp import MLP

__all__ = ["bump_network"]


def bump_network(
    f: Callable[..., Tensor],
    lo: float | Sequence[float],
    hi: float | Sequence[float],
    pieces: int,
    steepness: float = 60.0,
) -> MLP:
    r"""Sigmoids that compute `f` piece by piece: steep steps make bumps of its height.

    $$y(x) = \sum_j f(m_j) \bigl[\sigma(k(x - s_j)) - \sigma(k(x - s_{j+1}))\bigr], \qquad
      k = \text{steepness} / \Delta$$

    with $m_j$ the middle of the piece $[s_j, s_{j+1}]$ of length $\Delta$. The largest error on
    $[lo, hi]$ is at most $\omega_f(\Delta)$, how far `f` varies over $\Delta$, plus
    $O(e^{-\text{steepness}/2})$; more pieces, less error, for any continuous `f`. One hidden unit
    is the step at one edge, which two bumps share.

    Of several inputs a second hidden layer makes towers: a unit fires where the bumps of all
    inputs add up to their number, $d$, and not where to $d - 1$. Between towers it leaves pinholes:
    at a corner no tower fires, so there the mean error vanishes, but not the largest.

    Args:
        f: function of `lo`'s many tensors, one value for each of their elements.
        lo: where the interval begins; for several inputs one number each.
        hi: where it ends.
        pieces: number of pieces of the interval, for each input.
        steepness: of the sigmoids, in units of $1/\Delta$.

    Source: Cybenko (1989), Approximation by superpositions of a sigmoidal function, Math. Control
    Signals Systems 2; the construction: Nielsen (2015), Neural Networks and Deep Learning,
    chapter 4.
    """
    low, high = (torch.atleast_1d(torch.as_tensor(end, dtype=torch.float64)) for end in (lo, hi))
    if low.shape != high.shape or not (low < high).all():
        raise ValueError(f"lo must lie below hi in every input, got {lo} and {hi}")
    if pieces < 1 or not steepness > 0:
        raise ValueError(
            f"pieces must be at least 1 and steepness positive, got {pieces} and {steepness}"
        )
    inputs, step = len(low), (high - low) / pieces
    middles = low[:, None] + step[:, None] * (torch.arange(pieces, dtype=torch.float64) + 0.5)
    grid = [axis.flatten() for axis in torch.meshgrid(*middles, indexing="ij")]
    heights = torch.as_tensor(f(*grid), dtype=torch.float64).expand(pieces**inputs)
    bumps = torch.block_diag(*[_differences(pieces)] * inputs)
    if inputs == 1:
        model = MLP([1, pieces + 1, 1], activation="sigmoid")
        _set(model, 1, (heights @ bumps)[None], torch.zeros(1))
    else:
        cells = pieces**inputs
        model = MLP([inputs, inputs * (pieces + 1), cells, 1], activation="sigmoid")
        _set(model, 1, *_towers(bumps, inputs, pieces, steepness))
        _set(model, 2, heights[None], torch.zeros(1))
    _set(model, 0, *_steps(low, step, pieces, steepness))
    return model


def _steps(low: Tensor, step: Tensor, pieces: int, steepness: float) -> tuple[Tensor, Tensor]:
    """A steep sigmoid at each edge of each input."""
    edges = low[:, None] + step[:, None] * torch.arange(pieces + 1, dtype=torch.float64)
    # The outer edges lie beyond the interval: on its ends they would be half a step.
    edges[:, 0], edges[:, -1] = edges[:, 0] - step, edges[:, -1] + step
    k = (steepness / step)[:, None].expand_as(edges)
    return torch.block_diag(*k[:, :, None]), -(k * edges).flatten()


def _differences(pieces: int) -> Tensor:
    """Bump j is step j minus step j + 1."""
    eye = torch.eye(pieces + 1, dtype=torch.float64)
    return eye[:-1] - eye[1:]


def _towers(bumps: Tensor, inputs: int, pieces: int, steepness: float) -> tuple[Tensor, Tensor]:
    """For each cell of the grid, the sum of its inputs' bumps against their number less a half."""
    cells = torch.cartesian_prod(*[torch.arange(pieces)] * inputs)
    chosen = torch.zeros(len(cells), inputs * pieces, dtype=torch.float64)
    chosen.scatter_(1, cells + pieces * torch.arange(inputs), 1)
    return steepness * chosen @ bumps, torch.full((len(cells),), -steepness * (inputs - 0.5))


def _set(model: MLP, layer: int, weight: Tensor, bias: Tensor) -> None:
    linear = [part for part in model.layers if isinstance(part, torch.nn.Linear)][layer]
    with torch.no_grad():
        linear.weight.copy_(weight)
        linear.bias.copy_(bias)
