"""What `neurarium fit SOURCE` does with no flag: all that is not said is chosen, and told."""

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn

from neurarium import learning, losses, networks
from neurarium._names import resolve
from neurarium.data import Data, Resident, SeriesPreprocessing, TextPreprocessing, Windows, load
from neurarium.data.augment import compose
from neurarium.data.free_text import FreeTextPreprocessing
from neurarium.data.from_graph import AllRows, Graphs, Nodes
from neurarium.data.splits import joined
from neurarium.data.streamed import Streamed
from neurarium.learning import Backprop, Rule
from neurarium.objectives import Objective, negative_log_likelihood, per_step, supervised
from neurarium.training import engine, randomness
from neurarium.training.automatic_choices import Choice, Facts, candidates, choose, comparison
from neurarium.training.automatic_folds import cross_validate
from neurarium.training.callbacks import (
    Callback,
    Checkpoint,
    ConformalIntervals,
    EarlyStopping,
)
from neurarium.training.fit import _LOSSES, fit, usual_batch_size
from neurarium.training.lr_finder import lr_find
from neurarium.training.run import Run

Loss = Callable[..., Tensor]

_BACKPROP = ("lr", "weight_decay", "optimizer", "schedule")
# One range test is a noisy measurement, and no network that is chosen here wants less or more.
_LEAST_LR, _MOST_LR = 5e-3, 1e-2
# Of a forecast: eight in ten values lie between the outer ones, if they are right.
_QUANTILES = (0.1, 0.5, 0.9)
# They take numbers of classes; the others 0 and 1, or signs, which a series hardly has.
_OF_CLASSES = ("cross_entropy", "ctc", "focal", "label_smoothing", "multiclass_hinge", "nll")
_OF_SIGNS = ("binary_cross_entropy", "hinge", "squared_hinge")


@dataclass
class Prepared:
    """A training with everything chosen; `options` are the other arguments of `training.fit`."""

    model: nn.Module
    data: Data
    objective: Objective
    rule: Rule
    options: dict[str, Any]

    def fit(self) -> Run:
        """Train."""
        return fit(self.model, self.data, self.objective, self.rule, **self.options)


def fit_source(data: Data, **said: Any) -> Run:
    """Train on these data with everything chosen that is not said: the arguments of `prepare`."""
    return prepare(data, **said).fit()


def prepare(
    data: Data,
    *,
    network: str | nn.Module | None = None,
    loss: str | Loss | None = None,
    penalties: Sequence[str | Loss] = (),
    augment: Sequence[str] = (),
    rule: Rule | str | None = None,
    max_grad_norm: float | None = None,
    validate: bool | None = None,
    seed: int = 0,
    device: str = "auto",
    callbacks: Sequence[Callback] = (),
    choice: Choice | None = None,
    tell: Callable[[str], object] | None = None,
    record: Mapping[str, Any] | None = None,
    **options: Any,
) -> Prepared:
    """Choose everything that is not said of a training on these data.

    The network for a table is chosen by cross-validation on training rows. A small one is then
    trained on every row that is not a test row; other data keep validation rows, and the weights
    of the epoch that is best on them.

    Args:
        network: a network, or the name of one: "MLP:hidden=256x256".
        penalties: added to the loss, or their names: "l1:1e-4".
        augment: names of augmentations of training images: "flip", "crop:4".
        validate: whether validation rows stay apart; by default those of a small table do not.
        choice: an earlier run's, to make it again; what is said still overrides it.
        tell: called with a line for each thing chosen, before the training.
        options: `epochs`, `batch_size`, `lr`, `weight_decay`, `optimizer`, `schedule`, `patience`;
            the rest goes to `training.fit`.
    """
    said = {f.name: options.pop(f.name) for f in fields(Choice) if f.name in options}
    said = {name: value for name, value in said.items() if value is not None}
    if network is not None:
        said["network"] = network if isinstance(network, str) else type(network).__name__
    device = engine.find_device(device)
    if validate is None:
        validate = not facts(data, device).small
    if isinstance(data.val, Resident) and not validate:
        data = without_validation(data)
    if augment:
        data.augment = compose(augment, data.outputs if data.classes else None)
    known = facts(data, device)
    judge = _loss(data, loss)
    objective = _objective(known, judge, penalties)
    if choice is None and _worth_comparing(known, said, judge, options):
        choice = compare(data, judge, said, seed=seed, device=device)
    choice = (choice or choose(known)).overridden(said)
    if isinstance(rule, str):
        rule = cast(Rule, resolve(rule, learning, "rule")())
    if "batch_size" not in said:
        size = usual_batch_size(rule, data, choice.batch_size)
        if size != choice.batch_size:
            why = "all rows, which the rule asks for"
            choice = choice.overridden({"batch_size": size}).because(batch_size=why)
    choice = _stretched(choice, said, data, options.get("max_steps"))
    model = network if isinstance(network, nn.Module) else None
    if model is None:
        model = _build(choice.network, data, seed, () if loss else _QUANTILES)
    if known.series:
        if loss is None and hasattr(model, "log_prob"):
            objective = negative_log_likelihood
        options.setdefault("metrics", {})  # in units of the network they would tell nothing
    if rule is None:
        choice = _range_tested(choice, model, data, objective, seed, device)
        rule = _backprop(choice, max_grad_norm)
    for line in choice.lines():
        (tell or str)(line)
    return Prepared(
        model,
        data,
        objective,
        rule,
        {
            "epochs": choice.epochs,
            "batch_size": choice.batch_size,
            "seed": seed,
            "device": device,
            "callbacks": _with_defaults(callbacks, data, choice, known.whole_graph),
            "record": {**(record or {}), "choice": asdict(choice), "choices": choice.lines()},
            **options,
        },
    )


def facts(data: Data, device: str = "cpu") -> Facts:
    """What is known of the rows that are not test rows."""
    rows = len(data.train) if isinstance(data.train, Resident | Streamed) else None
    validation_rows = len(data.val) if isinstance(data.val, Resident) else 0
    categories = getattr(data.preprocessing, "categories", None) or ()
    graph = isinstance(data.transform, Nodes | Graphs)
    return Facts(
        rows,
        data.input_shape,
        categories,
        validation_rows,
        accelerated=device != "cpu",
        graph=graph,
        whole_graph=isinstance(data.train, AllRows),
        text=isinstance(data.train, Windows),
        streamed=isinstance(data.train, Streamed),
        series=isinstance(data.preprocessing, SeriesPreprocessing),
        words=isinstance(data.preprocessing, FreeTextPreprocessing),
    )


def compare(
    data: Data, loss: Loss, said: Mapping[str, Any], *, seed: int = 0, device: str = "cpu"
) -> Choice:
    """The candidate with the least loss in cross-validation on the training rows.

    Args:
        loss: a function that takes `reduction="none"`.
        said: what the user said of `lr`, `weight_decay`, `optimizer` and `schedule`, for all.
    """
    known = facts(data, device)
    how = {name: value for name, value in said.items() if name in _BACKPROP}
    plan = comparison(known)
    sample = _sample(data, plan.rows, seed)
    trials = candidates(facts(sample, device))
    scores = {
        name: cross_validate(
            [_build(trial.network, data, seed + turn) for turn in range(plan.turns)],
            sample,
            loss,
            _backprop(trial.overridden(how)),
            parts=plan.parts,
            epochs=trial.epochs,
            batch_size=trial.batch_size,
            seed=seed,
            device=device,
        )
        for name, trial in trials.items()
    }
    best = min(scores, key=scores.__getitem__)
    found = ", ".join(f"{name} {score:.3g}" for name, score in scores.items())
    return candidates(known)[best].because(
        network=f"the {best} one, by loss in cross-validation on {plan.rows:,} rows: {found}"
    )


def _sample(data: Data, rows: int, seed: int) -> Data:
    """So many of the training rows, at random."""
    assert isinstance(data.train, Resident)
    if rows == len(data.train):
        return data
    chosen = torch.randperm(len(data.train), generator=torch.Generator().manual_seed(seed))[:rows]
    train = {name: value[chosen] for name, value in data.train.tensors.items()}
    return data.with_splits(train)


def without_validation(data: Data) -> Data:
    """The same data, its validation rows among those trained on."""
    if data.source is not None:  # so that scaling and vocabularies are fitted on them too
        return load(**{**data.source, "val_size": 0.0})
    assert isinstance(data.train, Resident)
    assert isinstance(data.val, Resident)
    train, val = data.train.tensors, data.val.tensors
    rows = {name: joined(train[name], val[name]) for name in train}
    whole = data.with_splits(rows, None, data.test)
    whole.notes = data.notes
    return whole


def _worth_comparing(
    known: Facts, said: Mapping[str, Any], loss: Loss, options: Mapping[str, Any]
) -> bool:
    """Whether networks can be cross-validated here, and have not been chosen otherwise."""
    if (
        known.image
        or known.graph
        or known.text
        or known.series
        or known.words
        or known.rows is None
        or known.streamed
        or "network" in said
        or options.get("fast_dev_run")
    ):
        return False
    return "reduction" in inspect.signature(loss).parameters  # which gives the loss of each row


def _loss(data: Data, loss: str | Loss | None) -> Loss:
    if loss is not None:
        found = resolve(loss, losses, "loss")
        _check_loss(data, found)
        return found
    if isinstance(data.train, Windows):
        return losses.cross_entropy
    if isinstance(data.preprocessing, SeriesPreprocessing):
        return partial(networks.pinball, quantiles=_QUANTILES)
    if data.task is None:
        raise ValueError("the task of this data is unknown, so there is no usual loss; pass loss")
    return _LOSSES[data.task]


def _check_loss(data: Data, loss: Loss) -> None:
    """Refuse a loss of classes where numbers are to be predicted: it would train on anything."""
    name = getattr(getattr(loss, "func", loss), "__name__", "")
    series = isinstance(data.preprocessing, SeriesPreprocessing)
    if name in (*_OF_CLASSES, *(_OF_SIGNS * series)) and data.task == "regression":
        raise ValueError(
            f"{name} is a loss of classes, and the target is of numbers; take mse, mae or huber as "
            "loss, or leave it out"
        )


def usual_objective(
    data: Data, loss: str | Loss | None = None, penalties: Sequence[str | Loss] = ()
) -> Objective:
    """What `fit_source` trains by on these data."""
    return _objective(facts(data), _loss(data, loss), penalties)


def _objective(known: Facts, loss: Loss, penalties: Sequence[str | Loss]) -> Objective:
    if not known.text:
        return supervised(loss, penalties)
    if penalties:
        raise ValueError("penalties of language models are not supported; use --weight-decay")
    return per_step(loss)


def _build(
    network: str, data: Data, seed: int, quantiles: tuple[float, ...] = _QUANTILES
) -> nn.Module:
    with randomness.isolated():
        torch.manual_seed(seed)
        categories = facts(data).categories
        known = besides(data, quantiles)
        outputs = known.get("vocab") or data.outputs
        return networks.for_data(network, data.input_shape, outputs, categories, **known)


def besides(data: Data, quantiles: tuple[float, ...] = _QUANTILES) -> dict[str, Any]:
    """What a network for these data is told besides their shape."""
    if isinstance(data.preprocessing, SeriesPreprocessing):
        return {"targets": data.preprocessing.targets, "quantiles": quantiles}
    if isinstance(data.preprocessing, FreeTextPreprocessing):
        return {"vocabulary": data.preprocessing.vocabulary}
    if isinstance(data.preprocessing, TextPreprocessing):
        return {"vocab": data.preprocessing.vocab}
    return {}


def _backprop(choice: Choice, max_grad_norm: float | None = None) -> Backprop:
    return Backprop(
        choice.optimizer,
        choice.lr,
        choice.schedule,
        weight_decay=choice.weight_decay,
        max_grad_norm=max_grad_norm,
    )


def _stretched(
    choice: Choice, said: Mapping[str, Any], data: Data, max_steps: int | None
) -> Choice:
    """As many epochs as the steps asked for take, where nothing was said of epochs."""
    steps = data.train.steps(choice.batch_size)
    if max_steps is None or steps is None or "epochs" in said:
        return choice
    return choice.overridden({"epochs": math.ceil(max_steps / steps)})


def _range_tested(
    choice: Choice, model: nn.Module, data: Data, objective: Objective, seed: int, device: str
) -> Choice:
    if choice.lr is not None:
        return choice
    example = {name: value.to(device) for name, value in data.example(choice.batch_size).items()}
    model.to(device)
    settings = engine.decide(engine.inspect(model, objective, example, device))
    size = choice.batch_size
    found = lr_find(
        model, data, objective, _backprop(choice), batch_size=size, engine=settings, seed=seed
    )
    lr = found.suggestion
    if lr is None:
        return choice.because(lr=f"the optimizer's own: {found.reason}")
    if "network" in choice.reasons:
        lr = min(max(lr, _LEAST_LR), _MOST_LR)
    return replace(choice, lr=lr).because(lr=f"by a range test of {len(found.lrs)} steps")


def _with_defaults(
    callbacks: Sequence[Callback], data: Data, choice: Choice, whole_graph: bool
) -> list[Callback]:
    chosen = list(callbacks)
    if data.val is not None and not any(isinstance(c, EarlyStopping) for c in chosen):
        chosen.append(EarlyStopping(patience=choice.patience))
    if whole_graph and not any(isinstance(c, Checkpoint) for c in chosen):
        # An epoch is one step of milliseconds; to write each that is the best so far would take
        # most of the time, and early stopping holds its weights.
        chosen.append(Checkpoint(monitor=None))
    if isinstance(data.preprocessing, SeriesPreprocessing):
        chosen.append(ConformalIntervals())
    return chosen
