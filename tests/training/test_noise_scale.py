"""The noise scale is exact over all draws, near the truth over a few, and leaves no trace."""

import itertools
import statistics

import pytest
import torch
from torch import nn

from neurarium.data import Data
from neurarium.objectives import supervised
from neurarium.training import NoiseScale, noise_scale
from neurarium.training.noise_scale import squared_gradient


def problem(rows):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).double()
    x = torch.randn(rows, 3, dtype=torch.float64)
    return model, {"input": x, "target": torch.arange(rows) % 2}


def truth(model, batch):
    """|G|^2 and tr Sigma from the gradient of every row."""
    gradients = []
    for i in range(len(batch["input"])):
        loss = supervised("cross_entropy")(model, {k: v[i : i + 1] for k, v in batch.items()})
        parts = torch.autograd.grad(loss, list(model.parameters()))
        gradients.append(torch.cat([part.flatten() for part in parts]))
    each = torch.stack(gradients)
    mean = each.mean(0)
    return mean.square().sum().item(), (each - mean).square().sum(1).mean().item()


def test_over_all_ordered_draws_both_parts_are_the_truth():
    model, batch = problem(4)

    def mean_norm(size):
        return statistics.fmean(
            squared_gradient(
                model, {k: v[list(rows)] for k, v in batch.items()}, supervised("cross_entropy")
            )
            for rows in itertools.product(range(4), repeat=size)
        )

    signal, noise = truth(model, batch)
    for small, big in ((1, 2), (1, 3), (2, 3)):
        found = NoiseScale(small, big, mean_norm(small), mean_norm(big))
        assert found.signal == pytest.approx(signal, abs=1e-10)
        assert found.noise == pytest.approx(noise, abs=1e-10)
        assert found.batch_size == pytest.approx(noise / signal, rel=1e-10)


def test_random_draws_come_near():
    model, batch = problem(200)
    batch["target"] = (torch.arange(200) % 3 == 0).long()  # neither drowns the other
    signal, noise = truth(model, batch)
    data = Data({k: v.float() if k == "input" else v for k, v in batch.items()})
    found = noise_scale(model.float(), data, supervised("cross_entropy"), 8, 64, draws=1000)
    assert found.noise == pytest.approx(noise, rel=0.15)
    assert found.signal == pytest.approx(signal, rel=0.15)


def test_it_repeats_itself_and_changes_nothing():
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(), nn.Linear(4, 2))
    data = Data((torch.randn(30, 3), torch.arange(30) % 2))
    before, state = {k: v.clone() for k, v in model.state_dict().items()}, torch.get_rng_state()
    found = [noise_scale(model, data, supervised("cross_entropy"), 2, 8, 5) for _ in "ab"]
    assert found[0] == found[1]
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert torch.equal(state, torch.get_rng_state())
    assert model.training
    assert all(p.grad is None for p in model.parameters())


def test_a_signal_lost_in_noise_has_no_finite_scale():
    assert NoiseScale(1, 2, 1.0, 0.4).batch_size == float("inf")


def test_nonsense_is_refused(unchecked):
    model, batch = problem(4)
    with pytest.raises(ValueError, match="1 <= small < big, got 8 and 8"):
        noise_scale(model, Data(batch), supervised("cross_entropy"), 8, 8)
    with pytest.raises(ValueError, match="needs data in memory"):
        noise_scale(model, Data([batch]), supervised("cross_entropy"))
