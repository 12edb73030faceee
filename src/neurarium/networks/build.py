"""From strings, data and files to networks, and back."""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from neurarium import _names
from neurarium.networks import (
    _config,
    bert,
    cellular_srn,
    convnets,
    echo_state,
    elmo,
    energy,
    evolving,
    fast_text,
    forecaster,
    forecaster_deepar,
    forecaster_linear,
    forecaster_nbeats,
    goodness,
    gpt,
    lista,
    mlp,
    neural_programmer,
    perceptron,
    programs,
    rbf,
    sequence,
    transformer,
    transformer_xl,
    xlnet,
)

_PARTS = (
    bert, cellular_srn, convnets, echo_state, elmo, energy, evolving, fast_text, forecaster,
    forecaster_deepar, forecaster_linear, forecaster_nbeats, goodness, gpt, lista, mlp,
    neural_programmer, perceptron, programs, rbf, sequence, transformer, transformer_xl, xlnet,
)  # fmt: skip
NETWORKS: dict[str, Any] = {
    name: network
    for part in _PARTS
    for name in part.__all__
    if inspect.isclass(network := getattr(part, name))
}
"""Those that names and files may mean; a family adds its own by `include`."""
_FROM_DATA = (
    "input_shape",
    "outputs",
    "categories",
    "sizes",
    "arguments",
    "targets",
    "quantiles",
    "options",
)


def for_data(
    spec: str | nn.Module,
    input_shape: Sequence[int],
    outputs: int,
    categories: Sequence[int] = (),
    **known: Any,
) -> nn.Module:
    """A network whose first and last sizes fit the data; a module is returned as it is.

    Args:
        spec: "MLP:hidden=256x256", "LeNet5", "ResNet:depth=20", "Perceptron".
        input_shape: shape of one example, without the batch axis.
        outputs: number of logits or regression outputs.
        categories: cardinalities of the categorical columns, the last ones of the input.
        known: what the networks of one kind of data need besides.
    """
    if isinstance(spec, nn.Module):
        return spec
    fitted = {
        n: network.for_data for n, network in NETWORKS.items() if hasattr(network, "for_data")
    }
    make = _names.resolve(spec, fitted, "model")
    named = _names.resolve(spec.partition(":")[0], {n: NETWORKS[n] for n in fitted}, "model")
    if lacks := [name for name in known if name not in _told(named)]:
        able = [name for name in fitted if known.keys() <= _told(NETWORKS[name])]
        raise ValueError(
            f"{named.__name__} does not fit these data, as it takes no {' or '.join(lacks)}; "
            f"take {', '.join(able)}"
        )
    try:
        return make(tuple(input_shape), outputs, tuple(categories), **known)
    except TypeError as error:  # an argument that only the constructor could refuse
        network = _names.resolve(spec.partition(":")[0], NETWORKS, "model")
        raise ValueError(f"{spec!r} does not fit ({error}); {_takes(network)}") from error


def include(*classes: type[nn.Module]) -> None:
    """Let names and files mean a family's networks too; called where the family is imported."""
    NETWORKS.update({network.__name__: network for network in classes})


def config(model: nn.Module) -> dict[str, Any]:
    """What `build` needs to make this network anew, without its weights; JSON can hold it.

    Raises:
        ValueError: if `model` is not one of `networks.__all__`, or holds arguments that no name
            stands for.
    """
    name = type(model).__name__
    if NETWORKS.get(name) is not type(model):
        raise ValueError(f"{name} is not one of the networks that a file can name: {_known()}")
    return {"class": name, "arguments": _config.arguments(model)}


def build(config: Mapping[str, Any]) -> nn.Module:
    """A network with fresh weights from what `config` returned.

    Raises:
        ValueError: if the class is not one of `networks.__all__`: a file never says what to import.
    """
    name = config["class"]
    if name not in NETWORKS:
        raise ValueError(f"unknown network {name!r} in this configuration; known are {_known()}")
    return NETWORKS[name](**config["arguments"])


def _told(network: Any) -> set[str]:
    """The arguments that `for_data` of a network takes, or passes on."""
    taken = inspect.signature(network.for_data).parameters
    more = any(p.kind is p.VAR_KEYWORD for p in taken.values())
    return {*taken, *(inspect.signature(network).parameters if more else ())}


def _takes(network: Any) -> str:
    fitted, plain = (inspect.signature(f).parameters for f in (network.for_data, network))
    names = [name for name in (*fitted, *plain) if name not in _FROM_DATA]
    return f"{network.__name__} takes {', '.join(dict.fromkeys(names))}"


def _known() -> str:
    return ", ".join(sorted(NETWORKS))
