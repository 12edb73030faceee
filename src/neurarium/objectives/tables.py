"""Answers about tables: a number, or cells."""

import torch
from torch import Tensor, nn

from neurarium import losses
from neurarium.data import Batch
from neurarium.objectives.supervised import Objective, ask

__all__ = ["table_answer"]


def table_answer(delta: float = 1.0, weight: float = 1.0) -> Objective:
    r"""How far a number is from the right one, or how badly the right cells are pointed at.

    $$L = \begin{cases} \text{Huber}_\delta(\hat y - y) & \text{numbers} \\ -\frac{\lambda}{n m}
      \sum_{ij} y_{ij} \log \hat y_{ij} + (1 - y_{ij}) \log (1 - \hat y_{ij}) & \text{cells}
      \end{cases}$$

    Reads `target`, the numbers, and where some answers are cells `cells`, which of them, with NaN
    as the target of these rows. When nothing is trained, the share of numbers within 0.01 of the
    right one is told too, as `accuracy`.

    Args:
        delta: where Huber's loss becomes a straight line.
        weight: $\lambda$; the paper's is 50.

    Source: Neelakantan, Le & Sutskever (2016), arXiv:1511.04834, section 2.2.
    """
    return _TableAnswer(delta, weight)


class _TableAnswer(nn.Module):
    def __init__(self, delta: float, weight: float) -> None:
        super().__init__()
        self.delta, self.weight = delta, weight

    def forward(self, model: nn.Module, batch: Batch) -> Tensor | dict[str, Tensor]:
        answer, target = ask(model, batch), batch["target"]
        number, lookup = answer[:, 0], answer[:, 1:]
        counted = target.isfinite()
        error = losses.huber(number, torch.where(counted, target, number), self.delta, "none")
        loss = error
        if "cells" in batch:
            cells = batch["cells"].flatten(1).to(lookup)
            p = lookup.clamp(1e-6, 1 - 1e-6)
            pointed = -(cells * p.log() + (1 - cells) * (1 - p).log()).mean(1)
            loss = torch.where(counted, error, self.weight * pointed)
        if torch.is_grad_enabled():
            return loss.mean()
        right = ((number - target).abs() < 0.01)[counted].float()
        return {"loss": loss.mean(), "accuracy": right.mean() if len(right) else loss.sum() * 0}

    def __repr__(self) -> str:
        return f"table_answer(delta={self.delta}, weight={self.weight})"
