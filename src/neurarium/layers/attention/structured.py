"""Attention over structures: neighbouring places choose together."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from neurarium.layers.attention.attend import Mask, attend
from neurarium.layers.attention.scores import Bilinear

__all__ = ["ChainCRF", "SegmentAttention"]

Unary = Float[Tensor, "*batch tokens labels"]
Real = Bool[Tensor, "*batch tokens"]


class ChainCRF(nn.Module):
    r"""A linear-chain random field over labels; of two labels, a normalizer for `attend`.

    $$p(z) = \frac1Z \exp\Bigl(\sum_i \theta_i(z_i) + \sum_i T_{z_i, z_{i+1}}\Bigr), \qquad
      p(z_i = c) = \frac{\partial \log Z}{\partial \theta_i(c)}$$

    As a normalizer the weight of a place is the probability that its label is 1; the places that
    are masked split the chain. The transitions start at 0, where the labels are independent: then
    the weights are a sigmoid's.

    Source: Kim, Denton, Hoang & Rush (2017), Structured Attention Networks, arXiv:1702.00887;
    Lafferty, McCallum & Pereira (2001), Conditional Random Fields, ICML.
    """

    def __init__(self, labels: int = 2) -> None:
        super().__init__()
        self.transitions = nn.Parameter(torch.zeros(labels, labels))

    def log_partition(self, unary: Unary, mask: Real | None = None) -> Float[Tensor, "*batch"]:
        """The logarithm of $Z$, over the tokens that `mask` calls real."""
        ahead = unary[..., 0, :]
        if mask is not None:
            ahead = ahead.masked_fill(~mask[..., 0, None], 0)
        for t in range(1, unary.shape[-2]):
            # A chain that ends here sums over its last label; one that goes on, over both.
            joint = ahead[..., :, None] + self.transitions + unary[..., t, None, :]
            following = joint.logsumexp(-2)
            if mask is not None:
                following = torch.where(mask[..., t, None], following, ahead)
            ahead = following
        total = ahead.logsumexp(-1)
        if mask is None:
            return total
        return torch.where(mask.any(-1), total, torch.zeros_like(total))

    def marginals(self, unary: Unary, mask: Real | None = None) -> Unary:
        """Each token's probabilities of its labels; differentiable, by differentiating twice."""
        wanted = torch.is_grad_enabled()
        with torch.enable_grad():
            unary = unary if unary.requires_grad else unary.detach().requires_grad_()
            total = self.log_partition(unary, mask).sum()
            (found,) = torch.autograd.grad(total, unary, create_graph=wanted)
        return found if wanted else found.detach()

    def log_likelihood(
        self, unary: Unary, labels: Int[Tensor, "*batch tokens"], mask: Real | None = None
    ) -> Float[Tensor, "*batch"]:
        """The logarithm of the probability of these labels."""
        mask = torch.ones_like(labels, dtype=torch.bool) if mask is None else mask
        own = unary.gather(-1, labels[..., None]).squeeze(-1)
        pairs = self.transitions[labels[..., :-1], labels[..., 1:]]
        score = (own * mask).sum(-1) + (pairs * (mask[..., 1:] & mask[..., :-1])).sum(-1)
        return score - self.log_partition(unary, mask)

    @torch.no_grad()
    def decode(self, unary: Unary, mask: Real | None = None) -> Int[Tensor, "*batch tokens"]:
        """The likeliest labels together, by Viterbi's recursion."""
        mask = torch.ones(unary.shape[:-1], dtype=torch.bool) if mask is None else mask
        mask = mask.to(unary.device)
        best, came_from = unary[..., 0, :], []
        for t in range(1, unary.shape[-2]):
            following, source = (best[..., :, None] + self.transitions).max(-2)
            real = mask[..., t, None]
            stay = torch.arange(unary.shape[-1], device=unary.device).expand_as(source)
            came_from.append(torch.where(real, source, stay))
            best = torch.where(real, following + unary[..., t, :], best)
        labels = [best.argmax(-1)]
        for source in reversed(came_from):
            labels.append(source.gather(-1, labels[-1][..., None]).squeeze(-1))
        return torch.stack(labels[::-1], -1)

    def forward(
        self, logits: Float[Tensor, "..."], mask: Bool[Tensor, "..."] | None = None
    ) -> Float[Tensor, "..."]:
        if len(self.transitions) != 2:
            raise ValueError(
                f"as a normalizer the chain must have 2 labels (attend or not), got "
                f"{len(self.transitions)}"
            )
        unary = torch.stack([torch.zeros_like(logits), logits], -1)
        if mask is not None:
            mask = mask.expand_as(logits)
        return self.marginals(unary, mask)[..., 1]


class SegmentAttention(nn.Module):
    r"""Attention that selects contiguous segments instead of single places.

    $$c = \sum_i p(z_i = 1 \mid x, q)\, x_i, \qquad z \sim \text{a chain field with }
      \theta_i(1) = x_i^\top W q$$

    Source: Kim, Denton, Hoang & Rush (2017), Structured Attention Networks, arXiv:1702.00887.
    """

    def __init__(self, features: int, query_features: int | None = None) -> None:
        super().__init__()
        self.score = Bilinear(features, query_features or features)
        self.chain = ChainCRF(2)

    def forward(
        self,
        query: Float[Tensor, "*batch Q query_features"],
        x: Float[Tensor, "*batch K features"],
        mask: Mask = None,
    ) -> tuple[Float[Tensor, "*batch Q features"], Float[Tensor, "*batch Q K"]]:
        return attend(query, x, x, self.score, mask, self.chain)
