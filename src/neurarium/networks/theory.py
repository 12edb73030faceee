"""What recurrent networks can compute at all: stacks in a number, a machine in fixed weights.

These are constructions, about precision. They say nothing of what can be learnt.
"""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

__all__ = ["ExactStack", "SiegelmannSontag"]

Read = Literal[0, 1] | None
Move = Literal[0, 1, "pop", "keep"]
Rules = Mapping[tuple[str, tuple[Read, ...]], tuple[str, tuple[Move, ...]]]
Matrix = list[list[Fraction]]

_MOVES: tuple[Move, ...] = ("keep", 0, 1, "pop")


class ExactStack:
    r"""A stack of bits in one number, pushed and popped by a saturated linear unit.

    $$q = \sum_i \frac{2 w_i + 1}{4^i}, \quad \text{top} = \sigma(4q - 2), \quad
      \text{nonempty} = \sigma(4q), \quad \text{push } w: \tfrac q4 + \tfrac{2w + 1}{4}, \quad
      \text{pop}: \sigma(4q - 2\,\text{top} - 1)$$

    with $\sigma(x) = \min(1, \max(0, x))$ and the top $w_1$. The values lie in Cantor's set of
    quarters, so tops are told apart exactly. Fractions go to any depth; a float64 is exact to 26
    bits, and is rounded from the 27th on.

    Args:
        q: the number to begin with: `Fraction(0)`, or `0.0` to see where precision ends.

    Source: Siegelmann & Sontag (1995), On the computational power of neural nets, J. Computer and
    System Sciences 50(1).
    """

    def __init__(self, q: Any = Fraction(0)) -> None:
        self.q = q

    @property
    def top(self) -> int:
        """The last bit pushed; 0 of an empty stack."""
        return int(_saturated(4 * self.q - 2))

    @property
    def nonempty(self) -> int:
        """Whether there is one."""
        return int(_saturated(4 * self.q))

    def push(self, bit: int) -> None:
        """Lay a bit on top."""
        self.q = self.q / 4 + type(self.q)(2 * bit + 1) / 4

    def pop(self) -> None:
        """Take the top away; an empty stack stays so."""
        self.q = _saturated(4 * self.q - 2 * self.top - 1)


def _saturated(x: Any) -> Any:
    return min(type(x)(1), max(type(x)(0), x))


class SiegelmannSontag(nn.Module):
    r"""Any machine with stacks, thus any Turing machine, as a network of saturated linear units.

    $$x \leftarrow \sigma(W_4\, \sigma(W_3\, \sigma(W_2\, \sigma(W_1 x + b_1) + b_2) + b_3) + b_4),
      \qquad x = (s, q), \quad \sigma(x) = \min(1, \max(0, x))$$

    $s$ is the control state as a one-hot vector, $q$ one number for each stack (`ExactStack`). In
    four layers, whatever the machine: what the stacks show; which rule applies, one unit each; all
    that might become of each stack, let through where a rule says so; the next state. Where no rule
    applies $s$ becomes 0: the machine has stopped. All weights are rational.

    Args:
        rules: from a state and what each stack shows (0, 1 or None, empty) to the next state and
            what each stack does: 0 or 1 is pushed, "pop", "keep".
        start: the first state.

    Source: Siegelmann & Sontag (1995), J. Computer and System Sciences 50(1).
    """

    def __init__(self, rules: Rules, start: str) -> None:
        super().__init__()
        if len(widths := {len(part) for r, m in rules.items() for part in (r[1], m[1])}) != 1:
            raise ValueError(f"every rule must name all stacks, got {sorted(widths)} of them")
        self.stacks, self.rules = widths.pop(), dict(rules)
        names = dict.fromkeys([start, *(n for r, m in rules.items() for n in (r[0], m[0]))])
        self.states = list(names)
        self.layers = self._layers()
        for number, (W, b) in enumerate(self.layers):
            for name, value in ((f"W{number}", W), (f"b{number}", b)):
                self.register_buffer(name, torch.tensor(_floats(value), dtype=torch.float64))

    def _layers(self) -> list[tuple[Matrix, list[Fraction]]]:
        S, P, R = len(self.states), self.stacks, len(self.rules)
        s, q = range(S), range(S, S + P)
        # 1: states, stacks, tops, whether they hold anything.
        show = _Layer(S + P)
        for i in (*s, *q):
            show.unit({i: 1})
        for i in q:
            show.unit({i: 4}, -2)
        for i in q:
            show.unit({i: 4})
        top, full = range(S + P, S + 2 * P), range(S + 2 * P, S + 3 * P)
        # 2: rules, each an AND of the state and of what P stacks show; stacks, tops.
        choose = _Layer(S + 3 * P)
        for state, reads in self.rules:
            terms, constant = {self.states.index(state): 1}, -P
            for i, read in enumerate(reads):
                if read is None:
                    terms[full[i]], constant = -1, constant + 1
                elif read == 1:
                    terms[top[i]] = 1
                else:
                    terms[full[i]], terms[top[i]] = 1, -1
            choose.unit(terms, constant)
        for i in (*q, *top):
            choose.unit({i: 1})
        # 3: the next states; of each stack all moves, of which the rule lets one through.
        move = _Layer(R + 2 * P)
        for name in self.states:
            move.unit({r: 1 for r, (new, _) in enumerate(self.rules.values()) if new == name})
        quarter = Fraction(1, 4)
        for i in range(P):
            became: dict[Move, tuple[dict[int, Any], Any]] = {
                "keep": ({R + i: 1}, 0),
                0: ({R + i: quarter}, quarter),
                1: ({R + i: quarter}, 3 * quarter),
                "pop": ({R + i: 4, R + P + i: -2}, -1),
            }
            for kind in _MOVES:
                terms, constant = became[kind]
                moved = (m[i] for _, m in self.rules.values())
                gate = {r: 1 for r, m in enumerate(moved) if m == kind and type(m) is type(kind)}
                move.unit({**terms, **gate}, constant - 1)
        # 4: states, and of each stack the one move that was let through.
        settle = _Layer(S + len(_MOVES) * P)
        for i in s:
            settle.unit({i: 1})
        for i in range(P):
            settle.unit({S + len(_MOVES) * i + k: 1 for k in range(len(_MOVES))})
        return [(part.W, part.b) for part in (show, choose, move, settle)]

    def begin(self, *contents: Sequence[int]) -> list[Fraction]:
        """The start state, with these bits on the stacks, the first on top."""
        stacks = []
        for bits in contents:
            stack = ExactStack()
            for bit in reversed(bits):
                stack.push(bit)
            stacks.append(stack.q)
        stacks += [Fraction(0)] * (self.stacks - len(stacks))
        return [Fraction(1), *[Fraction(0)] * (len(self.states) - 1), *stacks]

    def exact(self, x: list[Fraction]) -> list[Fraction]:
        """One step of the machine in exact arithmetic."""
        for W, b in self.layers:
            sums = [sum(w * v for w, v in zip(row, x, strict=True) if w) for row in W]
            x = [_saturated(Fraction(total + c)) for total, c in zip(sums, b, strict=True)]
        return x

    def forward(self, x: Float[Tensor, "*batch units"]) -> Float[Tensor, "*batch units"]:
        """One step of the machine in double precision, exact while no stack exceeds 26 bits."""
        for number in range(len(self.layers)):
            W, b = getattr(self, f"W{number}"), getattr(self, f"b{number}")
            x = nn.functional.linear(x, W, b).clamp(0, 1)
        return x

    def read(self, x: Sequence[Any]) -> tuple[str | None, list[list[int]]]:
        """The control state, None where it has stopped, and the stacks' bits from the top."""
        on = [name for name, value in zip(self.states, x, strict=False) if value == 1]
        stacks = []
        for q in x[len(self.states) :]:
            stack, bits = ExactStack(q), []
            while stack.nonempty:
                bits.append(stack.top)
                stack.pop()
            stacks.append(bits)
        return (on[0] if on else None), stacks


class _Layer:
    """Weights, unit by unit."""

    def __init__(self, inputs: int) -> None:
        self.inputs = inputs
        self.W: Matrix = []
        self.b: list[Fraction] = []

    def unit(self, terms: Mapping[int, Any], constant: Any = 0) -> None:
        """A sum of some inputs."""
        row = [Fraction(0)] * self.inputs
        for i, weight in terms.items():
            row[i] = Fraction(weight)
        self.W.append(row)
        self.b.append(Fraction(constant))


def _floats(values: Any) -> Any:
    return [_floats(v) if isinstance(v, list) else float(v) for v in values]
