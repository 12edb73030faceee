"""Finding the few columns that matter: LASSO, SCAD and MCP."""

import copy

import torch
from torch import Tensor, nn

from neurarium.data import Data
from neurarium.learning import Backprop
from neurarium.objectives import supervised
from neurarium.penalties import L1, MCP, SCAD
from neurarium.recipes.reproduction import recipe
from neurarium.training import Proximal, fit


@recipe(
    source="Fan & Li (2001), JASA 96; Zhang (2010), arXiv:1002.4734",
    figure="error of SCAD's coefficients as a share of LASSO's",
    expect=(None, 0.4),
    minutes=0.1,
    quick={"steps": 400},
)
def sparse_regression(seed: int = 0, steps: int = 1500, lam: float = 0.25) -> dict[str, float]:
    """Five of 200 columns make y, and there are 100 rows: LASSO shrinks what it finds, SCAD not.

    Errors are sums of absolute differences from the true coefficients. SCAD and MCP are not convex
    and start from LASSO's solution. The papers' designs are other ones (correlated columns); this
    one has independent Gaussian columns, noise of 0.5 and one penalty weight for all.
    """
    beta = torch.zeros(200)
    beta[:5] = torch.tensor([3.0, -2, 1.5, 2, -1])
    x = torch.randn(100, 200)
    y = x @ beta + 0.5 * torch.randn(100)
    step = 1 / torch.linalg.matrix_norm(x.T @ x / 100, 2).item()
    half_mean_square = supervised(lambda p, t: (p - t).square().mean() / 2)

    def fitted(penalty: L1 | SCAD | MCP, start: nn.Linear) -> nn.Linear:
        line = copy.deepcopy(start)
        rule = Backprop("sgd", lr=step)
        callbacks = [Proximal(penalty)]
        data = Data((x, y))
        fit(line, data, half_mean_square, rule, epochs=steps, batch_size=100, callbacks=callbacks,
            verbose=False)  # fmt: skip
        return line

    start = nn.Linear(200, 1, bias=False)
    nn.init.zeros_(start.weight)
    lasso = fitted(L1(lam), start)
    scad, mcp = fitted(SCAD(lam), lasso), fitted(MCP(lam), lasso)

    def error(line: nn.Linear) -> float:
        return (line.weight.detach()[0] - beta).abs().sum().item()

    def found(line: nn.Linear) -> Tensor:
        return line.weight.detach()[0] != 0

    truth = beta != 0
    return {
        "SCAD / LASSO": error(scad) / error(lasso),
        "error, LASSO": error(lasso),
        "error, SCAD": error(scad),
        "error, MCP": error(mcp),
        "columns found wrongly, LASSO": float((found(lasso) != truth).sum()),
        "columns found wrongly, SCAD": float((found(scad) != truth).sum()),
        "columns found wrongly, MCP": float((found(mcp) != truth).sum()),
    }
