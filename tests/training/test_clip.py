"""Clipping in a run: where the norm is judged, what is spared, what is told."""

import pytest
import torch
from tests.training.conftest import make_data
from torch import nn

from neurarium.learning import Backprop
from neurarium.networks import MLP
from neurarium.objectives import supervised
from neurarium.training import Callback, fit
from neurarium.training.callbacks import Clip


def network(norm=None):
    torch.manual_seed(0)
    return MLP([4, 8, 8, 3], "tanh", norm=norm).double()


def data():
    made = make_data()
    for split in (made.train, made.val):
        split.tensors["input"] = split.tensors["input"].double()
    return made


class Keep(Callback):
    """The gradients as they meet the optimizer, step by step."""

    order = 100

    def __init__(self):
        self.gradients = []

    def on_before_optimizer_step(self, trainer):
        own = dict(trainer.model.named_parameters())
        self.gradients.append({name: p.grad.clone() for name, p in own.items()})


def run(*callbacks, epochs=1, batch_size=20, objective=None, **options):
    kept, model = Keep(), network()
    rule = Backprop("sgd", lr=0.1, **options)
    done = fit(model, data(), objective, rule, epochs=epochs, batch_size=batch_size,
               callbacks=[kept, *callbacks], verbose=False)  # fmt: skip
    return kept.gradients, done, model


def total(gradients):
    return torch.cat([g.flatten() for g in gradients.values()]).norm()


def test_the_norm_of_a_step_is_at_most_c_and_the_history_tells_what_it_was():
    free, _, _ = run()
    clipped, done, _ = run(Clip(norm=0.01))
    assert total(free[0]) > 0.1
    for gradients in clipped:
        assert total(gradients) <= 0.01
    for name, gradient in clipped[0].items():
        expected = free[0][name] * 0.01 / total(free[0])
        torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-12)
    assert done.history["train_grad_norm"][0] > 0.1
    first = run(Clip(norm=0.01), batch_size=40)[1].history["train_grad_norm"][0]
    assert first == pytest.approx(total(run(batch_size=40)[0][0]).item(), rel=1e-5)


@pytest.mark.parametrize(
    ("callback", "option"),
    [({"norm": 0.02}, {"max_grad_norm": 0.02}), ({"value": 1e-3}, {"max_grad_value": 1e-3})],
)
def test_it_does_what_backprops_own_option_does(callback, option):
    ours, logged, model = run(Clip(**callback), epochs=3)
    theirs, told, peer = run(epochs=3, **option)
    assert all(map(torch.equal, ours[-1].values(), theirs[-1].values()))
    assert all(map(torch.equal, model.parameters(), peer.parameters()))
    before = told.history["train_grad_norm"]
    assert logged.history["train_grad_norm"] == pytest.approx(before, rel=1e-6)


def test_it_clips_once_per_step_however_the_batch_is_cut():
    whole, _, _ = run(Clip(norm=0.01))
    cut, _, _ = run(Clip(norm=0.01), gradient_accumulation_steps=4)
    for a, b in zip(whole[-1].values(), cut[-1].values(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)


def test_the_rules_own_norm_is_told_once():
    _, done, _ = run(Clip(norm=1.0), max_grad_norm=0.05)
    _, alone, _ = run(max_grad_norm=0.05)
    assert done.history["train_grad_norm"] == alone.history["train_grad_norm"]


def test_per_layer_every_layer_has_the_limit_for_itself():
    free, _, _ = run()
    clipped, _, _ = run(Clip(norm=0.05, per_layer=True))
    for layer in ("layers.0", "layers.2", "layers.4"):
        own = [torch.cat([g[0][f"{layer}.{p}"].flatten() for p in ("weight", "bias")])
               for g in (free, clipped)]  # fmt: skip
        assert own[0].norm() > 0.05
        torch.testing.assert_close(own[1], own[0] * 0.05 / own[0].norm(), rtol=1e-4, atol=1e-12)


def test_adaptive_clipping_spares_the_last_layer():
    free, _, _ = run()
    clipped, _, _ = run(Clip(adaptive=0.01))
    start = network()
    assert torch.equal(clipped[0]["layers.4.weight"], free[0]["layers.4.weight"])
    assert torch.equal(clipped[0]["layers.4.bias"], free[0]["layers.4.bias"])
    weight, gradient = start.layers[2].weight, clipped[0]["layers.2.weight"]
    limit = 0.01 * weight.norm(dim=1) * (1 + 1e-6)
    assert (gradient.norm(dim=1) <= limit).all()
    assert (free[0]["layers.2.weight"].norm(dim=1) > limit).any()


def test_sixteen_bit_scaling_is_undone_before_the_norm_is_judged():
    class Scaled(Callback):
        def on_fit_start(self, trainer):
            trainer.rule.scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)

    plain, done, _ = run(Clip(norm=0.01))
    scaled, told, _ = run(Scaled(), Clip(norm=0.01))
    for a, b in zip(plain[-1].values(), scaled[-1].values(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)
    before = done.history["train_grad_norm"]
    assert told.history["train_grad_norm"] == pytest.approx(before, rel=1e-6)


def test_a_loss_with_parameters_of_its_own_is_clipped_too():
    class Temperature(nn.Module):
        def __init__(self):
            super().__init__()
            self.log = nn.Parameter(torch.zeros((), dtype=torch.float64))

        def forward(self, prediction, target):
            return nn.functional.cross_entropy(prediction * (50 * self.log).exp(), target)

    seen = []

    class Look(Callback):
        order = 100

        def on_before_optimizer_step(self, trainer):
            seen.append(trainer.objective.loss.log.grad.abs().item())

    run(Clip(norm=1e-3), Look(), objective=supervised(Temperature()))
    assert 0 < max(seen) <= 1e-3


def test_mistakes_are_told():
    with pytest.raises(ValueError, match="give norm, value or adaptive"):
        Clip()
    with pytest.raises(ValueError, match="give norm as well"):
        Clip(value=1.0, per_layer=True)
    with pytest.raises(ValueError, match="adaptive must be positive, got -1"):
        Clip(adaptive=-1)
    with pytest.raises(ValueError, match="max_grad_norm must be positive, got 0"):
        Backprop(max_grad_norm=0)


def test_a_rule_without_gradients_is_refused():
    class Still:
        def bind(self, model, objective): ...
        def step(self, batch):
            return {"loss": torch.zeros(())}

        def state_dict(self):
            return {}

        def load_state_dict(self, state): ...

    with pytest.raises(ValueError, match="Still announces no gradients before its step"):
        fit(network(), data(), rule=Still(), epochs=1, callbacks=[Clip(norm=1.0)], verbose=False)
