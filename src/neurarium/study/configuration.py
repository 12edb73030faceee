"""An experiment made of `fit`'s own arguments: any of them can be varied, by name."""

import copy
import functools
import inspect
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from neurarium import _names, learning
from neurarium.data import Data, Resident
from neurarium.initialization import init_
from neurarium.learning import Backprop, NonFiniteError, Rule
from neurarium.networks.build import NETWORKS
from neurarium.study.arms import Arm
from neurarium.study.costs import Meter
from neurarium.study.rows import drawn_by_us, share, split_again, with_validation, without_test
from neurarium.study.trials import Outcome, plain
from neurarium.training import (
    Callback,
    EarlyStopping,
    Run,
    automatic,
    callbacks,
    checkpoints,
    fit_together,
    lr_find,
    randomness,
)
from neurarium.training.automatic_choices import Choice
from neurarium.training.together import why_not_together

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
_NUMBERS = (
    "dropout", "lr", "weight_decay", "max_grad_norm", "epochs", "batch_size", "max_steps",
    "patience", "fraction",
)  # fmt: skip
_MAY_DIFFER = ("lr", "weight_decay", "max_grad_norm")
_PASSED = ("max_steps", "precision", "channels_last", "compile", "device")


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
            data = with_validation(data, seed=0)
            redrawn = True
        else:
            redrawn = drawn_by_us(data)
        if data.val is None:
            raise ValueError(
                "arms are compared by validation rows, and these streamed data have none; pass "
                "Data(train, val=...)"
            )
        seen = without_test(data)
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
        data, meter = self.rows(settings, seed), Meter()
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
        data = split_again(self.data, seed) if self.redrawn else copy.copy(self.data)
        fraction = settings.get("fraction")
        return data if fraction is None else share(data, fraction, seed)

    # Trials at once

    def alike(self, settings: Mapping[str, Any]) -> str | None:
        """What trials have in common that are trained side by side; None where they gain nothing.

        Rates and the like may differ.
        """
        if any(settings.get(name) is not None for name in (*_PASSED, "callback")):
            return None
        pair = [
            self.prepared(self.rows(settings, seed), settings, seed, fast_dev_run=1)
            for seed in (0, 1)
        ]
        if _why_not_together(pair):
            return None
        shared = {name: plain(v) for name, v in settings.items() if name not in _MAY_DIFFER}
        return json.dumps(shared, sort_keys=True)

    def run_together(self, trials: Sequence[tuple[Mapping[str, Any], int]]) -> list[Outcome]:
        """Train side by side what is alike; the figures are those of `run` to rounding."""
        members = [self.prepared(self.rows(*one), *one) for one in trials]
        first, data = members[0], self.rows(*trials[0])
        meter = Meter()
        config = self.prepared(data, *trials[0], fast_dev_run=1, callbacks=[meter]).fit().config
        patience = [c.patience for c in first.options["callbacks"] if isinstance(c, EarlyStopping)]
        runs = fit_together(
            [member.model for member in members],
            [member.data for member in members],
            first.objective,
            [cast(Backprop, member.rule) for member in members],
            seeds=[seed for _, seed in trials],
            epochs=first.options["epochs"],
            batch_size=first.options["batch_size"],
            patience=patience[0] if patience else None,
            threads=1,
        )
        outcomes = []
        for run in runs:
            if isinstance(run, NonFiniteError):
                outcomes.append(Outcome(error=f"NonFiniteError: {run}"))
                continue
            rows = len(run.history) * len(data.train)
            own = {**config, **run.config, "network": config["network"], "max_steps": None}
            outcomes.append(
                Outcome(
                    scores=run.evaluate("val"),
                    history={name: list(values) for name, values in run.history.items()},
                    memory=meter.memory,
                    multiply_adds=None if meter.per_row is None else meter.per_row * rows,
                    parameters=config["parameters"],
                    config=own,
                    weights=_packed(run.model),
                )
            )
        return outcomes

    # How

    def train(self, data: Data, settings: Mapping[str, Any], seed: int, **options: Any) -> Run:
        """`fit` with an arm's settings."""
        return self.prepared(data, settings, seed, **options).fit()

    def prepared(
        self, data: Data, settings: Mapping[str, Any], seed: int, **options: Any
    ) -> automatic.Prepared:
        """What an arm's settings make of `fit`'s arguments."""
        for name in _NUMBERS:
            if isinstance(settings.get(name), str):
                raise ValueError(f"{name} must be a number, got {settings[name]!r}")
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
        return automatic.prepare(
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


def _why_not_together(members: Sequence[automatic.Prepared]) -> str | None:
    first = members[0]
    rules: list[Any] = [member.rule for member in members]
    if type(first.rule) is not Backprop:  # and no other is asked what it would cost
        return "the rule is not Backprop"
    return why_not_together(
        [member.model for member in members],
        [member.data for member in members],
        first.objective,
        rules,
        first.options["batch_size"],
    )


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
    own |= automatic.besides(data)
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
    penalties = _several(settings.get("penalty"))
    objective = automatic.usual_objective(data, settings.get("loss"), penalties)
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


# Weights


def _packed(model: nn.Module) -> bytes:
    from safetensors.torch import save

    return save(checkpoints.weights(model))


def unpacked(weights: bytes) -> dict[str, Tensor]:
    """The weights of a trial."""
    from safetensors.torch import load

    return load(weights)
