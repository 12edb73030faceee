"""Residual networks that start as their shortcuts."""

import math

import pytest
import torch
from torch import nn

from neurarium import initialization as init
from neurarium.networks import ResNet


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


class Block(nn.Module):
    """A user's block, in torchvision's way: no module of its own for the branch."""

    def __init__(self, width, norm=True):
        super().__init__()
        self.conv1, self.conv2 = (nn.Conv2d(width, width, 3, padding=1) for _ in range(2))
        self.bn1, self.bn2 = ((nn.BatchNorm2d(width) if norm else nn.Identity()) for _ in range(2))

    def forward(self, x):
        return x + self.bn2(self.conv2(self.bn1(self.conv1(x)).relu()))

    @property
    def branch(self):
        return self.conv1, self.bn1, self.conv2, self.bn2


class Network(nn.Module):
    def __init__(self, blocks, width=8, norm=True):
        super().__init__()
        self.head = nn.Linear(width, 5)  # registered first, used last
        self.stem = nn.Conv2d(3, width, 3)
        self.blocks = nn.Sequential(*[Block(width, norm) for _ in range(blocks)])

    def forward(self, x):
        return self.head(self.blocks(self.stem(x)).mean((2, 3)))


def without_norms(model):
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.BatchNorm2d):
                setattr(module, name, nn.Identity())
    return model


def by_shortcuts(model, x):
    """The features of a ResNet whose branches are cut."""
    x = model.stem(x)
    for block in model.blocks:
        x = block.shortcut(x).relu()
    return x


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("shortcut", ["pad", "projection"])
def test_zero_gamma_makes_every_block_its_shortcut(shortcut, training):
    model = init.init_(ResNet(14, width=4, shortcut=shortcut), "zero_gamma").train(training)
    x = torch.randn(6, 3, 8, 8)
    assert torch.equal(model.blocks(model.stem(x)), by_shortcuts(model, x))
    assert all((block.residual[1].weight == 1).all() for block in model.blocks)


def test_zero_gamma_changes_nothing_but_the_last_scale_and_shift_of_each_branch():
    model = ResNet(8, width=4)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with torch.no_grad():
        for block in model.blocks:
            block.residual[-1].bias.fill_(3)
    init.init_(model, "zero_gamma")
    changed = {n for n, v in model.state_dict().items() if not torch.equal(v, before[n])}
    assert changed == {f"blocks.{i}.residual.4.weight" for i in range(3)}


def test_zero_gamma_of_a_users_network_by_naming_its_branches():
    model, x = Network(3), torch.randn(4, 3, 7, 7)
    init.zero_gamma_(model, [block.branch for block in model.blocks])
    features = model.stem(x)
    assert torch.equal(model.blocks(features), features)


def test_fixup_makes_every_block_its_shortcut_and_the_output_0():
    model = init.init_(without_norms(ResNet(14, width=4)), "fixup")
    x = torch.randn(6, 3, 8, 8)
    assert torch.equal(model.blocks(model.stem(x)), by_shortcuts(model, x))
    assert (model(x) == 0).all()
    assert model.stem[0].weight.abs().sum() > 0


@pytest.mark.parametrize("layers", [2, 3])
def test_fixup_scales_the_branches_by_their_number_and_depth(layers):
    width, blocks = 60, 16
    model = nn.Module()
    model.stem = nn.Linear(30, width)
    model.branches = nn.ModuleList(
        nn.Sequential(*[nn.Linear(width, width) for _ in range(layers)]) for _ in range(blocks)
    )
    model.out = nn.Linear(width, 3)
    init.fixup_(model, list(model.branches))
    he = math.sqrt(2 / width)
    scale = blocks ** (-1 / (2 * layers - 2))  # 1/4 for two layers, 1/2 for three
    inner = torch.cat([branch[0].weight for branch in model.branches])
    assert inner.std().item() == pytest.approx(he * scale, rel=0.02)
    assert all((branch[-1].weight == 0).all() for branch in model.branches)
    assert model.stem.weight.std().item() == pytest.approx(math.sqrt(2 / 30), rel=0.05)
    assert (model.out.weight == 0).all()


def test_fixup_keeps_the_step_of_a_deep_network_that_of_a_shallow_one():
    # The paper's aim: one step moves the function by an amount that depth does not multiply.
    def moved(scheme, blocks):
        torch.manual_seed(0)
        model = Network(blocks, norm=False)
        branches = [block.branch for block in model.blocks]
        init.init_(model, "kaiming")
        if scheme == "fixup":
            init.fixup_(model, branches, classifier=model.head)
        nn.init.normal_(model.head.weight, std=0.1)  # lest no gradient passes the first step
        x = torch.randn(8, 3, 8, 8)
        before = model(x)
        before.square().mean().backward()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter -= 1e-3 * parameter.grad
            return ((model(x) - before).norm() / before.norm()).item()

    assert moved("fixup", 32) < 4 * moved("fixup", 2)
    assert moved("kaiming", 8) > 50 * moved("kaiming", 2)


def test_fixup_finds_the_last_layer_outside_the_branches_unless_told():
    model = Network(2, norm=False)
    branches = [block.branch for block in model.blocks]
    init.fixup_(model, branches)
    assert (model.stem.weight == 0).all()  # the last one registered
    init.fixup_(model, branches, classifier=model.head)
    assert (model.head.weight == 0).all()
    assert (model.stem.weight != 0).all()


def test_a_branch_of_one_layer_is_just_zero():
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 2))
    init.fixup_(model, [model[1]])
    assert (model[1].weight == 0).all()


def test_mistakes_are_told_before_anything_is_changed():
    plain, normalized = nn.Sequential(nn.Linear(3, 3)), ResNet(8, width=4)
    before = {name: value.clone() for name, value in normalized.state_dict().items()}
    for scheme in ("zero_gamma", "fixup"):
        with pytest.raises(ValueError, match=r"called 'residual'; name them by branches=\["):
            init.init_(plain, scheme)
    with pytest.raises(ValueError, match=r"branch 0 ends in no normalization.*by 'fixup'"):
        init.zero_gamma_(plain, [plain[0]])
    with pytest.raises(ValueError, match=r"blocks.0.residual.1 would undo.*take 'zero_gamma'"):
        init.init_(normalized, "fixup")
    assert all(torch.equal(v, before[n]) for n, v in normalized.state_dict().items())
