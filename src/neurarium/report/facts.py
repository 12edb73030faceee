"""What the report says, computed once: outputs, figures and intervals of each split."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from neurarium import metrics
from neurarium.data import Resident
from neurarium.training import Run

TASKS = ("binary", "multiclass", "multilabel", "regression")
# The figure of the headline, chosen where a constant answer is easily compared.
HEADLINE = {
    "binary": "accuracy",
    "multiclass": "accuracy",
    "multilabel": "accuracy",
    "regression": "rmse",
}
METRIC_NAMES = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "f1": "F1",
    "log_loss": "log loss",
    "roc_auc": "ROC area",
    "r2": "R²",
    "mae": "mean absolute error",
    "rmse": "root mean squared error",
    "mase": "MASE",
    "smape": "sMAPE",
    "coverage": "inside the interval",
    "bits": "bits per token",
}
SHARES = frozenset(["accuracy", "balanced_accuracy", "smape", "coverage"])  # written as percentages


@dataclass
class SplitFacts:
    """One split as the network sees it, and what it answers.

    Args:
        inputs: the split's input rows, None if it is a stream.
        output: what the network returns.
        target: class numbers `(N,)`, or labels or values in the user's units `(N, outputs)`.
        predicted: as `target`.
        numbers: row numbers in the user's source, None if unknown.
    """

    name: str
    task: str
    inputs: Tensor | None
    output: Tensor
    target: np.ndarray
    predicted: np.ndarray
    numbers: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.target)

    @cached_property
    def _scored(self) -> np.ndarray:
        return self.predicted if self.task == "regression" else self.output.numpy()

    @cached_property
    def scores(self) -> dict[str, float]:
        return metrics.scores(self.task, self.target, self._scored)

    @cached_property
    def intervals(self) -> dict[str, tuple[float, float]]:
        resamples = 1000 if len(self) <= 10_000 else 200
        return metrics.intervals(self.task, self.target, self._scored, resamples=resamples)

    @cached_property
    def probabilities(self) -> np.ndarray:
        return metrics.probabilities(self.task, self.output)

    def row_name(self, row: int) -> str:
        """How the user finds the row: its number in the source, else in the split."""
        return f"row\N{NO-BREAK SPACE}{row if self.numbers is None else self.numbers[row]}"


class Facts:
    """A finished run, read for the report.

    Args:
        splits: names of the splits to report; those that the data lacks are left out, and if it
            has none of them the validation rows stand in.
    """

    def __init__(self, run: Run, splits: Sequence[str]) -> None:
        self.run, self.data = run, run.data
        self.task: str | None = run.task if run.task in TASKS else None
        self.classes = [] if self.task == "regression" else list(run.classes or [])
        self.config: dict[str, Any] = dict(run.config)
        known = [n for n in ("train", "val", "test") if getattr(self.data, n, None) is not None]
        names = [n for n in splits if n in known] or ["val"] * ("val" in known)
        self.splits = [self._read(name) for name in names] if self.task else []
        if self.splits and self.task in ("binary", "multiclass") and not self.classes:
            self.classes = [str(i) for i in range(self.splits[0].output.shape[1])]
        if self.splits and self.task == "multilabel" and not self.classes:
            self.classes = [f"label {i}" for i in range(self.splits[0].output.shape[1])]

    @property
    def title(self) -> str:
        """The network and the data it learnt from."""
        recorded = self.config.get("data", {}).get("name", "data")
        name = recorded if self.data is None else self.data.name
        return f"{type(self.run.model).__name__} on {name}"

    @property
    def main(self) -> SplitFacts | None:
        """The split whose rows are shown in detail."""
        return self.splits[0] if self.splits else None

    def _read(self, name: str) -> SplitFacts:
        assert self.task is not None
        output, target = self.run.outputs(name)
        split = getattr(self.data, name)
        numbers = (getattr(self.data, "indices", None) or {}).get(name)
        return SplitFacts(
            name,
            self.task,
            split.tensors["input"] if isinstance(split, Resident) else None,
            output,
            self.in_units(target),
            self.in_units(output) if self.task == "regression" else _answers(self.task, output),
            None if numbers is None else np.asarray(numbers),
        )

    def in_units(self, values: Tensor) -> np.ndarray:
        """Targets as numbers: in the user's units, one column for each output, if a regression."""
        if self.task != "regression":
            return values.cpu().numpy()
        decode = getattr(self.run.preprocessing, "decode", None)
        decoded = decode(values) if decode else values.cpu().numpy()
        return np.asarray(decoded, dtype=np.float64).reshape(len(values), -1)

    @cached_property
    def output_names(self) -> list[str]:
        """Names of the regression outputs."""
        target = getattr(self.run.preprocessing, "target", None)
        names = [str(name) for name in getattr(target, "names", ())]
        count = 0 if self.main is None else self.main.target.shape[1]
        unnamed = ["value"] if count == 1 else [f"output {i}" for i in range(count)]
        return names if len(names) == count else unnamed

    @cached_property
    def parameters(self) -> int:
        return sum(p.numel() for p in self.run.model.parameters())

    @cached_property
    def baseline(self) -> tuple[str, dict[str, float]] | None:
        """The best constant answer learnt from the training rows: in words, and its scores."""
        main, train = self.main, getattr(self.data, "train", None)
        if main is None or not isinstance(train, Resident) or "target" not in train.tensors:
            return None
        target = self.in_units(train.tensors["target"])
        if self.task == "regression":
            constant = np.broadcast_to(target.mean(0), main.target.shape)
            known = metrics.scores("regression", main.target, constant)
            return "the mean of the training rows for every row", known
        values, counts = np.unique(target, axis=0, return_counts=True)
        answer = values[counts.argmax()]
        if self.task == "multilabel":
            share = float((main.target == answer).all(1).mean())
            return "the commonest set of labels for every row", {"accuracy": share}
        share = float((main.target == answer).mean())
        return f"“{self.classes[int(answer)]}” for every row", {"accuracy": share}

    def prepare(self, inputs: Tensor) -> Tensor:
        """Rows of a split as the model takes them, on its device."""
        device = next((p.device for p in self.run.model.parameters()), torch.device("cpu"))
        inputs = inputs.to(device)
        return inputs if self.run.transform is None else self.run.transform.to(device)(inputs)

    def row_losses(self, output: Tensor, target: np.ndarray) -> Tensor:
        """Log loss of each row; for regression the absolute error.

        Several outputs may have units of their own: then in their standard deviations.
        """
        if self.task == "regression":
            error = np.abs(self.in_units(output) - target)
            scale = target.std(0) if target.shape[1] > 1 else 1.0
            return torch.from_numpy((error / np.where(scale, scale, 1.0)).mean(1))
        output, truth = output.float().cpu(), torch.from_numpy(target)
        if self.task == "multilabel":
            loss = binary_cross_entropy_with_logits(output, truth.float(), reduction="none")
            return loss.mean(1)
        return cross_entropy(output, truth.long(), reduction="none")


def _answers(task: str, output: Tensor) -> np.ndarray:
    return ((output > 0) if task == "multilabel" else output.argmax(1)).numpy().astype(np.int64)


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings as `a.b.c`, which is also the name of the flag."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat
