"""One column of 32 decides the class: does attention over the columns find it?"""

import torch
from torch import Tensor, nn

from neurarium.data import Data
from neurarium.layers.attention import LocationBased, attend, recording
from neurarium.learning import Backprop
from neurarium.recipes.reproduction import recipe
from neurarium.training import fit


@recipe(
    source="Rémy, philipperemy/keras-attention, the README's attention over the input's columns",
    figure="weight of the column that decides, where it is not 0",
    expect=(0.9, None),
    minutes=1,
    quick={"rows": 20_000, "columns": 8},
    quick_expect=(0.7, None),
)
def attention_dense(seed: int = 0, rows: int = 80_000, columns: int = 32) -> dict[str, float]:
    """Normal numbers, but the second of 32 is the class itself, 0 or 1.

    The weights of the columns are a softmax of a linear map of them all, and a linear map of the
    columns times their weights gives the class; the 64 units that stand between there are linear
    too. The figure is of rows of class 1: a column that is 0 tells as much whatever its weight, so
    in the others it has nearly none.
    """
    generator = torch.Generator().manual_seed(seed)
    train, test = (_rows(n, columns, generator) for n in (rows, 1000))
    model = _Weighted(columns)
    rule = Backprop("adam", lr=0.01, schedule="one_cycle")
    run = fit(model, Data(train, test=test), rule=rule, epochs=1, batch_size=64, seed=seed,
              precision="32", verbose=False)  # fmt: skip
    with recording() as maps:
        accuracy = run.evaluate("test")["accuracy"]
    weight = torch.cat(maps)[:, 0, 1]
    own, other = (float(weight[test["target"] == c].mean()) for c in (1, 0))
    return {"weight, class 1": own, "weight, class 0": other, "accuracy": accuracy}


class _Weighted(nn.Module):
    """Columns times weights, which their places are given by what they all are."""

    def __init__(self, columns: int) -> None:
        super().__init__()
        self.score, self.out = LocationBased(columns, columns), nn.Linear(columns, 2)

    def forward(self, x: Tensor) -> Tensor:
        each = torch.diag_embed(x)
        return self.out(attend(x.unsqueeze(1), each, each, self.score)[0].squeeze(1))


def _rows(rows: int, columns: int, generator: torch.Generator) -> dict[str, Tensor]:
    x = torch.randn(rows, columns, generator=generator)
    y = torch.randint(2, (rows,), generator=generator)
    x[:, 1] = y
    return {"input": x, "target": y}
