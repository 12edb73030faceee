"""What a step is made of: parts that are known, and the advice that follows."""

import time

import pytest
import torch
from tests.training.conftest import make_data, make_network
from torch import nn
from torch.utils.data import DataLoader, Dataset

from neurarium.data import Data
from neurarium.learning import Backprop
from neurarium.objectives import supervised
from neurarium.training.distributed import StepProfile, profile_step

OBJECTIVE = supervised("cross_entropy")


class Slow(Dataset):
    def __len__(self):
        return 40

    def __getitem__(self, index):
        time.sleep(0.005)
        return torch.randn(4), index % 3


def test_slow_reading_is_found_and_named():
    data = Data(DataLoader(Slow(), 4), task="multiclass", classes="abc")
    found = profile_step(make_network(), data, OBJECTIVE, steps=3)
    assert found.data_ms >= 20  # four rows of 5 ms
    assert not StepProfile(found.data_ms, 1.0, 0.0, 2).scale_out


def test_slow_computing_is_not_taken_for_reading():
    class SlowRule(Backprop):
        def step(self, batch):
            time.sleep(0.01)
            return super().step(batch)

    found = profile_step(make_network(), make_data(), OBJECTIVE, SlowRule("sgd", lr=0.1), steps=3)
    assert found.compute_ms >= 10
    assert found.data_ms < found.compute_ms


def test_the_exchange_is_that_of_a_ring():
    # 250,000 + 0 numbers of 4 bytes: 1 MB. Four workers: 6 messages of 250 kB at 1 MB/s, 1.5 s,
    # and 6 x 10 ms.
    model = nn.Linear(500, 500, bias=False)
    data = Data((torch.randn(8, 500), torch.arange(8)))
    found = profile_step(model, data, OBJECTIVE, workers=4, bandwidth=1e6, latency=0.01, steps=1)
    assert found.communication_ms == pytest.approx(1560)
    assert found.workers == 4


def test_the_model_and_the_random_state_stay():
    model, rule = make_network(), Backprop("sgd", lr=0.5)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    profile_step(model, make_data(), OBJECTIVE, rule, steps=2)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert torch.equal(state, torch.get_rng_state())
    assert rule.steps == 0


def test_the_advice():
    assert StepProfile(1, 9, 10, 4).speedup == 2  # 4 x 10 / 20
    assert StepProfile(1, 9, 0, 4).speedup == 4
    for profile, start in [
        (StepProfile(20, 10, 0, 4), "do not scale out yet: reading a batch takes 20 ms"),
        (StepProfile(1, 9, 10, 4), "do not scale out yet: 4 workers would take 2 times"),
        (StepProfile(1, 99, 10, 4), "scale out: 4 workers would take 3.6 times the rows"),
    ]:
        assert profile.verdict.startswith(start)
        assert profile.scale_out == start.startswith("scale out")


def test_refusals(unchecked):
    with pytest.raises(ValueError, match="workers >= 2"):
        profile_step(make_network(), make_data(), OBJECTIVE, workers=1)
