"""What all gradient compressors share: the exchange, in one process and between many.

A compressor belongs to one worker. It turns each layer's gradient into bytes and bytes back into a
gradient; what it remembers from step to step (residuals, momentum) it keeps by layer. Those bytes
are what is counted, and what a real process group sends.
"""

import copy
import inspect
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

_PRIME = 1_000_003


class Compressor(ABC):
    """One worker's side of a compressed exchange of gradients.

    `exchange` runs it among simulated workers; `attach` (or `register_comm_hook(None,
    compressor.hook)`) puts the same object into DistributedDataParallel, whose processes then end
    up with the same averages, bit for bit.

    Attributes:
        worker: this worker's number, and `workers` how many there are; the exchange sets them.
        sent_bytes: bytes that this worker has sent so far.
        whole_gradient: whether it must see all layers at once, so that DistributedDataParallel
            must keep them in one bucket.
    """

    whole_gradient = False

    def __init__(self, seed: int = 0) -> None:
        self.seed, self.worker, self.workers = seed, 0, 1
        self.sent_bytes = 0
        self.memory: dict[int, dict[str, Any]] = {}  # by the layer's number
        self._numbers: dict[int, int] = {}  # of a parameter, by its id

    # What a technique is

    def prepare(self, gradients: list[Tensor]) -> tuple[list[Tensor], Tensor | None]:
        """The gradients to send, and numbers of which all workers need the greatest."""
        return gradients, None

    @abstractmethod
    def encode(
        self, layer: int, gradient: Float[Tensor, "..."], scale: Float[Tensor, ""] | None
    ) -> UInt8[Tensor, " bytes"]:
        """The bytes to send for one layer's gradient."""

    @abstractmethod
    def decode(
        self,
        payload: UInt8[Tensor, " bytes"],
        like: Float[Tensor, "..."],
        scale: Float[Tensor, ""] | None,
    ) -> Float[Tensor, "..."]:
        """The gradient, of the form of `like`, that another worker's bytes stand for."""

    def length(self, like: Tensor) -> int | None:
        """Bytes of a layer's message; None where they vary, so that their number is sent too."""
        return None

    def draw(self, layer: int, like: Tensor) -> Tensor:
        """Uniform numbers that depend on seed, worker, layer and step, and on nothing else."""
        memory = self.memory.setdefault(layer, {})
        step = memory["draws"] = memory.get("draws", 0) + 1
        number = self.seed
        for part in (self.worker, layer, step):
            number = (number * _PRIME + part) % 2**63
        generator = torch.Generator(like.device).manual_seed(number)
        return torch.rand(like.shape, generator=generator, dtype=like.dtype, device=like.device)

    # One process for all workers

    def for_workers(self, workers: int) -> "list[Compressor]":
        """One copy of this compressor for each of so many workers."""
        copies = [copy.deepcopy(self) for _ in range(workers)]
        for number, one in enumerate(copies):
            one.worker, one.workers = number, workers
        return copies

    # One process for each worker

    def attach(self, model: DistributedDataParallel) -> None:
        """Exchange this model's gradients by this compressor."""
        trained = (p for p in model.module.parameters() if p.requires_grad)
        self._numbers = {id(p): number for number, p in enumerate(trained)}
        model.register_comm_hook(None, self.hook)

    def hook(
        self, state: dist.ProcessGroup | None, bucket: dist.GradBucket
    ) -> torch.futures.Future[torch.Tensor]:
        """Communication hook of DistributedDataParallel; `state` is its process group."""
        self.worker, self.workers = dist.get_rank(state), dist.get_world_size(state)
        layers = [self._numbers.setdefault(id(p), len(self._numbers)) for p in bucket.parameters()]
        targets = bucket.gradients()
        gradients, scales = self.prepare(list(targets))
        if scales is not None:
            dist.all_reduce(scales, dist.ReduceOp.MAX, group=state)
        payloads = _encode(self, layers, gradients, scales)
        for target in targets:
            target.zero_()
        for message in self._gather(payloads, targets, state):
            _add_decoded(self, message, targets, scales, self.workers)
        buffer = bucket.buffer()
        future: torch.futures.Future[torch.Tensor] = torch.futures.Future(
            devices=[buffer.device] if buffer.is_cuda else []
        )
        future.set_result(buffer)
        return future

    def _gather(
        self, payloads: list[Tensor], targets: list[Tensor], group: dist.ProcessGroup | None
    ) -> list[list[Tensor]]:
        """Every worker's payloads."""
        device = targets[0].device
        lengths = torch.tensor([len(p) for p in payloads], dtype=torch.int32, device=device)
        all_lengths = [lengths.clone() for _ in range(self.workers)]
        if any(self.length(target) is None for target in targets):
            dist.all_gather(all_lengths, lengths, group=group)
        counts = [one.tolist() for one in all_lengths]
        longest = max(sum(one) for one in counts)
        mine = torch.zeros(longest, dtype=torch.uint8, device=device)
        mine[: sum(len(p) for p in payloads)] = torch.cat(payloads)
        theirs = [torch.empty_like(mine) for _ in range(self.workers)]
        dist.all_gather(theirs, mine, group=group)
        return [
            list(message[: sum(one)].split(one))
            for message, one in zip(theirs, counts, strict=True)
        ]

    def state_dict(self) -> dict[str, Any]:
        return {
            "memory": {str(layer): dict(kept) for layer, kept in self.memory.items()},
            "sent_bytes": self.sent_bytes,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.memory = {int(layer): dict(kept) for layer, kept in state["memory"].items()}
        self.sent_bytes = state["sent_bytes"]

    def __repr__(self) -> str:
        names = [name for name in inspect.signature(type(self)).parameters if hasattr(self, name)]
        said = ", ".join(f"{name}={getattr(self, name)}" for name in names)
        return f"{type(self).__name__}({said})"


def exchange(
    compressors: Sequence[Compressor],
    gradients: Sequence[list[Tensor]],
    layers: list[int] | None = None,
) -> list[Tensor]:
    """The average that every worker has after the exchange; `gradients` is a list for each.

    Args:
        layers: each tensor's number, by which compressors remember it; by default its place.
    """
    layers = list(range(len(gradients[0]))) if layers is None else layers
    prepared = [one.prepare(own) for one, own in zip(compressors, gradients, strict=True)]
    numbers = [scales for _, scales in prepared if scales is not None]
    scales = torch.stack(numbers).amax(0) if numbers else None
    averages = [torch.zeros_like(g) for g in gradients[0]]
    for one, (own, _) in zip(compressors, prepared, strict=True):
        payloads = _encode(one, layers, own, scales)
        _add_decoded(one, payloads, averages, scales, len(compressors))
    return averages


def _encode(
    one: Compressor, layers: list[int], gradients: list[Tensor], scales: Tensor | None
) -> list[Tensor]:
    """The payload of each layer; counts what the worker sends."""
    payloads = [
        one.encode(layer, gradient, None if scales is None else scales[i])
        for i, (layer, gradient) in enumerate(zip(layers, gradients, strict=True))
    ]
    one.sent_bytes += sum(len(payload) for payload in payloads)
    one.sent_bytes += 0 if scales is None else scales.numel() * scales.element_size()
    one.sent_bytes += 4 * sum(one.length(gradient) is None for gradient in gradients)
    return payloads


def _add_decoded(
    one: Compressor,
    payloads: list[Tensor],
    averages: list[Tensor],
    scales: Tensor | None,
    workers: int,
) -> None:
    for i, (payload, average) in enumerate(zip(payloads, averages, strict=True)):
        decoded = one.decode(payload, average, None if scales is None else scales[i])
        average.add_(decoded.reshape(average.shape), alpha=1 / workers)


# Bytes -------------------------------------------------------------------------------------------


def as_bytes(values: Tensor) -> UInt8[Tensor, " bytes"]:
    """The memory of a tensor."""
    return values.reshape(-1).contiguous().view(torch.uint8)


def from_bytes(payload: UInt8[Tensor, " bytes"], dtype: torch.dtype) -> Tensor:
    """The tensor, flat, whose memory these bytes are."""
    return payload.clone().view(dtype)  # a slice may start where the type may not


def pack(codes: Tensor, bits: int) -> UInt8[Tensor, " bytes"]:
    """Whole numbers below 2^bits, one after the other without gaps."""
    places = torch.arange(bits, device=codes.device)
    flat = ((codes.reshape(-1, 1).int() >> places) & 1).reshape(-1)
    padded = torch.nn.functional.pad(flat, (0, -len(flat) % 8)).reshape(-1, 8)
    return (padded << torch.arange(8, device=codes.device)).sum(1).to(torch.uint8)


def unpack(payload: UInt8[Tensor, " bytes"], bits: int, count: int) -> Tensor:
    """The first `count` numbers that were packed."""
    places = torch.arange(8, device=payload.device)
    flat = ((payload.reshape(-1, 1).int() >> places) & 1).reshape(-1)[: count * bits]
    return (flat.reshape(-1, bits) << torch.arange(bits, device=payload.device)).sum(1)


def packed_length(count: int, bits: int) -> int:
    """Bytes of so many packed numbers."""
    return -(-count * bits // 8)
