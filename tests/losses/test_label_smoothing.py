import math

import pytest
import torch
from torch import nn

from neurarium.losses import cross_entropy, label_smoothing


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def test_torchs_style_is_torchs():
    z, y = torch.randn(5, 4), torch.randint(4, (5,))
    expected = nn.CrossEntropyLoss(label_smoothing=0.2)(z, y)
    torch.testing.assert_close(label_smoothing(z, y, 0.2), expected)
    torch.testing.assert_close(label_smoothing(z, y, 0.2), cross_entropy(z, y, label_smoothing=0.2))


def test_the_smallest_loss_is_the_entropy_of_the_smoothed_target():
    # q' = 0.925, 0.025, 0.025, 0.025 for 4 classes and 0.1
    q = torch.tensor([[0.925, 0.025, 0.025, 0.025]])
    least = -sum(p * math.log(p) for p in q[0].tolist())
    assert label_smoothing(q.log(), torch.tensor([0])).item() == pytest.approx(least, rel=1e-6)
    assert label_smoothing(q.log() + torch.randn(1, 4) / 9, torch.tensor([0])) > least


def test_the_annotated_style_gives_nothing_to_padding_and_is_0_at_its_target():
    # 5 classes, of which 0 is padding: 0.4 is spread over the 3 others.
    q = torch.tensor([[0.0, 0.6, 0.4 / 3, 0.4 / 3, 0.4 / 3]])
    z, y = torch.randn(3, 5), torch.tensor([1, 0, 3])
    at_target = label_smoothing((q + 1e-30).log(), y[:1], 0.4, "annotated", padding=0)
    assert at_target.item() == pytest.approx(0, abs=1e-6)
    found = label_smoothing(z, y, 0.4, "annotated", 0, reduction="none")
    log_p = z[0].log_softmax(0)
    by_hand = sum(
        float(a) * (math.log(a) - float(b)) for a, b in zip(q[0], log_p, strict=True) if a
    )
    assert found[0].item() == pytest.approx(by_hand, rel=1e-5)
    assert found[1] == 0  # a row of padding
    mean = label_smoothing(z, y, 0.4, "annotated", 0)
    torch.testing.assert_close(mean, (found[0] + found[2]) / 2)
    everything_padded = label_smoothing(z[:1], y[1:2], 0.4, "annotated", 0)
    assert everything_padded == 0


def test_settings_that_mean_nothing(unchecked):
    z, y = torch.randn(3, 5), torch.tensor([1, 0, 3])
    with pytest.raises(ValueError, match="style must be 'torch' or 'annotated', got 'new'"):
        label_smoothing(z, y, style="new")
    with pytest.raises(ValueError, match=r"epsilon must lie in \[0, 1\), got 1"):
        label_smoothing(z, y, 1.0)
