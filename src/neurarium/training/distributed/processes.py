"""The processes that train one model together, as `torchrun` starts them.

Alone, there is one process and every method here gives back what it got.
"""

import atexit
import gc
import importlib
import io
import os
import warnings
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from neurarium.data import Batch
from neurarium.learning import Backprop
from neurarium.learning.rule import Rule, value_of
from neurarium.objectives import Objective
from neurarium.training.distributed.compression import TorchHook, compression
from neurarium.training.distributed.compressor import Compressor
from neurarium.training.distributed.shares import part_of, shares
from neurarium.training.engine import Engine

STRATEGIES = ("ddp", "fsdp")
_ONE_BUCKET_MB = 1 << 20
_SAME = 1e-6  # relative: other processors round otherwise


class Processes:
    """This process among those that train one model.

    Attributes:
        rank: this process's number; number 0 writes files and shows progress.
        size: how many there are.
        weight: of this process's part of the batch, relative to an equal share.
    """

    def __init__(self, rank: int = 0, size: int = 1) -> None:
        self.rank, self.size, self.weight = rank, size, 1.0
        # Decisions are exchanged between processors, so that no accelerator has to wait.
        lacking = size > 1 and "gloo" not in dist.get_backend_config()
        self.group: Any = dist.new_group(backend="gloo") if lacking else None
        self.how: Compressor | TorchHook | None = None
        self.strategy = "ddp"
        self.shards: Any = None  # of a model whose weights no process holds whole

    @classmethod
    def find(cls) -> "Processes":
        """Those that the environment tells of (RANK, WORLD_SIZE, ...), else this one alone."""
        if not dist.is_available():
            return cls()
        if not dist.is_initialized():
            if int(os.environ.get("WORLD_SIZE", "1")) < 2 or "RANK" not in os.environ:
                return cls()
            if torch.cuda.is_available():
                torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
            # Before the group exists: it takes the present one as default values of its functions,
            # and would hold the group, and its threads, to the end.
            importlib.import_module("torch.distributed.nn")
            dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")
            atexit.register(_leave)
        return cls(dist.get_rank(), dist.get_world_size()) if dist.get_world_size() > 1 else cls()

    def communicate_by(self, how: "str | Compressor | None") -> None:
        """Choose how gradients are exchanged."""
        if how is not None and self.size == 1:
            raise ValueError(
                f"communication={how!r} needs several processes; start this program by torchrun, "
                "or simulate them with rule=distributed.SimulatedWorkers(n, compressor=...)"
            )
        self.how = compression(how) if isinstance(how, str) else how
        if repr(self.how).startswith("post_local_sgd"):
            raise ValueError(
                "fit keeps the processes' weights equal, which post_local_sgd does not; simulate "
                "it with SimulatedWorkers(n, mode='average') or use torch's hook in a loop of "
                "your own"
            )

    def hold_weights_by(self, strategy: str) -> None:
        """Choose whether each process holds all weights ("ddp") or a part of each ("fsdp")."""
        if strategy not in STRATEGIES:
            raise ValueError(f"strategy must be one of {', '.join(STRATEGIES)}, got {strategy!r}")
        self.strategy = strategy
        if strategy == "fsdp" and self.size == 1 and "TORCHELASTIC_RUN_ID" not in os.environ:
            raise ValueError(
                "strategy='fsdp' needs several processes; start this program by torchrun, or "
                "neurarium fit with --workers"
            )

    @property
    def shares_weights(self) -> bool:
        """Whether no process is to hold all weights."""
        return self.strategy == "fsdp" and self.size > 1

    def part(
        self, model: nn.Module, objective: Objective, rule: Rule, example: Batch, engine: Engine
    ) -> None:
        """Cut the model, where no process is to hold all weights; before the rule is bound."""
        if self.shares_weights:
            # Not where nobody asks for it: it takes a second to import.
            from neurarium.training.distributed.sharding import Shards

            _check_parted(objective, rule, self.how, engine)
            self.shards = Shards(model, objective, example, engine.device, self.size)
            _MESHES.append(self.shards.mesh)

    def part_again(self) -> None:
        """Let go of weights that an evaluation has gathered."""
        if self.shards is not None:
            self.shards.part()

    def make_whole(self) -> None:
        """Give every process all weights."""
        if self.shards is not None:
            self.shards.make_whole()
            self.shards = None

    def whole(self, state: Any) -> Any:
        """The state with whole tensors, on the first process; all must ask."""
        if self.shards is None:
            return state
        from neurarium.training.distributed.sharding import whole

        return whole(state, keep=self.rank == 0)

    def parted(self, state: Any, model: nn.Module) -> Any:
        """The state, read from a file, in the form that the model's weights have here."""
        if self.shards is None:
            return state
        from neurarium.training.distributed.sharding import parted

        return parted(state, model)

    def load_rule(self, rule: Any, state: dict[str, Any]) -> None:
        """Give the rule its state, read from a file."""
        rule.load_state_dict(state)
        optimizer = getattr(rule, "optimizer", None)
        if self.shards is not None:
            from neurarium.training.distributed.sharding import part_optimizer

            part_optimizer(rule.optimizer)
        elif isinstance(optimizer, torch.optim.Optimizer):
            _lay_out(optimizer)

    def seed(self, seed: int) -> int:
        """A seed for what must differ between processes, such as dropout; the first keeps it."""
        return (seed + self.rank * 1_000_003**2) % 2**63

    def share(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """This process's rows of a batch that all have drawn alike."""
        if self.size == 1:
            return batch
        rows = len(next(iter(batch.values())))
        parts = shares(rows, self.size)
        mine = parts[self.rank]
        self.weight = (mine.stop - mine.start) * self.size / rows
        # A process without rows must still take its part in the exchange: of weight zero.
        return part_of(batch, mine if self.weight else parts[0])

    def rows(self, batch: Batch) -> int:
        """The rows of this process's part that count."""
        return len(next(iter(batch.values()))) if self.weight else 0

    def wrap(self, objective: Objective, model: nn.Module) -> Objective:
        """The objective with gradients that are averaged between the processes."""
        if self.size == 1:
            return objective
        if self.shards is not None:
            return _weighing(self, objective)
        return _Together(self, objective, model)

    def plan(self, steps_per_epoch: int | None, rule: Rule) -> None:
        """Be told how long an epoch is, which a compressor may ask, and how steps are made."""
        parts = getattr(rule, "gradient_accumulation_steps", 1)
        if isinstance(self.how, Compressor) and parts > 1:
            raise ValueError(
                f"communication={self.how!r} compresses each gradient once, but "
                f"gradient_accumulation_steps={parts} adds several up before a step; take 1"
            )
        if getattr(self.how, "steps_per_epoch", 0) is None:
            self.how.steps_per_epoch = steps_per_epoch  # type: ignore[union-attr]

    def record(self) -> dict[str, Any]:
        """Plain facts for the run's configuration."""
        return {
            "processes": self.size,
            "strategy": self.strategy,
            "communication": None if self.how is None else repr(self.how),
        }

    def state_dict(self) -> dict[str, Any]:
        return self.how.state_dict() if isinstance(self.how, Compressor) else {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if isinstance(self.how, Compressor) and state:
            self.how.load_state_dict(state)

    # Agreements. All processes must call these, in the same order.

    def agree(self, *values: int) -> tuple[int, ...]:
        """The greatest of each value over the processes."""
        if self.size == 1:
            return values
        numbers = torch.tensor(values, dtype=torch.int64)
        dist.all_reduce(numbers, dist.ReduceOp.MAX, group=self.group)
        return tuple(numbers.tolist())

    def of_first(self, figures: dict[str, float]) -> dict[str, float]:
        """The first process's figures: decisions hang on them, and roundings may differ."""
        if self.size == 1 or not figures:
            return figures
        values = torch.tensor(list(figures.values()), dtype=torch.float64)
        dist.broadcast(values, 0, group=self.group)
        return dict(zip(figures, values.tolist(), strict=True))

    def same_path(self, path: str | Path | None) -> Path | None:
        """The first process's path: the others may not know what it is called."""
        if self.size == 1:
            return None if path is None else Path(path)
        text = str(path or "").encode()
        (length,) = self.agree(len(text) if self.rank == 0 else 0)
        letters = torch.zeros(length, dtype=torch.uint8)
        if self.rank == 0 and text:
            letters = torch.frombuffer(bytearray(text), dtype=torch.uint8)
        dist.broadcast(letters, 0, group=self.group)
        return Path(letters.numpy().tobytes().decode()) if length else None

    def add_up(self, rows: int, totals: Mapping[str, Tensor]) -> tuple[int, dict[str, Tensor]]:
        """Rows, and sums over them, of all processes."""
        if self.size == 1:
            return rows, dict(totals)
        values = torch.tensor([rows, *map(float, totals.values())], dtype=torch.float64)
        dist.all_reduce(values, group=self.group)
        return int(values[0]), dict(zip(totals, values[1:].unbind(), strict=True))

    @torch.no_grad()
    def copy_from_first(self, *modules: Any) -> None:
        """Give all processes the first one's parameters and buffers."""
        if self.size == 1:
            return
        for module in modules:
            if isinstance(module, nn.Module):
                for tensor in [*module.parameters(), *module.buffers()]:
                    dist.broadcast(tensor.detach(), 0)

    def copy_buffers_from_first(self, model: nn.Module) -> None:
        """Give all processes the first one's running statistics."""
        if self.size > 1:
            for tensor in model.buffers():
                dist.broadcast(tensor, 0)

    @torch.no_grad()
    def check_same(self, model: nn.Module, rule: object) -> None:
        """Refuse to go on where the processes' parameters have parted."""
        if self.size == 1 or self.shards is not None:
            return
        norms = [p.detach().double().norm() for p in model.parameters()]
        mine = torch.stack(norms).cpu()
        least, most = mine.clone(), mine.clone()
        dist.all_reduce(least, dist.ReduceOp.MIN, group=self.group)
        dist.all_reduce(most, dist.ReduceOp.MAX, group=self.group)
        if (most - least > _SAME * most).any():
            raise ValueError(
                f"after this step the {self.size} processes have different weights: {rule!r} does "
                "not follow the gradient that they average; train it in one process"
            )

    def gather(self, state: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Every process's state, on the first; elsewhere nothing. Tensors and plain values only."""
        file = io.BytesIO()
        torch.save(dict(state), file)
        mine = torch.frombuffer(file.getbuffer(), dtype=torch.uint8)
        (longest,) = self.agree(len(mine))
        padded = torch.zeros(longest, dtype=torch.uint8)
        padded[: len(mine)] = mine
        first = self.rank == 0
        theirs = [torch.empty_like(padded) for _ in range(self.size)] if first else None
        dist.gather(padded, theirs, 0, group=self.group)
        return [
            torch.load(io.BytesIO(one.numpy().tobytes()), "cpu", weights_only=True)
            for one in theirs or ()
        ]

    def wait(self) -> None:
        """Until all processes are here."""
        if self.size > 1:
            dist.barrier(group=self.group)


_MESHES: list[Any] = []  # torch's caches hold them to the end
_TOGETHER = weakref.WeakSet["_Together"]()  # a user's rule may hold one to the end


class _Together(nn.Module):
    """An objective evaluated under DistributedDataParallel, model and all.

    Wrapping only the model would hide it from the objective (penalties by name, methods besides
    `forward`, several passes). So the wrapped module is "judge this batch", whose parameters are
    the model's and the objective's; the objective sees the model as it is.
    """

    def __init__(self, processes: Processes, objective: Objective, model: nn.Module) -> None:
        super().__init__()
        self.objective: Any = objective  # if a module, its parameters are trained too
        # In a tuple, lest the model's parameters count as the objective's own.
        self.others = (processes, model)
        self.parallel: tuple[DistributedDataParallel, ...] = ()
        _TOGETHER.add(self)

    def forward(self, model: nn.Module, batch: Batch) -> Tensor | Mapping[str, Tensor]:
        processes, own = self.others
        if model is not own or not torch.is_grad_enabled():
            return self.objective(model, batch)
        if not self.parallel:
            self.parallel = (self._wrapped(processes, own, batch),)
        outputs = self.parallel[0](batch)
        outputs["loss"] = _weighted(outputs["loss"], processes.weight)
        return outputs

    def _wrapped(
        self, processes: Processes, model: nn.Module, batch: Batch
    ) -> DistributedDataParallel:
        """The module for DistributedDataParallel; it asks whether all parameters have gradients."""
        judge = _Judge(model, self.objective)
        (unused,) = processes.agree(_has_unused(judge, batch))
        how = processes.how
        one_bucket = how is not None and how.whole_gradient
        wrapped = DistributedDataParallel(
            judge,
            find_unused_parameters=bool(unused),
            bucket_cap_mb=_ONE_BUCKET_MB if one_bucket else None,
        )
        if how is not None:
            how.attach(wrapped)
        return wrapped


class _Judge(nn.Module):
    def __init__(self, model: nn.Module, objective: Any) -> None:
        super().__init__()
        self.model, self.objective = model, objective

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        return value_of(self.objective(self.model, batch))


def _has_unused(judge: _Judge, batch: Batch) -> int:
    """Whether the loss leaves out a parameter; changes neither statistics nor random state."""
    training = judge.model.training
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        judge.model.eval()
        loss = judge(batch)["loss"]
        trained = [p for p in judge.parameters() if p.requires_grad]
        gradients = torch.autograd.grad(loss, trained, allow_unused=True)
        judge.model.train(training)
    return int(any(g is None for g in gradients))


@torch.no_grad()
def _lay_out(optimizer: torch.optim.Optimizer) -> None:
    """Bring state that was written in another memory format into the parameters' own.

    Fused kernels go through memory and do not ask.
    """
    for parameter, state in optimizer.state.items():
        for name, value in state.items():
            if (
                isinstance(value, Tensor)
                and value.shape == parameter.shape
                and value.stride() != parameter.stride()
            ):
                state[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)


def _weighing(processes: Processes, objective: Objective) -> Objective:
    """The objective, of whose gradient torch makes the mean over the processes."""

    def weighing(model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        with warnings.catch_warnings():  # that the model's output is a view does no harm
            warnings.filterwarnings("ignore", message="FSDP2-wrapped module")
            outputs = value_of(objective(model, batch))
        return {**outputs, "loss": _weighted(outputs["loss"], processes.weight)}

    return weighing


def _check_parted(objective: Objective, rule: Rule, how: object, engine: Engine) -> None:
    """Refuse what needs all weights, or all gradients, in one process."""
    own = objective.parameters() if isinstance(objective, nn.Module) else ()
    given = getattr(rule, "_given", None)
    why = {
        "communication averages whole gradients": how is not None,
        f"the rule must be Backprop, not {type(rule).__name__}": type(rule) is not Backprop,
        "the optimizer must be made after the weights are cut: pass its name or class": isinstance(
            given, torch.optim.Optimizer
        ),
        "compile is not for weights in parts": engine.compile,
        "precision='16' scales the whole gradient; 'bf16' does not": engine.precision == "16-mixed",
        "channels_last is not for weights in parts": engine.channels_last,
        "the objective has parameters of its own": any(p.requires_grad for p in own),
    }
    for reason, applies in why.items():
        if applies:
            raise ValueError(f"strategy='fsdp' cannot be: {reason}; or take strategy='ddp'")


def _weighted(loss: Tensor, weight: float) -> Tensor:
    """The same loss with its gradient times `weight`."""
    return loss if weight == 1 else loss.detach() + weight * (loss - loss.detach())


def _leave() -> None:
    """End the exchange, and its threads, while Python still stands.

    A thread that lets go of a tensor after that ends the process with an abort. The threads end
    with the last that holds the group, so all that holds it must go.
    """
    if dist.is_initialized():
        for together in _TOGETHER:
            together.parallel = ()
        for mesh in _MESHES:
            getattr(mesh, "_pg_registry", {}).clear()
        dist.destroy_process_group()
        gc.collect()
