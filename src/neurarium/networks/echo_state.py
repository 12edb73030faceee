"""Echo state networks: a random recurrent network that is left as it is, and read out."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from neurarium.layers.recurrent import State
from neurarium.layers.recurrent.cells import Cell
from neurarium.layers.recurrent.scan import run
from neurarium.networks._config import remember

__all__ = ["EchoState"]

Series = Float[Tensor, "batch steps inputs"]
Length = Int[Tensor, " batch"] | None


class _Reservoir(Cell):
    """Fixed random weights, of which few are not 0."""

    weight_in: Tensor
    weight: Tensor

    def __init__(self, inputs: int, size: int, leak: float) -> None:
        super().__init__(inputs, size)
        self.leak = leak
        self.register_buffer("weight_in", torch.empty(size, 1 + inputs))
        self.register_buffer("weight", torch.empty(size, size))

    @torch.no_grad()
    def draw(self, spectral_radius: float, sparsity: float, input_scale: float) -> None:
        """Weights from U(-1, 1), the recurrent ones thinned out and scaled."""
        self.weight_in.uniform_(-1, 1).mul_(input_scale)
        self.weight.uniform_(-1, 1).mul_(torch.rand_like(self.weight) >= sparsity)
        largest = torch.linalg.eigvals(self.weight.double()).abs().max()
        if not largest:
            raise ValueError(
                f"no weight of {len(self.weight)} units is left at sparsity={sparsity}; lower it"
            )
        self.weight.mul_(spectral_radius / float(largest))

    def project(self, x: Float[Tensor, "*steps features"]) -> Tensor:
        return F.linear(x, self.weight_in[:, 1:], self.weight_in[:, 0])

    def step(self, u: Tensor, state: State) -> State:
        new = torch.tanh(torch.addmm(u, state[0], self.weight.t()))
        return (torch.lerp(state[0], new, self.leak),)


class EchoState(nn.Module):
    r"""A reservoir that echoes its inputs; only what is read out of it is learnt.

    $$x_t = (1 - a)\, x_{t-1} + a \tanh\bigl(W_{in} [1; u_t] + W x_{t-1}\bigr), \qquad
      y_t = W_{out} [1; u_t; x_t]$$

    Train it by `learning.RidgeReadout`, in one pass and without a gradient, best in double
    precision. With a spectral radius below 1 the start is usually forgotten; with a largest
    singular value below 1 surely.

    Args:
        reservoir: units of $x$.
        spectral_radius: of $W$, before the leak.
        leak: $a$; 1 keeps nothing of the last state but its echo.
        sparsity: share of the weights in $W$ that are 0.
        input_scale: largest weight in $W_{in}$.

    Source: Jaeger (2001), The "echo state" approach to analysing and training recurrent neural
    networks, GMD Report 148; leaky: Jaeger, Lukosevicius, Popovici & Siewert (2007), Neural
    Networks 20(3).
    """

    reads = ("length",)

    def __init__(
        self,
        inputs: int,
        outputs: int,
        reservoir: int = 500,
        spectral_radius: float = 0.9,
        leak: float = 1.0,
        sparsity: float = 0.9,
        input_scale: float = 1.0,
    ) -> None:
        super().__init__()
        if not 0 < leak <= 1 or not 0 <= sparsity < 1:
            raise ValueError(
                f"leak must lie in (0, 1] and sparsity in [0, 1), got {leak} and {sparsity}"
            )
        remember(self, **{k: v for k, v in locals().items() if k not in ("self", "__class__")})
        self.cell = _Reservoir(inputs, reservoir, leak)
        self.cell.draw(spectral_radius, sparsity, input_scale)
        self.out = nn.Linear(1 + inputs + reservoir, outputs, bias=False)
        nn.init.zeros_(self.out.weight)

    def features(
        self, x: Series, length: Length = None, state: list[State] | None = None
    ) -> tuple[Float[Tensor, "batch steps features"], list[State]]:
        """What is read out at each step, and the state to go on from."""
        echo, state = run([self.cell], x, length, state)
        return torch.cat([torch.ones_like(x[..., :1]), x, echo], -1), state

    def unroll(
        self, x: Series, length: Length = None, state: list[State] | None = None
    ) -> tuple[Float[Tensor, "batch steps outputs"], list[State]]:
        """The answers, and the state to go on from."""
        features, state = self.features(x, length, state)
        return self.out(features), state

    def forward(self, x: Series, length: Length = None) -> Float[Tensor, "batch steps outputs"]:
        return self.unroll(x, length)[0]

    @torch.no_grad()
    def generate(self, x: Series, steps: int) -> Float[Tensor, "batch added outputs"]:
        """Run on by itself after `x`, each answer being the next input."""
        if self.out.out_features != self.cell.input_size:
            raise ValueError(
                f"to run on by itself the network must answer with its next input, got "
                f"{self.out.out_features} outputs and {self.cell.input_size} inputs"
            )
        y, state = self.unroll(x)
        answers = [y[:, -1:]]
        for _ in range(steps - 1):
            y, state = self.unroll(answers[-1], None, state)
            answers.append(y)
        return torch.cat(answers, 1)
