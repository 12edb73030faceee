"""NEAT: neurons and connections are added, where that helps, to a network that starts minimal."""

import random
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from neurarium.data import Batch
from neurarium.learning.blackbox import BlackBox
from neurarium.learning.direct import Direct
from neurarium.learning.evolution import centred_ranks
from neurarium.networks.evolving import EvolvingNetwork
from neurarium.objectives import Objective

__all__ = ["NEAT"]

# A connection's two ends say where it came from, as the source's innovation numbers do: the same
# ends are the same gene in every genome. Neurons are numbered over all genomes: one that splits
# the same connection is the same neuron.
Ends = tuple[int, int]
Genome = dict[Ends, tuple[float, bool]]  # ends -> weight, whether enabled

_POWER = 2.5  # largest change of a weight
_NEW_WEIGHTS, _NEW_VALUE = 0.8, 0.1  # shares of genomes and of genes within
_STAY_DISABLED, _NO_MATE, _FOREIGN_MATE = 0.75, 0.25, 0.001
_SURVIVE, _PATIENCE, _CHAMPION_OF = 0.2, 15, 5


class NEAT(Direct):
    r"""Evolve a network's shape with its weights: from no hidden neuron, kept apart in species.

    $$\delta = c_1 \frac{E}{N} + c_2 \frac{D}{N} + c_3 \overline{|\Delta w|}, \qquad
      f_i' = \frac{f_i}{|\{j : \delta_{ij} < \delta_t\}|}$$

    It trains an `EvolvingNetwork`, which then holds the best genome so far, and starts from the
    connections that it has. Genomes whose $\delta$ is below the threshold form a species and share
    their fitness, so that new shapes have time to find their weights. $E + D$ counts the genes
    that only one of two genomes has ($c_1 = c_2$, as in the source); $N$ is 1 below 20 genes. The
    fitness $f$ is the share of genomes that are worse, so any objective will do. A crossing takes
    matching genes from either parent and the others from the fitter. All constants are those of
    the source's first experiments. Recipe `neat-xor`.

    Args:
        population: genomes of a generation.
        threshold: $\delta_t$.
        add_connection: probability that a child gets one more connection.
        add_node: probability that a connection of a child is split by a new neuron.

    Raises:
        ValueError: at `bind`, for any other module.

    Source: Stanley & Miikkulainen (2002), Evolving neural networks through augmenting topologies,
    Evolutionary Computation 10(2).
    """

    def __init__(
        self,
        population: int = 150,
        threshold: float = 3.0,
        add_connection: float = 0.05,
        add_node: float = 0.03,
    ) -> None:
        if population < 2:
            raise ValueError(f"population must be at least 2, got {population}")
        if not threshold > 0:
            raise ValueError(f"threshold must be positive, got {threshold}; it separates species")
        for name, value in (("add_connection", add_connection), ("add_node", add_node)):
            if not 0 <= value <= 1:
                raise ValueError(f"{name} is a probability, got {value}")
        self.population, self.threshold = population, threshold
        self.add_connection, self.add_node = add_connection, add_node

    def bind(self, model: nn.Module, objective: Objective) -> None:
        """The first generation: the model, and its connections with other weights."""
        if not isinstance(model, EvolvingNetwork):
            raise ValueError(
                f"NEAT changes a network's shape, which {type(model).__name__} has fixed; take "
                "neurarium.networks.EvolvingNetwork(inputs, outputs)"
            )
        self.model: EvolvingNetwork = model
        self.objective = objective
        self.box = BlackBox(model, objective, "NEAT")
        if self.box.dimension != model.weight.numel():
            raise ValueError("NEAT trains the network alone; freeze the objective's parameters")
        self.first = model.inputs + 1 + model.outputs  # the first hidden neuron's number
        self.splits: dict[tuple[int, int, int], int] = {}
        self.genomes: list[Genome] = [self.read()]
        self.species: list[dict[str, Any]] = []

    @torch.no_grad()
    def step(self, batch: Batch) -> dict[str, Tensor]:
        """Judge a generation, let the model be its best, breed the next."""
        dice = random.Random(int(torch.randint(2**62, ())))
        outputs = self.box.judge(batch)
        start = self.genomes[0]
        while len(self.genomes) < self.population:  # only at first
            new = {ends: (_any_weight(dice), on) for ends, (_, on) in start.items()}
            self.genomes.append(new)
        points = torch.stack([self.matrix(genome).flatten() for genome in self.genomes])
        losses = self.box.losses(points, batch)
        champion = int(losses.argmin())
        self.box.write(points[champion])
        self._breed(losses.tolist(), (0.5 - centred_ranks(losses)).tolist(), dice)
        best = losses[champion].to(points.dtype)
        return {**outputs, "best": best, "species": best.new_tensor(float(len(self.species)))}

    # Between genome and network

    def read(self) -> Genome:
        """The genome of the model as it is."""
        rows, columns = self.model.weight.detach().nonzero(as_tuple=True)
        given = self.model.inputs + 1
        return {
            (i, j + given): (self.model.weight[j, i].item(), True)
            for j, i in zip(rows.tolist(), columns.tolist(), strict=True)
        }

    def matrix(self, genome: Genome) -> Tensor:
        """The weights of the network that a genome describes."""
        places = {node: self.first + i for i, node in enumerate(hidden(genome, self.first))}
        result = torch.zeros_like(self.model.weight)
        enabled = [ends for ends, (_, on) in genome.items() if on]
        rows = [places.get(target, target) - self.model.inputs - 1 for _, target in enabled]
        columns = [places.get(source, source) for source, _ in enabled]
        result[rows, columns] = result.new_tensor([genome[ends][0] for ends in enabled])
        return result

    # The next generation

    def _breed(self, losses: list[float], fitness: list[float], dice: random.Random) -> None:
        groups = self._speciate(losses)
        champion = min(range(len(losses)), key=losses.__getitem__)
        for kind, group in zip(self.species, groups, strict=True):
            best = min(losses[i] for i in group)
            kind["patience"] = _PATIENCE if best < kind["best"] else kind["patience"] - 1
            kind["best"] = min(best, kind["best"])
        # The share of each species is its mean fitness: that is what sharing comes to.
        shares = [
            sum(fitness[i] for i in group) / len(group)
            if kind["patience"] > 0 or champion in group
            else 0.0
            for kind, group in zip(self.species, groups, strict=True)
        ]
        children: list[Genome] = [self.genomes[champion]]
        for group in groups:
            group.sort(key=losses.__getitem__)
            if len(group) > _CHAMPION_OF and group[0] != champion:
                children.append(self.genomes[group[0]])
        parents = [group[: max(1, round(_SURVIVE * len(group)))] for group in groups]
        del children[self.population :]
        while len(children) < self.population:
            (chosen,) = dice.choices(parents, shares)
            children.append(self._child(chosen, range(len(losses)), losses, dice))
        for kind, group in zip(self.species, groups, strict=True):
            kind["like"] = self.genomes[dice.choice(group)]
        self.genomes = children

    def _speciate(self, losses: list[float]) -> list[list[int]]:
        """Each genome to the first species that it resembles; a new one if there is none."""
        groups: list[list[int]] = [[] for _ in self.species]
        for i, genome in enumerate(self.genomes):
            for kind, group in zip(self.species, groups, strict=True):
                if distance(genome, kind["like"]) < self.threshold:
                    group.append(i)
                    break
            else:
                self.species.append({"like": genome, "best": float("inf"), "patience": _PATIENCE})
                groups.append([i])
        self.species = [kind for kind, group in zip(self.species, groups, strict=True) if group]
        return [group for group in groups if group]

    def _child(
        self, parents: list[int], everyone: range, losses: list[float], dice: random.Random
    ) -> Genome:
        first = dice.choice(parents)
        if dice.random() < _NO_MATE:
            child = dict(self.genomes[first])
        else:
            foreign = dice.random() < _FOREIGN_MATE
            second = dice.choice(everyone if foreign else parents)
            fit, other = sorted((first, second), key=lambda i: (losses[i], len(self.genomes[i])))
            child = cross(self.genomes[fit], self.genomes[other], dice)
        if dice.random() < _NEW_WEIGHTS:
            child = {ends: (_moved(w, dice), on) for ends, (w, on) in child.items()}
        if dice.random() < self.add_node:
            self._split(child, dice)
        if dice.random() < self.add_connection:
            self._connect(child, dice)
        return child

    def _split(self, genome: Genome, dice: random.Random) -> None:
        enabled = [ends for ends, (_, on) in genome.items() if on]
        there = hidden(genome, self.first)
        if not enabled or len(there) >= self.model.max_hidden:
            return
        source, target = dice.choice(enabled)
        again = 0  # a connection that was enabled again may be split again
        while self._neuron(source, target, again) in there:
            again += 1
        node = self._neuron(source, target, again)
        weight, _ = genome[source, target]
        genome[source, target] = (weight, False)
        genome[source, node] = (1.0, True)
        genome[node, target] = (weight, True)

    def _neuron(self, source: int, target: int, again: int) -> int:
        """The number of the neuron that splits this connection, the same in all genomes."""
        return self.splits.setdefault((source, target, again), self.first + len(self.splits))

    def _connect(self, genome: Genome, dice: random.Random) -> None:
        there = hidden(genome, self.first)
        given, out = range(self.model.inputs + 1), range(self.model.inputs + 1, self.first)
        free = [
            (source, target)
            for source in [*given, *there]
            for target in [*out, *there]
            if (source, target) not in genome and not leads(genome, target, source)
        ]
        if free:
            genome[dice.choice(free)] = (_any_weight(dice), True)

    # State

    def state_dict(self) -> dict[str, Any]:
        return {
            "genomes": [_listed(genome) for genome in self.genomes],
            "species": [{**kind, "like": _listed(kind["like"])} for kind in self.species],
            "splits": [[*ends, node] for ends, node in self.splits.items()],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.genomes = [_from_list(genome) for genome in state["genomes"]]
        self.species = [{**kind, "like": _from_list(kind["like"])} for kind in state["species"]]
        self.splits = {(i, j, again): node for i, j, again, node in state["splits"]}

    def __repr__(self) -> str:
        return (
            f"NEAT(population={self.population}, threshold={self.threshold}, "
            f"add_connection={self.add_connection}, add_node={self.add_node})"
        )


def distance(a: Genome, b: Genome) -> float:
    """How far two genomes are apart: genes of only one, and the weights of those of both."""
    both = a.keys() & b.keys()
    size = max(len(a), len(b))
    apart = len(a) + len(b) - 2 * len(both)
    drift = sum(abs(a[ends][0] - b[ends][0]) for ends in both) / max(1, len(both))
    return apart / (size if size >= 20 else 1) + 0.4 * drift


def cross(fit: Genome, other: Genome, dice: random.Random) -> Genome:
    """The fitter's genes; those that both have come from either, and may stay disabled."""
    child = {}
    for ends, gene in fit.items():
        match = other.get(ends, gene)
        weight, _ = dice.choice((gene, match))
        disabled = not (gene[1] and match[1]) and dice.random() < _STAY_DISABLED
        child[ends] = (weight, not disabled)
    return child


def hidden(genome: Genome, first: int) -> list[int]:
    """The hidden neurons in the order of their numbers."""
    return sorted({node for ends in genome for node in ends if node >= first})


def leads(genome: Genome, source: int, target: int) -> bool:
    """Whether there is a way between two neurons, also over what is disabled."""
    reached, new = {source}, {source}
    while new and target not in reached:
        new = {j for i, j in genome if i in new} - reached
        reached |= new
    return target in reached


def _any_weight(dice: random.Random) -> float:
    return dice.uniform(-_POWER, _POWER)


def _moved(weight: float, dice: random.Random) -> float:
    new = _any_weight(dice)
    return new if dice.random() < _NEW_VALUE else weight + new


def _listed(genome: Genome) -> list[list[float]]:
    return [[i, j, weight, on] for (i, j), (weight, on) in genome.items()]


def _from_list(genes: list[list[Any]]) -> Genome:
    return {(i, j): (weight, on) for i, j, weight, on in genes}
