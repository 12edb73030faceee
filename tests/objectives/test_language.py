import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from neurarium.objectives import mask_tokens, masked_language_model

MASK, CLS = 1, 2


def test_proportions_of_masks_and_what_is_never_chosen():
    n = 200_000
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(2, 50, (n // 100, 100), generator=generator)
    real = torch.arange(100).expand_as(tokens) < 90
    shown, chosen = mask_tokens(tokens, 50, MASK, specials=(CLS,), real=real, generator=generator)
    free = real & (tokens != CLS)
    assert not chosen[~free].any()
    assert (shown[~chosen] == tokens[~chosen]).all()
    share = chosen[free].float().mean().item()
    assert abs(share - 0.15) < 3 * math.sqrt(0.15 * 0.85 / int(free.sum()))
    m = int(chosen.sum())
    masked = (shown[chosen] == MASK).float().mean().item()
    assert abs(masked - 0.8) < 3 * math.sqrt(0.8 * 0.2 / m)
    # A random token is by chance the same once in 47 (50 without MASK, CLS; 0 is drawn too: 48).
    left = (shown[chosen] == tokens[chosen]).float().mean().item()
    expected = 0.1 + 0.1 / 48
    assert abs(left - expected) < 3 * math.sqrt(expected * (1 - expected) / m)
    assert not (shown[chosen] == CLS).any()


class Answers(nn.Module):
    """Says the same logits whatever it is shown, and remembers what that was."""

    def __init__(self, logits):
        super().__init__()
        self.logits = nn.Parameter(logits)

    def forward(self, tokens):
        self.shown = tokens
        return self.logits


def test_the_loss_is_of_the_chosen_tokens_alone():
    torch.manual_seed(0)
    tokens = torch.randint(2, 10, (3, 8))
    model = Answers(torch.randn(3, 8, 10))
    torch.manual_seed(1)
    loss = masked_language_model(10, MASK, p=0.4)(model, {"input": tokens})
    torch.manual_seed(1)
    shown, chosen = mask_tokens(tokens, 10, MASK, p=0.4)
    assert torch.equal(model.shown, shown)
    torch.testing.assert_close(loss, F.cross_entropy(model.logits[chosen], tokens[chosen]))
    loss.backward()
    assert (model.logits.grad[~chosen] == 0).all()


def test_a_batch_in_which_nothing_is_chosen_has_no_loss_and_no_nan():
    tokens = torch.full((2, 4), CLS)
    model = Answers(torch.randn(2, 4, 10))
    loss = masked_language_model(10, MASK, specials=(CLS,))(model, {"input": tokens})
    loss.backward()
    assert loss.item() == 0
    assert (model.logits.grad == 0).all()


def test_shares_that_are_none():
    with pytest.raises(ValueError, match=r"mix sum to 1, got 0.15 and \(0.8, 0.1\)"):
        mask_tokens(torch.zeros(1, 2, dtype=torch.long), 5, MASK, mix=(0.8, 0.1))
