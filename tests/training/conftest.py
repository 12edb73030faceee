"""A small problem that trains in a blink, with every source of randomness a run can have."""

import pytest
import torch
from torch import nn

from neurarium.data import Data


def make_network(seed: int = 0, dropout: float = 0.2) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(dropout), nn.Linear(8, 3)
    )


def make_data(rows: int = 40, classes: int = 3) -> Data:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(rows, 4, generator=generator)
    y = (x @ torch.randn(4, classes, generator=generator)).argmax(1)
    return Data((x, y), (x[:12], y[:12]), (x[12:24], y[12:24]))


@pytest.fixture
def network() -> nn.Sequential:
    return make_network()


@pytest.fixture
def data() -> Data:
    return make_data()
