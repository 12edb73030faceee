import pytest
import torch
from torch import nn

from neurarium.data import Data
from neurarium.learning import Backprop
from neurarium.networks import MLP, SequenceClassifier
from neurarium.training import AverageCheckpoints, Callback, GradualUnfreeze, discriminative_lr, fit


def network():
    torch.manual_seed(0)
    return MLP([3, 4, 5, 2])


def run(model, *callbacks, epochs=3, rule=None):
    torch.manual_seed(0)
    split = {"input": torch.randn(12, 3), "target": torch.arange(12) % 2}
    return fit(
        model, Data(split), rule=rule or Backprop("adam", lr=0.1), epochs=epochs, batch_size=6,
        callbacks=callbacks, metrics=(), verbose=False, precision="32",
    )  # fmt: skip


def test_rates_fall_from_layer_to_layer():
    model = network()
    groups = discriminative_lr(model, 0.1, factor=2.0)
    assert [group["lr"] for group in groups] == [0.025, 0.05, 0.1]
    layers = [m for m in model.modules() if isinstance(m, nn.Linear)]
    for group, layer in zip(groups, layers, strict=True):
        assert {id(p) for p in group["params"]} == {id(p) for p in layer.parameters()}


def test_a_schedule_multiplies_every_layers_own_rate():
    model = network()
    rule = Backprop(
        torch.optim.SGD(discriminative_lr(model, 0.1, factor=2.0)), schedule="linear:final=0.5"
    )
    run(model, rule=rule)
    rates = [group["lr"] for group in rule.optimizer.param_groups]
    assert rates[2] == pytest.approx(2 * rates[1])
    assert rates[2] == pytest.approx(4 * rates[0])
    assert rates[2] < 0.1


def test_parts_of_ones_own_and_shared_weights():
    model = SequenceClassifier(3, 2, vocabulary=5, hidden=4)
    parts = [model.embedding, model.recurrent, model.out]
    groups = discriminative_lr(model, 1.0, 10.0, parts)
    assert [group["lr"] for group in groups] == pytest.approx([0.01, 0.1, 1.0])
    with pytest.raises(ValueError, match=r"layers leave out embedding.weight; name the layers"):
        discriminative_lr(model, 1.0, layers=parts[1:])
    tied = nn.Sequential(nn.Linear(2, 2), nn.Tanh(), nn.Linear(2, 2))
    tied[2].weight = tied[0].weight
    assert [len(group["params"]) for group in discriminative_lr(tied, 1.0)] == [2, 1]


class Watch(Callback):
    def __init__(self):
        self.weights = []

    def on_train_epoch_end(self, trainer):
        layers = [m for m in trainer.model.modules() if isinstance(m, nn.Linear)]
        self.weights.append([m.weight.detach().clone() for m in layers])


@pytest.mark.parametrize("epochs", [1, 2])
def test_layers_wake_from_the_last_to_the_first(epochs):
    model = network()
    start = [m.weight.detach().clone() for m in model.modules() if isinstance(m, nn.Linear)]
    watch = Watch()
    run(model, GradualUnfreeze(epochs=epochs), watch, epochs=3 * epochs)
    for epoch, weights in enumerate(watch.weights):
        moved = [not torch.equal(a, b) for a, b in zip(weights, start, strict=True)]
        stage = epoch // epochs
        assert moved == [stage >= 2, stage >= 1, True]


def test_what_was_frozen_before_stays_so_and_the_rest_is_free_again():
    model = network()
    layers = [m for m in model.modules() if isinstance(m, nn.Linear)]
    layers[2].bias.requires_grad_(False)
    run(model, GradualUnfreeze(), epochs=1)
    assert not layers[2].bias.requires_grad
    assert all(p.requires_grad for layer in layers[:2] for p in layer.parameters())


def test_the_mean_of_the_last_epochs_weights():
    watch, model = Watch(), network()
    run(model, AverageCheckpoints(last=2), watch, epochs=4)
    final = [m.weight for m in model.modules() if isinstance(m, nn.Linear)]
    for i, weight in enumerate(final):
        torch.testing.assert_close(weight, (watch.weights[2][i] + watch.weights[3][i]) / 2)


def test_averaging_goes_on_after_a_checkpoint():
    first = AverageCheckpoints(last=3)
    run(network(), first, epochs=2)
    again = AverageCheckpoints(last=3)
    again.load_state_dict(first.state_dict())
    assert len(again.kept) == 2


def test_settings_that_mean_nothing(unchecked):
    with pytest.raises(ValueError, match="last must be at least 1, got 0"):
        AverageCheckpoints(0)
    with pytest.raises(ValueError, match="epochs must be at least 1, got 0"):
        GradualUnfreeze(epochs=0)
    with pytest.raises(ValueError, match="factor must be positive, got 0"):
        discriminative_lr(network(), 0.1, 0)
