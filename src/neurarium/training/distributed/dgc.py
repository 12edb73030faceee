"""Deep gradient compression: only the entries that have grown large are sent."""

import torch
from torch import Tensor

from neurarium.training.distributed.compressor import Compressor, as_bytes, from_bytes

__all__ = ["DGC"]

_SAMPLED_AT_LEAST = 256  # entries: fewer say too little of where a threshold lies


class DGC(Compressor):
    r"""Collect momentum locally and send the few entries whose sum has grown largest.

    $$u \leftarrow m u + g, \qquad v \leftarrow v + u, \qquad
      \text{send } v_i \text{ where } |v_i| \ge \tau, \qquad u_i, v_i \leftarrow 0 \text{ there}$$

    with $\tau$ such that a share of 1 - `sparsity` of each tensor is sent. The receiving optimizer
    must be plain SGD: the momentum is here already. `momentum=0` is top-k with a residual, and on
    small networks does as well.

    Args:
        sparsity: share of the entries that is not sent.
        momentum: m.
        factor_masking: whether u is cleared too where v is sent, lest stale momentum go on.
        warmup_epochs: epochs in which the sparsity rises: 75, 93.75, 98.44, 99.6 %.
        steps_per_epoch: steps of such an epoch; `fit` tells it.
        max_norm: norm to which the whole gradient would be clipped; each of N workers clips its
            own to max_norm / sqrt(N) before it is added to u.
        sample: share of the entries among which the threshold is looked for (.001 to .01 in the
            paper, for speed); None takes the exact one. More than wanted are cut to the largest.
        seed: of the samples.

    Source: Lin et al. (2018), Deep Gradient Compression: Reducing the Communication Bandwidth for
    Distributed Training, arXiv:1712.01887.
    """

    def __init__(
        self,
        sparsity: float = 0.999,
        momentum: float = 0.9,
        *,
        factor_masking: bool = True,
        warmup_epochs: int = 4,
        steps_per_epoch: int | None = None,
        max_norm: float | None = None,
        sample: float | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(seed)
        if not 0 <= sparsity < 1:
            raise ValueError(f"sparsity must lie in [0, 1), got {sparsity}; .99 sends 1 %")
        if not 0 <= momentum < 1:
            raise ValueError(f"momentum must lie in [0, 1), got {momentum}")
        if sample is not None and not 0 < sample <= 1:
            raise ValueError(f"sample must be a share in (0, 1], got {sample}; None takes all")
        self.sparsity, self.momentum, self.factor_masking = sparsity, momentum, factor_masking
        self.warmup_epochs, self.steps_per_epoch = warmup_epochs, steps_per_epoch
        self.max_norm, self.sample = max_norm, sample
        self.whole_gradient = max_norm is not None

    def sparsity_at(self, step: int) -> float:
        """The share that is not sent at a step, counted from 0."""
        if not self.warmup_epochs:
            return self.sparsity
        if self.steps_per_epoch is None:
            raise ValueError(
                f"DGC warms up over {self.warmup_epochs} epochs, so it must know their length; "
                "pass steps_per_epoch, or warmup_epochs=0"
            )
        epoch = step // self.steps_per_epoch
        if epoch >= self.warmup_epochs:
            return self.sparsity
        return min(self.sparsity, 1 - 0.25 ** (epoch + 1))

    def prepare(self, gradients: list[Tensor]) -> tuple[list[Tensor], Tensor | None]:
        if self.max_norm is None:
            return gradients, None
        norm = torch.stack([g.norm() for g in gradients]).norm()
        factor = (self.max_norm * self.workers**-0.5 / norm.clamp(min=1e-12)).clamp(max=1)
        return [g * factor for g in gradients], None

    def encode(self, layer: int, gradient: Tensor, scale: Tensor | None) -> Tensor:
        memory = self.memory.setdefault(layer, {"step": 0})
        g = gradient.reshape(-1)
        u = memory["u"] * self.momentum + g if "u" in memory else g.clone()
        v = memory["v"] + u if "v" in memory else u.clone()
        wanted = max(1, round(len(v) * (1 - self.sparsity_at(memory["step"]))))
        index = self._largest(layer, v.abs(), wanted)
        payload = torch.cat([as_bytes(index.int()), as_bytes(v[index])])
        v[index] = 0
        if self.factor_masking:
            u[index] = 0
        memory.update(u=u, v=v, step=memory["step"] + 1)
        return payload

    def _largest(self, layer: int, size: Tensor, wanted: int) -> Tensor:
        if self.sample is None or len(size) * self.sample < _SAMPLED_AT_LEAST:
            return size.topk(wanted, sorted=False).indices
        count = round(len(size) * self.sample)
        where = (self.draw(layer, size[:count]) * len(size)).long().clamp(max=len(size) - 1)
        rank = max(1, round(count * wanted / len(size)))
        found = (size >= size[where].topk(rank).values[-1]).nonzero().reshape(-1)
        if len(found) <= wanted:
            return found
        return found[size[found].topk(wanted, sorted=False).indices]

    def decode(self, payload: Tensor, like: Tensor, scale: Tensor | None) -> Tensor:
        count = len(payload) // (4 + like.element_size())
        index = from_bytes(payload[: 4 * count], torch.int32).long()
        values = from_bytes(payload[4 * count :], like.dtype)
        dense = torch.zeros(like.numel(), dtype=like.dtype, device=like.device)
        return dense.index_copy(0, index, values).reshape(like.shape)
