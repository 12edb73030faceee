"""LARS and LAMB: each layer moves in proportion to its weights."""

import pytest
import torch
from torch import nn

from neurarium.optim import LAMB, LARS, get, param_groups


def parameters(seed=0):
    torch.manual_seed(seed)
    shapes = [(4, 3), (5,), (2, 3, 3, 3)]
    made = [torch.randn(s, dtype=torch.float64).requires_grad_() for s in shapes]
    for p in made:
        p.grad = torch.randn_like(p)
    return made


def moves(make, scale=1.0, steps=1):
    params = parameters()
    before = [p.detach().clone() for p in params]
    for p in params:
        p.grad *= scale
    optimizer = make(params)
    for _ in range(steps):
        optimizer.step()
    return before, [p.detach() - b for p, b in zip(params, before, strict=True)]


def test_a_lars_step_has_the_norm_lr_trust_w():
    before, moved = moves(lambda p: LARS(p, lr=7.0, trust=0.02, momentum=0.0))
    for i in (0, 2):
        assert moved[i].norm().item() == pytest.approx(7 * 0.02 * before[i].norm().item())


def test_a_lamb_step_has_the_norm_lr_w():
    before, moved = moves(lambda p: LAMB(p, lr=0.3, weight_decay=0.1))
    for i in (0, 2):
        assert moved[i].norm().item() == pytest.approx(0.3 * before[i].norm().item())
    _, moved = moves(lambda p: LAMB(p, lr=0.3, max_norm=2.0))
    assert moved[2].norm().item() == pytest.approx(0.6)


def test_lars_with_decay_is_its_equation_step_by_step():
    lr, momentum, decay, trust = 5.0, 0.9, 0.05, 0.01
    params = parameters()
    optimizer = LARS(params, lr=lr, momentum=momentum, weight_decay=decay, trust=trust)
    w, g = params[0].detach().clone(), params[0].grad.clone()
    v = torch.zeros_like(w)
    for t in range(4):
        optimizer.param_groups[0]["lr"] = lr / (t + 1)
        optimizer.step()
        ratio = trust * w.norm() / (g.norm() + decay * w.norm())
        v = momentum * v + lr / (t + 1) * ratio * (g + decay * w)
        w = w - v
        torch.testing.assert_close(params[0].detach(), w, rtol=1e-12, atol=1e-12)


def test_lamb_with_decay_is_its_equation_step_by_step():
    lr, (b1, b2), eps, decay = 0.1, (0.8, 0.95), 1e-6, 0.05
    params = parameters()
    optimizer = LAMB(params, lr=lr, betas=(b1, b2), eps=eps, weight_decay=decay)
    w, g = params[0].detach().clone(), params[0].grad
    m = v = torch.zeros_like(w)
    for t in range(1, 5):
        g.copy_(torch.cos(t * w))
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g**2
        r = m / (1 - b1**t) / ((v / (1 - b2**t)).sqrt() + eps) + decay * w
        w = w - lr * w.norm() / r.norm() * r
        optimizer.step()
        torch.testing.assert_close(params[0].detach(), w, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("make", "tolerance"),
    [(lambda p: LARS(p, lr=1.0), 1e-14), (lambda p: LAMB(p, lr=0.1), 1e-3)],
    ids=["LARS", "LAMB"],  # LAMB up to its eps
)
def test_the_scale_of_the_gradient_does_not_matter(make, tolerance):
    _, once = moves(make, steps=3)
    _, louder = moves(make, scale=1000.0, steps=3)
    for i in (0, 2):
        torch.testing.assert_close(once[i], louder[i], rtol=tolerance, atol=0)
    assert not torch.allclose(LARS_bias(1.0), LARS_bias(1000.0))  # the bias hears it


def LARS_bias(scale):
    return moves(lambda p: LARS(p, lr=1.0), scale=scale)[1][1]


@pytest.mark.parametrize("adapt", ["weights", "none"])
def test_what_is_excluded_follows_plain_momentum_or_adam_without_decay(adapt):
    def run(make, steps=6):
        params = parameters()
        optimizer = make(params)
        for t in range(steps):
            for p in params:
                p.grad = torch.sin(p.detach() * (t + 1))
            optimizer.step()
        return [p.detach() for p in params]

    excluded = [1] if adapt == "weights" else [0, 1, 2]
    ours = run(lambda p: LARS(p, lr=0.1, weight_decay=0.5, adapt=adapt))
    theirs = run(lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9))
    for i in excluded:
        torch.testing.assert_close(ours[i], theirs[i], rtol=1e-12, atol=1e-14)
    ours = run(lambda p: LAMB(p, lr=0.1, weight_decay=0.5, adapt=adapt))
    theirs = run(lambda p: torch.optim.Adam(p, lr=0.1, eps=1e-6))
    for i in excluded:
        torch.testing.assert_close(ours[i], theirs[i], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("make", [LARS, LAMB])
def test_a_zero_weight_takes_the_plain_step_and_a_zero_gradient_none(make):
    zero, still = (torch.full((2, 2), v, dtype=torch.float64).requires_grad_() for v in (0.0, 3.0))
    zero.grad, still.grad = torch.full((2, 2), 4.0).double(), torch.zeros(2, 2).double()
    make([zero, still], lr=0.5).step()
    expected = -0.5 * 4 if make is LARS else -0.5 * 4 / (4 + 1e-6)
    torch.testing.assert_close(zero.detach(), torch.full((2, 2), expected).double())
    assert torch.equal(still.detach(), torch.full((2, 2), 3.0).double())


@pytest.mark.parametrize("name", ["lars:lr=2", "lamb", "lion"])
def test_state_goes_through_a_file_without_pickle(name, tmp_path):
    def run(cut):
        params = parameters()
        optimizer = get(name)(params)
        for t in range(6):
            if t == cut:
                torch.save(optimizer.state_dict(), tmp_path / "state.pt")
                optimizer = get(name)(params)
                optimizer.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
            for p in params:
                p.grad = torch.cos(p.detach() * (t + 1))
            optimizer.step()
        return torch.cat([p.detach().flatten() for p in params])

    assert torch.equal(run(None), run(3))


def test_groups_of_ours_and_parameters_without_a_gradient_are_fine():
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    for make in (LARS, LAMB, get("lion")):
        optimizer = make(param_groups(model, 0.1))
        model[0](torch.ones(5, 3)).sum().backward()  # the others get no gradient
        still = model[2].weight.detach().clone()
        optimizer.step()
        assert torch.equal(model[2].weight, still)


@pytest.mark.parametrize("make", [LARS, LAMB])
def test_nonsense_is_refused(make, unchecked):
    w = [torch.zeros(2, 2, requires_grad=True)]
    with pytest.raises(ValueError, match="lr must be positive, got 0"):
        make(w, lr=0)
    with pytest.raises(ValueError, match="adapt must be 'weights'"):
        make(w, adapt="bias")
    with pytest.raises(ValueError, match=r"must lie in \[0, 1\), got 1"):
        make(w, momentum=1.0) if make is LARS else make(w, betas=(0.9, 1.0))
