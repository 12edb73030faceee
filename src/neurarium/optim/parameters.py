"""From names to optimizers, with the parameter groups that users keep writing by hand."""

import inspect
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.optimizer import _global_optimizer_post_hooks, _global_optimizer_pre_hooks

from neurarium._names import resolve
from neurarium.optim.large_batch import LAMB, LARS
from neurarium.optim.lion import Lion

__all__ = ["get", "param_groups"]

_NORMALIZATIONS = (
    nn.modules.batchnorm._NormBase,
    nn.GroupNorm,
    nn.LayerNorm,
    nn.RMSNorm,
)


def param_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Two groups: weights, which decay, and biases, normalizations and PReLU slopes, which don't.

    A bias or scale that decays only shifts what the weights have to undo. Shared parameters come
    once; frozen ones not at all.
    """
    trainable = [p for p in model.parameters() if p.requires_grad]
    if not weight_decay:  # each group is a kernel launch of its own
        return [{"params": trainable, "weight_decay": 0.0}]
    exempt: dict[int, Tensor] = {}
    for module in model.modules():
        whole = isinstance(module, (*_NORMALIZATIONS, nn.PReLU))
        for name, parameter in module.named_parameters(recurse=False):
            if whole or name == "bias" or name.startswith("bias_") or parameter.ndim < 2:
                exempt[id(parameter)] = parameter
    groups = [
        {"params": [p for p in trainable if id(p) not in exempt], "weight_decay": weight_decay},
        {"params": [p for p in trainable if id(p) in exempt], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def get(name: str) -> Any:
    """The optimizer class of that name ("adamw", "LARS", ...), arguments after a colon.

    Torch's own, and those that torch lacks: `LAMB`, `LARS`, `Lion`.
    """
    optimizers = {
        key: value
        for key, value in vars(torch.optim).items()
        if inspect.isclass(value)
        and issubclass(value, torch.optim.Optimizer)
        and value is not torch.optim.Optimizer
    }
    return resolve(name, {**optimizers, "LAMB": LAMB, "LARS": LARS, "Lion": Lion}, "optimizer")


def supports_fused(optimizer: Any, parameters: Iterable[Tensor]) -> bool:
    """Whether the optimizer class has a fused kernel for all these parameters."""
    optimizer = getattr(optimizer, "func", optimizer)
    kinds = {(p.device.type, p.is_floating_point()) for p in parameters}
    return "fused" in inspect.signature(optimizer).parameters and kinds <= {
        ("cpu", True),
        ("cuda", True),
    }


def bare_step(optimizer: torch.optim.Optimizer) -> Callable[[], object]:
    """`optimizer.step` without its profiler scope, a tenth of a small network's step.

    Where somebody listens (a step hook, a torch scheduler that counts steps) it is the whole step.
    """
    inner = torch.no_grad()(inspect.unwrap(type(optimizer).step))
    heard = (optimizer._optimizer_step_pre_hooks, optimizer._optimizer_step_post_hooks)
    everywhere = (_global_optimizer_pre_hooks, _global_optimizer_post_hooks)

    def step() -> object:
        if "step" in vars(optimizer) or any(heard) or any(everywhere):
            return optimizer.step()
        return inner(optimizer)

    return optimizer.step if optimizer.defaults.get("differentiable") else step
