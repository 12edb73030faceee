"""The loss around a network is what moving its weights gives; the network itself stays."""

import copy

import pytest
import torch
from tests.training.conftest import make_data, make_network
from torch import nn
from torch.autograd.functional import hessian
from torch.func import functional_call

from neurarium.data import Data
from neurarium.learning import Backprop, NonFiniteError
from neurarium.networks import MLP
from neurarium.objectives import supervised
from neurarium.training import fit, landscape

CROSS_ENTROPY = supervised("cross_entropy")


def doubled(data: Data) -> Data:
    return Data({k: v.double() if v.is_floating_point() else v
                 for k, v in data.train.tensors.items()})  # fmt: skip


def relu_network(seed: int = 0) -> MLP:
    torch.manual_seed(seed)
    return MLP([4, 6, 3]).double()


DATA, OTHER = doubled(make_data()), make_network(1)


# Slices --------------------------------------------------------------------------------------


def test_each_filter_of_a_direction_has_the_norm_of_the_networks_own():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(2, 3, 3), nn.Flatten(), nn.Linear(3, 2)).double()
    own = {name: p.detach().clone() for name, p in model.named_parameters()}
    data = Data(torch.zeros(1, 2, 3, 3).double())
    for name, value in own.items():
        for row in range(len(value)):

            def moved(model, batch, name=name, row=row):  # its loss is t^2 ||w_row||^2
                here = dict(model.named_parameters())[name]
                return (here[row] - own[name][row]).square().sum()

            found = landscape.line(model, moved, data, points=5)
            norm = own[name][row].norm() if value.ndim > 1 else 0.0  # biases stay
            torch.testing.assert_close(found.loss, found.t.square() * norm**2)


def test_layer_normalization_keeps_the_norm_of_whole_weights_and_none_keeps_nothing():
    model = relu_network()
    weight = model.layers[0].weight.detach().clone()

    def moved(model, batch):
        return (model.layers[0].weight - weight).square().sum()

    whole = landscape.line(model, moved, DATA, normalize="layer", points=3)
    assert whole.loss[0] == pytest.approx(float(weight.square().sum()))
    raw = landscape.line(model, moved, DATA, normalize=None, points=3, seed=3)
    drawn = torch.randn(6, 4, generator=torch.Generator().manual_seed(3)).double()
    assert raw.loss[0] == pytest.approx(float(drawn.square().sum()))


@pytest.mark.parametrize("alpha", [0.1, 7.0])
def test_rescaling_a_rectifier_networks_layers_leaves_the_slices_as_they_are(alpha):
    model = relu_network()
    rescaled = landscape.rescale_relu(model, alpha)
    lines = [landscape.line(m, CROSS_ENTROPY, DATA).loss for m in (model, rescaled)]
    torch.testing.assert_close(*lines)
    planes = [landscape.plane(m, CROSS_ENTROPY, DATA, points=5).loss for m in (model, rescaled)]
    torch.testing.assert_close(*planes)
    raw = [landscape.line(m, CROSS_ENTROPY, DATA, normalize=None).loss for m in (model, rescaled)]
    assert (raw[0] - raw[1]).abs().max() > 0.1  # without normalization they differ


def test_the_middle_of_a_slice_is_the_networks_own_loss():
    model = make_network().eval()
    data = make_data()
    with torch.no_grad():
        own = CROSS_ENTROPY(model, data.train.tensors).item()
    line = landscape.line(model, CROSS_ENTROPY, data)
    assert line.t[25] == 0
    assert line.loss[25] == own
    plane = landscape.plane(model, CROSS_ENTROPY, data, points=5)
    assert plane.loss[2, 2] == own
    assert (plane.loss != own).sum() == 24


def test_a_line_ends_at_the_other_networks_loss_running_statistics_included():
    a, b = make_network(0), make_network(1)
    data = make_data()
    for seed, model in enumerate((a, b)):
        fit(model, data, rule=Backprop("sgd", lr=0.1), epochs=3, seed=seed, verbose=False)
    with torch.no_grad():
        own = [CROSS_ENTROPY(m.eval(), data.train.tensors).item() for m in (a, b)]
    for other in (b, b.state_dict()):
        found = landscape.line(a, CROSS_ENTROPY, data, to=other, points=3).loss
        assert found[[0, 2]].tolist() == pytest.approx(own)
    halfway = copy.deepcopy(a)
    mean = {n: (v + b.state_dict()[n]) / 2 for n, v in a.state_dict().items()}
    halfway.load_state_dict(mean)
    with torch.no_grad():
        assert float(found[1]) == pytest.approx(CROSS_ENTROPY(halfway, data.train.tensors).item())


def test_the_barrier_is_the_rise_above_the_line_between_the_ends():
    t = torch.linspace(0, 1, 3).double()
    assert landscape.slices.Line(t, torch.tensor([1.0, 5.0, 3.0]).double()).barrier == 3
    assert landscape.slices.Line(t, torch.tensor([1.0, 1.0, 3.0]).double()).barrier == 0


def test_principal_directions_keep_the_trajectorys_distances():
    model = relu_network()
    networks = [relu_network(seed) for seed in (0, 1, 2)]  # three points lie in one plane

    def squared_distance(here, batch):
        pairs = zip(here.parameters(), networks[0].parameters(), strict=True)
        return sum((p - q).square().sum() for p, q in pairs)

    found = landscape.plane(model, squared_distance, DATA, trajectory=networks, points=5)
    flat = [torch.cat([p.detach().flatten() for p in m.parameters()]) for m in networks]
    torch.testing.assert_close(torch.cdist(found.path, found.path),
                               torch.cdist(torch.stack(flat), torch.stack(flat)))  # fmt: skip
    assert float(found.explained.sum()) == pytest.approx(1)
    # The model is the first point, so the squared distance is x^2 + y^2.
    torch.testing.assert_close(found.loss, found.x.square() + found.y.square()[:, None])
    for axis, coordinate in enumerate((found.x, found.y)):
        low, high = found.path[:, axis].min(), found.path[:, axis].max()
        assert coordinate[0] < low < high < coordinate[-1]


def test_the_principal_directions_are_scikit_learns():
    from sklearn.decomposition import PCA

    model, networks = relu_network(9), [relu_network(seed) for seed in range(6)]
    flat = torch.stack(
        [torch.cat([p.detach().flatten() for p in m.parameters()]) for m in networks]
    )
    peer = PCA(2).fit(flat.numpy())
    found = landscape.plane(model, CROSS_ENTROPY, DATA, trajectory=networks, points=2)
    explained = torch.from_numpy(peer.explained_variance_ratio_)
    torch.testing.assert_close(found.explained, explained)
    own = torch.cat([p.detach().flatten() for p in model.parameters()])
    path = (flat - own) @ torch.from_numpy(peer.components_).T
    torch.testing.assert_close(found.path.abs(), path.abs())  # up to the directions' signs


def test_uneven_batches_count_by_their_rows():
    model = relu_network()
    x, y = DATA.train.tensors.values()
    pieces = Data([(x[:7], y[:7]), (x[7:], y[7:])], task="multiclass", classes="abc")
    found = [landscape.line(model, CROSS_ENTROPY, d, points=3).loss for d in (DATA, pieces)]
    small = landscape.line(model, CROSS_ENTROPY, DATA, points=3, batch_size=9).loss
    torch.testing.assert_close(found[0], found[1])
    torch.testing.assert_close(found[0], small)


def test_a_split_is_prepared_as_in_training():
    x, y = DATA.train.tensors.values()
    model = relu_network()

    class Twice(nn.Module):
        def forward(self, x):
            return 2 * x

    data = Data((x[:1], y[:1]), (x, y), transform=Twice())
    found = landscape.line(model, CROSS_ENTROPY, data, split="val", points=3).loss[1]
    expected = CROSS_ENTROPY(model, {"input": 2 * x, "target": y})
    assert float(found) == pytest.approx(expected.item())


def test_every_point_sees_the_same_draws():
    def noisy(model, batch):
        return torch.randn(()) + 0 * model(batch["input"]).sum()

    assert len(set(landscape.line(relu_network(), noisy, DATA).loss.tolist())) == 1


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize(
    "look",
    [
        lambda model, objective, data: landscape.line(model, objective, data, points=3),
        lambda model, objective, data: landscape.plane(model, objective, data, points=3),
        lambda model, objective, data: landscape.top_eigenvalues(model, objective, data),
        lambda model, objective, data: landscape.spectrum(model, objective, data, steps=3),
        lambda model, objective, data: landscape.trace(model, objective, data, probes=2),
        lambda model, objective, data: landscape.connect(
            model, OTHER, objective, data, epochs=1
        ).profile(objective, data, points=3),
    ],
    ids=["line", "plane", "top_eigenvalues", "spectrum", "trace", "connect"],
)
def test_the_model_and_the_random_state_are_as_they_were(look, fails):
    model = make_network().train()
    model[1].eval()  # as when fine-tuning
    model(torch.randn(8, 4)).sum().backward()
    before = copy.deepcopy(model)
    state, calls = torch.get_rng_state(), []

    def objective(model, batch):
        calls.append(1)
        if fails and len(calls) == 2:
            raise KeyboardInterrupt
        return CROSS_ENTROPY(model, batch)

    if fails:
        with pytest.raises(KeyboardInterrupt):
            look(model, objective, [dict(batch) for batch in make_data().train.batches(20)])
    else:
        look(model, objective, make_data())
    assert torch.equal(torch.get_rng_state(), state)
    for (name, value), (_, old) in zip(model.state_dict().items(), before.state_dict().items(),
                                       strict=True):  # fmt: skip
        assert torch.equal(value, old), name
    assert [m.training for m in model.modules()] == [m.training for m in before.modules()]
    assert [m.momentum for m in model.modules() if hasattr(m, "momentum")] == [0.1]
    assert all(p.requires_grad and p.is_leaf for p in model.parameters())
    assert torch.equal(model[0].weight.grad, next(model.parameters()).grad)


def test_losses_that_are_not_finite_are_kept_and_left_blank_in_the_figure():
    model = relu_network()
    weight = model.layers[0].weight.detach().clone()

    def cliff(model, batch):  # NaN on one side
        return torch.log((model.layers[0].weight - weight)[0, 0] + 1e-9) ** 2

    line = landscape.line(model, cliff, DATA, points=5)
    assert line.loss.isnan().sum() == 2
    plane = landscape.plane(model, cliff, DATA, points=5)
    assert 0 < plane.loss.isnan().sum() < 25
    for found in (line, plane):
        found.plot().canvas.draw()
    everywhere = landscape.plane(model, lambda m, b: torch.tensor(torch.inf), DATA, points=3)
    everywhere.plot().canvas.draw()
    flat = landscape.plane(model, lambda m, b: torch.tensor(0.0), DATA, points=3)
    flat.plot().canvas.draw()


def test_parameters_of_the_objective_stay_where_they_are():
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.tensor(3.0).double())

        def forward(self, model, batch):
            return self.scale * CROSS_ENTROPY(model, batch)

    model = relu_network()
    plain, scaled = (landscape.line(model, o, DATA).loss for o in (CROSS_ENTROPY, Scaled()))
    torch.testing.assert_close(scaled, 3 * plain)


def test_wrong_arguments_of_slices_are_told(unchecked):
    model = relu_network()
    with pytest.raises(ValueError, match=r"normalize must be 'filter', 'layer' or None.*'row'"):
        landscape.line(model, CROSS_ENTROPY, DATA, normalize="row")
    with pytest.raises(ValueError, match=r"layers\.0\.weight' is missing there or has another"):
        landscape.line(model, CROSS_ENTROPY, DATA, to=MLP([4, 7, 3]))
    with pytest.raises(ValueError, match=r"at least 3 networks.*got 2"):
        landscape.plane(model, CROSS_ENTROPY, DATA, trajectory=[model, model])
    with pytest.raises(ValueError, match="points must be at least 2, got 1"):
        landscape.line(model, CROSS_ENTROPY, DATA, points=1)
    with pytest.raises(ValueError, match="all the same"):
        landscape.plane(model, CROSS_ENTROPY, DATA, trajectory=[model] * 3)
    with pytest.raises(ValueError, match="no split 'val'"):
        landscape.line(model, CROSS_ENTROPY, DATA, split="val")
    with pytest.raises(ValueError, match="normalize=None"):
        landscape.line(nn.LayerNorm(4).double(), supervised("mse"), DATA)
    with pytest.raises(ValueError, match="requires_grad_"):
        landscape.line(model.requires_grad_(False), CROSS_ENTROPY, DATA)


# Curvature -----------------------------------------------------------------------------------


class Vector(nn.Module):
    """Nothing but n parameters."""

    def __init__(self, n):
        super().__init__()
        self.theta = nn.Parameter(torch.linspace(-1, 1, n).double())

    def forward(self, x):
        return x


def quadratic(matrix):
    return lambda model, batch: model.theta @ matrix @ model.theta / 2


@pytest.mark.parametrize("n", [8, 60])  # by the whole matrix, and by Lanczos
def test_the_eigenvalues_of_a_quadratic_are_those_of_its_matrix(n):
    torch.manual_seed(0)
    basis = torch.linalg.qr(torch.randn(n, n).double())[0]
    eigenvalues = torch.linspace(-6, 5, n).double()
    matrix = basis @ torch.diag(eigenvalues) @ basis.T
    arguments = Vector(n), quadratic(matrix), torch.zeros(1, 1)
    top = landscape.top_eigenvalues(*arguments, k=3)
    torch.testing.assert_close(top, eigenvalues.flip(0)[:3])
    bottom = landscape.top_eigenvalues(*arguments, k=2, which="smallest")
    torch.testing.assert_close(bottom, eigenvalues[:2])
    largest = landscape.top_eigenvalues(*arguments, k=2, which="magnitude")
    torch.testing.assert_close(largest, eigenvalues[eigenvalues.abs().argsort(descending=True)[:2]])
    estimate = landscape.trace(*arguments, probes=400)
    assert abs(estimate.value - float(eigenvalues.sum())) < 4 * estimate.error
    # As many steps as dimensions: the outermost masses are the outermost eigenvalues.
    found = landscape.spectrum(*arguments, steps=n)
    torch.testing.assert_close(found.nodes[[0, -1]], eigenvalues[[0, -1]])


def tangent_network():
    torch.manual_seed(1)
    return MLP([4, 8, 3], activation="tanh").double()


def full_hessian(model, data=DATA):
    names = [name for name, _ in model.named_parameters()]
    sizes = [p.numel() for p in model.parameters()]
    shapes = [p.shape for p in model.parameters()]

    x, y = data.train.tensors.values()

    def loss(flat):
        parts = [part.view(s) for part, s in zip(flat.split(sizes), shapes, strict=True)]
        output = functional_call(model, dict(zip(names, parts, strict=True)), (x,))
        return nn.functional.cross_entropy(output, y)

    return hessian(loss, torch.cat([p.detach().flatten() for p in model.parameters()]))


@pytest.mark.parametrize("batch_size", [1024, 25])  # 40 rows at once, and in two uneven parts
def test_curvature_is_that_of_the_full_hessian(batch_size):
    model = tangent_network()
    matrix = full_hessian(model)
    eigenvalues = torch.linalg.eigvalsh(matrix)
    arguments = model, CROSS_ENTROPY, DATA
    top = landscape.top_eigenvalues(*arguments, k=2, batch_size=batch_size)
    torch.testing.assert_close(top, eigenvalues.flip(0)[:2])
    found = landscape.spectrum(*arguments, steps=10, batch_size=batch_size)
    # The quadrature with m nodes is exact for polynomials up to degree 2m - 1.
    signs = torch.randint(2, (len(matrix),), generator=torch.Generator().manual_seed(0)) * 2 - 1
    v = signs.double()
    for power in (1, 2, 3, 7):
        moment = v @ torch.linalg.matrix_power(matrix, power) @ v / len(v)
        torch.testing.assert_close(found.weights @ found.nodes**power, moment)


def test_the_density_integrates_to_one_and_its_mean_is_the_same_probes_trace():
    model = tangent_network()
    found = landscape.spectrum(model, CROSS_ENTROPY, DATA, steps=20, probes=3, seed=5)
    x = torch.linspace(-3, 4, 4001).double()
    assert float(torch.trapezoid(found.density(x, 0.01), x)) == pytest.approx(1, abs=1e-9)
    n = sum(p.numel() for p in model.parameters())
    trace = landscape.trace(model, CROSS_ENTROPY, DATA, probes=3, seed=5)
    assert found.mean * n == pytest.approx(trace.value, rel=1e-9)
    found.plot().canvas.draw()


def test_random_signs_know_a_diagonals_trace_at_once():
    matrix = torch.diag(torch.arange(5.0).double())
    estimate = landscape.trace(Vector(5), quadratic(matrix), torch.zeros(1, 1), probes=2)
    assert estimate == pytest.approx((10, 0))
    one = landscape.trace(Vector(5), quadratic(matrix), torch.zeros(1, 1), probes=1)
    assert one.value == pytest.approx(10)
    assert one.error != one.error  # NaN: one probe knows no error


def test_a_loss_linear_in_the_parameters_has_no_curvature():
    arguments = Vector(5), lambda model, batch: model.theta.sum(), torch.zeros(1, 1)
    assert landscape.top_eigenvalues(*arguments, k=2).tolist() == [0, 0]
    assert landscape.spectrum(*arguments).nodes.tolist() == [0]


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention = nn.TransformerEncoderLayer(4, 2, 6, batch_first=True)

    def forward(self, x):
        return self.attention(x.unflatten(1, (2, 2)).repeat(1, 1, 2)).flatten(1)[:, :3]


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(2, 3, batch_first=True)

    def forward(self, x):
        return self.lstm(x.unflatten(1, (2, 2)))[0][:, -1]


@pytest.mark.parametrize("kind", [Attention, Recurrent])
def test_attention_and_recurrent_networks_have_curvature_too(kind):
    torch.manual_seed(0)
    model = kind().double().eval()
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        rows = []
        loss = CROSS_ENTROPY(model, DATA.train.tensors)
        slope = torch.autograd.grad(loss, list(model.parameters()), create_graph=True)
        flat = torch.cat([part.flatten() for part in slope])
        for entry in flat:
            parts = torch.autograd.grad(
                entry, list(model.parameters()), retain_graph=True, materialize_grads=True
            )
            rows.append(torch.cat([part.flatten() for part in parts]))
    eigenvalues = torch.linalg.eigvalsh(torch.stack(rows))
    top = landscape.top_eigenvalues(model, CROSS_ENTROPY, DATA, k=2)
    torch.testing.assert_close(top, eigenvalues.flip(0)[:2])


def test_wrong_arguments_of_curvature_are_told(unchecked):
    model = relu_network()
    with pytest.raises(ValueError, match="k must lie between 1 and the 51 parameters, got 52"):
        landscape.top_eigenvalues(model, CROSS_ENTROPY, DATA, k=52)
    with pytest.raises(ValueError, match="probes must be at least 1, got 0"):
        landscape.trace(model, CROSS_ENTROPY, DATA, probes=0)
    with pytest.raises(ValueError, match="steps must be at least 1, got 0"):
        landscape.spectrum(model, CROSS_ENTROPY, DATA, steps=0)
    nan = Data((torch.full((3, 4), torch.nan).double(), torch.tensor([0, 1, 2])))
    for look in (landscape.top_eigenvalues, landscape.spectrum, landscape.trace):
        with pytest.raises(NonFiniteError, match="no finite curvature"):
            look(model, CROSS_ENTROPY, nan)


# Paths ---------------------------------------------------------------------------------------


def three_points():
    path = landscape.connect(relu_network(0), relu_network(1), CROSS_ENTROPY, DATA, "polychain",
                             epochs=2)  # fmt: skip
    ends = [dict(m.named_parameters()) for m in (path.start, path.bends[0], path.end)]
    return path, *ends


def test_a_polychain_is_two_straight_pieces():
    path, start, bend, end = three_points()
    name = "layers.0.weight"
    assert not torch.equal(bend[name], (start[name] + end[name]) / 2)  # it has moved
    for t in (0.1, 0.4):
        piece = 2 * (t * bend[name] + (0.5 - t) * start[name])
        torch.testing.assert_close(path(t)[name], piece)
    for t in (0.6, 0.9):
        piece = 2 * ((t - 0.5) * end[name] + (1 - t) * bend[name])
        torch.testing.assert_close(path(t)[name], piece)


def test_a_bezier_curve_is_bernsteins_polynomial():
    path, start, bend, end = three_points()
    path.kind = "bezier"
    for t in (0.0, 0.3, 0.8, 1.0):
        for name, value in path(t).items():
            curve = (1 - t) ** 2 * start[name] + 2 * t * (1 - t) * bend[name] + t**2 * end[name]
            torch.testing.assert_close(value, curve)
    assert path.basis(0.25) == [0.5625, 0.375, 0.0625]


@pytest.mark.parametrize("curve", ["bezier", "polychain"])
@pytest.mark.parametrize("bends", [0, 1, 3])
def test_a_curve_begins_and_ends_at_the_two_networks(curve, bends):
    a, b = relu_network(0), relu_network(1)
    path = landscape.connect(a, b, CROSS_ENTROPY, DATA, curve, bends, epochs=1)
    for t, model in ((0.0, a), (1.0, b)):
        own = dict(model.named_parameters())
        assert all(torch.equal(value, own[name]) for name, value in path(t).items())
        x = DATA.train.tensors["input"]
        assert torch.equal(path.network(t, CROSS_ENTROPY, DATA)(x), model(x))
    if bends == 0:
        line = landscape.line(a, CROSS_ENTROPY, DATA, to=b, points=61).loss
        torch.testing.assert_close(path.profile(CROSS_ENTROPY, DATA).loss, line)


@pytest.mark.parametrize("curve", ["bezier", "polychain"])
def test_a_trained_curve_goes_around_the_barrier(curve):
    torch.manual_seed(0)
    data = make_data(200)
    a = MLP([4, 32, 3])
    fit(a, data, rule=Backprop("adam", lr=0.02), epochs=40, verbose=False)
    b = copy.deepcopy(a)  # the same function, its hidden units in another order
    order = torch.arange(31, -1, -1)
    with torch.no_grad():
        for parameter in (b.layers[0].weight, b.layers[0].bias):
            parameter.copy_(parameter[order].clone())
        b.layers[2].weight.copy_(b.layers[2].weight[:, order].clone())
    straight = landscape.connect(a, b, CROSS_ENTROPY, data, bends=0)
    path = landscape.connect(a, b, CROSS_ENTROPY, data, curve, epochs=60)
    barriers = [p.profile(CROSS_ENTROPY, data).barrier for p in (straight, path)]
    assert barriers[0] > 0.1
    assert barriers[1] < barriers[0] / 5


def test_between_two_networks_batch_normalization_takes_the_training_rows_statistics():
    data = make_data()
    a, b = make_network(0), make_network(1)
    path = landscape.connect(a, b, CROSS_ENTROPY, data, bends=0)
    middle = path.network(0.5, CROSS_ENTROPY, data)
    x = data.train.tensors["input"]
    with torch.no_grad():
        hidden = middle[0](x)
        torch.testing.assert_close(middle[1].running_mean, hidden.mean(0))
        torch.testing.assert_close(middle[1].running_var, hidden.var(0))
        own = CROSS_ENTROPY(middle, data.train.tensors).item()
    profile = path.profile(CROSS_ENTROPY, data, points=3)
    assert float(profile.loss[1]) == pytest.approx(own)
    assert middle[1].momentum == 0.1
    assert not middle.training


def test_wrong_arguments_of_paths_are_told(unchecked):
    a = relu_network()
    with pytest.raises(ValueError, match=r"'layers.0.weight' is \(6, 4\) in one and \(7, 4\)"):
        landscape.connect(a, MLP([4, 7, 3]), CROSS_ENTROPY, DATA)
    with pytest.raises(ValueError, match="'bezier' or 'polychain', got 'spline'"):
        landscape.connect(a, a, CROSS_ENTROPY, DATA, "spline")
    with pytest.raises(ValueError, match="bends must be at least 0"):
        landscape.connect(a, a, CROSS_ENTROPY, DATA, bends=-1)


# Rescaling -----------------------------------------------------------------------------------


def test_a_rescaled_network_computes_the_same_function():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 3, 3), nn.LeakyReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(27, 5),
        nn.ReLU(), nn.Linear(5, 2),
    ).double()  # fmt: skip
    x = torch.randn(4, 1, 8, 8).double()
    for pair in (None, ("4", "6")):
        rescaled = landscape.rescale_relu(model, 50.0, pair)
        torch.testing.assert_close(rescaled(x), model(x))
        first, second = pair or ("0", "4")
        for name in ("weight", "bias"):
            expected = 50 * getattr(model.get_submodule(first), name)
            torch.testing.assert_close(getattr(rescaled.get_submodule(first), name), expected)
        expected = model.get_submodule(second).weight / 50
        torch.testing.assert_close(rescaled.get_submodule(second).weight, expected)


def test_sharpness_grows_with_the_square_of_the_factor():
    model = relu_network()
    top = [float(landscape.top_eigenvalues(landscape.rescale_relu(model, a), CROSS_ENTROPY, DATA))
           for a in (100.0, 1000.0)]  # fmt: skip
    assert top[1] / top[0] == pytest.approx(100, rel=1e-3)


@pytest.mark.parametrize(
    "between", [[nn.Tanh()], [nn.BatchNorm1d(3), nn.ReLU()], [nn.ReLU(), nn.Sigmoid()]]
)
def test_layers_joined_by_other_functions_are_refused(between, unchecked):
    model = nn.Sequential(nn.Linear(2, 3), *between, nn.Linear(3, 2))
    with pytest.raises(ValueError, match="joined by rectifiers alone"):
        landscape.rescale_relu(model, 2.0)


def test_a_factor_that_is_not_positive_is_refused(unchecked):
    with pytest.raises(ValueError, match="alpha must be positive, got -2"):
        landscape.rescale_relu(relu_network(), -2.0)
