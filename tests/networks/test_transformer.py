import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from neurarium.layers import masks
from neurarium.layers.attention import recording
from neurarium.layers.feedforward import FeedForward, MoE, SwiGLU
from neurarium.layers.transformer import Block, Decoder, Encoder
from neurarium.networks.gpt import GPT
from neurarium.networks.transformer import Transformer


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


@pytest.fixture
def double():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def no_influence_of_the_future(logits_of, embedding, tokens):
    """Gradients of each place's logits with respect to each place's embedding."""
    seen = []

    def keep(module, inputs, output):
        output.retain_grad()
        seen.append(output)

    hook = embedding.register_forward_hook(keep)
    rows = []
    for t in range(tokens.shape[1]):
        logits_of(tokens)[:, t].square().sum().backward()
        rows.append(seen.pop().grad.abs().sum((0, 2)))
    hook.remove()
    return torch.stack(rows)


# Feed-forward parts


def test_swiglu_by_its_equation():
    layer, x = SwiGLU(4, 6), torch.randn(3, 4)
    W1, W3 = layer.up.weight.chunk(2)
    expected = (F.silu(x @ W1.T) * (x @ W3.T)) @ layer.down.weight.T
    torch.testing.assert_close(layer(x), expected)


def test_identical_experts_are_one_expert():
    layer, x = MoE(4, 6, experts=3, top=2), torch.randn(2, 5, 4)
    for expert in layer.experts[1:]:
        expert.load_state_dict(layer.experts[0].state_dict())
    torch.testing.assert_close(layer(x), layer.experts[0](x))


@pytest.mark.parametrize("top", [1, 2])
def test_experts_answer_by_their_gates(top):
    layer, x = MoE(4, 6, experts=3, top=top), torch.randn(7, 4)
    logits = layer.router(x)
    out = layer(x)
    for row in range(7):
        best = logits[row].topk(top).indices
        kept = logits[row, best].softmax(-1) if top > 1 else logits[row].softmax(-1)[best]
        expected = sum(g * layer.experts[int(e)](x[row]) for g, e in zip(kept, best, strict=True))
        torch.testing.assert_close(out[row], expected)
    out.sum().backward()
    assert layer.router.weight.grad.abs().max() > 0


def test_balance_is_1_where_all_experts_are_asked_alike():
    layer = MoE(4, 6, experts=4, top=1)
    with torch.no_grad():
        layer.router.weight.copy_(torch.eye(4))
    layer(torch.eye(4))  # each token asks another expert, and on the mean all are as likely
    assert layer.balance.item() == pytest.approx(1)
    layer(torch.eye(4)[:1].expand(4, 4))  # all ask the first, whose share is e / (e + 3)
    assert layer.balance.item() == pytest.approx(4 * math.e / (math.e + 3))


def test_more_experts_asked_than_there_are():
    with pytest.raises(ValueError, match="top must lie between 1 and the 2 experts, got 3"):
        MoE(4, 6, experts=2, top=3)


def test_feed_forward_by_its_equation():
    layer, x = FeedForward(4, 6), torch.randn(3, 4)
    torch.testing.assert_close(layer(x), layer.down(torch.relu(layer.up(x))))


# Parity with torch


def take(ours: nn.Module, theirs: nn.Module) -> None:
    """Weights of torch's layer for a block of ours."""
    ours.attention.load_torch(theirs.self_attn)
    if ours.cross is not None:
        ours.cross.load_torch(theirs.multihead_attn)
        ours.norm_cross.load_state_dict(theirs.norm2.state_dict())
    norms = [theirs.norm1, theirs.norm3 if ours.cross is not None else theirs.norm2]
    ours.norm_attention.load_state_dict(norms[0].state_dict())
    ours.norm_feedforward.load_state_dict(norms[1].state_dict())
    ours.feedforward.up.load_state_dict(theirs.linear1.state_dict())
    ours.feedforward.down.load_state_dict(theirs.linear2.state_dict())


@pytest.mark.parametrize("placement", ["pre", "post"])
@pytest.mark.filterwarnings("ignore:enable_nested_tensor is True")
def test_encoder_and_decoder_equal_torchs(placement, double):
    first = placement == "pre"
    arguments = {"d_model": 12, "nhead": 3, "batch_first": True, "norm_first": first}
    theirs = nn.Transformer(
        num_encoder_layers=2, num_decoder_layers=2, dim_feedforward=20, dropout=0.0, **arguments
    )
    if not first:  # torch normalizes once more at the end, which the paper does not
        theirs.encoder.norm = theirs.decoder.norm = None
    block = {"hidden": 20, "placement": placement}
    encoder, decoder = Encoder(12, 3, 2, **block), Decoder(12, 3, 2, cross=True, **block)
    for ours, other in ((encoder, theirs.encoder), (decoder, theirs.decoder)):
        for one, two in zip(ours.blocks, other.layers, strict=True):
            take(one, two)
        if first:
            ours.norm.load_state_dict(other.norm.state_dict())
    source, target = torch.randn(2, 5, 12), torch.randn(2, 4, 12)
    real = masks.padding(torch.tensor([3, 5]), 5)
    expected = theirs(
        source,
        target,
        tgt_mask=masks.to_torch_mha(masks.causal(4)),
        src_key_padding_mask=masks.to_torch_mha(real),
        memory_key_padding_mask=masks.to_torch_mha(real),
        tgt_is_causal=True,
    )
    seen = real[:, None, None]
    found = decoder(target, encoder(source, seen), memory_mask=seen)
    torch.testing.assert_close(found, expected, atol=1e-10, rtol=1e-8)


# Transformer


def small(**options):
    arguments = {"dim": 16, "heads": 2, "layers": 2, "hidden": 32, "dropout": 0.0} | options
    return Transformer(11, **arguments)


@pytest.mark.parametrize(
    "options",
    [{}, {"placement": "pre", "positions": "rotary"}, {"positions": "learned", "context": 9},
     {"norm": "rms", "feedforward": "swi_glu", "positions": "alibi"}],
)  # fmt: skip
def test_decoding_step_by_step_equals_teacher_forcing(options):
    model = small(**options).eval()
    source, previous = torch.randint(11, (2, 7)), torch.randint(11, (2, 6))
    length = torch.tensor([4, 7])
    whole = model(source, previous, length)
    state, parts = model.start(source, length), []
    for part in previous.split([1, 2, 3], 1):
        logits, state = model.step(part, state)
        parts.append(logits)
    torch.testing.assert_close(torch.cat(parts, 1), whole, atol=1e-5, rtol=1e-5)


def test_padding_of_the_source_changes_nothing():
    model = small(padding=0).eval()
    source, previous = torch.randint(1, 11, (2, 7)), torch.randint(1, 11, (2, 6))
    padded = F.pad(source, (0, 3))
    torch.testing.assert_close(model(padded, previous), model(source, previous))
    length = torch.tensor([7, 7])
    noisy = torch.cat([source, torch.randint(1, 11, (2, 3))], 1)
    torch.testing.assert_close(model(noisy, previous, length), model(source, previous))


def test_the_base_model_has_as_many_parameters_as_it_should():
    # With V = 37,000 and d = 512: embedding V d; an attention 4 d^2 + 4 d; a feed-forward layer
    # 2 d 2048 + 2048 + d; a norm 2 d. Encoder layer: 1 attention, 2 norms; decoder layer: 2 and 3.
    d, V = 512, 37_000
    attention, feedforward, norm = 4 * d * d + 4 * d, 2 * d * 2048 + 2048 + d, 2 * d
    layers = 6 * (3 * attention + 2 * feedforward + 5 * norm)
    with torch.device("meta"):
        model = Transformer(V)
    assert sum(p.numel() for p in model.parameters()) == V * d + layers == 63_082_496


def test_a_tied_transformer_starts_with_logits_of_ordinary_size():
    model = small(placement="pre").eval()
    logits = model(torch.randint(11, (4, 7)), torch.randint(11, (4, 6)))
    assert 0.3 < logits.std() < 3


def test_positions_that_do_not_exist_are_named(unchecked):
    with pytest.raises(ValueError, match="positions must be one of sinusoidal, learned"):
        Block(8, 2, positions="sinus")
    with pytest.raises(ValueError, match="placement must be 'pre' or 'post', got 'mid'"):
        Block(8, 2, placement="mid")
    with pytest.raises(ValueError, match="learned positions need to know their number"):
        small(positions="learned")


# GPT


def gpt(**options):
    arguments = {"context": 8, "dim": 16, "heads": 2, "layers": 2} | options
    return GPT(11, **arguments).eval()


KINDS = {
    "GPT-2": {},
    "GPT-1": {"placement": "post"},
    "LLaMA": {
        "norm": "rms", "feedforward": "swi_glu", "positions": "rotary", "bias": False,
        "tie": False, "kv_heads": 1,
    },
    "ALiBi": {"positions": "alibi"},
    "Shaw": {"positions": "shaw:3"},
    "window": {"window": 2, "positions": "sinusoidal"},
    "experts": {"feedforward": "moe:experts=3,top=2"},
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_no_logits_depend_on_later_tokens(kind):
    model = gpt(**KINDS[kind])
    influence = no_influence_of_the_future(model, model.embedding, torch.randint(11, (2, 6)))
    assert (influence.triu(1) == 0).all()
    reach = 4 if kind == "window" else None  # two layers of a window of 2
    assert ((influence > 0) == masks.window(reach, 6)).all()


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_cached_steps_equal_the_whole_pass(kind):
    model, tokens = gpt(**KINDS[kind]), torch.randint(11, (2, 8))
    state, parts = None, []
    for part in tokens.split([3, 1, 1, 3], 1):
        logits, state = model.step(part, state)
        parts.append(logits)
    torch.testing.assert_close(torch.cat(parts, 1), model(tokens), atol=1e-5, rtol=1e-4)


def test_a_window_reaches_as_far_as_its_layers():
    model = gpt(window=1, layers=1, context=8)
    influence = no_influence_of_the_future(model, model.embedding, torch.randint(11, (1, 6)))
    assert ((influence > 0) == masks.window(1, 6)).all()


@torch.no_grad()
def test_a_past_longer_than_the_context_is_forgotten_from_its_beginning():
    model, tokens = gpt(), torch.randint(11, (1, 12))
    logits, state = model.step(tokens)  # more than 8 at once: the last 8 count
    torch.testing.assert_close(logits, model(tokens[:, 4:]))
    # The cache is full: the next step begins anew with the recent half.
    following = torch.randint(11, (1, 1))
    logits, state = model.step(following, state)
    expected = model(torch.cat([tokens[:, -3:], following], 1))
    torch.testing.assert_close(logits, expected[:, -1:])
    assert state[1].shape == (1, 4)


def test_a_sequence_longer_than_the_context_is_one_clear_sentence():
    with pytest.raises(ValueError, match=r"knows 8 places .* got 9 tokens; cut the sequence"):
        gpt()(torch.zeros(1, 9, dtype=torch.long))
    for positions in ("rotary", "alibi", "sinusoidal"):
        assert gpt(positions=positions)(torch.zeros(1, 9, dtype=torch.long)).isfinite().all()


def test_the_initial_loss_is_that_of_a_uniform_guess():
    model = GPT(65, 32)
    tokens = torch.randint(65, (8, 33))
    loss = F.cross_entropy(model(tokens[:, :-1]).flatten(0, 1), tokens[:, 1:].flatten())
    assert loss.item() == pytest.approx(math.log(65), abs=0.1)


def test_residual_projections_start_smaller():
    model = GPT(65, layers=8)
    for block in model.decoder.blocks:
        assert block.attention.out.weight.std().item() == pytest.approx(0.02 / 4, rel=0.05)
        assert block.feedforward.down.weight.std().item() == pytest.approx(0.02 / 4, rel=0.05)
        assert block.feedforward.up.weight.std().item() == pytest.approx(0.02, rel=0.05)


def test_attention_maps_of_every_layer_and_head_can_be_recorded():
    model = gpt()
    tokens = torch.randint(11, (2, 6))
    plain = model(tokens)
    with recording() as maps:
        torch.testing.assert_close(model(tokens), plain, atol=1e-6, rtol=1e-5)
    assert [m.shape for m in maps] == [(2, 2, 6, 6)] * 2
    for m in maps:
        torch.testing.assert_close(m.sum(-1), torch.ones(2, 2, 6))


@torch.no_grad()
def test_gpt_equals_transformers_gpt2():
    library = pytest.importorskip("transformers")
    config = library.GPT2Config(
        vocab_size=37, n_positions=16, n_embd=24, n_layer=3, n_head=4, resid_pdrop=0.0,
        embd_pdrop=0.0, attn_pdrop=0.0, bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    theirs = library.GPT2LMHeadModel(config).eval()
    for parameter in theirs.parameters():
        parameter.normal_(std=0.3)
    ours = GPT(37, 16, 24, heads=4, layers=3, activation="gelu:approximate=tanh").eval()
    ours.load_state_dict(gpt2_weights(theirs.state_dict(), 3))
    tokens = torch.randint(37, (2, 16))
    torch.testing.assert_close(ours(tokens), theirs(tokens).logits, atol=1e-4, rtol=1e-4)


def gpt2_weights(theirs, layers):
    names = {
        "ln_1": "norm_attention", "ln_2": "norm_feedforward", "attn.c_attn": "attention.project",
        "attn.c_proj": "attention.out", "mlp.c_fc": "feedforward.up",
        "mlp.c_proj": "feedforward.down",
    }  # fmt: skip
    found = {
        "embedding.weight": theirs["transformer.wte.weight"],
        "head.weight": theirs["transformer.wte.weight"],
        "places.weight": theirs["transformer.wpe.weight"],
        "decoder.norm.weight": theirs["transformer.ln_f.weight"],
        "decoder.norm.bias": theirs["transformer.ln_f.bias"],
    }
    for layer in range(layers):
        for theirs_name, ours_name in names.items():
            for kind in ("weight", "bias"):
                value = theirs[f"transformer.h.{layer}.{theirs_name}.{kind}"]
                # GPT-2's linear layers are kept the other way round.
                turned = value.T if value.ndim == 2 else value
                found[f"decoder.blocks.{layer}.{ours_name}.{kind}"] = turned
    return found


@torch.no_grad()
def test_gpt_equals_transformers_llama():
    library = pytest.importorskip("transformers")
    config = library.LlamaConfig(
        vocab_size=37, hidden_size=24, intermediate_size=40, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=32,
        rms_norm_eps=1e-6, tie_word_embeddings=False,
    )  # fmt: skip
    theirs = library.LlamaForCausalLM(config).eval()
    for parameter in theirs.parameters():
        parameter.normal_(std=0.3)
    ours = GPT(
        37, 16, 24, heads=4, layers=2, hidden=40, norm="rms", feedforward="swi_glu", bias=False,
        positions="rotary", tie=False, kv_heads=2, eps=1e-6,
    ).eval()  # fmt: skip
    weights = theirs.state_dict()
    found = {
        "embedding.weight": weights["model.embed_tokens.weight"],
        "head.weight": weights["lm_head.weight"],
        "decoder.norm.weight": weights["model.norm.weight"],
    }
    for layer in range(2):
        w = {
            name.removeprefix(f"model.layers.{layer}.").removesuffix(".weight"): value
            for name, value in weights.items()
            if name.startswith(f"model.layers.{layer}.")
        }
        parts = {
            "attention.project": torch.cat([w[f"self_attn.{k}_proj"] for k in "qkv"]),
            "attention.out": w["self_attn.o_proj"],
            "norm_attention": w["input_layernorm"],
            "norm_feedforward": w["post_attention_layernorm"],
            "feedforward.up": torch.cat([w["mlp.gate_proj"], w["mlp.up_proj"]]),
            "feedforward.down": w["mlp.down_proj"],
        }
        found |= {f"decoder.blocks.{layer}.{k}.weight": v for k, v in parts.items()}
    ours.load_state_dict(found)
    tokens = torch.randint(37, (2, 16))
    torch.testing.assert_close(ours(tokens), theirs(tokens).logits, atol=1e-4, rtol=1e-4)
