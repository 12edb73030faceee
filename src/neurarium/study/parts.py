"""What each part of a trained network is worth: take it out and ask again."""

import contextlib
import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from neurarium.data import (
    Data,
    FreeTextPreprocessing,
    GraphPreprocessing,
    Resident,
    SeriesPreprocessing,
)
from neurarium.learning import Backprop
from neurarium.objectives import Objective, supervised
from neurarium.study.comparison import Progress, Study, study
from neurarium.study.statistics import holm, interval, paired_t
from neurarium.training import Callback, Run, fit
from neurarium.training.fit import _LOSSES

if TYPE_CHECKING:
    from neurarium.training.trainer import Trainer

__all__ = ["KINDS", "Part", "ablate_parts", "ablate_tricks"]

Kind = Literal["layers", "units", "connections", "inputs"]
KINDS: tuple[Kind, ...] = ("layers", "units", "connections", "inputs")

_SHARES = (0.5, 0.9)  # of a layer's connections, the smallest first
_PATCH = 4  # pixels a side of a patch of an image
_RECOVERY_RATE = 0.1  # of the rate that the network was trained with

Removal = Callable[[nn.Module], contextlib.AbstractContextManager[None]]
WITH_WEIGHTS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


@dataclass(frozen=True)
class Part:
    """One part of a network, and what is lost without it.

    Attributes:
        figure: of the network without it; `whole` is that of the network as it was.
        low: of the interval of `loss` over rows, corrected for the number of parts; like `high`.
        recovered: the figure after the rest was trained on; None where it was not.
    """

    kind: Kind
    name: str
    figure: float
    whole: float
    low: float = 0.0
    high: float = 0.0
    recovered: float | None = None

    @property
    def loss(self) -> float:
        """What is lost without it."""
        return self.whole - self.figure

    @property
    def verdict(self) -> str:
        """Whether it matters, as far as these rows can tell."""
        if self.low > 0:
            return "matters"
        return "harms" if self.high < 0 else "cannot tell"


def ablate_parts(
    run: Run,
    *,
    kinds: Sequence[Kind] = KINDS,
    recover: int = 0,
    rows: int = 2048,
    most_units: int = 256,
    seed: int = 0,
    split: str | None = None,
    on_part: Callable[[int, int], object] | None = None,
) -> list[Part]:
    r"""Take each part out of a trained network, and rank the parts by what is lost.

    $$\Delta_k = \frac1n \sum_{i=1}^n \bigl(g_i(f) - g_i(f_{-k})\bigr)$$

    with $g_i$ the credit for row $i$: 1 where it is right, or its part of $R^2$. A layer with
    weights, and a unit, gives its mean over training rows in place of its output; another layer
    passes its input on. Connections are set to 0, the smallest half or nine tenths of a layer's. An
    input (a column, or a patch of an image) is shuffled among the rows. What a part is worth here
    says what this network uses, not what another could do without.

    Args:
        run: with its data attached.
        recover: epochs for which the rest is trained on without the part; 0 for none. That part
            stays out.
        rows: at most so many are asked.
        most_units: beyond so many, neighbouring units are taken out together.
        split: rows that are asked: "val", or "test" for a run without validation rows.

    Raises:
        ValueError: for a run without data, or of a task whose rows have no credit.

    Source: Meyes, Lu, Waubert de Puiseau & Meisen (2019), Ablation studies in artificial neural
    networks, arXiv:1901.08644.
    """
    data = _data(run)
    chosen = split or ("val" if data.val is not None else "test")
    asked = _head(data.split(chosen), rows)
    model = run.model.eval()
    means = _means(model, data, rows)
    removals = dict(_removals(model, data, kinds, means, most_units, seed))
    whole = _credit(run, model, asked)
    found: list[tuple[Part, Tensor]] = []
    for number, ((kind, name), remove) in enumerate(removals.items(), 1):
        with remove(model):
            left = _credit(run, model, asked)
        found.append((Part(kind, name, float(left.mean()), float(whole.mean())), whole - left))
        if on_part is not None:
            on_part(number, len(removals))
    parts = _with_intervals(found)
    parts.sort(key=lambda part: -part.loss)
    if recover:
        parts = [
            replace(part, recovered=_recovered(run, removals[part.kind, part.name], asked, recover))
            for part in parts
        ]
    return parts


def _data(run: Run) -> Data:
    if run.data is None:
        raise ValueError("this run was loaded without data; attach it first: run.attach(data)")
    if run.task is None:
        raise ValueError("parts are ranked by the credit for each row, and this run has no task")
    if isinstance(run.preprocessing, SeriesPreprocessing | GraphPreprocessing):
        kind = "windows of a series" if hasattr(run.preprocessing, "clock") else "those of a graph"
        raise ValueError(
            f"parts are ranked by the credit for rows that are each by themselves, not {kind}"
        )
    return run.data


def _head(split: Any, rows: int) -> Resident:
    if isinstance(split, Resident):
        return split.head(rows)
    batches, count = [], 0
    for batch in split.batches(256):
        batches.append(batch)
        count += len(batch["target"])
        if count >= rows:
            break
    joined = {name: torch.cat([batch[name] for batch in batches]) for name in batches[0]}
    return Resident(joined).head(rows)


def _credit(run: Run, model: nn.Module, asked: Resident) -> Tensor:
    """What each row adds to the figure."""
    output, target = Run.forward(run, asked), asked.tensors["target"].cpu()
    assert run.model is model
    if run.task == "regression":
        target = target.reshape(output.shape).double()
        around = (target - target.mean(0)).square().mean(0).clamp(min=1e-12)
        return (1 - (output.double() - target).square() / around).mean(1)
    if run.task == "multilabel":
        return ((output > 0) == (target > 0.5)).all(1).double()
    return (output.argmax(1) == target).double()


def _with_intervals(found: Sequence[tuple[Part, Tensor]]) -> list[Part]:
    lost = {str(i): d.tolist() for i, (_, d) in enumerate(found) if len(d) > 1}
    levels = holm({name: paired_t(d) for name, d in lost.items()})
    parts = []
    for i, (part, _) in enumerate(found):
        low, high = interval(lost[str(i)], 1 - levels[str(i)][1]) or (0.0, 0.0)
        parts.append(replace(part, low=low, high=high))
    return parts


# What can be taken out


def _removals(
    model: nn.Module,
    data: Data,
    kinds: Sequence[Kind],
    means: Mapping[str, Tensor],
    most_units: int,
    seed: int,
) -> Iterator[tuple[tuple[Kind, str], Removal]]:
    weighty = [name for name in means if isinstance(model.get_submodule(name), WITH_WEIGHTS)]
    if "layers" in kinds:
        for name in means:
            layer = model.get_submodule(name)
            title = f"{name} ({type(layer).__name__})"
            if name in weighty:
                yield ("layers", title), _mean_of(name, means[name], slice(None))
            elif _keeps_shape(layer):
                yield ("layers", title), _passed(name)
    if "units" in kinds:
        hidden = weighty[:-1]  # the last one's are the answers
        total = sum(len(means[name]) for name in hidden)
        together = -(-total // most_units) if total > most_units else 1
        for name in hidden:
            for first in range(0, len(means[name]), together):
                units = slice(first, min(first + together, len(means[name])))
                title = f"{name}, unit {first}"
                if units.stop - first > 1:
                    title = f"{name}, units {first} to {units.stop - 1}"
                yield ("units", title), _mean_of(name, means[name], units)
    if "connections" in kinds:
        for name in weighty:
            for share in _SHARES:
                title = f"{name}, smallest {100 * share:.0f} %"
                yield ("connections", title), _thinned(name, share)
    if "inputs" in kinds:
        for title, positions in _inputs(data):
            yield ("inputs", title), _shuffled(positions, seed)


def _keeps_shape(layer: nn.Module) -> bool:
    """Whether the layer's input can stand for its output; dropout is none when judging."""
    names = ("Norm", "ReLU", "Sigmoid", "Tanh", "GELU", "SiLU", "Mish", "ELU", "Softplus")
    own = type(layer).__module__.startswith("neurarium.activations")
    return own or any(name in type(layer).__name__ for name in names)


@torch.no_grad()
def _means(model: nn.Module, data: Data, rows: int) -> dict[str, Tensor]:
    """Mean output of each leaf, unit by unit, over training rows; those that gave one tensor."""
    totals: dict[str, Tensor] = {}
    handles = []

    def watch(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            if isinstance(output, Tensor) and output.ndim >= 2 and name not in totals:
                others = [axis for axis in range(output.ndim) if axis != 1]
                totals[name] = output.float().mean(others)

        return hook

    for name, module in model.named_modules():
        if name and not any(True for _ in module.children()):
            handles.append(module.register_forward_hook(watch(name)))
    try:
        head = _head(data.train, rows)
        device = next((p.device for p in model.parameters()), torch.device("cpu"))
        batch = {key: value.to(device) for key, value in head.tensors.items()}
        transform = None if data.transform is None else data.transform.to(device)
        value = batch["input"]
        model(value if transform is None else transform(value))
    finally:
        for handle in handles:
            handle.remove()
    return totals


def _mean_of(name: str, mean: Tensor, units: slice) -> Removal:
    """These units of a layer give their means."""

    def hook(module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
        shape = [1, -1] + [1] * (output.ndim - 2)
        filled = output.clone()
        filled[:, units] = mean.to(output)[units].reshape(shape).expand_as(filled[:, units])
        return filled

    return _hooked(name, hook)


def _passed(name: str) -> Removal:
    """A layer gives its input."""
    return _hooked(name, lambda module, inputs, output: inputs[0])


def _hooked(name: str, hook: Callable[..., Any]) -> Removal:
    @contextlib.contextmanager
    def remove(model: nn.Module) -> Iterator[None]:
        handle = model.get_submodule(name).register_forward_hook(hook)
        try:
            yield
        finally:
            handle.remove()

    return remove


class _Thinned(Callback):
    """Connections of a layer that are held at 0."""

    def __init__(self, weight: nn.Parameter, share: float) -> None:
        self.weight = weight
        sizes = weight.detach().abs().flatten()
        self.mask = torch.ones_like(sizes)
        self.mask[sizes.argsort()[: round(share * len(sizes))]] = 0
        self.mask = self.mask.reshape(weight.shape)
        self.apply()

    @torch.no_grad()
    def apply(self) -> None:
        """Set them to 0."""
        self.weight.mul_(self.mask)

    def on_train_batch_end(self, trainer: "Trainer", *rest: Any) -> None:
        self.apply()


def _thinned(name: str, share: float) -> Removal:
    """The smallest connections of a layer are 0."""

    @contextlib.contextmanager
    def remove(model: nn.Module) -> Iterator[None]:
        weight = model.get_submodule(name).weight
        assert isinstance(weight, nn.Parameter)
        before = weight.detach().clone()
        held = _Thinned(weight, share)
        vars(model)["held"] = held  # which a recovery keeps at 0
        try:
            yield
        finally:
            del vars(model)["held"]
            with torch.no_grad():
                weight.copy_(before)

    return remove


def _shuffled(positions: Sequence[int], seed: int) -> Removal:
    """Some inputs of a row are those of another row."""

    @contextlib.contextmanager
    def remove(model: nn.Module) -> Iterator[None]:
        generator = torch.Generator().manual_seed(seed)

        def hook(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            x = inputs[0]
            flat = x.flatten(1).clone()
            order = torch.randperm(len(x), generator=generator).to(x.device)
            flat[:, positions] = flat[order][:, positions]
            return (flat.reshape(x.shape), *inputs[1:])

        handle = model.register_forward_pre_hook(hook)
        try:
            yield
        finally:
            handle.remove()

    return remove


def _inputs(data: Data) -> Iterator[tuple[str, list[int]]]:
    """Columns of a table, patches of images, or single numbers, with their places."""
    shape = data.input_shape
    if len(shape) == 3:
        channels, height, width = shape
        grid = torch.arange(channels * height * width).reshape(shape)
        for top in range(0, height, _PATCH):
            for left in range(0, width, _PATCH):
                patch = grid[:, top : top + _PATCH, left : left + _PATCH]
                yield f"pixels from ({top}, {left})", patch.flatten().tolist()
        return
    if len(shape) != 1 or isinstance(data.preprocessing, FreeTextPreprocessing):
        return  # a word has no place of its own; the report says which words told
    names = list(getattr(data.preprocessing, "features", ()))
    owners: dict[str, str] = {}
    for column in getattr(data.preprocessing, "columns", ()):
        owners[f"{column.name} is missing"] = column.name
        owners |= dict.fromkeys(column.features, column.name)
    groups: dict[str, list[int]] = {}
    for place in range(shape[0]):
        feature = names[place] if len(names) == shape[0] else f"input {place}"
        groups.setdefault(owners.get(feature, feature), []).append(place)
    yield from groups.items()


# Training on without it


def _recovered(run: Run, remove: Removal, asked: Resident, epochs: int) -> float:
    """The figure after the rest was trained on."""
    data = _data(run)
    model = copy.deepcopy(run.model)
    choice = run.config.get("choice") or {}
    rate = _RECOVERY_RATE * (choice.get("lr") or 1e-2)
    rule = Backprop(choice.get("optimizer") or "adamw", rate, "cosine")
    with remove(model):
        held = vars(model).get("held")
        fit(
            model,
            data,
            _objective(run),
            rule,
            epochs=epochs,
            batch_size=run.config.get("batch_size") or 64,
            seed=run.config.get("seed") or 0,
            callbacks=[held] if held is not None else [],
            metrics=(),
            verbose=False,
        )
        whole, run.model = run.model, model.eval()
        try:
            return float(_credit(run, model, asked).mean())
        finally:
            run.model = whole


def _objective(run: Run) -> Objective:
    if run.objective is not None:
        return run.objective
    options = run.config.get("options") or {}
    loss = options.get("loss") or _LOSSES[run.task or ""]
    return supervised(loss, options.get("penalties") or ())


# Tricks


def ablate_tricks(
    run: Run,
    *,
    seeds: int = 3,
    workers: int | None = None,
    directory: Any = None,
    on_progress: Callable[[Progress], object] | None = None,
) -> Study:
    """Train the run's network again without each of its tricks: a study, paired by seed.

    Tricks are what it was trained with besides the bare network: dropout, normalization, penalties,
    augmentation, clipping, weight decay, the schedule, the adaptive optimizer, stopping early.

    Raises:
        ValueError: for a run that was not begun by `neurarium fit`, whose settings are unknown.
    """
    data, config = _data(run), run.config
    choice, options = config.get("choice"), dict(config.get("options") or {})
    if not choice:
        raise ValueError("the tricks of this run are unknown: it was not begun by neurarium fit")
    base = {
        name: choice[name]
        for name in ("network", "epochs", "batch_size", "lr", "optimizer", "schedule", "patience",
                     "weight_decay")
    }  # fmt: skip
    named = ("loss", "penalties", "augment", "rule", "callback", "max_grad_norm")
    base |= {name: options[name] for name in named if options.get(name)}
    vary = _tricks(base, (config.get("network") or {}).get("arguments") or {})
    return study(
        {name: value for name, value in base.items() if name not in vary},
        vary,
        data,
        seeds=seeds,
        workers=workers,
        directory=directory,
        on_progress=on_progress,
    )


def _tricks(base: Mapping[str, Any], arguments: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Setting -> with it and without it, of those that the run has."""
    found: dict[str, tuple[Any, Any]] = {}
    if arguments.get("dropout"):
        found["dropout"] = arguments["dropout"], 0.0
    if arguments.get("norm"):
        found["normalization"] = arguments["norm"], None
    for name in ("penalties", "augment", "max_grad_norm"):
        if base.get(name):
            found[name] = base[name], None
    if base.get("weight_decay"):
        found["weight_decay"] = base["weight_decay"], 0.0
    if base.get("schedule") not in (None, "constant"):
        found["schedule"] = base["schedule"], "constant"
    if base.get("optimizer") not in (None, "sgd", "sgd:momentum=0.9"):
        found["optimizer"] = base["optimizer"], "sgd:momentum=0.9"
    if base.get("patience") and base["patience"] < base["epochs"]:
        found["patience"] = base["patience"], base["epochs"]
    return {name: {"with": kept, "without": gone} for name, (kept, gone) in found.items()}


def to_json(parts: Sequence[Part]) -> list[dict[str, Any]]:
    """Plain values."""
    return [{**vars(part), "loss": part.loss, "verdict": part.verdict} for part in parts]
