import functools
import inspect
import os
import signal

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance
from tests.data.test_augment_moves import bounding, colours
from torch.nn import functional as F

from neurarium.data import Data, augment, load
from neurarium.data.augment import (
    Affine,
    ColorJitter,
    Compose,
    Crop,
    CutMix,
    Cutout,
    Elastic,
    Erase,
    Flip,
    Mixup,
    Noise,
    PatchShuffle,
    PCAColor,
    RandAugment,
    Rotate,
    Scale,
    Shear,
    Shift,
    Stylize,
    amplitude_swap,
    patch_shuffle,
    stylize,
)
from neurarium.data.augment.colour import brighten, saturate, stretch, turn_hue
from neurarium.learning import Backprop
from neurarium.losses import cross_entropy
from neurarium.networks import MLP
from neurarium.training import Callback, Interrupted, fit

KINDS = [
    Affine(),
    ColorJitter(hue=0.1),
    Compose(["flip", "crop:2", "cutout:3"]),
    Crop(2),
    Cutout(3),
    Elastic(8, 2),
    Erase(),
    Flip(),
    Noise(),
    PCAColor(),
    PatchShuffle(2, p=0.5),
    RandAugment(),
    Rotate(),
    Scale(),
    Shear(),
    Shift(2),
    Stylize(torch.rand(8, 3, 8, 10)),
]
# Every kind


def test_every_class_is_in_these_tests():
    classes = {v for n in augment.__all__ if isinstance(v := getattr(augment, n), type)}
    assert classes - {type(kind) for kind in KINDS} == {Mixup, CutMix, augment.NeuralAugment}


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.float64])
@pytest.mark.parametrize("kind", KINDS, ids=repr)
def test_type_and_range_are_kept_and_the_input_is_not_touched(kind, dtype):
    x = colours(dtype=dtype)
    before = x.clone()
    torch.manual_seed(0)
    y = kind(x)
    assert (y.dtype, y.shape) == (x.dtype, x.shape)
    assert torch.equal(x, before)
    assert not torch.equal(y, x)
    if not isinstance(kind, Stylize):  # a swap of amplitudes may leave the range
        assert y.min() >= 0
        assert y.max() <= (1 if dtype.is_floating_point else 255)


@pytest.mark.parametrize("kind", KINDS, ids=repr)
def test_a_seed_repeats_the_draws_and_batches_differ(kind):
    x = colours(32)
    torch.manual_seed(1)
    first, second = kind(x), kind(x)
    torch.manual_seed(1)
    batch = kind({"input": x, "target": torch.arange(32)})
    assert torch.equal(batch["input"], first)
    assert torch.equal(batch["target"], torch.arange(32))
    assert not torch.equal(first, second)


@pytest.mark.parametrize("kind", KINDS, ids=repr)
def test_each_image_has_a_draw_of_its_own(kind):
    x = colours(1).expand(64, -1, -1, -1)
    torch.manual_seed(0)
    y = kind(x)
    assert len({row.numpy().tobytes() for row in y}) > (1 if isinstance(kind, Flip) else 3)


@pytest.mark.parametrize("kind", [k for k in KINDS if hasattr(k, "p")], ids=repr)
def test_p_is_the_share_of_images_that_change(kind):
    names = [n for n in inspect.signature(type(kind)).parameters if n != "p"]
    arguments = {name: getattr(kind, name) for name in names}
    x = colours(400)
    torch.manual_seed(0)
    never = type(kind)(**arguments, p=0)
    assert torch.equal(never(x), x)
    half, always = (
        (type(kind)(**arguments, p=p)(x) != x).flatten(1).any(1).float().mean() for p in (0.5, 1)
    )
    # A shift by 0, a hole outside...: even at p = 1 some images stay. 0.1 is 4 deviations.
    assert half == pytest.approx(float(always) / 2, abs=0.1)
    assert always > 0.8


@pytest.mark.parametrize("kind", [k for k in KINDS if not isinstance(k, Stylize)], ids=repr)
def test_the_repr_builds_it_again(kind):
    assert repr(eval(repr(kind), vars(augment))) == repr(kind)


@pytest.mark.parametrize("kind", [k for k in KINDS if not isinstance(k, Stylize)], ids=repr)
def test_grey_images_work_but_for_colour_axes(kind, unchecked):
    x = colours()[:, :1]
    if isinstance(kind, PCAColor):
        with pytest.raises(ValueError, match=r"PCAColor needs images of 3 channels.*got 1"):
            kind(x)
    else:
        assert kind(x).shape == x.shape


# Colour


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (brighten, ImageEnhance.Brightness),
        (stretch, ImageEnhance.Contrast),
        (saturate, ImageEnhance.Color),
    ],
)
@pytest.mark.parametrize("factor", [0.0, 0.6, 1.0, 1.4])
def test_colours_change_as_in_pillow(ours, theirs, factor):
    x = colours(1, torch.uint8)
    y = ours(x.float(), torch.tensor([factor])).clamp(0, 255)
    expected = theirs(Image.fromarray(x[0].permute(1, 2, 0).numpy())).enhance(factor)
    # Pillow rounds the grey value before it blends.
    np.testing.assert_allclose(y[0].permute(1, 2, 0), np.asarray(expected, float), atol=1.5)


def test_hue_turns_colours_about_grey():
    x = colours(dtype=torch.float64)
    luminance = torch.tensor([0.299, 0.587, 0.114], dtype=torch.float64)

    def grey(x):
        return torch.einsum("c,nchw->nhw", luminance, x)

    third = turn_hue(x, torch.full((6,), 1 / 3))
    torch.testing.assert_close(grey(third), grey(x), atol=1e-5, rtol=0)
    assert (third - x).abs().max() > 0.3
    whole = turn_hue(turn_hue(third, torch.full((6,), 1 / 3)), torch.full((6,), 1 / 3))
    torch.testing.assert_close(whole, x, atol=1e-6, rtol=0)
    flat = x.mean(1, keepdim=True).expand_as(x)
    torch.testing.assert_close(turn_hue(flat, torch.rand(6)), flat, atol=1e-5, rtol=0)


def test_noise_has_its_deviation_as_a_share_of_white():
    torch.manual_seed(0)
    y = Noise(0.05)(torch.full((20, 1, 30, 30), 128, dtype=torch.uint8)).float()
    assert y.std() == pytest.approx(0.05 * 255, rel=0.02)
    z = Noise(0.05, white=16)(torch.full((20, 1, 30, 30), 8.0))
    assert z.std() == pytest.approx(0.05 * 16, rel=0.02)
    assert Noise(3, white=16)(torch.full((2, 1, 9, 9), 8, dtype=torch.uint8)).max() == 16


def test_colour_shifts_lie_along_the_principal_axes():
    torch.manual_seed(0)
    axis = torch.tensor([2.0, 1, 2]) / 3
    x = torch.full((2000, 3, 2, 2), 0.5)
    shift = PCAColor(0.5, (0.2 * torch.outer(axis, axis)).tolist())(x)[:, :, 0, 0] - 0.5
    torch.testing.assert_close(shift - (shift @ axis)[:, None] * axis, 0 * shift, atol=1e-6, rtol=0)
    assert (shift @ axis).std() == pytest.approx(0.5 * 0.2, rel=0.05)


def test_the_batchs_own_covariance_is_the_default():
    x = colours(50, torch.float64) * 0.2 + 0.4
    covariance = np.cov(x.movedim(1, 0).flatten(1).numpy(), bias=True)
    torch.manual_seed(0)
    ours = PCAColor()(x)
    torch.manual_seed(0)
    torch.testing.assert_close(ours, PCAColor(covariance=covariance.tolist())(x))


# Holes


def test_a_cutout_is_a_square_cut_at_the_border():
    torch.manual_seed(0)
    x = torch.ones(4000, 2, 6, 7)
    hole = Cutout(3)(x) == 0
    assert torch.equal(hole[:, 0], hole[:, 1])
    areas = hole[:, 0].sum((1, 2))
    # 3 x 3 about each of 6 x 7 centres: a row of the square is lost at either end.
    heights, widths = [2, 3, 3, 3, 3, 2], [2, 3, 3, 3, 3, 3, 2]
    assert areas.float().mean() == pytest.approx(np.mean(heights) * np.mean(widths), abs=0.1)
    assert set(areas.tolist()) == {4, 6, 9}
    for mask in hole[:50, 0]:
        left, top, right, bottom = bounding(mask).tolist()
        assert mask.sum() == (right - left) * (bottom - top)


def test_an_even_cutout_of_the_middle_is_whole():
    torch.manual_seed(0)
    areas = (Cutout(4, fill=9)(torch.zeros(500, 1, 20, 20)) == 9).sum((1, 2, 3))
    assert areas.max() == 16
    assert areas.min() >= 4


def test_an_erased_rectangle_has_the_areas_and_shapes_asked_for():
    torch.manual_seed(0)
    x = torch.ones(600, 1, 60, 60)
    hole = (Erase((0.1, 0.2), (0.5, 2), fill=0, p=1)(x) == 0)[:, 0]
    share = hole.float().mean((1, 2))
    assert 0.095 < share.min() < 0.11
    assert 0.19 < share.max() < 0.21
    boxes = torch.stack([bounding(mask) for mask in hole])
    sides = boxes[:, 2:] - boxes[:, :2]
    assert torch.equal(hole.sum((1, 2)).float(), sides.prod(1))
    ratio = sides[:, 1] / sides[:, 0]
    assert 0.47 < ratio.min() < 0.6
    assert 1.7 < ratio.max() < 2.1
    assert (boxes[:, :2].min(0).values == 0).all()
    assert (boxes[:, 2:].max(0).values == 60).all()


def test_erased_pixels_are_noise_within_the_values_of_the_batch():
    torch.manual_seed(0)
    x = torch.tensor([20, 40], dtype=torch.uint8).repeat(200)[:, None, None, None]
    y = Erase((1, 1), (1, 1), p=1)(x.expand(-1, 1, 10, 10))
    assert (int(y.min()), int(y.max())) == (20, 40)
    assert y.float().std() == pytest.approx((20**2 / 12) ** 0.5, rel=0.03)


# Mixing


@pytest.mark.parametrize("per", ["batch", "row"])
def test_cross_entropy_of_a_mixup_is_the_mix_of_the_cross_entropies(per):
    torch.manual_seed(0)
    x, y = colours(16, torch.float64), torch.arange(16)  # a class for each row shows the partner
    mixed = Mixup(1.0, 16, per=per)({"input": x, "target": y})
    own = mixed["target"].diagonal()
    rest = mixed["target"] - torch.diag(own)
    other = torch.where(rest.sum(1) > 0, rest.argmax(1), y)
    share = torch.where(other == y, torch.ones_like(own), own).double()
    torch.testing.assert_close(
        mixed["input"], torch.lerp(x[other], x, share[:, None, None, None]), atol=1e-6, rtol=0
    )
    logits = torch.randn(16, 16, dtype=torch.float64)
    ce = functools.partial(cross_entropy, logits, reduction="none")
    torch.testing.assert_close(
        ce(mixed["target"].double()), share * ce(y) + (1 - share) * ce(other), atol=1e-5, rtol=1e-5
    )
    assert len(share[other != y].unique()) == (1 if per == "batch" else (other != y).sum())


@pytest.mark.parametrize("alpha", [0.2, 1.0, 5.0])
def test_the_share_is_beta_distributed(alpha):
    torch.manual_seed(0)
    batch = {"input": torch.zeros(4000, 1, 1, 1), "target": torch.arange(4000) % 2}
    mixed = Mixup(alpha, per="row", regression=True)(batch)["target"]
    share = mixed[(mixed > 0) & (mixed < 1)]
    # With two equal classes half the pairs differ; their mix is the share or 1 - share, which
    # have one distribution, of variance 1 / (4 (2 alpha + 1)).
    assert share.mean() == pytest.approx(0.5, abs=0.03)
    assert share.var() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.08)


@pytest.mark.parametrize("per", ["batch", "row"])
def test_the_label_of_a_cutmix_is_the_share_of_pixels_seen(per):
    torch.manual_seed(0)
    n = 200
    x = torch.arange(n, dtype=torch.int16)[:, None, None, None].expand(n, 2, 9, 11)
    for _ in range(3):
        mixed = CutMix(1.0, n, per=per)({"input": x, "target": torch.arange(n)})
        assert mixed["input"].dtype == torch.int16
        seen = F.one_hot(mixed["input"][:, 0].long(), n).float().mean((1, 2))
        torch.testing.assert_close(mixed["target"], seen)
        torch.testing.assert_close(mixed["target"].sum(1), torch.ones(n))


def test_a_cutmix_rectangle_has_the_share_drawn_where_it_fits():
    # Sides sqrt(1 - lambda): with alpha huge lambda is 1/2, so the largest rectangle of a 100 x 100
    # image, that which nothing cuts, has sides of 70 pixels.
    torch.manual_seed(0)
    batch = {"input": torch.rand(300, 1, 100, 100), "target": torch.arange(300)}
    own = CutMix(1e6, 300, per="row")(batch)["target"].diagonal()
    own = own[own < 1]  # but for a row that is its own partner
    assert own.min() == pytest.approx(1 - 0.7**2, abs=0.011)
    assert own.max() == pytest.approx(1 - 0.35**2, abs=0.02)


def test_mixing_chains_and_keeps_the_labels_mass():
    torch.manual_seed(0)
    chain = augment.compose("mixup:1 cutmix:alpha=1", classes=4)
    batch = chain({"input": colours(32, torch.uint8), "target": torch.arange(32) % 4})
    torch.testing.assert_close(batch["target"].sum(1), torch.ones(32))
    assert (batch["target"].gt(0).sum(1) > 2).any()
    assert batch["input"].dtype == torch.float32


def test_a_tiny_alpha_mixes_nothing_and_stays_finite():
    torch.manual_seed(0)
    for _ in range(50):
        batch = {"input": colours(8), "target": torch.arange(8)}
        mixed = Mixup(1e-3, 8, per="row")(batch)
        assert mixed["input"].isfinite().all()
        assert mixed["target"].isfinite().all()


# Textures


def test_swapped_amplitudes_are_the_textures_and_phases_the_images():
    x, t = colours(4, torch.float64), colours(4, torch.float64, seed=1)
    y = torch.fft.fft2(amplitude_swap(x, t))
    torch.testing.assert_close(y.abs(), torch.fft.fft2(t).abs())
    phase = torch.fft.fft2(x)
    torch.testing.assert_close(y / y.abs(), phase / phase.abs())
    torch.testing.assert_close(amplitude_swap(x, x), x)


def test_shuffled_patches_are_the_same_patches():
    torch.manual_seed(0)
    x = torch.arange(48.0).reshape(1, 1, 6, 8).expand(300, 1, 6, 8)
    y = patch_shuffle(x, 2)

    def patches(x):
        return x.unfold(2, 2, 2).unfold(3, 2, 2).reshape(len(x), 12, 4)

    old, new = patches(x), patches(y)
    order = new[..., 0].argsort(1)
    assert torch.equal(new.gather(1, order[..., None].expand_as(new)), old)
    stays = (new == old).all(2).float().mean()
    assert stays == pytest.approx(1 / 12, abs=0.02)


def test_stylizing_draws_a_texture_for_each_image():
    torch.manual_seed(0)
    textures = torch.arange(5.0).reshape(5, 1, 1, 1).expand(5, 1, 3, 3)
    y = stylize(torch.zeros(500, 1, 3, 3), textures, lambda images, drawn: images + drawn)
    assert torch.bincount(y[:, 0, 0, 0].long()).min() > 70


# By name


def test_names_carry_arguments():
    chain = augment.compose(["flip:0.3,vertical", "crop:2,border=reflection", "mixup"], classes=7)
    expected = Compose([Flip(0.3, "vertical"), Crop(2, border="reflection"), Mixup(classes=7)])
    assert repr(chain) == repr(expected)
    assert repr(augment.compose("mixup:1,4 rotate:30")) == repr(Compose([Mixup(1, 4), Rotate(30)]))


def test_a_class_count_that_was_said_stays():
    assert "classes=3" in repr(augment.compose("mixup:classes=3", classes=7))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: augment.compose("flop"), "unknown augmentation 'flop'; did you mean Flip"),
        (lambda: augment.compose("stylize"), "unknown augmentation 'stylize'"),
        (lambda: augment.compose("crop:pad=3"), "crop does not fit these arguments"),
        (lambda: Flip(1.5), r"p must lie in \[0, 1\], got 1.5"),
        (lambda: Flip(axis="x"), "'horizontal' or 'vertical', got 'x'"),
        (lambda: Crop(2, border="wrap"), "border must be one of zeros, border, reflection"),
        (lambda: Crop(-1), "padding must be at least 0"),
        (lambda: Shift(-1), "pixels must be at least 0"),
        (lambda: Rotate((5, -5)), r"degrees must be a number or a pair \(low, high\)"),
        (lambda: Rotate(5, "cubic"), "interpolation must be one of bilinear, nearest, bicubic"),
        (lambda: Scale(0, 1), "a zoom must be positive"),
        (lambda: Shear(90), "below 90 degrees"),
        (lambda: Affine(translate=2), r"translate must lie in \[0, 1\)"),
        (lambda: Elastic(sigma=0), "sigma must be positive"),
        (lambda: Noise(-1), "sigma must be at least 0"),
        (lambda: ColorJitter(hue=2), r"hue must lie in \[0, 1\], got 2"),
        (lambda: Cutout(0), "size must be at least 1"),
        (lambda: Erase((0.5, 0.1)), "area must be two shares"),
        (lambda: Erase(ratio=(0, 1)), "ratio must be two positive numbers"),
        (lambda: Mixup(0), "alpha must be positive, got 0"),
        (lambda: Mixup(per="epoch"), "per must be 'batch' or 'row'"),
    ],
)
def test_wrong_arguments_are_told_at_once(build, message, unchecked):
    with pytest.raises(ValueError, match=message):
        build()


@pytest.mark.parametrize(
    ("kind", "batch", "message"),
    [
        (Flip(), {"input": torch.zeros(4, 64)}, r"Flip needs images .* got shape \(4, 64\)"),
        (Shift(8), {"input": torch.zeros(2, 1, 8, 9)}, "wholly out of sight"),
        (Crop(0, 9), {"input": torch.zeros(2, 1, 8, 9)}, r"size 9 does not fit into .*\(8, 9\)"),
        (
            Crop(8, border="reflection"),
            {"input": torch.zeros(2, 1, 8, 9)},
            "reflection of 8 pixels needs an image of more",
        ),
        (ColorJitter(), {"input": torch.zeros(2, 2, 8, 9)}, "1 or 3 channels.*got 2"),
        (
            Mixup(),
            {"input": torch.zeros(2, 1, 8, 9), "target": torch.arange(2)},
            "pass classes=, such as data.outputs",
        ),
        (
            Mixup(classes=3),
            {"input": torch.zeros(2, 1, 8, 9), "target": torch.rand(2)},
            "say regression=True",
        ),
        (CutMix(classes=3), {"input": torch.zeros(2, 1, 8, 9)}, "this batch has none"),
        (
            Mixup(classes=3),
            {"input": torch.zeros(2, 1, 8, 9), "boxes": torch.zeros(2, 1, 4)},
            "this batch has boxes too",
        ),
        (PatchShuffle(3), {"input": torch.zeros(2, 1, 8, 12)}, "got 3 and 8 x 12; 4 is the"),
    ],
)
def test_batches_that_do_not_fit_are_told(kind, batch, message, unchecked):
    with pytest.raises(ValueError, match=message):
        kind(batch)


def test_amplitudes_of_another_size_are_an_error(unchecked):
    with pytest.raises(ValueError, match="must have one shape"):
        amplitude_swap(torch.zeros(2, 1, 8, 8), torch.zeros(2, 1, 4, 4))


# In a run


def digits(*names: str, epochs: int = 3, seed: int = 0):
    data = load("digits", val_size=0.5)
    data.augment = augment.compose(names, classes=data.outputs)
    rule = Backprop("adamw", lr=3e-3)
    torch.manual_seed(0)
    return fit(
        MLP([64, 32, 10]), data, rule=rule, epochs=epochs, seed=seed, verbose=False, threads=1
    )


def test_a_run_with_mixed_targets_learns_and_judges_whole_images():
    run = digits("shift:1", "mixup:0.4", epochs=8)
    assert run.history["val_accuracy"][-1] > 0.8
    assert run.history["train_loss"][-1] > run.history["val_loss"][-1]
    assert run.config["data"]["augment"].startswith("Compose([Shift(pixels=1")


def test_a_seeded_run_repeats_its_augmentation():
    first, again, other = (digits("affine", "noise:0.1,16", seed=s) for s in (0, 0, 1))
    assert first.history["train_loss"] == again.history["train_loss"]
    assert first.history["train_loss"] != other.history["train_loss"]


class _StopAt(Callback):
    def __init__(self, step):
        self.step = step

    def on_train_batch_end(self, trainer, outputs, batch, batch_idx):
        if trainer.step == self.step:
            os.kill(os.getpid(), signal.SIGINT)


def test_a_resumed_run_goes_on_with_the_same_draws(tmp_path):
    def run(directory, stop=0, **options):
        data = load("digits", val_size=0.5)
        data.augment = Compose(["shift:1", Mixup(0.4, 10, per="row")])
        torch.manual_seed(0)
        model, rule = MLP([64, 16, 10]), Backprop("adamw", lr=3e-3)
        options |= {"epochs": 3, "directory": directory, "verbose": False, "threads": 1}
        return fit(model, data, rule=rule, callbacks=[_StopAt(stop)], **options)

    whole = run(tmp_path / "whole")
    with pytest.raises(Interrupted):
        run(tmp_path / "parts", stop=15)  # in the middle of the second epoch
    resumed = run(tmp_path / "parts", resume=True)
    assert whole.history["train_loss"] == resumed.history["train_loss"]


def test_judging_is_not_augmented():
    data = Data((colours(32), torch.arange(32) % 2), augment=Noise(5.0))
    assert torch.equal(data.prepare({"input": colours(32)})["input"], colours(32))
