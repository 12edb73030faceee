"""Recurrences that are linear in the state, so that all steps are found at once."""

import math
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["LinearRecurrence", "linear_scan"]


def linear_scan(a: Tensor, b: Tensor) -> Tensor:
    r"""All states of a linear recurrence along axis 1, in $\lceil \log_2 T \rceil$ steps.

    $$h_t = a_t \odot h_{t-1} + b_t, \quad h_0 = 0; \qquad
      (a, b) \circ (a', b') = (a a',\, a' b + b')$$

    Nothing is divided, so $a$ may be 0, of any sign or complex; each doubling joins every step
    with the one `2^k` before.

    Source: Hillis & Steele (1986), Data parallel algorithms, CACM 29(12); for recurrent networks
    Martin & Cundy (2018), arXiv:1709.04057.
    """
    gap, steps = 1, a.shape[1]
    while gap < steps:
        b = torch.cat([b[:, :gap], b[:, gap:] + a[:, gap:] * b[:, :-gap]], dim=1)
        a = torch.cat([a[:, :gap], a[:, gap:] * a[:, :-gap]], dim=1)
        gap *= 2
    return b


class LinearRecurrence(nn.Module):
    r"""A layer whose state is a linear function of the state before, with gates of the input alone.

    $$h_t = a_t \odot h_{t-1} + b_t$$

    | kind | $a_t$ | $b_t$ |
    |---|---|---|
    | "mingru" | $1 - z_t$, $z = \sigma(W_z x_t)$ | $z_t \odot W x_t$ |
    | "qrnn" | $f_t = \sigma$ of a causal convolution | $(1 - f_t) \odot z_t$ |
    | "lru" | $e^{-e^\nu + i e^\theta}$ | $\sqrt{1 - \lvert a \rvert^2} \odot B x_t$ |
    | "s4d" | $\bar A = e^{\Delta A}$ | $A^{-1}(\bar A - 1) B x_t$ |

    The output is $h_t$, of "qrnn" $o_t \odot h_t$, of the last two $\mathrm{Re}(C h_t) + D x_t$.
    The last two have constant complex $a$; in "s4d" each feature has `order` states of its own,
    $A = -e^\alpha + i \beta$, at first $-\tfrac12 + i \pi n$.

    Args:
        input_size: features of a step.
        hidden_size: features of the output, and states but for "s4d".
        order: states of each feature of "s4d".
        width: steps that the convolution of "qrnn" sees.

    Source: minGRU: Feng et al. (2024), arXiv:2410.01201; QRNN: Bradbury et al. (2017),
    arXiv:1611.01576; LRU: Orvieto et al. (2023), arXiv:2303.06349; S4D: Gu et al. (2022),
    arXiv:2206.11893.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        kind: Literal["mingru", "qrnn", "lru", "s4d"] = "mingru",
        order: int = 16,
        width: int = 2,
    ) -> None:
        super().__init__()
        if kind not in ("mingru", "qrnn", "lru", "s4d"):
            raise ValueError(f"kind must be 'mingru', 'qrnn', 'lru' or 's4d', got {kind!r}")
        self.kind, self.width = kind, width
        self.input_size, self.hidden_size = input_size, hidden_size
        if kind == "mingru":
            self.inputs: nn.Module = nn.Linear(input_size, 2 * hidden_size)
        elif kind == "qrnn":
            self.inputs = nn.Conv1d(input_size, 3 * hidden_size, width)
        elif kind == "lru":
            self._start_lru(input_size, hidden_size)
        else:
            self._start_s4d(input_size, hidden_size, order)

    def _start_lru(self, inputs: int, hidden: int) -> None:
        radius = torch.empty(hidden).uniform_(0.9**2, 0.999**2).sqrt()
        self.nu = nn.Parameter(torch.log(-torch.log(radius)))
        self.theta = nn.Parameter(torch.empty(hidden).uniform_(1e-3, math.pi / 10).log())
        self.B = nn.Parameter(torch.randn(hidden, inputs, 2) / math.sqrt(2 * inputs))
        self.C = nn.Parameter(torch.randn(hidden, hidden, 2) / math.sqrt(hidden))
        self.skip = nn.Linear(inputs, hidden, bias=False)

    def _start_s4d(self, inputs: int, hidden: int, order: int) -> None:
        self.inputs = nn.Identity() if inputs == hidden else nn.Linear(inputs, hidden)
        self.alpha = nn.Parameter(torch.full((hidden, order), math.log(0.5)))
        self.beta = nn.Parameter((math.pi * torch.arange(order)).repeat(hidden, 1))
        self.step = nn.Parameter(torch.empty(hidden, 1).uniform_(math.log(1e-3), math.log(1e-1)))
        self.C = nn.Parameter(torch.randn(hidden, order, 2) / math.sqrt(2))
        self.D = nn.Parameter(torch.ones(hidden))

    def forward(
        self, x: Float[Tensor, "batch steps features"], scan: Any = linear_scan
    ) -> Float[Tensor, "batch steps hidden"]:
        """Outputs of all steps.

        Args:
            scan: what turns (a, b) into states; a loop gives the same, more slowly.
        """
        return getattr(self, f"_{self.kind}")(x, scan)

    def _mingru(self, x: Tensor, scan: Any) -> Tensor:
        z, fresh = self.inputs(x).chunk(2, dim=-1)
        return scan(torch.sigmoid(-z), torch.sigmoid(z) * fresh)

    def _qrnn(self, x: Tensor, scan: Any) -> Tensor:
        past = F.pad(x.transpose(1, 2), (self.width - 1, 0))
        z, f, o = self.inputs(past).transpose(1, 2).chunk(3, dim=-1)
        return torch.sigmoid(o) * scan(torch.sigmoid(f), torch.sigmoid(-f) * torch.tanh(z))

    def _lru(self, x: Tensor, scan: Any) -> Tensor:
        a = torch.exp(torch.complex(-self.nu.exp(), self.theta.exp()))
        b = (1 - a.abs().square()).sqrt() * (x.to(a.dtype) @ torch.view_as_complex(self.B).T)
        h = scan(a.expand_as(b), b)
        return (h @ torch.view_as_complex(self.C).T).real + self.skip(x)

    def _s4d(self, x: Tensor, scan: Any) -> Tensor:
        x = self.inputs(x)
        a, c = self.discrete()
        b = x.unsqueeze(-1).to(a.dtype)
        h = scan(a.expand(*x.shape, -1), b.expand(*x.shape, a.shape[-1]))
        return (h * c).sum(-1).real + self.D * x

    def discrete(self) -> tuple[Tensor, Tensor]:
        """Of "s4d": what a step multiplies the states by, and what they are read with, B inside."""
        A = torch.complex(-self.alpha.exp(), self.beta)
        a = torch.exp(self.step.exp() * A)
        return a, torch.view_as_complex(self.C) * (a - 1) / A

    def kernel(self, steps: int) -> Float[Tensor, "hidden steps"]:
        r"""Of "s4d": the convolution that it is, $K_t = \mathrm{Re}\, C \bar A^t \bar B$."""
        a, c = self.discrete()
        powers = a.unsqueeze(-1) ** torch.arange(steps, device=a.device)
        return (c.unsqueeze(-1) * powers).sum(1).real
