"""What a batch becomes on its way has the variance that the schemes promise."""

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from neurarium import initialization as init
from neurarium.networks import MLP, LeNet5, ResNet


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def outputs(model, x):
    """Each weighted layer's output, in the order of the forward pass, judged as trained models."""
    found = []
    kinds = (nn.Linear, nn.Conv2d)
    hooks = [
        m.register_forward_hook(lambda module, inputs, out: found.append(out.detach()))
        for m in model.modules()
        if isinstance(m, kinds)
    ]
    model.eval()(x)
    for hook in hooks:
        hook.remove()
    return found


class Backwards(nn.Module):
    """Registers its layers in another order than it uses them; uses one twice, one not at all."""

    def __init__(self):
        super().__init__()
        self.last, self.twice, self.first = nn.Linear(8, 3), nn.Linear(8, 8), nn.Linear(5, 8)
        self.unused = nn.Linear(2, 2)

    def forward(self, x):
        h = self.twice(self.first(x).relu()).relu()
        return self.last(self.twice(h).relu())


MODELS = {
    "mlp": (lambda: MLP([12, 40, 30, 10], "tanh", dropout=0.5), (200, 12)),
    "lenet": (LeNet5, (50, 1, 28, 28)),
    "resnet": (lambda: ResNet(8, width=8, shortcut="projection"), (20, 3, 16, 16)),
    "backwards": (Backwards, (300, 5)),
}


@pytest.mark.parametrize("name", MODELS)
def test_lsuv_gives_every_layer_unit_variance(name):
    build, shape = MODELS[name]
    model, x = build(), 7 * torch.rand(shape)  # neither centred nor scaled
    init.init_(model, "lsuv", batch=x)
    found = outputs(model, x)
    assert len(found) >= 3
    first_of_each = found[:2] + found[3:] if name == "backwards" else found
    for output in first_of_each:
        assert output.var(correction=0).item() == pytest.approx(1, abs=0.1)


def test_lsuv_only_rescales_orthogonal_weights():
    model = MLP([12, 40, 30, 10], "relu")
    init.init_(model, "lsuv:tolerance=1e-4", batch=torch.randn(100, 12))
    for layer in model.layers[::2]:
        weight = layer.weight.double()
        small = weight @ weight.T if weight.shape[0] <= weight.shape[1] else weight.T @ weight
        torch.testing.assert_close(
            small / small[0, 0], torch.eye(len(small)).double(), rtol=0, atol=1e-5
        )
        assert (layer.bias == 0).all()
    assert outputs(model, torch.zeros(1, 12))[0].abs().max() == 0  # biases 0


def test_a_layer_within_the_tolerance_stays_as_it_is():
    x = torch.linalg.qr(torch.randn(64, 64))[0] * 8  # columns of variance near 1
    torch.manual_seed(1)
    model = init.init_(nn.Linear(64, 64), "lsuv", batch=x)
    weight = model.weight.double()
    torch.testing.assert_close(weight @ weight.T, torch.eye(64).double(), rtol=0, atol=1e-5)


def test_a_batch_leaves_modes_statistics_and_randomness_as_they_were():
    model = nn.Sequential(nn.Linear(6, 6), nn.BatchNorm1d(6), nn.Dropout(0.5), nn.Linear(6, 6))
    model[1].eval()  # frozen by its user
    for scheme in ("lsuv", "weight_norm"):
        init.init_(model, scheme, batch=torch.randn(50, 6))
        assert [m.training for m in model.modules()] == [True, True, False, True, True]
        assert (model[1].running_mean == 0).all()
        assert model[1].num_batches_tracked == 0
        assert not any(m._forward_hooks for m in model.modules())
        assert all(p.requires_grad and p.is_leaf for p in model.parameters())


def convolutional(normalized):
    wrap = weight_norm if normalized else (lambda layer: layer)
    return nn.Sequential(
        wrap(nn.Conv2d(3, 8, 3)), nn.ReLU(), wrap(nn.Conv2d(8, 6, 2, groups=2)), nn.Tanh(),
        nn.Flatten(), wrap(nn.Linear(54, 7)),
    )  # fmt: skip


@pytest.mark.parametrize("normalized", [True, False])
def test_each_unit_has_mean_0_and_variance_1_after_the_data_dependent_start(normalized):
    model, x = convolutional(normalized).double(), 2 + torch.randn(300, 3, 6, 6).double()
    init.init_(model, "weight_norm", batch=x)
    for output in outputs(model, x):
        units = output.transpose(0, 1).flatten(1)
        deviation, mean = torch.std_mean(units, 1, correction=0)
        torch.testing.assert_close(mean, torch.zeros_like(mean), rtol=0, atol=1e-10)
        torch.testing.assert_close(deviation, torch.ones_like(mean), rtol=1e-10, atol=0)


def test_the_data_dependent_start_draws_v_and_sets_g_alone():
    layer, x = weight_norm(nn.Linear(400, 300)), 3 * torch.randn(1000, 400)
    init.init_(layer, "weight_norm", batch=x)
    g, v = layer.parametrizations.weight.original0, layer.parametrizations.weight.original1
    assert v.std().item() == pytest.approx(0.05, rel=0.01)
    t = x @ (v / v.norm(dim=1, keepdim=True)).T
    torch.testing.assert_close(g.squeeze(1), 1 / t.std(0, correction=0))
    torch.testing.assert_close(layer.bias, -t.mean(0) / t.std(0, correction=0))


def test_without_a_bias_the_mean_stays():
    layer, x = nn.Linear(4, 3, bias=False), 1 + torch.randn(100, 4)
    init.init_(layer, "weight_norm", batch=x)
    torch.testing.assert_close(layer(x).std(0, correction=0), torch.ones(3))


def test_mistakes_are_told_at_once(unchecked):
    x = torch.randn(10, 4)
    with pytest.raises(ValueError, match=r"'lsuv' measures the layers' outputs; give init_ a b"):
        init.init_(nn.Linear(4, 3), "lsuv")
    with pytest.raises(ValueError, match="'weight_norm' measures"):
        MLP([4, 3], init="weight_norm")
    with pytest.raises(ValueError, match=r"layer model have a spread of 0\.0"):
        init.init_(nn.Linear(4, 3), "lsuv", batch=torch.zeros(10, 4))
    with pytest.raises(ValueError, match=r"layer 0 have a spread of nan"):
        init.init_(nn.Sequential(nn.Linear(4, 3)), "weight_norm", batch=x * torch.nan)
    with pytest.raises(ValueError, match="layer model have a spread of 0"):
        init.init_(nn.Linear(4, 3), "weight_norm", batch=x[:1])
    with pytest.raises(ValueError, match="tolerance must be positive, got 0"):
        init.lsuv_(nn.Linear(4, 3), x, tolerance=0)
    transposed = nn.Sequential(nn.ConvTranspose2d(1, 2, 3))
    with pytest.raises(ValueError, match="0 is a transposed convolution"):
        init.init_(transposed, "weight_norm", batch=torch.randn(2, 1, 4, 4))
    fixed = nn.utils.parametrizations.spectral_norm(nn.Linear(4, 3))
    with pytest.raises(ValueError, match=r"after 10 divisions; is its weight normalized"):
        init.init_(fixed, "lsuv", batch=100 * x)


def test_a_failure_restores_the_modes_and_removes_the_hooks():
    model = nn.Sequential(nn.Linear(4, 3), nn.Dropout())
    with pytest.raises(RuntimeError):
        init.init_(model, "lsuv", batch=torch.randn(5, 7))
    assert model.training
    assert model[1].training
    assert not model[0]._forward_hooks
