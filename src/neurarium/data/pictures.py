"""Picture files, in folders or archives, as one uint8 tensor."""

import io
import os
import tarfile
import zipfile
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from neurarium.data.errors import DataError

SUFFIXES = frozenset(
    [".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".pgm", ".ppm", ".pbm"]
)
ARCHIVES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".zip")
_LARGEST_SIDE = 224  # of a size nobody asked for: photographs would fill the memory
_SAMPLE = 500  # pictures looked at to choose size and channels


@dataclass(frozen=True)
class Picture:
    """A picture not yet decoded: its path, and its bytes if it lies in an archive."""

    path: PurePosixPath
    place: Path | bytes

    def open(self) -> Any:
        """A Pillow image, header read only."""
        from PIL import Image

        return Image.open(io.BytesIO(self.place) if isinstance(self.place, bytes) else self.place)


def find_pictures(source: Path) -> list[Picture]:
    """Every picture file below a folder or inside an archive, sorted by path.

    Archives are read in memory and nothing is unpacked, so no member can write anywhere.
    """
    members = _from_archive(source) if source.is_file() else _from_folder(source)
    return sorted((m for m in members if _is_picture(m.path)), key=lambda m: str(m.path))


def _is_picture(path: PurePosixPath) -> bool:
    hidden = any(part.startswith((".", "__MACOSX")) for part in path.parts)
    return path.suffix.lower() in SUFFIXES and not hidden


def _from_folder(folder: Path) -> list[Picture]:
    return [
        Picture(PurePosixPath(path.relative_to(folder).as_posix()), path)
        for path in folder.rglob("*")
        if path.is_file()
    ]


def _from_archive(path: Path) -> list[Picture]:
    try:
        if path.suffix.lower() == ".zip":
            with zipfile.ZipFile(path) as zipped:
                names = [name for name in zipped.namelist() if _is_picture(PurePosixPath(name))]
                return [Picture(PurePosixPath(name), zipped.read(name)) for name in names]
        with tarfile.open(path) as tarred:
            return [
                Picture(PurePosixPath(member.name), file.read())
                for member in tarred
                if member.isfile() and (file := tarred.extractfile(member)) is not None
            ]
    except (OSError, EOFError, tarfile.TarError, zipfile.BadZipFile) as error:
        raise DataError(f"'{path.name}' is a damaged archive ({error}); get it again") from error


def choose_format(pictures: Sequence[Picture]) -> tuple[int, tuple[int, int], bool]:
    """Channels, the commonest (height, width), and whether any picture seen differs from it.

    Grey if all pictures are; looks at an even sample of a large set.
    """
    sample = pictures[:: 1 + len(pictures) // _SAMPLE]
    sizes: Counter[tuple[int, int]] = Counter()
    channels = 1
    for picture in sample:
        with _open(picture) as image:
            sizes[image.height, image.width] += 1
            if image.mode not in ("1", "L", "LA"):
                channels = 3
    (height, width), _ = sizes.most_common(1)[0]
    shrink = min(1.0, _LARGEST_SIDE / max(height, width))
    size = max(1, round(height * shrink)), max(1, round(width * shrink))
    return channels, size, set(sizes) != {size}


def decode(
    pictures: Sequence[Picture], channels: int, size: tuple[int, int]
) -> UInt8[Tensor, "n channels height width"]:
    """All pictures at one size, decoded in parallel (Pillow frees the interpreter meanwhile).

    Raises:
        DataError: at a file that cannot be decoded, by name.
    """
    pixels = np.empty((len(pictures), channels, *size), dtype=np.uint8)

    def fill(rows: range) -> None:
        for i in rows:
            with _open(pictures[i]) as image:
                try:
                    pixels[i] = to_pixels(image, channels, size)
                except (OSError, SyntaxError, ValueError) as error:
                    raise _broken(pictures[i], error) from error

    workers = os.cpu_count() or 1
    step = max(1, min(256, len(pictures) // workers))
    chunks = [range(i, min(i + step, len(pictures))) for i in range(0, len(pictures), step)]
    with ThreadPoolExecutor(workers) as pool:
        for _ in pool.map(fill, chunks):
            pass
    return torch.from_numpy(pixels)


def to_pixels(image: Any, channels: int, size: tuple[int, int]) -> np.ndarray:
    """A Pillow image as (channels, height, width), turned upright as its camera says."""
    from PIL import Image, ImageOps

    mode = "L" if channels == 1 else "RGB"
    ImageOps.exif_transpose(image, in_place=True)
    if image.mode != mode:
        image = image.convert(mode)
    if (image.height, image.width) != size:
        image = image.resize(size[::-1], Image.Resampling.BILINEAR)
    array = np.asarray(image)
    return array[None] if channels == 1 else array.transpose(2, 0, 1)


def _open(picture: Picture) -> Any:
    from PIL import Image

    try:
        return picture.open()
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise _broken(picture, error) from error


def _broken(picture: Picture, error: Exception) -> DataError:
    reason = str(error).split(" <")[0].split(" '/")[0]  # without an address in memory or on disk
    return DataError(
        f"picture '{picture.path}' cannot be read ({reason}); replace or remove the file"
    )
