import pytest
import torch
from torch.nn import functional as F

from neurarium import networks
from neurarium.learning import BackpropThroughTime
from neurarium.networks import TransformerXL
from neurarium.objectives import per_step
from neurarium.text import decode


@pytest.fixture(autouse=True)
def double():
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def small(**options):
    model = TransformerXL(11, **({"dim": 16, "heads": 2, "layers": 3, "memory": 12} | options))
    for name, parameter in model.named_parameters():
        if name.endswith((".u", ".v")):
            torch.nn.init.normal_(parameter)
    return model.eval()


@torch.no_grad()
@pytest.mark.parametrize("parts", [[4, 4, 4], [1, 5, 6], [7, 5]])
def test_a_memory_of_the_whole_past_is_one_long_pass(parts):
    model, tokens = small(), torch.randint(11, (2, 12))
    state, found = None, []
    for part in tokens.split(parts, 1):
        logits, state = model.unroll(part, None, state)
        found.append(logits)
    torch.testing.assert_close(torch.cat(found, 1), model(tokens), atol=1e-12, rtol=0)


@torch.no_grad()
def test_a_shorter_memory_reaches_its_length_per_layer():
    # Queries of one token, a memory of 2: each layer sees 2 steps back, so 3 layers see 6.
    model, tokens = small(memory=2), torch.randint(11, (1, 12)).repeat(13, 1)
    for back in range(12):
        tokens[back, 11 - back] = (tokens[back, 11 - back] + 1) % 11
    state = None
    for token in tokens.split(1, 1):
        logits, state = model.unroll(token, None, state)
    differs = (logits[:12] - logits[12]).abs().flatten(1).amax(1) > 1e-12
    assert differs.tolist() == [back <= 6 for back in range(12)]


def test_no_gradient_flows_into_the_memory():
    model, tokens = small(), torch.randint(11, (1, 8))
    rows = model.embedding(tokens).detach().requires_grad_()
    model.embedding.register_forward_hook(lambda module, x, y: rows[:, : x[0].shape[1]])
    _, state = model.unroll(tokens[:, :5])
    later = torch.zeros(1, 3, 16, requires_grad=True)
    model.embedding.register_forward_hook(lambda *_: later)
    logits, _ = model.unroll(tokens[:, 5:], None, state)
    logits.square().sum().backward()
    assert rows.grad is None
    assert later.grad.abs().min() > 0
    # Keys are made of the memory, so their weights do learn from it.
    assert model.blocks[0].attention.keys.weight.grad.abs().max() > 0


def test_no_logits_depend_on_later_tokens():
    model, tokens = small(), torch.randint(11, (1, 6))
    rows = model.embedding(tokens).detach().requires_grad_()
    model.embedding.register_forward_hook(lambda *_: rows)
    logits = model(tokens)
    for t in range(6):
        (slope,) = torch.autograd.grad(logits[0, t].square().sum(), rows, retain_graph=True)
        assert ((slope.abs().sum((0, 2)) > 0) == (torch.arange(6) <= t)).all()


def test_rows_that_begin_anew_forget_while_others_go_on():
    model, tokens = small(), torch.randint(11, (2, 8))
    rule = BackpropThroughTime("sgd", lr=1e-9, carry=True)
    rule.bind(model, per_step())

    def batch(part, start):
        target = torch.zeros_like(part)
        return {"input": part, "target": target, "start": torch.tensor(start)}

    rule.step(batch(tokens[:, :4], [True, True]))
    found = rule.step(batch(tokens[:, 4:], [False, True]))["loss"]
    on = model(tokens)[:1, 4:]
    anew = model(tokens[:, 4:])[1:]
    expected = F.cross_entropy(torch.cat([on, anew]).flatten(0, 1), torch.zeros(8).long())
    torch.testing.assert_close(found, expected.detach(), atol=1e-7, rtol=0)


@torch.no_grad()
def test_it_writes_with_its_memory():
    model, start = small(memory=30), torch.randint(11, (1, 3))
    text = decode.greedy(decode.step_of(model), start, 6)
    whole = torch.cat([start, text], 1)
    assert (model(whole)[:, 2:-1].argmax(-1) == text).all()


def test_it_is_rebuilt_from_its_configuration():
    model = small()
    again = networks.build(networks.config(model))
    again.load_state_dict(model.state_dict())
    tokens = torch.randint(11, (2, 6))
    torch.testing.assert_close(again.eval()(tokens), model(tokens))


def test_what_it_cannot_remember_is_one_clear_sentence(unchecked):
    with pytest.raises(ValueError, match=r"memory must be at least 0 .* got -1"):
        TransformerXL(5, memory=-1)
    with pytest.raises(ValueError, match="rows of 2 of 4 tokens; cut the text into streams"):
        small().unroll(torch.zeros(2, 4, dtype=torch.long), torch.tensor([2, 4]))
