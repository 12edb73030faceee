"""RandAugment: each of its moves is Pillow's, and what is drawn for an image happens to it."""

import pytest
import torch
from PIL import Image, ImageEnhance, ImageOps
from tests.data.test_augment_moves import colours

from neurarium.data.augment import RandAugment
from neurarium.data.augment.random_policy import _CHANGES, _MOVES

NAMES = [*_MOVES, *_CHANGES]
PILLOW = {
    "autocontrast": lambda image, s: ImageOps.autocontrast(image),
    "equalize": lambda image, s: ImageOps.equalize(image),
    "solarize": lambda image, s: ImageOps.solarize(image, 256 - round(256 * abs(s))),
    "posterize": lambda image, s: ImageOps.posterize(image, 8 - int(4 * abs(s))),
    "colour": lambda image, s: ImageEnhance.Color(image).enhance(1 + 0.9 * s),
    "contrast": lambda image, s: ImageEnhance.Contrast(image).enhance(1 + 0.9 * s),
    "brightness": lambda image, s: ImageEnhance.Brightness(image).enhance(1 + 0.9 * s),
    "sharpness": lambda image, s: ImageEnhance.Sharpness(image).enhance(1 + 0.9 * s),
}


def moved(name, images, strength, **batch):
    kinds = torch.full((len(images),), NAMES.index(name))
    strengths = torch.full((len(images),), float(strength))
    return RandAugment()._apply({"input": images, **batch}, kinds, strengths)


def dim_colours(n=3):
    """Images of 40 x 30 whose channels reach neither black nor white."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(n, 3, 8, 6, generator=generator)
    wide = torch.nn.functional.interpolate(coarse, (40, 30), mode="bilinear")
    return (30 + 170 * wide).round().to(torch.uint8)


@pytest.mark.parametrize("strength", [-1.0, -0.4, 0.0, 0.5, 1.0])
@pytest.mark.parametrize("name", PILLOW)
def test_a_change_is_pillows_to_one_value_of_256(name, strength):
    images = dim_colours()
    ours = moved(name, images, strength)["input"]
    for image, own in zip(images, ours, strict=True):
        theirs = PILLOW[name](Image.fromarray(image.movedim(0, 2).numpy()), strength)
        theirs = torch.frombuffer(bytearray(theirs.tobytes()), dtype=torch.uint8)
        apart = (own.movedim(0, 2).flatten().int() - theirs.int()).abs()
        # Pillow cuts what we round; equalize, solarize and posterize count in whole numbers.
        assert apart.max() <= (0 if name in ("equalize", "solarize", "posterize") else 1)


def test_every_change_but_that_of_none_is_tested():
    assert set(PILLOW) == set(_CHANGES)
    assert len(_MOVES) + len(_CHANGES) + 1 == 14


@pytest.mark.parametrize("name", PILLOW)
def test_floats_change_as_whole_numbers_do(name):
    images = dim_colours()
    whole = moved(name, images, 0.7)["input"].float() / 255
    torch.testing.assert_close(
        moved(name, images / 255, 0.7)["input"], whole, rtol=0, atol=0.51 / 255
    )


@pytest.mark.parametrize(
    ("name", "to"),
    [
        # The point (5, 1) of an image of 8 x 8, (1, -3) from its centre, at strength 1/2.
        ("rotate", (4 + 0.9659 - 3 * 0.2588, 4 - 3 * 0.9659 - 0.2588)),  # by 15 degrees
        ("shear x", (5 - 3 * 0.15, 1)),
        ("shear y", (5, 1 + 0.15)),
        ("shift x", (5 + 0.225 * 8, 1)),
        ("shift y", (5, 1 + 0.225 * 8)),
    ],
)
def test_boxes_move_where_the_pixels_do(name, to):
    boxes = torch.tensor([[[5.0, 1.0, 5.001, 1.001]]])
    box = moved(name, torch.zeros(1, 1, 8, 8), 0.5, boxes=boxes)["boxes"][0, 0]
    torch.testing.assert_close(box[:2], torch.tensor(to), rtol=0, atol=2e-3)


@pytest.mark.parametrize("name", ["shift x", "shift y"])
def test_a_shift_is_by_a_share_of_the_side_into_the_fill(name):
    images = colours(1, dtype=torch.float32)[:, :, :8, :10].clone()
    side = images.shape[3 if name == "shift x" else 2]
    strength = 2 / (0.45 * side)  # two pixels
    y = RandAugment(fill=0.25)._apply(
        {"input": images}, torch.tensor([NAMES.index(name)]), torch.tensor([strength])
    )["input"]
    axis = 3 if name == "shift x" else 2
    torch.testing.assert_close(y.narrow(axis, 2, side - 2), images.narrow(axis, 0, side - 2))
    assert (y.narrow(axis, 0, 2) - 0.25).abs().max() < 1e-5


def test_no_move_is_the_identity_and_so_is_the_fourteenth():
    images = colours(4)
    assert torch.equal(RandAugment(0)(images), images)
    none = RandAugment()._apply({"input": images}, torch.full((4,), 13), torch.ones(4))
    assert torch.equal(none["input"], images)


def test_images_of_one_batch_have_the_moves_that_were_drawn_for_each():
    images = dim_colours(13)
    strengths = torch.linspace(-0.8, 1, 13)
    together = RandAugment()._apply({"input": images}, torch.arange(13), strengths)["input"]
    for row, name in enumerate(NAMES):
        alone = moved(name, images[row : row + 1], strengths[row])["input"][0]
        assert torch.equal(together[row], alone)


def test_all_fourteen_are_drawn_with_both_signs(monkeypatch):
    seen = []
    apply = RandAugment._apply
    monkeypatch.setattr(
        RandAugment,
        "_apply",
        lambda self, batch, kinds, strengths: (
            seen.append((kinds, strengths)) or apply(self, batch, kinds, strengths)
        ),
    )
    torch.manual_seed(0)
    RandAugment(3, strength=4)(colours(2_000))
    assert len(seen) == 3
    for kinds, strengths in seen:
        counts = kinds.bincount(minlength=14)
        assert counts.min() > 100  # 143 expected, deviation 12
        assert len(counts) == 14
        assert strengths.unique().tolist() == pytest.approx([-0.4, 0.4])
    assert not torch.equal(seen[0][0], seen[1][0])


def test_wrong_arguments_are_told(unchecked):
    with pytest.raises(ValueError, match="n must be at least 0, got -1"):
        RandAugment(-1)
    with pytest.raises(ValueError, match=r"strength must lie in \[0, 10\], got 30"):
        RandAugment(strength=30)
