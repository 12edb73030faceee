import pytest
import torch
from torch.utils.data import DataLoader

from neurarium.data import TokenBatches


@pytest.mark.parametrize("seed", [None, 0])
def test_every_row_comes_once_and_no_batch_holds_too_much(seed):
    lengths = torch.randint(1, 20, (200,), generator=torch.Generator().manual_seed(0))
    batches = [*TokenBatches(lengths, 40, seed)]
    assert sorted(row for batch in batches for row in batch) == [*range(200)]
    assert all(len(batch) * int(lengths[batch].max()) <= 40 for batch in batches)
    # Sorted by length little is wasted: no two neighbours would fit together.
    padded = sum(len(batch) * int(lengths[batch].max()) for batch in batches)
    assert int(lengths.sum()) / padded > 0.9


def test_by_hand_from_the_shortest_to_the_longest():
    assert [*TokenBatches([3, 1, 2, 5], 6, None)] == [[1, 2], [0], [3]]


def test_epochs_differ_but_can_be_repeated():
    batches = TokenBatches([1, 2, 3] * 10, 6, seed=3)
    first, second = [*batches], [*batches]
    assert first != second
    batches.set_epoch(0)
    assert [*batches] == first
    assert len(batches) == len(TokenBatches([1, 2, 3] * 10, 6, None))


def test_a_loader_takes_them():
    rows = list(range(4))
    loader = DataLoader(rows, batch_sampler=TokenBatches([3, 1, 2, 5], 6, None))
    assert [batch.tolist() for batch in loader] == [[1, 2], [0], [3]]


def test_a_row_that_never_fits(unchecked):
    with pytest.raises(ValueError, match="row 1 has 9 tokens, which no batch of 6 holds"):
        TokenBatches([3, 9], 6)
