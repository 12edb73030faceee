"""Optimizers down a long narrow bowl."""

import math

import torch
from torch import Tensor

from neurarium.optim import descent as paths_of
from neurarium.recipes.reproduction import recipe


@recipe(
    source="Polyak (1964), Some methods of speeding up the convergence of iteration methods",
    figure="largest rate at which plain descent converges, times the curvature (theory 2)",
    expect=(1.98, 2.02),
    minutes=0.1,
    quick={"steps": 150},
)
def descent(seed: int = 0, steps: int = 1000) -> dict[str, float]:
    r"""A quadratic of condition 100: the edge of stability, and what momentum and Adam gain.

    $f(w) = \tfrac12 w^\top A w$ with curvatures 1 and 100 along axes turned by 30 degrees. Steps
    are counted until the distance to the minimum has fallen a million times: by theory 691 for
    plain descent at its best rate $2/(L+l)$, where each step leaves $(\kappa-1)/(\kappa+1)$ of it,
    and of the order of 70 for the heavy ball, whose share is
    $(\sqrt\kappa-1)/(\sqrt\kappa+1)$. The seed turns nothing: all is exact.
    """
    least, most, turn = 1.0, 100.0, math.pi / 6
    axes = torch.tensor([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
    A = (axes @ torch.diag(torch.tensor([least, most])) @ axes.T).double()

    def bowl(point: Tensor) -> Tensor:
        return 0.5 * (point @ A * point).sum(-1)

    def distances(optimizer: str) -> Tensor:
        path = paths_of(bowl, [optimizer], start=(-1.0, 1.0), steps=steps)[optimizer]
        return path.norm(dim=1) / path[0].norm()

    def steps_taken(optimizer: str) -> float:
        far = (distances(optimizer) > 1e-6).nonzero()
        return float(far[-1] + 1)

    stable, unstable = 0.0, 4 / most
    while unstable - stable > 4e-3 / most:
        middle = (stable + unstable) / 2
        if distances(f"sgd:lr={middle}")[-1] < 1:
            stable = middle
        else:
            unstable = middle
    roots = math.sqrt(least), math.sqrt(most)
    rate, momentum = 4 / sum(roots) ** 2, ((roots[1] - roots[0]) / sum(roots)) ** 2
    return {
        "edge": stable * most,
        "steps of plain descent": steps_taken(f"sgd:lr={2 / (least + most)}"),
        "steps of the heavy ball": steps_taken(f"sgd:lr={rate},momentum={momentum}"),
        "steps of Nesterov's momentum": steps_taken(
            f"sgd:lr={1 / most},momentum={(roots[1] - roots[0]) / sum(roots)},nesterov=true"
        ),
        "steps of Adam at rate 0.1": steps_taken("adam:lr=0.1"),
        "steps of RMSprop at rate 0.01": steps_taken("rmsprop:lr=0.01"),
    }
