"""Heads for sequences: padding changes no loss, gradients stay causal, states go on."""

import math

import pytest
import torch
from torch import nn

from neurarium import networks
from neurarium.data import Data
from neurarium.learning import Backprop
from neurarium.networks import LanguageModel, SequenceClassifier, SequenceGenerator, SequenceTagger
from neurarium.objectives import per_step, supervised
from neurarium.training import fit
from neurarium.training.run import Run

B, T, K = 5, 6, 3
LENGTH = torch.tensor([6, 1, 4, 2, 3])
POOLS = ["last", "mean", "max", "attention", "luong"]


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


def sequences():
    return torch.randn(B, T, 2, dtype=torch.float64)


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("pool", POOLS)
def test_a_classifiers_loss_is_the_mean_of_its_members_alone(pool, bidirectional):
    model = SequenceClassifier(2, K, hidden=4, pool=pool, bidirectional=bidirectional).double()
    x, y = sequences(), torch.arange(B) % K
    objective = supervised("cross_entropy")
    together = objective(model, {"input": x, "target": y, "length": LENGTH})
    alone = [
        objective(model, {"input": x[b : b + 1, :n], "target": y[b : b + 1]})
        for b, n in enumerate(LENGTH.tolist())
    ]
    torch.testing.assert_close(together, torch.stack(alone).mean())


@pytest.mark.parametrize("bidirectional", [False, True])
def test_a_taggers_loss_is_the_mean_over_all_real_steps(bidirectional):
    model = SequenceTagger(2, K, hidden=4, bidirectional=bidirectional).double()
    x, y = sequences(), torch.randint(K, (B, T))
    together = per_step()(model, {"input": x, "target": y, "length": LENGTH})
    alone = [
        per_step()(model, {"input": x[b : b + 1, :n], "target": y[b : b + 1, :n]}) * n
        for b, n in enumerate(LENGTH.tolist())
    ]
    torch.testing.assert_close(together, torch.stack(alone).sum() / LENGTH.sum())


def test_a_language_models_loss_does_not_see_padding_nor_the_future():
    model = LanguageModel(K, width=3, hidden=4).double()
    x, y = torch.randint(K, (B, T)), torch.randint(K, (B, T))
    loss = per_step()(model, {"input": x, "target": y, "length": LENGTH})
    beyond = torch.arange(T) >= LENGTH[:, None]
    others = {"input": x.masked_fill(beyond, 1), "target": y.masked_fill(beyond, -100)}
    torch.testing.assert_close(per_step()(model, {**others, "length": LENGTH}), loss)
    torch.testing.assert_close(per_step()(model, others), loss)
    later = x.clone()
    later[:, 3:] = (later[:, 3:] + 1) % K
    torch.testing.assert_close(model(later)[:, :3], model(x)[:, :3])
    assert not torch.allclose(model(later)[:, 3:], model(x)[:, 3:])


def test_an_empty_row_and_no_row_at_all_have_a_loss_of_nothing():
    model = SequenceTagger(2, K, hidden=4).double()
    x, y = sequences(), torch.randint(K, (B, T))
    batch = {"input": x, "target": y, "length": torch.zeros(B, dtype=torch.long)}
    loss = per_step()(model, batch)
    assert loss.item() == 0
    loss.backward()
    for pool in POOLS:
        classifier = SequenceClassifier(2, K, hidden=4, pool=pool).double()
        out = classifier(x, torch.tensor([0, 6, 6, 6, 6]))
        torch.testing.assert_close(out[0], classifier.out.bias)
        out.sum().backward()
        assert all(p.grad.isfinite().all() for p in classifier.parameters())


def test_pools_by_hand():
    h = torch.tensor([[[1.0], [5.0], [3.0], [0.0]]])
    length = torch.tensor([3])
    for pool, expected in (("mean", 3.0), ("max", 5.0), ("last", 3.0)):
        model = SequenceClassifier(1, 1, hidden=1, pool=pool)
        assert model._pooled(h, length).item() == expected
    model = SequenceClassifier(1, 1, hidden=1, pool="attention")
    scores = model.score(h)[0, :3].softmax(0)
    torch.testing.assert_close(model._pooled(h, length), (scores * h[0, :3]).sum(0)[None])
    # Values below 0 must not lose against the padding's zeros.
    assert SequenceClassifier(1, 1, hidden=1, pool="max")._pooled(-h, length).item() == -1


def test_an_untrained_model_of_equal_logits_is_as_surprised_as_its_vocabulary():
    model = LanguageModel(65, hidden=8)
    nn.init.zeros_(model.out.weight)
    nn.init.zeros_(model.out.bias)
    x = torch.randint(65, (4, 9))
    assert per_step()(model, {"input": x, "target": x}).item() == pytest.approx(math.log(65))


def test_tied_weights_are_one_and_a_map_fits_the_widths():
    model = LanguageModel(7, width=3, hidden=5, tie=True)
    assert model.out.weight is model.embedding.weight
    assert model(torch.zeros(2, 4, dtype=torch.long)).shape == (2, 4, 7)
    assert isinstance(LanguageModel(7, width=5, hidden=5, tie=True).narrow, nn.Identity)


def test_unrolling_goes_on_where_it_stopped():
    for model in (LanguageModel(K, hidden=4), SequenceTagger(2, K, vocabulary=K, cell="gru")):
        x = torch.randint(K, (B, T))
        first, state = model.unroll(x[:, :2])
        second, _ = model.unroll(x[:, 2:], None, state)
        torch.testing.assert_close(torch.cat([first, second], 1), model(x))


def test_backward_reading_language_models_do_not_exist(unchecked):
    with pytest.raises(ValueError, match="has seen what it should predict"):
        LanguageModel(5, bidirectional=True)
    with pytest.raises(ValueError, match="pool must be"):
        SequenceClassifier(2, 3, pool="first")


@pytest.mark.parametrize(
    "model",
    [
        SequenceClassifier(4, 3, vocabulary=9, cell="lstm:peephole=true", pool="mean"),
        SequenceTagger(2, 3, bidirectional=True),
        LanguageModel(9, 5, tie=True),
        SequenceGenerator(4, 3, 6, classes=True),
    ],
    ids=lambda model: type(model).__name__,
)
def test_a_configuration_builds_the_same_network(model):
    twin = networks.build(networks.config(model))
    twin.load_state_dict(model.state_dict())
    assert networks.config(twin) == networks.config(model)


def test_a_generator_under_full_forcing_sees_the_truth_alone():
    model = SequenceGenerator(2, 3, 4, cell="gru", hidden=5, classes=True)
    x, y = torch.randn(B, 2), torch.randint(3, (B, 4))
    forced = model(x, y)
    # By hand: the state starts from x, and each step reads the one-hot of the class before.
    (h,) = torch.tanh(model.start(x)).split(5, 1)
    before = torch.zeros(B, 3)
    for t in range(4):
        h, _ = model.step(before, (h,))
        torch.testing.assert_close(forced[:, t], model.out(h))
        before = nn.functional.one_hot(y[:, t], 3).float()


def test_a_generator_running_free_sees_itself_alone():
    model = SequenceGenerator(2, 3, 4, hidden=5, classes=True)
    x, y = torch.randn(B, 2), torch.randint(3, (B, 4))
    model.forcing = 0.0
    free = model(x, y)
    model.eval()
    model.forcing = 1.0  # counts in training alone
    assert torch.equal(model(x, y), free)
    torch.testing.assert_close(model(x), free)
    model.train()
    torch.testing.assert_close(model(x, free.argmax(2)), free)


def test_a_generator_tosses_a_coin_for_each_row_and_step():
    model = SequenceGenerator(1, 1, 2, cell="rnn:activation=identity", hidden=1)
    for p in model.parameters():
        nn.init.constant_(p, 0.0)
    model.step.weight_ih.data.fill_(1.0)
    model.out.weight.data.fill_(1.0)  # the second step repeats what it was fed: 1, or its own 0
    model.forcing = 0.25
    y = torch.ones(40000, 2, 1)
    fed = model(torch.zeros(40000, 1), y)[:, 1]
    assert set(fed.flatten().tolist()) == {0.0, 1.0}
    assert abs(fed.mean().item() - 0.25) < 3 * math.sqrt(0.25 * 0.75 / 40000)


def test_forcing_needs_the_truth(unchecked):
    with pytest.raises(ValueError, match="needs target, the true steps"):
        SequenceGenerator(2, 3, 4)(torch.zeros(1, 2))


def test_per_step_says_what_it_compares(unchecked):
    with pytest.raises(ValueError, match="both begin with batch, steps"):
        per_step()(nn.Identity(), {"input": torch.zeros(2, 3, 4), "target": torch.zeros(2).long()})


def test_per_step_of_numbers_and_its_accuracy_of_classes():
    x = torch.tensor([[[1.0], [2.0], [9.0]]])
    y = torch.tensor([[0.0, 0.0, 0.0]])
    batch = {"input": x, "target": y, "length": torch.tensor([2])}
    assert per_step("mse")(nn.Identity(), batch).item() == 2.5
    logits = torch.eye(3)[None]
    with torch.no_grad():
        parts = per_step()(nn.Identity(), {"input": logits, "target": torch.tensor([[0, 2, -100]])})
    assert parts["accuracy"].item() == 0.5


def first_seen(rows=256):
    """The class is that of the first step; lengths differ, and padding is loud."""
    length = torch.randint(2, 9, (rows,))
    x = torch.randn(rows, 8, 1)
    y = torch.randint(2, (rows,))
    x[:, 0, 0] = 3.0 * (2 * y - 1)
    x[torch.arange(8) >= length[:, None]] = 50.0
    return {"input": x, "target": y, "length": length}


def test_lengths_go_through_fit_to_evaluation_and_files(tmp_path):
    data = Data(first_seen(), first_seen(64), first_seen(64))
    run = fit(
        SequenceClassifier(1, 2, hidden=8, cell="gru"), data, rule=Backprop("adam", lr=0.03),
        epochs=8, batch_size=32, verbose=False, precision="32", directory=tmp_path,
    )  # fmt: skip
    assert run.evaluate("test")["accuracy"] > 0.95
    assert run.history["val_accuracy"][-1] > 0.95
    again = Run.load(tmp_path).attach(data)
    assert again.evaluate("test") == run.evaluate("test")


def test_a_tagger_trains_through_fit():
    def parity(rows):
        bits = torch.randint(2, (rows, 6))
        return {"input": bits, "target": bits.cumsum(1) % 2}

    data = Data(parity(512), None, parity(64))
    run = fit(
        SequenceTagger(4, 2, vocabulary=2, hidden=16), data, per_step(),
        Backprop("adam", lr=0.02), epochs=25, batch_size=64, verbose=False, precision="32",
    )  # fmt: skip
    assert run.evaluate("test")["accuracy"] > 0.98


def test_an_image_is_read_row_by_row():
    model = networks.for_data("SequenceClassifier:hidden=6,cell=gru", (1, 8, 8), 10)
    x = torch.randn(3, 1, 8, 8)
    torch.testing.assert_close(model(x), model(x.squeeze(1)))
    assert model.inputs == 8


def test_the_last_state_asks_all_others():
    """One head of Luong's "general" score, worked out by matrices."""
    model = SequenceClassifier(2, K, hidden=4, pool="luong").double().eval()
    x = sequences()
    h = model.states(x, LENGTH, None)[0]
    for b, n in enumerate(LENGTH.tolist()):
        last, past = h[b, n - 1], h[b, :n]
        weights = (past @ model.ask.score.W @ last).softmax(0)
        summary = torch.tanh(model.ask.combine(torch.cat([weights @ past, last])))
        torch.testing.assert_close(model(x, LENGTH)[b], model.out(summary))
