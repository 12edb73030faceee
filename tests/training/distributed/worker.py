"""One of several processes: does a task of `TASKS` and writes its weights and figures.

Run by `test_processes.py` with a folder and tasks; RANK and the rest are in the environment.
"""

import atexit
import contextlib
import json
import os
import sys
import warnings
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn.functional import cross_entropy
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, TensorDataset

from neurarium.data import Data
from neurarium.learning import Backprop
from neurarium.objectives import supervised
from neurarium.training import EMA, Callback, EarlyStopping, Interrupted, fit
from neurarium.training.callbacks import MaxNorm
from neurarium.training.distributed import compression

RANK, PROCESSES = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))


KEPT = []  # rules, which a user's script holds to its end


@atexit.register  # before the processes' own, so it runs after that
def no_thread_is_left() -> None:
    """A thread of the exchange that outlives Python may abort the process, now and then."""
    names = [path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm")]
    if left := [name for name in names if "gloo" in name]:
        print("threads are left:", left, flush=True)
        os._exit(3)


def tensors(rows: int = 41) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(rows, 4, generator=generator)
    return x, (x @ torch.randn(4, 3, generator=generator)).argmax(1)


def make_data() -> Data:
    x, y = tensors()
    return Data((x, y), (x[:12], y[:12]), (x[12:24], y[12:24]))


def make_network(seed: int = 0, dropout: float = 0.0, norm: bool = False) -> nn.Module:
    torch.manual_seed(seed)
    normalize = nn.BatchNorm1d(8) if norm else nn.Identity()
    return nn.Sequential(
        nn.Linear(4, 8), normalize, nn.Tanh(), nn.Dropout(dropout), nn.Linear(8, 3)
    )


def sgd() -> Backprop:
    return Backprop("sgd:momentum=0.9", lr=0.1, max_grad_norm=1.0, schedule="one_cycle")


def weight_decay(model: nn.Module, batch: object) -> torch.Tensor:
    """By name, which only the model itself has."""
    return 0.1 * model[0].weight.square().sum()


OBJECTIVE = supervised("cross_entropy", penalties=[weight_decay])


class StopAt(Callback):
    """Interrupts one process alone, the last."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_end(self, trainer, outputs, batch, batch_idx):
        if trainer.step == self.step and trainer.processes.rank == trainer.processes.size - 1:
            os.kill(os.getpid(), 2)


def hooked(name: str, steps: int = 8) -> nn.Module:
    """DistributedDataParallel in a loop of the user's own, by a communication hook."""
    model = make_network().double()
    parallel = DistributedDataParallel(model)
    if name:
        compression(name).attach(parallel)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    x, y = tensors(8 * steps)
    for x_part, y_part in zip(x.double().split(8), y.split(8), strict=True):
        mine = slice(4 * RANK, 4 * RANK + 4)
        optimizer.zero_grad()
        cross_entropy(parallel(x_part[mine]), y_part[mine]).backward()
        optimizer.step()
    return model


def fitted(folder: Path, **options) -> tuple[nn.Module, dict]:
    model = options.pop("model", None) or make_network(seed=RANK)  # the first one's counts
    data = options.pop("data", None) or make_data()
    arguments = {"rule": sgd(), "epochs": 3, "batch_size": 7, "verbose": False, **options}
    run = fit(model, data, arguments.pop("objective", OBJECTIVE), **arguments)
    KEPT.append(arguments["rule"])
    figures = {name: values for name, values in run.history.items() if name != "seconds"}
    return model, {"history": figures, "test": run.evaluate("test"), "config": run.config}


def plain(folder: Path):
    return fitted(folder, directory=None if RANK else folder / "run", verbose=True)


def unused(folder: Path):
    model = make_network()
    model.idle = nn.Linear(2, 2)
    model.forward = lambda x, layers=list(model)[:5]: nn.Sequential(*layers)(x)
    return fitted(folder, model=model)


def few_rows(folder: Path):
    """Batches with fewer rows than twice the processes, under batch normalization."""
    x, y = tensors(11)
    return fitted(folder, model=make_network(norm=True), data=Data((x, y), (x, y), (x, y)),
                  batch_size=8)  # fmt: skip


class Rows(Callback):
    """Notes the rows of the last epoch that this process saw."""

    def on_train_epoch_start(self, trainer):
        self.seen, self.noise = [], torch.rand(()).item()

    def on_train_batch_end(self, trainer, outputs, batch, batch_idx):
        self.seen += batch["input"][:, 0].tolist()


def loaded() -> Data:
    x, y = tensors(82)
    stream = DataLoader(TensorDataset(x, y), 7, shuffle=True)
    return Data(stream, (x, y), (x, y), task="multiclass", classes="abc")


def loader(folder: Path):
    model, figures = fitted(folder, data=loaded(), callbacks=[rows := Rows()])
    return model, {**figures, "rows": rows.seen, "noise": rows.noise}


def whole(folder: Path, name: str = "whole", stop: int = 0, **options):
    arguments = {
        "rule": Backprop("sgd", lr=0.1),
        "communication": "dgc:0.5",
        "callbacks": [EarlyStopping(), StopAt(stop)],
        "directory": folder / name,
        **options,
    }
    return fitted(folder, model=make_network(dropout=0.3), **arguments)


def cut(folder: Path):
    with contextlib.suppress(Interrupted):
        whole(folder, "cut", stop=8)
        raise AssertionError("both processes should have been interrupted")
    return whole(folder, "cut", resume=True)


SOURCES = {"tensors": make_data, "loader": loaded}


def uninterrupted(source: str):
    """Nothing is drawn at random but the order of the rows."""
    return fitted(Path(), data=SOURCES[source](), callbacks=[StopAt(0)])


def half(folder: Path, source: str) -> None:
    """Ends amid an epoch."""
    with contextlib.suppress(Interrupted):
        data, directory = SOURCES[source](), folder / f"{source}-{PROCESSES}"
        fitted(folder, data=data, directory=directory, callbacks=[StopAt(8)])
        raise AssertionError("should have been interrupted")


def other_half(folder: Path, source: str, begun_by: int):
    """Goes on with what another number of processes began; says what it was told."""
    directory = folder / f"{source}-{begun_by}"
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        model, figures = fitted(
            folder, data=SOURCES[source](), directory=directory, resume=True, callbacks=[StopAt(0)]
        )
    return model, {**figures, "told": [str(each.message) for each in told]}


def more_processes(folder: Path):
    return other_half(folder, "tensors", begun_by=1)


def more_processes_with_a_loader(folder: Path):
    return other_half(folder, "loader", begun_by=1)


def fewer_processes(folder: Path):
    """Leaves runs for one process to go on with."""
    for source in SOURCES:
        half(folder, source)
    with contextlib.suppress(Interrupted):
        whole(folder, "halved", stop=8)
    return make_network(), {}


# Weights of which each process holds a part


class Gathered(Callback):
    """Notes which modules hold their weights in parts, and how much of the whole is here."""

    def on_fit_start(self, trainer):
        model = trainer.model
        self.here = sum(getattr(p, "to_local", lambda p=p: p)().numel() for p in model.parameters())
        self.blocks = [
            name for name, m in model.named_modules() if type(m).__name__.startswith("FSDP")
        ]


class Tower(nn.Module):
    """Blocks that repeat, one that is read from outside, and weights that two layers share."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.inner = nn.Linear(4, 8)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Linear(8, 8), nn.Dropout(0.0), nn.PReLU()) for _ in range(3)
        )
        self.recurrent = nn.LSTM(8, 8, batch_first=True)
        self.read = nn.Linear(8, 8, bias=False)
        self.out, self.tied = nn.Linear(8, 3), nn.Linear(8, 3)
        self.tied.weight = self.out.weight
        self.calls = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        h = self.inner(x)
        for block in self.blocks:
            h = h + block(h)
        h = self.recurrent(h[:, None])[0][:, 0] @ self.read.weight
        return self.out(h) + self.tied(h)


def tower(**options):
    arguments = {
        "rule": Backprop("adamw", lr=0.05, max_grad_norm=0.5),
        "objective": supervised("cross_entropy"),
        "callbacks": [EMA(0.5), EarlyStopping(patience=9), StopAt(options.pop("stop", 0))],
        **options,
    }
    x, y = tensors()
    x = x.double()  # Adam makes much of rounding
    data = Data((x, y), (x[:12], y[:12]), (x[12:24], y[12:24]))
    model = Tower().double()
    model.read.weight.data = model.read.weight.data.T.contiguous().T  # as channels may be
    return fitted(Path(), model=model, data=data, **arguments)


def sharded(folder: Path):
    gathered = Gathered()
    callbacks = [EMA(0.5), EarlyStopping(patience=9), StopAt(0), gathered]
    model, figures = tower(strategy="fsdp", callbacks=callbacks)
    kinds = sorted({type(module).__name__ for module in model.modules()})
    tied = model.out.weight is model.tied.weight
    found = {"blocks": gathered.blocks, "here": gathered.here, "kinds": kinds, "tied": tied}
    return model, {**figures, **found, "calls": model.calls, "said": refusals()}


def sharded_with_penalties(folder: Path):
    gathered = Gathered()
    model, figures = fitted(folder, strategy="fsdp", callbacks=[gathered])
    return model, {**figures, "blocks": gathered.blocks}


def sharded_cut(folder: Path):
    """Ends amid an epoch, and goes on; a copy is left for others."""
    directory = folder / "sharded"
    with contextlib.suppress(Interrupted):
        tower(strategy="fsdp", directory=directory, stop=8)
        raise AssertionError("should have been interrupted")
    return tower(strategy="fsdp", directory=folder / "there", resume=directory)


def sharded_after_one(folder: Path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return tower(strategy="fsdp", directory=folder / "a", resume=folder / "tower-1")


def sharded_after_ddp(folder: Path):
    with contextlib.suppress(Interrupted):
        tower(directory=folder / "tower-2", stop=8)
        raise AssertionError("should have been interrupted")
    return tower(strategy="fsdp", directory=folder / "b", resume=folder / "tower-2")


def refusals() -> list[str]:
    """What is said where weights cannot be held in parts."""
    model, data = make_network(), make_data()
    early = lambda model, batch: model[0].weight.sum() + OBJECTIVE(model, batch)["loss"]  # noqa: E731
    said = []
    for rule, objective, more in (
        (sgd(), OBJECTIVE, {"communication": "terngrad"}),
        (Aimless(), OBJECTIVE, {}),
        (Backprop(torch.optim.SGD(model.parameters(), lr=0.1)), OBJECTIVE, {}),
        (sgd(), OBJECTIVE, {"callbacks": [MaxNorm(3)]}),
        (sgd(), OBJECTIVE, {"compile": True}),
        (sgd(), early, {}),
    ):
        try:
            fit(model, data, objective, rule, epochs=1, strategy="fsdp", verbose=False, **more)
            said.append("")
        except ValueError as error:
            said.append(str(error))
    return said


class Aimless:
    """A rule that does not backpropagate: each process would go its own way."""

    def bind(self, model, objective):
        self.model, self.objective = model, objective

    @torch.no_grad()
    def step(self, batch):
        loss = self.objective(self.model, batch)["loss"]
        for p in self.model.parameters():
            p.add_(loss)
        return {"loss": loss}

    def state_dict(self):
        return {}

    def load_state_dict(self, state): ...


def parted(folder: Path):
    try:
        fitted(folder, rule=Aimless())
    except ValueError as error:
        return make_network(), {"error": str(error)}
    raise AssertionError("should have been refused")


TASKS = {
    task.__name__: task
    for task in (
        plain, unused, few_rows, loader, whole, cut, parted, more_processes,
        more_processes_with_a_loader, fewer_processes, sharded, sharded_with_penalties,
        sharded_cut, sharded_after_one, sharded_after_ddp,
    )
}  # fmt: skip
HOOKS = ["", "terngrad", "dgc:0.7,warmup_epochs=0", "qsgd", "sign_sgd", "float_truncate"]


def main(folder: Path, names: list[str]) -> None:
    """Each task's weights and figures of this process, in files; then those of each hook."""
    torch.set_num_threads(1)
    for name in names:
        model, figures = TASKS[name](folder)
        weights = {key: value.clone() for key, value in model.state_dict().items()}
        save_file(weights, folder / f"{name}{RANK}.safetensors")
        (folder / f"{name}{RANK}.json").write_text(json.dumps(figures))
    for number, name in enumerate([*HOOKS, "power_sgd:start=2"]):
        weights = dict(hooked(name).state_dict())
        save_file(weights, folder / f"hook{number}-{RANK}.safetensors")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
