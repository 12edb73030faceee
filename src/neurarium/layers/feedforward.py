"""What a transformer's block does to each token by itself."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from neurarium import activations

__all__ = ["FeedForward", "MoE", "SwiGLU"]

Rows = Float[Tensor, "*batch dim"]


class FeedForward(nn.Module):
    r"""Two linear maps with a function between, the same for every token.

    $$y = W_2\, \sigma(W_1 x + b_1) + b_2$$

    Source: Vaswani et al. (2017), Attention Is All You Need, arXiv:1706.03762.
    """

    def __init__(
        self,
        dim: int,
        hidden: int,
        activation: Any = "relu",
        dropout: float = 0.0,
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.up = nn.Linear(dim, hidden, bias=bias)
        self.activation = activations.module(activation, hidden)
        self.dropout = nn.Dropout(dropout)
        self.down = nn.Linear(hidden, dim, bias=bias)

    def forward(self, x: Rows) -> Rows:
        return self.down(self.dropout(self.activation(self.up(x))))


class SwiGLU(nn.Module):
    r"""A feed-forward layer whose hidden units are gated by others.

    $$y = W_2 \bigl(\operatorname{silu}(W_1 x) \odot W_3 x\bigr)$$

    Source: Shazeer (2020), GLU Variants Improve Transformer, arXiv:2002.05202.
    """

    def __init__(self, dim: int, hidden: int, dropout: float = 0.0, bias: bool = False) -> None:
        super().__init__()
        self.up = nn.Linear(dim, 2 * hidden, bias=bias)  # W_1 and W_3 in one product
        self.dropout = nn.Dropout(dropout)
        self.down = nn.Linear(hidden, dim, bias=bias)

    def forward(self, x: Rows) -> Rows:
        gate, value = self.up(x).chunk(2, -1)
        return self.down(self.dropout(F.silu(gate) * value))


class MoE(nn.Module):
    r"""A mixture of experts, of which each token asks the `top` that a router prefers.

    $$y = \sum_{e \in \text{top-}k} g_e\, f_e(x), \qquad
      g = \operatorname{softmax}\text{ of the } k \text{ kept logits}$$

    For `top=1` $g$ is the expert's share of the full softmax, which alone gives the router a
    gradient. `balance` is the last batch's $N \sum_e f_e P_e$ (share of the assignments times mean
    probability): 1 at uniform routing; add a little of it to the loss.

    Source: Shazeer et al. (2017), Outrageously Large Neural Networks, arXiv:1701.06538; `top=1`
    and the balance: Fedus, Zoph & Shazeer (2021), Switch Transformers, arXiv:2101.03961.
    """

    def __init__(
        self, dim: int, hidden: int, experts: int = 8, top: int = 2, **of_each: Any
    ) -> None:
        super().__init__()
        if not 1 <= top <= experts:
            raise ValueError(f"top must lie between 1 and the {experts} experts, got {top}")
        self.top = top
        self.router = nn.Linear(dim, experts, bias=False)
        self.experts = nn.ModuleList(FeedForward(dim, hidden, **of_each) for _ in range(experts))
        self.balance = torch.zeros(())

    def forward(self, x: Rows) -> Rows:
        tokens = x.flatten(0, -2)
        logits = self.router(tokens).float()
        kept, chosen = logits.topk(self.top, -1)
        shares = logits.softmax(-1)
        gates = kept.softmax(-1) if self.top > 1 else shares.gather(-1, chosen)
        y = torch.zeros_like(tokens)
        for number, expert in enumerate(self.experts):
            row, place = (chosen == number).nonzero(as_tuple=True)
            if len(row):
                answer = expert(tokens[row]) * gates[row, place, None].to(tokens.dtype)
                y = y.index_add(0, row, answer.to(y.dtype))
        assigned = F.one_hot(chosen, len(self.experts)).sum(1).float().mean(0) / self.top
        self.balance = len(self.experts) * (assigned * shares.mean(0)).sum()
        return y.view_as(x)
