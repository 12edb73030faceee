"""Networks as data: the constructor's arguments, kept as attributes, are the configuration."""

import inspect
from typing import Any

from torch import nn


def remember(model: nn.Module, **arguments: Any) -> None:
    """Keep constructor arguments as attributes of the same names, in scikit-learn's way."""
    # Past nn.Module.__setattr__, which would make a part of the network of a module argument.
    vars(model).update(arguments)


def arguments(model: nn.Module) -> dict[str, Any]:
    """The constructor arguments of `model`, in forms JSON has.

    Raises:
        ValueError: for an argument no name stands for, such as a function.
    """
    names = [name for name in inspect.signature(type(model).__init__).parameters if name != "self"]
    return {name: _plain(getattr(model, name), name, model) for name in names}


def tokens_of(vocab: int | None, network: type[nn.Module]) -> int:
    """How many tokens a text has, for a network that reads nothing else.

    Raises:
        ValueError: if the data are no text.
    """
    if vocab is None:
        raise ValueError(
            f"{network.__name__} reads the tokens of a text, and these data are none; take an MLP"
        )
    return vocab


def _plain(value: Any, name: str, model: nn.Module) -> Any:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple):
        return [_plain(item, name, model) for item in value]
    raise ValueError(
        f"{name} of this {type(model).__name__} is {value!r}, which no file can hold; build it "
        f'with a name such as "relu" or "swish:beta=2" to save it as a configuration'
    )
