"""Fine-tuning: layers near the input learn more slowly, or later."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from torch import nn

__all__ = ["discriminative_lr"]


def discriminative_lr(
    model: nn.Module,
    lr: float,
    factor: float = 2.6,
    layers: Sequence[nn.Module] | None = None,
) -> list[dict[str, Any]]:
    r"""Parameter groups for an optimizer, each layer with a lower rate than the one above.

    $$\eta^{l - 1} = \eta^l / 2.6$$

    `Backprop(torch.optim.Adam(discriminative_lr(model, 1e-3)), schedule="slanted_triangular")`: a
    schedule multiplies every group's own rate.

    Args:
        lr: of the last layer.
        factor: by which the rate falls from layer to layer.
        layers: from the input to the output; by default the model's parts in the order in which
            they were made, those of a list or sequence one by one.

    Source: Howard & Ruder (2018), Universal Language Model Fine-tuning for Text Classification,
    arXiv:1801.06146.
    """
    if not factor > 0:
        raise ValueError(f"factor must be positive, got {factor}; the rate is divided by it")
    groups = layer_parameters(model, layers)
    last = len(groups) - 1
    return [{"params": own, "lr": lr / factor ** (last - i)} for i, own in enumerate(groups)]


def layer_parameters(
    model: nn.Module, layers: Sequence[nn.Module] | None = None
) -> list[list[nn.Parameter]]:
    """The parameters of each layer from input to output, shared ones with the first that has them.

    Raises:
        ValueError: if some parameter of the model is in none of the layers.
    """
    met: set[int] = set()
    groups = []
    for layer in _parts(model) if layers is None else layers:
        own = [p for p in layer.parameters() if id(p) not in met]
        met |= {id(p) for p in own}
        if own:
            groups.append(own)
    missing = [name for name, p in model.named_parameters() if id(p) not in met]
    if missing and layers is None:  # parameters of the model itself: they act on its input
        groups.insert(0, [p for p in model.parameters() if id(p) not in met])
    elif missing:
        raise ValueError(f"layers leave out {', '.join(missing)}; name the layers that hold them")
    return groups


def _parts(model: nn.Module) -> Iterator[nn.Module]:
    children: Iterable[nn.Module] = model.children()
    for child in children:
        if isinstance(child, nn.Sequential | nn.ModuleList):
            yield from _parts(child)
        else:
            yield child
