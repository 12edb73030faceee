"""One small recurrent cell at every place of a grid, talking to its neighbours to the end."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

__all__ = ["CellularSRN"]


class CellularSRN(nn.Module):
    r"""The same recurrent cell at each place of a grid, iterated; far places are heard in the end.

    $$a_k \leftarrow \tanh\Bigl(b_k + U_k \bigl[x,\; y_\text{up}, y_\text{down}, y_\text{left},
      y_\text{right},\; a_1 \dots a_n\bigr]^\text{before} + \sum_{j<k} V_{kj}\, a_j\Bigr),
      \qquad y = a_n$$

    A cell is a generalized perceptron: neuron after neuron, each sees what the place is given, the
    neighbours' and its own cell's last values, and the neurons before it. The result is $c\,y$ for
    each place, with one learnt scale $c$. Beyond the border is 0. As all cells share their
    weights, a network fits grids of any size; it needs as many iterations as its answers need
    steps. Recipe `maze-csrn`.

    Args:
        features: what each place is given.
        neurons: $n$, of a cell.

    Source: Ilin, Kozma & Werbos (2008), Beyond feedforward models trained by backpropagation, IEEE
    Trans. Neural Networks 19(6), arXiv:0710.4182; Pang & Werbos (1996).
    """

    def __init__(self, features: int = 2, neurons: int = 5, iterations: int = 20) -> None:
        super().__init__()
        if min(features, neurons, iterations) < 1:
            raise ValueError(
                "features, neurons and iterations must be at least 1, "
                f"got {features}, {neurons} and {iterations}"
            )
        self.features, self.neurons, self.iterations = features, neurons, iterations
        self.given = nn.Linear(features + 4 + neurons, neurons)
        self.within = nn.Parameter(torch.zeros(neurons * (neurons - 1) // 2))
        self.scale = nn.Parameter(torch.ones(()))
        nn.init.normal_(self.within, std=(features + 4 + 2 * neurons) ** -0.5)

    @classmethod
    def for_data(
        cls,
        input_shape: Sequence[int],
        outputs: int,
        categories: Sequence[int],
        neurons: int = 5,
        iterations: int = 20,
    ) -> "CellularSRN":
        """One for these grids, with an output at each place."""
        if len(input_shape) != 3 or outputs != input_shape[1] * input_shape[2] or categories:
            raise ValueError(
                "CellularSRN gives one number for each place of a grid of features, but here "
                f"{tuple(input_shape)} leads to {outputs} outputs; take MLP or LeNet5"
            )
        return cls(input_shape[0], neurons, iterations)

    def forward(
        self, x: Float[Tensor, "batch features height width"]
    ) -> Float[Tensor, "batch height width"]:
        x = x.movedim(1, -1)
        own = x.new_zeros(*x.shape[:3], self.neurons)
        for _ in range(self.iterations):
            own = self.cell(x, _neighbours(own[..., -1]), own)
        return self.scale * own[..., -1]

    def cell(self, x: Tensor, heard: Tensor, own: Tensor) -> Tensor:
        """All cells' neurons, once."""
        sums = self.given(torch.cat([x, heard, own], -1))
        new = [torch.tanh(sums[..., 0])]
        rows = self.within.split(list(range(1, self.neurons)))
        for k, row in enumerate(rows, 1):
            new.append(torch.tanh(sums[..., k] + torch.stack(new, -1) @ row))
        return torch.stack(new, -1)


def _neighbours(y: Tensor) -> Tensor:
    """What is above, below, left and right of each place."""
    wide = nn.functional.pad(y, (1, 1, 1, 1))
    return torch.stack(
        [wide[:, :-2, 1:-1], wide[:, 2:, 1:-1], wide[:, 1:-1, :-2], wide[:, 1:-1, 2:]], -1
    )
