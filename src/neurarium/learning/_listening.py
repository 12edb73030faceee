"""What layers receive while an objective is evaluated: all that a local rule may know."""

import contextlib
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn


@contextlib.contextmanager
def listening(layers: Mapping[str, nn.Linear]) -> Iterator[dict[str, list[Tensor]]]:
    """Inside, each call of a layer adds its input's rows to the list under its name."""
    heard: dict[str, list[Tensor]] = {name: [] for name in layers}
    with contextlib.ExitStack() as stack:
        for name, layer in layers.items():

            def hear(module: nn.Module, inputs: tuple[Tensor], name: str = name) -> None:
                heard[name].append(inputs[0].detach().flatten(0, -2))

            stack.callback(layer.register_forward_pre_hook(hear).remove)
        yield heard


def rows(heard: list[Tensor], layer: nn.Linear) -> Tensor:
    """All that a layer has received, one row each, in its own precision."""
    return torch.cat(heard).to(layer.weight)
