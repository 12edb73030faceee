"""How noisy the gradient is: up to which batch size more rows buy fewer steps."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from neurarium.data import Data, Resident
from neurarium.learning.rule import value_of
from neurarium.objectives import Objective
from neurarium.training import randomness
from neurarium.training.engine import Engine

__all__ = ["NoiseScale", "noise_scale"]


@dataclass(frozen=True)
class NoiseScale:
    r"""The gradient's noise against its length, from the norms of small batches and of big ones.

    $$|G|^2 = \frac{B\, \overline{|G_B|^2} - b\, \overline{|G_b|^2}}{B - b}, \qquad
      \operatorname{tr} \Sigma = \frac{\overline{|G_b|^2} - \overline{|G_B|^2}}{1/b - 1/B}$$

    Both are unbiased for rows drawn with replacement; their ratio is not, so average first.

    Attributes:
        small: rows $b$ of the small batches.
        big: rows $B$ of the big ones.
        small_norm: mean squared norm of the gradient over the small batches.
        big_norm: the same over the big ones.

    Source: McCandlish, Kaplan, Amodei et al. (2018), An empirical model of large-batch training,
    appendix A.1, arXiv:1812.06162.
    """

    small: int
    big: int
    small_norm: float
    big_norm: float

    @property
    def signal(self) -> float:
        """The squared norm of the true gradient."""
        weighted = self.big * self.big_norm - self.small * self.small_norm
        return weighted / (self.big - self.small)

    @property
    def noise(self) -> float:
        """The trace of the covariance of one row's gradient."""
        return (self.small_norm - self.big_norm) / (1 / self.small - 1 / self.big)

    @property
    def batch_size(self) -> float:
        """The simple noise scale: the batch whose noise is as long as its signal."""
        return self.noise / self.signal if self.signal > 0 else float("inf")


def noise_scale(
    model: nn.Module,
    data: Data,
    objective: Objective,
    small: int = 8,
    big: int = 64,
    draws: int = 100,
    *,
    engine: Engine | None = None,
    seed: int = 0,
) -> NoiseScale:
    r"""The simple noise scale: batches much smaller waste steps, much larger ones waste rows.

    $$B_{\text{simple}} = \frac{\operatorname{tr} \Sigma}{|G|^2}$$

    It grows as training goes on: measure it where the batch size is to be chosen. The model is in
    evaluation mode, where a batch's gradient is the mean of its rows'; nothing of it is changed.

    Args:
        small: rows of a small batch.
        big: rows of a big batch.
        draws: pairs of batches that the norms are averaged over.

    Raises:
        ValueError: if `big` is not larger than `small`, or the training data is a stream.

    Source: McCandlish, Kaplan, Amodei et al. (2018), An empirical model of large-batch training,
    arXiv:1812.06162.
    """
    if not 1 <= small < big:
        raise ValueError(f"noise_scale needs 1 <= small < big, got {small} and {big}")
    if not isinstance(data.train, Resident):
        raise ValueError("noise_scale draws rows with replacement: it needs data in memory")
    engine = engine or Engine()
    engine.place(model)
    objective, training = engine.wrap(objective, model), model.training
    generator, rows = torch.Generator().manual_seed(seed), len(data.train)
    try:
        with engine.active(), randomness.isolated():
            model.eval()
            norms = [
                [
                    squared_gradient(
                        model,
                        _rows(data, torch.randint(rows, (size,), generator=generator), engine),
                        objective,
                    )
                    for size in (small, big)
                ]
                for _ in range(draws)
            ]
    finally:
        model.train(training)
    return NoiseScale(small, big, *map(statistics.fmean, zip(*norms, strict=True)))


def squared_gradient(model: nn.Module, batch: dict[str, Tensor], objective: Objective) -> float:
    """The squared norm of the objective's gradient over all parameters of the model."""
    trained: Sequence[Tensor] = [p for p in model.parameters() if p.requires_grad]
    loss = value_of(objective(model, batch))["loss"]
    gradients = torch.autograd.grad(loss, trained, allow_unused=True)
    return float(sum(g.square().sum() for g in gradients if g is not None))


def _rows(data: Data, index: Tensor, engine: Engine) -> dict[str, Tensor]:
    assert isinstance(data.train, Resident)
    tensors = data.train.tensors
    batch = {name: t[index.to(t.device)].to(engine.device) for name, t in tensors.items()}
    return data.prepare(batch, training=True)
