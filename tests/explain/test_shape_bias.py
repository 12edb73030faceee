"""Planted classifiers of shapes and of textures, and those between."""

import math

import pytest
import torch
from torch import nn

from neurarium.explain import shape_bias

CLASSES = 4
# Shape k fills a quarter of the image, texture k is the brightness that it is filled with.
SHAPES = torch.zeros(CLASSES, 1, 8, 8)
for k in range(CLASSES):
    SHAPES[k, 0, 4 * (k // 2) : 4 * (k // 2) + 4, 4 * (k % 2) : 4 * (k % 2) + 4] = 1


def conflicts():
    shape, texture = torch.cartesian_prod(torch.arange(4), torch.arange(4)).T
    images = SHAPES[shape] * (texture + 1).reshape(-1, 1, 1, 1) / CLASSES
    return {"input": images, "shape": shape, "texture": texture}


def by_shape(x):
    return torch.einsum("nchw,kchw->nk", (x > 0).float(), SHAPES)


def by_texture(x):
    levels = torch.arange(1, CLASSES + 1) / CLASSES
    return -(x.amax((1, 2, 3))[:, None] - levels).abs()


@pytest.mark.parametrize(("model", "bias"), [(by_shape, 1.0), (by_texture, 0.0)])
def test_planted_classifiers_score_one_and_zero(model, bias):
    assert shape_bias(model, conflicts()) == bias
    assert shape_bias(model, conflicts(), batch_size=3) == bias


def test_a_constant_answer_is_counted_where_it_agrees_with_a_cue():
    # Class 0 is the shape of 3 conflicts and the texture of 3; the other 6 are neither.
    assert shape_bias(lambda x: torch.eye(4)[:1].expand(len(x), 4), conflicts()) == 0.5


def test_cues_that_agree_do_not_count():
    # By shape where the brightness is even, else by texture: by hand 6 of 12 conflicts each.
    def model(x):
        even = (by_texture(x).argmax(1) % 2 == 0)[:, None]
        return torch.where(even, by_shape(x), by_texture(x))

    batch = conflicts()
    agreeing = {name: value[batch["shape"] == batch["texture"]] for name, value in batch.items()}
    more = {name: torch.cat((value, agreeing[name])) for name, value in batch.items()}
    assert shape_bias(model, batch) == shape_bias(model, more) == 0.5


def test_decisions_for_neither_cue_leave_nothing_to_tell():
    batch = conflicts()
    outside = lambda x: torch.eye(5)[4:].expand(len(x), 5)  # noqa: E731
    assert math.isnan(shape_bias(outside, batch))


def test_the_model_is_judged_in_evaluation_mode_and_left_as_it_was():
    class Judge(nn.Module):
        def forward(self, x):
            assert not self.training
            return by_shape(x)

    model = Judge().train()
    assert shape_bias(model, conflicts()) == 1
    assert model.training


def test_what_cannot_be_judged_is_told(unchecked):
    batch = {"input": SHAPES, "shape": torch.arange(4)}
    with pytest.raises(ValueError, match="cue_conflict has no 'texture', only input, shape"):
        shape_bias(by_shape, batch)
    with pytest.raises(ValueError, match="pair shapes with the textures of other classes"):
        shape_bias(by_shape, {**batch, "texture": torch.arange(4)})
