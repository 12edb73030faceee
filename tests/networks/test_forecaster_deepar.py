"""DeepAR: its likelihoods, its scale, its paths, and what it learns."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from neurarium import networks
from neurarium.data import Data, windows
from neurarium.learning import Backprop
from neurarium.networks import DeepAR, NLinear
from neurarium.objectives import negative_log_likelihood
from neurarium.training import fit


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


def parameters(model, series):
    """What the network says of each next value, and the scale, by hand."""
    scale = 1 + series.abs().mean(1, keepdim=True)
    h, _ = model.recurrent((series / scale).unsqueeze(2))
    return [part.detach().numpy() for part in model.out(h).unbind(-1)], scale.numpy()


def softplus(x):
    return np.log1p(np.exp(x))


def test_the_likelihood_is_that_of_scaled_gaussians_given_the_values_before():
    model = DeepAR(5, 2, hidden=4).double()
    x, y = torch.randn(3, 5).double() * 9, torch.randn(3, 2).double() * 9
    scale = (1 + x.abs().mean(1, keepdim=True)).numpy()  # of the past alone
    h, _ = model.recurrent((torch.cat([x, y[:, :1]], 1) / torch.tensor(scale)).unsqueeze(2))
    mean, spread = (part.detach().numpy() for part in model.out(h).unbind(-1))
    expected = stats.norm.logpdf(
        torch.cat([x, y], 1)[:, 1:], scale * mean, scale * (softplus(spread) + 1e-6)
    )
    np.testing.assert_allclose(model.log_prob(x, y).detach(), expected)
    loss = negative_log_likelihood(model, {"input": x, "target": y})
    assert float(loss.detach()) == pytest.approx(-expected.mean())


def test_a_student_and_a_negative_binomial_likelihood():
    x = torch.tensor([[3.0, 0, 7, 1]]).double()
    model = DeepAR(4, 1, hidden=4, likelihood="student").double()
    (mean, spread, more), scale = parameters(model, x)
    at = model.distribution(model.recurrent((x / torch.tensor(scale)).unsqueeze(2))[0],
                            torch.tensor(scale))  # fmt: skip
    expected = stats.t.logpdf(
        x, 2 + softplus(more), scale * mean, scale * (softplus(spread) + 1e-6)
    )
    np.testing.assert_allclose(at.log_prob(x).detach(), expected)
    model = DeepAR(4, 1, hidden=4, likelihood="negative_binomial").double()
    (mean, shape), scale = parameters(model, x)
    at = model.distribution(model.recurrent((x / torch.tensor(scale)).unsqueeze(2))[0],
                            torch.tensor(scale))  # fmt: skip
    mean, shape = scale * softplus(mean), softplus(shape) / np.sqrt(scale)
    expected = stats.nbinom.logpmf(x, 1 / shape, 1 / (1 + mean * shape))
    np.testing.assert_allclose(at.log_prob(x).detach(), expected)
    np.testing.assert_allclose(at.mean.detach(), mean)  # and variance mean + shape mean^2
    np.testing.assert_allclose(at.variance.detach(), mean + shape * mean**2)


def test_paths_are_drawn_step_by_step_from_their_own_values():
    model = DeepAR(6, 3, hidden=4, samples=2).double()
    x = torch.randn(2, 6).double()
    paths = model.sample(x)
    scale = (1 + x.abs().mean(1, keepdim=True)).repeat_interleave(2, 0)
    torch.manual_seed(0)  # as `sample` does
    series = x.repeat_interleave(2, 0)
    for _ in range(3):
        h, _ = model.recurrent((series / scale).unsqueeze(2))
        drawn = model.distribution(h[:, -1:], scale).sample()
        series = torch.cat([series, drawn], 1)
    torch.testing.assert_close(paths.flatten(0, 1), series[:, 6:])


def test_forecasts_are_quantiles_or_the_mean_of_the_paths_and_repeat_themselves():
    x = torch.randn(4, 6, 2)
    model = DeepAR(6, 3, 2, (0.1, 0.9), hidden=4, samples=30)
    assert model(x).shape == (4, 3, 2, 2)
    assert (model(x)[..., 0] <= model(x)[..., 1]).all()
    paths = model.sample(x.transpose(1, 2).flatten(0, 1)).unflatten(0, (4, 2))
    quantiles = paths.quantile(torch.tensor([0.1, 0.9]), dim=2)  # levels, batch, targets, horizon
    torch.testing.assert_close(model(x), quantiles.permute(1, 3, 2, 0))
    before = torch.get_rng_state()
    assert torch.equal(model(x), model(x))
    assert torch.equal(torch.get_rng_state(), before)  # nor do they touch the training's chance
    twin = networks.build(networks.config(model))
    twin.load_state_dict(model.state_dict())
    assert torch.equal(twin(x), model(x))
    plain = DeepAR(6, 3, hidden=4, samples=30)
    torch.testing.assert_close(plain(x[..., 0]), plain.sample(x[..., 0]).mean(1))


def test_coefficient_and_noise_of_an_autoregression_are_learnt():
    noise, series = torch.randn(6000) * 2, torch.zeros(6000)
    for t in range(1, 6000):
        series[t] = 0.8 * series[t - 1] + noise[t]
    data = Data(windows(series[:5000], 10, 3), None, windows(series[5000:], 10, 3))
    model = DeepAR(10, 3, quantiles=(0.1, 0.5, 0.9), hidden=8, cell="gru")
    run = fit(
        model, data, negative_log_likelihood, Backprop("adam", lr=0.02, schedule="one_cycle"),
        epochs=6, batch_size=128, metrics={}, verbose=False, precision="32",
    )  # fmt: skip
    best = 0.5 * math.log(2 * math.pi * math.e * 4)  # the entropy of the noise
    batch = data.test.tensors
    assert float(negative_log_likelihood(model, batch).detach()) < best + 0.06
    forecast, target = run.outputs("test")
    inside = (forecast[..., 0] <= target) & (target <= forecast[..., 2])
    assert 0.74 < inside.float().mean() < 0.86
    # three steps ahead noise has added up: 4 (1 + 0.64 + 0.41)
    width = (forecast[:, 2, 2] - forecast[:, 2, 0]).mean()
    assert float(width) == pytest.approx(2 * 1.2816 * 2 * math.sqrt(2.05), rel=0.12)


def test_what_does_not_fit_is_refused(unchecked):
    with pytest.raises(ValueError, match="likelihood must be one of gaussian"):
        DeepAR(4, 2, likelihood="poisson")
    counts = DeepAR(4, 2, likelihood="negative_binomial")
    with pytest.raises(ValueError, match="a negative binomial is of counts"):
        counts.log_prob(torch.rand(3, 4), torch.ones(3, 2))
    with pytest.raises(ValueError, match="NLinear has none"):
        negative_log_likelihood(NLinear(4, 2), {"input": torch.rand(3, 4)})
