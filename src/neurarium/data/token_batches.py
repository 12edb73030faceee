"""Batches of as many sequences as fit into a number of tokens."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.utils.data import Sampler

__all__ = ["TokenBatches"]


class TokenBatches(Sampler[list[int]]):
    r"""Rows of nearly one length side by side, so many that a padded batch holds few tokens.

    $$|B| \cdot \max_{i \in B} n_i \le \text{max\_tokens}$$

    Every row comes once an epoch. Rows are shuffled before they are sorted by length, so that rows
    of one length meet in changing company, and so are the batches:
    `DataLoader(dataset, batch_sampler=TokenBatches(lengths, 4096), collate_fn=...)`.

    Args:
        lengths: tokens of each row; of pairs the longer of the two.
        max_tokens: of a batch, padding included.
        seed: of the shuffling, which is another one in each epoch; None for batches from the
            shortest rows to the longest.

    Raises:
        ValueError: if a row alone is longer than `max_tokens`.

    Source: Vaswani et al. (2017), Attention Is All You Need, arXiv:1706.03762, section 5.1.
    """

    def __init__(
        self, lengths: Sequence[int] | Tensor, max_tokens: int, seed: int | None = 0
    ) -> None:
        self.lengths = torch.as_tensor(lengths)
        self.max_tokens, self.seed, self.epoch = max_tokens, seed, 0
        if len(self.lengths) and int(self.lengths.max()) > max_tokens:
            row = int(self.lengths.argmax())
            raise ValueError(
                f"row {row} has {int(self.lengths[row])} tokens, which no batch of {max_tokens} "
                "holds; cut it, or raise max_tokens"
            )

    def set_epoch(self, epoch: int) -> None:
        """Draw the shuffling of this epoch next."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[list[int]]:
        batches = self._batches()
        self.epoch += 1
        yield from batches

    def __len__(self) -> int:
        return len(self._batches())

    def _batches(self) -> list[list[int]]:
        draw = None
        order = torch.arange(len(self.lengths))
        if self.seed is not None:
            draw = torch.Generator().manual_seed(hash((self.seed, self.epoch)))
            order = torch.randperm(len(order), generator=draw)
        order = order[self.lengths[order].argsort(stable=True)]
        batches: list[list[int]] = [[]]
        for row in order.tolist():  # each is at least as long as those before
            if batches[-1] and (len(batches[-1]) + 1) * int(self.lengths[row]) > self.max_tokens:
                batches.append([])
            batches[-1].append(row)
        if draw is not None:
            batches = [batches[i] for i in torch.randperm(len(batches), generator=draw).tolist()]
        return [batch for batch in batches if batch]
