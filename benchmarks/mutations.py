"""Damage for files: what disks, editors and ill-meaning people do to them.

Every function takes a `random.Random` and gives other content, so that a number names a file.
"""

import copy
import io
import json
import os
import pickle
import random
import re
import struct
import zipfile
from collections.abc import Callable
from typing import Any

_SIZES = (0, 1, -1, 127, 128, 255, 2**15, 2**16, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1)
_TYPES = (b"<U8", b"|S4", b"<c8", b"<M8[s]", b"|O", b"<f2", b"|b1", b"|V8")
_WORDS = (
    "", " ", "nan", "-inf", "1e309", "-0", "9" * 400, '"', "'", "\0", "\u00e9", "\ufeff", "1_000",
    "a" * 100_000, "0x10", "True", "2020-13-45", "9999-12-31", "0001-01-01", "18446744073709551616",
    "\r", "\t", ";", "|", ",,,,", "\n\n", "=1+1", "\u0660\u0661", "\U0001f600", "1e-400", "--", "?",
)  # fmt: skip
_VALUES: tuple[Any, ...] = (
    None, True, -1, 0, 1, 3, 10**6, 10**12, 10**30, -(2**63), 0.5, 1e308, float("nan"),
    float("inf"), "", "x", "nan", "relu", "x" * 10_000, [], {}, [None], [[]], {"a": 1}, ["a", 1],
)  # fmt: skip


class Planted:
    """Unpickled, it leaves a file behind: the proof that code of a data file was run."""

    def __init__(self, marker: str) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (self.marker,)


def damaged_bytes(raw: bytes, draw: random.Random) -> bytes:
    """A few blows to any file."""
    for _ in range(draw.choice((1, 1, 1, 2, 4, 16))):
        raw = draw.choice(_BLOWS)(bytearray(raw), draw)
    return raw


def _flip(raw: bytearray, draw: random.Random) -> bytes:
    if raw:
        raw[draw.randrange(len(raw))] ^= 1 << draw.randrange(8)
    return bytes(raw)


def _flip_early(raw: bytearray, draw: random.Random) -> bytes:
    if raw:  # where the header is
        raw[draw.randrange(min(len(raw), 64))] = draw.randrange(256)
    return bytes(raw)


def _truncate(raw: bytearray, draw: random.Random) -> bytes:
    return bytes(raw[: draw.randrange(len(raw) + 1)])


def _delete(raw: bytearray, draw: random.Random) -> bytes:
    start = draw.randrange(len(raw) + 1)
    return bytes(raw[:start] + raw[start + draw.randrange(1, 64) :])


def _repeat(raw: bytearray, draw: random.Random) -> bytes:
    start = draw.randrange(len(raw) + 1)
    chunk = raw[start : start + draw.randrange(1, 256)]
    return bytes(raw[:start] + chunk * draw.randrange(1, 9) + raw[start:])


def _insert(raw: bytearray, draw: random.Random) -> bytes:
    start = draw.randrange(len(raw) + 1)
    return bytes(raw[:start] + draw.randbytes(draw.randrange(1, 64)) + raw[start:])


def _size(raw: bytearray, draw: random.Random) -> bytes:
    form, size = draw.choice("<>") + draw.choice("HIQ"), draw.choice(_SIZES)
    word = struct.pack(form, size % 2 ** (8 * struct.calcsize(form)))
    start = draw.randrange(min(len(raw), 256) + 1)
    return bytes(raw[:start] + word + raw[start + len(word) :])


def _zeros(raw: bytearray, draw: random.Random) -> bytes:
    start = draw.randrange(len(raw) + 1)
    length = min(draw.randrange(1, 512), len(raw) - start)
    return bytes(raw[:start] + bytes(length) + raw[start + length :])


_BLOWS: tuple[Callable[[bytearray, random.Random], bytes], ...] = (
    _flip, _flip_early, _truncate, _delete, _repeat, _insert, _size, _zeros,
)  # fmt: skip


def damaged_text(raw: bytes, draw: random.Random) -> bytes:
    """Other words, lines and separators; now and then plain damage."""
    if draw.random() < 0.2:
        return damaged_bytes(raw, draw)
    text = raw.decode()
    for _ in range(draw.choice((1, 1, 2, 4, 16))):
        lines = text.split("\n")
        line = draw.randrange(len(lines))
        kind = draw.randrange(6)
        if kind == 0:
            lines.insert(line, draw.choice(lines))
        elif kind == 1:
            del lines[line]
        elif kind == 2:
            lines[line] += draw.choice((",", ",1", " ", '"', "\r", ";"))
        elif kind == 3:  # a whole column, by its separator
            old, new = draw.choice((",", ":", "-", ".")), draw.choice(_WORDS[:20])
            lines = [each.replace(old, new, 1) for each in lines]
        else:
            words = list(re.finditer(r"[\w.+-]+", lines[line]))
            if words:
                word = draw.choice(words)
                other = draw.choice(_WORDS)
                lines[line] = lines[line][: word.start()] + other + lines[line][word.end() :]
        text = "\n".join(lines)
    return text.encode()


def damaged_values(value: Any, draw: random.Random) -> Any:
    """Plain values with some replaced, removed, renamed or exchanged."""
    value = copy.deepcopy(value)
    for _ in range(draw.choice((1, 1, 1, 2, 4))):
        places = list(_places(value))
        if not places:
            return draw.choice(_VALUES)
        container, key = draw.choice(places)
        kind = draw.randrange(5)
        if kind == 0:
            del container[key]
        elif kind == 1 and isinstance(container, dict):
            container[draw.choice(("", "kind", "x" * 999, f"{key}_"))] = container.pop(key)
        elif kind == 2:
            other, other_key = draw.choice(places)
            container[key] = copy.deepcopy(other[other_key])
        elif kind == 3 and isinstance(container[key], int | float):
            container[key] = container[key] * draw.choice((-1, 2, 10, 1e9)) + draw.choice((0, 1))
        else:
            container[key] = copy.deepcopy(draw.choice(_VALUES))
    return value


def _places(value: Any) -> Any:
    keys = list(value) if isinstance(value, dict) else range(len(value))
    for key in keys:
        yield value, key
        if isinstance(value[key], dict | list):
            yield from _places(value[key])


def damaged_json(raw: bytes, draw: random.Random) -> bytes:
    """Valid JSON of another meaning; at times text, or a nesting no parser likes."""
    chance = draw.random()
    if chance < 0.2:
        return damaged_text(raw, draw)
    if chance < 0.22:
        return b"[" * 100_000 + b"]" * 100_000
    return json.dumps(damaged_values(json.loads(raw), draw)).encode()


def damaged_yaml(raw: bytes, draw: random.Random, marker: str) -> bytes:
    """Valid YAML of another meaning; at times text, a bomb of aliases or a planted call."""
    import yaml

    chance = draw.random()
    if chance < 0.2:
        return damaged_text(raw, draw)
    if chance < 0.25:
        return raw + f"\nextra: !!python/object/apply:os.mkdir ['{marker}']\n".encode()
    if chance < 0.28:
        levels = [b"a0: &a0 [x, x, x, x, x, x, x, x, x]"]
        for i in range(1, 9):
            levels.append(b"a%d: &a%d [%s]" % (i, i, b", ".join([b"*a%d" % (i - 1)] * 9)))
        return raw + b"\n" + b"\n".join(levels) + b"\n"
    if chance < 0.3:
        return b"a: " + b"[" * 5000 + b"]" * 5000
    return yaml.safe_dump(damaged_values(yaml.safe_load(raw), draw), sort_keys=False).encode()


def damaged_zip(raw: bytes, draw: random.Random, marker: str) -> bytes:
    """A ZIP archive (npz, torch's) whose members are damaged though its checksums are right."""
    chance = draw.random()
    if chance < 0.3:
        return damaged_bytes(raw, draw)
    with zipfile.ZipFile(io.BytesIO(raw)) as archive:
        members = [(info.filename, archive.read(info)) for info in archive.infolist()]
    index = draw.randrange(len(members))
    name, content = members[index]
    if chance < 0.4 or name.endswith("data.pkl"):
        hit = next((i for i, (n, _) in enumerate(members) if n.endswith("data.pkl")), index)
        name, content = members[hit]
        members[hit] = (name, _planted(content, name, draw, marker))
    elif chance < 0.5:
        members[index] = (name, _other_header(content, draw))
    elif chance < 0.6:
        members[index] = (draw.choice(("z.npy", "../../out.npy", "x", name.upper())), content)
    else:
        members[index] = (name, damaged_bytes(content, draw))
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", draw.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))) as new:
        for member, content in dict(members).items():
            new.writestr(member, content)
    return out.getvalue()


def _planted(content: bytes, name: str, draw: random.Random, marker: str) -> bytes:
    """A pickle in the member's place; for an array, behind the header of one of objects."""
    evil = pickle.dumps(Planted(marker), protocol=2)
    if not name.endswith(".npy"):
        return evil if draw.random() < 0.5 else damaged_bytes(content, draw)
    header = b"{'descr': '|O', 'fortran_order': False, 'shape': (60,), }"
    header += b" " * (-(len(header) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + evil


def _other_header(content: bytes, draw: random.Random) -> bytes:
    """An array's header that promises another type or shape."""
    old, new = draw.choice(
        (
            (rb"'shape': \([^)]*\)", b"'shape': (%d,)" % draw.choice(_SIZES)),
            (rb"'shape': \([^)]*\)", b"'shape': (60, %d)" % draw.choice(_SIZES)),
            (rb"'shape': \([^)]*\)", b"'shape': ()"),
            (rb"'shape': \([^)]*\)", b"'shape': (0, 5)"),
            (rb"'descr': '[^']*'", b"'descr': '%s'" % draw.choice(_TYPES)),
            (rb"'shape'", b"'shape': __import__('os').abort(), 'x'"),
        )
    )
    return re.sub(old, new, content, count=1)


def damaged_npy(raw: bytes, draw: random.Random, marker: str) -> bytes:
    """An array's file: other promises in its header, objects instead of numbers, plain damage."""
    chance = draw.random()
    if chance < 0.15:
        return _planted(raw, "x.npy", draw, marker)
    return _other_header(raw, draw) if chance < 0.45 else damaged_bytes(raw, draw)


def planted_pickle(raw: bytes, draw: random.Random, marker: str) -> bytes:
    """A pickle that runs a program: alone, within harmless values, or before the good one."""
    evil, protocol = Planted(marker), draw.randrange(6)
    kind = draw.randrange(4)
    if kind == 0:
        return pickle.dumps(evil, protocol)
    if kind == 1:
        return pickle.dumps({0: [1, evil], 1: [evil]}, protocol)
    if kind == 2:  # by name alone, without a class of ours
        return b"cos\nmkdir\n(S'%s'\ntR." % marker.encode()
    return pickle.dumps(evil, 2)[:-1] + b"0" + raw  # run, dropped, and the good one given


def damaged_prose(raw: bytes, draw: random.Random) -> bytes:
    """Text that is not: other encodings, zeros, one gigantic line, nothing."""
    kind = draw.randrange(8)
    if kind == 0:
        return raw.decode().encode(
            draw.choice(("utf-16", "utf-32", "utf-16-be", "cp1252")), "replace"
        )
    if kind == 1:
        start = draw.randrange(len(raw))
        return (
            raw[:start] + draw.choice((b"\0", b"\xff", b"\xed\xa0\x80", b"\xf4\x90")) + raw[start:]
        )
    if kind == 2:
        return draw.choice((b"", b"\n", b"\xef\xbb\xbf", b"\0" * 1000, b"x"))
    if kind == 3:
        return raw.replace(b"\n", b" ") * draw.choice((1, 10, 100))
    if kind == 4:  # nearly every character another one
        return "".join(chr(draw.randrange(0x20, 0xD000)) for _ in range(3000)).encode()
    return damaged_bytes(raw, draw) if kind == 5 else damaged_text(raw, draw)


def damaged_safetensors(raw: bytes, draw: random.Random) -> bytes:
    """Another header of the right length before the same numbers; at times plain damage."""
    if draw.random() < 0.4:
        return damaged_bytes(raw, draw)
    (length,) = struct.unpack("<Q", raw[:8])
    header = json.dumps(damaged_values(json.loads(raw[8 : 8 + length]), draw)).encode()
    body = raw[8 + length :]
    if draw.random() < 0.3:
        body = damaged_bytes(body, draw)
    return struct.pack("<Q", len(header)) + header + body
