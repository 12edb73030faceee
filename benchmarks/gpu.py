"""The same trainings on a GPU: `python -m benchmarks.gpu [--rounds N]`.

Milliseconds a step of a plain loop in fp32, of bf16 autocast, of the same with CUDA graphs
(`torch.compile(mode="reduce-overhead")`), of `fit` with its defaults and of `fit` compiled; and a
vmapped ensemble of 64 against one member after another. Without a GPU it says so in one line.
"""

import argparse
import itertools
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_STEPS, _WARM_UP, _MEMBERS = 100, 20, 64

Step = Callable[[], object]


def models() -> dict[str, tuple[Callable[[], nn.Module], Callable[[], tuple[Tensor, Tensor]]]]:
    """Each model, and one batch of its data."""
    from neurarium.networks import GPT, LeNet5, ResNet

    def images(batch: int, *shape: int) -> Callable[[], tuple[Tensor, Tensor]]:
        return lambda: (torch.randn(batch, *shape), torch.randint(10, (batch,)))

    def text() -> tuple[Tensor, Tensor]:
        tokens = torch.randint(65, (64, 257))
        return tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous()

    return {
        "LeNet-5, MNIST, batch 512": (LeNet5, images(512, 1, 28, 28)),
        "ResNet-20, 32x32, batch 128": (lambda: ResNet(depth=20), images(128, 3, 32, 32)),
        "GPT 6x384, 256 tokens, batch 64": (
            lambda: GPT(65, context=256, dim=384, heads=6, layers=6),
            text,
        ),
    }


def loop(model: nn.Module, x: Tensor, y: Tensor, half: bool, compiled: bool) -> Step:
    """One step of a loop by hand."""
    optimizer = torch.optim.Adam(model.parameters(), 1e-3, fused=True, capturable=compiled)
    forward: Any = torch.compile(model, mode="reduce-overhead") if compiled else model

    def step() -> None:
        with torch.autocast(x.device.type, torch.bfloat16, enabled=half):
            loss = F.cross_entropy(forward(x).flatten(0, -2).float(), y.flatten())
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def timed(step: Step) -> float:
    """Milliseconds of a step, the GPU's work included."""
    for _ in range(_WARM_UP):
        step()
    torch.accelerator.synchronize()
    start = time.perf_counter()
    for _ in range(_STEPS):
        step()
    torch.accelerator.synchronize()
    return 1e3 * (time.perf_counter() - start) / _STEPS


def fitted(make: Callable[[], nn.Module], x: Tensor, y: Tensor, compiled: bool) -> float:
    """Milliseconds of a step of `fit`, by the epochs after the first."""
    from neurarium.data import Data
    from neurarium.learning import Backprop
    from neurarium.objectives import per_step, supervised
    from neurarium.training import Callback, fit

    marks: list[float] = []

    class Marks(Callback):
        def on_train_epoch_end(self, trainer: Any) -> None:
            torch.accelerator.synchronize()
            marks.append(time.perf_counter())

    objective = per_step("cross_entropy") if y.ndim > 1 else supervised("cross_entropy")
    repeated = x.repeat(_STEPS, *[1] * (x.ndim - 1)), y.repeat(_STEPS, *[1] * (y.ndim - 1))
    fit(
        make(), Data(repeated), objective, Backprop("adam", lr=1e-3), epochs=3,
        batch_size=len(x), compile=compiled, callbacks=[Marks()], verbose=False,
    )  # fmt: skip
    return 1e3 * min(b - a for a, b in itertools.pairwise(marks)) / _STEPS


def ensemble(device: str) -> tuple[float, float]:
    """Milliseconds of a step of 64 perceptrons: one after another, and vmapped."""
    from neurarium.networks import MLP

    members = [MLP([784, 128, 10]).to(device) for _ in range(_MEMBERS)]
    x, y = torch.randn(128, 784, device=device), torch.randint(10, (128,), device=device)
    steps = [loop(member, x, y, half=False, compiled=False) for member in members]

    def separately() -> None:
        for step in steps:
            step()

    weights, buffers = torch.func.stack_module_state(members)
    optimizer = torch.optim.Adam(list(weights.values()), 1e-3, fused=True)

    def one(parameters: dict[str, Tensor], others: dict[str, Tensor]) -> Tensor:
        return F.cross_entropy(torch.func.functional_call(members[0], (parameters, others), x), y)

    def together() -> None:
        torch.func.vmap(one)(weights, buffers).sum().backward()
        optimizer.step()
        optimizer.zero_grad()

    return timed(separately), timed(together)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    if not torch.cuda.is_available():
        print("GPU: none here, so nothing was measured on one")
        return
    print(f"GPU: {torch.cuda.get_device_name()}, CUDA {torch.version.cuda}; milliseconds a step")
    ways: dict[str, Callable[..., float]] = {
        "plain": lambda make, x, y: timed(loop(make().cuda(), x, y, False, False)),
        "bf16": lambda make, x, y: timed(loop(make().cuda(), x, y, True, False)),
        "bf16, CUDA graphs": lambda make, x, y: timed(loop(make().cuda(), x, y, True, True)),
        "fit": lambda make, x, y: fitted(make, x, y, compiled=False),
        "fit, compiled": lambda make, x, y: fitted(make, x, y, compiled=True),
    }
    print(f"{'':34}" + "".join(f"{way:>19}" for way in ways))
    for name, (make, batch) in models().items():
        found: dict[str, list[float]] = {way: [] for way in ways}
        for _ in range(rounds):
            for way, measure in ways.items():
                torch.manual_seed(0)
                x, y = (column.cuda() for column in batch())
                found[way].append(measure(make, x, y))
        middle = (statistics.median(values) for values in found.values())
        print(f"{name:34}" + "".join(f"{value:19.3f}" for value in middle), flush=True)
    separately, together = ensemble("cuda")
    print(f"{_MEMBERS} perceptrons 784-128-10: {separately:.2f} one by one, {together:.2f} vmapped")
    from benchmarks.graphs import compare

    compare(rounds)


if __name__ == "__main__":
    main()
