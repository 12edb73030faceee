"""The manifold tangent classifier: a plane is found, and slopes along it vanish."""

import pytest
import torch
from torch import nn

from neurarium.data import Data
from neurarium.learning import Backprop
from neurarium.objectives import contractive, manifold_tangent, tangent_basis
from neurarium.penalties import TangentProp
from neurarium.training import fit

DOUBLE = {"dtype": torch.float64}


def autoencoder(features, units):
    encoder = nn.Sequential(nn.Linear(features, units), nn.Sigmoid())
    return nn.Sequential(encoder, nn.Linear(units, features))


def largest_angles(basis, plane):
    """Of each point's subspace with the true one, in degrees."""
    cosines = torch.linalg.svdvals(basis @ plane).clamp(max=1)
    return torch.rad2deg(torch.acos(cosines[:, -1]))


def test_the_tangents_of_data_on_a_plane_are_the_plane():
    torch.manual_seed(0)
    plane = torch.linalg.qr(torch.randn(10, 2))[0]
    x = torch.randn(400, 2) @ plane.T
    model = autoencoder(10, 30)
    before = largest_angles(tangent_basis(model[0], x, 2), plane)
    rule = Backprop("adam", lr=0.01)
    run = fit(model, Data({"input": x}), contractive(), rule, epochs=50, batch_size=50,
              verbose=False)  # fmt: skip
    angles = largest_angles(tangent_basis(model[0], x, 2), plane)
    assert before.median() > 40
    assert angles.quantile(0.9) < 5
    assert run.history["train_reconstruction"][-1] < 0.01
    assert {"train_contraction", "train_curvature"} < run.history.keys()


def test_the_contraction_has_the_mean_of_the_whole_jacobian():
    # Of a sigmoid layer: Σ_j s'_j² ‖W_j‖².
    torch.manual_seed(0)
    model, x = autoencoder(4, 6).double(), torch.randn(5, 4, **DOUBLE)
    code = model[0](x).detach()
    rows = model[0][0].weight.detach().square().sum(1)
    exact = ((code * (1 - code)).square() * rows).sum(1).mean()
    objective = contractive(weight=1.0, curvature=0.0)
    with torch.no_grad():
        draws = [objective(model, {"input": x})["contraction"] for _ in range(1500)]
    draws = torch.stack(draws).detach()
    assert abs(draws.mean() - exact) < 4 * draws.std() / 1500**0.5
    assert draws.std() / 1500**0.5 < 0.02 * exact


def test_the_curvature_is_that_of_the_jacobians_at_two_points():
    torch.manual_seed(0)
    model, x = autoencoder(4, 6).double(), torch.randn(1, 4, **DOUBLE)
    w = model[0][0].weight.detach()

    def slopes(at):
        s = model[0](at).detach()
        return (s * (1 - s)).T * w

    objective = contractive(weight=0.0, curvature=1.0, noise=0.5)
    draws = []
    for seed in range(5):
        torch.manual_seed(seed)
        value = objective(model, {"input": x})["curvature"]
        torch.manual_seed(seed)  # the same draws, in the same order
        u, noise = torch.randn(1, 6, **DOUBLE), torch.randn(1, 4, **DOUBLE)
        bend = u @ (slopes(x) - slopes(x + 0.5 * noise))
        draws.append((value.detach(), bend.square().sum()))
    for ours, expected in draws:
        torch.testing.assert_close(ours, expected)


def test_a_linear_encoders_tangents_are_its_right_singular_vectors():
    torch.manual_seed(0)
    encoder, x = nn.Sequential(nn.Flatten(), nn.Linear(6, 5)).double(), torch.randn(7, 2, 3)
    basis = tangent_basis(encoder, x.double(), 3, batch_size=4)
    assert basis.shape == (7, 3, 2, 3)
    vh = torch.linalg.svd(encoder[1].weight.detach())[2][:3]
    products = basis.flatten(2) @ vh.T
    torch.testing.assert_close(products.abs(), torch.eye(3, **DOUBLE).expand(7, 3, 3), atol=1e-10,
                               rtol=0)  # fmt: skip
    with pytest.raises(ValueError, match="directions must be at most 5, as a code of 5 units"):
        tangent_basis(encoder, x.double(), 6)


def test_the_classifier_is_supervised_learning_with_tangent_prop_along_the_basis():
    torch.manual_seed(0)
    model, encoder = nn.Linear(4, 3).double(), autoencoder(4, 6).double()[0]
    batch = {"input": torch.randn(5, 4, **DOUBLE), "target": torch.tensor([0, 1, 2, 0, 1])}
    basis = tangent_basis(encoder, batch["input"], 2)
    by_encoder = manifold_tangent(weight=0.3, encoder=encoder, directions=2)
    stored = {**batch, "tangents": basis}
    with torch.no_grad():
        encoder[0].weight.zero_()  # a copy was kept
    parts = by_encoder(model, batch)
    assert list(parts) == ["loss", "cross_entropy", "tangent_prop"]
    torch.testing.assert_close(parts["tangent_prop"], TangentProp(0.3)(model, stored))
    torch.testing.assert_close(parts["loss"], manifold_tangent(weight=0.3)(model, stored)["loss"])


def test_what_is_no_autoencoder_is_an_error(unchecked):
    with pytest.raises(ValueError, match=r"nn.Sequential\(encoder, decoder\).* got Linear"):
        contractive()(nn.Linear(2, 2), {"input": torch.zeros(1, 2)})
    with pytest.raises(ValueError, match="weight must be at least 0, got -1"):
        contractive(-1.0)
