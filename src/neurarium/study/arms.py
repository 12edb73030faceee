"""The arms of a study: one base, and what is varied of it."""

import itertools
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from neurarium import _names

__all__ = ["Arm", "Design", "arms_of", "labelled", "parse_vary"]

Design = Literal["one-at-a-time", "grid"] | int
Varied = Mapping[str, Sequence[Any] | Mapping[str, Any]]

BASE = "base"


@dataclass(frozen=True)
class Arm:
    """One configuration that is trained.

    Attributes:
        settings: name -> value of everything that is said of it, the base's settings included.
        labels: what is varied, as words; the part of the settings in which arms differ.
    """

    name: str
    settings: Mapping[str, Any]
    labels: Mapping[str, str]


def arms_of(base: Mapping[str, Any], vary: Varied, design: Design = "one-at-a-time") -> list[Arm]:
    """The base arm, which has the first value of everything varied, and the others.

    A name with a single value is varied between what the base has and that value.

    Args:
        base: settings that all arms share.
        vary: name -> its values, or label -> value.
        design: "one-at-a-time" changes one name of the base in each arm, "grid" takes every
            combination, and a number so many of them at random.

    Raises:
        ValueError: when nothing is varied, or one value is given twice.
    """
    choices = {name: _choices(name, values, base) for name, values in vary.items()}
    if not any(len(of) > 1 for of in choices.values()):
        raise ValueError(
            "nothing is varied: give some name at least one value that the base does not have, "
            "such as rule=backprop,sam"
        )
    first = {name: next(iter(of)) for name, of in choices.items()}
    if design == "one-at-a-time":
        combinations = [first] + [
            {**first, name: label} for name, of in choices.items() for label in [*of][1:]
        ]
    else:
        every = itertools.product(*choices.values())
        combinations = [dict(zip(choices, one, strict=True)) for one in every]
        if design != "grid":
            combinations = _drawn(combinations, design)
    return [_arm(base, choices, first, one, design) for one in combinations]


def _choices(name: str, values: Any, base: Mapping[str, Any]) -> dict[str, Any]:
    """Label -> value; a lone value stands beside what the base has."""
    named = dict(values) if isinstance(values, Mapping) else {}
    if not isinstance(values, Mapping):
        values = [values] if isinstance(values, str) else list(values)
        named = {labelled(value): value for value in values}
        if len(named) != len(values):
            raise ValueError(f"{name} has one value twice: {', '.join(map(labelled, values))}")
    if not named:
        raise ValueError(f"{name} has no value; give those to compare")
    if len(named) == 1:
        own = base.get(name, _Unsaid)
        label = "default" if own is _Unsaid else labelled(own)
        if label in named:
            return named
        return {label: own, **named}
    return named


class _Unsaid:
    """Stands for a setting that is left as it is."""


def labelled(value: Any) -> str:
    """The value in a word or two."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return value
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, tuple | list):
        return ("x" if all(isinstance(v, int) for v in value) else "+").join(map(labelled, value))
    return getattr(value, "__name__", None) or repr(value)


def _drawn(combinations: list[dict[str, str]], count: int) -> list[dict[str, str]]:
    """The base, and so many of the others."""
    if count < 1:
        raise ValueError(f"at least 1 combination must be drawn, got {count}")
    others = combinations[1:]
    if count < len(others):
        others = random.Random(0).sample(others, count)
    return [combinations[0], *others]


def _arm(
    base: Mapping[str, Any],
    choices: Mapping[str, Mapping[str, Any]],
    first: Mapping[str, str],
    labels: Mapping[str, str],
    design: Design,
) -> Arm:
    settings = dict(base)
    for name, label in labels.items():
        value = choices[name][label]
        if value is not _Unsaid:
            settings[name] = value
    return Arm(_name(first, labels, design), settings, labels)


def _name(first: Mapping[str, str], labels: Mapping[str, str], design: Design) -> str:
    if len(labels) == 1:
        return next(iter(labels.values()))
    changed = {k: v for k, v in labels.items() if design != "one-at-a-time" or v != first[k]}
    if not changed:
        return BASE
    return ", ".join(f"{name}={label}" for name, label in changed.items())


def parse_vary(texts: Sequence[str]) -> dict[str, list[Any]]:
    """Read `["rule=backprop,sam", "penalty=none,l1:1e-4"]`.

    A comma parts values, unless what follows it is an argument of the value before, as in
    "network=MLP:hidden=64,dropout=0.5,LeNet5", which are two networks; where a semicolon stands,
    it alone does.

    Raises:
        ValueError: for a text that is not name=value,value.

    Example:
        >>> parse_vary(["network=MLP:hidden=64,dropout=0.5,LeNet5", "lr=0.1,0.01"])
        {'network': ['MLP:hidden=64,dropout=0.5', 'LeNet5'], 'lr': [0.1, 0.01]}
    """
    found: dict[str, list[Any]] = {}
    for text in texts:
        name, equals, values = text.partition("=")
        name = name.strip().replace("-", "_")
        parts = [part.strip() for part in _parted(values)]
        if not equals or not name or not all(parts) or not parts:
            raise ValueError(f"what is varied must look like rule=backprop,sam, got {text!r}")
        if name in found:
            raise ValueError(f"{name} is varied twice; give all its values at once")
        found[name] = [_names.parse_value(part) for part in parts]
    return found


def _parted(values: str) -> list[str]:
    if ";" in values:
        return values.split(";")
    parts: list[str] = []
    for piece in values.split(","):
        before, equals, _ = piece.partition("=")
        argument = bool(equals) and ":" not in before
        if argument and parts and ":" in parts[-1]:
            parts[-1] += f",{piece}"
        else:
            parts.append(piece)
    return parts
