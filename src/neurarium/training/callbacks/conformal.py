"""Intervals of a forecast that hold as often as they claim."""

from typing import TYPE_CHECKING

import torch

from neurarium.data import Resident, SeriesPreprocessing
from neurarium.metrics import conformal_widening
from neurarium.objectives.supervised import ask
from neurarium.training.callbacks.base import Callback

if TYPE_CHECKING:
    from neurarium.training.trainer import Trainer

__all__ = ["ConformalIntervals"]


class ConformalIntervals(Callback):
    r"""After training, widen or narrow a forecast's intervals by its errors in validation.

    $$[\hat q_{\text{low}}(x) - Q_h,\; \hat q_{\text{high}}(x) + Q_h], \qquad
      Q_h = \text{the } \lceil (n + 1)(1 - \alpha) \rceil \text{-th smallest of }
      \max(\hat q_{\text{low}} - y,\; y - \hat q_{\text{high}})$$

    for each step ahead $h$ and each target over the $n$ validation windows. A network of quantiles
    is surer of new rows than it should be, as it has learnt the training rows. Windows overlap and
    early stopping has chosen by them, so the promise holds only roughly. `fit_source` adds this
    for a series; it does nothing for networks without quantiles or data without validation.

    Source: Romano, Patterson & Candès (2019), Conformalized quantile regression, arXiv:1905.03222.
    """

    order = 10  # after those that put the best or averaged weights in place
    reads_steps = False

    @torch.no_grad()
    def on_fit_end(self, trainer: "Trainer") -> None:
        fitted = trainer.data.preprocessing
        levels = getattr(trainer.model, "quantiles", ())
        windows = trainer.data.val
        if (
            not isinstance(fitted, SeriesPreprocessing)
            or not isinstance(windows, Resident)
            or len(levels) < 2
        ):
            return
        trainer.model.eval()
        device = trainer.engine.device
        parts = [
            ask(trainer.model, {name: value.to(device) for name, value in batch.items()}).cpu()
            for batch in windows.batches(trainer.eval_batch_size)
        ]
        fitted = fitted.moved(None)  # a copy: runs before on these data keep what is theirs
        target, scale = fitted.in_units(windows.tensors["target"]), fitted.std[: fitted.targets]
        quantiles = fitted.quantiles(torch.cat(parts).float())
        claimed = max(levels) - min(levels)
        moved = conformal_widening(target, quantiles[..., 0], quantiles[..., -1], claimed)
        trainer.data.preprocessing = fitted.moved(moved / scale)
