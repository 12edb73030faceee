"""Compressors: what arrives, what is kept back, and how many bytes it takes."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from neurarium.training.distributed import (
    DGC,
    QSGD,
    FloatTruncate,
    SignSGD,
    TernGrad,
    compression,
)
from neurarium.training.distributed.compressor import exchange, pack, packed_length, unpack

COMPRESSORS = {
    "terngrad": TernGrad(),
    "terngrad, one scale": TernGrad(layerwise=False),
    "qsgd": QSGD(levels=4, bucket=None),
    "qsgd, blocks": QSGD(levels=7, bucket=8),
    "sign": SignSGD(),
    "dgc": DGC(0.8, warmup_epochs=0),
    "float": FloatTruncate(),
}


def gradients(seed=0, scale=0.1, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    shapes = [(3, 5), (7,), (), (1, 1, 4)]
    return [scale * torch.randn(s, generator=generator, dtype=dtype) for s in shapes]


def sent(one, gradient, scale=None):
    """What arrives of one worker's first layer."""
    payload = one.encode(0, gradient, scale)
    return one.decode(payload, gradient, scale)


@given(bits=st.integers(1, 8), codes=st.lists(st.integers(0, 255), min_size=1, max_size=30))
@settings(deadline=None)
def test_packed_numbers_come_back_from_the_least_bytes(bits, codes):
    codes = torch.tensor(codes) % 2**bits
    payload = pack(codes, bits)
    assert payload.dtype == torch.uint8
    assert len(payload) == packed_length(len(codes), bits) == math.ceil(len(codes) * bits / 8)
    torch.testing.assert_close(unpack(payload, bits, len(codes)), codes)


def test_the_first_number_is_in_the_lowest_bits():
    # 1 + 2 * 4 + 3 * 16 + 0 * 64 = 57
    assert pack(torch.tensor([1, 2, 3, 0]), 2).tolist() == [57]


@pytest.mark.parametrize("name", COMPRESSORS)
def test_the_length_that_is_announced_is_the_payloads(name):
    (one,) = COMPRESSORS[name].for_workers(1)
    for dtype in (torch.float32, torch.float64):
        own, scales = one.prepare(gradients(dtype=dtype))
        for layer, gradient in enumerate(own):
            payload = one.encode(layer, gradient, None if scales is None else scales[layer])
            assert one.length(gradient) in (None, len(payload))
        one.memory.clear()


@pytest.mark.parametrize("name", COMPRESSORS)
def test_workers_agree_on_finite_averages_of_the_gradients_form(name):
    workers = COMPRESSORS[name].for_workers(3)
    given = [gradients(seed) for seed in range(3)]
    kept = [[g.clone() for g in own] for own in given]
    averages = exchange(workers, given)
    assert [a.shape for a in averages] == [g.shape for g in given[0]]
    assert all(a.isfinite().all() for a in averages)
    torch.testing.assert_close(given, kept)  # the workers' own gradients stay as they are
    assert all(one.sent_bytes for one in workers)


@pytest.mark.parametrize("name", COMPRESSORS)
def test_nothing_is_what_arrives_of_a_gradient_of_zero(name):
    averages = exchange(
        COMPRESSORS[name].for_workers(2), [[torch.zeros_like(g) for g in gradients()]] * 2
    )
    assert all((a == 0).all() for a in averages)


@pytest.mark.parametrize("name", COMPRESSORS)
def test_a_compressor_goes_on_from_its_state_bit_for_bit(name):
    one, other = COMPRESSORS[name].for_workers(2)
    other.worker = 0
    exchange([one], [gradients(0)])
    other.load_state_dict(one.state_dict())
    for seed in (1, 2):
        for a, b in zip(
            exchange([one], [gradients(seed)]), exchange([other], [gradients(seed)]), strict=True
        ):
            assert torch.equal(a, b)
    assert one.sent_bytes == other.sent_bytes


@pytest.mark.parametrize("name", ["terngrad", "qsgd", "dgc", "float"])
def test_not_a_number_is_not_hidden(name):
    spoilt = [torch.tensor([0.1, math.nan, 0.2], dtype=torch.float64)]
    (average,) = exchange(COMPRESSORS[name].for_workers(1), [spoilt])
    assert not average.isfinite().all()


# TernGrad


def test_terngrad_is_unbiased():
    g = torch.tensor([0.5, -0.25, 0.1, 0.0, -1.0], dtype=torch.float64)
    one, runs = TernGrad(clip_sigma=None), 100_000
    wide = g.repeat(runs)  # 1e5 independent draws of the same gradient
    arrived = sent(one, wide, torch.tensor(1.0, dtype=torch.float64)).reshape(runs, 5)
    # P(b=1) = |g|, so the variance is |g|(1-|g|); |z| > 4.5 happens once in 150,000 runs.
    spread = (g.abs() * (1 - g.abs()) / runs).sqrt()
    assert ((arrived.mean(0) - g).abs() <= 4.5 * spread + 1e-12).all()
    assert set(arrived.unique().tolist()) == {-1.0, 0.0, 1.0}


def test_terngrad_clips_to_standard_deviations_and_shares_the_greatest_scale():
    # Nine zeros and a one: mean .1, sigma .3, so 2.5 sigma = .75.
    spike = torch.zeros(10, dtype=torch.float64)
    spike[3] = 1.0
    (clipped,), scales = TernGrad().prepare([spike])
    assert clipped[3] == pytest.approx(0.75)
    assert scales.tolist() == pytest.approx([0.75])
    # 0.2 by one worker, 4 by the other: with the shared scale 4 the entry 0.2 is sent 1 in 20.
    workers = TernGrad(clip_sigma=None).for_workers(2)
    small, large = torch.full((1000,), 0.2), torch.full((1000,), 4.0)
    (average,) = exchange(workers, [[small], [large]])
    assert set(average.tolist()) == {2.0, 4.0}
    assert average.mean() == pytest.approx(2.1, abs=0.05)


def test_the_average_of_n_ternary_gradients_has_at_most_2n_plus_1_levels():
    workers = TernGrad().for_workers(3)
    (average,) = exchange(workers, [[gradients(s)[0].repeat(50, 1)] for s in range(3)])
    step = average.abs()[average.abs() > 1e-9].min()
    torch.testing.assert_close(average / step, (average / step).round())
    assert len((average / step).round().unique()) == 7


def test_terngrad_sends_two_bits_an_entry_and_a_number_a_tensor():
    (one,) = TernGrad().for_workers(1)
    exchange([one], [[torch.randn(64, 100), torch.randn(100)]])
    assert one.sent_bytes == (6400 + 100) * 2 // 8 + 2 * 4  # fp32: 26,000


def test_one_scale_is_that_of_the_greatest_layer():
    _, scales = TernGrad(clip_sigma=None, layerwise=False).prepare(
        [torch.tensor([1.0]), torch.tensor([-3.0])]
    )
    assert scales.tolist() == [3.0, 3.0]


def test_draws_differ_between_workers_layers_and_steps():
    one, other = TernGrad().for_workers(2)
    like = torch.zeros(50)
    draws = [one.draw(0, like), one.draw(0, like), one.draw(1, like), other.draw(0, like)]
    assert len({tuple(d.tolist()) for d in draws}) == 4


# QSGD


@pytest.mark.parametrize("levels", [1, 3, 8])
def test_qsgd_is_unbiased_with_bounded_variance(levels):
    generator = torch.Generator().manual_seed(levels)
    g = torch.randn(20, generator=generator, dtype=torch.float64)
    runs = 20_000
    arrived = sent(QSGD(levels, bucket=20), g.repeat(runs)).reshape(runs, 20)
    spread = (arrived.var(0) / runs).sqrt()
    assert ((arrived.mean(0) - g).abs() <= 4.5 * spread + 1e-12).all()
    variance = (arrived - g).square().sum(1).mean()
    d = len(g)
    assert variance <= min(d / levels**2, math.sqrt(d) / levels) * g.square().sum()
    steps = arrived * levels / g.norm()
    torch.testing.assert_close(steps, steps.round())


def test_qsgd_sends_a_norm_and_the_bits_of_its_levels():
    one = QSGD(levels=3, bucket=None)  # 7 codes: 3 bits
    payload = one.encode(0, torch.randn(80), None)
    assert len(payload) == 4 + 80 * 3 // 8
    assert len(QSGD(levels=3, bucket=32).encode(0, torch.randn(80), None)) == 3 * 4 + 30


# Signs


def test_signs_with_feedback_by_hand():
    one = SignSGD()
    g = torch.tensor([3.0, -1.0])
    # |p| has mean 2: sent (2, -2), left (1, 1). Then p = (4, 0): sent (2, 2), left (2, -2).
    assert sent(one, g).tolist() == [2.0, -2.0]
    assert sent(one, g).tolist() == [2.0, 2.0]
    assert one.memory[0]["error"].tolist() == [2.0, -2.0]
    assert sent(SignSGD(error_feedback=False), g).tolist() == [2.0, -2.0]


def test_all_that_signs_leave_out_is_kept():
    one, total, arrived = SignSGD(), 0, 0
    for seed in range(20):
        g = gradients(seed)[0]
        total, arrived = total + g, arrived + sent(one, g)
    torch.testing.assert_close(arrived + one.memory[0]["error"], total)


def test_signs_take_a_bit_an_entry():
    assert len(SignSGD().encode(0, torch.randn(800), None)) == 100 + 4


# Deep gradient compression


@pytest.mark.parametrize("masking", [True, False])
def test_dgc_sends_in_the_end_what_momentum_summed(masking):
    one = DGC(0.8, 0.9, factor_masking=masking, warmup_epochs=0)
    u = arrived = summed = torch.zeros(15, dtype=torch.float64)
    for seed in range(12):
        g = gradients(seed)[0].reshape(-1)
        u = 0.9 * u + g
        summed = summed + u
        message = sent(one, g)
        arrived = arrived + message
        assert (message != 0).sum() == 3  # a fifth of 15
        if masking:
            u = torch.where(message != 0, 0, u)
        torch.testing.assert_close(arrived + one.memory[0]["v"], summed)
        torch.testing.assert_close(one.memory[0]["u"], u)


def test_dgc_sends_the_largest_sums():
    one = DGC(0.5, 0.0, warmup_epochs=0)
    # v = (4, 3, 1, 2): the first two go. Then v = (1, 1, 1+3, 2+1): the last two.
    assert sent(one, torch.tensor([4.0, 3.0, 1.0, 2.0])).tolist() == [4, 3, 0, 0]
    assert sent(one, torch.tensor([1.0, 1.0, 3.0, 1.0])).tolist() == [0, 0, 4, 3]


@pytest.mark.parametrize(("masking", "momentum"), [(False, 0.9), (True, 0.0)])
def test_dgc_that_sends_all_is_sgd_with_momentum_unless_masked(masking, momentum):
    one = DGC(0.0, 0.9, factor_masking=masking, warmup_epochs=0)
    ours = torch.ones(15, dtype=torch.float64)
    theirs = torch.nn.Parameter(ours.clone())
    sgd = torch.optim.SGD([theirs], lr=0.1, momentum=momentum)
    for seed in range(5):
        g = gradients(seed)[0].reshape(-1)
        ours = ours - 0.1 * sent(one, g)
        theirs.grad = g
        sgd.step()
        torch.testing.assert_close(ours, theirs.detach())


def test_dgc_warms_up_by_quarters():
    one = DGC(0.999, warmup_epochs=4, steps_per_epoch=10)
    found = [one.sparsity_at(step) for step in (0, 9, 10, 20, 30, 39, 40, 1000)]
    assert found == [0.75, 0.75, 0.9375, 0.984375, 0.99609375, 0.99609375, 0.999, 0.999]
    assert DGC(0.9, steps_per_epoch=1).sparsity_at(3) == 0.9


def test_dgc_clips_each_workers_gradient_to_its_part_of_the_norm():
    one = DGC(0.0, max_norm=2.0, warmup_epochs=0)
    one.workers = 4
    own, _ = one.prepare([torch.tensor([3.0]), torch.tensor([4.0])])  # norm 5; 2 / sqrt(4) = 1
    assert torch.cat(own).tolist() == pytest.approx([0.6, 0.8])
    small, _ = one.prepare([torch.tensor([0.3]), torch.tensor([0.4])])
    assert torch.cat(small).tolist() == pytest.approx([0.3, 0.4])


def test_a_sampled_threshold_sends_nearly_as_many_and_never_more():
    one = DGC(0.99, warmup_epochs=0, sample=0.05)
    g = torch.randn(100_000, generator=torch.Generator().manual_seed(1))
    arrived = sent(one, g)
    count = int((arrived != 0).sum())
    assert 500 <= count <= 1000
    # What is sent is larger than nearly all that is not.
    assert arrived[arrived != 0].abs().min() >= g.abs().sort().values[98_000]
    torch.testing.assert_close(arrived + one.memory[0]["v"], g)


def test_dgc_sends_an_index_and_a_value_for_each_entry():
    (one,) = DGC(0.99, warmup_epochs=0).for_workers(1)
    exchange([one], [[torch.randn(10_000)]])
    assert one.sent_bytes == 100 * (4 + 4) + 4  # and their number


# The float codec


@given(
    values=st.lists(
        st.floats(-4, 4, width=32) | st.floats(-(2**-6), 2**-6, width=32), min_size=1, max_size=40
    ),
    exponent=st.integers(1, 14),
)
@settings(deadline=None)
def test_truncated_floats_are_within_the_bound(values, exponent):
    g = torch.tensor(values)
    arrived = sent(FloatTruncate(2.0**-exponent), g)
    assert ((g - arrived).abs() < 2.0**-exponent).all()
    assert torch.equal(arrived[g.abs() >= 1], g[g.abs() >= 1])
    assert (arrived.abs() <= g.abs()).all()  # cut off, never rounded up
    assert (arrived * g >= 0).all()


def test_floats_take_0_8_16_or_32_bits():
    one = FloatTruncate(2**-10)
    # Tags: 1 byte. Nothing; a byte; two bytes; four bytes.
    sizes = {2**-11: 1, 2**-10: 2, -(2**-6): 2, 2**-5: 3, -0.99: 3, 1.0: 5, -3.5: 5}
    for value, size in sizes.items():
        assert len(one.encode(0, torch.tensor([value]), None)) == size, value
    # Seven places after the fifth: steps of 2^-12. 0.01 = 40.96 of them.
    assert sent(one, torch.tensor([0.01, -0.01])).tolist() == [40 * 2**-12, -40 * 2**-12]
    # Fifteen places: 0.3 = 9830.4 steps of 2^-15.
    assert sent(one, torch.tensor([-0.3])).tolist() == [-9830 * 2**-15]


# Names and refusals


def test_compressions_are_chosen_by_name():
    assert isinstance(compression("terngrad:clip_sigma=3"), TernGrad)
    assert compression("dgc:0.99,momentum=0").momentum == 0
    assert repr(compression("qsgd:levels=2")) == "QSGD(levels=2, bucket=512, seed=0)"
    assert repr(compression("power_sgd:rank=2")) == "power_sgd:rank=2"
    with pytest.raises(ValueError, match="did you mean TernGrad"):
        compression("terngrat")
    with pytest.raises(ValueError, match="rang"):
        compression("power_sgd:rang=2")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: TernGrad(clip_sigma=0), "clip_sigma must be positive, got 0"),
        (lambda: QSGD(levels=128), "levels must lie in 1 ... 127"),
        (lambda: QSGD(bucket=0), "bucket must be at least 1"),
        (lambda: DGC(1.0), r"sparsity must lie in \[0, 1\), got 1.0"),
        (lambda: DGC(momentum=1.0), r"momentum must lie in \[0, 1\)"),
        (lambda: DGC(sample=2.0), r"sample must be a share"),
        (lambda: FloatTruncate(2**-15), r"bound must lie in \[2\*\*-14"),
        (lambda: DGC().sparsity_at(0), "pass steps_per_epoch, or warmup_epochs=0"),
    ],
)
def test_refusals(make, message, unchecked):
    with pytest.raises(ValueError, match=message):
        make()
