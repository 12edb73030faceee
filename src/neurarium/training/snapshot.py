"""A run in progress, to disk and back: everything that the next step depends on."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
    if trainer.processes.rank:
        return path
    if (name := lost_parameter(trainer.model)) is not None:  # lest it replace a good one
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
        "rule": trainer.rule.state_dict(),
        "objective": objective.state_dict() if isinstance(objective, nn.Module) else {},
        "callbacks": [callback.state_dict() for callback in trainer.callbacks],
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
    checkpoints.save(path, checkpoints.weights(trainer.model), state, meta, keep_old)
    return path


def load(trainer: "Trainer", path: Path) -> None:
    """Make the trainer go on exactly where the checkpoint was written."""
    with checkpoints.reading(f"the checkpoint {path}"):
        _load(trainer, path)


def _load(trainer: "Trainer", path: Path) -> None:
    names = [type(callback).__name__ for callback in trainer.callbacks]
    meta = checkpoints.read_meta(path)
    for what, saved, now in (
        ("callbacks", meta["callbacks"], names),
        ("seed", meta["seed"], trainer.seed),
        ("processes", meta.get("processes", 1), trainer.processes.size),
    ):
        if saved != now:
            raise checkpoints.CheckpointError(
                f"the checkpoint {path} was written with {what} {saved}, this run has {now}; "
                "resume with the same"
            )
    # Sums over threads round differently for each number of them.
    trainer.engine = replace(trainer.engine, threads=meta["threads"])
    checkpoints.load_weights(trainer.model, path / checkpoints.WEIGHTS)
    state: dict[str, Any] = checkpoints.load_state(path)
    if "processes" in state:
        own = state["processes"][trainer.processes.rank]
        trainer.processes.load_state_dict(own.pop("communication"))
        state |= own
    with randomness.isolated():  # what cannot be restored must show now
        for saved in (state["random"], state["epoch_start"]):
            if saved is not None:
                randomness.restore(saved)
    trainer.emit("on_load_checkpoint", state)
    trainer.rule.load_state_dict(state["rule"])
    if isinstance(trainer.objective, nn.Module):
        trainer.objective.load_state_dict(state["objective"])
    for callback, saved in zip(trainer.callbacks, state["callbacks"], strict=True):
        callback.load_state_dict(saved)
    for name in ("epoch", "step", "batch", "rows", "seconds", "should_stop", "epoch_start"):
        setattr(trainer, name, state[name])
    trainer.totals = {name: t.to(trainer.engine.device) for name, t in state["totals"].items()}
    trainer.history, trainer.resumed = History(state["history"]), state["random"]


def _own(trainer: "Trainer") -> dict[str, Any]:
    """What differs between the processes of a run."""
    return {
        "rows": trainer.rows,
        "totals": trainer.totals,
        "random": randomness.capture(),
        "epoch_start": trainer.epoch_start,
        "communication": trainer.processes.state_dict(),
    }
