"""Programs as networks: a graph of arithmetic that evolution rewires and gradients refine."""

import math
import random
from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

__all__ = ["DCGP"]

# name -> function of the two connections, how it is written
KERNELS: dict[str, tuple[Callable[[Tensor, Tensor], Tensor], str]] = {
    "add": (torch.add, "({a} + {b})"),
    "sub": (torch.sub, "({a} - {b})"),
    "mul": (torch.mul, "({a} * {b})"),
    "div": (torch.div, "({a} / {b})"),  # not protected: a pole is an infinite loss
    "sin": (lambda a, b: torch.sin(a), "sin({a})"),
    "cos": (lambda a, b: torch.cos(a), "cos({a})"),
    "exp": (lambda a, b: torch.exp(a), "exp({a})"),
    "log": (lambda a, b: torch.log(a), "log({a})"),
}


class DCGP(nn.Module):
    r"""A formula as a graph of nodes, each a kernel of two values before it; constants are learnt.

    $$v_i = f_{k_i}(v_{a_i}, v_{b_i}), \quad a_i, b_i < i, \qquad
      (v_0, v_1, \dots) = (x_1, \dots, x_n, c_1, \dots, c_m, \dots), \qquad y_j = v_{o_j}$$

    The genes $k, a, b, o$ are integers, which `EvolveProgram` changes; the constants $c$ are
    parameters and have gradients, as do the inputs, of any order. Nodes that no output needs are
    not evaluated: they are what mutations turn to. `formula()` writes the program down, in the
    notation of Python and sympy. It starts with random genes and constants of 1.

    Args:
        nodes: places for kernels.
        constants: $m$.
        kernels: names among add, sub, mul, div, sin, cos, exp, log; the last four take the first of
            their two values.
        levels_back: how many nodes back a connection may reach; all if not given. Inputs and
            constants are always in reach.

    Source: Izzo, Biscani & Mereta (2017), Differentiable genetic programming, EuroGP,
    arXiv:1611.04766; Miller & Thomson (2000), Cartesian genetic programming, EuroGP.
    """

    genes: Tensor

    def __init__(
        self,
        inputs: int,
        outputs: int = 1,
        nodes: int = 16,
        constants: int = 0,
        kernels: Sequence[str] = ("add", "sub", "mul", "div"),
        levels_back: int | None = None,
    ) -> None:
        super().__init__()
        if min(inputs, outputs, nodes) < 1 or constants < 0:
            raise ValueError(
                "inputs, outputs and nodes must be at least 1 and constants at least 0, got "
                f"{inputs}, {outputs}, {nodes} and {constants}"
            )
        unknown = [name for name in kernels if name not in KERNELS]
        if unknown or not kernels:
            raise ValueError(f"kernels must be some of {', '.join(KERNELS)}, got {list(kernels)}")
        if levels_back is not None and levels_back < 1:
            raise ValueError(f"levels_back must be at least 1 node, got {levels_back}")
        self.inputs, self.outputs, self.nodes = inputs, outputs, nodes
        self.constants, self.kernels, self.levels_back = constants, list(kernels), levels_back
        self.c = nn.Parameter(torch.ones(constants))
        dice = random.Random(int(torch.randint(2**62, ())))
        genes = [dice.choice(self.alleles(i)) for i in range(3 * nodes + outputs)]
        self.register_buffer("genes", torch.tensor(genes))

    @classmethod
    def for_data(
        cls,
        input_shape: Sequence[int],
        outputs: int,
        categories: Sequence[int],
        nodes: int = 16,
        constants: int = 1,
        kernels: Sequence[str] = ("add", "sub", "mul", "div"),
        levels_back: int | None = None,
    ) -> "DCGP":
        """One for these inputs and outputs; codes of categories are taken as numbers."""
        return cls(math.prod(input_shape), outputs, nodes, constants, kernels, levels_back)

    @property
    def given(self) -> int:
        """Values that are there before the first node: inputs and constants."""
        return self.inputs + self.constants

    def alleles(self, gene: int) -> Sequence[int]:
        """What a gene may be: a kernel's number, or that of a value in reach."""
        node, kind = divmod(gene, 3)
        if node < self.nodes and kind == 0:
            return range(len(self.kernels))
        place = self.given + min(node, self.nodes)
        if node >= self.nodes:
            return range(place)  # an output
        first = self.given if self.levels_back is None else place - self.levels_back
        return [*range(self.given), *range(max(self.given, first), place)]

    def active(self, genes: Int[Tensor, " genes"] | None = None) -> list[int]:
        """The nodes that some output needs, in order."""
        found: list[int] = (self.genes if genes is None else genes).tolist()
        needed = set(found[3 * self.nodes :])
        for node in reversed(range(self.nodes)):
            if self.given + node in needed:
                needed.update(found[3 * node + 1 : 3 * node + 3])
        return [node for node in range(self.nodes) if self.given + node in needed]

    def mutated(self, changes: int, dice: random.Random) -> Tensor:
        """A copy of the genes in which this many of those that count are others."""
        genes: list[int] = self.genes.tolist()
        counting = [3 * node + kind for node in self.active() for kind in range(3)]
        counting += range(3 * self.nodes, len(genes))
        free = [gene for gene in counting if len(self.alleles(gene)) > 1]
        for gene in dice.sample(free, min(changes, len(free))):
            genes[gene] = dice.choice([v for v in self.alleles(gene) if v != genes[gene]])
        return torch.tensor(genes, device=self.genes.device)

    def forward(self, x: Float[Tensor, "batch ..."]) -> Float[Tensor, "batch outputs"]:
        x = x.flatten(1)
        constants = [c.expand(len(x)) for c in self.c]
        return torch.stack(self._run([*x.unbind(1), *constants], self._evaluate), 1)

    def formula(self, names: Sequence[str] = (), digits: int = 9) -> list[str]:
        """Each output as a formula of x0, x1, ... or of these names."""
        inputs = list(names) or [f"x{i}" for i in range(self.inputs)]
        if len(inputs) != self.inputs:
            raise ValueError(f"names must be {self.inputs}, one for each input, got {list(names)}")
        constants = [f"({c:.{digits}g})" for c in self.c.tolist()]
        return self._run([*inputs, *constants], self._write)

    def _run(self, values: list[Any], node: Callable[[str, Any, Any], Any]) -> list[Any]:
        genes: list[int] = self.genes.tolist()
        place = dict(enumerate(values))
        for i in self.active():
            kernel, a, b = genes[3 * i : 3 * i + 3]
            place[self.given + i] = node(self.kernels[kernel], place[a], place[b])
        return [place[output] for output in genes[3 * self.nodes :]]

    @staticmethod
    def _evaluate(kernel: str, a: Tensor, b: Tensor) -> Tensor:
        return KERNELS[kernel][0](a, b)

    @staticmethod
    def _write(kernel: str, a: str, b: str) -> str:
        return KERNELS[kernel][1].format(a=a, b=b)
