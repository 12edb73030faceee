"""Folders of pictures, one per class, as splits and labels."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import torch
from torch import Tensor

from neurarium.data.arrays import codes_of
from neurarium.data.errors import DataError, listing
from neurarium.data.pictures import Picture, decode, find_pictures, to_pixels
from neurarium.data.targets import Target

_SPLITS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}


class ImagePreprocessing:
    """Picture files or arrays as uint8 (N, channels, height, width) of the size trained on.

    Args:
        channels: 1 for grey, 3 for colour.
        size: height and width; other sizes are resized.
    """

    def __init__(self, channels: int, size: tuple[int, int], target: Target | None = None) -> None:
        self.channels, self.size, self.target = channels, size, target
        self.features = ["grey"] if channels == 1 else ["red", "green", "blue"]

    @property
    def classes(self) -> list[str] | None:
        return None if self.target is None else self.target.classes

    def transform(self, source: Any, with_target: bool = False) -> dict[str, Tensor]:
        """Pictures as `input` (and `target`, if asked, from the pair (pictures, labels)).

        Args:
            source: a path, a folder, or a list of paths, Pillow images or arrays (H, W) or
                (H, W, 3); or a tensor (N, channels, H, W) of the size trained on.
        """
        pictures, labels = source if with_target else (source, None)
        batch = {"input": self._pixels(pictures)}
        if with_target:
            assert self.target is not None
            batch["target"] = self.target.encode(codes_of(labels, self.target))
        return batch

    def _pixels(self, source: Any) -> Tensor:
        shape = (self.channels, *self.size)
        if isinstance(source, Tensor | np.ndarray) and tuple(source.shape[1:]) == shape:
            return torch.as_tensor(source).to(torch.uint8)
        if isinstance(source, str | Path):
            source = _paths(Path(source))
        if not len(source):
            raise DataError("there are no pictures to transform; pass at least one")
        if all(isinstance(one, str | Path) for one in source):
            pictures = [Picture(PurePosixPath(path), Path(path)) for path in source]
            return decode(pictures, self.channels, self.size)
        pixels = [to_pixels(_as_image(one), self.channels, self.size) for one in source]
        return torch.from_numpy(np.stack(pixels))

    def decode(self, output: Tensor) -> np.ndarray:
        """A network's output as class labels."""
        assert self.target is not None
        return self.target.decode(output)

    def to_json(self) -> dict[str, Any]:
        """Everything fitted, as plain values."""
        target = None if self.target is None else self.target.to_json()
        size = list(self.size)
        return {"kind": "image", "channels": self.channels, "size": size, "target": target}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "ImagePreprocessing":
        target = None if values["target"] is None else Target.from_json(values["target"])
        height, width = values["size"]
        return cls(values["channels"], (height, width), target)


def _paths(source: Path) -> list[Path]:
    if not source.is_dir():
        return [source]
    return [source / picture.path for picture in find_pictures(source)]


def _as_image(one: Any) -> Any:
    from PIL import Image

    if isinstance(one, Image.Image):
        return one.copy()  # it may be turned upright in place
    array = one.cpu().numpy() if isinstance(one, Tensor) else np.asarray(one)
    if array.dtype != np.uint8 or array.ndim not in (2, 3):
        raise DataError(
            f"a picture must be a uint8 array (H, W) or (H, W, 3), got {array.dtype} "
            f"{array.shape}; scale it to 0 ... 255 and call .astype('uint8')"
        )
    return Image.fromarray(array[..., 0] if array.ndim == 3 and array.shape[2] == 1 else array)


@dataclass(frozen=True)
class Labelled:
    """Pictures of one split and the class of each."""

    pictures: list[Picture]
    labels: list[str]


def find_labelled(source: Path) -> dict[str, Labelled]:
    """The pictures of each split, by folder: CLASS/x.png or train/CLASS/x.png, test/CLASS/x.png.

    Without such splits all pictures are "train".

    Raises:
        DataError: if there are no pictures, or none in folders of classes.
    """
    pictures = find_pictures(source)
    if not pictures:
        raise DataError(
            f"'{source.name}' holds no pictures; put them into one folder per class, or pass a "
            "file (CSV, Parquet, .npz) or a folder of idx files"
        )
    below = _common_depth([picture.path for picture in pictures])
    splits: dict[str, Labelled] = {}
    for picture in pictures:
        parts = picture.path.parts[below:]
        split = _SPLITS.get(parts[0].lower(), "train") if len(parts) > 2 else "train"
        label = parts[1] if len(parts) > 2 and parts[0].lower() in _SPLITS else parts[0]
        found = splits.setdefault(split, Labelled([], []))
        if len(parts) > 1:
            found.pictures.append(picture)
            found.labels.append(label)
    _check(source, splits)
    return splits


def _common_depth(paths: Sequence[PurePosixPath]) -> int:
    """How many outer folders hold everything and so say nothing (an archive's own name)."""
    depth = 0
    while (
        all(len(path.parts) > depth + 2 for path in paths)
        and len({path.parts[depth] for path in paths}) == 1
        and paths[0].parts[depth].lower() not in _SPLITS
    ):
        depth += 1
    return depth


def _check(source: Path, splits: dict[str, Labelled]) -> None:
    train = splits.get("train", Labelled([], []))
    classes = set(train.labels)
    if len(classes) < 2:
        raise DataError(
            f"'{source.name}' must hold one folder of pictures per class, at least two, found "
            f"{listing(sorted(classes))}; move the pictures into CLASS/ or train/CLASS/"
        )
    for name, split in splits.items():
        if unknown := sorted(set(split.labels) - classes):
            raise DataError(
                f"the {name} folder has the classes {listing(unknown)}, which have no training "
                "pictures; add some or remove the folders"
            )
