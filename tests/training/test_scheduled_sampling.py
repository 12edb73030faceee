import math

import pytest
import torch
from torch import nn

from neurarium.data import Data
from neurarium.learning import Backprop
from neurarium.networks import SequenceGenerator
from neurarium.objectives import per_step
from neurarium.training import ScheduledSampling, fit


def trained(*callbacks, forcing=1.0, epochs=2):
    torch.manual_seed(0)
    model = SequenceGenerator(2, 3, 4, hidden=5, classes=True)
    model.forcing = forcing
    split = {"input": torch.randn(16, 2), "target": torch.randint(3, (16, 4))}
    run = fit(
        model, Data(split), per_step(), Backprop("sgd", lr=0.1), epochs=epochs, batch_size=4,
        callbacks=callbacks, metrics=(), verbose=False, precision="32",
    )  # fmt: skip
    return run.model


def test_schedules_by_hand():
    linear = ScheduledSampling("linear", k=0.9, c=0.1, floor=0.2)
    expected = {0: 0.9, 1: 0.8, 6: 0.3, 7: 0.2, 10**9: 0.2}
    assert {i: linear.epsilon(i) for i in expected} == pytest.approx(expected)
    exponential = ScheduledSampling("exponential", k=0.5)
    assert [exponential.epsilon(i) for i in (0, 1, 3)] == [1, 0.5, 0.125]
    assert exponential.epsilon(10**6) == 0
    sigmoid = ScheduledSampling("sigmoid", k=4)
    assert sigmoid.epsilon(0) == pytest.approx(4 / 5)
    assert sigmoid.epsilon(8) == pytest.approx(4 / (4 + math.exp(2)))
    assert sigmoid.epsilon(10**9) == pytest.approx(0, abs=1e-300)


def test_always_the_truth_is_teacher_forcing_bit_for_bit():
    forced, sampled = trained(), trained(ScheduledSampling(k=1.0, c=0.0))
    for a, b in zip(forced.parameters(), sampled.parameters(), strict=True):
        assert torch.equal(a, b)


def test_never_the_truth_is_running_free():
    free, sampled = trained(forcing=0.0), trained(ScheduledSampling(k=0.0))
    forced = trained()
    same = zip(free.parameters(), sampled.parameters(), forced.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b, _ in same)
    assert not torch.equal(sampled.out.weight, forced.out.weight)


def test_each_row_and_step_is_told_the_truth_as_often_as_it_says():
    torch.manual_seed(0)
    model = SequenceGenerator(1, 2, 20, hidden=3)
    model.forcing = 0.3
    model.step.step = lambda u, state: state  # nothing is learnt: `project` sees what is fed
    fed = []
    model.step.project = lambda x: fed.append(x) or x
    model(torch.zeros(500, 1), torch.full((500, 20, 2), 100.0))
    true = (torch.stack(fed[1:]) == 100).all(-1)  # (19, 500)
    share, n = true.float().mean(), true.numel()
    assert abs(share - 0.3) < 3 * math.sqrt(0.3 * 0.7 / n)
    assert true.float().mean(0).std() > 0
    assert true.float().mean(1).std() > 0


def test_mini_batches_are_counted_on_through_epochs():
    seen = []

    class Watch(ScheduledSampling):
        def on_train_batch_end(self, trainer, outputs, batch, batch_idx):
            seen.append(trainer.model.forcing)

    trained(Watch("exponential", k=0.5))
    assert seen == [0.5**i for i in range(8)]


def test_settings_that_mean_nothing(unchecked):
    with pytest.raises(ValueError, match=r"schedule must be .* got 'cosine'"):
        ScheduledSampling("cosine")
    with pytest.raises(ValueError, match=r"k of the exponential schedule .* got 2"):
        ScheduledSampling("exponential", k=2)
    with pytest.raises(ValueError, match="k of the sigmoid schedule must be at least 1"):
        ScheduledSampling("sigmoid", k=0.5)
    with pytest.raises(ValueError, match="floor must lie"):
        ScheduledSampling(floor=2)
    with pytest.raises(ValueError, match="Linear has no decoder with `forcing`"):
        fit(
            nn.Linear(1, 1), Data({"input": torch.ones(4, 1), "target": torch.ones(4)}),
            rule=Backprop("sgd", lr=0.1), epochs=1, callbacks=[ScheduledSampling()], verbose=False,
        )  # fmt: skip
