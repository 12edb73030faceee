import pytest
import torch
from torch.nn import functional as F

from neurarium import networks
from neurarium.networks import BERT
from neurarium.objectives import masked_language_model, next_sentence


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def small(**options):
    return BERT(20, context=8, dim=16, heads=2, layers=2, dropout=0.0, **options).eval()


def test_padding_changes_nothing():
    model = small()
    tokens = torch.randint(20, (2, 6))
    padded = F.pad(tokens, (0, 2), value=7)
    length = torch.tensor([6, 6])
    torch.testing.assert_close(model(padded, None, length)[:, :6], model(tokens))
    torch.testing.assert_close(model.follows(padded, None, length), model.follows(tokens))


def test_every_token_sees_every_other():
    model = small()
    tokens = torch.randint(20, (1, 6))
    embedded = model.embedding(tokens).detach().requires_grad_()
    model.embedding.register_forward_hook(lambda *_: embedded)
    for t in range(6):
        (gradient,) = torch.autograd.grad(model(tokens)[0, t].square().sum(), embedded)
        assert (gradient.abs().sum((0, 2)) > 0).all()


def test_segments_are_read():
    model, tokens = small(), torch.randint(20, (1, 6))
    assert not torch.allclose(model(tokens), model(tokens, torch.ones_like(tokens)))


def test_a_sequence_longer_than_the_context_is_one_clear_sentence():
    with pytest.raises(ValueError, match=r"knows 8 places .* got 9 tokens"):
        small()(torch.zeros(1, 9, dtype=torch.long))


def test_bert_is_rebuilt_from_its_configuration():
    model = small()
    again = networks.build(networks.config(model))
    again.load_state_dict(model.state_dict())
    tokens = torch.randint(20, (2, 6))
    torch.testing.assert_close(again.eval()(tokens), model(tokens))


def test_both_tasks_are_learnt_together():
    model = small().train()
    objective = next_sentence(0.5, masked_language_model(20, mask=1, p=0.5))
    batch = {
        "input": torch.randint(2, 20, (4, 8)), "target": torch.tensor([0, 1, 0, 1]),
        "segment": torch.tensor([0, 0, 0, 0, 1, 1, 1, 1]).expand(4, 8),
    }  # fmt: skip
    parts = objective(model, batch)
    expected = 0.5 * parts["next_sentence"] + parts["masked"]
    torch.testing.assert_close(parts["loss"], expected)
    exact = F.cross_entropy(model.follows(batch["input"], batch["segment"]), batch["target"])
    torch.testing.assert_close(parts["next_sentence"], exact)
    parts["loss"].backward()
    assert model.next.weight.grad.abs().max() > 0
    assert model.head.bias.grad.abs().max() > 0


@torch.no_grad()
def test_bert_equals_transformers():
    library = pytest.importorskip("transformers")
    config = library.BertConfig(
        vocab_size=37, hidden_size=24, num_hidden_layers=2, num_attention_heads=4,
        intermediate_size=40, max_position_embeddings=16, hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    theirs = library.BertForPreTraining(config).eval()
    for parameter in theirs.parameters():
        parameter.normal_(std=0.3)
    ours = BERT(37, 16, 24, heads=4, layers=2, hidden=40).eval()
    ours.load_state_dict(_weights(theirs.state_dict(), 2))
    tokens, segment = torch.randint(37, (2, 16)), torch.randint(2, (2, 16))
    length = torch.tensor([11, 16])
    real = (torch.arange(16) < length[:, None]).long()
    expected = theirs(tokens, attention_mask=real, token_type_ids=segment)
    logits, following = ours.both(tokens, segment, length)
    real = real.bool()
    torch.testing.assert_close(logits[real], expected.prediction_logits[real], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(following, expected.seq_relationship_logits, atol=1e-4, rtol=1e-4)


def _weights(theirs, layers):
    pairs = {
        "embedding": "bert.embeddings.word_embeddings",
        "places": "bert.embeddings.position_embeddings",
        "segment": "bert.embeddings.token_type_embeddings",
        "norm": "bert.embeddings.LayerNorm",
        "transform.0": "cls.predictions.transform.dense",
        "transform.2": "cls.predictions.transform.LayerNorm",
        "head": "cls.predictions.decoder",
        "pool.0": "bert.pooler.dense",
        "next": "cls.seq_relationship",
    }
    for layer in range(layers):
        mine, other = f"encoder.blocks.{layer}", f"bert.encoder.layer.{layer}"
        pairs |= {
            f"{mine}.attention.out": f"{other}.attention.output.dense",
            f"{mine}.norm_attention": f"{other}.attention.output.LayerNorm",
            f"{mine}.feedforward.up": f"{other}.intermediate.dense",
            f"{mine}.feedforward.down": f"{other}.output.dense",
            f"{mine}.norm_feedforward": f"{other}.output.LayerNorm",
        }
    found = {}
    for kind in ("weight", "bias"):
        for mine, other in pairs.items():
            if f"{other}.{kind}" in theirs:
                found[f"{mine}.{kind}"] = theirs[f"{other}.{kind}"]
        for layer in range(layers):
            attention = f"bert.encoder.layer.{layer}.attention.self"
            parts = [theirs[f"{attention}.{name}.{kind}"] for name in ("query", "key", "value")]
            found[f"encoder.blocks.{layer}.attention.project.{kind}"] = torch.cat(parts)
    return found
