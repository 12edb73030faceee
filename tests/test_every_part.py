"""One network that a user wrote runs under every loss, penalty, schedule, initialization, callback.

The lists come from each module's `__all__`, so a new part is tried as soon as it is public; one
that needs more than a name fails here until it is told how.
"""

import io
from functools import partial

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from neurarium import initialization, losses, optim, penalties
from neurarium.data import Data
from neurarium.learning import Backprop
from neurarium.objectives import supervised
from neurarium.optim import schedules
from neurarium.training import callbacks, fit

ROWS, CLASSES = 24, 3


class UsersNetwork(nn.Module):
    """As users write them: no base of ours, a residual branch, functional calls inside."""

    def __init__(self, outputs: int = CLASSES, normalized: bool = True) -> None:
        super().__init__()
        normalization = nn.BatchNorm2d if normalized else nn.Identity
        self.stem = nn.Conv2d(1, 6, 3, padding=1, bias=False)
        self.norm = normalization(6)
        self.branch = nn.Sequential(
            nn.Conv2d(6, 6, 3, padding=1),
            normalization(6),
            nn.ReLU(),
            nn.Conv2d(6, 6, 3, padding=1),
            normalization(6),
        )
        self.slope, self.drop = nn.PReLU(6), nn.Dropout(0.1)
        self.head = nn.Linear(6 * 4, outputs)

    def forward(self, x):
        x = F.relu(self.norm(self.stem(x)))
        x = self.slope(x + self.branch(x))
        return self.head(self.drop(F.adaptive_avg_pool2d(x, 2).flatten(1)))


def images(seed: int = 0) -> torch.Tensor:
    return torch.randn(ROWS, 1, 8, 8, generator=torch.Generator().manual_seed(seed))


def trained(target, model=None, objective=None, rule=None, callbacks=(), outputs=CLASSES, val=True):
    torch.manual_seed(0)
    model = model or UsersNetwork(outputs)
    before = [p.detach().clone() for p in model.parameters()]
    split = {"input": images(), "target": target}
    data = Data(split, split if val else None)
    run = fit(
        model, data, objective, rule or Backprop("sgd", lr=1e-3), epochs=2, batch_size=12,
        callbacks=callbacks, metrics=(), verbose=False, precision="32",
    )  # fmt: skip
    assert any(not torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    assert all(torch.isfinite(p).all() for p in model.parameters())
    assert all(torch.isfinite(torch.tensor(run.history["train_loss"])))
    return run


CLASS_NUMBERS = torch.arange(ROWS) % CLASSES
NUMBERS = torch.linspace(-1, 1, ROWS * CLASSES).reshape(ROWS, CLASSES)
SIGNS = torch.where(NUMBERS > 0, 1.0, -1.0)

# What each loss compares with; outputs are as many numbers as there are classes.
TARGETS = {
    "cross_entropy": CLASS_NUMBERS,
    "ctc": CLASS_NUMBERS % 2 + 1,  # 0 is the blank
    "focal": CLASS_NUMBERS,
    "label_smoothing": CLASS_NUMBERS,
    "FocalLoss": CLASS_NUMBERS,
    "nll": CLASS_NUMBERS,
    "multiclass_hinge": CLASS_NUMBERS,
    "hinge": SIGNS,
    "squared_hinge": SIGNS,
    "binary_cross_entropy": (NUMBERS > 0).float(),
}
LOSSES = {
    "AdaptiveRobust": losses.AdaptiveRobust,
    "bregman": lambda: partial(losses.bregman, lambda p: p.square().sum() / 2),
    "ctc": lambda: lambda output, target: losses.ctc(output.unsqueeze(1), target.unsqueeze(1)),
    "gaussian_nll": lambda: (
        lambda output, target: losses.gaussian_nll(torch.cat([output, output], -1), target)
    ),
    "nll": lambda: lambda output, target: losses.nll(output.log_softmax(1), target),
}


@pytest.mark.parametrize("name", losses.__all__)
def test_loss(name):
    loss = LOSSES[name]() if name in LOSSES else getattr(losses, name)
    loss = loss() if isinstance(loss, type) else loss
    trained(TARGETS.get(name, NUMBERS), objective=supervised(loss))


OF_ATTENTION = {"AttentionRedundancy"}  # of layers that this network has none of


@pytest.mark.parametrize("name", [n for n in penalties.__all__ if n not in OF_ATTENTION])
def test_penalty(name):
    made = {
        "TangentProp": lambda: penalties.TangentProp(0.1, lambda x: torch.ones_like(x).unsqueeze(1))
    }
    penalty = made[name]() if name in made else f"{name}:1e-3"
    run = trained(CLASS_NUMBERS, objective=supervised("cross_entropy", [penalty]))
    (part,) = [c for c in run.history if c not in KNOWN and c.startswith("train_")]
    assert run.history[part][-1] > 0  # logged under its own name


KNOWN = {"train_loss", "train_cross_entropy"}
MOMENTUM = {"one_cycle_momentum"}  # of the momentum, not of the rate
SCHEDULES = {"batch_growth": None, "Schedule": None}  # of the batch size: see the callback


@pytest.mark.parametrize("name", [n for n in schedules.__all__ if n not in SCHEDULES])
def test_schedule(name):
    rule = (
        Backprop("sgd:momentum=0.9", lr=1e-3, momentum_schedule=name)
        if name in MOMENTUM
        else Backprop("sgd", lr=1e-3, schedule=name)
    )
    trained(CLASS_NUMBERS, rule=rule)


SCHEMES = [n for n in initialization.__all__ if n not in ("gain", "init_")]


@pytest.mark.parametrize("name", SCHEMES)
def test_initialization(name):
    torch.manual_seed(0)
    # Fixup is what does without normalization, and refuses to undo it.
    model = UsersNetwork(normalized=name != "fixup_")
    before = torch.cat([p.detach().flatten() for p in model.parameters()])
    if name in ("zero_gamma_", "fixup_"):  # which have to be told where the branches are
        getattr(initialization, name)(model, branches=[model.branch])
    else:
        options = {"batch": images()} if name in ("lsuv_", "weight_norm_") else {}
        initialization.init_(model, name.removesuffix("_"), **options)
    after = torch.cat([p.detach().flatten() for p in model.parameters()])
    assert before.shape != after.shape or not torch.equal(before, after)
    trained(CLASS_NUMBERS, model=model)


OPTIMIZERS = [n for n in optim.__all__ if isinstance(getattr(optim, n), type)]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizer(name):
    if name == "Lookahead":
        model = UsersNetwork()
        inner = torch.optim.SGD(model.parameters(), lr=1e-3)
        trained(CLASS_NUMBERS, model=model, rule=Backprop(optim.Lookahead(inner)))
    else:
        trained(CLASS_NUMBERS, rule=Backprop(name, lr=1e-3))


CALLBACKS = {
    "Callback": lambda folder: callbacks.Callback(),
    "Checkpoint": lambda folder: callbacks.Checkpoint(),
    "Progress": lambda folder: callbacks.Progress(io.StringIO()),
    "Proximal": lambda folder: callbacks.Proximal(penalties.L1(1e-3)),
    "Clip": lambda folder: callbacks.Clip(norm=1.0),
    "BatchGrowth": lambda folder: callbacks.BatchGrowth(
        partial(schedules.batch_growth, milestones=(1,), factor=2)
    ),
}


DECODERS = {"ScheduledSampling"}  # of networks that are fed their own answers


@pytest.mark.parametrize("name", [n for n in callbacks.__all__ if n not in DECODERS])
def test_callback(name, tmp_path):
    make = CALLBACKS.get(name, lambda folder: getattr(callbacks, name)())
    trained(CLASS_NUMBERS, callbacks=[make(tmp_path)])
