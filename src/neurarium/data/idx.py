"""The idx format of MNIST and its relatives."""

import gzip
import re
import zlib
from pathlib import Path

import numpy as np

from neurarium.data.arrays import Arrays
from neurarium.data.errors import DataError, listing

_TYPES = {8: "u1", 9: "i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}


def read_idx(path: Path) -> np.ndarray:
    """The array of an idx file, gzipped or not.

    The first four bytes are 0, 0, the type and the number of axes; then each axis as a big-endian
    32-bit integer; then the values.

    Raises:
        DataError: if the file is damaged, no idx file, or shorter or longer than it says.

    Source: LeCun, Cortes & Burges (1998), The MNIST database, yann.lecun.com/exdb/mnist.
    """
    raw = path.read_bytes()
    try:
        raw = gzip.decompress(raw) if raw.startswith(b"\x1f\x8b") else raw
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"'{path.name}' is a damaged gzip file ({error}); get it again") from error
    if len(raw) < 4 or raw[:2] != b"\0\0" or raw[2] not in _TYPES:
        raise DataError(
            f"'{path.name}' is not an idx file: it starts with the bytes {raw[:4].hex(' ')}"
        )
    dtype, axes = np.dtype(_TYPES[raw[2]]), raw[3]
    start = 4 + 4 * axes
    shape = np.frombuffer(raw[4:start], dtype=">u4", count=min(axes, len(raw[4:start]) // 4))
    expected = start + int(np.prod(shape, dtype=object)) * dtype.itemsize
    if len(shape) != axes or len(raw) != expected:
        raise DataError(
            f"'{path.name}' is truncated or padded: its header promises {expected} bytes, "
            f"it has {len(raw)}; get it again"
        )
    values = np.frombuffer(raw, dtype=dtype, offset=start)
    return values.reshape(tuple(map(int, shape))).astype(dtype.newbyteorder("="))


_NAME = re.compile(r"(train|t10k|test)[-_.]?(images|labels)[-_.]idx\d[-_.]ubyte(\.gz)?$")


def find_idx(folder: Path) -> dict[str, Path]:
    """The idx files of a folder under "train images", "train labels", "test images", ..."""
    found = {}
    for path in sorted(folder.iterdir()):
        if match := _NAME.search(path.name):
            split = "train" if match[1] == "train" else "test"
            found[f"{split} {match[2]}"] = path
    return found


def read_idx_folder(folder: Path) -> Arrays:
    """Images (N, 1, H, W) and labels of a folder of idx files, with the test set if it is there."""
    files = find_idx(folder)
    arrays: dict[str, np.ndarray] = {}
    for split, suffix in (("train", ""), ("test", "_test")):
        names = [f"{split} images", f"{split} labels"]
        have = [name for name in names if name in files]
        if not have and split == "test":
            continue
        if len(have) < 2:
            raise DataError(
                f"folder '{folder.name}' must hold {' and '.join(names)} as idx files, "
                f"got {listing(path.name for path in files.values())}"
            )
        x, y = (read_idx(files[name]) for name in names)
        if len(x) != len(y) or y.ndim != 1:
            raise DataError(
                f"folder '{folder.name}' has {len(x)} {split} images but labels of shape "
                f"{y.shape}; they must match"
            )
        arrays[f"x{suffix}"], arrays[f"y{suffix}"] = x[:, None] if x.ndim == 3 else x, y
    return Arrays(**arrays)  # type: ignore[arg-type]
