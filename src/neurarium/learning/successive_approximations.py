"""Pontryagin's principle as a rule: every layer maximizes its own Hamiltonian."""

from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from neurarium.data import Batch
from neurarium.learning import splitting
from neurarium.learning.chain import Chain, Pass, answering
from neurarium.learning.direct import Direct
from neurarium.learning.rule import value_of
from neurarium.objectives import Objective

__all__ = ["MSA"]

Inner = Literal["lbfgs", "gradient"]


class MSA(Direct):
    r"""See the layers as time: states run forward, costates back, each layer maximizes at its time.

    $$x_{t+1} = f(x_t, \theta_t), \quad p_T = -\nabla \Phi(x_T), \quad
      p_t = \nabla_x H(x_t, p_{t+1}, \theta_t), \qquad H = p_{t+1} \cdot f(x_t, \theta_t)$$
    $$\theta_t \leftarrow \arg\max_\theta\ \sum_{i=1}^n H - \tfrac{\rho}{2}
      \lVert x_{t+1} - f(x_t, \theta) \rVert^2 - \tfrac{\rho}{2}
      \lVert p_t - \nabla_x H(x_t, p_{t+1}, \theta) \rVert^2$$

    Without the last two terms a layer may leave the states and costates that it was told; with them
    the successive approximations improve. $\Phi$ is an example's loss, of which the objective is
    the mean; its penalties are the running cost. One gradient step on $H$ is the one of
    backpropagation, but a layer's problem can be solved further, and all layers at once.

    Any chain of linear or convolutional layers will do; a layer with what follows is a time step.
    64-100-100-10 on the 8 x 8 digits is the recipe `msa-digits`.

    Args:
        rho: $\rho$; 0 is the plain method, which may diverge.
        inner: how a layer maximizes. "lbfgs": some steps with Wolfe's line search; "gradient":
            `lr` times the slope of the mean.
        inner_steps: of "lbfgs", or how many gradient steps.
        lr: of "gradient".

    Raises:
        ValueError: at `bind`, for a model that branches or has dropout or batch normalization,
            which would differ at each of the evaluations.

    Source: Li, Chen, Tai & E (2018), Maximum principle based algorithms for deep learning, JMLR 18,
    arXiv:1710.09513.
    """

    def __init__(
        self, rho: float = 1.0, inner: Inner = "lbfgs", inner_steps: int = 5, lr: float = 0.1
    ) -> None:
        if not rho >= 0:
            raise ValueError(f"rho must not be negative, got {rho}; it is a price")
        if inner not in get_args(Inner):
            raise ValueError(f"inner must be one of {', '.join(get_args(Inner))}, got {inner!r}")
        if inner_steps < 1 or not lr > 0:
            raise ValueError(f"inner_steps and lr must be positive, got {inner_steps} and {lr}")
        self.rho, self.inner, self.inner_steps, self.lr = rho, inner, inner_steps, lr

    def bind(self, model: nn.Module, objective: Objective) -> None:
        """Cut the model into its time steps."""
        self.model, self.objective = model, objective
        self.chain = Chain(model, "MSA")
        splitting.check_repeatable(self.chain)
        own = [p for stage in self.chain.stages for p in stage.parameters]
        splitting.check_all_trained(self.chain, objective, own)

    def step(self, batch: Batch) -> dict[str, Tensor]:
        """States forward, costates back; then every layer maximizes, given both."""
        values = splitting.judged(self.objective, self.model, batch)
        states = self.chain.forward(batch["input"])
        costates = self.costates(states, batch)
        for index, stage in enumerate(self.chain.stages):
            if stage.parameters:
                self._maximize(index, states, costates, batch)
        return values

    def costates(self, states: Pass, batch: Batch) -> list[Tensor]:
        r"""$p_0, \ldots, p_T$, for each example."""
        output = states.outputs[-1].detach().requires_grad_()
        with torch.enable_grad():
            cost = value_of(self.objective(answering(self.model, output), batch))["loss"]
            (slope,) = torch.autograd.grad(cost * len(output), output)
        costates = [-slope]
        for index in reversed(range(len(self.chain))):
            by_sums = states.through_activation(index, costates[0])
            costates.insert(0, states.through_layer(index, by_sums))
        return costates

    def augmented(self, index: int, states: Pass, costates: list[Tensor]) -> Tensor:
        """A layer's Hamiltonian minus what it costs to leave states and costates."""
        x = states.inputs[index].detach().requires_grad_()
        stage = self.chain.stages[index]
        reached = stage.after(stage.layer(x))
        hamiltonian = (costates[index + 1] * reached).sum()
        if not self.rho:
            return hamiltonian
        (costate,) = torch.autograd.grad(hamiltonian, x, create_graph=True)
        off = (states.outputs[index].detach() - reached).square().sum()
        off = off + (costates[index] - costate).square().sum()
        return hamiltonian - self.rho / 2 * off

    def _maximize(self, index: int, states: Pass, costates: list[Tensor], batch: Batch) -> None:
        parameters = self.chain.stages[index].parameters
        output = states.outputs[-1].detach()

        def descend() -> float:
            with torch.enable_grad():
                cost = -self.augmented(index, states, costates)
                running = value_of(self.objective(answering(self.model, output), batch))["loss"]
                if running.requires_grad:  # by penalties
                    cost = cost + running * len(output)
                slopes = torch.autograd.grad(cost, parameters, allow_unused=True)
            for parameter, slope in zip(parameters, slopes, strict=True):
                parameter.grad = slope
            return float(cost.detach())

        if self.inner == "lbfgs":
            torch.optim.LBFGS(
                parameters, max_iter=self.inner_steps, line_search_fn="strong_wolfe"
            ).step(descend)
        else:
            optimizer = torch.optim.SGD(parameters, lr=self.lr / len(output))
            for _ in range(self.inner_steps):
                descend()
                optimizer.step()
        for parameter in parameters:
            parameter.grad = None

    def state_dict(self) -> dict[str, Any]:
        return {}  # states and costates are a batch's own

    def load_state_dict(self, state: dict[str, Any]) -> None:
        assert not state

    def __repr__(self) -> str:
        how = f"lr={self.lr}" if self.inner == "gradient" else "strong Wolfe"
        return f"MSA(rho={self.rho}, {self.inner}, inner_steps={self.inner_steps}, {how})"
