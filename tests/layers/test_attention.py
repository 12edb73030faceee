"""Attention as a choice of parts: scores, masks, normalizers."""

import math

import pytest
import torch

from neurarium.layers import masks
from neurarium.layers.attention import (
    Additive,
    Attention,
    Bilinear,
    ChainCRF,
    Concat,
    Cosine,
    Dot,
    HardAttention,
    LocationBased,
    LuongAttention,
    MultiHead,
    ScaledDot,
    SegmentAttention,
    attend,
    entmax15,
    recording,
    sparsemax,
)

SCORES = {
    "additive": lambda: Additive(6, 5),
    "bilinear": lambda: Bilinear(6, 6),
    "concat": lambda: Concat(6, 5),
    "cosine": lambda: Cosine(3.0),
    "dot": Dot,
    "location": lambda: LocationBased(6, 7),
    "scaled": ScaledDot,
}
NORMALIZERS = ["softmax", "sparsemax", "entmax15", "sigmoid", ChainCRF(), HardAttention().eval()]


@pytest.fixture(autouse=True)
def double():
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def rows(*shape):
    return torch.randn(*shape)


def some(*shape):
    """A mask that hides about half and leaves every query something."""
    mask = torch.rand(*shape) < 0.5
    mask[..., 0] = True
    return mask


# attend: laws of every score and every normalizer


@pytest.mark.parametrize("name", SCORES)
@pytest.mark.parametrize("mask", [None, "causal", "some"])
def test_weights_are_a_distribution_that_ignores_the_masked(name, mask):
    q, k, v = rows(2, 7, 6), rows(2, 7, 6), rows(2, 7, 4)
    mask = some(2, 7, 7) if mask == "some" else mask
    context, weights = attend(q, k, v, SCORES[name](), mask)
    seen = {"causal": torch.ones(7, 7).tril().bool(), None: torch.ones(7, 7).bool()}
    seen = mask if isinstance(mask, torch.Tensor) else seen[mask]
    assert (weights >= 0).all()
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 7))
    assert (weights[~seen.expand(2, 7, 7)] == 0).all()
    torch.testing.assert_close(context, weights @ v)


@pytest.mark.parametrize("name", [n for n in SCORES if n != "location"])
def test_the_order_of_the_keys_does_not_matter(name):
    q, k, v, score = rows(2, 3, 6), rows(2, 7, 6), rows(2, 7, 4), SCORES[name]()
    order = torch.randperm(7)
    torch.testing.assert_close(
        attend(q, k, v, score)[0], attend(q, k[:, order], v[:, order], score)[0]
    )


def test_equal_keys_give_the_mean():
    v = rows(2, 7, 4)
    context, _ = attend(rows(2, 3, 6), rows(2, 1, 6).expand(2, 7, 6), v, ScaledDot())
    torch.testing.assert_close(context, v.mean(1, keepdim=True).expand(2, 3, 4))


def test_additive_is_concat_with_its_matrix_cut_in_two():
    concat, additive = Concat(6, 5, 3), Additive(6, 5, 3)
    with torch.no_grad():
        additive.W.weight.copy_(concat.W.weight[:, :6])
        additive.U.weight.copy_(concat.W.weight[:, 6:])
        additive.v.weight.copy_(concat.v.weight)
    q, k = rows(2, 4, 3), rows(2, 7, 6)
    torch.testing.assert_close(additive(q, k), concat(q, k))


def test_bilinear_with_the_identity_is_the_dot_product():
    score = Bilinear(6, 6)
    with torch.no_grad():
        score.W.copy_(torch.eye(6))
    q, k = rows(2, 4, 6), rows(2, 7, 6)
    torch.testing.assert_close(score(q, k), Dot()(q, k))


def test_cosine_is_the_dot_of_unit_vectors_times_beta():
    q, k = rows(1, 6), rows(1, 6)
    angle = (q @ k.T) / (q.norm() * k.norm())
    torch.testing.assert_close(Cosine(3.0)(q, k), 3 * angle)
    torch.testing.assert_close(Cosine(3.0)(2 * q, 5 * k), 3 * angle)


def test_location_scores_do_not_read_the_keys():
    score = LocationBased(6, 9)
    q = rows(2, 3, 6)
    torch.testing.assert_close(score(q, rows(2, 7, 6)), score(q, rows(2, 7, 6)))
    with pytest.raises(ValueError, match="knows 9 places, got 10 keys"):
        score(q, rows(2, 10, 6))


def test_sqrt_keeps_the_variance_of_scores_at_1_and_d_makes_it_1_over_d():
    # Var(q.k) = d for independent unit entries; the sample variance of n logits has a standard
    # deviation of about sqrt(2/n), rows being independent.
    d, n = 64, 20_000
    q, k = rows(n, 1, d), rows(n, 1, d)
    tolerance = 3 * math.sqrt(2 / n) * 1.1  # the kurtosis of q.k is a little above a Gaussian's
    assert ScaledDot()(q, k).var().item() == pytest.approx(1, abs=tolerance)
    assert ScaledDot("d")(q, k).var().item() * d == pytest.approx(1, abs=tolerance)
    assert ScaledDot(4.0)(q, k).var().item() * 16 / d == pytest.approx(1, abs=tolerance)


@pytest.mark.parametrize("mask", [None, "causal", "some"])
@pytest.mark.parametrize("scale", ["sqrt", "d", 3.0])
def test_the_slow_path_equals_torchs_kernel_in_values_and_gradients(mask, scale):
    tensors = [rows(2, 3, 7, 6), rows(2, 3, 7, 6), rows(2, 3, 7, 4)]
    tensors = [t.requires_grad_() for t in tensors]
    mask = some(2, 1, 7, 7) if mask == "some" else mask
    score = ScaledDot(scale)
    slow, weights = attend(*tensors, score, mask)
    fast, none = attend(*tensors, score, mask, return_weights=False)
    assert none is None
    assert weights.shape == (2, 3, 7, 7)
    torch.testing.assert_close(slow, fast, atol=1e-12, rtol=1e-10)
    probe = rows(2, 3, 7, 4)
    one = torch.autograd.grad(slow, tensors, probe)
    two = torch.autograd.grad(fast, tensors, probe)
    torch.testing.assert_close(one, two, atol=1e-12, rtol=1e-10)


def test_causal_with_fewer_queries_than_keys_means_the_last_places():
    q, k, v = rows(1, 2, 6), rows(1, 5, 6), rows(1, 5, 4)
    for kept in (True, False):
        context, _ = attend(q, k, v, mask="causal", return_weights=kept)
        alone, _ = attend(q[:, :1], k[:, :4], v[:, :4])
        torch.testing.assert_close(context[:, :1], alone)


@pytest.mark.parametrize("normalize", NORMALIZERS, ids=lambda n: str(getattr(n, "__class__", n)))
@pytest.mark.parametrize("fast", [False, True])
def test_a_query_that_may_see_nothing_gets_zeros_and_sends_no_gradient(normalize, fast):
    if fast and normalize != "softmax":
        return
    q, k, v = (rows(1, 3, 4).requires_grad_() for _ in range(3))
    mask = torch.tensor([[True, False, True], [False, False, False], [True, True, True]])
    context, weights = attend(q, k, v, mask=mask, normalize=normalize, return_weights=not fast)
    assert (context[:, 1] == 0).all()
    assert fast or (weights[:, 1] == 0).all()
    gradients = torch.autograd.grad(context.square().sum(), (q, k, v), allow_unused=True)
    for gradient in gradients:
        assert gradient is None or gradient.isfinite().all()
    assert gradients[0] is None or (gradients[0][:, 1] == 0).all()


@pytest.mark.parametrize("content", [math.nan, math.inf, 1e30])
@pytest.mark.parametrize("fast", [False, True])
def test_what_padding_holds_changes_nothing(content, fast):
    q, k, v = rows(2, 3, 6), rows(2, 5, 6), rows(2, 5, 4)
    mask = masks.padding(torch.tensor([3, 5]), 5)[:, None]
    clean, _ = attend(q, k, v, mask=mask, return_weights=not fast)
    k[0, 3:], v[0, 3:] = content, content
    dirty, _ = attend(q, k, v, mask=mask, return_weights=not fast)
    torch.testing.assert_close(clean, dirty, rtol=0, atol=0)


@pytest.mark.parametrize("fast", [False, True])
def test_the_past_has_no_gradient_of_the_future(fast):
    x = rows(1, 6, 8)

    def read(x):
        return attend(x, x, x, mask="causal", return_weights=not fast)[0]

    jacobian = torch.autograd.functional.jacobian(read, x)[0, :, :, 0].abs().sum((1, 3))
    assert (jacobian.triu(1) == 0).all()
    assert (jacobian.tril()[torch.ones(6, 6).tril().bool()] > 0).all()


def test_recording_collects_weights_per_head_and_changes_nothing():
    layer = MultiHead(8, 2)
    x = rows(2, 5, 8)
    plain = layer(x, mask="causal")
    with recording() as maps:
        recorded = layer(x, mask="causal")
    torch.testing.assert_close(plain, recorded)
    assert [m.shape for m in maps] == [(2, 2, 5, 5)]
    assert (maps[0].triu(1) == 0).all()
    layer(x)
    assert len(maps) == 1


def test_dropout_keeps_the_mean_and_only_while_training():
    layer = Attention(dropout=0.5)
    q, k = rows(1, 3, 6), rows(1, 5, 6)
    expected, _ = layer.eval()(q, k)
    layer.train()
    drawn, _ = layer(q.expand(4000, 3, 6), k.expand(4000, 5, 6))
    deviation = drawn.std(0) / math.sqrt(4000)
    assert ((drawn.mean(0) - expected).abs() < 4.5 * deviation).all()


def test_luongs_new_state_is_made_of_context_and_state():
    layer, states, source = LuongAttention(4).double(), rows(2, 3, 4), rows(2, 5, 4)
    out, weights = layer(states, source)
    both = torch.cat([weights @ source, states], -1)
    torch.testing.assert_close(out, torch.tanh(both @ layer.combine.weight.T))


def test_weights_are_told_as_they_were_before_dropout():
    q, k, v = rows(2, 3, 6), rows(2, 5, 6), rows(2, 5, 4)
    context, weights = attend(q, k, v, dropout=0.5)
    torch.testing.assert_close(weights, attend(q, k, v)[1])
    assert not torch.allclose(context, weights @ v)


def test_a_normalizer_with_a_wrong_name_is_told_at_once():
    with pytest.raises(ValueError, match="did you mean softmax"):
        Attention(normalize="softmx")


# Normalizers


@pytest.mark.parametrize("scale", [0.1, 1.0, 10.0])
def test_sparsemax_is_the_nearest_point_of_the_simplex(scale):
    from scipy.optimize import minimize

    z = scale * rows(6)
    found = sparsemax(z)
    start = torch.full((6,), 1 / 6)
    nearest = minimize(
        lambda p: ((p - z.numpy()) ** 2).sum(),
        start.numpy(),
        bounds=[(0, 1)] * 6,
        constraints={"type": "eq", "fun": lambda p: p.sum() - 1},
        options={"ftol": 1e-14},
    )
    torch.testing.assert_close(found, torch.from_numpy(nearest.x), atol=1e-6, rtol=0)
    assert scale < 10 or (found == 0).any()


@pytest.mark.parametrize("scale", [0.1, 1.0, 10.0])
def test_entmax_maximizes_the_score_and_its_tsallis_entropy(scale):
    # p = [z/2 - tau]_+^2 for a tau with sum 1: found here by bisection.
    z = scale * rows(6)
    low, high = (z / 2).max() - 1, (z / 2).max()
    for _ in range(200):
        tau = (low + high) / 2
        total = (z / 2 - tau).clamp(min=0).square().sum()
        low, high = (tau, high) if total > 1 else (low, tau)
    torch.testing.assert_close(entmax15(z), (z / 2 - low).clamp(min=0).square())


@pytest.mark.parametrize("function", [sparsemax, entmax15])
def test_sparse_normalizers_work_along_any_axis_and_shift_freely(function):
    z = rows(3, 5, 4)
    torch.testing.assert_close(function(z, 1), function(z.mT).mT)
    torch.testing.assert_close(function(z, 1), function(z, -2))
    torch.testing.assert_close(function(z + 1e3), function(z))
    torch.testing.assert_close(function(z).sum(-1), torch.ones(3, 5))


@pytest.mark.parametrize("function", [sparsemax, entmax15])
def test_gradients_of_sparse_normalizers(function):
    z = rows(4, 5).requires_grad_()
    assert torch.autograd.gradcheck(function, z)


def test_sparse_normalizers_equal_the_authors_package():
    entmax = pytest.importorskip("entmax")
    z = 3 * rows(20, 9)
    torch.testing.assert_close(sparsemax(z), entmax.sparsemax(z, -1))
    torch.testing.assert_close(entmax15(z), entmax.entmax15(z, -1))


def test_unnormalized_attention_counts():
    # Sigmoid weights may sum to more than 1: two marked places give twice what one gives.
    keys = torch.tensor([[[-30.0], [30.0], [30.0]]])
    context, _ = attend(torch.ones(1, 1, 1), keys, torch.ones(1, 3, 1), normalize="sigmoid")
    torch.testing.assert_close(context, torch.full((1, 1, 1), 2.0))


def _four_places():
    return rows(1, 1, 4).requires_grad_(), torch.tensor([0.3, -1.0, 2.0, 0.5])


def test_the_score_function_estimate_is_the_exact_gradient_on_average():
    # Four places with log-likelihoods l: d/dz sum_s p_s l_s = p * (l - sum p l).
    logits, likelihoods = _four_places()
    p = logits.detach().softmax(-1)
    exact = p * (likelihoods - (p * likelihoods).sum())
    hard = HardAttention().train()
    draws = 200_000
    weights = hard(logits.expand(draws, 1, 4))
    reward = (weights[:, 0] * likelihoods).sum(-1)
    hard.baseline.fill_(0.4)  # a constant baseline leaves the mean as it is
    logit_rows = logits.expand(draws, 1, 4)
    log_p = logit_rows.log_softmax(-1).gather(-1, weights.argmax(-1, keepdim=True)).squeeze()
    per_draw = (reward - 0.4)[:, None] * (weights[:, 0] - p[0])
    deviation = per_draw.std(0) / math.sqrt(draws)
    (found,) = torch.autograd.grad(hard.surrogate(reward), logits)
    assert ((found - exact).abs()[0, 0] < 4 * deviation).all()
    assert log_p.shape == (draws,)


def test_the_baseline_is_a_running_mean_and_draws_are_used_once():
    hard = HardAttention().train()
    hard(rows(5, 1, 4))
    assert len(hard.drawn) == 1
    hard.surrogate(torch.full((5,), 2.0))
    assert hard.drawn == []
    assert hard.baseline.item() == pytest.approx(0.1 * 2)
    hard.surrogate(torch.full((5,), 3.0))
    assert hard.baseline.item() == pytest.approx(0.9 * 0.2 + 0.1 * 3)


def test_entropy_is_rewarded_along_its_gradient():
    hard = HardAttention().train()
    logits = rows(1, 1, 4).requires_grad_()
    hard(logits)
    total = hard.surrogate(torch.zeros(1), reward=0.0, entropy=1.0)
    p = logits.softmax(-1)
    torch.testing.assert_close(total, -(p * p.log()).sum())


def test_straight_through_draws_one_place_and_passes_the_softmax_gradient():
    logits = rows(3, 2, 4).requires_grad_()
    hard = HardAttention("straight-through").train()
    weights = hard(logits)
    torch.testing.assert_close(weights.detach().sort(-1).values[..., -1], torch.ones(3, 2))
    torch.testing.assert_close(weights.sum(-1), torch.ones(3, 2))
    probe = rows(3, 2, 4)
    (found,) = torch.autograd.grad(weights, logits, probe)
    (soft,) = torch.autograd.grad(logits.softmax(-1), logits, probe)
    torch.testing.assert_close(found, soft)


def test_hard_attention_takes_the_likeliest_when_judged():
    logits = rows(3, 2, 4)
    weights = HardAttention().eval()(logits)
    assert (weights.argmax(-1) == logits.argmax(-1)).all()
    torch.testing.assert_close(weights.sum(-1), torch.ones(3, 2))


# Structured attention


def _brute(unary, transitions):
    """log Z, marginals and the best labelling of one chain, over all labellings."""
    import itertools

    T, K = unary.shape
    labellings = list(itertools.product(range(K), repeat=T))
    scores = torch.stack(
        [
            sum(unary[t, z[t]] for t in range(T))
            + sum((transitions[z[t], z[t + 1]] for t in range(T - 1)), torch.zeros(()))
            for z in labellings
        ]
    )
    p = scores.softmax(0)
    marginals = torch.zeros(T, K)
    for z, weight in zip(labellings, p, strict=True):
        for t in range(T):
            marginals[t, z[t]] += weight
    return scores.logsumexp(0), marginals, labellings[int(scores.argmax())], labellings, scores


@pytest.mark.parametrize(("tokens", "labels"), [(1, 2), (8, 2), (5, 3)])
@torch.no_grad()
def test_a_chain_equals_brute_force(tokens, labels):
    chain = ChainCRF(labels)
    chain.transitions.copy_(rows(labels, labels))
    unary = rows(tokens, labels)
    total, marginals, best, labellings, scores = _brute(unary, chain.transitions)
    torch.testing.assert_close(chain.log_partition(unary), total)
    torch.testing.assert_close(chain.marginals(unary), marginals)
    assert tuple(chain.decode(unary).tolist()) == best
    some_labels = torch.tensor(labellings[3 % len(labellings)])
    torch.testing.assert_close(
        chain.log_likelihood(unary, some_labels), (scores - total)[3 % len(labellings)]
    )


@torch.no_grad()
def test_a_padded_chain_is_the_shorter_chain():
    chain = ChainCRF(3)
    chain.transitions.copy_(rows(3, 3))
    unary, labels = rows(2, 6, 3), torch.randint(3, (2, 6))
    mask = masks.padding(torch.tensor([4, 6]), 6)
    short = unary[0, :4]
    torch.testing.assert_close(chain.log_partition(unary, mask)[0], chain.log_partition(short))
    torch.testing.assert_close(chain.marginals(unary, mask)[0, :4], chain.marginals(short))
    assert (chain.decode(unary, mask)[0, :4] == chain.decode(short)).all()
    torch.testing.assert_close(
        chain.log_likelihood(unary, labels, mask)[0], chain.log_likelihood(short, labels[0, :4])
    )


def test_without_transitions_a_chain_is_sigmoid_attention():
    q, k, v = rows(2, 3, 6), rows(2, 7, 6), rows(2, 7, 4)
    chain, _ = attend(q, k, v, normalize=ChainCRF())
    sigmoid, _ = attend(q, k, v, normalize="sigmoid")
    torch.testing.assert_close(chain, sigmoid)


def test_marginals_can_be_trained():
    segments = SegmentAttention(3)
    query, x = rows(2, 1, 3), rows(2, 5, 3)
    with torch.no_grad():
        segments.chain.transitions.copy_(rows(2, 2))

    def read(transitions):
        segments.chain.transitions.data.copy_(transitions.detach())
        context, _ = torch.func.functional_call(
            segments, {"chain.transitions": transitions}, (query, x)
        )
        return context

    assert torch.autograd.gradcheck(read, segments.chain.transitions.detach().requires_grad_())


# Luong


def test_a_window_as_wide_as_the_source_makes_monotonic_local_attention_global():
    wide = LuongAttention(6, window=10, place="monotonic")
    everything = LuongAttention(6)
    everything.load_state_dict(wide.state_dict())
    states, source = rows(2, 4, 6), rows(2, 7, 6)
    torch.testing.assert_close(wide(states, source), everything(states, source))


def test_local_attention_sees_its_window_only():
    layer = LuongAttention(6, window=1, place="monotonic")
    _, weights = layer(rows(2, 4, 6), rows(2, 7, 6))
    away = (torch.arange(7) - torch.arange(4)[:, None]).abs()
    assert (weights[:, away > 1] == 0).all()
    assert (weights[:, away <= 1] > 0).all()


def test_predicted_places_are_trained_and_follow_the_gaussian():
    layer = LuongAttention(6, window=2)
    states, source = rows(1, 1, 6), rows(1, 7, 6)
    out, weights = layer(states, source)
    place = 7 * layer.locate(states)
    near = (torch.arange(7) - place).abs() <= 2
    logits = layer.score(states, source).masked_fill(~near, -math.inf)
    expected = logits.softmax(-1) * torch.exp(-((torch.arange(7) - place) ** 2) / 2)
    torch.testing.assert_close(weights, expected)
    out.sum().backward()
    assert layer.locate[0].weight.grad.abs().max() > 0
