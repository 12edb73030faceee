"""A network that answers questions about a table by a program of soft operations."""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from neurarium.layers import masks
from neurarium.layers.recurrent import Recurrent
from neurarium.networks._config import remember

__all__ = ["NeuralProgrammer"]

OPERATIONS = (
    "sum", "count", "difference", "greater", "lesser", "and", "or", "assign", "reset",
)  # fmt: skip

Table = Float[Tensor, "batch rows columns"]


class NeuralProgrammer(nn.Module):
    r"""Chooses at each of some steps an operation and a column, softly, and executes all of them.

    $$\alpha^{op}_t = \operatorname{softmax}\bigl(U \tanh(W_{op} [q; h_t])\bigr), \quad
      \alpha^{col}_t = \operatorname{softmax}\bigl(P \tanh(W_{col} [q; h_t])\bigr), \quad
      h_t = \tanh\bigl(W_h [c_t; h_{t-1}]\bigr)$$

    $q$ is what a recurrent network has read of the question, $c_t$ the step's mean operation and
    mean column. The operations act on the table, on a share of each row that is selected, and on
    numbers of the question, to which "greater" and "lesser" attend; see `execute`. When judged,
    each step takes its likeliest operation and column.

    Only answers are needed to train it; `objectives.table_answer` judges them. Noise on the
    gradients helps.

    A batch holds `input` (the question's tokens), `table`, and where it has them `numbers` with
    their `places` in the question, and `length`.

    Args:
        vocab: tokens of questions.
        columns: of the table.
        steps: of the program.

    Source: Neelakantan, Le & Sutskever (2016), Neural Programmer: Inducing Latent Programs with
    Gradient Descent, arXiv:1511.04834.
    """

    reads = ("table", "numbers", "places", "length")

    def __init__(self, vocab: int, columns: int, hidden: int = 64, steps: int = 4) -> None:
        super().__init__()
        remember(self, vocab=vocab, columns=columns, hidden=hidden, steps=steps)
        self.embedding = nn.Embedding(vocab, hidden)
        self.question = Recurrent("rnn", hidden, hidden)
        self.history = nn.Linear(3 * hidden, hidden, bias=False)
        self.U = nn.Parameter(torch.empty(len(OPERATIONS), hidden).uniform_(-0.1, 0.1))
        self.P = nn.Parameter(torch.empty(columns, hidden).uniform_(-0.1, 0.1))
        self.W_op, self.W_col = (nn.Linear(2 * hidden, hidden, bias=False) for _ in range(2))

    def forward(
        self,
        tokens: Int[Tensor, "batch tokens"],
        table: Table,
        numbers: Float[Tensor, "batch numbers"] | None = None,
        places: Int[Tensor, "batch numbers"] | None = None,
        length: Int[Tensor, " batch"] | None = None,
    ) -> Float[Tensor, "batch answers"]:
        """The number that was computed, and behind it the share of each cell that is pointed at."""
        operations, columns, pivots = self.program(tokens, numbers, places, length)
        if not self.training:
            operations, columns = _hard(operations), _hard(columns)
        scalar, lookup = execute(table, operations, columns, pivots)
        return torch.cat([scalar[:, None], lookup.flatten(1)], 1)

    def program(
        self,
        tokens: Int[Tensor, "batch tokens"],
        numbers: Float[Tensor, "batch numbers"] | None = None,
        places: Int[Tensor, "batch numbers"] | None = None,
        length: Int[Tensor, " batch"] | None = None,
    ) -> tuple[
        Float[Tensor, "batch steps operations"],
        Float[Tensor, "batch steps columns"],
        Float[Tensor, "batch 2"],
    ]:
        """At each step the weights of operations and columns; what "greater", "lesser" compare to.

        Where a question has fewer numbers than others, its `places` beyond are -1.
        """
        states, _ = self.question(self.embedding(tokens.long()), length)
        q = self.question.summary(states, length)
        h, operations, columns = torch.zeros_like(q), [], []
        for _ in range(self.steps):  # type: ignore[arg-type]
            both = torch.cat([q, h], 1)
            operation = (torch.tanh(self.W_op(both)) @ self.U.T).softmax(1)
            column = (torch.tanh(self.W_col(both)) @ self.P.T).softmax(1)
            mean = torch.cat([operation @ self.U, column @ self.P], 1)
            h = torch.tanh(self.history(torch.cat([mean, h], 1)))
            operations.append(operation)
            columns.append(column)
        pivots = q.new_zeros(len(q), 2)
        if numbers is not None and places is not None:
            pivots = self._pivots(states, numbers, places)
        return torch.stack(operations, 1), torch.stack(columns, 1), pivots

    def _pivots(self, states: Tensor, numbers: Tensor, places: Tensor) -> Tensor:
        """For each comparison the mean of the question's numbers, by attention."""
        at = places.clamp(min=0)[..., None].expand(-1, -1, states.shape[2])
        scores = states.gather(1, at) @ self.U[[3, 4]].T  # (batch, numbers, 2)
        scores = masks.fill(scores, (places >= 0)[..., None])
        weights = torch.where((places >= 0)[..., None], scores.softmax(1), 0)
        return (weights * numbers[..., None]).sum(1)


def _hard(weights: Tensor) -> Tensor:
    return F.one_hot(weights.argmax(-1), weights.shape[-1]).to(weights)


def execute(
    table: Table,
    operations: Float[Tensor, "batch steps operations"],
    columns: Float[Tensor, "batch steps columns"],
    pivots: Float[Tensor, "batch 2"],
) -> tuple[Float[Tensor, " batch"], Float[Tensor, "batch rows columns"]]:
    """What a program makes of a table: the last step's number, and its share of each cell.

    With one-hot weights it is an ordinary program. At first all rows are selected. "sum" and
    "count" are of the selected rows, "difference" is the number three steps ago less the last one;
    "greater" and "lesser" select rows by a column, "and" and "or" join the last two selections,
    "assign" points at the column's selected cells, "reset" selects all rows.
    """
    ones = torch.ones_like(table[..., 0])
    selected, before = ones, torch.zeros_like(ones)
    numbers: list[Tensor] = []
    lookup = torch.zeros_like(table)
    over = (table > pivots[:, :1, None]).to(table)
    under = (table < pivots[:, 1:, None]).to(table)
    for operation, column in zip(operations.unbind(1), columns.unbind(1), strict=True):
        weight: dict[str, Any] = dict(zip(OPERATIONS, operation.unbind(1), strict=True))
        none = torch.zeros_like(operation[:, 0])
        last = numbers[-1] if numbers else none
        third = numbers[-3] if len(numbers) > 2 else none
        sums = torch.einsum("br,brc,bc->b", selected, table, column)
        numbers.append(
            weight["sum"] * sums
            + weight["count"] * selected.sum(1)
            + weight["difference"] * (third - last)
        )
        lookup = weight["assign"][:, None, None] * selected[..., None] * column[:, None]
        compared = weight["greater"][:, None, None] * over + weight["lesser"][:, None, None] * under
        new = (
            torch.einsum("brc,bc->br", compared, column)
            + weight["and"][:, None] * torch.minimum(selected, before)
            + weight["or"][:, None] * torch.maximum(selected, before)
            + weight["reset"][:, None] * ones
        )
        selected, before = new, selected
    return numbers[-1], lookup
