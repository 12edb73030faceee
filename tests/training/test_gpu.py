"""What only a GPU can show: the same fit there, mixed precision, checkpoints that move."""

import pytest
import torch
from tests.training.conftest import make_data, make_network
from torch import nn

from neurarium.data import Data
from neurarium.learning import Backprop, NonFiniteError
from neurarium.networks import MLP, ResNet
from neurarium.training import EMA, EarlyStopping, Run, fit

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


def flat(model):
    return torch.cat([p.detach().float().cpu().flatten() for p in model.parameters()])


def test_a_gpu_trains_the_network_a_cpu_trains():
    weights = []
    for device in ("cpu", "cuda"):
        model = make_network(dropout=0)
        fit(model, make_data(), rule=Backprop("sgd", lr=0.1), epochs=3, device=device,
            verbose=False)  # fmt: skip
        weights.append(flat(model))
    torch.testing.assert_close(*weights, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("precision", ["32", "bf16", "16"])
def test_every_precision_learns_and_keeps_parameters_full(precision):
    data = make_data(400)
    run = fit(make_network(dropout=0), data, lr=0.05, epochs=20, precision=precision,
              device="cuda", verbose=False)  # fmt: skip
    assert all(p.dtype == torch.float32 and p.is_cuda for p in run.model.parameters())
    assert run.evaluate("train")["accuracy"] > 0.9


def test_auto_casts_a_large_convolutional_net_and_not_a_small_one():
    x, y = torch.randint(0, 255, (256, 3, 32, 32), dtype=torch.uint8), torch.arange(256) % 10

    class Scale(nn.Module):
        def forward(self, x):
            return x.float() / 255

    data = Data((x, y), transform=Scale())
    large = fit(ResNet(8), data, lr=0.01, epochs=1, batch_size=128, verbose=False)
    assert large.config["engine"]["precision"] == "bf16-mixed"
    assert large.config["engine"]["device"] == "cuda"
    small = fit(MLP([4, 8, 3]), make_data(), lr=0.01, epochs=1, verbose=False)
    assert small.config["engine"]["precision"] == "32-true"


@pytest.mark.parametrize("precision", ["32", "16"])
def test_a_run_resumes_on_a_gpu(precision, tmp_path):
    from tests.training.test_resume import StopAt

    def train(directory, stop=0, **options):
        model = make_network()
        fit(model, make_data(), rule=Backprop("adamw", lr=0.01, schedule="one_cycle"), epochs=4,
            batch_size=9, callbacks=[EMA(0.9), EarlyStopping(patience=9), StopAt(stop)],
            directory=directory, device="cuda", precision=precision, verbose=False,
            **options)  # fmt: skip
        return flat(model)

    whole = train(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "cut", 12)
    torch.testing.assert_close(train(tmp_path / "cut", resume=True), whole, rtol=1e-5, atol=1e-6)


def test_a_run_trained_on_a_gpu_loads_on_a_cpu(tmp_path):
    data = make_data()
    run = fit(MLP([4, 8, 3]), data, lr=0.01, epochs=2, directory=tmp_path / "run", device="cuda",
              verbose=False)  # fmt: skip
    again = Run.load(tmp_path / "run")
    assert not any(p.is_cuda for p in again.model.parameters())
    torch.testing.assert_close(again.forward(data.test), run.forward(data.test))


def test_a_nan_is_found_by_the_end_of_the_epoch():
    x, y = make_data().train.tensors.values()
    x = x.clone()
    x[3, 1] = torch.nan
    with pytest.raises(NonFiniteError, match="epoch 1"):
        fit(make_network(), (x, y), rule=Backprop(lr=0.01), device="cuda", verbose=False)
