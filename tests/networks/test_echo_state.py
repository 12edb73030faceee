import pytest
import torch
from sklearn.linear_model import Ridge

from neurarium.data import Data
from neurarium.data.synthetic import mackey_glass
from neurarium.learning import RidgeReadout
from neurarium.networks import EchoState
from neurarium.objectives import per_step
from neurarium.training import fit


@pytest.fixture(autouse=True)
def double():
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def test_states_by_hand():
    model = EchoState(2, 1, reservoir=5, leak=0.3, sparsity=0.2)
    u, x = torch.randn(1, 4, 2), torch.zeros(5)
    features, _ = model.features(u)
    for t in range(4):
        inputs = torch.cat([torch.ones(1), u[0, t]])
        x = 0.7 * x + 0.3 * torch.tanh(model.cell.weight_in @ inputs + model.cell.weight @ x)
        torch.testing.assert_close(features[0, t], torch.cat([inputs, x]))


def test_the_reservoir_is_sparse_and_as_wide_as_it_says():
    weight = EchoState(1, 1, reservoir=200, spectral_radius=1.3, sparsity=0.8).cell.weight
    assert torch.linalg.eigvals(weight).abs().max().item() == pytest.approx(1.3)
    assert abs(float((weight == 0).double().mean()) - 0.8) < 3 * (0.8 * 0.2 / 200**2) ** 0.5


def test_the_start_is_forgotten_where_no_step_can_stretch():
    model = EchoState(1, 1, reservoir=50, sparsity=0.5)
    model.cell.weight /= torch.linalg.svdvals(model.cell.weight)[0] / 0.9
    u = torch.randn(1, 200, 1)
    ends = [model.features(u, None, [(start,)])[1][0][0] for start in torch.randn(2, 1, 50)]
    assert (ends[0] - ends[1]).norm() < 1e-7


def test_the_readout_is_that_of_ridge_regression_whatever_the_batches():
    model = EchoState(2, 3, reservoir=20)
    x, y = torch.randn(6, 15, 2), torch.randn(6, 15, 3)
    length = torch.tensor([15, 7, 15, 9, 15, 4])
    rule = RidgeReadout(ridge=0.1, washout=3)
    rule.bind(model, per_step("mse"))
    for part in torch.arange(6).split(2):
        rule.step({"input": x[part], "target": y[part], "length": length[part]})
    features = model.features(x, length)[0]
    rows = [(i, t) for i in range(6) for t in range(3, int(length[i]))]
    X, Y = (torch.stack([part[i, t] for i, t in rows]).numpy() for part in (features, y))
    expected = Ridge(alpha=0.1, fit_intercept=False, solver="cholesky").fit(X, Y).coef_
    torch.testing.assert_close(model.out.weight.detach(), torch.tensor(expected))


def test_a_checkpoint_keeps_the_sums():
    x, y = torch.randn(2, 9, 1), torch.randn(2, 9, 1)
    batches = [{"input": x[i : i + 1], "target": y[i : i + 1]} for i in range(2)]
    model = EchoState(1, 1, reservoir=6)
    weights = []
    for stops in (False, True):
        rule = RidgeReadout()
        rule.bind(model, per_step("mse"))
        rule.step(batches[0])
        if stops:
            kept = rule.state_dict()
            rule = RidgeReadout()
            rule.bind(model, per_step("mse"))
            rule.load_state_dict(kept)
        rule.step(batches[1])
        weights.append(model.out.weight.detach().clone())
    assert torch.equal(*weights)


def test_mackey_glass_is_foretold_by_running_on():
    series = mackey_glass(3000)
    model = EchoState(1, 1, reservoir=300, leak=0.5)
    seen = {name: part[:, :2000] for name, part in series.items()}
    fit(
        model, Data(seen), per_step("mse"), RidgeReadout(1e-8, washout=100), epochs=1,
        batch_size=1, metrics=(), verbose=False, precision="32",
    )  # fmt: skip
    errors = []
    for begin in (2100, 2400, 2700):
        told = model.generate(series["input"][:, begin - 500 : begin], 84)
        errors.append(told[:, -1] - series["input"][:, begin + 83])
    error = torch.stack(errors).square().mean().sqrt() / series["input"].std()
    assert error < 0.05, error  # 500 units and five starts: recipe mackey-glass


def test_the_series_obeys_its_equation():
    coarse = mackey_glass(400)["input"].flatten()
    x = torch.atanh(coarse) + 1
    # The mean over a step of the slope, by Simpson's rule on a smooth series of step 1.
    slope = 0.2 * x[:-17] / (1 + x[:-17] ** 10) - 0.1 * x[17:]
    mean = (slope[:-2] + 4 * slope[1:-1] + slope[2:]) / 6
    torch.testing.assert_close((x[19:] - x[17:-2]) / 2, mean, atol=2e-3, rtol=0)
    assert torch.equal(coarse[1:], mackey_glass(400)["target"].flatten()[:-1])


def test_parity_with_reservoirpy():
    library = pytest.importorskip("reservoirpy")
    model = EchoState(2, 1, reservoir=30, leak=0.4)
    u = torch.randn(1, 40, 2)
    node = library.nodes.Reservoir(
        W=model.cell.weight.numpy(), Win=model.cell.weight_in[:, 1:].numpy(),
        bias=model.cell.weight_in[:, :1].numpy(), lr=0.4,
    )  # fmt: skip
    theirs = torch.tensor(node.run(u[0].numpy()))
    torch.testing.assert_close(model.features(u)[0][0, :, 3:], theirs, atol=1e-6, rtol=0)


def test_what_no_reservoir_is_for(unchecked):
    with pytest.raises(ValueError, match=r"leak must lie in \(0, 1\]"):
        EchoState(1, 1, leak=0)
    with pytest.raises(ValueError, match="no weight of 3 units is left"):
        EchoState(1, 1, reservoir=3, sparsity=0.9999)
    with pytest.raises(ValueError, match="got 2 outputs and 1 inputs"):
        EchoState(1, 2, reservoir=3, sparsity=0.0).generate(torch.zeros(1, 2, 1), 2)
    with pytest.raises(ValueError, match="Linear is none"):
        RidgeReadout().bind(torch.nn.Linear(1, 1), per_step("mse"))
