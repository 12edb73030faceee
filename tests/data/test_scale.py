import numpy as np
import pytest
import torch
from sklearn.preprocessing import MinMaxScaler, StandardScaler

from neurarium.data import MinMax, Standardize, Whiten


@pytest.fixture
def x() -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    mixing = torch.randn(5, 5, generator=generator, dtype=torch.float64)
    return torch.randn(200, 5, generator=generator, dtype=torch.float64) @ mixing + 3


@pytest.mark.parametrize(
    ("ours", "theirs"), [(Standardize, StandardScaler), (MinMax, MinMaxScaler)]
)
def test_scaling_is_scikit_learns_also_on_rows_not_fitted(ours, theirs, x):
    scaler, peer = ours.fit(x[:150]), theirs().fit(x[:150])
    torch.testing.assert_close(scaler(x), torch.from_numpy(peer.transform(x)))


@pytest.mark.parametrize(("lo", "hi"), [(-1.0, 1.0), (2.0, 5.0)])
def test_another_range_is_scikit_learns_and_comes_back(lo, hi, x):
    scaler, peer = MinMax.fit(x[:150], lo, hi), MinMaxScaler((lo, hi)).fit(x[:150])
    torch.testing.assert_close(scaler(x), torch.from_numpy(peer.transform(x)))
    torch.testing.assert_close(scaler.inverse(scaler(x)), x)


def test_a_constant_feature_becomes_the_low_end_as_in_scikit_learn(x):
    x[:, 2] = 0.1
    scaler, peer = MinMax.fit(x, -1, 1), MinMaxScaler((-1, 1)).fit(x)
    torch.testing.assert_close(scaler(x), torch.from_numpy(peer.transform(x)))
    assert (scaler(x)[:, 2] == -1).all()
    torch.testing.assert_close(scaler.inverse(scaler(x)), x)


def test_a_range_upside_down_is_an_error(x, unchecked):
    with pytest.raises(ValueError, match="lo must be below hi, got 1 and -1"):
        MinMax.fit(x, 1, -1)


@pytest.mark.parametrize("kind", [Standardize, MinMax])
def test_a_constant_feature_becomes_zero_and_comes_back(kind, x):
    x[:, 2] = 0.1
    scaler = kind.fit(x)
    assert (scaler(x)[:, 2] == 0).all()
    torch.testing.assert_close(scaler.inverse(scaler(x)), x)


def test_images_have_one_mean_and_deviation_per_channel():
    images = torch.randint(0, 256, (40, 3, 5, 4), dtype=torch.uint8)
    y = Standardize.fit(images)(images)
    rows = images.permute(0, 2, 3, 1).reshape(-1, 3).numpy()
    expected = StandardScaler().fit_transform(rows.astype(float)).reshape(40, 5, 4, 3)
    np.testing.assert_allclose(y.permute(0, 2, 3, 1), expected, atol=1e-5)
    assert y.dtype == torch.float32


def test_integers_and_their_floats_are_scaled_alike_and_left_unchanged():
    images = torch.randint(0, 256, (8, 1, 6, 6), dtype=torch.uint8)
    scaler, before = Standardize.fit(images), images.clone()
    torch.testing.assert_close(scaler(images), scaler(images.float()))
    assert torch.equal(images, before)


def test_scaling_passes_gradients_on(x):
    x.requires_grad_()
    scaler = Standardize.fit(x.detach())
    (grad,) = torch.autograd.grad(scaler(x).sum(), x)
    torch.testing.assert_close(grad, (1 / x.detach().std(0, correction=0)).expand_as(x))


def test_scaling_is_not_trained_but_saved(x):
    scaler = Standardize.fit(x)
    assert not list(scaler.parameters())
    again = Standardize(torch.zeros(5, dtype=x.dtype), torch.ones(5, dtype=x.dtype))
    again.load_state_dict(scaler.state_dict())
    assert torch.equal(again(x), scaler(x))


@pytest.mark.parametrize("kind", ["pca", "zca"])
def test_whitened_rows_have_the_identity_as_covariance(kind, x):
    whiten = Whiten.fit(x, kind)
    y = whiten(x)
    torch.testing.assert_close(y.mean(0), torch.zeros(5, dtype=x.dtype), atol=1e-9, rtol=0)
    covariance = torch.cov(y.T, correction=0)
    torch.testing.assert_close(covariance, torch.eye(5, dtype=x.dtype), atol=1e-5, rtol=0)
    torch.testing.assert_close(whiten.inverse(y), x)


def test_zca_is_the_symmetric_whitening_and_pca_orders_by_variance(x):
    zca, pca = Whiten.fit(x, "zca"), Whiten.fit(x, "pca")
    torch.testing.assert_close(zca.forth, zca.forth.T)
    assert (torch.linalg.eigvalsh(zca.forth) > 0).all()
    variance = torch.cov(((x - x.mean(0)) @ (pca.forth.T / pca.forth.norm(dim=1))).T).diagonal()
    assert (variance.diff() < 0).all()


def test_whitening_keeps_the_shape_of_images_and_survives_a_dead_pixel():
    images = torch.rand(50, 1, 4, 4)
    images[:, :, 0, 0] = 0.5
    y = Whiten.fit(images, "zca")(images)
    assert y.shape == images.shape
    assert y.abs().max() < 20
    torch.testing.assert_close(y[:, 0, 0, 0], torch.zeros(50), atol=1e-3, rtol=0)


def test_an_unknown_whitening_is_an_error(x, unchecked):
    with pytest.raises(ValueError, match="'pca' or 'zca', got 'lda'"):
        Whiten.fit(x, "lda")
