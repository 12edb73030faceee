"""Parameter servers, with every byte counted."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.utils import parameters_to_vector

__all__ = ["ParameterServer"]


class ParameterServer:
    r"""Average gradients on servers: push chunks, sum them there, pull the sums.

    With n workers, k spare machines and bandwidth B a gradient of M bytes takes, in units of M/B,

    $$\underbrace{\tfrac{2(n-1)}{n}}_{\text{workers serve too}}, \qquad
      \underbrace{\max\bigl(1, \tfrac{n}{k}\bigr)}_{\text{only spare machines serve}}, \qquad
      \underbrace{\tfrac{2n(n-1)}{n^2 + kn - 2k}}_{\text{both}}$$

    The first is also what a ring all-reduce takes. The last loads all machines alike, by giving
    the spare ones a share $2k(n-1)/(n^2 + kn - 2k)$ of the chunks. The gradient is cut into equal
    chunks in the order of the layers: the first are needed first.

    Args:
        workers: n.
        servers: k.
        colocated: whether the workers serve too.
        chunk: entries of a chunk; smaller ones balance better.

    Attributes:
        sent: bytes that left each machine so far, workers first; `received` likewise.

    Source: Li et al. (2014), Scaling Distributed Machine Learning with the Parameter Server, OSDI;
    Jiang et al. (2020), A Unified Architecture for Accelerating Distributed DNN Training in
    Heterogeneous GPU/CPU Clusters (BytePS), OSDI.
    """

    def __init__(
        self, workers: int, servers: int = 0, *, colocated: bool = True, chunk: int = 1024
    ) -> None:
        if workers < 1 or servers < 0 or chunk < 1:
            raise ValueError(
                "ParameterServer needs workers >= 1, servers >= 0 and chunk >= 1, got "
                f"{workers}, {servers} and {chunk}"
            )
        if not colocated and not servers:
            raise ValueError("without servers the workers must serve; pass colocated=True")
        self.workers, self.servers, self.colocated, self.chunk = workers, servers, colocated, chunk
        self.sent = [0] * (workers + servers)
        self.received = [0] * (workers + servers)

    @property
    def loads(self) -> list[float]:
        """The share of the chunks that each machine serves, workers first."""
        n, k = self.workers, self.servers
        if not self.colocated:
            return [0.0] * n + [1 / k] * k
        spare = min(1.0, 2 * k * (n - 1) / max(n**2 + k * n - 2 * k, 1))
        return [(1 - spare) / n] * n + [spare / max(k, 1)] * k

    @property
    def time(self) -> float:
        """Time of one exchange by the formula, in units of M/B."""
        n, k = self.workers, self.servers
        if n == 1 and self.colocated:
            return 0.0
        if not self.colocated:
            return max(1.0, n / k)
        return max(1.0, 2 * n * (n - 1) / (n**2 + k * n - 2 * k)) if k else 2 * (n - 1) / n

    def place(self, chunks: int) -> list[int]:
        """The machine that serves each chunk: always the one that is least loaded for its share."""
        loads, given = self.loads, [0] * len(self.loads)
        placed = []
        for _ in range(chunks):
            able = [machine for machine, load in enumerate(loads) if load > 1e-12]
            chosen = min(able, key=lambda machine: ((given[machine] + 1) / loads[machine], machine))
            given[chosen] += 1
            placed.append(chosen)
        return placed

    def average(self, gradients: Sequence[Sequence[Tensor]]) -> list[Tensor]:
        """The mean of the workers' gradients, a list of tensors each."""
        if len(gradients) != self.workers:
            raise ValueError(
                f"average needs the gradients of {self.workers} workers, got {len(gradients)}"
            )
        pushed = [parameters_to_vector(list(own)).split(self.chunk) for own in gradients]
        sums = []
        for number, server in enumerate(self.place(len(pushed[0]))):
            stored = torch.zeros_like(pushed[0][number])
            for worker, chunks in enumerate(pushed):
                self._send(worker, server, chunks[number])  # push
                stored += chunks[number]
            for worker in range(self.workers):
                self._send(server, worker, stored)  # pull
            sums.append(stored)
        means = (torch.cat(sums) / self.workers).split([g.numel() for g in gradients[0]])
        return [mean.reshape(g.shape) for mean, g in zip(means, gradients[0], strict=True)]

    def _send(self, sender: int, receiver: int, values: Tensor) -> None:
        if sender != receiver:
            self.sent[sender] += values.numel() * values.element_size()
            self.received[receiver] += values.numel() * values.element_size()

    def __repr__(self) -> str:
        return (
            f"ParameterServer({self.workers}, servers={self.servers}, colocated={self.colocated})"
        )
