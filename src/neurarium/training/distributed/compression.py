"""Ways to exchange gradients, by name: our compressors, and torch's own."""

from collections.abc import Callable
from typing import Any

import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from neurarium._names import resolve
from neurarium.training.distributed.compressor import Compressor
from neurarium.training.distributed.dgc import DGC
from neurarium.training.distributed.float_truncate import FloatTruncate
from neurarium.training.distributed.qsgd import QSGD
from neurarium.training.distributed.sign_sgd import SignSGD
from neurarium.training.distributed.terngrad import TernGrad

__all__ = ["compression"]


class TorchHook:
    """A communication hook of torch's; `attach` puts it into a DistributedDataParallel."""

    whole_gradient = False

    def __init__(self, name: str, make: Callable[[], tuple[Any, Any]]) -> None:
        self.name, self.make = name, make

    def attach(self, model: DistributedDataParallel) -> None:
        """Exchange this model's gradients so."""
        model.register_comm_hook(*self.make())

    def __repr__(self) -> str:
        return self.name


def compression(name: str) -> Compressor | TorchHook:
    r"""A way to exchange gradients by its name, ready to `attach` to a DistributedDataParallel.

    `terngrad`, `dgc`, `sign_sgd`, `qsgd` and `float_truncate` are compressors of this package.
    `fp16`, `bf16`, `power_sgd` and `post_local_sgd` are torch's hooks, which need a process group.
    PowerSGD sends two thin factors of each gradient matrix instead of it, made by one step of power
    iteration from those of the step before:

    $$P = \operatorname{orth}(M Q), \qquad Q = M^\top P, \qquad \hat M = P Q^\top, \qquad
      Q \in \mathbb{R}^{m \times \text{rank}}$$

    Arguments follow a colon: "dgc:sparsity=0.99", "power_sgd:rank=2,start=10" (plain averages for
    so many steps first), "post_local_sgd:start=100" (thereafter each process steps alone, and
    parameters have to be averaged by torch's PeriodicModelAverager).

    Raises:
        ValueError: for an unknown name or argument; the message lists the nearest ones.

    Source: Vogels et al. (2019), PowerSGD: Practical Low-Rank Gradient Compression for Distributed
    Optimization, arXiv:1905.13727.
    """
    found = resolve(name, _NAMES, "compression")
    if isinstance(getattr(found, "func", found), type):
        return found()
    return TorchHook(name, found)


def _fp16() -> tuple[Any, Any]:
    from torch.distributed.algorithms.ddp_comm_hooks import default_hooks

    return None, default_hooks.fp16_compress_hook


def _bf16() -> tuple[Any, Any]:
    from torch.distributed.algorithms.ddp_comm_hooks import default_hooks

    return None, default_hooks.bf16_compress_hook


def _power_sgd(rank: int = 1, start: int = 10, min_compression_rate: float = 2) -> tuple[Any, Any]:
    from torch.distributed.algorithms.ddp_comm_hooks import powerSGD_hook

    state = powerSGD_hook.PowerSGDState(
        None,
        matrix_approximation_rank=rank,
        start_powerSGD_iter=start,
        min_compression_rate=min_compression_rate,
    )
    return state, powerSGD_hook.powerSGD_hook


def _post_local_sgd(start: int = 100) -> tuple[Any, Any]:
    from torch.distributed.algorithms.ddp_comm_hooks import post_localSGD_hook

    alone, _ = dist.new_subgroups(1)
    state = post_localSGD_hook.PostLocalSGDState(None, alone, start_localSGD_iter=start)
    return state, post_localSGD_hook.post_localSGD_hook


_NAMES: dict[str, Any] = {
    "TernGrad": TernGrad,
    "DGC": DGC,
    "SignSGD": SignSGD,
    "QSGD": QSGD,
    "FloatTruncate": FloatTruncate,
    "fp16": _fp16,
    "bf16": _bf16,
    "power_sgd": _power_sgd,
    "post_local_sgd": _post_local_sgd,
}
