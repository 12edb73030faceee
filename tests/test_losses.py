import itertools
import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from neurarium import losses
from neurarium.losses import robust

DOUBLE = {"dtype": torch.float64}


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), **DOUBLE)


# --- laws of the family ------------------------------------------------------------------

ELEMENTWISE = {
    "mse": losses.mse,
    "mae": losses.mae,
    "huber": losses.huber,
    "tukey": losses.tukey,
    "general_robust": losses.general_robust,
    "binary_cross_entropy": losses.binary_cross_entropy,
    "quadratic_cost": losses.quadratic_cost,
}


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_reductions_agree(name):
    loss, prediction, target = ELEMENTWISE[name], draw(5, 3), draw(5, 3, seed=1).sigmoid()
    each = loss(prediction, target, reduction="none")
    torch.testing.assert_close(loss(prediction, target, reduction="sum"), each.sum())
    torch.testing.assert_close(loss(prediction, target), each.mean())


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_a_column_against_a_row_is_an_error(name, unchecked):
    with pytest.raises(ValueError, match=r"\(4, 1\) and \(4,\); squeeze"):
        ELEMENTWISE[name](torch.zeros(4, 1), torch.zeros(4))


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_gradient_is_the_limit_of_differences(name):
    prediction = draw(4, 3).requires_grad_()
    target = draw(4, 3, seed=1).sigmoid()
    assert torch.autograd.gradcheck(lambda p: ELEMENTWISE[name](p, target), prediction)


def test_an_unknown_reduction_is_an_error(unchecked):
    with pytest.raises(ValueError, match="must be 'mean', 'sum' or 'none', got 'average'"):
        losses.tukey(torch.zeros(2), torch.zeros(2), reduction="average")


# --- squares -----------------------------------------------------------------------------


def test_quadratic_cost_is_the_books_and_half_the_outputs_times_mse():
    a = torch.tensor([[1.0, 0, 0], [0, 2, 0]], **DOUBLE)
    y = torch.tensor([[0.0, 0, 0], [0, 0, 1]], **DOUBLE)
    # 1/(2*2) * (1 + (4 + 1)) = 1.5
    assert losses.quadratic_cost(a, y).item() == 1.5
    torch.testing.assert_close(losses.quadratic_cost(a, y), 3 / 2 * losses.mse(a, y))
    assert losses.quadratic_cost(a, y, reduction="none").tolist() == [0.5, 2.5]
    assert losses.quadratic_cost(a[:, 0], y[:, 0]).item() == 0.25


def test_quadratic_cost_has_gradient_a_minus_y_over_n():
    a, y = draw(4, 3).requires_grad_(), draw(4, 3, seed=1)
    losses.quadratic_cost(a, y).backward()
    torch.testing.assert_close(a.grad, (a.detach() - y) / 4)


def test_a_saturated_sigmoid_learns_slowly_from_squares_and_not_from_cross_entropy():
    # Nielsen, chapter 3: z = 5 and y = 0 give (a - y) σ'(z) against a - y.
    z, y = torch.tensor([[5.0]], **DOUBLE).requires_grad_(), torch.zeros(1, 1, **DOUBLE)
    a = torch.sigmoid(z)
    (slow,) = torch.autograd.grad(losses.quadratic_cost(a, y), z)
    (fast,) = torch.autograd.grad(losses.binary_cross_entropy(z, y), z)
    torch.testing.assert_close(slow, a.detach() * (a * (1 - a)).detach())
    torch.testing.assert_close(fast, a.detach())


def test_the_median_minimizes_the_absolute_error():
    data = torch.tensor([1.0, 2, 3, 10, 100], **DOUBLE)
    points = torch.linspace(0, 100, 1001, **DOUBLE)
    errors = torch.stack([losses.mae(p.expand(5), data) for p in points])
    assert points[errors.argmin()].item() == 3


def test_gaussian_nll_equals_torchs_full_form():
    mean, log_variance, target = draw(5, 2), draw(5, 2, seed=1), draw(5, 2, seed=2)
    ours = losses.gaussian_nll(torch.cat([mean, log_variance], 1), target)
    torch.testing.assert_close(
        ours, F.gaussian_nll_loss(mean, target, log_variance.exp(), full=True)
    )


def test_gaussian_nll_of_the_standard_normal_at_its_mean():
    # -log 1/sqrt(2π)
    assert losses.gaussian_nll(torch.zeros(1, 2), torch.zeros(1, 1)).item() == pytest.approx(
        0.9189385, abs=1e-6
    )
    with pytest.raises(ValueError, match="got 3 columns; give the model twice as many outputs"):
        losses.gaussian_nll(torch.zeros(1, 3), torch.zeros(1, 1))


# --- cross-entropy -----------------------------------------------------------------------


def test_cross_entropy_gradient_is_p_minus_d():
    logits, target = draw(5, 4).requires_grad_(), torch.tensor([0, 3, 1, 1, 2])
    losses.cross_entropy(logits, target, reduction="sum").backward()
    expected = logits.detach().softmax(1) - F.one_hot(target, 4)
    torch.testing.assert_close(logits.grad, expected)


def test_uniform_logits_cost_the_logarithm_of_the_number_of_classes():
    loss = losses.cross_entropy(torch.full((2, 7), 3.0, **DOUBLE), torch.tensor([0, 6]))
    assert loss.item() == pytest.approx(math.log(7), rel=1e-12)


def test_cross_entropy_is_finite_at_large_logits():
    logits = torch.tensor([[1e4, -1e4], [1e4, -1e4]], requires_grad=True)
    loss = losses.cross_entropy(logits, torch.tensor([0, 1]), reduction="none")
    assert loss.tolist() == [0, 2e4]
    loss.sum().backward()
    assert logits.grad.tolist() == [[0, 0], [1, -1]]


def test_soft_cross_entropy_is_least_at_the_target_and_there_is_its_entropy():
    d = draw(3, 4).softmax(1)
    entropy = -(d * d.log()).sum(1)
    torch.testing.assert_close(losses.cross_entropy(d.log(), d, reduction="none"), entropy)
    others = losses.cross_entropy(draw(3, 4, seed=1), d, reduction="none")
    assert (others > entropy).all()


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize(
    ("weighted", "smoothing", "ignored"),
    list(itertools.product([False, True], [0.0, 0.1], [False, True])),
)
def test_weights_smoothing_and_ignored_rows_combine(weighted, smoothing, ignored, reduction):
    logits, target = draw(6, 4), torch.tensor([0, 3, 1, 1, 2, 0])
    weight = torch.tensor([1.0, 2, 0.5, 3], **DOUBLE) if weighted else None
    real = torch.tensor([True, True, not ignored, True, not ignored, True])
    given = target.where(real, torch.tensor(-7))
    ours = losses.cross_entropy(
        logits, given, weight, label_smoothing=smoothing, ignore_index=-7, reduction=reduction
    )
    # By definition: H(d, p) with d smoothed, each class's term weighted; mean by weights.
    w = torch.ones(4, **DOUBLE) if weight is None else weight
    d = F.one_hot(target, 4) * (1 - smoothing) + smoothing / 4
    each = -(w * d * logits.log_softmax(1)).sum(1) * real
    expected = {"none": each, "sum": each.sum(), "mean": each.sum() / w[target][real].sum()}
    torch.testing.assert_close(ours, expected[reduction])


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_soft_targets_equal_hard_ones_and_rows_of_zeros_are_ignored(smoothing):
    logits, target = draw(4, 3), torch.tensor([0, 2, -100, 1])
    soft = F.one_hot(target.clamp(min=0), 3).double()
    soft[2] = 0
    for reduction in ("mean", "sum", "none"):
        torch.testing.assert_close(
            losses.cross_entropy(logits, soft, label_smoothing=smoothing, reduction=reduction),
            losses.cross_entropy(logits, target, label_smoothing=smoothing, reduction=reduction),
        )


def test_cross_entropy_of_mixed_targets_is_the_mixture_of_cross_entropies():
    logits, i, j = draw(4, 3), torch.tensor([0, 1, 2, 0]), torch.tensor([2, 1, 0, 1])
    mixed = 0.3 * F.one_hot(i, 3).double() + 0.7 * F.one_hot(j, 3).double()
    expected = 0.3 * losses.cross_entropy(logits, i) + 0.7 * losses.cross_entropy(logits, j)
    torch.testing.assert_close(losses.cross_entropy(logits, mixed), expected)


def test_class_targets_of_the_wrong_shape_or_kind_are_errors():
    logits = torch.zeros(4, 3)
    with pytest.raises(ValueError, match=r"\(4,\), got \(4, 1\); squeeze it"):
        losses.cross_entropy(logits, torch.zeros(4, 1, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"\(4, 3\) and \(4,\)"):
        losses.cross_entropy(logits, torch.zeros(4))


def test_binary_cross_entropy_is_cross_entropy_of_two_logits():
    z, target = draw(6), torch.tensor([0, 1, 1, 0, 1, 0])
    two = torch.stack([torch.zeros_like(z), z], 1)
    torch.testing.assert_close(
        losses.binary_cross_entropy(z, target.double()), losses.cross_entropy(two, target)
    )
    w = torch.tensor(3.0, **DOUBLE)
    torch.testing.assert_close(
        losses.binary_cross_entropy(z, target.double(), pos_weight=w, reduction="none"),
        losses.cross_entropy(two, target, reduction="none") * torch.where(target == 1, 3, 1),
    )


# --- focal -------------------------------------------------------------------------------


def test_focal_without_focus_is_cross_entropy():
    logits, target = draw(5, 4), torch.tensor([0, 3, 1, 1, 2])
    torch.testing.assert_close(
        losses.focal(logits, target, gamma=0.0), losses.cross_entropy(logits, target)
    )


def test_focal_value_worked_by_hand():
    # p_t = 3/4 by logits (log 3, 0): 0.25 * (1/4)^2 * log(4/3)
    logits, target = torch.tensor([[math.log(3), 0.0]], **DOUBLE), torch.tensor([0])
    alpha = torch.tensor([0.25, 0.75], **DOUBLE)
    expected = 0.25 / 16 * math.log(4 / 3)
    assert losses.focal(logits, target, alpha=alpha).item() == pytest.approx(expected, rel=1e-12)


def test_focal_gradcheck_and_finite_gradients_when_certain():
    logits, target = draw(4, 3).requires_grad_(), torch.tensor([0, 2, 1, 1])
    assert torch.autograd.gradcheck(lambda z: losses.focal(z, target, gamma=0.5), logits)
    certain = torch.tensor([[1e4, 0.0, 0.0]], requires_grad=True)
    losses.focal(certain, torch.tensor([0]), gamma=0.5).backward()
    assert certain.grad.isfinite().all()


def test_focal_weighs_pixels_of_images_alike():
    logits, target = draw(2, 3, 4, 5), torch.randint(0, 3, (2, 4, 5))
    flat = losses.focal(logits.movedim(1, -1).reshape(-1, 3), target.reshape(-1))
    torch.testing.assert_close(losses.focal(logits, target), flat)


# --- hinges ------------------------------------------------------------------------------


def test_hinge_values_and_slopes_around_the_margin():
    score = torch.tensor([-1.0, 0, 1, 2], requires_grad=True)
    target = torch.ones(4)
    loss = losses.hinge(score, target, reduction="none")
    assert loss.tolist() == [2, 1, 0, 0]
    loss.sum().backward()
    assert score.grad.tolist() == [-1, -1, 0, 0]
    assert losses.hinge(-score, -target, reduction="none").tolist() == [2, 1, 0, 0]
    assert losses.squared_hinge(score, target, reduction="none").tolist() == [4, 1, 0, 0]


def test_hinge_refuses_targets_of_zero_and_one():
    with pytest.raises(ValueError, match=r"got \[0.0, 1.0\]; 2 \* target - 1"):
        losses.hinge(torch.zeros(2), torch.tensor([0.0, 1]))


def test_multiclass_hinges_worked_by_hand():
    # Violations of class 0 at 1: 1 + 0.5 - 1 = 0.5, 1 + 2 - 1 = 2, 1 - 3 - 1 < 0.
    scores, target = torch.tensor([[1.0, 0.5, 2, -3]]), torch.tensor([0])
    assert losses.multiclass_hinge(scores, target).item() == 2
    assert losses.multiclass_hinge(scores, target, kind="weston-watkins").item() == 2.5


def test_weston_watkins_is_torchs_times_the_classes_and_two_classes_are_the_binary_hinge():
    scores, target = draw(6, 4), torch.tensor([0, 3, 1, 1, 2, 0])
    ours = losses.multiclass_hinge(scores, target, kind="weston-watkins")
    torch.testing.assert_close(ours, 4 * F.multi_margin_loss(scores, target))
    two, target = draw(5, 2), torch.tensor([0, 1, 1, 0, 1])
    binary = losses.hinge(two[:, 1] - two[:, 0], 2.0 * target - 1)
    torch.testing.assert_close(losses.multiclass_hinge(two, target), binary)


def test_hinge_objective_is_the_one_linear_svc_minimizes():
    from scipy.optimize import minimize
    from sklearn.datasets import load_iris
    from sklearn.svm import LinearSVC

    x, y = load_iris(return_X_y=True)
    t = np.where(y == 1, 1.0, -1.0)
    svc = LinearSVC(loss="hinge", C=1.0, tol=1e-6, max_iter=100_000, random_state=0).fit(x, t)
    w, b = torch.from_numpy(svc.coef_[0]), torch.from_numpy(svc.intercept_)
    margins = losses.hinge(torch.from_numpy(x) @ w + b, torch.from_numpy(t), reduction="sum")
    primal = (w @ w + b @ b) / 2 + margins  # LinearSVC penalizes the bias too

    # No objective is below its dual's value: max Σa - a'Ka/2 over 0 <= a <= 1.
    augmented = np.hstack([x, np.ones((150, 1))]) * t[:, None]
    kernel = augmented @ augmented.T
    dual = minimize(
        lambda a: (a @ kernel @ a / 2 - a.sum(), kernel @ a - 1),
        np.full(150, 0.5),
        jac=True,
        bounds=[(0, 1)] * 150,
        options={"maxiter": 5000, "ftol": 1e-14},
    )
    assert primal.item() == pytest.approx(-dual.fun, rel=1e-5)


# --- robust losses -----------------------------------------------------------------------

R = torch.arange(-90, 91, **DOUBLE) / 10
SHAPES = [2.0, 1.9999, 1.5, 1.0, 0.3, 1e-6, 0.0, -1e-6, -0.5, -2.0, -30.0, float("-inf")]
ROBUST = [
    ("huber", {}),
    ("huber", {"delta": 2.5}),
    ("tukey", {}),
    ("tukey", {"delta": 2.0}),
    *(("general", {"alpha": alpha, "scale": 1.5}) for alpha in SHAPES),
]


@pytest.mark.parametrize(("loss", "parameters"), ROBUST)
def test_psi_is_the_derivative_of_rho_and_weight_is_psi_over_r(loss, parameters):
    r = R.clone().requires_grad_()
    (slope,) = torch.autograd.grad(robust.rho(r, loss, **parameters).sum(), r)
    torch.testing.assert_close(robust.psi(R, loss, **parameters), slope, rtol=1e-7, atol=1e-9)
    weight = robust.weight(R, loss, **parameters)
    torch.testing.assert_close(weight * R, robust.psi(R, loss, **parameters))
    scale = parameters.get("scale", 1.0)
    assert robust.weight(torch.zeros(1), loss, **parameters).item() == pytest.approx(1 / scale**2)


@pytest.mark.parametrize(("loss", "parameters"), ROBUST)
def test_rho_is_even_zero_at_zero_and_grows(loss, parameters):
    values = robust.rho(R, loss, **parameters)
    torch.testing.assert_close(values, values.flip(0))
    assert values[90] == 0
    assert (values[90:].diff() >= 0).all()


def test_huber_is_quadratic_then_linear_and_meets_smoothly():
    r = torch.tensor([0.5, 2.0, 3.0], **DOUBLE)
    zero = torch.zeros(3, **DOUBLE)
    # delta 2: 1/8; at the joint 2; 2 (3 - 1) = 4
    assert losses.huber(r, zero, delta=2.0, reduction="none").tolist() == [0.125, 2, 4]
    torch.testing.assert_close(losses.huber(r, zero, delta=1e9), losses.mse(r, zero) / 2)
    torch.testing.assert_close(losses.huber(r, zero, 2.0), 2 * F.smooth_l1_loss(r, zero, beta=2.0))


def test_tukey_gradient_is_the_biweight_influence():
    r = torch.linspace(-6, 6, 41, **DOUBLE).requires_grad_()
    zero = torch.zeros(41, **DOUBLE)
    (grad,) = torch.autograd.grad(losses.tukey(r, zero, reduction="sum"), r)
    influence = torch.where(r.abs() <= 4.685, r * (1 - (r / 4.685) ** 2) ** 2, 0)
    torch.testing.assert_close(grad, influence.detach())


def test_tukey_is_flat_beyond_delta_and_half_the_square_for_a_huge_one():
    r, zero = torch.tensor([2.0, 5.0, 1e6], **DOUBLE), torch.zeros(3, **DOUBLE)
    assert losses.tukey(r, zero, delta=2.0, reduction="none").tolist() == pytest.approx([4 / 6] * 3)
    small = r[:2] / 100
    torch.testing.assert_close(
        losses.tukey(small, zero[:2], delta=1e3), losses.mse(small, zero[:2]) / 2
    )


@pytest.mark.parametrize("loss", [losses.tukey, losses.general_robust, losses.huber])
def test_a_size_that_is_not_positive_is_an_error(loss):
    name = "scale" if loss is losses.general_robust else "delta"
    with pytest.raises(ValueError, match=f"{name} must be positive, got 0.0"):
        loss(torch.zeros(2), torch.zeros(2), **{name: 0.0})


# --- the general robust loss -------------------------------------------------------------

X = (R / 1.5) ** 2
SPECIAL = {  # Barron, equations 9 to 14
    2.0: X / 2,
    1.0: torch.sqrt(X + 1) - 1,
    0.0: torch.log(X / 2 + 1),
    -2.0: 2 * X / (X + 4),
    float("-inf"): 1 - torch.exp(-X / 2),
}


@pytest.mark.parametrize("alpha", SPECIAL)
def test_general_robust_has_the_five_special_cases(alpha):
    ours = robust.rho(R, "general", alpha=alpha, scale=1.5)
    torch.testing.assert_close(ours, SPECIAL[alpha], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("alpha", [1.7, 0.5, -1.0, -4.0, 3.0])
def test_general_robust_is_the_formula_as_printed_where_that_is_sound(alpha):
    b = abs(alpha - 2)
    printed = b / alpha * ((X / b + 1) ** (alpha / 2) - 1)
    ours = robust.rho(R, "general", alpha=alpha, scale=1.5)
    torch.testing.assert_close(ours, printed, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("alpha", "limit", "gap"), [(1e-6, 0, 1e-5), (-1e-6, 0, 1e-5), (2 - 1e-9, 2, 1e-4)]
)
def test_general_robust_is_continuous_in_its_shape(alpha, limit, gap):
    r = torch.linspace(-10, 10, 201, **DOUBLE)
    near, at = (robust.rho(r, "general", alpha=a) for a in (alpha, limit))
    assert (near - at).abs().max() < gap


def test_general_robust_grows_with_its_shape_and_never_pulls_harder_than_squares():
    values = torch.stack([robust.rho(R, "general", alpha=a) for a in sorted(SHAPES)])
    assert (values.diff(dim=0) >= -1e-12).all()
    for alpha in SHAPES:
        assert (robust.psi(R, "general", alpha=alpha, scale=1.5).abs() <= R.abs() / 2.25).all()


@pytest.mark.parametrize("alpha", SHAPES)
def test_general_robust_in_float32_agrees_with_float64(alpha):
    r = torch.tensor([1e-3, 0.1, 1, 5, 100])
    single = robust.rho(r, "general", alpha=alpha)
    double = robust.rho(r.double(), "general", alpha=alpha)
    torch.testing.assert_close(single.double(), double, rtol=3e-6, atol=0)


@pytest.mark.parametrize("alpha", [2.0, 1.0, 1e-9, 0.0, -2.0, float("-inf")])
def test_general_robust_gradients_are_finite_everywhere(alpha):
    r = torch.tensor([0.0, 1e-20, 1, 1e4], requires_grad=True)
    shape = torch.tensor(alpha, requires_grad=True)
    scale = torch.tensor(1.0, requires_grad=True)
    loss = losses.general_robust(r, torch.zeros(4), shape, scale)
    for grad in torch.autograd.grad(loss, (r, shape, scale)):
        assert grad.isfinite().all()


@pytest.mark.parametrize("alpha", [1.5, 0.7, 1e-3, 1e-12, -1.0])
def test_general_robust_gradients_by_shape_and_scale_are_limits_of_differences(alpha):
    r = draw(6)
    shape = torch.tensor(alpha, **DOUBLE).requires_grad_()
    scale = torch.tensor(0.8, **DOUBLE).requires_grad_()
    zero = torch.zeros(6, **DOUBLE)
    assert torch.autograd.gradcheck(
        lambda a, c: losses.general_robust(r, zero, a, c), (shape, scale)
    )


# --- the adaptive loss -------------------------------------------------------------------


def test_partition_function_of_gauss_cauchy_and_charbonnier():
    alpha = torch.tensor([2.0, 0.0, 1.0], **DOUBLE)
    z = robust.log_partition(alpha).exp()
    # Charbonnier: ∫exp(1 - sqrt(x² + 1)) dx = 2 e K_1(1), K_1 the modified Bessel function.
    charbonnier = 2 * math.e * torch.special.modified_bessel_k1(torch.tensor(1.0, **DOUBLE)).item()
    expected = torch.tensor([math.sqrt(2 * math.pi), math.pi * math.sqrt(2), charbonnier], **DOUBLE)
    torch.testing.assert_close(z, expected, rtol=1e-10, atol=0)
    assert charbonnier == pytest.approx(3.27231, abs=1e-5)


@pytest.mark.parametrize("alpha", [0.01, 0.5, 1.3, 1.9, 1.9999])
def test_partition_function_equals_scipys_integral(alpha):
    from scipy.integrate import quad

    def density(x):
        return math.exp(-robust.rho(torch.tensor([x], **DOUBLE), "general", alpha=alpha).item())

    parts = [quad(density, *ends, epsabs=1e-12, limit=200)[0] for ends in ((0, 9), (9, math.inf))]
    ours = robust.log_partition(torch.tensor(alpha, **DOUBLE)).exp().item()
    assert ours == pytest.approx(2 * sum(parts), rel=1e-8)


def test_partition_function_has_the_gradient_of_its_differences():
    alpha = torch.tensor([0.1, 0.9, 1.8], **DOUBLE).requires_grad_()
    assert torch.autograd.gradcheck(robust.log_partition, alpha)


def test_adaptive_robust_is_the_negative_log_density():
    loss = losses.AdaptiveRobust(alpha=0.5, scale=2.0).double()
    x = torch.linspace(-4000, 4000, 4_000_001, **DOUBLE)
    with torch.no_grad():
        nll = loss(x, torch.zeros_like(x), reduction="none")
    # Beyond 4000 the tail of shape 0.5 holds less than 1e-4.
    assert torch.trapezoid((-nll).exp(), x).item() == pytest.approx(1, abs=1e-4)


def test_adaptive_robust_starts_where_told_and_learns_each_outputs_own_shape():
    loss = losses.AdaptiveRobust(2, alpha=1.2, scale=0.7)
    torch.testing.assert_close(loss.alpha, torch.full((2,), 1.2))
    torch.testing.assert_close(loss.scale, torch.full((2,), 0.7), rtol=1e-4, atol=0)
    generator = torch.Generator().manual_seed(0)
    clean = torch.randn(2000, generator=generator)
    wild = torch.empty(2000).cauchy_(generator=generator)
    residual = torch.stack([clean, wild], 1)
    # The first gradients of Cauchy data are huge: a short memory of squares forgets them.
    optimizer = torch.optim.Adam(loss.parameters(), lr=0.1, betas=(0.9, 0.9))
    for _ in range(200):
        optimizer.zero_grad()
        loss(residual, torch.zeros_like(residual)).backward()
        optimizer.step()
    gauss, cauchy = loss.alpha.tolist()
    assert gauss > 1.6
    assert cauchy < 0.3
    # exp(-log(x²/2c² + 1)) is Cauchy with scale c sqrt(2).
    assert loss.scale[1].item() == pytest.approx(1 / math.sqrt(2), rel=0.15)


@pytest.mark.parametrize("start", [{"alpha": 2.0}, {"alpha": 0.0}, {"scale": 0.0}])
def test_adaptive_robust_must_start_inside_its_ranges(start):
    with pytest.raises(ValueError, match="must start"):
        losses.AdaptiveRobust(**start)


def _slope_of_the_robust_line(loss, steps=600):
    # Catalogue's `robust-line`: y = 2x + noise, the 20 lowest x lifted to y = 5.
    x = torch.linspace(-1, 1, 100, **DOUBLE)
    y = 2 * x + 0.1 * draw(100)
    y[:20] = 5
    line = torch.zeros(2, **DOUBLE, requires_grad=True)
    parameters = [line, *(loss.parameters() if isinstance(loss, torch.nn.Module) else ())]
    optimizer = torch.optim.Adam(parameters, lr=0.03)
    for _ in range(steps):
        optimizer.zero_grad()
        loss(line[0] * x + line[1], y).backward()
        optimizer.step()
    return line[0].item()


def test_robust_losses_find_the_line_that_squares_miss():
    assert _slope_of_the_robust_line(losses.mse) < 0
    slope = _slope_of_the_robust_line(
        lambda p, t: losses.general_robust(p, t, alpha=-2.0, scale=0.3)
    )
    assert slope == pytest.approx(2, abs=0.1)
    loss = losses.AdaptiveRobust().double()
    assert _slope_of_the_robust_line(loss, steps=1500) == pytest.approx(2, abs=0.1)
    assert loss.alpha.item() < 0.5


# --- Bregman -----------------------------------------------------------------------------


def half_square(p):
    return p.square().sum(-1) / 2


def negative_entropy(p):
    return (p * p.log()).sum(-1)


def burg(p):
    return -p.log().sum(-1)


PHIS = [half_square, negative_entropy, burg]


def test_bregman_gives_the_named_divergences():
    p, q = draw(4, 3).exp(), draw(4, 3, seed=1).exp()
    named = {
        half_square: (p - q).square().sum(1) / 2,
        negative_entropy: (p * (p / q).log() - p + q).sum(1),
        burg: (p / q - (p / q).log() - 1).sum(1),
    }
    for phi, expected in named.items():
        torch.testing.assert_close(losses.bregman(phi, p, q, reduction="none"), expected)


def test_bregman_of_matrices_is_the_log_det_divergence():
    factors = draw(2, 5, 3, 3)
    p, q = factors @ factors.mT + torch.eye(3)
    ratio = p @ torch.linalg.inv(q)
    expected = ratio.diagonal(dim1=-2, dim2=-1).sum(-1) - torch.logdet(ratio) - 3
    ours = losses.bregman(lambda m: -torch.logdet(m), p, q, reduction="none")
    torch.testing.assert_close(ours, expected)


@pytest.mark.parametrize("phi", PHIS)
def test_bregman_is_positive_but_at_equality_and_convex_in_p(phi):
    p, q, r = (draw(50, 3, seed=s).exp() for s in range(3))
    assert (losses.bregman(phi, p, q, reduction="none") > 0).all()
    torch.testing.assert_close(losses.bregman(phi, p, p), torch.tensor(0.0, **DOUBLE))
    ends = losses.bregman(phi, p, q, reduction="none") + losses.bregman(phi, r, q, reduction="none")
    assert (losses.bregman(phi, (p + r) / 2, q, reduction="none") <= ends / 2).all()


@pytest.mark.parametrize("phi", PHIS)
def test_the_mean_minimizes_the_mean_divergence(phi):
    points = draw(20, 3).exp()
    q = points.mean(0).requires_grad_()
    (slope,) = torch.autograd.grad(losses.bregman(phi, points, q.expand(20, 3)), q)
    torch.testing.assert_close(slope, torch.zeros(3, **DOUBLE))


def test_cross_entropy_is_kl_plus_the_targets_entropy():
    d, logits = draw(4, 3).softmax(1), draw(4, 3, seed=1)
    kl = losses.bregman(negative_entropy, d, logits.softmax(1), reduction="none")
    entropy = -negative_entropy(d)
    torch.testing.assert_close(losses.cross_entropy(logits, d, reduction="none"), kl + entropy)
