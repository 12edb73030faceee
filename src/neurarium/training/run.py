"""The outcome of a fit: the model, how it got there, and what it says of new data."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from neurarium import (
    graphs,  # noqa: F401 - its networks are among those that a run's folder may name
    metrics,
    networks,
)
from neurarium.data import Data, Preprocessing, Resident, Split, Stream, as_split
from neurarium.data.errors import show
from neurarium.data.plain import fits
from neurarium.data.saving import load_preprocessing, save_preprocessing
from neurarium.data.series import SeriesPreprocessing
from neurarium.learning.rule import Rule, value_of
from neurarium.objectives import Objective, ask
from neurarium.training import checkpoints
from neurarium.training.history import History

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Run:
    """A trained model with its history, its configuration and what prepares its input.

    Attributes:
        model: the module that was trained, in evaluation mode.
        data: the splits; None for a run loaded from disk until `attach`ed.
        history: figures by name, one entry an epoch; `history.frame()` is a table.
        config: everything that was resolved: arguments, versions, seed, data, engine, hardware.
        directory: the run folder, if any.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        data: Data | None = None,
        objective: Objective | None = None,
        history: History | None = None,
        config: Mapping[str, Any] | None = None,
        directory: Path | None = None,
        preprocessing: Preprocessing | None = None,
        transform: nn.Module | None = None,
    ) -> None:
        self.model = model.eval()
        self.objective, self.directory = objective, directory
        self.history, self.config = history or History(), dict(config or {})
        self.preprocessing, self.transform = preprocessing, transform
        self.task: str | None = self.config.get("data", {}).get("task")
        self.classes: list[str] | None = self.config.get("data", {}).get("classes")
        self.rule: Rule | None = None  # how it was trained, where that was in this process
        self.data: Data | None = None
        if data is not None:
            self.attach(data)

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "rule": None}  # which is bound to this process's trainer

    def attach(self, data: Data) -> "Run":
        """Take these splits as the run's own."""
        self.data, self.task, self.classes = data, data.task, data.classes
        own, self.preprocessing = self.preprocessing, data.preprocessing
        self.transform = data.transform
        if isinstance(own, SeriesPreprocessing) and isinstance(data.preprocessing, type(own)):
            self.preprocessing = data.preprocessing.moved(own.widening)  # the network's, not theirs
        return self

    # Asking the model

    @torch.no_grad()
    def forward(self, split: Split, batch_size: int = 1024) -> Tensor:
        """Raw outputs of the model, in full precision on the CPU."""
        device = next((p.device for p in self.model.parameters()), torch.device("cpu"))
        self.model.eval()
        parts = []
        for batch in split.batches(batch_size):
            batch = {name: value.to(device) for name, value in batch.items() if name != "target"}
            if self.transform is not None:
                batch["input"] = self.transform.to(device)(batch["input"])
            parts.append(ask(self.model, batch).float().cpu())
        return torch.cat(parts)

    def outputs(self, split: Any = "test") -> tuple[Tensor, Tensor]:
        """Raw outputs and targets of a split."""
        split = self._split(split)
        if isinstance(split, Resident):
            targets = split.tensors["target"]
        else:
            targets = torch.cat([batch["target"] for batch in split.batches(1024)])
        return self.forward(split), targets.cpu()

    def _split(self, split: Any) -> Split:
        if isinstance(split, str) and split in ("train", "val", "test"):
            if self.data is None:
                raise ValueError(
                    f"this run was loaded without data, so it has no split '{split}'; pass rows "
                    "with their target, or attach the data first"
                )
            return self.data.split(split)
        if isinstance(split, Resident | Stream):
            return split
        prepared = isinstance(split, tuple) and isinstance(split[0], Tensor)
        if self.preprocessing is not None and not prepared:
            return as_split(self.preprocessing.transform(split, with_target=True))
        return as_split(split)

    def evaluate(self, split: Any = "test") -> dict[str, float]:
        """Scores under scikit-learn's names; of a task unknown to them, the objective's parts.

        Args:
            split: "train", "val" or "test", or rows with their target as at training time.
        """
        if self.task is None:
            return self._mean_objective(self._split(split))
        output, target = self.outputs(split)
        units = self.preprocessing.decode if self.preprocessing else None
        return metrics.scores(self.task, target, output, decode=units)

    @torch.no_grad()
    def _mean_objective(self, split: Split) -> dict[str, float]:
        if self.objective is None:
            raise ValueError("this run has neither a task nor an objective to evaluate by")
        device = next((p.device for p in self.model.parameters()), torch.device("cpu"))
        totals: dict[str, float] = {}
        rows = 0
        for batch in split.batches(256):
            batch = {name: value.to(device) for name, value in batch.items()}
            if self.transform is not None:
                batch["input"] = self.transform(batch["input"])
            count = len(next(iter(batch.values())))
            rows += count
            for name, value in value_of(self.objective(self.model, batch)).items():
                totals[name] = totals.get(name, 0.0) + float(value) * count
        return {name: total / rows for name, total in totals.items()}

    def _output(self, x: Any) -> Tensor:
        if self.preprocessing is not None and not isinstance(x, Tensor):
            return self.forward(as_split(self.preprocessing.transform(x)))
        return self.forward(as_split(x))

    def predict(self, x: Any) -> np.ndarray:
        """Answers in the user's own terms: labels, or values in the target's units.

        Args:
            x: rows as at training time (a table, arrays, image paths), or a prepared tensor.
        """
        return self.decode(self._output(x))

    def decode(self, output: Tensor) -> np.ndarray:
        """Answers from raw outputs."""
        if self.preprocessing is not None:
            return self.preprocessing.decode(output)
        if self.task == "multilabel":
            return (output > 0).numpy().astype(int)
        if self.task not in ("binary", "multiclass"):
            return output.numpy()
        numbers = output.argmax(1).numpy()
        return numbers if self.classes is None else np.asarray(self.classes)[numbers]

    def predict_proba(self, x: Any) -> np.ndarray:
        """Probability of each class (or label), shape (rows, classes).

        Raises:
            ValueError: for a regression, which has none.
        """
        if self.task not in ("binary", "multiclass", "multilabel"):
            raise ValueError(f"a run of task {self.task!r} predicts no probabilities; use predict")
        return metrics.probabilities(self.task, self._output(x))

    def plot(self) -> "Figure":
        """Losses and validation figures over the epochs."""
        from matplotlib.figure import Figure

        names = [
            n for n in self.history if n.startswith(("train_", "val_")) and n != "train_grad_norm"
        ]
        losses = [n for n in names if n.endswith("loss")]
        others = [n for n in names if n not in losses]
        figure = Figure(figsize=(4.5 * (1 + bool(others)), 3.2), layout="constrained")
        for axes, shown in zip(
            np.atleast_1d(figure.subplots(1, 1 + bool(others))), (losses, others), strict=False
        ):
            for name in shown:
                axes.plot(self.history["epoch"], self.history[name], label=name)
            axes.set_xlabel("epoch")
            axes.legend()
        return figure

    # Keeping the model

    def save(self, directory: str | Path) -> Path:
        """Write weights, configuration, history and preprocessing; `load` needs nothing else."""
        directory = Path(directory)
        directory.mkdir(parents=True, exist_ok=True)
        with checkpoints.new_directory(directory / "model") as path:
            checkpoints.save_weights(path / checkpoints.WEIGHTS, checkpoints.weights(self.model))
            (path / "model.json").write_text(json.dumps(describe(self.model), indent=1))
            save_preprocessing(path, self.preprocessing, self.transform)
        write_config(directory, self.config)
        lines = [json.dumps(row) + "\n" for row in self.history.rows()]
        checkpoints.write_text(directory / "metrics.jsonl", "".join(lines))
        return directory

    @classmethod
    def load(cls, directory: str | Path, model: nn.Module | None = None) -> "Run":
        """A run from its folder.

        Args:
            model: a module of the trained one's form; needed only if its class is your own.

        Raises:
            CheckpointError: when the folder holds no finished run or weights of another form.
        """
        directory = Path(directory)
        path = directory / "model"
        try:
            described = json.loads((path / "model.json").read_text(encoding="utf-8"))
            config = read_config(directory)
        except (OSError, ValueError, RecursionError) as error:
            raise checkpoints.CheckpointError(
                f"{directory} is not the folder of a finished run ({error})"
            ) from None
        with checkpoints.reading(path / "model.json"):
            if model is None and described["network"] is None:
                raise checkpoints.CheckpointError(
                    f"the model of {directory} is of your own class {described['class']}; build "
                    "one and pass it: Run.load(directory, model=...)"
                )
            model = networks.build(described["network"]) if model is None else model
        checkpoints.load_weights(model, path / checkpoints.WEIGHTS)
        with checkpoints.reading(f"the preprocessing in {path}"):
            preprocessing, transform = load_preprocessing(path)
        history = History()
        with checkpoints.reading(directory / "metrics.jsonl"):
            for line in (directory / "metrics.jsonl").read_text(encoding="utf-8").splitlines():
                history.append(json.loads(line))
        with checkpoints.reading(directory / "config.yaml"):
            return cls(
                model,
                history=history,
                config=config,
                directory=directory,
                preprocessing=preprocessing,
                transform=transform,
            )

    def __repr__(self) -> str:
        figures = {name: values[-1] for name, values in self.history.items() if values}
        return f"Run({type(self.model).__name__}, {len(self.history)} epochs, {figures})"


def describe(model: nn.Module) -> dict[str, Any]:
    """The class, and for networks of our own what `networks.build` needs to make it anew."""
    try:
        network = networks.config(model)
    except ValueError:  # the user's own class, or one with a function of theirs inside
        network = None
    return {"network": network, "class": f"{type(model).__module__}.{type(model).__qualname__}"}


def write_config(directory: Path, config: Mapping[str, Any]) -> None:
    """Write `config.yaml`."""
    import yaml

    checkpoints.write_text(directory / "config.yaml", yaml.safe_dump(dict(config), sort_keys=False))


def read_config(directory: Path) -> dict[str, Any]:
    """Read `config.yaml`."""
    import yaml

    path = directory / "config.yaml"
    with checkpoints.reading(path):
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
        if not isinstance(config, dict) or not isinstance(config.get("data", {}), dict):
            raise TypeError("it holds no names and values")
        data = config.get("data", {})
        for name, kind in {"task": str, "classes": list, "fingerprint": str}.items():
            if data.get(name) is not None and not fits(data[name], kind):
                raise TypeError(f"its {name} cannot be {show(data[name])}")
        return config
