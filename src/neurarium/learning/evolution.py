"""Evolution: learn from how good many candidates are, without any slope."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from neurarium.data import Batch
from neurarium.learning.blackbox import BlackBox
from neurarium.learning.direct import Direct
from neurarium.learning.pseudo_gradient import PseudoGradient
from neurarium.learning.rule import NonFiniteError
from neurarium.objectives import Objective

__all__ = ["CMAES", "ES", "GA"]


class ES(PseudoGradient):
    r"""Evolution strategy: try random changes, go where those lead that did better.

    $$\hat g = \frac{1}{2 n \sigma} \sum_{i=1}^n
      \bigl[L(\theta + \sigma \varepsilon_i) - L(\theta - \sigma \varepsilon_i)\bigr]\,
      \varepsilon_i, \qquad \varepsilon_i \sim \mathcal N(0, I)$$

    It estimates, without bias, the gradient of the loss averaged over a Gaussian around $\theta$,
    so neither model nor loss needs a slope; any optimizer then steps along it. The estimate's
    cosine to the gradient is about $\sqrt{n / d}$ with $d$ parameters. On the 8 x 8 digits 400
    steps reach 91 % with a 64-100-100-10 network; with 64-16-10 see `es-digits`.

    Args:
        optimizer: as of `Backprop`, like `lr`, `schedule` and all `options`; Adam at 0.02, which
            suits ranks.
        population: candidates of a step: $2 n$, or with `antithetic=False` $n$.
        sigma: $\sigma$; what is finer than that the strategy does not see.
        antithetic: try each change in both directions, which cancels all even terms of the loss.
        rank: put centred ranks from -1/2 to 1/2 in the place of the losses (equal losses share
            theirs), so that only the order of the candidates counts.

    Source: Salimans, Ho, Chen, Sidor & Sutskever (2017), arXiv:1703.03864; the strategy is due to
    Rechenberg (1973), Evolutionsstrategie.
    """

    def __init__(
        self,
        optimizer: Any = "adam",
        lr: float | None = None,
        schedule: Any = None,
        *,
        population: int = 100,
        sigma: float = 0.05,
        antithetic: bool = True,
        rank: bool = True,
        **options: Any,
    ) -> None:
        if lr is None and optimizer == "adam":
            lr = 0.02
        super().__init__(optimizer, lr, schedule, **options)
        if population < 2 or (antithetic and population % 2):
            kind = "even, for pairs," if antithetic else "at least 2"
            raise ValueError(f"population must be {kind} and at least 2, got {population}")
        if not sigma > 0:
            raise ValueError(f"sigma must be positive, got {sigma}; it is the size of a change")
        self.population, self.sigma = population, sigma
        self.antithetic, self.rank = antithetic, rank

    def prepare(self, model: nn.Module, objective: Objective) -> None:
        """Any model will do."""
        self.box = BlackBox(model, objective, "ES")

    @torch.no_grad()
    def estimate(self, batch: Batch) -> dict[str, Tensor]:
        """Judge the candidates; the slope they speak for becomes the gradient."""
        outputs = self.box.judge(batch)
        self.notify("on_before_backward", outputs["loss"])
        point = self.box.read()
        changes = self.population // 2 if self.antithetic else self.population
        noise = torch.randn(changes, self.box.dimension, dtype=point.dtype, device=point.device)
        steps = torch.cat([noise, -noise]) if self.antithetic else noise
        losses = self.box.losses(point + self.sigma * steps, batch)
        values = centred_ranks(losses) if self.rank else losses
        if not values.isfinite().all():
            raise NonFiniteError("the loss of a candidate is infinite; take rank=True")
        if self.antithetic:
            up, down = values.chunk(2)
            values = up - down
        self.box.add_slope(values.to(point) @ noise / (self.population * self.sigma))
        return {**outputs, "best": losses.min().to(point.dtype)}

    def __repr__(self) -> str:
        return (
            f"ES({self.descent!r}, population={self.population}, sigma={self.sigma}, "
            f"antithetic={self.antithetic}, rank={self.rank})"
        )


class GA(Direct):
    r"""Genetic algorithm: the best have children, which differ a little; the best of all stays.

    $$\theta' = \theta_{p} + \sigma \varepsilon, \qquad p \sim U\{1, \dots, T\}, \quad
      \varepsilon \sim \mathcal N(0, I)$$

    Truncation selection without crossover. The model holds the best so far, whose loss never rises
    while the batches are the same; with others, whoever was best on the last batch stays. The
    paper's first generation is drawn anew for each individual, here they are changes of the model.
    On the 8 x 8 digits 400 generations of a 64-100-100-10 network reach 87 %.

    Args:
        population: individuals of a generation, the best of the last one among them.
        parents: $T$, how many have children.
        sigma: $\sigma$; the source's 0.002 is for millions of parameters.

    Source: Such et al. (2017), Deep neuroevolution, arXiv:1712.06567.
    """

    def __init__(self, population: int = 100, parents: int = 10, sigma: float = 0.02) -> None:
        if not 1 <= parents < population:
            raise ValueError(
                f"parents must be at least 1 and fewer than population={population}, got {parents}"
            )
        if not sigma > 0:
            raise ValueError(f"sigma must be positive, got {sigma}; it is the size of a change")
        self.population, self.parents, self.sigma = population, parents, sigma

    def bind(self, model: nn.Module, objective: Objective) -> None:
        """Any model will do; it is the first parent."""
        self.model, self.objective = model, objective
        self.box = BlackBox(model, objective, "GA")
        self.alive = self.box.read()[None]

    @torch.no_grad()
    def step(self, batch: Batch) -> dict[str, Tensor]:
        """One generation."""
        outputs = self.box.judge(batch)
        alive = self.alive
        chosen = torch.randint(len(alive), (self.population - 1,), device=alive.device)
        children = alive[chosen]
        children += self.sigma * torch.randn_like(children)
        losses = self.box.losses(children, batch)
        everyone = torch.cat([alive[:1], children])
        losses = torch.cat([outputs["loss"].double()[None], losses])
        self.alive = everyone[losses.argsort(stable=True)[: self.parents]]
        self.box.write(self.alive[0])
        return {**outputs, "best": losses.min().to(alive.dtype)}

    def state_dict(self) -> dict[str, Any]:
        return {"alive": self.alive}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.alive = state["alive"].to(self.alive, copy=True)

    def __repr__(self) -> str:
        return f"GA(population={self.population}, parents={self.parents}, sigma={self.sigma})"


class CMAES(Direct):
    r"""Evolution strategy that learns which changes go together: for few, entangled parameters.

    $$\theta_i = m + \sigma\, y_i, \quad y_i \sim \mathcal N(0, C), \qquad
      m \leftarrow m + \sigma \sum_{i=1}^{\mu} w_i\, y_{i:\lambda}, \qquad
      C \leftarrow (1 - c_1 - c_\mu)\, C + c_1\, p_c p_c^\top
      + c_\mu \sum_{i=1}^{\mu} w_i\, y_{i:\lambda}\, y_{i:\lambda}^\top$$

    The covariance $C$ follows the steps that succeeded and comes to resemble the inverse Hessian;
    $\sigma$ grows while successive steps agree and shrinks while they cancel. All constants are
    the source's, with positive weights only. The model holds the mean $m$. A batch that changes
    moves the goal: give it all rows at once.

    Args:
        population: $\lambda$; by default $4 + \lfloor 3 \ln d \rfloor$ with $d$ parameters.
        sigma: the first $\sigma$, about a third of how far off the goal may be.
        max_parameters: largest $d$ to accept; $C$ has $d^2$ numbers and is decomposed.

    Raises:
        ValueError: at `bind`, if the model has more parameters.

    Source: Hansen (2016), The CMA evolution strategy: a tutorial, arXiv:1604.00772.
    """

    def __init__(
        self, population: int | None = None, sigma: float = 0.3, max_parameters: int = 2_000
    ) -> None:
        if population is not None and population < 4:
            raise ValueError(f"population must be at least 4, got {population}")
        if not sigma > 0:
            raise ValueError(f"sigma must be positive, got {sigma}; it is the first step's size")
        self.population, self.sigma, self.max_parameters = population, sigma, max_parameters

    def bind(self, model: nn.Module, objective: Objective) -> None:
        """Start from the model, with no direction preferred."""
        self.model, self.objective = model, objective
        self.box = BlackBox(model, objective, "CMAES")
        d = self.box.dimension
        if d > self.max_parameters:
            raise ValueError(
                f"CMAES keeps a matrix of {d} x {d} numbers for this model, beyond "
                f"max_parameters={self.max_parameters}; take ES, or freeze all but a few layers"
            )
        self.settings = _Settings(d, self.population or 4 + int(3 * math.log(d)))
        point = self.box.read().double()
        self.state = {
            "step_size": point.new_tensor(self.sigma),
            "covariance": torch.eye(d).to(point),
            "axes": torch.eye(d).to(point),  # of the covariance, as it was some steps ago
            "lengths": torch.ones(d).to(point),
            "path": torch.zeros(d).to(point),  # of the covariance
            "path_of_size": torch.zeros(d).to(point),
            "generation": torch.tensor(0),
        }

    @torch.no_grad()
    def step(self, batch: Batch) -> dict[str, Tensor]:
        """One generation: sample, judge, move the mean, learn the shape."""
        outputs = self.box.judge(batch)
        mean, s = self.box.read(), self.state
        drawn = torch.randn(self.settings.population, len(mean), dtype=torch.float64).to(mean)
        y = (drawn.double() * s["lengths"]) @ s["axes"].T
        losses = self.box.losses((mean + s["step_size"] * y).to(mean.dtype), batch)
        best = y[losses.argsort(stable=True)[: len(self.settings.weights)]]
        move = self.settings.weights.to(y) @ best
        self.box.write((mean + s["step_size"] * move).to(mean.dtype))
        self._learn(best, move)
        figures = {"best": losses.min(), "sigma": s["step_size"]}
        return {**outputs, **{name: value.to(mean.dtype) for name, value in figures.items()}}

    def _learn(self, best: Tensor, move: Tensor) -> None:
        c, s = self.settings, self.state
        d, generation = self.box.dimension, int(s["generation"]) + 1
        size, path, cov = s["path_of_size"], s["path"], s["covariance"]
        white = s["axes"] @ ((move @ s["axes"]) / s["lengths"])  # C^(-1/2) times the move
        size = (1 - c.c_size) * size + math.sqrt(c.c_size * (2 - c.c_size) * c.effective) * white
        length = float(size.norm()) / c.usual_length
        unbiased = length / math.sqrt(1 - (1 - c.c_size) ** (2 * generation))
        held = 0.0 if unbiased >= 1.4 + 2 / (d + 1) else 1.0  # no stretching in a sudden growth
        kept = math.sqrt(c.c_path * (2 - c.c_path) * c.effective)
        path = (1 - c.c_path) * path + held * kept * move
        lost = (1 - held) * c.c_path * (2 - c.c_path)
        cov = (
            (1 - c.c_one - c.c_mu + c.c_one * lost) * cov
            + c.c_one * path.outer(path)
            + c.c_mu * (best.T * c.weights.to(best)) @ best
        )
        s["step_size"] = s["step_size"] * math.exp(c.c_size / c.damping * (length - 1))
        s["path_of_size"], s["path"], s["covariance"] = size, path, cov
        s["generation"] = torch.tensor(generation)
        if generation % c.every == 0:
            squares, s["axes"] = torch.linalg.eigh((cov + cov.T) / 2)
            s["lengths"] = squares.clamp(min=1e-30).sqrt()

    def state_dict(self) -> dict[str, Any]:
        return dict(self.state)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.state = {name: state[name].to(old, copy=True) for name, old in self.state.items()}

    def __repr__(self) -> str:
        return f"CMAES(population={self.population}, sigma={self.sigma})"


class _Settings:
    """The tutorial's constants, table 1, for d parameters."""

    def __init__(self, d: int, population: int) -> None:
        self.population = population
        parents = population // 2
        weights = math.log((population + 1) / 2) - torch.arange(1, parents + 1).double().log()
        self.weights = weights / weights.sum()
        self.effective = mu = 1 / float(self.weights.square().sum())
        self.c_size = (mu + 2) / (d + mu + 5)
        self.damping = 1 + 2 * max(0, math.sqrt((mu - 1) / (d + 1)) - 1) + self.c_size
        self.c_path = (4 + mu / d) / (d + 4 + 2 * mu / d)
        self.c_one = 2 / ((d + 1.3) ** 2 + mu)
        self.c_mu = min(1 - self.c_one, 2 * (0.25 + mu + 1 / mu - 2) / ((d + 2) ** 2 + mu))
        self.usual_length = math.sqrt(d) * (1 - 1 / (4 * d) + 1 / (21 * d**2))
        self.every = max(1, int(1 / (10 * d * (self.c_one + self.c_mu))))


def centred_ranks(values: Tensor) -> Tensor:
    """From -1/2 for the least to 1/2 for the greatest; equal values share their mean rank."""
    pairs = values[:, None]
    below = (pairs > values).sum(1) + ((pairs == values).sum(1) - 1) / 2
    return (below / (len(values) - 1) - 0.5).double()
