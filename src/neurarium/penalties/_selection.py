"""Which parameters a penalty is on: one rule for all of them."""

from collections.abc import Callable
from typing import Literal

from torch import nn

On = Literal["weights", "all"] | Callable[[str, nn.Parameter], bool]

_SCALES = (nn.modules.batchnorm._NormBase, nn.GroupNorm, nn.LayerNorm, nn.RMSNorm, nn.PReLU)


def check(on: On) -> On:
    """Refuse anything but "weights", "all" and a function."""
    if on not in ("weights", "all") and not callable(on):
        raise ValueError(
            f"on must be 'weights', 'all' or a function (name, parameter) -> bool, got {on!r}"
        )
    return on


def shown(penalty: object) -> str:
    """A penalty with its arguments, as a run's record has it."""
    own = {name: value for name, value in vars(penalty).items() if not name.startswith("_")}
    parts = [f"{name}={getattr(value, '__name__', repr(value))}" for name, value in own.items()]
    return f"{type(penalty).__name__}({', '.join(parts)})"


def select(model: nn.Module, on: On, owner: str) -> list[nn.Parameter]:
    """The trainable parameters meant by `on`, shared ones once.

    "weights" are those of two axes or more; biases, normalizations and PReLU slopes are not.

    Raises:
        ValueError: if there are none.
    """
    if callable(on):
        chosen = [p for name, p in model.named_parameters() if on(name, p)]
    elif on == "all":
        chosen = list(model.parameters())
    else:
        chosen = _weights(model)
    chosen = [p for p in chosen if p.requires_grad]
    if not chosen:
        raise ValueError(
            f"{owner}(on={on!r}) selects none of the {sum(1 for _ in model.parameters())} "
            f"parameters of {type(model).__name__}; pass on='all', or a function "
            "(name, parameter) -> bool that is true for some that are trained"
        )
    return chosen


def _weights(model: nn.Module) -> list[nn.Parameter]:
    found: dict[int, nn.Parameter] = {}
    for module in model.modules():
        own = module._parameters  # `named_parameters` costs a small network's whole step
        if own and not isinstance(module, _SCALES):
            for name, p in own.items():
                if p is not None and p.ndim > 1 and not name.startswith("bias"):
                    found[id(p)] = p
    return list(found.values())
