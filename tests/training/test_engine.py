"""The engine's decision is a table of facts; obeying it changes speed, not results."""

import pytest
import torch
from tests.training.conftest import make_data, make_network
from torch import nn

from neurarium.learning import Backprop
from neurarium.networks import MLP, LeNet5, ResNet
from neurarium.objectives import supervised
from neurarium.training import Engine, fit
from neurarium.training.engine import (
    Facts,
    LayerFacts,
    decide,
    find_device,
    inspect,
    yield_to_load,
)


def facts_of(model, *shape, device="cpu", fast_bf16=True, cores=2):
    batch = {"input": torch.randn(*shape), "target": torch.zeros(shape[0], dtype=torch.long)}
    found = inspect(model, supervised("cross_entropy"), batch, "cpu")
    return Facts(device, cores, fast_bf16, found.layers)


def test_flops_are_counted_by_hand():
    linear = facts_of(nn.Linear(20, 10), 8, 20)
    assert linear.flops == 3 * 2 * 8 * 20 * 10
    model = nn.Sequential(nn.Conv2d(3, 5, 3), nn.Flatten(), nn.Linear(5 * 6 * 6, 2))
    found = facts_of(model, 4, 3, 8, 8)
    assert found.layers[0] == LayerFacts("convolution", 4 * 36, 3, 5, 2 * 4 * 36 * 3 * 5 * 9)
    assert found.flops == 3 * 2 * (4 * 36 * 135 + 4 * 180 * 2)


@pytest.mark.parametrize(
    ("model", "shape", "expected"),
    [
        (lambda: MLP([64, 64, 10]), (32, 64), ("32-true", False, 1)),
        (lambda: MLP([784, 512, 512, 10]), (128, 784), ("bf16-mixed", False, 1)),
        (lambda: MLP([784, 2048, 2048, 10]), (256, 784), ("bf16-mixed", False, 2)),
        (lambda: MLP([784, 512, 512, 10]), (8, 784), ("32-true", False, 1)),
        (lambda: LeNet5(1, 10, 28), (128, 1, 28, 28), ("bf16-mixed", True, 2)),
        (lambda: ResNet(8), (32, 3, 32, 32), ("bf16-mixed", True, 2)),
    ],
    ids=["small MLP", "wide MLP", "wider MLP", "wide MLP, few rows", "LeNet", "ResNet"],
)
def test_the_policy_for_known_networks(model, shape, expected):
    engine = decide(facts_of(model(), *shape))
    assert (engine.precision, engine.channels_last, engine.threads) == expected


@pytest.mark.parametrize(
    ("rows", "width", "fast_bf16", "threads"),
    [(64, 128, True, 1), (64, 128, False, 1), (256, 512, True, 2), (128, 256, False, 2)],
)
def test_a_recurrent_net_wakes_threads_for_large_time_steps(rows, width, fast_bf16, threads):
    model = nn.LSTM(8, width, batch_first=True)
    objective = lambda model, batch: model(batch["input"])[0].sum()  # noqa: E731
    found = inspect(model, objective, {"input": torch.zeros(rows, 50, 8)}, "cpu")
    engine = decide(Facts("cpu", 2, fast_bf16, found.layers))
    assert engine.threads == threads
    assert "MFLOP a time step" in engine.reasons["threads"]


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("packed", [False, True])
def test_time_steps_are_counted_one_after_the_other(layers, bidirectional, packed):
    model = nn.GRU(4, 6, layers, bidirectional=bidirectional)
    sequences = torch.zeros(9, 3, 4)
    if packed:
        sequences = nn.utils.rnn.pack_padded_sequence(sequences, torch.tensor([9, 9, 9]))
    found = inspect(model, lambda model, batch: model(sequences)[0].data.sum(), {}, "cpu")
    (layer,) = found.layers
    assert layer.time_steps == 9 * layers * (1 + bidirectional)
    if layers == 1 and not bidirectional:
        assert layer.flops / layer.time_steps == 2 * 3 * (3 * 6 * (4 + 6) + 2 * 3 * 6)


def test_without_fast_bf16_everything_stays_in_full_precision():
    engine = decide(facts_of(ResNet(8), 32, 3, 32, 32, fast_bf16=False))
    assert engine.precision == "32-true"
    assert "no fast bf16" in engine.reasons["precision"]


@pytest.mark.parametrize(("rows", "expected"), [(8, "32-true"), (4096, "bf16-mixed")])
def test_a_gpu_casts_only_where_steps_are_large(rows, expected):
    facts = Facts("cuda", 2, True, (LayerFacts("linear", rows, 512, 512, 2.0 * rows * 512**2),))
    engine = decide(facts)
    assert (engine.precision, engine.threads) == (expected, None)


def test_what_is_asked_for_is_obeyed_and_said():
    facts = facts_of(ResNet(8), 32, 3, 32, 32)
    engine = decide(facts, precision="32", channels_last=False, threads=1, compile=True)
    assert (engine.precision, engine.channels_last) == ("32-true", False)
    assert (engine.threads, engine.compile) == (1, True)
    assert engine.reasons == {"precision": "asked for"}
    with pytest.raises(ValueError, match="precision must be auto"):
        decide(facts, precision="fp8")


def test_every_decision_has_a_reason():
    engine = decide(facts_of(MLP([4, 3]), 2, 4))
    assert set(engine.reasons) == {"precision", "channels_last", "threads", "compile"}


def test_looking_changes_neither_model_nor_random_state():
    model = make_network()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    batch = {"input": torch.randn(8, 4), "target": torch.zeros(8, dtype=torch.long)}
    state = torch.get_rng_state()
    inspect(model, supervised("cross_entropy"), batch, "cpu")
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert torch.equal(state, torch.get_rng_state())
    assert model.training
    assert not any(m._forward_hooks for m in model.modules())


@pytest.mark.parametrize(("contended", "threads"), [(1.1, 2), (3.0, 1)])
def test_threads_yield_only_to_other_processes(contended, threads, monkeypatch):
    from neurarium.training import engine as module

    times = {1: 1.0, 2: contended}
    monkeypatch.setattr(module, "_time", lambda e, m, o, b, n: times[n])
    chosen = Engine(threads=2, reasons={"threads": "large steps"})
    assert yield_to_load(chosen, nn.Linear(1, 1), supervised("mse"), {}).threads == threads
    asked = Engine(threads=2)
    assert yield_to_load(asked, nn.Linear(1, 1), supervised("mse"), {}) is asked


def test_timing_changes_neither_model_nor_random_state():
    model = make_network()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    batch = dict(make_data().train.tensors)
    state = torch.get_rng_state()
    chosen = Engine(threads=2, reasons={"threads": "large steps"})
    yield_to_load(chosen, model, supervised("cross_entropy"), batch)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert torch.equal(state, torch.get_rng_state())
    assert model.training
    assert all(p.grad is None for p in model.parameters())


def test_threads_are_given_back():
    before = torch.get_num_threads()
    with Engine(threads=before + 1).active():
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before


def test_an_absent_device_is_refused_at_once():
    with pytest.raises(ValueError, match=r"device 'cuda:7' is not available"):
        find_device("cuda:7")


@pytest.mark.parametrize("precision", ["bf16", "32"])
def test_mixed_precision_keeps_parameters_and_loss_in_full_precision(precision):
    model, data = make_network(dropout=0), make_data(200)
    run = fit(model, data, lr=0.05, epochs=15, precision=precision, verbose=False)
    assert all(p.dtype == torch.float32 for p in model.parameters())
    assert run.outputs("train")[0].dtype == torch.float32
    assert run.evaluate("train")["accuracy"] > 0.9


def test_channels_last_gives_the_same_network():
    torch.manual_seed(0)
    x, y = torch.randn(32, 3, 8, 8), torch.arange(32) % 4
    weights = []
    for channels_last in (False, True):
        torch.manual_seed(1)
        model = nn.Sequential(
            nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4)
        )
        fit(model, (x, y), lr=0.01, epochs=3, channels_last=channels_last, precision="32",
            verbose=False)  # fmt: skip
        weights.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    torch.testing.assert_close(*weights, rtol=1e-4, atol=1e-5)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's own, inside its compiler
def test_a_compiled_model_trains_to_the_same_network(unchecked):
    weights = []
    for compiled in (False, True):
        model = make_network(dropout=0)
        # Not Adam: it would blow up the rounding of gradients that are zero before BatchNorm.
        fit(model, make_data(), rule=Backprop("sgd", lr=0.1), epochs=2, compile=compiled,
            verbose=False)  # fmt: skip
        weights.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
        assert not any("_orig_mod" in name for name in model.state_dict())
    torch.testing.assert_close(*weights, rtol=1e-4, atol=1e-5)
