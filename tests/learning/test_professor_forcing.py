import copy

import pytest
import torch

from neurarium.learning import Backprop, ProfessorForcing
from neurarium.networks import SequenceGenerator
from neurarium.objectives import per_step


def network():
    torch.manual_seed(0)
    return SequenceGenerator(2, 3, 5, cell="gru", hidden=6, classes=True)


def batch(rows=8):
    generator = torch.Generator().manual_seed(0)
    target = torch.randint(3, (rows, 5), generator=generator)
    return {"input": torch.randn(rows, 2, generator=generator), "target": target}


def bound(model, **options):
    torch.manual_seed(1)
    rule = ProfessorForcing("sgd", lr=0.1, critic=4, **options)
    rule.bind(model, per_step())
    return rule


def weights(model):
    return [p.detach().clone() for p in model.parameters()]


def test_without_weight_it_is_teacher_forcing():
    ours, theirs, data = network(), network(), batch()
    rule, plain = bound(ours, weight=0.0), Backprop("sgd", lr=0.1)
    plain.bind(theirs, per_step())
    for _ in range(4):
        rule.step(data)
        plain.step(data)
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b)
    assert ours.forcing == 1.0


class Says(torch.nn.Module):
    """A critic of our own: a fixed linear view of the last state, offset by who is asked."""

    def __init__(self, sign):
        super().__init__()
        self.view, self.sign, self.calls = torch.nn.Linear(6, 1), sign, 0

    def forward(self, states):
        seen = self.view(states[:, -1]).squeeze(1)
        if len(states) == 16:  # both kinds: right in all cases, or in none
            return torch.cat([torch.ones(8), -torch.ones(8)]) * self.sign + 0 * seen
        return seen


def test_a_critic_that_knows_moves_the_free_states_and_one_that_guesses_does_not():
    data = batch()
    for sign, listens in ((1.0, True), (-1.0, False)):
        model = network()
        rule = bound(model, weight=0.7)
        rule.critic = critic = Says(sign)
        rule.critic_optimizer = torch.optim.SGD(critic.parameters(), 0.0)
        told = rule.estimate(data)
        found = [p.grad.clone() for p in model.parameters()]
        assert told["critic"].item() == float(listens)
        assert all(p.grad is None or not p.grad.any() for p in critic.parameters())
        model.zero_grad()
        loss = per_step()(model, data)
        if listens:
            model.forcing, states = 0.0, []
            hook = model.out.register_forward_pre_hook(lambda _, x, s=states: s.append(x[0]))
            model(data["input"])
            hook.remove()
            loss = loss + 0.7 * -critic.view(states[-1]).sigmoid().log().mean()
        loss.backward()
        for gradient, parameter in zip(found, model.parameters(), strict=True):
            torch.testing.assert_close(gradient, parameter.grad)


def test_the_critic_learns_to_tell_the_two_apart_and_the_model_does_not_move_for_it():
    model, data = network(), batch(64)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3)
    rule = bound(model, weight=0.0, critic_lr=0.02)
    rule.descent.set_lr(0.0)
    before = weights(model)
    rights = [float(rule.step(data)["critic"]) for _ in range(60)]
    assert rights[-1] > 0.8
    assert rights[-1] > rights[0] + 0.2
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


def test_a_checkpoint_keeps_the_critic():
    data = batch()
    model = network()
    rule = bound(model)
    rule.step(data)
    kept, there = copy.deepcopy(rule.state_dict()), model.state_dict()
    other = network()
    other.load_state_dict({n: v.clone() for n, v in there.items()})
    again = bound(other)
    again.load_state_dict(kept)
    rule.step(data)
    again.step(data)
    for a, b in zip(weights(model), weights(other), strict=True):
        assert torch.equal(a, b)
    for a, b in zip(rule.critic.parameters(), again.critic.parameters(), strict=True):
        assert torch.equal(a, b)


def test_what_has_no_forcing_is_refused(unchecked):
    with pytest.raises(ValueError, match=r"decoder with `forcing` .* Linear is none"):
        bound(torch.nn.Linear(2, 2))
    with pytest.raises(ValueError, match="weight must be at least 0, got -1"):
        ProfessorForcing(weight=-1)
