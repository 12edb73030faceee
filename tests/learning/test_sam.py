"""Sharpness-aware minimization: where its gradient is taken, and what it leaves alone."""

import pytest
import torch
from tests.training.conftest import make_data, make_network
from torch import nn

from neurarium.learning import SAM, Backprop, FeedbackAlignment, NonFiniteError, Rule
from neurarium.objectives import supervised
from neurarium.training import EMA, fit, lr_find
from neurarium.training.distributed import SimulatedWorkers

A = torch.tensor([[3.0, 1.0], [1.0, 2.0]], dtype=torch.float64)


class Point(nn.Module):
    """A place on a quadratic; its two coordinates are two parameters, to see the joint norm."""

    def __init__(self):
        super().__init__()
        self.x = nn.Parameter(torch.tensor(1.0, dtype=torch.float64))
        self.y = nn.Parameter(torch.tensor(-2.0, dtype=torch.float64))

    def forward(self, _=None):
        return torch.stack([self.x, self.y])


def height(model, batch):
    w = model()
    return 0.5 * w @ A @ w


def bound(rule, model, objective=height):
    rule.bind(model, objective)
    return rule


BATCH = {"input": torch.zeros(2, 1)}


def test_it_is_a_rule():
    assert isinstance(SAM(), Rule)


def test_on_a_quadratic_the_gradient_is_that_of_the_point_uphill():
    model = Point()
    w = model().detach()
    rule = bound(SAM("sgd", lr=0.1, rho=0.3), model)
    for _ in range(5):
        outputs = rule.step(BATCH)
        slope = A @ w
        torch.testing.assert_close(outputs["loss"], 0.5 * w @ slope)  # at w, not uphill
        w = w - 0.1 * A @ (w + 0.3 * slope / slope.norm())
        torch.testing.assert_close(model().detach(), w)


def test_at_a_stationary_point_it_stays():
    model = Point()
    with torch.no_grad():
        model.x.zero_()
        model.y.zero_()
    bound(SAM("sgd", lr=0.1, rho=0.3), model).step(BATCH)
    assert torch.equal(model().detach(), torch.zeros(2, dtype=torch.float64))


@pytest.mark.parametrize("parts", [1, 3])
def test_with_no_radius_it_is_backprop_dropout_and_statistics_included(parts):
    def run(make, **options):
        options |= {"max_grad_norm": 0.5, "gradient_accumulation_steps": parts}
        rule = make("adamw", lr=0.01, schedule="one_cycle", **options)
        data = make_data()
        model = make_network()
        fit(model, data, rule=rule, epochs=2, batch_size=8, callbacks=[EMA(0.9)], verbose=False)
        return torch.cat([v.flatten().double() for v in model.state_dict().values()])

    assert torch.equal(run(Backprop), run(SAM, rho=0.0))


def test_both_evaluations_see_one_dropout_mask_and_the_first_one_sets_the_statistics():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Dropout(0.5), nn.Linear(6, 3))
    masks, seen = [], []
    model[2].register_forward_hook(lambda m, i, o: masks.append(o == 0))
    model[1].register_forward_hook(lambda m, i, o: seen.append(i[0].detach().mean(0)))
    batch = {"input": torch.randn(9, 4), "target": torch.arange(9) % 3}
    rule = bound(SAM("sgd", lr=0.1, rho=0.5), model, supervised("cross_entropy"))
    rule.step(batch)
    rule.step(batch)
    assert torch.equal(masks[0], masks[1])
    assert not torch.equal(masks[1], masks[2])  # the next step draws anew
    expected = 0.9 * (0.1 * seen[0]) + 0.1 * seen[2]
    torch.testing.assert_close(model[1].running_mean, expected)
    assert model[1].num_batches_tracked == 2
    assert not torch.allclose(seen[0], seen[1])  # the second evaluation was elsewhere


def test_a_run_goes_on_from_a_checkpoint_to_the_same_bytes(tmp_path):
    def run(**options):
        model = make_network()
        # Told the length, lest the run that is cut off plans a shorter one.
        rule = SAM("sgd:momentum=0.9", lr=0.05, schedule="cosine", rho=0.1, total_steps=20)
        fit(model, make_data(), rule=rule, batch_size=8, verbose=False, epochs=4, **options)
        return torch.cat([v.flatten().double() for v in model.state_dict().values()])

    whole = run()
    run(max_steps=10, directory=tmp_path)
    assert torch.equal(run(directory=tmp_path, resume=True), whole)


def test_a_loss_that_is_infinite_uphill_moves_nothing():
    def wall(model, batch):
        w = model()
        return torch.where(w[1] < -2, torch.inf, 0.5 * w @ A @ w)

    model = Point()
    rule = bound(SAM("sgd", lr=0.1, rho=0.3), model, wall)
    with pytest.raises(NonFiniteError, match="inf at step 0"):
        rule.step(BATCH)
    assert torch.equal(model().detach(), torch.tensor([1.0, -2.0], dtype=torch.float64))


def test_the_range_test_takes_it_too():
    model, data, rule = make_network(), make_data(), SAM("sgd:momentum=0.9", lr=0.05)
    found = lr_find(model, data, supervised("cross_entropy"), rule, batch_size=8)
    assert len(found.lrs) > 10
    assert rule.current_lr == 0.05


def test_a_negative_radius_is_refused(unchecked):
    with pytest.raises(ValueError, match=r"rho must not be negative, got -0.1"):
        SAM(rho=-0.1)


def test_without_a_radius_the_estimate_points_along_the_gradient():
    torch.manual_seed(0)
    model = torch.nn.Linear(3, 2)
    batch = {"input": torch.randn(8, 3), "target": torch.randn(8, 2)}
    rule = SAM("sgd", lr=0.1, rho=0.0)
    rule.bind(model, supervised("mse"))
    assert rule.alignment(batch) == {"": pytest.approx(1, abs=1e-6)}
    far = SAM("sgd", lr=0.1, rho=5.0)
    far.bind(model, supervised("mse"))
    assert far.alignment(batch)[""] < 0.999


def test_workers_refuse_it_with_accumulated_gradients_too():
    with pytest.raises(ValueError, match="gradient_accumulation_steps is 1"):
        SimulatedWorkers(2, rule=SAM("sgd", lr=0.1, gradient_accumulation_steps=2))


@pytest.mark.parametrize("rule", [SAM, FeedbackAlignment])
def test_a_loss_scaled_for_half_precision_gives_the_same_step(rule):
    def stepped(scaler):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 2))
        batch = {"input": torch.randn(12, 4), "target": torch.randn(12, 2)}
        trained = rule("sgd", lr=0.1)
        trained.scaler = scaler
        trained.bind(model, supervised("mse"))
        for _ in range(3):
            trained.step(batch)
        return nn.utils.parameters_to_vector(model.parameters()).detach()

    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    torch.testing.assert_close(stepped(scaler), stepped(None))
    assert scaler.state_dict()["_growth_tracker"] == 3  # it was asked at every step
