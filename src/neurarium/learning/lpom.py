"""Lifted proximal operator machine: activations as the minimum of a convex term."""

from typing import Any

import torch
from torch import Tensor, nn

from neurarium import activations
from neurarium.data import Batch
from neurarium.learning import splitting
from neurarium.learning.chain import Stage
from neurarium.learning.direct import Direct
from neurarium.learning.splitting import DenseChain
from neurarium.objectives import Objective

__all__ = ["LPOM"]

_CONTRACTION = 0.9  # how much of its distance a fixed point may leave


class LPOM(Direct):
    r"""Write each layer as the minimum of a convex term, and solve for outputs and weights in turn.

    $$\min\ \ell(X_n, D) + \sum_i \mu_i \Bigl\{ \mathbf{1}^\top \bigl[ f(X_i) + g(W_{i-1} X_{i-1})
      \bigr] \mathbf{1} + \tfrac12 \lVert X_i - W_{i-1} X_{i-1} \rVert^2 \Bigr\}, \quad
      f(x) = \int_0^x \varphi^{-1}(y) - y \, dy, \; g(x) = \int_0^x \varphi(y) - y \, dy$$

    The term is 0 where $X_i = \varphi(W_{i-1} X_{i-1})$ and positive elsewhere, and each block's
    problem is convex, solved without $\varphi'$: the outputs of a batch by the fixed point of
    $X_i = \varphi\bigl(W_{i-1} X_{i-1} - \tfrac{\mu_{i+1}}{\mu_i} W_i^\top (\varphi(W_i X_i) -
    X_{i+1})\bigr)$, the weights by one step
    $W_i \leftarrow W_i - \tfrac1{\mathrm{Lip}(\varphi)} (\varphi(W_i X_i) - X_{i+1}) X_i^\dagger$.

    The fixed point attracts where the ratio of prices times $\lVert W_i \rVert_2^2$ is below 1, so
    here the ratio is lowered where weights have grown too large for it (the source leaves it, and
    training may collapse); the output's attracts where an example's loss has curvature below `mu`.
    The last layer is linear and what follows it a part of the loss, whose mean the
    objective is, without penalties. The weights fit the batch alone, so it should hold several
    times as many examples as a layer has inputs; 64-50-10 on the 8 x 8 digits is the recipe
    `lpom-digits`. The paper's accelerated weight step is not here.

    Args:
        mu: $\mu_n$, the price of the output.
        ratio: $\mu_{i+1} / \mu_i$ at most; below 1 the layers near the data are the dearest.
        inner: sweeps over the outputs for each batch.
        ridge: added to $X X^\top$ in the pseudo-inverse; the source has 0.

    Raises:
        ValueError: at `bind`, for anything but linear layers with increasing functions between;
            at a step, for a penalty.

    Source: Li, Fang & Lin (2019), Lifted proximal operator machines, AAAI, arXiv:1811.01501.
    """

    def __init__(
        self, mu: float = 2.0, ratio: float = 0.1, inner: int = 20, ridge: float = 0.1
    ) -> None:
        if not (mu > 0 and ratio > 0):
            raise ValueError(f"mu and ratio must be positive, got {mu} and {ratio}")
        if inner < 1 or not ridge >= 0:
            raise ValueError(f"inner must be at least 1 and ridge 0, got {inner} and {ridge}")
        self.mu, self.ratio, self.inner, self.ridge = mu, ratio, inner, ridge

    def bind(self, model: nn.Module, objective: Objective) -> None:
        """Find the layers and how steep their functions get."""
        self.model, self.objective = model, objective
        self.chain = DenseChain(model, objective, "LPOM")
        self.steepness = [_steepness(stage) for stage in self.chain.stages[:-1]] + [1.0]

    @torch.no_grad()
    def step(self, batch: Batch) -> dict[str, Tensor]:
        """Outputs that agree with the target, then weights that agree with the outputs."""
        x = self.chain.features(batch)
        values = splitting.judged(self.objective, self.model, batch)
        found = self.chain.forward(batch["input"])
        self.chain.check_objective(batch, found.sums[-1].detach())
        outputs = [x, *(a.detach() for a in found.outputs[:-1]), found.sums[-1].detach()]
        ratios = self.ratios()
        for _ in range(self.inner):
            for index in reversed(range(1, len(outputs))):
                outputs[index] = self.settled(outputs, index, batch, ratios)
        self.fit_weights(outputs)
        return values

    def apply(self, index: int, x: Tensor) -> Tensor:
        """A layer's output; the last one's are its sums."""
        stage = self.chain.stages[index]
        z = stage.layer(x)
        return z if index == len(self.chain) - 1 else stage.after(z)

    def ratios(self) -> list[float]:
        r"""$\mu_{i+1} / \mu_i$ for each layer but the first, such that the fixed points attract."""
        found = []
        for index, layer in enumerate(self.chain.layers[1:], 1):
            size = float(torch.linalg.matrix_norm(layer.weight, 2)) ** 2
            size *= self.steepness[index - 1] * self.steepness[index]
            found.append(min(self.ratio, _CONTRACTION / max(size, 1e-12)))
        return found

    def settled(
        self, outputs: list[Tensor], index: int, batch: Batch, ratios: list[float]
    ) -> Tensor:
        """One step to the fixed point of a layer's output, its neighbours held."""
        stage = self.chain.stages[index - 1]
        z = stage.layer(outputs[index - 1])
        if index == len(outputs) - 1:
            return z - self.chain.judge(outputs[index], batch)[1] / self.mu
        excess = self.apply(index, outputs[index]) - outputs[index + 1]
        return stage.after(z - ratios[index - 1] * excess @ self.chain.layers[index].weight)

    def fit_weights(self, outputs: list[Tensor]) -> None:
        """One step of each layer towards its wished output, with the inputs it was wished for."""
        for index, layer in enumerate(self.chain.layers):
            wished = (outputs[index + 1] - self.apply(index, outputs[index])).double()
            a = outputs[index].double()
            fits_bias = layer.bias is not None and layer.bias.requires_grad
            if not layer.weight.requires_grad:
                a = a[:, :0]
            if fits_bias:
                a = torch.cat([a, a.new_ones(len(a), 1)], 1)
            move = splitting.solve_ridge(a, wished, self.ridge).T / self.steepness[index]
            if layer.weight.requires_grad:
                layer.weight.add_(move[:, : layer.in_features])
            if fits_bias:
                layer.bias.add_(move[:, -1])

    def state_dict(self) -> dict[str, Any]:
        return {}  # a batch's outputs are forgotten with it

    def load_state_dict(self, state: dict[str, Any]) -> None:
        assert not state

    def __repr__(self) -> str:
        return f"LPOM(mu={self.mu}, ratio={self.ratio}, inner={self.inner}, ridge={self.ridge})"


def _steepness(stage: Stage) -> float:
    """The Lipschitz constant of an increasing activation, from its closed form."""
    activation = stage.activation
    if activation is None:
        return 1.0
    named = activation if isinstance(activation, nn.Module) else activation.__name__
    try:
        slopes = activations.derivative(named)(torch.linspace(-20, 20, 4001))
    except ValueError as error:
        raise ValueError(
            f"LPOM needs to know how steep what follows layer {stage.name} gets: {error}"
        ) from None
    if slopes.min() < 0 or slopes.max() == 0:
        raise ValueError(
            f"LPOM needs increasing activations, which have a proximal operator, but {named} "
            f"behind layer {stage.name} is not; take relu, tanh or sigmoid"
        )
    return float(slopes.max())
