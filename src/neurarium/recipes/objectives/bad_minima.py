"""A loss without bad local minima, in which descent still does not reach the good one."""

import torch
from torch import Tensor, nn

from neurarium.learning import Backprop
from neurarium.objectives import WithoutBadMinima
from neurarium.recipes.reproduction import recipe


@recipe(
    source="Sohl-Dickstein & Kawaguchi (2019), arXiv:1901.03909",
    figure="where x ends (the global minimum is 1, the bad one -0.918)",
    expect=(-0.93, -0.90),
    minutes=0.2,
    quick={"steps": 2000},
)
def bad_minima(seed: int = 0, steps: int = 20_000) -> dict[str, float]:
    """The bad minimum of a double well is removed by two scalars, and x stays in it.

    The authors say so themselves: the minimum has moved to b at infinity, with a near 0 and a e^b
    near 1, and the loss goes on falling towards the old minimum's 0.577. The double well is ours.
    """
    x = nn.ParameterList([torch.tensor(-1.0)])

    def double_well(model: nn.Module, batch: object) -> Tensor:
        (x,) = model.parameters()
        return (x**2 - 1) ** 2 + 0.15 * (1 - x) ** 2

    objective = WithoutBadMinima(double_well, reg=0.1, a=0.5)
    rule = Backprop("sgd", lr=0.01)
    rule.bind(x, objective)
    first = rule.step({})["loss"].item()
    for _ in range(steps - 1):
        last = rule.step({})["loss"].item()
    a, b = objective.a.item(), objective.b.item()
    return {
        "x": x[0].item(),
        "a": a,
        "b": b,
        "a e^b": a * objective.b.exp().item(),
        "loss, first": first,
        "loss, last": last,
    }
