"""Alternating directions: a network trained by least squares, without any gradient."""

import torch
from torch import Tensor

from neurarium.data import Batch
from neurarium.learning import splitting
from neurarium.learning.splitting import Splitting

__all__ = ["ADMM"]


class ADMM(Splitting):
    r"""Solve for weights, outputs and sums in turn, each exactly; no gradient passes a layer.

    $$\min\ \sum_{i=1}^n \ell(z_L, d) + \langle z_L, \lambda \rangle
      + \beta \lVert z_L - W_L a_{L-1} \rVert^2
      + \sum_{l<L} \gamma \lVert a_l - \varphi(z_l) \rVert^2
      + \beta \lVert z_l - W_l a_{l-1} \rVert^2$$

    A step is a sweep: $W_l$ by ridge regression, $a_l$ by a linear system, $z_l$ unit by unit,
    layer after layer; then $z_L$, and $\lambda \leftarrow \lambda + \beta\,(z_L - W_L a_{L-1})$.
    The objective is the mean of $\ell$ and may be any loss of the output without penalties; biases
    belong to $W$. The activations are relu, leaky_relu, hardtanh or identity.

    Every step needs all examples, which are told apart by the batch's key `index` where they are
    shuffled. Nothing is promised as to the sweeps' limit, and more of them may be worse; 64-100-10
    on the 8 x 8 digits is the recipe `admm-digits`.

    Args:
        beta: price of a layer's sums being off.
        gamma: price of a unit's output being off.
        warm: sweeps before $\lambda$ begins to move.
        ridge: $\varepsilon$ of the regressions, added to $a a^\top$; the source has 0.

    Raises:
        ValueError: at `bind`, for anything but linear layers with such activations between; at a
            step, for a penalty or for other examples than the first step's.

    Source: Taylor, Burmeister, Xu, Singh, Patel & Goldstein (2016), Training neural networks
    without gradients: a scalable ADMM approach, ICML, arXiv:1605.02026.
    """

    def __init__(
        self, beta: float = 1.0, gamma: float = 10.0, warm: int = 10, ridge: float = 1e-2
    ) -> None:
        super().__init__()
        if not (beta > 0 and gamma > 0):
            raise ValueError(f"beta and gamma are prices and must be positive, got {beta}, {gamma}")
        if warm < 0 or not ridge >= 0:
            raise ValueError(f"warm and ridge must not be negative, got {warm} and {ridge}")
        self.beta, self.gamma, self.warm, self.ridge = beta, gamma, warm, ridge

    def sweep(self, x: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Weights, outputs, sums of each layer from the first on; the output's last."""
        last = len(self.chain) - 1
        for index in range(last):
            self.solve_weights(index, x)
            self.solve_outputs(index)
            self.solve_sums(index, x)
        self.solve_weights(last, x)
        self.solve_output_sums(x, batch)
        residual = self.residual(last, x)
        if self.sweeps >= self.warm:
            self.dual = self.dual + self.beta * residual
        return {"residual": residual.square().mean()}

    def solve_weights(self, index: int, x: Tensor) -> None:
        r"""$W_l = z_l a_{l-1}^\top (a_{l-1} a_{l-1}^\top + \varepsilon I)^{-1}$."""
        layer = self.chain.layers[index]
        splitting.solve_weights(layer, self.entering(index, x), self.z[index], self.ridge)

    def solve_outputs(self, index: int) -> None:
        r"""$(\beta W^\top W + \gamma I)^{-1} (\beta W^\top z_{l+1} + \gamma \varphi(z_l))$."""
        above = self.chain.layers[index + 1]
        z = self.z[index + 1] if above.bias is None else self.z[index + 1] - above.bias
        system = self.beta * above.weight.T @ above.weight
        system.diagonal().add_(self.gamma)
        wished = self.beta * z @ above.weight
        wished += self.gamma * self.chain.stages[index].after(self.z[index])
        self.a[index] = torch.linalg.solve(system, wished.T).T

    def solve_sums(self, index: int, x: Tensor) -> None:
        """Unit by unit, on each linear piece of the activation."""
        m = self.chain.layers[index](self.entering(index, x))
        self.z[index] = splitting.nearest_sums(
            self.a[index], m, self.pieces[index], self.gamma, self.beta
        )

    def solve_output_sums(self, x: Tensor, batch: Batch) -> None:
        r"""$\arg\min_z\ \ell(z) + \beta \lVert z - m + \lambda / 2\beta \rVert^2$."""
        center = self.chain.layers[-1](self.entering(len(self.chain) - 1, x))
        center = center - self.dual / (2 * self.beta)
        self.z[-1] = splitting.minimize(
            lambda z: self.chain.judge(z, batch), self.z[-1], center, 2 * self.beta
        )

    def lagrangian(self, x: Tensor, batch: Batch) -> Tensor:
        """What each block minimizes, the ridge of the weights included."""
        total = self.chain.judge(self.z[-1], batch)[0] + (self.z[-1] * self.dual).sum()
        for index, layer in enumerate(self.chain.layers):
            total = total + self.beta * self.residual(index, x).square().sum()
            norm = sum((p.square().sum() for p in layer.parameters()), torch.zeros(()).to(total))
            total = total + self.beta * self.ridge * norm
        for stage, z, a in zip(self.chain.stages, self.z, self.a, strict=False):
            total = total + self.gamma * (a - stage.after(z)).square().sum()
        return total.detach()

    def __repr__(self) -> str:
        return f"ADMM(beta={self.beta}, gamma={self.gamma}, warm={self.warm}, ridge={self.ridge})"
