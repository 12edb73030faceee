"""Tasks made to order: what a network has to remember, and for how long, is known.

Each returns a split, a mapping of tensors: `Data(adding(10_000), test=adding(1_000, seed=1))`.
"""

import torch
from torch import Tensor

__all__ = [
    "adding",
    "anbn",
    "arithmetic",
    "copy_memory",
    "dyck",
    "mackey_glass",
    "parity",
    "planted_lag",
    "temporal_order",
]

Split = dict[str, Tensor]


def adding(rows: int, length: int = 100, seed: int = 0) -> Split:
    r"""Two numbers of a sequence are marked; their sum is wanted.

    $$x_t = (u_t, m_t), \quad u_t \sim U(0, 1), \quad m_i = m_j = 1, \qquad y = u_i + u_j$$

    One mark lies in each half. Predicting always 1 has a mean squared error of 1/6.

    Source: Hochreiter & Schmidhuber (1997), Neural Computation 9(8), task 4; in this form Le,
    Jaitly & Hinton (2015), arXiv:1504.00941.
    """
    draw = _generator(seed, length, least=2)
    values = torch.rand(rows, length, generator=draw)
    marks = torch.zeros(rows, length)
    half = length // 2
    marks.scatter_(1, torch.randint(half, (rows, 1), generator=draw), 1)
    marks.scatter_(1, torch.randint(half, length, (rows, 1), generator=draw), 1)
    return {"input": torch.stack([values, marks], dim=2), "target": (values * marks).sum(1)}


def copy_memory(
    rows: int, delay: int = 100, symbols: int = 8, items: int = 10, seed: int = 0
) -> Split:
    r"""Some symbols, a long wait, a sign; then the symbols are wanted again.

    $$x = (s_1, \dots, s_n, \underbrace{\_, \dots, \_}_{T - 1}, !, \underbrace{\_, \dots, \_}_n),
      \qquad y = (\_, \dots, \_, s_1, \dots, s_n)$$

    Symbols are 0 to `symbols` - 1, the blank `symbols`, the sign `symbols` + 1. Without memory the
    cross-entropy per step is at best $n \ln k / (T + 2n)$.

    Source: Hochreiter & Schmidhuber (1997), Neural Computation 9(8); in this form Arjovsky, Shah &
    Bengio (2016), arXiv:1511.06464.
    """
    draw = _generator(seed, delay, least=1)
    content = torch.randint(symbols, (rows, items), generator=draw)
    inputs = torch.full((rows, delay + 2 * items), symbols)
    inputs[:, :items], inputs[:, items + delay - 1] = content, symbols + 1
    target = torch.full_like(inputs, symbols)
    target[:, -items:] = content
    return {"input": inputs, "target": target}


def temporal_order(rows: int, length: int = 100, seed: int = 0) -> Split:
    r"""Which of two symbols came first, and which second, among distractors?

    $$x_t \in \{a, b, c, d\}, \quad x_i, x_j \in \{A, B\}, \quad
      i \in [\tfrac{T}{10}, \tfrac{2T}{10}], \; j \in [\tfrac{4T}{10}, \tfrac{5T}{10}], \qquad
      y = (x_i, x_j)$$

    A and B are 0 and 1, distractors 2 to 5, all one-hot; the four classes are AA, AB, BA, BB.

    Source: Hochreiter & Schmidhuber (1997), Neural Computation 9(8), task 6a; in this form Pascanu,
    Mikolov & Bengio (2013), arXiv:1211.5063, section 4.1.
    """
    draw = _generator(seed, length, least=10)
    x = torch.randint(2, 6, (rows, length), generator=draw)
    y = torch.zeros(rows, dtype=torch.long)
    for low, high in ((0.1, 0.2), (0.4, 0.5)):
        place = torch.randint(int(low * length), int(high * length) + 1, (rows, 1), generator=draw)
        symbol = torch.randint(2, (rows, 1), generator=draw)
        x.scatter_(1, place, symbol)
        y = 2 * y + symbol.squeeze(1)
    return {"input": torch.nn.functional.one_hot(x, 6).float(), "target": y}


def parity(rows: int, length: int = 16, seed: int = 0) -> Split:
    r"""Is the number of ones so far odd? One flipped bit flips every answer after it.

    $$y_t = x_1 \oplus \dots \oplus x_t$$

    Source: Minsky & Papert (1969), Perceptrons, chapter 3; over time: Hochreiter & Schmidhuber
    (1997), Neural Computation 9(8).
    """
    draw = _generator(seed, length, least=1)
    bits = torch.randint(2, (rows, length), generator=draw)
    return {"input": bits, "target": bits.cumsum(1) % 2}


def planted_lag(rows: int, length: int = 64, lag: int = 8, seed: int = 0) -> Split:
    r"""Random bits; the answer at each step is the bit some steps ago, 0 before there is one.

    $$y_t = x_{t - \ell}$$

    Source: Jaeger (2001), Short term memory in echo state networks, GMD report 152.
    """
    draw = _generator(seed, length, least=lag + 1)
    bits = torch.randint(2, (rows, length), generator=draw)
    return {"input": bits, "target": torch.nn.functional.pad(bits[:, :-lag], (lag, 0))}


def arithmetic(rows: int, digits: int = 3, seed: int = 0) -> Split:
    r"""Add two printed numbers, character by character.

    $$p(x_{t+1} \mid x_{\le t}) \text{ wherever } x_{t+1} \text{ belongs to the sum}$$

    A row reads `37+504=541.` in codes: 0 to 9, + as 10, = as 11 and the full stop as 12; the
    target is the next character, -100 where it cannot be known. Beyond `length` are full stops.

    Source: Jozefowicz, Zaremba & Sutskever (2015), An empirical exploration of recurrent network
    architectures, ICML, PMLR 37, section 3.
    """
    draw = _generator(seed, digits, least=1)
    sizes = torch.randint(1, digits + 1, (rows, 2), generator=draw)
    numbers = (torch.rand(rows, 2, generator=draw) * 10.0**sizes).long()
    steps = 2 * digits + 1 + digits + 2
    inputs, target = torch.full((rows, steps), 12), torch.full((rows, steps), -100)
    length = torch.zeros(rows, dtype=torch.long)
    for row, (a, b) in enumerate(numbers.tolist()):
        text = f"{a}+{b}={a + b}."
        codes = torch.tensor(["0123456789+=.".index(character) for character in text])
        known = text.index("=")
        n = length[row] = len(text) - 1
        inputs[row, :n], target[row, known:n] = codes[:-1], codes[known + 1 :]
    return {"input": inputs, "target": target, "length": length}


def anbn(rows: int, low: int = 1, high: int = 50, letters: int = 2, seed: int = 0) -> Split:
    r"""A word $a^n b^n$ (or $a^n b^n c^n$): predict what comes next, once that is certain.

    $$a^n b^n\!: \quad \text{after the first } b \text{ all that follows is known}$$

    Letters are 0, 1, ..., the end is `letters`; the target is the next one, -100 while another
    letter of the first kind could still follow. To be right at every other step takes a counter.

    Args:
        low: smallest n.
        high: largest n.
        letters: kinds of letters, 3 for $a^n b^n c^n$.

    Source: Gers & Schmidhuber (2001), LSTM recurrent networks learn simple context-free and
    context-sensitive languages, IEEE Trans. Neural Networks 12(6); counted by Weiss, Goldberg &
    Yahav (2018), arXiv:1805.04908.
    """
    draw = _generator(seed, low, least=1)
    n = torch.randint(low, high + 1, (rows, 1), generator=draw)
    t = torch.arange(letters * high)
    word = torch.where(t < letters * n, t // n, letters)
    following = torch.where(t + 1 < letters * n, (t + 1) // n, letters)
    return {
        "input": word,
        "target": torch.where(t < n, -100, following).masked_fill(t >= letters * n, -100),
        "length": letters * n.squeeze(1),
    }


def dyck(rows: int, length: int = 32, kinds: int = 2, seed: int = 0) -> Split:
    r"""Brackets of several kinds, all closed in the end: which bracket would close now?

    $$S \to \varepsilon \mid S\, (_i\, S\, )_i, \qquad y_t = \text{the kind open on top, or } k$$

    Opening brackets are 0 to k - 1, closing ones k to 2k - 1; the target is the kind of the
    innermost open bracket after each step, `kinds` where none is open.

    Args:
        length: steps, an even number.
        kinds: k.

    Source: Chomsky & Schützenberger (1963), The algebraic theory of context-free languages; as a
    task: Suzgun et al. (2019), arXiv:1911.03329.
    """
    draw = _generator(seed, length, least=2)
    if length % 2:
        raise ValueError(f"length must be even, got {length}: every bracket has its partner")
    coins, names = (
        torch.rand(rows, length, generator=draw),
        torch.randint(kinds, (rows, length), generator=draw),
    )
    inputs, target = (torch.zeros(rows, length, dtype=torch.long) for _ in range(2))
    for row in range(rows):
        stack: list[int] = []
        for t in range(length):
            full = len(stack) == length - t
            if stack and (full or coins[row, t] < 0.5):
                inputs[row, t] = kinds + stack.pop()
            else:
                stack.append(int(names[row, t]))
                inputs[row, t] = stack[-1]
            target[row, t] = stack[-1] if stack else kinds
    return {"input": inputs, "target": target}


def mackey_glass(steps: int, tau: int = 17, seed: int = 0) -> Split:
    r"""A chaotic series whose rate depends on its value some time ago; the next value is wanted.

    $$\dot x = \frac{0.2\, x(t - \tau)}{1 + x(t - \tau)^{10}} - 0.1\, x(t)$$

    One row, squeezed to $\tanh(x - 1)$, after 1,000 steps in which the random start is forgotten;
    integrated by the midpoint rule in tenths of a step, in double precision.

    Args:
        steps: length of input and target.
        tau: the delay; from 17 on the series is chaotic.

    Source: Mackey & Glass (1977), Oscillation and chaos in physiological control systems, Science
    197; squeezed as by Jaeger & Haas (2004), Science 304.
    """
    parts, washout = 10, 1000
    draw = _generator(seed, steps, least=1)
    start = 1.2 + 0.2 * (torch.rand(tau * parts + 1, generator=draw, dtype=torch.float64) - 0.5)
    x = start.tolist()
    delay, h = tau * parts, 1 / parts

    def grown(now: float, then: float) -> float:
        return 0.2 * then / (1 + then**10) - 0.1 * now

    for _ in range((washout + steps + 1) * parts):
        then, soon = x[-delay - 1], x[-delay]
        middle = x[-1] + h / 2 * grown(x[-1], then)
        x.append(x[-1] + h * grown(middle, (then + soon) / 2))
    series = torch.tanh(torch.tensor(x[-(steps + 1) * parts :: parts], dtype=torch.float64) - 1)
    return {"input": series[None, :-1, None], "target": series[None, 1:, None]}


def _generator(seed: int, size: int, least: int) -> torch.Generator:
    if size < least:
        raise ValueError(f"the sequences must have at least {least} steps, got {size}")
    return torch.Generator().manual_seed(seed)
