"""The painter learns from the classifier's loss, by the paper's three comparisons."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from neurarium.data import Data
from neurarium.data.augment import NeuralAugment
from neurarium.data.augment.neural import partners
from neurarium.learning import Backprop
from neurarium.networks import MLP
from neurarium.objectives import augment_and_classify
from neurarium.objectives.neural_augmentation import content_loss, style_loss
from neurarium.training import fit


class First(nn.Module):
    """Paints the first image of each pair, or with `second` the other one."""

    def __init__(self, second: bool = False) -> None:
        super().__init__()
        self.second = second

    def forward(self, x):
        return x.chunk(2, 1)[int(self.second)]


def a_batch(n: int = 12, classes: int = 3, channels: int = 2) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return {"input": torch.rand(n, channels, 6, 6), "target": torch.arange(n) % classes}


def test_a_partner_is_another_row_of_the_class():
    target = torch.tensor([2, 0, 1, 1, 0, 2, 2, 5, 1, 1])
    torch.manual_seed(0)
    seen = set()
    for _ in range(200):
        found = partners(target)
        assert torch.equal(target[found], target)
        alone = target == 5
        assert torch.equal(found == torch.arange(10), alone)
        assert torch.equal(found.sort().values, torch.arange(10))
        seen |= {(i, int(j)) for i, j in enumerate(found)}
    # Every ordered pair of a class: 2 of zeros, 12 of ones, 6 of twos, and the lonely 5.
    assert len(seen) == 2 + 12 + 6 + 1


def test_the_default_painter_is_the_papers():
    shapes = [tuple(p.shape) for p in NeuralAugment().parameters() if p.ndim == 4]
    assert shapes == [(16, 6, 3, 3), *[(16, 16, 3, 3)] * 3, (3, 16, 3, 3)]
    batch = a_batch(channels=3)
    assert NeuralAugment()(batch["input"], batch["target"]).shape == batch["input"].shape


def test_painted_images_are_of_the_rows_own_class():
    batch = a_batch()
    painted = NeuralAugment(First(second=True))(batch["input"], batch["target"])
    same = (painted[:, None] == batch["input"]).flatten(2).all(2)
    assert (same.sum(1) == 1).all()
    assert torch.equal(batch["target"][same.int().argmax(1)], batch["target"])
    assert not same.diagonal().any()


@pytest.mark.parametrize("kind", ["none", "content", "style"])
def test_gradients_reach_painter_and_classifier(kind):
    augmenter, model = NeuralAugment(channels=2), MLP([72, 3])
    outputs = augment_and_classify(augmenter, kind)(model, a_batch())
    outputs["loss"].backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in augmenter.parameters())
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())
    expected = 0.75 * outputs["classification"]
    if kind != "none":
        expected = expected + 0.25 * outputs[kind]
    torch.testing.assert_close(outputs["loss"], expected)


def test_with_images_painted_as_they_are_it_is_cross_entropy():
    batch, model = a_batch(), MLP([72, 3])
    outputs = augment_and_classify(NeuralAugment(First()), alpha=0.6)(model, batch)
    expected = F.cross_entropy(model(batch["input"]), batch["target"])
    torch.testing.assert_close(outputs["loss"], 0.6 * expected)


def test_the_content_is_the_mean_square_and_the_style_that_of_the_gram_matrices():
    x = torch.tensor([[[[1.0, 2], [3, 4]], [[0, 1], [0, 1]]]])
    t = torch.zeros_like(x)
    # 1 + 4 + 9 + 16 + 0 + 1 + 0 + 1 = 32 over 8 numbers.
    assert content_loss(x, t).item() == pytest.approx(4)
    # G = [[30, 6], [6, 2]] / 4, squares (900 + 36 + 36 + 4) / 16 = 61 over 4 entries.
    assert style_loss(x, t).item() == pytest.approx(61 / 4)
    shuffled = x.flatten(2)[:, :, [3, 0, 2, 1]].reshape(x.shape)
    assert style_loss(shuffled, x).item() == pytest.approx(0, abs=1e-6)


def test_judging_leaves_the_painter_out():
    class Never(nn.Module):
        def forward(self, x):
            raise AssertionError

    batch, model = a_batch(), MLP([72, 3]).eval()
    loss = augment_and_classify(NeuralAugment(Never()))(model, batch)
    torch.testing.assert_close(loss, F.cross_entropy(model(batch["input"]), batch["target"]))


def test_fit_trains_both_and_judges_real_images():
    batch = a_batch(60)
    batch["input"][:, 0] += batch["target"].reshape(-1, 1, 1) / 2
    augmenter, model = NeuralAugment(channels=2), MLP([72, 3])
    before = [p.clone() for p in augmenter.parameters()]
    data, objective = Data(batch, batch), augment_and_classify(augmenter, "content")
    run = fit(
        model, data, objective, Backprop("adam", lr=0.01), epochs=15, batch_size=20, verbose=False
    )
    assert run.history["val_accuracy"][-1] > 0.9
    assert {"train_classification", "train_content"} <= set(run.history)
    assert run.history["train_content"][-1] < run.history["train_content"][0]
    moved = [not torch.equal(a, b) for a, b in zip(before, augmenter.parameters(), strict=True)]
    assert all(moved)


def test_wrong_kinds_and_nets_are_told(unchecked):
    with pytest.raises(ValueError, match="kind must be one of none, content, style, got 'gram'"):
        augment_and_classify(NeuralAugment(), "gram")
    batch = a_batch()
    with pytest.raises(ValueError, match=r"twice the channels into images, got \(12, 4, 6, 6\)"):
        NeuralAugment(nn.Identity())(batch["input"], batch["target"])
