"""Weights that no process holds whole: FSDP2, torch's `fully_shard`.

Each process keeps, and steps, its part of every parameter. The parameters of a block are gathered
where it computes, forward and backward, and its gradient is averaged and shared out again.
"""

import copy
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed import _composable_state
from torch.distributed._composable.contract import REGISTRY_KEY, STATE_KEY
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map_only

from neurarium.data import Batch
from neurarium.objectives import Objective
from neurarium.training.engine import preserved_randomness

_CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)


class Shards:
    """A model in parts, one in each process, until `make_whole`.

    Each block that repeats (an element of a Sequential or ModuleList) and each other child is
    gathered by itself, what remains with the whole model: blocks that share a weight, that give a
    view, or whose weights are read outside their own forward pass, as by penalties.

    Args:
        example: a batch, to see who reads which parameter.

    Raises:
        ValueError: for a model that cannot be held so.
    """

    def __init__(
        self, model: nn.Module, objective: Objective, example: Batch, device: str, size: int
    ) -> None:
        scalars = [name for name, p in model.named_parameters() if not p.ndim]
        if scalars:
            raise ValueError(
                f"strategy='fsdp' cuts parameters along their first axis, and {scalars[0]!r} has "
                "none; give it the shape (1,), or take strategy='ddp'"
            )
        self.model = model
        self.kept = [(module, type(module), _hooks(module)) for module in model.modules()]
        blocks = _blocks(model)
        outside = _read_outside(blocks, model, objective, example)
        for parameter in model.parameters():  # a range test may have ordered channels last
            parameter.data = parameter.data.contiguous()
        self.mesh = init_device_mesh(torch.device(device).type, (size,))
        self.groups: list[Any] = [
            block for block in blocks if outside.isdisjoint(map(id, block.parameters()))
        ]
        for block in self.groups:
            fully_shard(block, mesh=self.mesh, reshard_after_forward=True)
        # What is read after the forward pass must stay together until the gradient is known.
        fully_shard(model, mesh=self.mesh, reshard_after_forward=not outside)
        self.groups.append(model)

    def part(self) -> None:
        """Let go of what was gathered, as training steps do by themselves."""
        for group in self.groups:
            group.reshard()

    @torch.no_grad()
    def make_whole(self) -> None:
        """Give the model back as it was, with the present weights, in every process."""
        self.part()
        full: dict[int, nn.Parameter] = {}  # one for parameters that modules have in common
        for module, kind, hooks in self.kept:
            module.__class__ = kind
            vars(module).update(hooks)
            for key in (STATE_KEY, REGISTRY_KEY):
                vars(module).pop(key, None)
            _composable_state._module_state_mapping.pop(module, None)
            for name, p in list(module._parameters.items()):
                if isinstance(p, DTensor):
                    if id(p) not in full:
                        full[id(p)] = nn.Parameter(p.full_tensor().contiguous(), p.requires_grad)
                    setattr(module, name, full[id(p)])
        self.groups = []


def whole(state: Any, keep: bool = True) -> Any:
    """The same state with whole tensors; all processes must ask, and those that do not `keep` it.

    What they get holds their parts still.
    """

    def gathered(tensor: DTensor) -> Tensor:
        full = tensor.full_tensor()
        return full if keep else tensor.to_local()

    return tree_map_only(DTensor, gathered, state)


def parted(state: Any, model: nn.Module) -> Any:
    """The same state, cut like the model's where it has the name and the form of a parameter."""
    every = model.named_parameters(remove_duplicate=False)
    parameters = {name: p for name, p in every if isinstance(p, DTensor)}

    def cut(node: Any, name: str = "") -> Any:
        if isinstance(node, Mapping):
            return {key: cut(value, str(key)) for key, value in node.items()}
        if isinstance(node, list):
            return [cut(value) for value in node]
        like = parameters.get(name)
        if like is None or not isinstance(node, Tensor) or node.shape != like.shape:
            return node
        return _like(node, like)

    return cut(state) if parameters else state


@torch.no_grad()
def part_optimizer(optimizer: torch.optim.Optimizer) -> None:
    """Cut the optimizer's state, whole after it was read from a file, like its parameters."""
    for parameter, state in optimizer.state.items():
        if isinstance(parameter, DTensor):
            for name, value in state.items():
                if isinstance(value, Tensor) and value.shape == parameter.shape:
                    state[name] = _like(value, parameter)


def _like(value: Tensor, parameter: DTensor) -> DTensor:
    value = value.to(parameter.device).contiguous()  # as parts are; fused kernels do not ask
    mesh, placements = parameter.device_mesh, parameter.placements
    return distribute_tensor(value, mesh, placements, src_data_rank=None)


def _read_outside(
    blocks: list[nn.Module], model: nn.Module, objective: Objective, example: Batch
) -> set[int]:
    """Parameters that an evaluation reads outside the forward pass of the block they belong to."""
    readers = _Readers(blocks, model)
    hooks = [
        hook
        for block in {*blocks, model}
        for hook in (
            block.register_forward_pre_hook(readers.enter),
            block.register_forward_hook(readers.leave, always_call=True),
        )
    ]
    training = model.training
    model.eval()  # lest normalizations count this batch
    try:
        with preserved_randomness(), torch.no_grad(), readers:
            objective(model, example)
    finally:
        model.train(training)
        for hook in hooks:
            hook.remove()
    return readers.outside


class _Readers(TorchFunctionMode):
    def __init__(self, blocks: list[nn.Module], model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.owner = {id(p): model for p in model.parameters()}
        for block in reversed(blocks):  # the inner ones, which come first, have the last word
            self.owner |= {id(p): block for p in block.parameters()}
        self.active: list[nn.Module] = []
        self.begun = False
        self.outside = set[int]()

    def enter(self, module: nn.Module, inputs: Any) -> None:
        self.active.append(module)
        self.begun |= module is self.model

    def leave(self, module: nn.Module, inputs: Any, output: Any) -> None:
        self.active.pop()
        # Whoever changes a view in place would go past what gathers the weights for the gradient.
        if module is not self.model and any(
            isinstance(value, Tensor) and value._is_view() for value in tree_leaves(output)
        ):
            self.outside.update(map(id, module.parameters()))

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if any(isinstance(value, Tensor) for value in tree_leaves(result)):  # no shape or dtype
            for value in tree_leaves((args, kwargs)):
                owner = self.owner.get(id(value))
                if owner is not None and owner not in self.active:
                    self._note(id(value))
        return result

    def _note(self, number: int) -> None:
        if not self.begun:
            raise ValueError(
                "strategy='fsdp' gathers the weights when the model is called, but the objective "
                "reads them before it calls model(...); take strategy='ddp'"
            )
        self.outside.add(number)


def _blocks(model: nn.Module) -> list[nn.Module]:
    """Parts of the model to be gathered one at a time, inner ones first."""
    tied = _tied(model)
    found = dict.fromkeys(_candidates(model))
    return [block for block in found if tied.isdisjoint(map(id, block.parameters()))]


def _candidates(model: nn.Module) -> Iterator[nn.Module]:
    if isinstance(model, _CONTAINERS):
        yield from _elements(model)
        return
    for child in model.children():
        yield from _elements(child) if isinstance(child, _CONTAINERS) else _inside(child)
        if not isinstance(child, _CONTAINERS) and _has_parameters(child):
            yield child


def _inside(module: nn.Module) -> Iterator[nn.Module]:
    """The elements of the containers in a module."""
    for child in module.children():
        yield from _elements(child) if isinstance(child, _CONTAINERS) else _inside(child)


def _elements(container: nn.Module) -> Iterator[nn.Module]:
    for child in container.children():
        if isinstance(child, _CONTAINERS):
            yield from _elements(child)
        elif _has_parameters(child):
            yield child


def _has_parameters(module: nn.Module) -> bool:
    return any(True for _ in module.parameters())


def _tied(model: nn.Module) -> set[int]:
    """Parameters that two modules have in common."""
    seen, tied = set[int](), set[int]()
    for module in model.modules():
        for parameter in module.parameters(recurse=False):
            (tied if id(parameter) in seen else seen).add(id(parameter))
    return tied


def _hooks(module: nn.Module) -> dict[str, Any]:
    """All who listen to a module, to be so again."""
    return {name: copy.copy(value) for name, value in vars(module).items() if "_hooks" in name}
