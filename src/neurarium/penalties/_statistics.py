"""A second look at the batch, which normalizations must not count."""

import contextlib
from collections.abc import Iterator

from torch import nn


@contextlib.contextmanager
def uncounted(model: nn.Module) -> Iterator[None]:
    """Normalize by the batch as in training, but leave the running statistics as they are.

    They are also what `torch.func` cannot differentiate through: buffers written in place.
    """
    counting = [
        module
        for module in model.modules()
        if module.training
        and isinstance(module, nn.modules.batchnorm._NormBase)
        and module.track_running_stats
    ]
    for module in counting:
        module.track_running_stats = False
    try:
        yield
    finally:
        for module in counting:
            module.track_running_stats = True
