"""Deep learning ADMM: backward and forward sweeps with cheap steps, one dual on the output."""

from torch import Tensor

from neurarium.data import Batch
from neurarium.learning import splitting
from neurarium.learning.splitting import Splitting

__all__ = ["DlADMM"]


class DlADMM(Splitting):
    r"""Sweep backward, then forward over all blocks; none of them raises the augmented Lagrangian.

    $$L = \sum_{i=1}^n \ell(z_L, d) + \langle u, r \rangle + \tfrac{\rho}{2} \lVert r \rVert^2
      + \tfrac{\nu}{2} \sum_{l<L} \lVert z_l - W_l a_{l-1} - b_l \rVert^2
      + \lVert a_l - \varphi(z_l) \rVert^2, \qquad r = z_L - W_L a_{L-1} - b_L$$

    A step goes from the last layer to the first by $z_l, b_l, W_l, a_{l-1}$ and back by
    $W_l, b_l, z_l, a_l$; then $u \leftarrow u + \rho\, r$. $b$ and $z$ are exact; $W$ and $a$ take
    one gradient step of size $1/\tau$, with $\tau$ doubled until a parabola of that curvature lies
    above, so no matrix is inverted. It is the first version of the authors' code, where only the
    output has a dual and $\nu = \rho$, with $\tau$ halved after each use instead of started anew.

    The objective is the mean of $\ell$ and may be any loss of the output without penalties. The
    activations are relu, leaky_relu, hardtanh or identity. Every step needs all examples, which are
    told apart by the batch's key `index` where they are shuffled. It is slow: on the 8 x 8 digits
    100 iterations of 64-100-100-10 reach 91 to 95 %, less than the 95.8 % of backpropagation with
    frozen hidden layers, and far more than the 66 % of this rule with frozen ones (recipe
    `dladmm-digits`).

    Args:
        rho: price of the output's residual.
        nu: price of the hidden layers' residuals.

    Raises:
        ValueError: at `bind`, for anything but linear layers with such activations between; at a
            step, for a penalty or for other examples than the first step's.

    Source: Wang, Yu, Chen & Zhao (2019), ADMM for efficient deep learning with global convergence,
    KDD, arXiv:1905.13611, and its code.
    """

    def __init__(self, rho: float = 1e-3, nu: float = 1e-3) -> None:
        super().__init__()
        if not (rho > 0 and nu > 0):
            raise ValueError(f"rho and nu are prices and must be positive, got {rho} and {nu}")
        self.rho, self.nu = rho, nu
        self.tau: dict[str, float] = {}

    def sweep(self, x: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Backward, forward, the dual."""
        if not self.sweeps:
            self.tau = {}
        layers = range(len(self.chain))
        for index in reversed(layers):
            self.solve_sums(index, x, batch)
            self.solve_bias(index, x)
            self.step_weights(index, x)
            if index:
                self.step_outputs(index - 1, x)
        for index in layers:
            self.step_weights(index, x)
            self.solve_bias(index, x)
            self.solve_sums(index, x, batch)
            if index < layers[-1]:
                self.step_outputs(index, x)
        residual = self.residual(layers[-1], x)
        self.dual = self.dual + self.rho * residual
        return {"lagrangian": self.lagrangian(x, batch), "residual": residual.square().mean()}

    def _price(self, index: int) -> float:
        return self.rho if index == len(self.chain) - 1 else self.nu

    def _error(self, index: int, x: Tensor) -> Tensor:
        """The residual; at the output with the dual completed to a square."""
        error = self.residual(index, x)
        return error + self.dual / self.rho if index == len(self.chain) - 1 else error

    def solve_sums(self, index: int, x: Tensor, batch: Batch) -> None:
        """The output's by FISTA; a hidden unit's on each linear piece of its activation."""
        m = self.chain.layers[index](self.entering(index, x))
        if index < len(self.chain) - 1:
            self.z[index] = splitting.nearest_sums(self.a[index], m, self.pieces[index], 1.0, 1.0)
        else:
            self.z[index] = splitting.minimize(
                lambda z: self.chain.judge(z, batch),
                self.z[index],
                m - self.dual / self.rho,
                self.rho,
                steps=20,
            )

    def solve_bias(self, index: int, x: Tensor) -> None:
        """The mean residual."""
        bias = self.chain.layers[index].bias
        if bias is not None and bias.requires_grad:
            bias.add_(self._error(index, x).mean(0))

    def step_weights(self, index: int, x: Tensor) -> None:
        r"""$W \leftarrow W - \nabla_W / \tau$."""
        weight = self.chain.layers[index].weight
        if not weight.requires_grad:
            return
        price, a = self._price(index), self.entering(index, x)
        slope = -price * self._error(index, x).T @ a
        along = price * (a @ slope.T).square().sum()
        weight.sub_(slope / self._backtracked(f"W{index}", price, slope, along))

    def step_outputs(self, index: int, x: Tensor) -> None:
        r"""$a \leftarrow a - \nabla_a / \tau$."""
        above, price = self.chain.layers[index + 1].weight, self._price(index + 1)
        slope = self.nu * (self.a[index] - self.chain.stages[index].after(self.z[index]))
        slope = slope - price * self._error(index + 1, x) @ above
        along = self.nu * slope.square().sum() + price * (slope @ above.T).square().sum()
        tau = self._backtracked(f"a{index}", self.nu, slope, along)
        self.a[index] = self.a[index] - slope / tau

    def _backtracked(self, name: str, price: float, slope: Tensor, along: Tensor) -> float:
        # f(new) <= f - |slope|^2 / 2 tau means, for a parabola, that tau is at least its curvature.
        tau = self.tau.get(name, 1e-3 * price)
        size = slope.square().sum()
        curvature = float(along / size) if size > 0 else 0.0
        while tau < curvature:
            tau *= 2
        self.tau[name] = tau / 2
        return tau

    def lagrangian(self, x: Tensor, batch: Batch) -> Tensor:
        """What no block's update raises; only the dual's does."""
        last = len(self.chain) - 1
        r = self.residual(last, x)
        total = self.chain.judge(self.z[-1], batch)[0] + (self.dual * r).sum()
        total = total + self.rho / 2 * r.square().sum()
        for index in range(last):
            total = total + self.nu / 2 * self.residual(index, x).square().sum()
            off = self.a[index] - self.chain.stages[index].after(self.z[index])
            total = total + self.nu / 2 * off.square().sum()
        return total.detach()

    def state_dict(self) -> dict[str, object]:
        return super().state_dict() | {"tau": dict(self.tau)}

    def load_state_dict(self, state: dict[str, object]) -> None:
        super().load_state_dict(state)
        self.tau = dict(state["tau"])  # type: ignore[call-overload]

    def __repr__(self) -> str:
        return f"DlADMM(rho={self.rho}, nu={self.nu})"
