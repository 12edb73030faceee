import pytest
import torch
from torch.nn import functional as F

from neurarium import networks
from neurarium.layers import ScalarMix
from neurarium.networks import ELMo
from neurarium.objectives import bidirectional_language_model


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def small(**options):
    return ELMo(9, layers=2, hidden=8, projection=4, **options).eval()


def test_each_direction_knows_its_own_side_alone():
    model, words = small(), torch.randint(9, (1, 6))
    rows = model.words(words).detach().requires_grad_()
    model.words.register_forward_hook(lambda *_: rows)
    top = model.encode(words)[-1]
    for k in range(6):
        for half, sees in ((top[0, k, :4], range(k + 1)), (top[0, k, 4:], range(k, 6))):
            (slope,) = torch.autograd.grad(half.sum(), rows, retain_graph=True)
            assert (slope.abs().sum((0, 2)) > 0).nonzero().flatten().tolist() == [*sees]


@torch.no_grad()
def test_the_second_layer_adds_its_input_and_words_come_twice():
    model, words = small(), torch.randint(9, (2, 5))
    layers, x = model.encode(words), model.words(words)
    torch.testing.assert_close(layers[0], torch.cat([x, x], -1))
    first = model.onward[0](x)[0]  # torch has warned of projections above
    torch.testing.assert_close(layers[1, ..., :4], first)
    torch.testing.assert_close(layers[2, ..., :4], model.onward[1](first)[0] + first)
    behind = model.backward[0](x.flip(1))[0].flip(1)
    torch.testing.assert_close(layers[1, ..., 4:], behind)


@torch.no_grad()
@pytest.mark.parametrize("characters", [None, 20])
def test_padding_changes_nothing(characters):
    model = small(characters=characters, filters=((1, 3), (4, 5)))
    shape = (2, 5) if characters is None else (2, 5, 6)
    words = torch.randint(9, shape)
    padded = torch.cat([words, torch.ones_like(words[:, :2])], 1)
    length = torch.tensor([5, 5])
    torch.testing.assert_close(model.encode(padded, length)[:, :, :5], model.encode(words))
    batch = {"input": words, "target": torch.randint(9, (2, 5))}
    more = F.pad(batch["target"], (0, 2), value=3)
    objective = bidirectional_language_model()
    found = objective(model, {"input": padded, "target": more, "length": length})
    torch.testing.assert_close(found, objective(model, batch))


@torch.no_grad()
def test_the_loss_is_that_of_both_neighbours():
    model, words = small(), torch.randint(9, (2, 5))
    found = bidirectional_language_model()(model, {"input": words})
    ahead, back = model(words).log_softmax(-1)
    terms = [ahead[b, k, words[b, k + 1]] for b in range(2) for k in range(4)]
    torch.testing.assert_close(found["forward"], -torch.stack(terms).mean())
    terms = [back[b, k, words[b, k - 1]] for b in range(2) for k in range(1, 5)]
    torch.testing.assert_close(found["backward"], -torch.stack(terms).mean())
    torch.testing.assert_close(found["loss"], (found["forward"] + found["backward"]) / 2)


@torch.no_grad()
def test_characters_by_hand():
    model = small(characters=20, filters=((2, 3),)).words
    model.highways[0].bias[3:] = 100  # carries all
    model.highways[1].bias[3:] = -100  # transforms all
    word = torch.tensor([5, 6, 7])
    x, f = model.embedding(word), model.filters[0]
    pairs = torch.stack([(f.weight * x[t : t + 2].T).sum((1, 2)) + f.bias for t in range(2)])
    h = pairs.amax(0).relu()
    h = (model.highways[1].weight[:3] @ h + model.highways[1].bias[:3]).relu()
    torch.testing.assert_close(model(word[None, None])[0, 0], model.out(h))


def test_a_mix_is_a_mean_of_all_layers_at_first():
    h = torch.randn(3, 2, 5, 4)
    mix = ScalarMix(3)
    torch.testing.assert_close(mix(h), h.mean(0))
    with torch.no_grad():
        mix.w.copy_(torch.tensor([0.0, 1.0, -1.0]))
        mix.gamma.fill_(2)
    s = torch.tensor([0.0, 1.0, -1.0]).softmax(0)
    torch.testing.assert_close(mix(h), 2 * (s[0] * h[0] + s[1] * h[1] + s[2] * h[2]))
    normed = ScalarMix(3, norm=True)(100 * h + 7)
    torch.testing.assert_close(normed, F.layer_norm(h, (4,)).mean(0), atol=1e-3, rtol=0)


def test_a_mix_of_other_layers_is_one_clear_sentence():
    with pytest.raises(ValueError, match="of 3 layers, which come first; got 2"):
        ScalarMix(3)(torch.zeros(2, 4))


def test_it_is_rebuilt_from_its_configuration():
    model = small(characters=20)
    again = networks.build(networks.config(model))
    again.load_state_dict(model.state_dict())
    words = torch.randint(20, (2, 3, 5))
    torch.testing.assert_close(again.eval()(words), model(words))
