"""What is good for sequences: a loss at every real step."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from neurarium import losses
from neurarium._names import resolve
from neurarium.data import Batch
from neurarium.objectives.supervised import Objective, ask

__all__ = ["per_step", "transcription"]


def per_step(loss: str | Callable[..., Tensor] = "cross_entropy") -> Objective:
    r"""A loss at each real step, every step of the batch counting the same.

    $$J(\theta) = \frac{\sum_i \sum_{t \le n_i} L(\hat y_{it}, y_{it})}{\sum_i n_i}$$

    Steps beyond the batch's `length` count for nothing, nor do those whose class is -100. Of
    classes the share that is right is told too, as `accuracy`, when nothing is being trained.

    Args:
        loss: a function of (prediction, target) or the name of one in `neurarium.losses`.

    Source: Graves (2012), Supervised Sequence Labelling with Recurrent Neural Networks, section
    2.3.
    """
    return _PerStep(resolve(loss, losses, "loss"))


class _PerStep(nn.Module):
    def __init__(self, loss: Callable[..., Tensor]) -> None:
        super().__init__()
        self.loss = loss

    def forward(self, model: nn.Module, batch: Batch) -> Tensor | dict[str, Tensor]:
        prediction, target = ask(model, batch), batch["target"]
        if prediction.dtype in (torch.bfloat16, torch.float16):
            prediction = prediction.float()
        classes = not target.is_floating_point()
        if target.shape[:2] != prediction.shape[:2]:
            raise ValueError(
                "per_step compares an answer with a target at each step, got shapes "
                f"{tuple(prediction.shape)} and {tuple(target.shape)}; both begin with batch, steps"
            )
        if "length" in batch:
            real = _real(batch["length"], target)
            prediction, target = prediction[real], target[real]
        else:
            prediction, target = prediction.flatten(0, 1), target.flatten(0, 1)
        if prediction.shape == (*target.shape, 1) and not classes:
            prediction = prediction.squeeze(-1)
        if classes and target.ndim == 1:
            counted = target != -100
            if not bool(counted.any()):  # the mean of nothing
                return prediction.sum() * 0
        value = self.loss(prediction, target) if len(target) else prediction.sum() * 0
        if torch.is_grad_enabled() or not classes or target.ndim > 1:
            return value
        right = (prediction.argmax(-1) == target)[counted].float().mean()
        return {"loss": value, "accuracy": right}

    def __repr__(self) -> str:
        loss: Any = getattr(self.loss, "func", self.loss)
        return f"per_step({getattr(loss, '__name__', type(loss).__name__)})"


def _real(length: Tensor, target: Tensor) -> Tensor:
    """The steps that exist."""
    return torch.arange(target.shape[1], device=length.device) < length.unsqueeze(1)


def transcription(blank: int = 0) -> Objective:
    r"""Label sequences that nobody has aligned with the steps: the loss of `losses.ctc`.

    $$L = -\frac{1}{n} \sum_i \log \sum_{\pi \in B^{-1}(y_i)} \prod_t p_{it}(\pi_t)$$

    Reads `input`, `target` (labels, which are not the blank), and `length` and `target_length`
    where rows are padded. When nothing is trained the share of rows whose best path spells all
    labels is told too, as `accuracy`.

    Args:
        blank: the class that is no label.

    Source: Graves, Fernández, Gomez & Schmidhuber (2006), Connectionist temporal classification,
    ICML.
    """
    return _Transcription(blank)


class _Transcription(nn.Module):
    def __init__(self, blank: int) -> None:
        super().__init__()
        self.blank = blank

    def forward(self, model: nn.Module, batch: Batch) -> Tensor | dict[str, Tensor]:
        logits, target = ask(model, batch).float(), batch["target"]
        length, labels = batch.get("length"), batch.get("target_length")
        loss = losses.ctc(logits, target, length, labels, self.blank)
        if torch.is_grad_enabled():
            return loss
        path = logits.argmax(-1)
        real = torch.ones_like(path, dtype=torch.bool) if length is None else _real(length, path)
        said = real & (path != self.blank)
        said[:, 1:] &= path[:, 1:] != path[:, :-1]
        counts = said.sum(1)
        spelled = path.gather(1, (~said).int().argsort(dim=1, stable=True))[:, : target.shape[1]]
        spelled = nn.functional.pad(spelled, (0, target.shape[1] - spelled.shape[1]))
        wanted = torch.full_like(counts, target.shape[1]) if labels is None else labels
        beyond = torch.arange(target.shape[1], device=target.device) >= wanted[:, None]
        right = (counts == wanted) & ((spelled == target) | beyond).all(1)
        return {"loss": loss, "accuracy": right.float().mean()}

    def __repr__(self) -> str:
        return f"transcription(blank={self.blank})"
