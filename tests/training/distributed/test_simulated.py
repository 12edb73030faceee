"""Simulated workers: laws between them and one worker."""

import copy

import pytest
import torch
from tests.training.conftest import make_data
from tests.training.test_resume import StopAt
from torch import nn

from neurarium.learning import Backprop, Rule
from neurarium.losses import AdaptiveRobust
from neurarium.objectives import supervised
from neurarium.training import Interrupted, fit
from neurarium.training.distributed import ParameterServer, SimulatedWorkers

OBJECTIVE = supervised("cross_entropy")
SEPARATE = ParameterServer(4, 1, colocated=False)


def network(seed=0, norm=False):
    torch.manual_seed(seed)
    layers = [nn.Linear(4, 8), *([nn.BatchNorm1d(8)] if norm else []), nn.Tanh(), nn.Linear(8, 3)]
    return nn.Sequential(*layers).double()


def batches(count=6, rows=12):
    generator = torch.Generator().manual_seed(3)
    return [
        {
            "input": torch.randn(rows, 4, generator=generator, dtype=torch.float64),
            "target": torch.randint(3, (rows,), generator=generator),
        }
        for _ in range(count)
    ]


def trained(rule, data, model=None, objective=OBJECTIVE):
    model = model or network()
    rule.bind(model, objective)
    losses = [rule.step(batch)["loss"].item() for batch in data]
    return torch.cat([p.detach().reshape(-1) for p in model.parameters()]), losses


def test_it_is_a_rule():
    assert isinstance(SimulatedWorkers(2), Rule)


@pytest.mark.parametrize("rows", [12, 13, 3, 1])
@pytest.mark.parametrize("optimizer", ["sgd:momentum=0.9", "adam"])
def test_workers_that_average_gradients_are_one_with_the_whole_batch(optimizer, rows):
    data = batches(rows=rows)
    rule = Backprop(optimizer, lr=0.1, max_grad_norm=0.5)
    one, losses = trained(copy.deepcopy(rule), data)
    many, their_losses = trained(SimulatedWorkers(4, rule=rule), data)
    torch.testing.assert_close(many, one)
    assert their_losses == pytest.approx(losses)


@pytest.mark.parametrize("server", [ParameterServer(4), ParameterServer(4, 2, chunk=3)])
def test_a_parameter_server_gives_the_same_steps(server):
    rule = Backprop("sgd", lr=0.3)
    one, _ = trained(copy.deepcopy(rule), batches())
    many, _ = trained(SimulatedWorkers(4, rule=rule, server=server), batches())
    torch.testing.assert_close(many, one)


def test_averaging_parameters_at_every_step_of_sgd_is_averaging_gradients():
    rule = Backprop("sgd", lr=0.3)
    gradients, losses = trained(SimulatedWorkers(4, rule=copy.deepcopy(rule)), batches())
    parameters, their_losses = trained(SimulatedWorkers(4, "average", rule=rule), batches())
    torch.testing.assert_close(parameters, gradients)
    assert their_losses == pytest.approx(losses)


def test_between_averages_each_worker_is_alone():
    data = batches(count=4)
    rule = Backprop("sgd:momentum=0.9", lr=0.3)
    found, _ = trained(SimulatedWorkers(3, "average", rule=copy.deepcopy(rule), period=9), data)
    alone = [
        trained(
            copy.deepcopy(rule),
            [{k: v[4 * i : 4 * i + 4] for k, v in batch.items()} for batch in data],
        )[0]
        for i in range(3)
    ]
    torch.testing.assert_close(found, torch.stack(alone).mean(0))
    averaged = trained(SimulatedWorkers(3, "average", rule=rule, period=2), data)[0]
    assert not torch.allclose(averaged, found, atol=1e-4)


def test_gradients_that_are_not_stale_are_plain_descent():
    rule = Backprop("adam", lr=0.05)
    one, _ = trained(copy.deepcopy(rule), batches())
    for workers in (SimulatedWorkers(1, "async", rule=copy.deepcopy(rule)),
                    SimulatedWorkers(5, "async", rule=rule, staleness=0)):  # fmt: skip
        torch.testing.assert_close(trained(workers, batches())[0], one, rtol=0, atol=0)


def test_stale_gradients_are_those_of_earlier_weights():
    # f(w) = w^2 / 2 by hand: w <- w - .5 w_{t-2}, the first two from w_0 = 1:
    # 1, .5, 0, -.5, -.75, -.75, -.5
    model = nn.Linear(1, 1, bias=False).double()
    nn.init.ones_(model.weight)

    def half_square(model, batch):
        return model(batch["input"]).square().mean() / 2

    rule = SimulatedWorkers(3, "async", rule=Backprop("sgd", lr=0.5))
    rule.bind(model, half_square)
    path = []
    for _ in range(6):
        rule.step({"input": torch.ones(1, 1, dtype=torch.float64)})
        path.append(model.weight.item())
    assert path == [0.5, 0.0, -0.5, -0.75, -0.75, -0.5]


@pytest.mark.parametrize("mode", ["allreduce", "async"])
def test_sending_all_the_momentum_is_sgd_with_momentum(mode):
    # Uncompressed, unmasked DGC is momentum SGD; asynchronous workers keep a momentum each.
    n = 3 if mode == "allreduce" else 1
    plain = Backprop("sgd", lr=0.1)
    dgc = "dgc:sparsity=0,factor_masking=false,warmup_epochs=0"
    ours, _ = trained(SimulatedWorkers(n, mode, dgc, rule=plain), batches())
    theirs, _ = trained(Backprop("sgd:momentum=0.9", lr=0.1), batches())
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("name", ["terngrad", "sign_sgd", "qsgd:levels=8", "float_truncate"])
def test_compressed_gradients_descend(name):
    data = batches(count=1) * 60
    rule = Backprop("sgd", lr=0.2)
    _, plain = trained(SimulatedWorkers(4, rule=copy.deepcopy(rule)), data)
    workers = SimulatedWorkers(4, compressor=name, rule=rule)
    _, losses = trained(workers, data)
    assert losses[-1] < 0.8 * losses[0]
    assert losses[-1] == pytest.approx(plain[-1], abs=0.25)
    assert workers.sent_bytes < 60 * 4 * 67 * 8  # 4 x 8 + 8 + 8 x 3 + 3 numbers of 8 bytes


def test_bytes_are_counted():
    parameters = 4 * 8 + 8 + 8 * 3 + 3
    for workers, expected in [
        (SimulatedWorkers(4), 6 * 4 * parameters * 8),
        (SimulatedWorkers(4, "average", period=3), 2 * 4 * parameters * 8),
        (SimulatedWorkers(4, "async"), 6 * parameters * 8),
        # four pushes and four pulls
        (SimulatedWorkers(4, server=SEPARATE), 6 * 8 * parameters * 8),
        # 2 bits an entry of four tensors (8, 2, 6, 1 bytes) and a scale of 8 bytes each
        (SimulatedWorkers(4, compressor="terngrad"), 6 * 4 * (17 + 4 * 8)),
    ]:  # fmt: skip
        model = network()
        workers.bind(model, OBJECTIVE)
        logged = [float(workers.step(batch)["sent_bytes"]) for batch in batches()]
        assert workers.sent_bytes == sum(logged) == expected


def test_each_worker_normalizes_its_own_rows():
    (batch,) = batches(count=1)
    rule = Backprop("sgd", lr=0.3)
    model = network(norm=True)
    found, _ = trained(SimulatedWorkers(3, rule=copy.deepcopy(rule)), [batch], model)
    whole, _ = trained(copy.deepcopy(rule), [batch], network(norm=True))
    assert not torch.allclose(found, whole, atol=1e-4)

    def shards(model, batch):  # the same by hand: three forward passes, one loss
        parts = zip(batch["input"].split(4), batch["target"].split(4), strict=True)
        return torch.stack([OBJECTIVE(model, {"input": x, "target": y}) for x, y in parts]).mean()

    by_hand, _ = trained(rule, [batch], network(norm=True), shards)
    torch.testing.assert_close(found, by_hand)
    # Running statistics are those of the first worker.
    first = network(norm=True)
    first(batch["input"][:4])
    torch.testing.assert_close(model[1].running_mean, first[1].running_mean)
    assert model[1].num_batches_tracked == 1


def test_every_worker_begins_a_step_with_the_same_buffers():
    class Counting(nn.Linear):
        def __init__(self):
            super().__init__(4, 3)
            self.register_buffer("calls", torch.zeros(()))

        def forward(self, x):
            self.calls += 1
            return super().forward(x) * self.calls

    (batch,) = batches(count=1)
    torch.manual_seed(0)
    model = Counting().double()
    whole = copy.deepcopy(model)
    rule = Backprop("sgd", lr=0.3)
    found, _ = trained(SimulatedWorkers(3, rule=copy.deepcopy(rule)), [batch], model)
    torch.testing.assert_close(found, trained(rule, [batch], whole)[0])
    assert model.calls == 1


def test_parameters_of_the_loss_and_parameters_without_gradient():
    torch.manual_seed(0)
    model = nn.ModuleDict({"used": nn.Linear(4, 1), "idle": nn.Linear(2, 2)}).double()
    model.forward = lambda x: model["used"](x).squeeze(-1)
    data = [{**batch, "target": batch["input"].sum(1)} for batch in batches()]
    results = []
    for rule in (Backprop("adam", lr=0.1), SimulatedWorkers(4, rule=Backprop("adam", lr=0.1))):
        loss = AdaptiveRobust(scale=0.3).double()
        copied = copy.deepcopy(model)
        copied.forward = lambda x, net=copied["used"]: net(x).squeeze(-1)
        found, _ = trained(rule, data, copied, supervised(loss))
        results.append(torch.cat([found, loss.alpha.detach().reshape(-1)]))
        assert torch.equal(copied["idle"].weight, model["idle"].weight)
    torch.testing.assert_close(*results)
    assert results[0][-1] != AdaptiveRobust(scale=0.3).alpha.double()


@pytest.mark.parametrize(
    "make",
    [
        lambda: SimulatedWorkers(3, compressor="dgc:0.5,warmup_epochs=0", rule=sgd()),
        lambda: SimulatedWorkers(3, "average", rule=Backprop("adam", lr=0.05), period=4),
        lambda: SimulatedWorkers(4, "async", "terngrad", rule=sgd()),
    ],
)
def test_a_run_goes_on_exactly(make, tmp_path):
    def run(directory, stop=0, **more):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.2), nn.Linear(8, 3))
        fit(model, make_data(), rule=make(), batch_size=12, epochs=3, verbose=False, seed=1,
            callbacks=[StopAt(stop)], directory=directory, **more)  # fmt: skip
        return model.state_dict()

    whole = run(tmp_path / "whole")
    with pytest.raises(Interrupted):
        run(tmp_path / "cut", stop=6)  # of twelve steps
    resumed = run(tmp_path / "cut", resume=True)
    assert all(torch.equal(resumed[name], whole[name]) for name in whole)


def sgd():
    return Backprop("sgd", lr=0.1, schedule="one_cycle")


def test_fit_logs_what_was_sent():
    run = fit(network().float(), make_data(), rule=SimulatedWorkers(2, compressor="sign_sgd"),
              epochs=2, batch_size=20, verbose=False)  # fmt: skip
    assert run.history["train_sent_bytes"] == [2 * (4 + 1 + 3 + 1 + 4 * 4)] * 2
    assert "SimulatedWorkers(2, allreduce, SignSGD" in run.config["rule"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"mode": "ring"}, "mode must be allreduce, average or async, got 'ring'"),
        ({"n": 0}, "at least 1, got 0"),
        ({"staleness": 2}, "belongs to mode='async'"),
        ({"mode": "average", "compressor": "dgc"}, "sends parameters; use mode='allreduce'"),
        ({"server": ParameterServer(3)}, "server must be one for 2 workers"),
        ({"mode": "async", "server": ParameterServer(2)}, "use mode='allreduce'"),
        ({"compressor": "fp16"}, "simulated workers take terngrad, dgc"),
        ({"rule": Backprop(gradient_accumulation_steps=2)}, "gradient_accumulation_steps is 1"),
    ],
)
def test_refusals(arguments, message, unchecked):
    with pytest.raises(ValueError, match=message):
        SimulatedWorkers(**{"n": 2, **arguments})
