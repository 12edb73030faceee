import itertools
import math

import pytest
import torch

from neurarium.networks import GPT
from neurarium.text.decode import (
    beam,
    coverage_penalty,
    greedy,
    keep_likely,
    length_penalty,
    sample,
    step_of,
)

VOCAB = 4


@pytest.fixture
def model():
    torch.manual_seed(0)
    model = GPT(VOCAB, context=12, dim=16, heads=2, layers=1).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    return model


@torch.no_grad()
def log_probability(model, prompt, text):
    """By one pass over the whole text."""
    tokens = torch.tensor([[*prompt, *text]])
    each = model(tokens).double().log_softmax(-1)[0]
    return sum(float(each[len(prompt) - 1 + i, token]) for i, token in enumerate(text))


def table(*rows):
    """A step that knows the next token's probabilities by the last token alone."""
    logits = torch.tensor(rows).log()

    def step(tokens, state):
        return logits[tokens], state

    return step


def test_greedy_takes_the_likeliest(model):
    found = greedy(model.step, torch.tensor([[1], [2]]), 6)
    for row, begun in zip(found.tolist(), ([1], [2]), strict=True):
        text = list(begun)
        for token in row:
            assert int(model(torch.tensor([text]))[0, -1].argmax()) == token
            text.append(token)


def test_temperature_0_is_greedy(model):
    begun = torch.tensor([[1], [2]])
    torch.testing.assert_close(sample(model.step, begun, 6, 0), greedy(model.step, begun, 6))


def test_a_text_that_ended_is_filled_up():
    step = table([0.1, 0.9, 0.0], [0.0, 0.1, 0.9], [0.0, 0.9, 0.1])
    found = greedy(step, torch.tensor([[0], [1]]), 4, end=2)
    assert found.tolist() == [[1, 2], [2, 2]]  # and stops where both have ended


def _frequencies(draws, vocab):
    return torch.bincount(draws.flatten(), minlength=vocab)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_draws_follow_the_sharpened_probabilities(temperature):
    from scipy.stats import chisquare

    p = torch.tensor([0.5, 0.3, 0.15, 0.05])
    step = table(*[p.tolist()] * 4)
    generator = torch.Generator().manual_seed(0)
    begun = torch.zeros(20_000, 1, dtype=torch.long)
    draws = sample(step, begun, 1, temperature, top_p=1.0, generator=generator)
    expected = p ** (1 / temperature)
    expected = 20_000 * expected / expected.sum()
    found = _frequencies(draws, 4)
    assert chisquare(found.numpy(), expected.double().numpy(), sum_check=False).pvalue > 0.001


def test_the_likeliest_k_are_kept():
    logits = torch.tensor([[1.0, 3.0, 2.0, 0.0]])
    assert keep_likely(logits, top_k=2).isfinite().tolist() == [[False, True, True, False]]
    assert keep_likely(logits, top_k=9).isfinite().all()


@pytest.mark.parametrize(
    ("p", "kept"), [(0.4, [0]), (0.5, [0]), (0.51, [0, 1]), (0.8, [0, 1]), (0.9, [0, 1, 2])]
)
def test_the_nucleus_is_the_fewest_tokens_with_that_probability(p, kept):
    logits = torch.tensor([0.5, 0.3, 0.15, 0.05]).double().log() + 3
    # Sums such as 0.5 + 0.3 are not exact; a hair below p asks for what the reader sees.
    found = keep_likely(logits, top_p=p - 1e-6).isfinite().nonzero().flatten().tolist()
    assert found == kept


def test_shuffled_tokens_keep_their_nucleus():
    logits = torch.tensor([[0.05, 0.5, 0.15, 0.3], [0.3, 0.05, 0.5, 0.15]]).log()
    assert keep_likely(logits, top_p=0.7).isfinite().tolist() == [
        [False, True, False, True], [True, False, True, False],
    ]  # fmt: skip


def test_a_beam_of_1_is_greedy(model):
    begun = torch.tensor([[1], [3]])
    found = beam(model.step, begun, 5, width=1)
    assert [h[0].tokens for h in found] == greedy(model.step, begun, 5).tolist()


def test_a_beam_wide_enough_is_exhaustive_search(model):
    (found,) = beam(model.step, torch.tensor([[1, 2]]), 3, width=VOCAB**3)
    texts = itertools.product(range(VOCAB), repeat=3)
    exact = sorted(((log_probability(model, [1, 2], t), t) for t in texts), reverse=True)
    assert len(found) == VOCAB**3
    for hypothesis, (value, text) in zip(found[:10], exact[:10], strict=True):
        assert tuple(hypothesis.tokens) == text
        assert hypothesis.log_probability == pytest.approx(value, abs=1e-5)


@pytest.mark.parametrize("alpha", [0.0, 1.0])
def test_ended_texts_are_found_and_ranked_by_their_length(model, alpha):
    end = 0
    (found,) = beam(model.step, torch.tensor([[1]]), 4, width=VOCAB**4, alpha=alpha, end=end)
    texts = []
    for length in range(1, 5):
        for text in itertools.product(range(1, VOCAB), repeat=length - 1):
            texts.append((*text, end))
    texts += list(itertools.product(range(1, VOCAB), repeat=4))
    scored = {t: log_probability(model, [1], t) / ((5 + len(t)) / 6) ** alpha for t in texts}
    best = sorted(scored, key=scored.get, reverse=True)[:5]
    assert [tuple(h.tokens) for h in found[:5]] == best
    assert found[0].score == pytest.approx(scored[best[0]], abs=1e-5)


def test_the_probability_of_a_text_found_is_that_of_teacher_forcing(model):
    for hypotheses in beam(model.step, torch.tensor([[1], [2]]), 5, width=3):
        assert len({tuple(h.tokens) for h in hypotheses}) == 3
    (found,) = beam(model.step, torch.tensor([[2]]), 5, width=3)
    for hypothesis in found:
        expected = log_probability(model, [2], hypothesis.tokens)
        assert hypothesis.log_probability == pytest.approx(expected, abs=1e-5)


def test_a_batch_is_searched_as_its_rows_are(model):
    both = beam(model.step, torch.tensor([[1], [2]]), 4, width=3, end=0)
    for row, token in enumerate((1, 2)):
        (alone,) = beam(model.step, torch.tensor([[token]]), 4, width=3, end=0)
        assert [h.tokens for h in both[row]] == [h.tokens for h in alone]


def test_penalties_by_hand():
    assert length_penalty(1, 0.6) == 1
    assert length_penalty(7, 1.0) == 2
    attention = torch.tensor([[0.5, 0.5, 0.0], [0.5, 0.25, 0.25]])
    expected = 0.2 * (math.log(1.0) + math.log(0.75) + math.log(0.25))
    assert coverage_penalty(attention, 0.2).item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [({"temperature": -1.0}, "temperature must be at least 0"), ({"top_k": 0}, "top_k must be"),
     ({"top_p": 0.0}, r"top_p must lie in \(0, 1\]")],
)  # fmt: skip
def test_settings_that_mean_nothing(model, arguments, says):
    with pytest.raises(ValueError, match=says):
        sample(model.step, torch.tensor([[1]]), 2, **arguments)


def test_nothing_to_begin_with_and_nothing_to_add(model):
    with pytest.raises(ValueError, match="at least one token to begin with"):
        greedy(model.step, torch.zeros(1, 0, dtype=torch.long), 3)
    assert greedy(model.step, torch.tensor([[1]]), 0).shape == (1, 0)


def test_texts_longer_than_the_context_go_on(model):
    found = sample(model.step, torch.randint(VOCAB, (2, 30)), 20)
    assert found.shape == (2, 20)


def test_a_network_that_cannot_write():
    with pytest.raises(ValueError, match=r"Linear cannot write a text: it has no step"):
        step_of(torch.nn.Linear(2, 2))
