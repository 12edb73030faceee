"""`fit`: any model, any data, any objective, any rule."""

import datetime
import inspect
import platform
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from neurarium import learning, losses
from neurarium._names import resolve
from neurarium.data import Data, Resident, load
from neurarium.learning import Backprop, Rule
from neurarium.metrics import accuracy, scores
from neurarium.objectives import Objective, supervised
from neurarium.training import checkpoints, engine, memory, snapshot
from neurarium.training.callbacks import (
    EMA,
    BatchGrowth,
    Callback,
    Checkpoint,
    EarlyStopping,
    JSONLines,
    Progress,
    ReduceOnPlateau,
    ScheduledSampling,
)
from neurarium.training.distributed.compressor import Compressor
from neurarium.training.distributed.processes import Processes
from neurarium.training.interrupts import Interrupted
from neurarium.training.lr_finder import lr_find
from neurarium.training.run import Run, describe, write_config
from neurarium.training.trainer import Metric, Trainer

# Where Adam's useful rates lie; a wider sweep spends most of its steps outside.
_ADAM_RATES = (1e-5, 1.0)
_ADAM_RATE = 1e-3  # its usual one, where the range test has none to suggest

_LOSSES: dict[str, Callable[..., Tensor]] = {
    "binary": losses.cross_entropy,
    "multiclass": losses.cross_entropy,
    "multilabel": losses.binary_cross_entropy,
    "regression": losses.mse,
}


def fit(
    model: nn.Module | str | Path | Any,
    data: Any = None,
    objective: Objective | None = None,
    rule: Rule | str | None = None,
    *,
    target: Any = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    lr: float | None = None,
    seed: int = 0,
    device: str = "auto",
    precision: str = "auto",
    channels_last: bool | None = None,
    threads: int | None = None,
    compile: bool | None = None,
    strategy: str = "ddp",
    communication: str | Compressor | None = None,
    callbacks: Sequence[Callback] = (),
    metrics: Sequence[str | Metric] | Mapping[str, Metric] | None = None,
    max_steps: int | None = None,
    max_time: float | str | datetime.timedelta | None = None,
    fast_dev_run: bool | int = False,
    overfit_batches: int = 0,
    limit_train_batches: int | float | None = None,
    limit_val_batches: int | float | None = None,
    directory: str | Path | None = None,
    resume: bool | str | Path = False,
    verbose: bool = True,
    record: Mapping[str, Any] | None = None,
) -> Run:
    """Train a model and return the run; or `fit("train.csv", target="y")`, which chooses all.

    Args:
        model: any `nn.Module`; trained in place. Or, without `data`, what `data.load` reads (a
            name, a file, a folder, a DataFrame): network and settings are then chosen from it.
        data: a `Data`, a pair (x, y), a Dataset, a DataLoader, an iterable of batches, or what
            `data.load` reads.
        objective: what is good, `(model, batch) -> loss`; by default the task's usual loss.
        rule: how parameters move on a batch, or its name; by default `Backprop` with AdamW, a
            learning rate from a short range test (or `lr`) and the 1cycle schedule.
        target: of a table that is loaded: the column to predict.
        epochs: passes over the training split (20), unless `max_steps` or `max_time` ends it.
        batch_size: rows of a step (64, or all where the rule asks for that), over all processes; a
            DataLoader has its own.
        lr: learning rate of the default rule.
        seed: of the data order, of dropout and of anything else random; same seed, same bytes.
        device: "auto" takes an accelerator if there is one.
        precision: "auto", "32", "bf16", "16" (mixed: parameters and loss stay fp32).
        channels_last: memory format of convolutional nets; decided if None, like the next two.
        threads: CPU threads of this run.
        compile: whether to compile the model.
        strategy: what several processes hold, where `torchrun` started them: "ddp" all weights
            each; "fsdp" a part of each weight, gradient and optimizer state, which are gathered
            where they are needed.
        communication: how processes exchange gradients: the name of a compressor or hook (see
            `distributed.compression`); None averages them as they are. The first process alone
            writes files.
        callbacks: what happens besides.
        metrics: names of `neurarium.metrics.scores` or functions (output, target) -> number,
            computed on the validation split each epoch; by default accuracy or r2.
        max_steps: number of steps after which to stop.
        max_time: seconds, a timedelta or "HH:MM:SS", after which to stop.
        fast_dev_run: run this many batches (True: 1) of everything once, and save nothing.
        overfit_batches: train and validate on the first so many training batches, unshuffled.
        limit_train_batches: number (int) or share (float) of the training batches of an epoch.
        limit_val_batches: likewise of the validation batches.
        directory: the run folder: checkpoints, figures and the model go there; None keeps all in
            memory.
        resume: a checkpoint or run folder to go on from exactly; True means `directory`'s last,
            "auto" too if there is one, for scripts that are started again when they were killed.
        verbose: whether to show progress.
        record: further facts for `config.yaml`.

    Raises:
        ValueError: for arguments that do not fit each other, before any training.
        NonFiniteError: when the loss becomes NaN or infinite; it names step and module.
        Interrupted: on SIGINT or SIGTERM, after the step is finished and saved.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> x = torch.randn(64, 3)
        >>> run = fit(nn.Linear(3, 2), (x, (x[:, 0] > 0).long()), epochs=30, lr=0.1, verbose=False)
        >>> run.evaluate("train")["accuracy"] > 0.9
        True
    """
    if not isinstance(model, nn.Module):
        return _fit_source(**locals())
    if _is_source(data):
        data = load(data, target, seed=seed)
    processes = Processes.find()
    processes.communicate_by(communication)
    processes.hold_weights_by(strategy)
    data = data if isinstance(data, Data) else Data(data)
    if isinstance(rule, str):
        rule = cast(Rule, resolve(rule, learning, "rule")())
    if getattr(rule, "numbers_rows", False):
        data = data.numbered()
    epochs, batch_size = epochs or 20, batch_size or usual_batch_size(rule, data)
    objective = objective or _default_objective(data)
    device = engine.find_device(device)
    example = {name: value.to(device) for name, value in data.example(batch_size).items()}
    model.to(device)
    processes.copy_from_first(model, objective)
    with memory.explained(model, objective, example):
        facts = engine.inspect(model, objective, example, device)
    if processes.shares_weights and channels_last is None:
        channels_last = False  # a part of a weight has no such order
    settings = engine.decide(
        facts, precision=precision, channels_last=channels_last, threads=threads, compile=compile
    )
    settings.place(model)
    directory = processes.same_path(directory)
    looks = processes.rank == 0 and not fast_dev_run
    checkpoint = processes.same_path(_checkpoint(resume, directory) if looks else None)
    if checkpoint is None:
        settings = engine.yield_to_load(settings, model, objective, example)
    if fast_dev_run:
        epochs, directory = 1, None
        limit_train_batches = limit_val_batches = max_steps = int(fast_dev_run)
    if overfit_batches:
        data = _first_batches(data, overfit_batches, batch_size)
    if rule is None:
        if lr is None and not fast_dev_run:
            found = lr_find(
                model,
                data,
                objective,
                Backprop(),
                *_ADAM_RATES,
                batch_size=batch_size,
                engine=settings,
                seed=seed,
            )
            lr = processes.of_first({"lr": found.suggestion or _ADAM_RATE})["lr"]
        rule = Backprop(lr=lr, schedule="one_cycle")
    trainer = Trainer(
        model,
        data,
        objective,
        rule,
        engine=settings,
        epochs=epochs,
        batch_size=batch_size,
        seed=seed,
        callbacks=_with_defaults(callbacks, data, directory, verbose),
        metrics=metrics_for(metrics, data),
        max_steps=max_steps,
        max_time=_seconds(max_time),
        train_batches=_limit(limit_train_batches, data.train, batch_size),
        val_batches=_limit(limit_val_batches, data.val, batch_size),
        shuffle=not overfit_batches,
        directory=directory,
        processes=processes,
    )
    processes.plan(trainer.steps_per_epoch, rule)
    described = describe(model)
    _check_callbacks(trainer)
    processes.part(model, objective, rule, example, settings)
    trainer.bind()
    config = _configuration(trainer, described, record)
    if checkpoint is not None:
        snapshot.load(trainer, checkpoint)
    if directory is not None and processes.rank == 0:
        directory.mkdir(parents=True, exist_ok=True)
        write_config(directory, config)
    try:
        trainer.run()
    except Interrupted:  # of which all processes know
        processes.make_whole()
        raise
    processes.make_whole()
    run = Run(
        model,
        data=data,
        objective=objective,
        history=trainer.history,
        config={**config, "seconds": round(trainer.seconds, 3)},
        directory=directory,
    )
    run.rule = rule
    if directory is not None and processes.rank == 0:
        run.save(directory)
    processes.wait()
    return run


def _checkpoint(resume: bool | str | Path, directory: Path | None) -> Path | None:
    """The checkpoint to go on from, None to begin."""
    if not resume:
        return None
    if resume is not True and resume != "auto":
        return checkpoints.find(resume)
    if directory is None:
        raise ValueError(f"resume={resume!r} needs the run's directory")
    try:
        return checkpoints.find(directory)
    except checkpoints.NoCheckpointError:
        if resume == "auto":
            return None
        raise


def usual_batch_size(rule: object, data: Data, usual: int = 64) -> int:
    """`usual`, or all rows where the rule moves by all of them at each step."""
    whole = getattr(rule, "takes_all_rows", False) and isinstance(data.train, Resident)
    return len(data.train) if whole else usual


def _is_source(value: Any) -> bool:
    return isinstance(value, str | Path) or hasattr(value, "iloc")


def _fit_source(model: Any, data: Any, objective: Any, target: Any, seed: int, **rest: Any) -> Run:
    """`fit` on a source alone: what differs from the defaults was said, the rest is chosen."""
    from neurarium.training.automatic import fit_source  # which builds on this module

    if not _is_source(model) or data is not None:
        raise TypeError(
            f"model must be an nn.Module, got {type(model).__name__}; without a model pass a name, "
            "a file, a folder or a DataFrame alone"
        )
    if objective is not None:
        raise TypeError("an objective needs a model of yours: fit(model, data, objective)")
    defaults = inspect.signature(fit).parameters
    said = {name: value for name, value in rest.items() if value is not defaults[name].default}
    return fit_source(load(model, target, seed=seed), seed=seed, **said)


def _default_objective(data: Data) -> Objective:
    if data.task is None:
        raise ValueError(
            "the task of this data is unknown, so there is no usual loss for it; pass an "
            "objective, e.g. supervised('cross_entropy'), or Data(..., task=...)"
        )
    return supervised(_LOSSES[data.task])


def _with_defaults(
    callbacks: Iterable[Callback], data: Data, directory: Path | None, verbose: bool
) -> list[Callback]:
    """The user's callbacks, and those of a normal run that they do not replace."""
    chosen = list(callbacks)
    kinds = {type(callback) for callback in chosen}
    if directory is not None and Checkpoint not in kinds:
        chosen.append(Checkpoint(monitor=None if data.val is None else "val_loss"))
    if directory is not None and JSONLines not in kinds:
        chosen.append(JSONLines())
    if verbose and Progress not in kinds:
        chosen.append(Progress())
    return chosen


def metrics_for(
    wanted: Sequence[str | Metric] | Mapping[str, Metric] | None, data: Data
) -> dict[str, Metric]:
    """The functions of (output, target) that are asked for; by default the task's usual one."""
    if isinstance(wanted, Mapping):
        return dict(wanted)
    if wanted is None:
        if data.task is None:
            return {}
        wanted = ["r2"] if data.task == "regression" else ["accuracy"]
    return {m if isinstance(m, str) else m.__name__: _metric(m, data.task) for m in wanted}


def _metric(metric: str | Metric, task: str | None) -> Metric:
    if not isinstance(metric, str):
        return metric
    if metric == "accuracy":
        return accuracy
    if task is None:
        raise ValueError(f"metric {metric!r} needs a task; pass Data(..., task=...) or a function")

    def score(output: Tensor, target: Tensor) -> float:
        found = scores(task, target.cpu(), output.cpu())
        if metric not in found:
            raise ValueError(f"unknown metric {metric!r} for {task}; choose {', '.join(found)}")
        return found[metric]

    return score


# Those that were tried on weights of which each process holds a part, or do not look at them.
_FOR_PARTS = (
    BatchGrowth, Checkpoint, EarlyStopping, EMA, JSONLines, Progress, ReduceOnPlateau,
    ScheduledSampling,
)  # fmt: skip


def _check_callbacks(trainer: Trainer) -> None:
    for callback in trainer.callbacks:
        ours = type(callback).__module__.startswith("neurarium.")
        if trainer.processes.shares_weights and ours and not isinstance(callback, _FOR_PARTS):
            raise ValueError(
                "strategy='fsdp' leaves no process the whole weights, and the callback "
                f"{type(callback).__name__} was not made for parts; take strategy='ddp'"
            )


def _first_batches(data: Data, batches: int, batch_size: int) -> Data:
    if not isinstance(data.train, Resident):
        raise ValueError("overfit_batches needs training data in memory, got a stream")
    head = data.train.head(batches * batch_size)
    return Data(head, head, task=data.task, classes=data.classes, transform=data.transform)


def _limit(limit: int | float | None, split: Any, batch_size: int) -> int | None:
    if limit is None or split is None:
        return None
    if isinstance(limit, int):
        return limit
    steps = split.steps(batch_size)
    if steps is None:
        raise ValueError(f"a share of the batches ({limit}) needs data of known length")
    return max(1, round(limit * steps))


def _seconds(time: float | str | datetime.timedelta | None) -> float | None:
    if isinstance(time, datetime.timedelta):
        return time.total_seconds()
    if isinstance(time, str):
        try:
            parts = [float(part) for part in time.split(":")]
        except ValueError:
            raise ValueError(f"max_time must look like 'HH:MM:SS', got {time!r}") from None
        return sum(part * 60**power for power, part in enumerate(reversed(parts)))
    return time


def _configuration(
    trainer: Trainer, described: Mapping[str, Any], record: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Everything that was resolved, in plain values."""
    from neurarium import __version__

    several = trainer.processes.size > 1
    return {
        **(record or {}),
        **(trainer.processes.record() if several else {}),
        "data": trainer.data.describe(),
        "network": described["network"] or {"class": described["class"]},
        "parameters": sum(p.numel() for p in trainer.model.parameters()),
        "objective": repr(trainer.objective),
        "rule": repr(trainer.rule),
        "epochs": trainer.epochs,
        "batch_size": trainer.batch_size,
        "max_steps": trainer.max_steps,
        "max_time": trainer.max_time,
        "seed": trainer.seed,
        "callbacks": [type(callback).__name__ for callback in trainer.callbacks],
        "engine": trainer.engine.record(),
        "versions": {
            "neurarium": __version__,
            "torch": str(torch.__version__),
            "python": platform.python_version(),
        },
        "hardware": {"machine": platform.machine(), "threads": torch.get_num_threads()},
    }
