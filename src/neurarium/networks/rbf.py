"""The radial basis function network: local units and a linear layer."""

import math
from collections.abc import Sequence
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from neurarium.layers import RBF
from neurarium.networks._config import remember

__all__ = ["RBFNetwork"]


class RBFNetwork(nn.Module):
    r"""Radial units and a linear layer: a smooth surface through places that are like the data.

    $$y = W h(x) + b, \qquad h_k(x) = e^{-\beta_k \lVert x - c_k \rVert^2}$$

    Train it in two stages by `solve`, in seconds and without a learning rate; or all of it by
    `fit`, best after `rbf.place` or `solve` has put the centres among the data. With a unit on
    each row, no bias and no ridge, `solve` interpolates.

    Args:
        kernel: of `layers.RBF`.

    Source: Broomhead & Lowe (1988), Multivariable functional interpolation and adaptive networks,
    Complex Systems 2; Moody & Darken (1989), Fast learning in networks of locally-tuned processing
    units, Neural Computation 1(2).
    """

    units: int
    bias: bool

    def __init__(
        self,
        in_features: int,
        units: int,
        out_features: int,
        kernel: Any = "gaussian",
        beta: float = 1.0,
        bias: bool = True,
    ) -> None:
        super().__init__()
        remember(self, in_features=in_features, units=units, out_features=out_features)
        remember(self, kernel=kernel, beta=beta, bias=bias)
        self.rbf = RBF(in_features, units, kernel, beta)
        self.linear = nn.Linear(units, out_features, bias=bias)

    @classmethod
    def for_data(
        cls,
        input_shape: Sequence[int],
        outputs: int,
        categories: Sequence[int],
        units: int = 100,
        **arguments: Any,
    ) -> "RBFNetwork":
        """A network between these inputs and outputs; on average the units overlap at first."""
        if categories:
            raise ValueError(
                "RBFNetwork measures distances between numbers, and the data have "
                f"{len(categories)} categorical columns; take MLP, which embeds them"
            )
        in_features = math.prod(input_shape)
        # Two standard normal points are 2n apart on average, squared: s = 1 there.
        arguments = {"beta": 0.5 / in_features, **arguments}
        return cls(in_features, units, outputs, **arguments)

    def forward(self, x: Float[Tensor, "batch ..."]) -> Float[Tensor, "batch out_features"]:
        return self.linear(self.rbf(x.flatten(1)))

    @torch.no_grad()
    def solve(
        self,
        x: Float[Tensor, "rows ..."],
        target: Float[Tensor, "rows ..."] | Int[Tensor, " rows"],
        ridge: float = 1e-3,
        centers: Literal["kmeans", "random", "rows"] | None = "kmeans",
        neighbours: int = 2,
        width: float = 1.0,
        seed: int = 0,
    ) -> "RBFNetwork":
        r"""Fit in two stages: place the units, then solve for the linear layer.

        $$\min_{W, b} \sum_i \lVert W h(x_i) + b - d_i \rVert^2 + \lambda \lVert W \rVert^2$$

        The system is often ill-conditioned, so it is solved in float64.

        Args:
            target: numbers, or class numbers, which become 1 for the class and 0 for the others.
            ridge: $\lambda$.
            centers: as in `RBF.place`; "rows" puts a unit on each row and leaves the widths, None
                leaves both, such as after training.

        Source: Moody & Darken (1989), Fast learning in networks of locally-tuned processing units,
        Neural Computation 1(2).
        """
        if not ridge >= 0:
            raise ValueError(f"ridge must not be negative, got {ridge}")
        x = x.flatten(1)
        if centers == "rows":
            if len(x) != self.units:
                raise ValueError(
                    f"centers='rows' needs {self.units} rows, a unit's each, got {len(x)}"
                )
            self.rbf.centers.copy_(x)
        elif centers is not None:
            self.rbf.place(x, centers, neighbours, width, seed)
        features = _in_double(self.rbf, x)
        solution = _ridge_regression(features, self._numbers(target), ridge, self.bias)
        self.linear.weight.copy_(solution[: self.units].T)
        if self.linear.bias is not None:
            self.linear.bias.copy_(solution[self.units])
        return self

    def _numbers(self, target: Tensor) -> Tensor:
        outputs = self.linear.out_features
        if target.dim() == 1 and outputs > 1 and not target.is_floating_point():
            target = nn.functional.one_hot(target.long(), outputs)
        target = target.reshape(len(target), -1)
        if target.shape[1] != outputs:
            raise ValueError(
                f"target must have {outputs} numbers a row, or be integer class numbers, got "
                f"{target.shape[1]}"
            )
        return target.double()


def _in_double(rbf: RBF, x: Tensor) -> Tensor:
    parameters = {name: value.double() for name, value in rbf.named_parameters()}
    return torch.func.functional_call(rbf, parameters, (x.double(),))


def _ridge_regression(features: Tensor, target: Tensor, ridge: float, bias: bool) -> Tensor:
    """Weights, and the bias's row last, by least squares of the system with the penalty's rows."""
    units = features.shape[1]
    penalty = math.sqrt(ridge) * torch.eye(units, dtype=features.dtype, device=features.device)
    left = torch.cat([features, penalty])
    right = torch.cat([target, target.new_zeros(units, target.shape[1])])
    if bias:  # which is not penalized
        ones = torch.cat([target.new_ones(len(target), 1), target.new_zeros(units, 1)])
        left = torch.cat([left, ones], 1)
    # The CPU's solver takes rank-deficient systems too.
    return torch.linalg.lstsq(left.cpu(), right.cpu(), driver="gelsd").solution.to(target.device)
