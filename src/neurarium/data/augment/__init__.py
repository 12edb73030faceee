"""Data augmentation: training images changed at random, on the device, a whole batch at once."""

from neurarium.data.augment.affine import Affine, Elastic, Rotate, Scale, Shear
from neurarium.data.augment.chain import Compose, compose
from neurarium.data.augment.colour import ColorJitter, Noise, PCAColor
from neurarium.data.augment.erasing import Cutout, Erase
from neurarium.data.augment.mixing import CutMix, Mixup
from neurarium.data.augment.neural import NeuralAugment
from neurarium.data.augment.random_policy import RandAugment
from neurarium.data.augment.texture import (
    PatchShuffle,
    Stylize,
    amplitude_swap,
    patch_shuffle,
    stylize,
)
from neurarium.data.augment.windows import Crop, Flip, Shift

__all__ = [
    "Affine",
    "ColorJitter",
    "Compose",
    "Crop",
    "CutMix",
    "Cutout",
    "Elastic",
    "Erase",
    "Flip",
    "Mixup",
    "NeuralAugment",
    "Noise",
    "PCAColor",
    "PatchShuffle",
    "RandAugment",
    "Rotate",
    "Scale",
    "Shear",
    "Shift",
    "Stylize",
    "amplitude_swap",
    "compose",
    "patch_shuffle",
    "stylize",
]
