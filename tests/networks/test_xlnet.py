import pytest
import torch
from torch.nn import functional as F

from neurarium import networks
from neurarium.networks import XLNet
from neurarium.objectives import permutation_language_model


@pytest.fixture(autouse=True)
def double():
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def small(**options):
    model = XLNet(13, dim=16, heads=2, layers=2, dropout=0.0, **options)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.3)
    return model.eval()


def test_the_identity_order_is_an_ordinary_causal_language_model():
    # log p(x_t | x_<t), each from the sequence cut behind t, where nothing later exists.
    model, tokens = small(), torch.randint(13, (3, 7))
    terms = []
    for t in range(7):
        cut = tokens[:, : t + 1].clone()
        cut[:, t] = 0  # the token to be guessed is not there to be seen
        terms.append(F.cross_entropy(model(cut)[:, t], tokens[:, t]))
    order = torch.arange(7).expand(3, 7)
    found = permutation_language_model(1.0)(model, {"input": tokens, "order": order})
    torch.testing.assert_close(found.double(), torch.stack(terms).mean(), atol=1e-6, rtol=0)
    torch.testing.assert_close(model(tokens), model(tokens, order))


def test_a_query_sees_earlier_places_of_the_order_but_never_its_own_token():
    model, tokens = small(), torch.randint(13, (1, 6))
    order = torch.tensor([[3, 0, 5, 1, 4, 2]])
    rows = model.embedding(tokens).detach().requires_grad_()
    model.embedding.register_forward_hook(lambda *_: rows)
    logits, content = model(tokens, order), model.content(tokens, order)
    for t in range(6):
        place = order[0, t]
        for out, sees_itself in ((logits, False), (content, True)):
            (slope,) = torch.autograd.grad(out[0, place].square().sum(), rows, retain_graph=True)
            seen = set((slope.abs().sum((0, 2)) > 0).nonzero().flatten().tolist())
            assert seen == set(order[0, : t + sees_itself].tolist())


def test_segments_are_relative():
    model, tokens = small(), torch.randint(13, (1, 6))
    segment = torch.tensor([[0, 0, 0, 1, 1, 1]])
    encoded = model.encode(tokens, segment)
    torch.testing.assert_close(model.encode(tokens, 1 - segment), encoded)
    alone = model.encode(tokens)
    assert not torch.allclose(alone, encoded)
    with torch.no_grad():  # what is said of tokens of two segments
        model.blocks[0].attention.s[1] += 1
    assert torch.equal(model.encode(tokens), alone)
    assert not torch.allclose(model.encode(tokens, segment), encoded)


def test_padding_changes_nothing():
    model, tokens = small(), torch.randint(13, (2, 6))
    padded, length = F.pad(tokens, (0, 2), value=7), torch.tensor([6, 6])
    torch.testing.assert_close(model.encode(padded, None, length)[:, :6], model.encode(tokens))
    order = torch.stack([torch.randperm(6) for _ in range(2)])
    longer = torch.cat([order, torch.tensor([[6, 7], [6, 7]])], 1)
    found = model(padded, longer, None, length)[:, :6]
    torch.testing.assert_close(found, model(tokens, order))


class Watched(torch.nn.Module):
    reads = ("order", "length")

    def forward(self, tokens, order, length=None):
        self.order = order
        return F.one_hot(tokens, 13).double() * 50


def test_a_sixth_of_the_real_tokens_is_guessed_in_an_order_drawn_anew():
    model, objective = Watched(), permutation_language_model()
    tokens = torch.randint(13, (400, 12))
    length = torch.tensor([12, 7]).repeat(200)
    batch = {"input": tokens, "length": length}
    objective(model, batch)
    first = model.order
    objective(model, batch)
    assert not torch.equal(first, model.order)
    assert (first.sort(1).values == torch.arange(12)).all()
    assert (first[1::2, 7:] >= 7).all()  # padding comes last
    # Each place is as likely as any other to be among the last two of twelve.
    last = torch.bincount(first[::2, 10:].flatten(), minlength=12) / 200
    assert ((last - 1 / 6).abs() < 4 * (1 / 6 * 5 / 6 / 200) ** 0.5).all()


def test_only_the_last_of_the_order_count():
    logits = torch.randn(2, 12, 13)

    class Says(torch.nn.Module):
        reads = ("order", "length")

        def forward(self, tokens, order, length=None):
            return logits

    tokens = torch.randint(13, (2, 12))
    order = torch.stack([torch.randperm(12), torch.cat([torch.randperm(7), torch.arange(7, 12)])])
    batch = {"input": tokens, "order": order, "length": torch.tensor([12, 7])}
    # A sixth of 12 is 2; of 7 it is 1.17, so 2 as well.
    rows, places = [0, 0, 1, 1], [*order[0, 10:12].tolist(), *order[1, 5:7].tolist()]
    expected = F.cross_entropy(logits[rows, places], tokens[rows, places])
    found = permutation_language_model()(Says(), batch)
    torch.testing.assert_close(found.double(), expected, atol=1e-6, rtol=0)
    with pytest.raises(ValueError, match=r"predict must lie in \(0, 1\], got 0"):
        permutation_language_model(0)


def test_the_loss_falls(unchecked):
    torch.set_default_dtype(torch.float32)
    torch.manual_seed(0)
    # Rows count upwards from a random start: any token tells all the others.
    model = XLNet(13, dim=32, heads=2, layers=1, dropout=0.0)
    optimizer, objective = torch.optim.Adam(model.parameters(), 1e-2), permutation_language_model()
    for _ in range(40):
        tokens = (torch.randint(13, (16, 1)) + torch.arange(6)) % 13
        loss = objective(model, {"input": tokens})
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        told = objective(
            model.eval(), {"input": (torch.arange(13)[:, None] + torch.arange(6)) % 13}
        )
    assert told["loss"] < 2.2, told  # ln 13 = 2.56 at first


def test_it_is_rebuilt_from_its_configuration():
    model = small()
    again = networks.build(networks.config(model))
    again.load_state_dict(model.state_dict())
    tokens = torch.randint(13, (2, 6))
    torch.testing.assert_close(again.eval()(tokens), model(tokens))


@torch.no_grad()
def test_xlnet_equals_transformers():
    library = pytest.importorskip("transformers")
    torch.set_default_dtype(torch.float32)  # theirs makes its codes in it
    config = library.XLNetConfig(
        vocab_size=13,
        d_model=16,
        n_layer=2,
        n_head=2,
        d_inner=24,
        dropout=0.0,
        ff_activation="gelu",
    )
    theirs = library.XLNetLMHeadModel(config).eval()
    for parameter in theirs.parameters():
        parameter.normal_(std=0.3)
    ours = XLNet(13, dim=16, heads=2, layers=2, hidden=24, dropout=0.0).eval()
    ours.load_state_dict(_weights(theirs.state_dict(), 2))
    tokens, segment = torch.randint(13, (2, 7)), torch.tensor([[0, 0, 0, 1, 1, 1, 1]] * 2)
    order = torch.stack([torch.randperm(7) for _ in range(2)])
    rank = order.argsort(1)
    hidden = (rank[:, None] >= rank[:, :, None]).float()  # theirs: 1 = hidden
    every = torch.eye(7).expand(2, 7, 7)
    expected = theirs(
        tokens, perm_mask=hidden, target_mapping=every, token_type_ids=segment, use_mems=False
    ).logits
    found = ours(tokens, order, segment)
    # The first of an order sees nothing: theirs then attends to everything, ours to nothing.
    later = rank > 0
    torch.testing.assert_close(found[later], expected[later], atol=1e-4, rtol=1e-4)
    encoded = theirs.transformer(tokens, token_type_ids=segment, use_mems=False).last_hidden_state
    torch.testing.assert_close(ours.encode(tokens, segment), encoded, atol=1e-4, rtol=1e-4)


def _weights(theirs, layers):
    found = {
        "embedding.weight": theirs["transformer.word_embedding.weight"],
        "head.weight": theirs["transformer.word_embedding.weight"],
        "head.bias": theirs["lm_loss.bias"],
        "w": theirs["transformer.mask_emb"].flatten(),
    }
    for layer in range(layers):
        mine, other = f"blocks.{layer}.", f"transformer.layer.{layer}."
        attention, inner = f"{mine}attention.", f"{other}rel_attn."
        for name, letter in (("query", "q"), ("keys", "k"), ("values", "v"), ("places.W_R", "r")):
            found[f"{attention}{name}.weight"] = theirs[inner + letter].flatten(1).T
        found[f"{attention}out.weight"] = theirs[f"{inner}o"].flatten(1)
        found[f"{attention}places.u"] = theirs[f"{inner}r_w_bias"]
        found[f"{attention}places.v"] = theirs[f"{inner}r_r_bias"]
        found[f"{attention}b"] = theirs[f"{inner}r_s_bias"]
        found[f"{attention}s"] = theirs[f"{inner}seg_embed"]
        for kind in ("weight", "bias"):
            found[f"{mine}norm_attention.{kind}"] = theirs[f"{inner}layer_norm.{kind}"]
            for name, part in (("up", "layer_1"), ("down", "layer_2")):
                found[f"{mine}feedforward.{name}.{kind}"] = theirs[f"{other}ff.{part}.{kind}"]
            found[f"{mine}norm_feedforward.{kind}"] = theirs[f"{other}ff.layer_norm.{kind}"]
    return found
