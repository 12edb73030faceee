"""Fitted preprocessing beside a model's weights: JSON for people, safetensors for the numbers."""

import json
from pathlib import Path
from typing import Any, get_type_hints

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from neurarium.data import scale
from neurarium.data.data import Preprocessing
from neurarium.data.errors import DataError, listing
from neurarium.data.preprocessing import preprocessing_from_json

_JSON, _TENSORS = "preprocessing.json", "transform.safetensors"


def save_preprocessing(
    directory: Path, preprocessing: Preprocessing | None, transform: nn.Module | None
) -> None:
    """Write what prepares a model's input into the model's directory.

    A `transform` that is not one of `neurarium.data.scale` is named but not kept: its code is the
    user's.
    """
    known = type(transform).__name__ in scale.__all__
    content: dict[str, Any] = {
        "preprocessing": None if preprocessing is None else preprocessing.to_json(),
        "transform": type(transform).__name__ if known else None,
    }
    (directory / _JSON).write_text(json.dumps(content, indent=1), encoding="utf-8")
    if transform is not None and known:
        buffers = {name: value.cpu().contiguous() for name, value in transform.state_dict().items()}
        save_file(buffers, directory / _TENSORS)


def load_preprocessing(directory: Path) -> tuple[Preprocessing | None, nn.Module | None]:
    """What `save_preprocessing` wrote."""
    content = json.loads((directory / _JSON).read_text(encoding="utf-8"))
    preprocessing = content["preprocessing"]
    if preprocessing is not None:
        preprocessing = preprocessing_from_json(preprocessing)
    if content["transform"] is None:
        return preprocessing, None
    if content["transform"] not in scale.__all__:
        raise ValueError(f"{directory / _JSON} names an unknown transform {content['transform']!r}")
    kind = getattr(scale, content["transform"])
    transform = kind.__new__(kind)  # its buffers are all it is, to the last bit
    nn.Module.__init__(transform)
    try:
        tensors = load_file(directory / _TENSORS)
    except SafetensorError as error:
        raise DataError(f"cannot read {directory / _TENSORS}: {error}") from None
    needed = {name for name, hint in get_type_hints(kind).items() if hint is Tensor}
    if set(tensors) != needed:
        raise DataError(
            f"{directory / _TENSORS} holds {listing(sorted(tensors))}, but {kind.__name__} needs "
            f"{listing(sorted(needed))}; it is damaged"
        )
    for name, value in tensors.items():
        transform.register_buffer(name, value)
    return preprocessing, transform
