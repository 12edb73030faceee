"""From names to optimizers, with the parameter groups that users keep writing by hand."""

import contextlib
import inspect
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
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
    parameters = list(parameters)
    in_parts = any(hasattr(p, "full_tensor") for p in parameters)  # spread over processes
    if in_parts and optimizer not in (torch.optim.Adam, torch.optim.AdamW):
        return False
    kinds = {(p.device.type, p.is_floating_point()) for p in parameters}
    return "fused" in inspect.signature(optimizer).parameters and kinds <= {
        ("cpu", True),
        ("cuda", True),
    }


@contextlib.contextmanager
def uncompiled() -> Iterator[None]:
    """Inside, optimizers are made, saved and loaded without loading torch's compiler: a second.

    Torch loads it only to tell it to stay out of these methods.
    """
    optimizer = torch.optim.Optimizer
    loaded = "torch._dynamo" in sys.modules
    names = () if loaded else ("add_param_group", "state_dict", "load_state_dict")
    kept = {name: getattr(optimizer, name) for name in names}
    for name, method in kept.items():
        setattr(optimizer, name, inspect.unwrap(method))
    try:
        yield
    finally:
        for name, method in kept.items():
            setattr(optimizer, name, method)


def bare_step(optimizer: torch.optim.Optimizer) -> Callable[[], object]:
    """`optimizer.step` without its profiler scope, a tenth of a small network's step.

    Where somebody listens (a step hook, a torch scheduler that counts steps) it is the whole step.
    """
    inner = torch.no_grad()(inspect.unwrap(type(optimizer).step))
    kernel = FUSED_ADAM.get(type(optimizer))

    def step() -> object:
        if is_heard(optimizer):
            return optimizer.step()
        if kernel is not None and _adam_step(optimizer, kernel):
            return None
        return inner(optimizer)

    return optimizer.step if optimizer.defaults.get("differentiable") else step


def is_heard(optimizer: torch.optim.Optimizer) -> bool:
    """Whether something waits for the optimizer's steps: a hook, or a torch scheduler."""
    return bool(
        "step" in vars(optimizer)
        or optimizer._optimizer_step_pre_hooks
        or optimizer._optimizer_step_post_hooks
        or _global_optimizer_pre_hooks
        or _global_optimizer_post_hooks
    )


FUSED_ADAM: dict[type, Callable[..., None]] = {
    torch.optim.Adam: torch._fused_adam_,
    torch.optim.AdamW: torch._fused_adamw_,
}


@torch.no_grad()
def _adam_step(optimizer: torch.optim.Optimizer, kernel: Callable[..., None]) -> bool:
    """The fused kernel on what the optimizer keeps, where that is the usual case; whether it was.

    What torch's method does around the kernel (looking states up, sorting by device) takes three
    times as long as the kernel itself in a small network.
    """
    groups = [group for group in optimizer.param_groups if group["params"]]
    if not all(_is_usual(group, optimizer.state, kernel) for group in groups):
        return False
    for group in groups:
        parameters = group["params"]
        kept = [optimizer.state[p] for p in parameters]
        steps = [state["step"] for state in kept]
        torch._foreach_add_(steps, 1)
        kernel(
            parameters, [p.grad for p in parameters], [state["exp_avg"] for state in kept],
            [state["exp_avg_sq"] for state in kept], [], steps, amsgrad=False, lr=group["lr"],
            beta1=group["betas"][0], beta2=group["betas"][1], weight_decay=group["weight_decay"],
            eps=group["eps"], maximize=group["maximize"],
        )  # fmt: skip
    return True


def _is_usual(group: dict[str, Any], states: Mapping[Tensor, Any], kernel: object) -> bool:
    """Whether all parameters have gradients and states, and one kind, on the CPU."""
    if not group["fused"] or group["amsgrad"] or isinstance(group["lr"], Tensor):
        return False
    if group["decoupled_weight_decay"] is not (kernel is torch._fused_adamw_):
        return False
    dtype = group["params"][0].dtype
    return all(
        p.dtype is dtype and p.is_cpu and p.grad is not None and p.grad.dtype is dtype
        and not p.grad.is_sparse and p in states
        for p in group["params"]
    )  # fmt: skip
