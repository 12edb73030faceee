"""A run in progress, to disk and back: everything that the next step depends on."""

import functools
import warnings
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from neurarium.training import checkpoints, randomness
from neurarium.training.history import History
from neurarium.training.nonfinite import lost_parameter

if TYPE_CHECKING:
    from neurarium.training.trainer import Trainer


def save(trainer: "Trainer", path: Path) -> Path:
    """Write a checkpoint directory; of several processes the first does, for all."""
    several = trainer.processes.size > 1
    parts = trainer.processes.gather(_own(trainer)) if several else []
    tensors, rule, callbacks = trainer.processes.whole(
        [
            dict(trainer.model.state_dict()),
            trainer.rule.state_dict(),
            [callback.state_dict() for callback in trainer.callbacks],
        ]
    )
    if trainer.processes.rank:
        return path
    trained = {n: tensors[n] for n, _ in trainer.model.named_parameters() if n in tensors}
    if (name := lost_parameter(trained)) is not None:  # lest it replace a good one
        raise trainer.failure("a checkpoint would keep a NaN", f"the parameter '{name}'")
    objective = trainer.objective
    state = {
        "epoch": trainer.epoch,
        "step": trainer.step,
        "batch": trainer.batch,
        "rows": trainer.rows,
        "totals": trainer.totals,
        "seconds": trainer.seconds,
        "should_stop": trainer.should_stop,
        "history": dict(trainer.history),
        "rule": rule,
        "objective": objective.state_dict() if isinstance(objective, nn.Module) else {},
        "callbacks": callbacks,
        "random": randomness.capture(),
        "epoch_start": trainer.epoch_start,
    }
    if several:
        state["processes"] = parts
    trainer.emit("on_save_checkpoint", state)
    meta = {
        "epoch": trainer.epoch,
        "step": trainer.step,
        "batch": trainer.batch,
        "seed": trainer.seed,
        "threads": trainer.engine.threads,
        "processes": trainer.processes.size,
        "callbacks": [type(callback).__name__ for callback in trainer.callbacks],
    }
    keep_old = path.name == "last"
    checkpoints.save(path, checkpoints.separate(tensors), state, meta, keep_old)
    return path


def load(trainer: "Trainer", path: Path) -> None:
    """Make the trainer go on exactly where the checkpoint was written.

    By another number of processes too, but for what each of them had for itself: that is begun
    anew, and a warning says so.
    """
    with checkpoints.reading(f"the checkpoint {path}"):
        _load(trainer, path)


def _load(trainer: "Trainer", path: Path) -> None:
    names = [type(callback).__name__ for callback in trainer.callbacks]
    meta = checkpoints.read_meta(path)
    for what, saved, now in (
        ("callbacks", meta["callbacks"], names),
        ("seed", meta["seed"], trainer.seed),
    ):
        if saved != now:
            raise checkpoints.CheckpointError(
                f"the checkpoint {path} was written with {what} {saved}, this run has {now}; "
                "resume with the same"
            )
    before, now = meta.get("processes", 1), trainer.processes.size
    if before == now:  # sums over threads round differently for each number of them
        trainer.engine = replace(trainer.engine, threads=meta["threads"])
    processes = trainer.processes
    parted = functools.partial(processes.parted, model=trainer.model)
    checkpoints.load_weights(trainer.model, path / checkpoints.WEIGHTS, parted)
    state: dict[str, Any] = checkpoints.load_state(path)
    if before != now:
        state |= _anew(trainer, state)
        if trainer.processes.rank == 0:
            warnings.warn(changed(before, now), stacklevel=4)
    elif "processes" in state:
        own = state["processes"][trainer.processes.rank]
        trainer.processes.load_state_dict(own.pop("communication"))
        state |= own
    with randomness.isolated():  # what cannot be restored must show now
        for saved in (state["random"], state["epoch_start"]):
            if saved is not None:
                randomness.restore(saved)
    trainer.emit("on_load_checkpoint", state)
    processes.load_rule(trainer.rule, state["rule"])
    if isinstance(trainer.objective, nn.Module):
        trainer.objective.load_state_dict(state["objective"])
    for callback, saved in zip(trainer.callbacks, parted(state["callbacks"]), strict=True):
        callback.load_state_dict(saved)
    for name in ("epoch", "step", "batch", "rows", "seconds", "should_stop", "epoch_start"):
        setattr(trainer, name, state[name])
    trainer.totals = {name: t.to(trainer.engine.device) for name, t in state["totals"].items()}
    trainer.history, trainer.resumed = History(state["history"]), state["random"]


def changed(before: int, now: int) -> str:
    """What a resume by another number of processes cannot keep."""
    return (
        f"begun by {before} process{'es' * (before > 1)}, resumed by {now}: weights, optimizer and "
        "place in the data are exact; dropout and other noise are drawn anew from the seed and the "
        "step, and what a gradient compressor held back is dropped"
    )


def _anew(trainer: "Trainer", state: dict[str, Any]) -> dict[str, Any]:
    """Each process's own part of a state that another number of processes had."""
    parts = state.get("processes") or [state]
    rows = sum(part["rows"] for part in parts)
    totals = {name: sum(part["totals"][name] for part in parts) for name in parts[0]["totals"]}
    if trainer.processes.rank:  # the first holds what all of them have seen
        rows, totals = 0, {name: torch.zeros_like(total) for name, total in totals.items()}
    with randomness.isolated():
        seed = randomness.resumed_seed(trainer.seed, state["step"])
        randomness.seed_everything(trainer.processes.seed(seed))
        random = randomness.capture()
    begun = state["epoch_start"] is not None
    return {
        "rows": rows,
        "totals": totals,
        "random": random,
        "epoch_start": random if begun else None,
    }


def _own(trainer: "Trainer") -> dict[str, Any]:
    """What differs between the processes of a run."""
    return {
        "rows": trainer.rows,
        "totals": trainer.totals,
        "random": randomness.capture(),
        "epoch_start": trainer.epoch_start,
        "communication": trainer.processes.state_dict(),
    }
