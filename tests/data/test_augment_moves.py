"""Moves of pixels: exact where pixels are whole, scipy's where they are not."""

import numpy as np
import pytest
import scipy.ndimage
import torch
from torch.nn import functional as F

from neurarium.data.augment import (
    Affine,
    Crop,
    Elastic,
    Flip,
    Rotate,
    Scale,
    Shear,
    Shift,
)
from neurarium.data.augment.affine import _smooth, bend, warp

GEOMETRIC = [
    Crop(2),
    Crop(0, (5, 6)),
    Flip(),
    Flip(axis="vertical"),
    Shift((1, 3)),
    Shift(2, p=0.5),
    Affine((-40, 40), 0.2, (0.7, 1.3), 20),
    Rotate(180),
    Scale(0.5, 2),
    Shear(30, p=0.5),
]
EXACT = [*GEOMETRIC[:6], Rotate((90, 90)), Rotate((180, 180)), Rotate((-90, -90))]


def colours(n: int = 6, dtype: torch.dtype = torch.float32, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(n, 3, 8, 10, generator=generator)
    return x.to(dtype) if dtype.is_floating_point else (x * 256).to(dtype)


# Whole pixels: exact


def test_a_flip_is_the_reversed_image_and_two_are_none():
    x = colours(dtype=torch.uint8)
    assert torch.equal(Flip(1)(x), x.flip(3))
    assert torch.equal(Flip(1, "vertical")(x), x.flip(2))
    assert torch.equal(Flip(1)(Flip(1)(x)), x)


def test_a_shift_is_a_slice_of_the_padded_image():
    x = colours(300, torch.uint8)
    torch.manual_seed(0)
    y = Shift((2, 1))(x)
    padded = F.pad(x, (1, 1, 2, 2))
    found = set()
    for old, new in zip(padded, y, strict=True):
        places = [
            (i, j)
            for i in range(5)
            for j in range(3)
            if torch.equal(new, old[:, i : i + 8, j : j + 10])
        ]
        assert len(places) == 1
        found.add(places[0])
    assert len(found) == 15  # every shift occurs, none beyond


def test_a_crop_is_a_window_of_the_padded_image():
    x = torch.arange(1, 81.0).reshape(1, 1, 8, 10).expand(500, 1, 8, 10)
    torch.manual_seed(0)
    y = Crop(1, (4, 5))(x)
    assert y.shape == (500, 1, 4, 5)
    padded = F.pad(x[0, 0], (1, 1, 1, 1))
    windows = padded.unfold(0, 4, 1).unfold(1, 5, 1).reshape(-1, 4, 5)  # 7 x 8 of them
    matches = (y == windows).flatten(2).all(2)
    assert (matches.sum(1) == 1).all()
    assert matches.any(0).all()


def test_without_a_draw_the_crop_is_the_middle():
    x = colours()
    assert torch.equal(Crop(0, 4, p=0)(x), x[:, :, 2:6, 3:7])


@pytest.mark.parametrize(
    ("border", "theirs"), [("zeros", "constant"), ("border", "edge"), ("reflection", "reflect")]
)
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_borders_are_numpys(border, theirs, dtype):
    x = colours(40, dtype)
    torch.manual_seed(0)
    y = Shift((3, 2), border)(x)
    padded = np.pad(x.numpy(), ((0, 0), (0, 0), (3, 3), (2, 2)), mode=theirs)
    views = np.lib.stride_tricks.sliding_window_view(padded, (8, 10), (2, 3))  # n c 7 5 8 10
    same = (views == y.numpy()[:, :, None, None]).all((1, 4, 5))
    assert same.any((1, 2)).all()


# Between pixels


@pytest.mark.parametrize(("degrees", "turns"), [(90, 1), (180, 2), (270, 3), (-90, 3)])
def test_quarter_turns_are_rot90(degrees, turns):
    x = colours(dtype=torch.uint8)[..., :8]
    assert torch.equal(Rotate((degrees, degrees))(x), x.rot90(turns, (2, 3)))


def test_the_identity_keeps_every_byte():
    x = colours() * 1e3
    assert torch.equal(Affine(0, 0, (1, 1))(x), x)
    assert torch.equal(Rotate(0)(x), x)


def test_a_whole_pixel_translation_is_a_shift():
    x = colours(dtype=torch.float64)
    right_2_up_1 = torch.tensor([[1.0, 0, 2], [0, 1, -1]]).expand(len(x), 2, 3)
    torch.testing.assert_close(
        warp(x, right_2_up_1), F.pad(x, (2, 0, 0, 1))[:, :, 1:, :10], atol=1e-6, rtol=0
    )


def test_warping_is_scipys_affine_transform():
    x = colours(dtype=torch.float64)
    matrix = torch.tensor([[0.9, 0.3, 1.2], [-0.2, 1.1, -0.7]], dtype=torch.float64)
    y = warp(x, matrix.expand(len(x), 2, 3))
    # scipy asks where a pixel (row, column) comes from; our centre is that of the image's area.
    back = torch.linalg.inv(matrix[:, :2]).flip(0, 1).numpy()
    center = np.array([3.5, 4.5])
    shift = matrix[:, 2].flip(0).numpy()
    offset = center - back @ (center + shift)
    expected = scipy.ndimage.affine_transform(
        x[0, 0].numpy(), back, offset, order=1, mode="grid-constant"
    )
    np.testing.assert_allclose(y[0, 0], expected, atol=1e-12)


def test_a_fill_comes_in_from_outside():
    x = torch.full((1, 1, 8, 8), 5.0)
    y = Scale(0.5, 0.5, fill=3)(x)
    torch.testing.assert_close(y[0, 0, 2:6, 2:6], torch.full((4, 4), 5.0))
    torch.testing.assert_close(y[0, 0, :2], torch.full((2, 8), 3.0))


def test_a_zoom_by_two_repeats_pixels():
    x = colours(1)
    y = Scale(2, 2, "nearest")(x)
    expected = x[:, :, 2:6, 2:7].repeat_interleave(2, 2)
    # 10 columns: 5 old ones, from the half pixel 2.5 on.
    assert y.shape == x.shape
    torch.testing.assert_close(y[..., 1:3], expected[..., [1, 1]])


def test_a_positive_shear_leans_to_the_right():
    x = torch.zeros(1, 1, 9, 9)
    x[..., 4] = 1
    y = Shear((45, 45))(x)
    # Row i is 4 - i above the centre and goes that far to the right.
    torch.testing.assert_close(y[0, 0], torch.eye(9).flip(1), atol=1e-5, rtol=0)


def test_an_affine_map_slants_then_turns_then_zooms_then_shifts():
    x = torch.zeros(300, 1, 8, 10)
    torch.manual_seed(0)
    drawn = Affine((90, 90), 0.5, (2, 2), (45, 45))._matrices(x)
    # By hand: (x, y) slants to (x - y, y), a quarter turn against the clock takes (x, y) to
    # (y, -x), so (x, y) ends at 2 (y, y - x).
    expected = torch.tensor([[0.0, 2], [-2, 2]]).expand(300, 2, 2)
    torch.testing.assert_close(drawn[:, :, :2], expected)
    shifts = drawn[:, :, 2]
    assert (shifts.abs().amax(0) <= torch.tensor([5.0, 4])).all()  # half of width and height
    assert (shifts.abs().amax(0) > torch.tensor([4.8, 3.8])).all()
    assert torch.corrcoef(shifts.T)[0, 1].abs() < 0.2


def test_bending_is_scipys_map_coordinates():
    x = colours(dtype=torch.float64)
    torch.manual_seed(0)
    field = 2 * torch.randn(len(x), 2, 8, 10, dtype=torch.float64)
    y = bend(x, field)
    rows, columns = np.mgrid[:8, :10]
    places = [rows + field[1, 1].numpy(), columns + field[1, 0].numpy()]
    expected = scipy.ndimage.map_coordinates(x[1, 2].numpy(), places, order=1, mode="nearest")
    np.testing.assert_allclose(y[1, 2], expected, atol=1e-6)


def test_the_elastic_field_is_blurred_as_scipy_does():
    torch.manual_seed(0)
    field = torch.rand(2, 2, 20, 24)
    expected = scipy.ndimage.gaussian_filter(field[1, 0].numpy(), 2, mode="constant", truncate=3)
    np.testing.assert_allclose(_smooth(field, 2)[1, 0], expected, atol=1e-6)


def test_the_elastic_displacement_is_as_strong_as_alpha():
    torch.manual_seed(0)
    drawn = Elastic(34, 4)._draw(torch.zeros(200, 1, 29, 29))
    # A mean of uniforms of variance 1/3 under weights of sum of squares 1/(4 pi sigma^2).
    expected = 34 * (1 / 3 / (4 * np.pi * 16)) ** 0.5
    assert drawn[:, :, 14, 14].std() == pytest.approx(expected, rel=0.1)


# Boxes and masks


def scene(n: int = 40) -> dict[str, torch.Tensor]:
    """A bright rectangle in each image, its mask and its box; the second, a line, is none."""
    torch.manual_seed(3)
    x, boxes = torch.zeros(n, 1, 9, 9), torch.tensor([4.0, 3, 4, 7]).repeat(n, 2, 1)
    for i in range(n):
        (left, right), (top, bottom) = (torch.randperm(10)[:2].sort().values for _ in "xy")
        x[i, 0, top:bottom, left:right] = 1
        boxes[i, 0] = torch.tensor([left, top, right, bottom])
    return {"input": x, "boxes": boxes, "masks": x[:, 0] > 0}


def bounding(mask: torch.Tensor) -> torch.Tensor:
    if not mask.any():
        return torch.zeros(4)
    rows, columns = mask.any(1).nonzero()[:, 0], mask.any(0).nonzero()[:, 0]
    return torch.stack((columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)).float()


@pytest.mark.parametrize("kind", EXACT, ids=repr)
def test_whole_pixel_moves_keep_boxes_tight_around_masks(kind):
    batch = kind(scene())
    assert torch.equal(batch["masks"], batch["input"][:, 0] > 0.5)
    for box, mask in zip(batch["boxes"], batch["masks"], strict=True):
        torch.testing.assert_close(box[0], bounding(mask), atol=1e-5, rtol=0)
    assert (batch["boxes"][:, 1] == 0).all()


@pytest.mark.parametrize("kind", GEOMETRIC, ids=repr)
def test_boxes_hold_what_they_held(kind):
    torch.manual_seed(0)
    batch = kind(scene())
    assert batch["masks"].dtype == torch.bool
    assert (batch["boxes"][:, 1] == 0).all()
    for (box, _), mask in zip(batch["boxes"], batch["masks"], strict=True):
        tight = bounding(mask)
        # A nearest pixel belongs to the mask by its centre, so it sticks out by half at most.
        assert not mask.any() or (box[:2] <= tight[:2] + 0.501).all()
        assert not mask.any() or (box[2:] >= tight[2:] - 0.501).all()


def test_an_elastic_bend_moves_masks_with_the_image_and_refuses_boxes(unchecked):
    batch = scene()
    with pytest.raises(ValueError, match="Elastic cannot move boxes"):
        Elastic()(batch)
    del batch["boxes"]
    torch.manual_seed(0)
    moved = Elastic(20, 3, "nearest")(batch)
    assert torch.equal(moved["masks"], moved["input"][:, 0] > 0)
    assert not torch.equal(moved["masks"], batch["masks"])
