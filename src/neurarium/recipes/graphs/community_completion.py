"""A matrix of communities filled in from a tenth of its entries and two graphs."""

from typing import Any

import torch

from neurarium.data import Batch, Data
from neurarium.graphs import MultiGraphCompletion, nearest_neighbours
from neurarium.learning import Backprop
from neurarium.objectives import supervised
from neurarium.recipes.reproduction import recipe
from neurarium.training import EarlyStopping, fit


@recipe(
    source="Monti, Bronstein & Bresson (2017), arXiv:1704.06803, section 4 (synthetic Netflix)",
    figure="RMSE as a share of plain factorization's",
    expect=(None, 0.75),
    minutes=0.3,
    quick={"epochs": 60},
    quick_expect=(None, 0.9),
)
def community_completion(
    seed: int = 0, rows: int = 150, columns: int = 120, epochs: int = 150
) -> dict[str, float]:
    """Ten communities of rows and of columns, a standard normal entry for each pair of them.

    The graphs join each row, and each column, to ten neighbours by noisy places of their
    communities. Plain factorization is the best approximation of rank ten with zeros for what is
    unknown, from which the network starts; the other, by gradients, of the known entries with L2.
    """
    generator = torch.Generator().manual_seed(seed)

    def side(size: int) -> tuple[torch.Tensor, torch.Tensor]:
        community = torch.arange(size) % 10
        centres = 3 * torch.randn(10, 5, generator=generator)
        return community, centres[community] + torch.randn(size, 5, generator=generator)

    (of_row, row_places), (of_column, column_places) = side(rows), side(columns)
    truth = torch.randn(10, 10, generator=generator)[of_row][:, of_column]
    known = torch.rand(rows, columns, generator=generator) < 0.1
    torch.manual_seed(seed)
    start = MultiGraphCompletion.from_observed(truth, known, 10)
    graphs = nearest_neighbours(row_places), nearest_neighbours(column_places)
    model = MultiGraphCompletion(*graphs, start)
    pairs = known.nonzero()[torch.randperm(int(known.sum()), generator=generator)]
    judged = len(pairs) // 10
    val, train = pairs[:judged], pairs[judged:]
    data = Data((train, truth[tuple(train.T)]), (val, truth[tuple(val.T)]), task="regression")

    def smoothness(model: Any, batch: Batch) -> torch.Tensor:
        return 1e-2 * model.smoothness(model, batch)

    rule = Backprop("adam", lr=1e-2)
    stop = [EarlyStopping(patience=30)]
    how: dict[str, Any] = {"batch_size": len(pairs), "seed": seed, "verbose": False}
    how["callbacks"] = stop
    fit(model, data, supervised("mse", [smoothness]), rule, epochs=epochs, **how)

    def error(answer: torch.Tensor) -> float:
        return float((answer - truth)[~known].square().mean().sqrt())

    with torch.no_grad():
        ours = error(model.eval().complete())
    plain = min(
        error(factorized(truth, known, penalty, generator)) for penalty in (0.1, 0.3, 1.0, 3.0)
    )
    return {
        "share": ours / plain,
        "sRMGCNN": ours,
        "factorization": plain,
        "where it starts": error(start[0] @ start[1].T),
    }


def factorized(
    truth: torch.Tensor, known: torch.Tensor, penalty: float, generator: torch.Generator
) -> torch.Tensor:
    """Rank ten with L2 by alternating least squares."""
    u = 0.1 * torch.randn(len(truth), 10, generator=generator)
    v = 0.1 * torch.randn(truth.shape[1], 10, generator=generator)
    for _ in range(20):
        u = _ridge(v, truth, known, penalty)
        v = _ridge(u, truth.T, known.T, penalty)
    return u @ v.T


def _ridge(v: torch.Tensor, truth: torch.Tensor, known: torch.Tensor, penalty: float) -> Any:
    mask = known.float()
    gram = torch.einsum("rc,ci,cj->rij", mask, v, v) + penalty * torch.eye(v.shape[1])
    return torch.linalg.solve(gram, (mask * truth) @ v)
