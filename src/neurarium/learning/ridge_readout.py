"""The readout of a fixed network, by linear regression."""

from typing import Any

import torch
from torch import Tensor, nn

from neurarium.data import Batch
from neurarium.layers import masks
from neurarium.learning.rule import value_of
from neurarium.objectives import Objective

__all__ = ["RidgeReadout"]


class RidgeReadout:
    r"""The best linear readout of all that was seen, in one pass and without a gradient.

    $$W_{out} = Y X^\top (X X^\top + \lambda I)^{-1}$$

    Sums over the batches are kept in double precision, and the readout is solved anew after each:
    after one epoch it is that of the whole data. A second epoch counts every row twice.

    Args:
        ridge: $\lambda$, which is also laid on the constant 1 among the features.
        washout: first steps of each sequence that do not count, in which the network still
            remembers its start.

    Raises:
        ValueError: at `bind`, if the model has no `features` and linear `out` without bias, as
            `networks.EchoState` has.

    Source: Jaeger (2001), GMD Report 148; ridge: Hoerl & Kennard (1970), Technometrics 12(1).
    """

    model: Any
    objective: Objective
    xx: Tensor
    yx: Tensor

    def __init__(self, ridge: float = 1e-8, washout: int = 0) -> None:
        if ridge < 0 or washout < 0:
            raise ValueError(f"ridge and washout must be at least 0, got {ridge} and {washout}")
        self.ridge, self.washout = ridge, washout

    def bind(self, model: nn.Module, objective: Objective) -> None:
        """Take the model; the objective only judges."""
        out = getattr(model, "out", None)
        if not hasattr(model, "features") or not isinstance(out, nn.Linear) or out.bias is not None:
            raise ValueError(
                f"RidgeReadout solves for the linear layer `out`, without bias, of a model with "
                f"`features`, such as networks.EchoState; {type(model).__name__} is none"
            )
        self.model = model
        self.objective = objective
        size = out.in_features
        self.xx = torch.zeros(size, size, dtype=torch.float64, device=out.weight.device)
        self.yx = self.xx.new_zeros(out.out_features, size)

    @torch.no_grad()
    def step(self, batch: Batch) -> dict[str, Tensor]:
        """Add a batch to the sums, and solve."""
        x, length = batch["input"], batch.get("length")
        features, target = self.model.features(x, length)[0], batch["target"]
        if target.ndim == 2:
            target = target[..., None]
        real = torch.ones(x.shape[:2], dtype=torch.bool, device=x.device)
        if length is not None:
            real = masks.padding(length, x.shape[1])
        real = real & (torch.arange(x.shape[1], device=x.device) >= self.washout)
        rows, wanted = features[real].double(), target[real].double()
        self.xx += rows.T @ rows
        self.yx += wanted.T @ rows
        ridge = self.ridge * torch.eye(len(self.xx), dtype=torch.float64, device=x.device)
        self.model.out.weight.copy_(torch.linalg.solve(self.xx + ridge, self.yx, left=False))
        outputs = value_of(self.objective(self.model, batch))
        return {name: value.detach() for name, value in outputs.items()}

    def state_dict(self) -> dict[str, Any]:
        return {"xx": self.xx, "yx": self.yx}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.xx, self.yx = (state[name].to(self.xx.device) for name in ("xx", "yx"))

    def __repr__(self) -> str:
        return f"RidgeReadout(ridge={self.ridge}, washout={self.washout})"
