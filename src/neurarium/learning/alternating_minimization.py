"""Alternating minimization: first the codes of a batch, then every layer for itself."""

from typing import Any

import torch
from torch import Tensor, nn

from neurarium.data import Batch
from neurarium.learning import splitting
from neurarium.learning.chain import Chain, answering
from neurarium.learning.pseudo_gradient import PseudoGradient
from neurarium.learning.rule import value_of
from neurarium.objectives import Objective

__all__ = ["AltMin"]


class AltMin(PseudoGradient):
    r"""Let the sums of hidden layers be variables; improve them, then each layer to meet them.

    $$\min_{W,\,c}\ \frac{1}{n} \sum_{i=1}^n L\bigl(W_{D+1} \sigma(c_D), d\bigr)
      + \mu \sum_{l=1}^D \lVert c_l - W_l\, \sigma(c_{l-1}) \rVert^2$$

    For each batch the codes $c$ start from the forward pass and take some steps of descent, from
    the last layer down. Then every layer's gradient is that of its own term with the codes fixed:
    layers do not wait for each other, and with no code step the hidden ones have none. The codes
    of a batch are forgotten, so batches may be small.

    Any chain of linear or convolutional layers will do, with pooling between, and any objective,
    with penalties. Code steps swing unless `code_lr` times $2\mu(1 + \lVert W \rVert^2)$ is below
    2: with larger weights or `mu` take a smaller `code_lr`. 64-100-100-10 on the 8 x 8 digits is
    the recipe `altmin-digits`. The source's own layer update by accumulated second moments
    (AM-mem) is not here.

    Args:
        optimizer: as of `Backprop`, like `lr`, `schedule` and all `options`.
        mu: $\mu$ at the first step.
        mu_growth: what is added to it after each step.
        code_steps: steps of descent for each layer's codes.
        code_lr: their rate, for one example's terms.

    Raises:
        ValueError: at `bind`, for a model that branches or has dropout or batch normalization,
            which would differ at each of the evaluations.

    Source: Choromanska et al. (2019), Beyond backprop: online alternating minimization with
    auxiliary variables, ICML, arXiv:1806.09077.
    """

    def __init__(
        self,
        optimizer: Any = "adam",
        lr: float | None = None,
        schedule: Any = None,
        *,
        mu: float = 0.1,
        mu_growth: float = 0.0,
        code_steps: int = 5,
        code_lr: float = 0.2,
        **options: Any,
    ) -> None:
        super().__init__(optimizer, lr, schedule, **options)
        if not (mu > 0 and mu_growth >= 0):
            raise ValueError(f"mu must be positive and may only grow, got {mu} and {mu_growth}")
        if code_steps < 0 or not code_lr > 0:
            raise ValueError(
                f"code_steps must not be negative and code_lr positive, got {code_steps}, {code_lr}"
            )
        self.mu, self.mu_growth = mu, mu_growth
        self.code_steps, self.code_lr = code_steps, code_lr

    def prepare(self, model: nn.Module, objective: Objective) -> None:
        """Cut the model between its layers."""
        self.chain = Chain(model, "AltMin")
        splitting.check_repeatable(self.chain)

    @property
    def current_mu(self) -> float:
        r"""$\mu$ of the next step."""
        return self.mu + self.mu_growth * self.descent.steps

    def estimate(self, batch: Batch) -> dict[str, Tensor]:
        """Codes of the forward pass, improved; then the slopes of each layer's own term."""
        found = self.chain.forward(batch["input"])
        values = splitting.judged(
            self.objective, answering(self.model, found.outputs[-1].detach()), batch
        )
        codes = [z.detach() for z in found.sums[:-1]]
        for index in reversed(range(len(codes))):
            for _ in range(self.code_steps):
                self.improve(codes, index, found.inputs[0], batch)
        with torch.enable_grad():
            loss = self.of_codes(codes, found.inputs[0], batch)
            self.notify("on_before_backward", loss)
            loss.backward()
        return {**values, "lifted": loss.detach()}

    def improve(self, codes: list[Tensor], index: int, x: Tensor, batch: Batch) -> None:
        """One step of descent of a layer's codes, along both terms that they are in."""
        code = codes[index].detach().requires_grad_()
        with torch.enable_grad():
            mine = [*codes[:index], code, *codes[index + 1 :]]
            terms = self._misses(mine, x, range(index, min(index + 2, len(codes))))
            if index == len(codes) - 1:
                output = self._output(mine, x)
                judged = value_of(self.objective(answering(self.model, output), batch))
                terms = terms + judged["loss"] * len(x)
        (slope,) = torch.autograd.grad(terms, code)
        codes[index] = codes[index] - self.code_lr * slope

    def of_codes(self, codes: list[Tensor], x: Tensor, batch: Batch) -> Tensor:
        """The objective where the codes are variables: mean over the examples, penalties too."""
        output = answering(self.model, self._output(codes, x))
        loss = value_of(self.objective(output, batch))["loss"]
        return loss + self._misses(codes, x, range(len(codes))) / len(x)

    def _entering(self, codes: list[Tensor], index: int, x: Tensor) -> Tensor:
        return self.chain.stages[index - 1].after(codes[index - 1]) if index else x.detach()

    def _output(self, codes: list[Tensor], x: Tensor) -> Tensor:
        last = self.chain.stages[-1]
        return last.after(last.layer(self._entering(codes, len(codes), x)))

    def _misses(self, codes: list[Tensor], x: Tensor, indices: range) -> Tensor:
        total = x.new_zeros(())
        for index in indices:
            reached = self.chain.stages[index].layer(self._entering(codes, index, x))
            total = total + (codes[index] - reached).square().sum()
        return self.current_mu * total

    def __repr__(self) -> str:
        return (
            f"AltMin({self.descent!r}, mu={self.mu}, mu_growth={self.mu_growth}, "
            f"code_steps={self.code_steps}, code_lr={self.code_lr})"
        )
