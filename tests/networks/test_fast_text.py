"""The mean of words' vectors."""

import pytest
import torch
from tests.data.test_free_text import reviews

from neurarium import networks
from neurarium.data import load
from neurarium.training import fit


def test_it_is_linear_in_the_mean_of_the_real_words():
    torch.manual_seed(0)
    model = networks.FastText(9, 3, width=5).eval()
    x = torch.tensor([[1, 2, 2, 0, 0], [4, 0, 0, 0, 0]])
    length = torch.tensor([3, 1])
    e = model.embedding.weight
    mean = torch.stack([(e[1] + 2 * e[2]) / 3, e[4]])
    torch.testing.assert_close(model(x, length), model.out(mean))
    padded = torch.cat([x, torch.full((2, 4), 7)], 1)
    torch.testing.assert_close(model(padded, length), model(x, length), rtol=0, atol=0)
    torch.testing.assert_close(model(x.flip(1)), model(x))
    empty = model(x[:1], torch.tensor([0]))
    torch.testing.assert_close(empty, model.out.bias[None])


def test_words_are_left_out_in_training_alone():
    torch.manual_seed(0)
    model = networks.FastText(9, 1, width=1, dropout=0.0, word_dropout=0.25)
    model.embedding.weight.data[:] = torch.arange(9.0)[:, None]
    model.out.weight.data[:], model.out.bias.data[:] = 1, 0
    x = torch.tensor([[3, 3, 8, 8]]).expand(4000, 4)
    drawn = model(x)
    assert drawn.std() > 0.5
    assert drawn.mean().item() == pytest.approx(5.5, abs=0.15)
    assert torch.equal(model.eval()(x[:1]), torch.tensor([[5.5]]))
    with pytest.raises(ValueError, match="word_dropout must lie"):
        networks.FastText(9, 1, word_dropout=1.0)


def test_a_word_that_gives_the_class_away_is_learnt_and_others_do_as_well():
    run = fit(reviews(200), target="liked", verbose=False)
    assert type(run.model) is networks.FastText
    assert run.evaluate("test")["accuracy"] > 0.95
    assert list(run.predict(["a dull town", "the fine people"])) == ["no", "yes"]
    data = load(reviews(200), "liked")
    shape, known = data.input_shape, {"vocabulary": data.preprocessing.vocabulary}
    reader = networks.for_data("SequenceClassifier:hidden=8,cell=gru", shape, 2, (), **known)
    other = fit(reader, data, epochs=30, lr=0.02, verbose=False)
    assert other.evaluate("test")["accuracy"] > 0.9
    with pytest.raises(ValueError, match="these data have none"):
        networks.for_data("FastText", (4,), 2)
