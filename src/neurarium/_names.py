"""Names in the API and on the command line: ``"swish:beta=2"`` is `activations.swish(beta=2)`."""

import difflib
import functools
import inspect
import re
from collections.abc import Mapping
from types import ModuleType
from typing import Any

_TRUTH = {"true": True, "false": False, "none": None}


def resolve(spec: Any, names: ModuleType | Mapping[str, Any], what: str) -> Any:
    """The public object that `spec` names, with the arguments after its colon bound to it.

    Case, ``_`` and ``-`` don't matter: ``"FeedbackAlignment"`` and ``"feedback_alignment"`` are
    one name. Anything but a string is returned as it is.

    Values without a name go to a class's arguments in order, and to those of a function's that
    have defaults (the others are the tensors it is called with): ``"tukey:3"`` sets `delta`.

    Args:
        names: a module (its `__all__` is the list) or a mapping from name to object.
        what: what is being named, for the error: ``"activation"``.

    Raises:
        ValueError: for an unknown name or argument; the message lists the nearest ones.

    Example:
        >>> resolve("Round:1", {"round": round}, "function")(2.345)
        2.3
    """
    if not isinstance(spec, str):
        return spec
    name, _, text = spec.partition(":")
    found = _lookup(name, names, what)
    positional, named = parse_arguments(text)
    if not positional and not named:
        return found
    return _bind(name, found, positional, named)


def parse_arguments(text: str) -> tuple[list[Any], dict[str, Any]]:
    """Read ``"1e-4,beta=2,hidden=256x256"`` into ``[1e-4], {"beta": 2, "hidden": (256, 256)}``."""
    positional: list[Any] = []
    named: dict[str, Any] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, equals, value = part.partition("=")
        if equals:
            named[name.strip().replace("-", "_")] = parse_value(value)
        elif named:
            raise ValueError(f"{part!r} in {text!r} must come before the named arguments")
        else:
            positional.append(parse_value(part))
    return positional, named


def parse_value(text: str) -> Any:
    """Read one value: an int, float, bool, None, sizes such as ``256x256``, else the text."""
    text = text.strip()
    if text.lower() in _TRUTH:
        return _TRUTH[text.lower()]
    if re.fullmatch(r"\d+(x\d+)+", text):
        return tuple(int(size) for size in text.split("x"))
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            continue
    return text


def _lookup(name: str, names: ModuleType | Mapping[str, Any], what: str) -> Any:
    public = list(names) if isinstance(names, Mapping) else list(names.__all__)
    same = [candidate for candidate in public if _key(candidate) == _key(name)]
    if not same:
        near = _nearest(name, public)
        raise ValueError(f"unknown {what} {name!r}; {near}")
    # A function and its module twin (`swish`, `Swish`) share a key: as written, else the first.
    chosen = name if name in same else same[0]
    return names[chosen] if isinstance(names, Mapping) else getattr(names, chosen)


def _key(name: str) -> str:
    return name.strip().replace("_", "").replace("-", "").lower()


def _nearest(name: str, public: list[str]) -> str:
    by_key = {_key(candidate): candidate for candidate in reversed(public)}
    close = difflib.get_close_matches(_key(name), by_key, n=3, cutoff=0.5)
    if close:
        return "did you mean " + " or ".join(by_key[key] for key in close) + "?"
    return "choose from " + ", ".join(public)


def _bind(name: str, found: Any, positional: list[Any], named: dict[str, Any]) -> Any:
    parameters = inspect.signature(found).parameters
    free = [p.name for p in parameters.values() if p.default is not p.empty]
    try:
        if not isinstance(found, type) and positional:
            by_order = dict(zip(free, positional, strict=False))
            if len(positional) > len(free) or by_order.keys() & named.keys():
                raise TypeError("too many values without a name")
            positional, named = [], by_order | named
        inspect.signature(found).bind_partial(*positional, **named)
    except TypeError as error:
        takes = ", ".join(parameters)
        raise ValueError(
            f"{name} does not fit these arguments ({error}); it takes {takes}"
        ) from None
    return functools.partial(found, *positional, **named)
