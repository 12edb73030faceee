"""Backpropagation by any optimizer: accumulation, clipping, schedules, refusals."""

import pytest
import torch
from torch import nn

from neurarium import optim
from neurarium.learning import Backprop, NonFiniteError, Rule
from neurarium.objectives import supervised
from neurarium.training import fit


def problem(seed=0):
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3)).double()
    x = torch.randn(10, 4, dtype=torch.float64)
    return model, {"input": x, "target": torch.arange(10) % 3}


def step(rule, model, batch):
    rule.bind(model, supervised("cross_entropy"))
    outputs = rule.step(batch)
    return [p.detach().clone() for p in model.parameters()], outputs


def test_it_is_a_rule():
    assert isinstance(Backprop(), Rule)


@pytest.mark.parametrize("parts", [2, 3, 4, 10, 17])
def test_a_batch_in_parts_gives_the_step_of_the_whole(parts):
    whole, loss = step(Backprop("sgd", lr=0.5), *problem())
    cut, cut_loss = step(Backprop("sgd", lr=0.5, gradient_accumulation_steps=parts), *problem())
    torch.testing.assert_close(cut, whole, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(cut_loss["loss"], loss["loss"])


def test_a_step_with_clipping_is_at_most_lr_times_the_norm():
    model, batch = problem()
    before = [p.detach().clone() for p in model.parameters()]
    free, _ = step(Backprop("sgd", lr=1.0), *problem())
    clipped, outputs = step(Backprop("sgd", lr=1.0, max_grad_norm=0.01), model, batch)
    moved = torch.cat([(a - b).flatten() for a, b in zip(clipped, before, strict=True)])
    full = torch.cat([(a - b).flatten() for a, b in zip(free, before, strict=True)])
    assert moved.norm().item() == pytest.approx(0.01, rel=1e-4)
    torch.testing.assert_close(moved / moved.norm(), full / full.norm())  # direction kept
    assert outputs["grad_norm"].item() == pytest.approx(full.norm().item())  # before clipping


def test_clipping_values_bounds_every_entry():
    model, batch = problem()
    before = [p.detach().clone() for p in model.parameters()]
    after, _ = step(Backprop("sgd", lr=1.0, max_grad_value=1e-3), model, batch)
    assert max((a - b).abs().max() for a, b in zip(after, before, strict=True)) <= 1e-3 + 1e-12


def test_the_schedule_multiplies_the_base_rate_from_the_first_step_on():
    model, batch = problem()
    rule = Backprop("sgd", lr=2.0, schedule="linear", total_steps=4)
    rule.bind(model, supervised("cross_entropy"))
    rates = []
    for _ in range(5):
        rates.append(rule.current_lr)
        rule.step(batch)
    assert rates == [2.0, 1.5, 1.0, 0.5, 0.5]


def test_a_torch_scheduler_is_stepped_once_per_step():
    model, batch = problem()
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    rule = Backprop(optimizer, schedule=torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5))
    rule.bind(model, supervised("cross_entropy"))
    rates = []
    for _ in range(3):
        rates.append(rule.current_lr)
        rule.step(batch)
    assert rates == [1.0, 0.5, 0.25]


@pytest.mark.parametrize("optimizer", ["adamw", "sgd:momentum=0.9", "adagrad", "rmsprop"])
def test_state_restored_goes_on_to_the_same_bytes(optimizer):
    def run(cut):
        model, batch = problem()
        rule = Backprop(optimizer, lr=0.01, schedule="cosine", total_steps=6)
        rule.bind(model, supervised("cross_entropy"))
        for i in range(6):
            if i == cut:
                kept, weights = rule.state_dict(), model.state_dict()
                rule = Backprop(optimizer, lr=0.01, schedule="cosine", total_steps=6)
                model.load_state_dict(weights)
                rule.bind(model, supervised("cross_entropy"))
                rule.load_state_dict(kept)
            rule.step(batch)
        return torch.cat([p.flatten() for p in model.parameters()])

    assert torch.equal(run(cut=-1), run(cut=3))


def test_names_get_the_fused_kernel_and_spare_biases_from_decay():
    model, _ = problem()
    rule = Backprop("adamw", weight_decay=0.3)
    rule.bind(model, supervised("cross_entropy"))
    assert [group["weight_decay"] for group in rule.optimizer.param_groups] == [0.3, 0.0]
    assert all(group["fused"] for group in rule.optimizer.param_groups)


def test_a_nan_loss_moves_nothing():
    model, batch = problem()
    before = [p.detach().clone() for p in model.parameters()]
    batch["input"][0, 0] = torch.nan
    with pytest.raises(NonFiniteError, match="step 0"):
        step(Backprop("sgd", lr=1.0), model, batch)
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


def test_mistakes_are_told_at_once():
    model, batch = problem()
    other = nn.Linear(1, 1)
    with pytest.raises(ValueError, match="no parameter of this model"):
        step(Backprop(torch.optim.SGD(other.parameters(), lr=1)), model, batch)
    with pytest.raises(ValueError, match="belong to the optimizer object"):
        Backprop(torch.optim.SGD(model.parameters(), lr=1), lr=0.1)
    with pytest.raises(ValueError, match="at least 1, got 0"):
        Backprop(gradient_accumulation_steps=0)
    with pytest.raises(ValueError, match="needs the number of steps"):
        step(Backprop(schedule="cosine"), model, batch)
    with pytest.raises(ValueError, match="nothing to train"):
        step(Backprop(), model.requires_grad_(False), batch)


@pytest.mark.parametrize("optimizer", ["sgd:momentum=0.5", "adamw"])
def test_one_cycle_with_its_momentum_is_torchs_scheduler(optimizer):
    def run(ours):
        model, batch = problem()
        objective = supervised("cross_entropy")
        if ours:
            cycle = {"schedule": "one_cycle", "momentum_schedule": "one_cycle_momentum"}
            rule = Backprop(optimizer, lr=0.1, weight_decay=0.0, total_steps=12, **cycle)
        else:
            inner = optim.get(optimizer)(model.parameters(), weight_decay=0.0)
            scheduler = torch.optim.lr_scheduler.OneCycleLR(inner, 0.1, 12)
            rule = Backprop(inner, schedule=scheduler)
        rule.bind(model, objective)
        for _ in range(11):  # torch's refuses to go beyond its last step
            rule.step(batch)
        return torch.cat([p.detach().flatten() for p in model.parameters()])

    torch.testing.assert_close(run(True), run(False), rtol=1e-9, atol=1e-12)


def test_a_schedule_of_momentum_needs_a_momentum():
    rule = Backprop("adagrad", momentum_schedule="one_cycle_momentum", total_steps=4)
    with pytest.raises(ValueError, match="optimizer with momentum or betas"):
        step(rule, *problem())


def test_the_record_says_what_decays():
    rule = Backprop("adamw", lr=0.1, weight_decay=0.3)
    assert repr(rule) == "Backprop(AdamW, lr=0.1, schedule=None)"
    step(rule, *problem())  # weights 4 x 8 and 8 x 3, biases 8 and 3
    decayed = "decayed: 56 parameters by 0.3, not decayed: 11"
    assert repr(rule) == f"Backprop(AdamW, lr=0.1, schedule=None, {decayed})"
    rule = Backprop("sgd", lr=0.1)
    step(rule, *problem())
    assert "decayed" not in repr(rule)


@pytest.mark.parametrize("lr", [0, -0.1, float("nan"), float("inf")])
def test_a_rate_that_is_none_is_one_error_before_training(lr, unchecked):
    with pytest.raises(ValueError, match="lr must be a positive number, got"):
        Backprop("sgd", lr=lr)
    with pytest.raises(ValueError, match="lr must be a positive number, got"):
        Backprop(f"sgd:lr={lr}")
    model, batch = problem()
    with pytest.raises(ValueError, match="lr must be a positive number, got"):
        fit(model.float(), (batch["input"].float(), batch["target"]), lr=lr, verbose=False)


def test_an_optimizer_of_ones_own_making_needs_no_defaults():
    model, batch = problem()
    rule = Backprop(lambda groups, lr: torch.optim.SGD(groups, lr), lr=0.5)
    ours, _ = step(rule, model, batch)
    named, _ = step(Backprop("sgd", lr=0.5), *problem())
    torch.testing.assert_close(ours, named, rtol=1e-12, atol=1e-14)
