"""Units that no row gets through: dead, asleep, saturated."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from neurarium.data.splits import as_batch
from neurarium.training.diagnostics.flow import as_in_training
from neurarium.training.diagnostics.layer_stats import SATURATED, LayerStats

__all__ = ["DeadUnits", "LayerUnits", "dead_units"]


@dataclass(frozen=True)
class LayerUnits:
    """The units behind one activation.

    Args:
        name: of the activation.
        after: the layer whose outputs they are.
        dead: numbers of the units whose slope is 0 on every row.
        saturated: numbers of the units, not dead, whose slope is below 0.01 on every row.
        asleep: mean share of the rows on which a unit's slope is 0.
        saturation: share of all slopes that are below 0.01.
        squashing: whether the function flattens on both sides, as the sigmoid does.
        hidden: whether another layer follows.
    """

    name: str
    after: str
    units: int
    dead: Sequence[int]
    saturated: Sequence[int]
    asleep: float
    saturation: float
    squashing: bool
    hidden: bool

    @property
    def dead_share(self) -> float:
        """Share of the units that are dead."""
        return len(self.dead) / self.units


@dataclass(frozen=True)
class DeadUnits:
    """What `dead_units` found, one entry for each activation."""

    layers: Sequence[LayerUnits]
    rows: int

    @property
    def dead(self) -> int:
        """How many units are dead."""
        return sum(len(layer.dead) for layer in self.layers)

    @property
    def units(self) -> int:
        """How many units there are."""
        return sum(layer.units for layer in self.layers)

    @property
    def share(self) -> float:
        """Share of all units that are dead."""
        return self.dead / self.units if self.units else 0.0


@torch.no_grad()
def dead_units(model: nn.Module, loader: Any) -> DeadUnits:
    r"""Count the units whose activation is flat on every row, so that no gradient passes them.

    $$\text{dead}: \max_n \lvert\varphi'(z_{n})\rvert = 0, \qquad
      \text{saturated}: 0 < \max_n \lvert\varphi'(z_{n})\rvert < 0.01$$

    A rectifier is dead if $z_n \le 0$ on every row; ELU too, where $e^z$ underflows. A
    convolution's unit is a channel, over all rows and places. The model is used in evaluation
    mode and left as it was.

    Args:
        loader: batches as the model meets them: mappings, pairs (input, target) or inputs. Give
            all training rows: a unit may sleep through a batch.

    Raises:
        ValueError: if the loader is empty.

    Source: Maas, Hannun & Ng (2013), Rectifier nonlinearities improve neural network acoustic
    models, ICML workshop; Lu, Shin, Su & Karniadakis (2019), Dying ReLU and initialization,
    arXiv:1903.06733.
    """
    rows = 0
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    with as_in_training(model, False), LayerStats(model) as stats:
        for batch in loader:
            inputs = as_batch(batch)["input"].to(device)
            model(inputs)
            rows += len(inputs)
    if not rows:
        raise ValueError("the loader gave no batch, so no unit was seen; pass the training rows")
    found = []
    for record in stats.activations.values():
        assert record.largest_slope is not None
        assert record.flat is not None
        dead = record.largest_slope == 0
        saturated = (record.largest_slope < SATURATED) & ~dead
        found.append(
            LayerUnits(
                record.name,
                record.after,
                len(dead),
                dead.nonzero().flatten().tolist(),
                saturated.nonzero().flatten().tolist(),
                float(record.flat.sum()) / (record.rows * len(dead)),
                record.saturation,
                record.squashing,
                not record.last,
            )
        )
    return DeadUnits(found, rows)
