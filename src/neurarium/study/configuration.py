"""An experiment made of `fit`'s own arguments: any of them can be varied, by name."""

import copy
import functools
import inspect
import json
import time
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only
from torch.utils.flop_counter import flop_registry

from neurarium import _names, learning
from neurarium.data import Data, Resident
from neurarium.initialization import init_
from neurarium.learning import Backprop, Rule
from neurarium.networks.build import NETWORKS
from neurarium.objectives import supervised
from neurarium.study.arms import Arm
from neurarium.study.trials import Outcome, plain
from neurarium.training import Callback, Run, automatic, callbacks, checkpoints, lr_find, randomness
from neurarium.training.automatic_choices import Choice
from neurarium.training.fit import _LOSSES

if TYPE_CHECKING:
    from neurarium.training.trainer import Trainer

__all__ = ["SETTINGS", "Configured", "canonical"]

# Everything that can be set, and so varied; several words for one thing name the first.
_WORDS = (
    "network", "width", "depth", "activation", "normalization norm", "dropout",
    "initialization init", "loss", "penalty penalties", "augment augmentation",
    "callback callbacks", "rule", "optimizer", "lr", "schedule", "weight_decay", "max_grad_norm",
    "epochs", "batch_size", "max_steps", "patience", "precision", "channels_last", "compile",
    "device", "fraction",
)  # fmt: skip
SETTINGS = {word: words.split()[0] for words in _WORDS for word in words.split()}

# Settings that are arguments of the network, under its own name for them.
_OF_NETWORK = {"activation": "activation", "normalization": "norm", "dropout": "dropout"}
# With these another learning rate is the usual one, so each trial finds its own unless it is said.
_MOVES_LR = ("network", "width", "depth", "optimizer")
_CHOSEN = tuple(f.name for f in fields(Choice) if f.name not in ("network", "reasons"))
_PASSED = ("max_steps", "precision", "channels_last", "compile", "device")

# Beyond so many calls a step is a search of its own, and counting it would take as long again.
_MOST_CALLS = 20_000
_VALIDATION_SHARE = 0.2


def canonical(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings under their first names.

    Raises:
        ValueError: for a name that is no setting; the message lists the nearest.
    """
    found: dict[str, Any] = {}
    for name, value in settings.items():
        first = _names.resolve(name, SETTINGS, "setting")
        if first in found:
            raise ValueError(f"{first} is set twice, once as {name!r}")
        found[first] = value
    return found


@dataclass
class Configured:
    """Trains a network as `fit` would, with what an arm says in place of what was chosen.

    Args:
        data: training and validation rows; test rows are not kept, so no trial can see them.
        choice: the settings that are the same for all arms where they say nothing.
        redrawn: whether every seed draws its own validation rows, the same for all arms.
    """

    data: Data
    choice: Choice
    redrawn: bool

    @classmethod
    def of(cls, data: Data, base: Mapping[str, Any], memory: Path | None = None) -> "Configured":
        """The experiment on these data; what the base does not say is chosen from them.

        Args:
            memory: a folder that keeps what was chosen.
        """
        if isinstance(data.train, Resident) and data.val is None:
            data = _with_validation(data, seed=0)
            redrawn = True
        else:
            redrawn = _drawn_by_us(data)
        if data.val is None:
            raise ValueError(
                "arms are compared by validation rows, and these streamed data have none; pass "
                "Data(train, val=...)"
            )
        seen = _without_test(data)
        return cls(seen, _remembered(seen, base, memory), redrawn)

    @property
    def identity(self) -> dict[str, Any]:
        """What decides a trial besides its arm and seed."""
        from neurarium import __version__

        chosen = {k: v for k, v in asdict(self.choice).items() if k != "reasons"}
        return {
            "data": self.data.fingerprint(),
            "chosen": plain(chosen),
            "redrawn": self.redrawn,
            "versions": [__version__, str(torch.__version__)],
        }

    @property
    def overlap(self) -> float:
        """Validation rows for each training row, where every seed draws them anew."""
        if not self.redrawn:
            return 0.0
        return len(self.data.val) / len(self.data.train)  # type: ignore[arg-type]

    # A trial

    def run(self, settings: Mapping[str, Any], seed: int) -> Outcome:
        """Train once and judge on the validation rows."""
        data, meter = self.rows(settings, seed), _Meter()
        run = self.train(data, settings, seed, callbacks=[meter])
        return Outcome(
            scores=run.evaluate("val"),
            history={name: list(values) for name, values in run.history.items()},
            memory=meter.memory,
            multiply_adds=meter.multiply_adds,
            parameters=run.config["parameters"],
            config=run.config,
            weights=_packed(run.model),
        )

    def rows(self, settings: Mapping[str, Any], seed: int) -> Data:
        """The training and validation rows of a trial."""
        data = _split_again(self.data, seed) if self.redrawn else copy.copy(self.data)
        fraction = settings.get("fraction")
        return data if fraction is None else _share(data, fraction, seed)

    def train(self, data: Data, settings: Mapping[str, Any], seed: int, **options: Any) -> Run:
        """`fit` with an arm's settings."""
        said = {name: settings[name] for name in _CHOSEN if settings.get(name) is not None}
        if "schedule" in settings and settings["schedule"] is None:
            said["schedule"] = "constant"
        choice = self.choice.overridden(said)
        if "lr" not in said and any(name in settings for name in _MOVES_LR):
            choice = replace(choice, lr=None)
        model = self.network(data, settings, seed)
        if choice.lr is None and not options.get("fast_dev_run"):
            choice = replace(choice, lr=_found_rate(model, data, settings, choice, seed))
        options["callbacks"] = [*_callbacks(settings), *options.get("callbacks", ())]
        return automatic.fit_source(
            data,
            network=model,
            loss=settings.get("loss"),
            penalties=_several(settings.get("penalty")),
            augment=_several(settings.get("augment")),
            rule=_rule(settings.get("rule") or "backprop", choice, settings.get("max_grad_norm")),
            choice=choice,
            validate=True,
            seed=seed,
            verbose=False,
            **{"threads": 1, **options},
            **{name: settings[name] for name in _PASSED if settings.get(name) is not None},
        )

    def network(self, data: Data, settings: Mapping[str, Any], seed: int) -> nn.Module:
        """The arm's network with this seed's weights."""
        with randomness.isolated():
            randomness.seed_everything(seed)
            model = _network(settings.get("network") or self.choice.network, data, settings)
            scheme = settings.get("initialization")
            if scheme is not None:
                init_(model, scheme)
        return model

    # Before the first trial

    def rehearse(self, arm: Arm, metric: str) -> float:
        """Train for a moment, so that nothing impossible is begun; about how long a trial takes.

        Raises:
            ValueError: if the base cannot take a value of this arm, or nothing measures the metric.
        """
        clock = _Clock()
        start = time.monotonic()
        try:
            data = self.rows(arm.settings, 0)
            run = self.train(data, arm.settings, 0, fast_dev_run=_Clock.STEPS, callbacks=[clock])
            _names.resolve(metric, dict.fromkeys(run.evaluate("val")), "metric")
        except FloatingPointError:  # a rate that is too high fails in its trials, and is shown
            return 0.0
        except (ValueError, TypeError, LookupError) as error:
            line = " ".join(str(error).split())
            raise ValueError(f"{arm.name} cannot be trained here: {line}") from error
        around = time.monotonic() - start
        settings = {n: arm.settings[n] for n in ("epochs", "batch_size") if arm.settings.get(n)}
        choice = self.choice.overridden(settings)
        steps = (data.train.steps(choice.batch_size) or clock.STEPS) * choice.epochs
        return around + 1.2 * clock.per_step * min(steps, arm.settings.get("max_steps") or steps)


class _Clock(Callback):
    """Seconds of a step; the first few are slower than the rest."""

    STEPS = 6

    def __init__(self) -> None:
        self.marks: list[float] = []

    def on_train_batch_end(self, trainer: "Trainer", *rest: Any) -> None:
        self.marks.append(time.monotonic())

    @property
    def per_step(self) -> float:
        """The middle of those measured."""
        took = sorted(b - a for a, b in zip(self.marks, self.marks[1:], strict=False))
        return took[len(took) // 2] if took else 0.0


# Rows


def _drawn_by_us(data: Data) -> bool:
    """Whether the validation rows were drawn from the training rows, and not given as such."""
    if not (isinstance(data.train, Resident) and isinstance(data.val, Resident)):
        return False
    rows = data.indices or {}
    return "val" in rows and set(rows["val"]).isdisjoint(rows["train"])


def _replaced(data: Data, train: Any, val: Any) -> Data:
    return Data(
        train,
        val,
        None,
        task=data.task,
        classes=data.classes,
        preprocessing=data.preprocessing,
        transform=data.transform,
        augment=data.augment,
        name=data.name,
    )


def _without_test(data: Data) -> Data:
    return _replaced(data, data.train, data.val)


def _with_validation(data: Data, seed: int) -> Data:
    """A fifth of the training rows put aside."""
    assert isinstance(data.train, Resident)
    kept, aside = _parted(data.train, round(_VALIDATION_SHARE * len(data.train)), seed)
    found = _replaced(data, kept, aside)
    found.test = data.test
    return found


def _split_again(data: Data, seed: int) -> Data:
    """Other rows of the same number to validate on."""
    assert isinstance(data.train, Resident)
    assert isinstance(data.val, Resident)
    train, val = data.train.tensors, data.val.tensors
    whole = Resident({name: torch.cat([train[name], val[name]]) for name in train})
    return _replaced(data, *_parted(whole, len(data.val), seed))


def _share(data: Data, fraction: float, seed: int) -> Data:
    """Training on a part of the rows."""
    if not isinstance(data.train, Resident):
        raise ValueError("a fraction of the training rows needs them in memory, got a stream")
    if not 0 < fraction <= 1:
        raise ValueError(f"fraction must be a share of the training rows up to 1, got {fraction}")
    rows = round(fraction * len(data.train))
    if fraction == 1:
        return data
    if rows < 2:
        raise ValueError(f"fraction={fraction} leaves {rows} of {len(data.train)} training rows")
    return _replaced(data, _parted(data.train, rows, seed)[1], data.val)


def _parted(split: Resident, count: int, seed: int) -> tuple[Resident, Resident]:
    """The other rows, and `count` of them drawn so that classes keep their shares."""
    from sklearn.model_selection import train_test_split

    target = split.tensors.get("target")
    labels = None
    if target is not None and target.ndim == 1 and not target.is_floating_point():
        labels = target.cpu().numpy()
    numbers = list(range(len(split)))
    try:
        parts = train_test_split(numbers, test_size=count, random_state=seed, stratify=labels)
    except ValueError:  # a class has one row only, or there are more classes than rows
        parts = train_test_split(numbers, test_size=count, random_state=seed)
    rest, drawn = (
        Resident({name: value[sorted(part)] for name, value in split.tensors.items()})
        for part in parts
    )
    return rest, drawn


# What the base leaves unsaid


def _remembered(data: Data, base: Mapping[str, Any], memory: Path | None) -> Choice:
    """What `fit` would choose, or has chosen for the same data and base."""
    said = {name: plain(value) for name, value in sorted(base.items())}
    path = None if memory is None else memory / "chosen.json"
    facts = {"data": data.fingerprint(), "said": said}
    known: list[dict[str, Any]] = []
    if path is not None and path.is_file():
        try:
            known = json.loads(path.read_text(encoding="utf-8"))
        except ValueError:
            known = []
        for one in known:
            if one["facts"] == facts:
                return Choice(**one["choice"])
    choice = _chosen(data, base)
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        known.append({"facts": facts, "choice": asdict(choice)})
        checkpoints.write_text(path, json.dumps(known, indent=1, default=str) + "\n")
    return choice


def _chosen(data: Data, base: Mapping[str, Any]) -> Choice:
    """The choice of `fit`, asked by beginning a run and ending it at once."""
    said = {name: base[name] for name in _CHOSEN if base.get(name) is not None}
    said |= {name: base[name] for name in ("loss", "device") if base.get(name) is not None}
    network = base.get("network")
    if network is not None:
        with randomness.isolated():
            randomness.seed_everything(0)
            said["network"] = network if isinstance(network, str) else _network(network, data, {})
    run = automatic.fit_source(
        copy.copy(data),
        **said,
        validate=True,
        limit_train_batches=1,
        limit_val_batches=1,
        callbacks=[_Once()],
        threads=1,
        verbose=False,
    )
    return Choice(**run.config["choice"])


class _Once(Callback):
    """Ends a run after its first epoch."""

    def on_train_epoch_end(self, trainer: "Trainer") -> None:
        trainer.should_stop = True


# Parts of a run from an arm's settings


def _network(spec: Any, data: Data, settings: Mapping[str, Any]) -> nn.Module:
    """The network of a name, of a module to copy, or of a function that builds one."""
    own = {_OF_NETWORK[name]: settings[name] for name in _OF_NETWORK if name in settings}
    shape = {name: settings[name] for name in ("width", "depth") if name in settings}
    if not isinstance(spec, str):
        if own or shape:
            raise ValueError(
                f"{', '.join([*own, *shape])} can be set of a network that is given by name only"
            )
        return copy.deepcopy(spec) if isinstance(spec, nn.Module) else spec()
    fitted = {n: kind.for_data for n, kind in NETWORKS.items() if hasattr(kind, "for_data")}
    make = _names.resolve(spec, fitted, "network")
    cls = _names.resolve(spec.partition(":")[0], NETWORKS, "network")
    takes = _arguments(cls)
    if "hidden" in takes:
        own |= _hidden(make, shape)
    else:
        own |= shape
    if unknown := [name for name in own if name not in takes]:
        words = {value: name for name, value in _OF_NETWORK.items()}
        raise ValueError(
            f"{cls.__name__} has no {words.get(unknown[0], unknown[0])} to set; it takes "
            f"{', '.join(takes)}"
        )
    categories = automatic.facts(data).categories
    return functools.partial(make, **own)(data.input_shape, data.outputs, categories)


def _arguments(cls: Any) -> list[str]:
    from_data = ("input_shape", "outputs", "categories", "sizes", "arguments", "in_channels")
    both = (*inspect.signature(cls.for_data).parameters, *inspect.signature(cls).parameters)
    return [name for name in dict.fromkeys(both) if name not in (*from_data, "image_size")]


def _hidden(make: Any, shape: Mapping[str, Any]) -> dict[str, Any]:
    """Hidden widths of another width or number."""
    if not shape:
        return {}
    hidden = inspect.signature(make).parameters["hidden"].default
    hidden = getattr(make, "keywords", {}).get("hidden", hidden)
    widths = [hidden] if isinstance(hidden, int) else list(hidden)
    width, depth = shape.get("width", widths[0]), shape.get("depth", len(widths))
    if isinstance(width, tuple):
        return {"hidden": width}
    if not (isinstance(width, int) and isinstance(depth, int) and width > 0 and depth > 0):
        raise ValueError(f"width and depth must be whole numbers above 0, got {width} and {depth}")
    return {"hidden": (width,) * depth}


def _rule(spec: Any, choice: Choice, max_grad_norm: float | None) -> Rule:
    """The rule with the study's optimizer, unless it brings a learning rate of its own.

    Else a rule would be compared together with its default optimizer.
    """
    if not isinstance(spec, str) and not isinstance(spec, type | functools.partial):
        return copy.deepcopy(spec) if hasattr(spec, "step") else spec()
    made = _names.resolve(spec, learning, "rule")
    bound = made.keywords if isinstance(made, functools.partial) else {}
    free = isinstance(made, type) or not made.args
    parameters = inspect.signature(getattr(made, "func", made)).parameters
    rate = parameters.get("lr")
    if not free or "optimizer" in bound or "optimizer" not in parameters:
        return made()
    if rate is None or rate.default is not None:
        return made()
    how = {
        "optimizer": choice.optimizer,
        "lr": choice.lr,
        "schedule": choice.schedule,
        "weight_decay": choice.weight_decay,
        "max_grad_norm": max_grad_norm,
    }
    anything = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    return made(
        **{k: v for k, v in how.items() if k not in bound and (anything or k in parameters)}
    )


def _found_rate(
    model: nn.Module, data: Data, settings: Mapping[str, Any], choice: Choice, seed: int
) -> float | None:
    """A learning rate by a range test with the arm's optimizer."""
    loss = settings.get("loss") or _LOSSES.get(data.task or "")
    objective = supervised(loss or "mse", _several(settings.get("penalty")))
    rule = Backprop(choice.optimizer, schedule=choice.schedule, weight_decay=choice.weight_decay)
    found = lr_find(model, data, objective, rule, batch_size=choice.batch_size, seed=seed)
    return found.suggestion


def _several(value: Any) -> list[Any]:
    """Penalties or augmentations: none, one, or several parted by "+"."""
    if value is None:
        return []
    if isinstance(value, str):
        return [part.strip() for part in value.split("+")]
    return list(value) if isinstance(value, Sequence) else [value]


def _callbacks(settings: Mapping[str, Any]) -> list[Callback]:
    made = []
    for one in _several(settings.get("callback")):
        found = _names.resolve(one, callbacks, "callback")
        made.append(copy.deepcopy(found) if isinstance(found, Callback) else found())
    return made


# What a trial costs


class _Counting(TorchDispatchMode):
    """Counts the operations of products and convolutions, and the bytes of tensors that live."""

    def __init__(self, held: Sequence[Tensor]) -> None:
        super().__init__()
        self.operations = self.bytes = self.peak = self.calls = 0
        self._known = weakref.WeakSet[Any]()
        for tensor in held:
            self._hold(tensor)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        self.calls += 1
        if self.calls > _MOST_CALLS:
            return result
        count = flop_registry.get(func._overloadpacket)
        if count is not None:
            self.operations += count(*args, **(kwargs or {}), out_val=result)
        tree_map_only(Tensor, self._hold, result)
        return result

    def _hold(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        if storage in self._known:
            return
        self._known.add(storage)
        self.bytes += storage.nbytes()
        self.peak = max(self.peak, self.bytes)
        weakref.finalize(storage, self._release, storage.nbytes()).atexit = False

    def _release(self, size: int) -> None:
        self.bytes -= size


class _Meter(Callback):
    """What the training costs: that of its first step, for as many rows as were seen."""

    order = -100

    def __init__(self) -> None:
        self.counting: _Counting | None = None
        self.rows = 0
        self.per_row: float | None = None
        self.memory: int | None = None

    @property
    def multiply_adds(self) -> float | None:
        """Of all steps so far."""
        return None if self.per_row is None else self.per_row * self.rows

    def on_train_batch_start(self, trainer: "Trainer", batch: Any, batch_idx: int) -> None:
        if trainer.step == 0 and not trainer.engine.compile:
            model = trainer.model
            self.counting = _Counting([*model.parameters(), *model.buffers(), *batch.values()])
            self.counting.__enter__()

    def on_train_batch_end(
        self, trainer: "Trainer", outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        rows = len(next(iter(batch.values())))
        if self.counting is not None:
            counted = self._stop()
            if counted.calls <= _MOST_CALLS:
                self.per_row, self.memory = counted.operations / 2 / rows, counted.peak
        self.rows += rows

    def on_exception(self, trainer: "Trainer", exception: BaseException) -> None:
        if self.counting is not None:
            self._stop()

    def _stop(self) -> _Counting:
        assert self.counting is not None
        counting, self.counting = self.counting, None
        counting.__exit__(None, None, None)
        return counting


def _packed(model: nn.Module) -> bytes:
    from safetensors.torch import save

    return save(checkpoints.weights(model))


def unpacked(weights: bytes) -> dict[str, Tensor]:
    """The weights of a trial."""
    from safetensors.torch import load

    return load(weights)
