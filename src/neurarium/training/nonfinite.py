"""Where the first NaN or infinity comes from."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from neurarium.data import Batch
from neurarium.objectives import Objective


def _finite(value: Any) -> bool:
    if isinstance(value, Tensor):
        return not value.is_floating_point() or bool(torch.isfinite(value).all())
    if isinstance(value, Mapping):
        value = value.values()
    return all(map(_finite, value)) if isinstance(value, list | tuple) else True


def describe(what: str, where: str, epoch: int, batch: int, directory: Path | None) -> str:
    """One sentence: what is not finite, when and where, what is kept, what to try."""
    last = directory and directory / "checkpoints" / "last"
    kept = f"last good checkpoint: {last}" if last and last.exists() else "no checkpoint yet"
    return (
        f"{what} (epoch {epoch + 1}, batch {batch + 1}); first non-finite value in {where}; "
        f"{kept}; try a lower lr or max_grad_norm=1, or look for such values in the data"
    )


def lost_parameter(weights: Mapping[str, Tensor]) -> str | None:
    """The first of the weights that holds NaN, None if all are numbers."""
    lost = (name for name, weight in weights.items() if bool(torch.isnan(weight).any()))
    return next(lost, None)


@torch.no_grad()
def explain(model: nn.Module, objective: Objective, batch: Batch) -> str:
    """Name the batch key, parameter or innermost module where the first such value appears."""
    for key, value in batch.items():
        if not _finite(value):
            return f"the batch's '{key}'"
    if any(hasattr(p, "full_tensor") for p in model.parameters()):
        return "the loss: with strategy='fsdp' one process cannot look into the model"
    for name, parameter in model.named_parameters():
        if not _finite(parameter):
            return f"the parameter '{name}', since an earlier step"
    found: list[str] = []

    def watch(name: str, module: nn.Module) -> Any:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            if not found and not _finite(output):
                found.append(f"the output of module '{name or 'model'}' ({type(module).__name__})")

        return module.register_forward_hook(hook)

    hooks = [watch(name, module) for name, module in model.named_modules()]
    try:
        objective(model, batch)
    finally:
        for hook in hooks:
            hook.remove()
    return found[0] if found else "the loss itself: the model's outputs are finite"
