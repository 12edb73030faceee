"""Optimizers by name, and what does not decay."""

import subprocess
import sys

import pytest
import torch
from torch import nn

from neurarium.optim import get, param_groups
from neurarium.optim.parameters import bare_step


def test_only_weights_decay():
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.PReLU(4), nn.Flatten(), nn.Linear(4, 2),
        nn.LayerNorm(2), nn.GRU(2, 2),
    )  # fmt: skip
    model[4].bias.requires_grad_(False)
    decays, spared = param_groups(model, 0.1)
    assert (decays["weight_decay"], spared["weight_decay"]) == (0.1, 0.0)
    weights = [model[0].weight, model[4].weight, model[6].weight_ih_l0, model[6].weight_hh_l0]
    assert {id(p) for p in decays["params"]} == {id(p) for p in weights}
    trainable = {id(p) for p in model.parameters() if p.requires_grad}
    assert {id(p) for p in spared["params"]} == trainable - {id(p) for p in weights}


def test_a_shared_parameter_comes_once():
    a, b = nn.Linear(2, 2), nn.Linear(2, 2)
    b.weight = a.weight
    groups = param_groups(nn.Sequential(a, b), 0.1)
    assert sum(len(group["params"]) for group in groups) == 3


@pytest.mark.parametrize(
    ("name", "kind"), [("adamw", "AdamW"), ("SGD", "SGD"), ("rms_prop", "RMSprop")]
)
def test_names_are_torchs_own_in_any_spelling(name, kind):
    assert get(name) is getattr(torch.optim, kind)


def test_arguments_follow_a_colon_and_unknown_names_list_the_nearest():
    optimizer = get("sgd:momentum=0.9,nesterov=true")([torch.zeros(1, requires_grad=True)], lr=0.1)
    assert optimizer.defaults["momentum"] == 0.9
    assert optimizer.defaults["nesterov"]
    with pytest.raises(ValueError, match=r"unknown optimizer 'adamm'.*Adam"):
        get("adamm")


@pytest.mark.parametrize(
    "make",
    [
        lambda p: torch.optim.AdamW(p, fused=True),
        lambda p: torch.optim.AdamW(p, fused=True, maximize=True, betas=(0.5, 0.9), eps=1e-4),
        lambda p: torch.optim.Adam(p, fused=True, weight_decay=0.1),
        lambda p: torch.optim.Adam(p, fused=True, weight_decay=0.1, decoupled_weight_decay=True),
        lambda p: torch.optim.AdamW([{"params": [q], "lr": q.ndim / 9} for q in p], fused=True),
        lambda p: torch.optim.Adam(p, fused=True, amsgrad=True),
        lambda p: torch.optim.Adam(p, amsgrad=True),
        lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True),
        lambda p: torch.optim.RMSprop(p),
        lambda p: torch.optim.Adagrad(p),
    ],
)
def test_a_bare_step_is_the_step_to_the_last_bit(make):
    def train(bare):
        torch.manual_seed(0)
        model = nn.Linear(5, 3)
        optimizer = make(model.parameters())
        step = bare_step(optimizer) if bare else optimizer.step
        for _ in range(4):
            optimizer.zero_grad()
            model(torch.ones(2, 5)).square().sum().backward()
            step()
        return model.weight.detach()

    assert torch.equal(train(True), train(False))


def test_a_bare_step_leaves_what_has_no_gradient():
    def train(bare):
        torch.manual_seed(0)
        model = nn.ModuleList([nn.Linear(5, 3), nn.Linear(5, 3)])
        optimizer = torch.optim.AdamW(model.parameters(), fused=True)
        step = bare_step(optimizer) if bare else optimizer.step
        for layer in (0, 0, 1, 1, 0, 1):
            optimizer.zero_grad()
            model[layer](torch.ones(2, 5)).square().sum().backward()
            step()
        return model.state_dict()

    torch.testing.assert_close(train(True), train(False), rtol=0, atol=0)


def test_no_fit_loads_the_compiler():
    # Torch loads it with the first optimizer, for a second, to tell it to stay out.
    script = (
        "import sys, torch\n"
        "from neurarium import fit\n"
        "from neurarium.learning import Backprop\n"
        "x = torch.randn(20, 3)\n"
        "run = fit(torch.nn.Linear(3, 2), (x, (x[:, 0] > 0).long()), verbose=False, epochs=1)\n"
        "run.rule.load_state_dict(run.rule.state_dict())\n"
        "assert 'torch._dynamo' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_a_bare_step_tells_whoever_listens():
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    step, told = bare_step(optimizer), []
    step()
    handle = optimizer.register_step_post_hook(lambda *_: told.append("post"))
    step()
    handle.remove()
    step()
    assert told == ["post"]
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1)
    step()
    scheduler.step()  # torch warns, which fails, if it saw no step before
