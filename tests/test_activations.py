import subprocess
import sys

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from neurarium import activations

# Includes 0, the kinks at -1 and 1, and values where a careless formula overflows.
GRID = torch.tensor(
    [-1000, -50, -20, -5, -1.5, -1, -0.3, -1e-6, 0, 1e-6, 0.3, 1, 1.5, 5, 20, 50, 1000],
    dtype=torch.float64,
)
SMOOTH = torch.tensor([-4.1, -1.3, -0.4, 0.2, 0.7, 1.6, 3.9], dtype=torch.float64)

THRESHOLDS = ["step", "hardlim", "hardlims", "sign"]
MIXING = ["softmax", "glu", "maxout"]
ELEMENTWISE = [name for name in activations.__all__ if name not in (*THRESHOLDS, *MIXING, "Swish")]
SPECS = [
    *ELEMENTWISE,
    "sigmoid:slope=4.9",
    "hardtanh:min_val=0,max_val=2",
    "leaky_relu:0.2",
    "elu:alpha=0.5",
    "swish:beta=2",
    "softplus:beta=3",
    "radial:beta=0.5,center=1",
    "gelu:approximate=tanh",
]


# --- values ------------------------------------------------------------------------------

PARITY = {
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "hardtanh": F.hardtanh,
    "softsign": F.softsign,
    "relu": F.relu,
    "leaky_relu": lambda x: F.leaky_relu(x, 0.01),
    "prelu": lambda x: F.leaky_relu(x, 0.25),
    "rrelu": lambda x: F.leaky_relu(x, 11 / 48),  # (1/8 + 1/3) / 2 in evaluation
    "elu": F.elu,
    "selu": F.selu,
    "softplus": F.softplus,
    "identity": lambda x: x,
    "silu": F.silu,
    "swish": F.silu,
    "mish": F.mish,
    "gelu": F.gelu,
    "softmax": lambda x: torch.softmax(x, -1),
    "sigmoid:slope=4.9": lambda x: torch.sigmoid(4.9 * x),
    "swish:beta=2": lambda x: x * torch.sigmoid(2 * x),
    "softplus:beta=3": lambda x: F.softplus(x, 3),
    "radial:beta=0.5,center=1": lambda x: torch.exp(-0.5 * (x - 1) ** 2),
    "gelu:approximate=tanh": lambda x: F.gelu(x, approximate="tanh"),
}


@pytest.mark.parametrize("spec", PARITY)
def test_function_and_module_equal_torch_on_the_grid(spec):
    function, arguments = activations.modules.unwrap(spec)
    expected = PARITY[spec](GRID)
    torch.testing.assert_close(function(GRID, **arguments), expected)
    torch.testing.assert_close(activations.module(spec).double().eval()(GRID), expected)


def test_bent_identity_has_the_values_worked_by_hand():
    # x = 3/4: sqrt(9/16 + 1) = 5/4, so (5/4 - 1)/2 + 3/4 = 7/8; x = -4/3: (5/3 - 1)/2 - 4/3 = -1.
    x = torch.tensor([0.75, -4 / 3, 0.0], dtype=torch.float64)
    expected = torch.tensor([0.875, -1, 0], dtype=torch.float64)
    torch.testing.assert_close(activations.bent_identity(x), expected)


def test_bent_identity_keeps_small_inputs_and_survives_large_ones_in_float32():
    x = torch.tensor([1e-4, -1e-4, 1e30])
    exact = torch.tensor([1e-4 + 2.5e-9, -1e-4 + 2.5e-9, 1.5e30])
    torch.testing.assert_close(activations.bent_identity(x), exact, rtol=2e-7, atol=0)


def test_tanh_is_the_bipolar_sigmoid():
    torch.testing.assert_close(activations.tanh(GRID), 2 * activations.sigmoid(2 * GRID) - 1)


def test_maxout_takes_the_largest_of_neighbouring_pieces():
    x = torch.tensor([[1.0, 5, 2, -3, -2, -1]])
    assert activations.maxout(x, 3).tolist() == [[5, -1]]
    assert activations.maxout(x, 2).tolist() == [[5, 2, -1]]
    columns = x.reshape(1, 6, 1)
    assert activations.maxout(columns, 3, dim=1).flatten().tolist() == [5, -1]
    assert activations.maxout(columns, 3, dim=-2).flatten().tolist() == [5, -1]
    with pytest.raises(ValueError, match="a multiple of 4 features, got 6"):
        activations.maxout(x, 4)


def test_maxout_of_x_and_minus_x_is_the_absolute_value():
    unit = nn.Sequential(nn.Linear(1, 2, bias=False), activations.Maxout(2))
    unit[0].weight.data = torch.tensor([[1.0], [-1.0]])
    x = torch.linspace(-2, 2, 9).unsqueeze(1)
    torch.testing.assert_close(unit(x), x.abs())


def test_glu_gates_the_first_half_by_the_second():
    x = torch.tensor([[2.0, -4, 0, 100]])
    torch.testing.assert_close(activations.glu(x), torch.tensor([[1.0, -4]]))


RANGES = {
    "sigmoid": (0, 1),
    "tanh": (-1, 1),
    "hardtanh": (-1, 1),
    "softsign": (-1, 1),
    "radial": (0, 1),
    "softmax": (0, 1),
    "relu": (0, torch.inf),
    "softplus": (0, torch.inf),
    "elu": (-1, torch.inf),
    "selu": (-1.7581, torch.inf),
    "swish": (-0.2785, torch.inf),  # its least value, at x = -1.2785
    "mish": (-0.3089, torch.inf),
    "gelu": (-0.17, torch.inf),
}


@pytest.mark.parametrize("name", RANGES)
def test_values_stay_in_the_range(name):
    low, high = RANGES[name]
    values = getattr(activations, name)(torch.linspace(-50, 50, 20_001, dtype=torch.float64))
    assert values.min() >= low
    assert values.max() <= high


# --- softmax -----------------------------------------------------------------------------


def test_softmax_jacobian_is_diag_p_minus_p_pt_over_the_temperature():
    z = torch.tensor([0.3, -1.2, 2.0], dtype=torch.float64)
    jacobian = torch.func.jacrev(lambda z: activations.softmax(z, temperature=2.0))(z)
    p = torch.softmax(z / 2, 0)
    torch.testing.assert_close(jacobian, (torch.diag(p) - torch.outer(p, p)) / 2)


def test_softmax_cools_to_the_largest_and_warms_to_equality():
    z = torch.tensor([1.0, 3, 2])
    cold, hot = (activations.softmax(z, temperature=t) for t in (1e-3, 1e6))
    torch.testing.assert_close(cold, torch.tensor([0.0, 1, 0]))
    torch.testing.assert_close(hot, torch.full((3,), 1 / 3), rtol=1e-5, atol=0)


# --- derivatives -------------------------------------------------------------------------


@pytest.mark.parametrize("spec", SPECS)
def test_derivative_is_what_autograd_takes_even_at_the_kinks(spec):
    x = GRID.clone().requires_grad_()
    module = activations.module(spec).double().eval()
    (expected,) = torch.autograd.grad(module(x).sum(), x)
    torch.testing.assert_close(activations.derivative(spec)(GRID), expected)
    torch.testing.assert_close(activations.derivative(module)(GRID), expected)


@pytest.mark.parametrize("spec", SPECS)
def test_gradient_is_the_limit_of_differences_away_from_kinks(spec):
    function, arguments = activations.modules.unwrap(spec)
    x = SMOOTH.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: function(x, **arguments), x)


@pytest.mark.parametrize("name", MIXING)
def test_activations_that_mix_their_inputs_have_no_elementwise_derivative(name):
    with pytest.raises(ValueError, match="no derivative is known"):
        activations.derivative(name)


def test_prelu_slope_has_gradient_min_of_zero_and_x_per_channel():
    x = torch.tensor([[1.0, -2], [-3, -4], [5, 6]], dtype=torch.float64)
    module = activations.module("prelu", 2).double()
    assert module.weight.tolist() == [0.25, 0.25]
    module(x).sum().backward()
    torch.testing.assert_close(module.weight.grad, x.clamp(max=0).sum(0))
    with torch.no_grad():
        module.weight.copy_(torch.tensor([0.5, 0.125]))
    slopes = activations.derivative(module)(x)
    assert slopes.tolist() == [[1, 0.125], [0.5, 0.125], [1, 1]]


def test_rrelu_slopes_are_uniform_in_training_and_their_mean_in_evaluation():
    torch.manual_seed(0)
    module = activations.module("rrelu")
    x = torch.full((100_000,), -1.0)
    slopes = -module.train()(x)
    assert slopes.min() >= 1 / 8
    assert slopes.max() <= 1 / 3
    # Standard error of the mean: (1/3 - 1/8) / sqrt(12 * 100 000) = 1.9e-4; 4 of them.
    assert abs(slopes.mean() - 11 / 48) < 8e-4
    assert slopes.var() == pytest.approx((5 / 24) ** 2 / 12, rel=0.02)
    torch.testing.assert_close(-module.eval()(x), torch.full_like(x, 11 / 48))
    with pytest.raises(ValueError, match="call eval"):
        activations.derivative(module.train())(x)


# --- inverses ----------------------------------------------------------------------------

INVERTIBLE = [
    "sigmoid",
    "sigmoid:slope=2",
    "tanh",
    "softsign",
    "identity",
    "leaky_relu",
    "leaky_relu:0.2",
    "prelu",
    "rrelu",
    "elu",
    "elu:alpha=0.5",
    "selu",
    "softplus",
    "softplus:beta=3",
    "bent_identity",
]


@pytest.mark.parametrize("spec", INVERTIBLE)
def test_inverse_undoes_the_function(spec):
    x = torch.linspace(-5, 5, 101, dtype=torch.float64)
    y = activations.module(spec).double().eval()(x)
    torch.testing.assert_close(activations.inverse(spec)(y), x, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("name", ["relu", "radial", "swish", "hardtanh", "step", "softmax"])
def test_what_is_not_injective_has_no_inverse(name):
    with pytest.raises(ValueError, match=r"no inverse is known for .*; there is one for"):
        activations.inverse(name)


# --- thresholds --------------------------------------------------------------------------

CONVENTIONS = {
    "step": [0, 1, 1],
    "step:at_zero=0": [0, 0, 1],
    "step:at_zero=0.5": [0, 0.5, 1],
    "hardlim": [0, 1, 1],
    "hardlims": [-1, 1, 1],
    "sign": [-1, 0, 1],
    "sign:at_zero=1": [-1, 1, 1],
}


@pytest.mark.parametrize("spec", CONVENTIONS)
def test_thresholds_below_at_and_above_zero(spec):
    z = torch.tensor([-1.0, 0.0, 1.0])
    assert activations.module(spec)(z).tolist() == CONVENTIONS[spec]
    assert activations.module(spec)(z.double()).dtype == torch.float64
    assert activations.module(spec)(torch.tensor([torch.nan])).isfinite().all()


@pytest.mark.parametrize("name", THRESHOLDS)
def test_threshold_gradient_is_zero_or_the_clipped_identity(name):
    z = torch.tensor([-2.0, -1, -0.5, 0, 0.5, 1, 2], requires_grad=True)
    for straight_through, expected in ((False, [0] * 7), (True, [0, 1, 1, 1, 1, 1, 0])):
        spec = f"{name}:straight_through={straight_through}"
        (grad,) = torch.autograd.grad(3 * activations.module(spec)(z).sum(), z)
        assert (grad / 3).tolist() == expected
        assert activations.derivative(spec)(z.detach()).tolist() == expected


def test_thresholds_work_under_vmap_and_torch_func():
    z = torch.tensor([[-1.0, 2], [0, -3]])
    rows = torch.func.vmap(activations.hardlim)(z)
    assert rows.tolist() == [[0, 1], [1, 0]]
    slope = torch.func.grad(lambda z: activations.hardlim(z, straight_through=True).sum())(z)
    assert slope.tolist() == [[1, 0], [1, 0]]


# --- modules -----------------------------------------------------------------------------


@pytest.mark.parametrize("spec", [*activations.__all__, "swish:beta=2", "maxout:pieces=4"])
def test_a_module_made_of_a_name_unwraps_to_the_same_function(spec):
    x = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
    module = activations.module(spec).eval()
    function, arguments = activations.modules.unwrap(module)
    torch.testing.assert_close(function(x, **arguments), module(x))
    torch.testing.assert_close(activations.module(module)(x), module(x))


def test_names_give_torchs_own_modules_where_torch_has_them():
    assert type(activations.module("relu")) is nn.ReLU
    assert type(activations.module("sigmoid")) is nn.Sigmoid
    assert type(activations.module("swish")) is nn.SiLU
    assert type(activations.module("swish:beta=2")) is activations.Activation
    assert activations.module("leaky_relu:0.2").negative_slope == 0.2


def test_twins_call_their_functions():
    x = torch.linspace(-2, 2, 8)
    for twin, function in [
        (activations.Sigmoid(slope=3), lambda x: activations.sigmoid(x, 3)),
        (activations.Softmax(temperature=2), lambda x: activations.softmax(x, temperature=2)),
        (activations.Radial(2, 1), lambda x: activations.radial(x, 2, 1)),
        (activations.BentIdentity(), activations.bent_identity),
        (activations.Maxout(4), lambda x: activations.maxout(x, 4)),
        (activations.Step(0.5), lambda x: activations.step(x, 0.5)),
        (activations.Hardlim(), activations.hardlim),
        (activations.Hardlims(), activations.hardlims),
        (activations.Sign(), activations.sign),
    ]:
        torch.testing.assert_close(twin(x), function(x))


def test_swish_learns_its_steepness():
    module = activations.module("Swish:beta=1.5,learnable=true").double()
    x = SMOOTH
    module(x).sum().backward()
    gate = torch.sigmoid(1.5 * x)
    torch.testing.assert_close(module.beta.grad, (x**2 * gate * (1 - gate)).sum())
    assert not list(activations.Swish(2.0).parameters())


def test_any_callable_or_module_is_accepted_and_a_module_is_copied():
    shared = nn.PReLU()
    assert activations.module(shared) is not shared
    torch.testing.assert_close(activations.module(torch.sin)(GRID), GRID.sin())
    assert type(activations.module(nn.Hardswish)) is nn.Hardswish


def test_a_wrong_argument_is_refused_when_the_module_is_made():
    with pytest.raises(TypeError, match="bta"):
        activations.Activation(activations.swish, bta=2)


@pytest.mark.parametrize(("spec", "times"), [("relu", 1), ("glu", 2), ("maxout:3", 3)])
def test_widening_tells_how_wide_the_layer_before_must_be(spec, times):
    assert activations.widening(spec) == times
    assert activations.widening(activations.module(spec)) == times


def test_importing_activations_loads_nothing_heavy():
    code = (
        "import sys, neurarium.activations; "
        "print(sorted({'sklearn', 'pandas', 'matplotlib', 'scipy'} & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
