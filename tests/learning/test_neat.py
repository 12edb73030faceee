"""NEAT: genes, species, and shapes that grow."""

import copy
import random

import pytest
import torch
from torch import nn

from neurarium.learning.neat import NEAT, _moved, cross, distance, leads
from neurarium.learning.rule import Rule
from neurarium.losses import AdaptiveRobust
from neurarium.networks.evolving import EvolvingNetwork
from neurarium.objectives import supervised

XOR = {
    "input": torch.tensor([[0.0, 0], [0, 1], [1, 0], [1, 1]]),
    "target": torch.tensor([0.0, 1, 1, 0]),
}


def bound(seed=0, max_hidden=16, **arguments):
    torch.manual_seed(seed)
    model = EvolvingNetwork(2, 1, max_hidden)
    rule = NEAT(**arguments)
    rule.bind(model, supervised("mse"))
    return rule


def solves(model):
    return bool(((model(XOR["input"])[:, 0] > 0.5) == (XOR["target"] > 0.5)).all())


def test_exclusive_or_is_solved_by_growing():
    # Without hidden neurons it has no solution.
    rule = bound(seed=4)
    for _ in range(60):
        rule.step(XOR)
        if solves(rule.model):
            break
    assert solves(rule.model)
    assert any(node >= rule.first for ends in rule.read() for node in ends)


def test_the_best_never_gets_worse_on_one_batch_and_is_the_model():
    rule = bound()
    steps = [rule.step(XOR) for _ in range(15)]
    losses = [step["loss"].item() for step in steps]
    assert losses == sorted(losses, reverse=True)
    for step, then in zip(steps, losses[1:], strict=False):
        assert step["best"].item() == pytest.approx(then, rel=1e-5)
    assert steps[-1]["species"] > 1
    assert len(rule.genomes) == 150


def test_the_better_species_has_the_more_children():
    # Two species of 30; all genomes of the first (output 1/2, loss 1/4) are ahead of those of the
    # second (output 1, loss 1/2), so the mean shares of worse genomes are 3/4 and 1/4.
    rule = bound(population=60, add_node=0.0, add_connection=0.0)
    good = {(2, 3): (0.0, True)}
    bad = {ends: (5.0, True) for ends in ((0, 3), (2, 3), (0, 4), (2, 4), (4, 3))}
    rule.genomes = [dict(good) for _ in range(30)] + [dict(bad) for _ in range(30)]
    assert rule.step(XOR)["species"] == 2
    assert 38 <= sum(genome.keys() == good.keys() for genome in rule.genomes) <= 52


def test_all_genomes_stay_acyclic_and_within_their_place():
    rule = bound(max_hidden=2, add_node=0.5, add_connection=0.5)
    for _ in range(8):
        rule.step(XOR)
    sizes = set()
    for genome in rule.genomes:
        sizes.add(sum(node >= rule.first for node in {n for ends in genome for n in ends}))
        for source, target in genome:
            assert not leads(genome, target, source)
            assert target > 2  # nothing leads into inputs and bias
            assert source != 3  # nor out of the output
    assert max(sizes) == 2


def test_network_and_genome_are_one():
    rule = bound(max_hidden=3)
    genome = {(0, 3): (1.5, True), (2, 7): (0.5, True), (7, 3): (2.0, True), (1, 3): (9.0, False)}
    rule.box.write(rule.matrix(genome).flatten())
    # Neuron 7 has the first place of a hidden neuron; what is disabled is not there.
    assert rule.read() == {(0, 3): (1.5, True), (4, 3): (2.0, True), (2, 4): (0.5, True)}
    assert rule.model.weight[1, 2] == 0.5


def test_a_split_connection_passes_on_what_it_passed():
    rule = bound()
    genome = {(0, 3): (1.5, True)}
    rule._split(genome, random.Random(0))
    assert genome == {(0, 3): (1.5, False), (0, 4): (1.0, True), (4, 3): (1.5, True)}
    elsewhere = {(0, 3): (-2.0, True), (1, 3): (1.0, False)}
    rule._split(elsewhere, random.Random(1))
    assert (0, 4) in elsewhere  # the same neuron in another genome
    genome[0, 3] = (1.5, True)
    genome[0, 4] = genome[4, 3] = (1.0, False)
    rule._split(genome, random.Random(2))
    assert (0, 5) in genome  # and another where it is split again


def test_distance_by_hand():
    a = {(0, 3): (1.0, True), (1, 3): (2.0, True), (0, 4): (0.0, True)}
    b = {(0, 3): (3.0, True), (1, 3): (2.5, False), (2, 3): (7.0, True), (2, 4): (7.0, True)}
    # Three genes of only one; of both, weights 2 and 0.5 apart on two genes.
    assert distance(a, b) == distance(b, a) == pytest.approx(3 + 0.4 * 1.25)
    many = {(i, 99): (0.0, True) for i in range(40)}
    assert distance(many, {(0, 99): (0.0, True)}) == pytest.approx(39 / 40)


def test_a_crossing_has_the_fitters_shape_and_weights_of_both():
    fit = {(0, 3): (1.0, True), (1, 3): (2.0, False), (0, 4): (3.0, True), (4, 3): (1.0, True)}
    other = {(0, 3): (-1.0, True), (1, 3): (-2.0, True), (2, 3): (9.0, True), (4, 3): (1.0, False)}
    children = [cross(fit, other, random.Random(seed)) for seed in range(400)]
    assert all(child.keys() == fit.keys() for child in children)
    assert {child[0, 3][0] for child in children} == {1.0, -1.0}
    assert all(child[0, 4] == (3.0, True) and child[0, 3][1] for child in children)
    for ends in ((1, 3), (4, 3)):  # disabled in either parent
        disabled = sum(not child[ends][1] for child in children) / 400
        assert disabled == pytest.approx(0.75, abs=0.07)


@pytest.mark.parametrize("losses", [[2.0, 1.0], [1.0, 1.0]])
def test_a_child_has_the_shape_of_the_fitter_or_else_of_the_smaller_parent(losses):
    # Both are drawn alike. A quarter do not cross and have either's shape; of the crossings three
    # in four have the second for a parent: 1/8 + 3/4 * 3/4.
    rule = bound(add_node=0.0, add_connection=0.0)
    rule.genomes = [{(0, 3): (1.0, True), (1, 3): (1.0, True)}, {(0, 3): (1.0, True)}]
    dice = [random.Random(seed) for seed in range(1000)]
    children = [rule._child([0, 1], range(2), losses, one) for one in dice]
    seconds = sum(child.keys() == rule.genomes[1].keys() for child in children)
    assert seconds / 1000 == pytest.approx(1 / 8 + 9 / 16, abs=0.05)


def test_a_weight_moves_a_little_nine_times_of_ten():
    dice = random.Random(0)
    moved = [_moved(100.0, dice) for _ in range(1000)]
    near = [weight for weight in moved if weight > 50]
    assert len(near) / 1000 == pytest.approx(0.9, abs=0.03)
    assert all(abs(weight - 100) <= 2.5 for weight in near)
    assert all(abs(weight) <= 2.5 for weight in moved if weight not in near)


def test_parents_are_the_best_fifth_of_their_species():
    rule = bound(population=10, threshold=100.0)
    rule.step(XOR)
    chosen = []
    rule._child = lambda parents, *others: chosen.append(parents) or rule.genomes[0]
    losses = [float(10 - i) for i in range(10)]
    rule._breed(losses, [i / 9 for i in range(10)], random.Random(0))
    assert chosen
    assert all(parents == [9, 8] for parents in chosen)


def test_a_species_that_does_not_improve_has_no_children():
    rule = bound(threshold=0.5)
    rule.step(XOR)
    losses = [1.0] * 150
    groups = rule._speciate(losses)
    champion = groups[1][0]
    losses[champion] = 0.5
    stale = rule.species[0]
    stale["patience"], stale["best"] = 1, -1.0  # which no member can beat
    drawn = []

    class Dice(random.Random):
        def choices(self, population, weights):
            drawn.append(weights[0])
            return super().choices(population, weights)

    rule._breed(losses, [1.5 - loss for loss in losses], Dice(0))
    assert set(drawn) == {0.0}
    assert stale["patience"] == 0


def test_it_resumes_exactly():
    rule = bound(population=30, add_node=0.2)
    assert isinstance(rule, Rule)
    for _ in range(8):
        rule.step(XOR)
    saved = copy.deepcopy((rule.state_dict(), rule.model.state_dict(), torch.get_rng_state()))
    for _ in range(8):
        last = rule.step(XOR)
    again = bound(population=30, add_node=0.2)
    again.load_state_dict(saved[0])
    again.model.load_state_dict(saved[1])
    torch.set_rng_state(saved[2])
    for _ in range(8):
        repeated = again.step(XOR)
    assert repeated == last
    assert again.state_dict() == rule.state_dict()
    assert torch.equal(again.model.weight, rule.model.weight)


def test_a_trial_step_leaves_no_trace():
    rule = bound(population=20)
    rule.step(XOR)
    before = copy.deepcopy((rule.state_dict(), rule.model.weight))
    assert set(rule.alignment(XOR)) == {""}
    assert rule.state_dict() == before[0]
    assert torch.equal(rule.model.weight, before[1])


def test_wrong_use_is_named():
    with pytest.raises(ValueError, match=r"which Linear has fixed; take .*EvolvingNetwork"):
        NEAT().bind(nn.Linear(2, 1), supervised("mse"))
    with pytest.raises(ValueError, match="freeze the objective's parameters"):
        NEAT().bind(EvolvingNetwork(2, 1), supervised(AdaptiveRobust()))
    for arguments, message in (
        ({"population": 1}, "at least 2, got 1"),
        ({"threshold": 0}, "threshold must be positive"),
        ({"add_node": 2}, "add_node is a probability, got 2"),
    ):
        with pytest.raises(ValueError, match=message):
            NEAT(**arguments)
