"""How to compute: device, precision, memory format, threads, compilation, decided from facts.

The decision is one pure function of what is known of the model, the batch and the hardware, and
never of a clock: a run must choose the same, and so give the same bytes, each time.
"""

import contextlib
import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from neurarium.data import Batch
from neurarium.learning.analytic import PLAIN_MODELS
from neurarium.learning.flat_backprop import FlatBackprop, find_flat
from neurarium.learning.rule import value_of
from neurarium.objectives import Objective
from neurarium.training import allocator

Precision = Literal["32-true", "bf16-mixed", "16-mixed"]
PRECISIONS = {
    "32": "32-true", "32-true": "32-true", "fp32": "32-true",
    "bf16": "bf16-mixed", "bf16-mixed": "bf16-mixed",
    "16": "16-mixed", "fp16": "16-mixed", "16-mixed": "16-mixed",
}  # fmt: skip

# Measured on 2 cores: below so many operations a step, waking a second thread costs more than it
# gives. Convolutions share out a batch's images, products of matrices only their blocks.
_FLOPS_WORTH_THREADS = {"convolution": 3e8, "other": 1e9}
# Recurrent layers wait for each other after every time step, so one of those must be worth it.
_FLOPS_OF_A_TIME_STEP_WORTH_THREADS = {"32-true": 4e7, "bf16-mixed": 7e7}
# Threads that wait for each other crawl when another process holds a core: leave them if one thread
# alone is so many times as fast.
_CONTENDED = 1.5
# On a GPU a step this small is bound by kernel launches; casting only adds more of them.
_FLOPS_WORTH_HALF_ON_GPU = 2e9
_ROWS_WORTH_BF16, _PRODUCT_WORTH_BF16, _CHANNELS_WORTH_BF16 = 96, 10e6, 6


@dataclass(frozen=True)
class LayerFacts:
    """One layer's work on one batch."""

    kind: Literal["convolution", "linear", "recurrent"]
    rows: int
    inputs: int
    outputs: int
    flops: float
    time_steps: int = 1  # one after the other, in each layer and direction

    def pays_in_bf16(self) -> bool:
        """Whether a CPU with AMX or AVX-512 bf16 is faster in bf16, casts included, as measured."""
        if self.kind == "convolution":
            return self.outputs >= _CHANNELS_WORTH_BF16
        if self.kind == "recurrent":
            return True
        product = self.rows * self.inputs * self.outputs
        return self.rows >= _ROWS_WORTH_BF16 and product >= _PRODUCT_WORTH_BF16


@dataclass(frozen=True)
class Facts:
    """What the decision is made from."""

    device: str
    cores: int
    fast_bf16: bool
    layers: tuple[LayerFacts, ...] = ()

    @property
    def flops(self) -> float:
        """Floating-point operations of a training step: forward, and twice that backward."""
        return 3 * sum(layer.flops for layer in self.layers)


@dataclass(frozen=True)
class Engine:
    """Settings of a run; `reasons` says why each was chosen."""

    device: str = "cpu"
    precision: Precision = "32-true"
    channels_last: bool = False
    threads: int | None = None
    compile: bool = False
    reasons: Mapping[str, str] = field(default_factory=dict)

    def record(self) -> dict[str, Any]:
        """Plain values for the run's configuration."""
        return {**asdict(self), "reasons": dict(self.reasons)}

    @contextlib.contextmanager
    def active(self) -> Iterator[None]:
        """Use this number of threads, and memory again and again; give both back afterwards."""
        before = torch.get_num_threads()
        if self.threads is not None:
            torch.set_num_threads(self.threads)
        allocator.keep_freed_memory()
        try:
            yield
        finally:
            torch.set_num_threads(before)
            allocator.give_back()

    def place(self, model: nn.Module) -> None:
        """Move the model to the device and memory format, in place."""
        model.to(self.device)
        if self.channels_last:
            model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        """The context in which the forward pass runs."""
        if self.precision == "32-true":
            return contextlib.nullcontext()
        half = torch.bfloat16 if self.precision == "bf16-mixed" else torch.float16
        return torch.autocast(torch.device(self.device).type, half)

    def flat(self, rule: object, model: nn.Module, objective: Objective) -> FlatBackprop | None:
        """The rule's steps with all weights in one vector, where that can be done here."""
        if self.device != "cpu" or self.compile or type(model) not in PLAIN_MODELS:
            return None
        half = {"32-true": None, "bf16-mixed": torch.bfloat16}
        if self.precision not in half:
            return None
        return find_flat(rule, model, objective, half[self.precision])

    def wrap(self, objective: Objective, model: nn.Module) -> Objective:
        """The objective under autocast and with the compiled model, where either is wanted."""
        if self.precision == "32-true" and not self.compile:
            return objective
        return _Wrapped(self, objective, model)


class _Wrapped(nn.Module):
    def __init__(self, engine: Engine, objective: Objective, model: nn.Module) -> None:
        super().__init__()
        self.engine, self.objective = engine, objective
        # In a tuple, lest the model's parameters count as the objective's own.
        compiled: Any = torch.compile(model) if engine.compile else model
        self.models = (model, compiled)

    def forward(self, model: nn.Module, batch: Batch) -> Tensor | Mapping[str, Tensor]:
        with self.engine.autocast():
            return self.objective(self.models[1] if model is self.models[0] else model, batch)


def decide(
    facts: Facts,
    *,
    precision: str = "auto",
    channels_last: bool | None = None,
    threads: int | None = None,
    compile: bool | None = None,
) -> Engine:
    """The settings that measurements favour for these facts; an argument given is obeyed."""
    convolutional = any(layer.kind == "convolution" for layer in facts.layers)
    reasons = {}
    if precision != "auto" and precision not in PRECISIONS:
        raise ValueError(f"precision must be auto, {', '.join(PRECISIONS)}, got {precision!r}")
    if precision != "auto":
        chosen, reasons["precision"] = PRECISIONS[precision], "asked for"
    else:
        chosen, reasons["precision"] = _precision(facts)
    if channels_last is None:
        channels_last = convolutional
        reasons["channels_last"] = "convolutions" if convolutional else "no convolutions"
    if threads is None and facts.device == "cpu":
        threads, reasons["threads"] = _threads(facts, chosen)
    if compile is None:
        reasons["compile"] = "off unless asked for: start-up rarely pays for itself"
    return Engine(facts.device, chosen, channels_last, threads, bool(compile), reasons)  # type: ignore[arg-type]


def yield_to_load(engine: Engine, model: nn.Module, objective: Objective, batch: Batch) -> Engine:
    """The same engine, on one thread if two timed evaluations show the cores taken by others.

    Only where they are: on a machine at rest the choice depends on facts alone, and so do the
    bytes of the weights. A resumed run keeps the threads it began with.
    """
    if engine.device != "cpu" or engine.threads in (None, 1) or "threads" not in engine.reasons:
        return engine
    alone, together = (_time(engine, model, objective, batch, n) for n in (1, engine.threads))
    if together < _CONTENDED * alone:
        return engine
    why = f"other processes hold the cores: {together / alone:.1f} times slower on all"
    return replace(engine, threads=1, reasons={**engine.reasons, "threads": why})


def _time(
    engine: Engine, model: nn.Module, objective: Objective, batch: Batch, threads: int | None
) -> float:
    """Seconds of the faster of two evaluations with their gradients, which change nothing."""
    training, seconds = model.training, math.inf
    with replace(engine, threads=threads).active(), preserved_randomness():
        model.eval()  # lest normalizations count these batches
        for _ in range(2):
            start = time.perf_counter()
            with engine.autocast():
                loss = value_of(objective(model, batch))["loss"]
            trained = [p for p in model.parameters() if p.requires_grad]
            torch.autograd.grad(loss, trained, allow_unused=True)
            seconds = min(seconds, time.perf_counter() - start)
        model.train(training)
    return seconds


def _precision(facts: Facts) -> tuple[str, str]:
    if not facts.fast_bf16:
        return "32-true", "no fast bf16 on this hardware"
    if facts.device != "cpu":
        if facts.flops >= _FLOPS_WORTH_HALF_ON_GPU:
            return "bf16-mixed", f"{facts.flops / 1e9:.2g} GFLOP a step"
        return "32-true", "steps too small to repay the casts"
    total = sum(layer.flops for layer in facts.layers)
    paying = sum(layer.flops for layer in facts.layers if layer.pays_in_bf16())
    if total and paying > total / 2:
        return "bf16-mixed", f"{paying / total:.0%} of the work is faster in bf16"
    return "32-true", "layers too small to repay the casts"


def _threads(facts: Facts, precision: str) -> tuple[int, str]:
    recurrent = [layer for layer in facts.layers if layer.kind == "recurrent"]
    if 3 * sum(layer.flops for layer in recurrent) > facts.flops / 2:
        at_once = max(layer.flops / layer.time_steps for layer in recurrent)
        small = at_once < _FLOPS_OF_A_TIME_STEP_WORTH_THREADS.get(precision, 0)
        return 1 if small else facts.cores, f"{at_once / 1e6:.2g} MFLOP a time step"
    convolutional = any(layer.kind == "convolution" for layer in facts.layers)
    small = facts.flops < _FLOPS_WORTH_THREADS["convolution" if convolutional else "other"]
    return 1 if small else facts.cores, f"{facts.flops / 1e9:.2g} GFLOP a step"


def find_device(device: str = "auto") -> str:
    """The accelerator if there is one, else the CPU; a device asked for must exist."""
    if device == "auto":
        if torch.cuda.is_available():
            return "cuda"
        return "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"device {device!r} is not available here ({reason}); try cpu") from None
    return device


def inspect(model: nn.Module, objective: Objective, batch: Batch, device: str) -> Facts:
    """Facts of one evaluation of the objective, which changes neither model nor random state."""
    layers: list[LayerFacts] = []
    kinds = (nn.modules.conv._ConvNd, nn.Linear, nn.RNNBase)
    hooks = [
        module.register_forward_hook(lambda m, i, o: layers.append(_facts_of(m, i[0], o)))
        for module in model.modules()
        if isinstance(module, kinds)
    ]
    training = model.training
    try:
        with preserved_randomness():
            model.eval()
            objective(model, batch)
    finally:
        model.train(training)
        for hook in hooks:
            hook.remove()
    return Facts(device, torch.get_num_threads(), has_fast_bf16(device), tuple(layers))


def _facts_of(module: nn.Module, value: Any, output: Any) -> LayerFacts:
    sequences, value = value, value.data  # of packed sequences too
    if isinstance(module, nn.modules.conv._ConvNd):
        positions = output.numel() // output.shape[1]
        flops = 2 * positions * module.weight.numel()
        return LayerFacts("convolution", positions, module.in_channels, module.out_channels, flops)
    if isinstance(module, nn.RNNBase):
        rows = value.numel() // value.shape[-1]
        flops = 2.0 * rows * sum(p.numel() for p in module.parameters())
        if isinstance(sequences, nn.utils.rnn.PackedSequence):
            steps = len(sequences.batch_sizes)
        else:
            steps = value.shape[1 if module.batch_first and value.ndim == 3 else 0]
        steps *= module.num_layers * (1 + module.bidirectional)
        sizes = module.input_size, module.hidden_size
        return LayerFacts("recurrent", rows, *sizes, flops, max(1, steps))
    assert isinstance(module, nn.Linear)
    rows = value.numel() // value.shape[-1]
    flops = 2.0 * rows * module.in_features * module.out_features
    return LayerFacts("linear", rows, module.in_features, module.out_features, flops)


def has_fast_bf16(device: str) -> bool:
    """Whether bf16 products are the faster ones: AMX or AVX-512 on a CPU, native on a GPU."""
    if device.startswith("cuda"):
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device != "cpu":
        return False
    # The public query (mkldnn's) also answers yes to hardware that only emulates bf16.
    queries = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
    return any(getattr(torch.cpu, query, bool)() for query in queries)


@contextlib.contextmanager
def preserved_randomness() -> Iterator[None]:
    """Leave torch's random states as they were found."""
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        yield
