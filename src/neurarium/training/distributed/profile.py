"""What a step is made of, and whether more workers would pay."""

import copy
import functools
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from neurarium.data import Data
from neurarium.learning import Backprop
from neurarium.objectives import Objective

__all__ = ["StepProfile", "profile_step"]

_WORTH = 0.7  # of the ideal speed: below it a larger batch or a cheaper exchange gains more


@dataclass(frozen=True)
class StepProfile:
    """Milliseconds of the parts of a step by one worker, and of an exchange between several."""

    data_ms: float
    compute_ms: float
    communication_ms: float
    workers: int

    @property
    def speedup(self) -> float:
        """Rows a second by all workers, relative to one."""
        alone = self.data_ms + self.compute_ms
        return self.workers * alone / (alone + self.communication_ms)

    @property
    def scale_out(self) -> bool:
        """Whether more workers are the next thing to try."""
        return self.data_ms <= self.compute_ms and self.speedup >= _WORTH * self.workers

    @property
    def verdict(self) -> str:
        """One sentence for the reader."""
        gain = f"{self.workers} workers would take {self.speedup:.2g} times the rows a second"
        if self.data_ms > self.compute_ms:
            return (
                f"do not scale out yet: reading a batch takes {self.data_ms:.3g} ms, computing on "
                f"it {self.compute_ms:.3g} ms; speed up the reading first"
            )
        if not self.scale_out:
            return (
                f"do not scale out yet: {gain}, since exchanging gradients takes "
                f"{self.communication_ms:.3g} ms beside {self.compute_ms:.3g} ms of computing; "
                "try larger batches or a compressor first"
            )
        return f"scale out: {gain}"


def profile_step(
    model: nn.Module,
    data: Data,
    objective: Objective,
    rule: Any = None,
    *,
    batch_size: int = 64,
    workers: int = 2,
    bandwidth: float = 1.25e9,
    latency: float = 5e-5,
    steps: int = 10,
) -> StepProfile:
    r"""Time a step's data, computing and communication; `.verdict` says whether to scale out.

    $$\text{speed-up} = n\, \frac{t_{\text{data}} + t_{\text{compute}}}
      {t_{\text{data}} + t_{\text{compute}} + t_{\text{exchange}}}, \qquad
      t_{\text{exchange}} = \frac{2(n-1)}{n} \frac{M}{B} + 2(n-1)\,\lambda$$

    for n workers that each take batches of this size, exchanging the M bytes of a gradient round a
    ring without overlap. Inside a process group the exchange is measured, elsewhere reckoned. Times
    are medians; the model stays as it was.

    Args:
        rule: how a step is made; by default `Backprop()`.
        workers: n, unless a process group says it.
        bandwidth: B, bytes a second between two workers: 1.25e9 is 10-gigabit Ethernet.
        latency: $\lambda$, seconds of a message.
        steps: how many are timed, after two that are not.

    Source: Patarasuk & Yuan (2009), Bandwidth optimal all-reduce algorithms for clusters of
    workstations, J. Parallel Distrib. Comput. 69(2).
    """
    if workers < 2 or steps < 1 or not bandwidth > 0:
        raise ValueError(
            "profile_step needs workers >= 2, steps >= 1 and bandwidth > 0, got "
            f"{workers}, {steps} and {bandwidth}"
        )
    model, objective = copy.deepcopy((model, objective))
    rule = copy.deepcopy(rule) or Backprop()
    if hasattr(rule, "plan"):
        rule.plan(steps + 2)
    rule.bind(model, objective)
    model.train()
    device = next(model.parameters()).device
    reading, computing = [], []
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        batches = _endless(data, batch_size)
        for _ in range(steps + 2):
            start = time.perf_counter()
            batch = {name: value.to(device) for name, value in next(batches).items()}
            batch = data.prepare(batch, training=True)
            reading.append(time.perf_counter() - start)
            computing.append(_timed(functools.partial(rule.step, batch), device))
    size = sum(p.numel() * p.element_size() for p in model.parameters() if p.requires_grad)
    if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
        workers = dist.get_world_size()
        gradient = torch.zeros(size // 4, device=device)
        reduce = functools.partial(dist.all_reduce, gradient)
        exchanges = [_timed(reduce, device) for _ in range(steps + 2)]
        exchange = _median(exchanges[2:])
    else:
        exchange = 2 * (workers - 1) * (size / workers / bandwidth + latency)
    data_ms, compute_ms = 1000 * _median(reading[2:]), 1000 * _median(computing[2:])
    return StepProfile(data_ms, compute_ms, 1000 * exchange, workers)


def _endless(data: Data, batch_size: int) -> Any:
    while True:
        yield from data.train.batches(batch_size, 0)


def _timed(act: Callable[[], Any], device: torch.device) -> float:
    start = time.perf_counter()
    act()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def _median(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]
