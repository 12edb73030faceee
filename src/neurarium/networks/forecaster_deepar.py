"""A recurrent network that says how likely each next value is, and goes on by drawing from that."""

import math
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributions import Distribution, NegativeBinomial, Normal, StudentT
from torch.nn import functional as F

from neurarium.layers.recurrent import Recurrent, State
from neurarium.networks._config import remember
from neurarium.networks.forecaster import ColumnForecaster, Quantiles, by_column, check_quantiles

__all__ = ["DeepAR"]

Likelihood = Literal["gaussian", "student", "negative_binomial"]
_PARAMETERS = {"gaussian": 2, "student": 3, "negative_binomial": 2}


class DeepAR(ColumnForecaster):
    r"""The distribution of each next value given all before, by a recurrent network.

    $$p(y_{t+1} \mid y_{1 \dots t}) = \mathcal N\bigl(\nu\, \mu(h_t),\,
      (\nu\, \operatorname{softplus} \sigma(h_t))^2\bigr), \qquad
      h_t = \text{RNN}(h_{t-1}, y_t / \nu), \qquad \nu = 1 + \tfrac{1}{T} \sum_{t \le T} |y_t|$$

    Or a Student distribution, or for counts a negative binomial with mean $\nu\, \operatorname{
    softplus} \mu$ and shape $\operatorname{softplus}(\alpha) / \sqrt\nu$. Train with
    `objectives.negative_log_likelihood`: every step of the past is an example too. Forecasts are
    quantiles, or the mean, of paths whose every value is drawn given those before; they are the
    same at each call.

    Args:
        history: steps that are seen; the $T$ of the scale.
        targets: how many of the columns, the first ones, are predicted, each by itself.
        samples: paths that a forecast is made of.

    Source: Salinas, Flunkert, Gasthaus & Januschowski (2020), DeepAR, International Journal of
    Forecasting 36(3), arXiv:1704.04110.
    """

    likelihood: Likelihood
    samples: int

    def __init__(
        self,
        history: int,
        horizon: int,
        targets: int = 1,
        quantiles: Quantiles = (),
        likelihood: Likelihood = "gaussian",
        cell: str = "lstm",
        hidden: int = 40,
        layers: int = 1,
        samples: int = 100,
    ) -> None:
        super().__init__()
        check_quantiles(quantiles)
        if likelihood not in _PARAMETERS:
            raise ValueError(
                f"likelihood must be one of {', '.join(_PARAMETERS)}, got {likelihood!r}"
            )
        remember(self, history=history, horizon=horizon, targets=targets, likelihood=likelihood)
        remember(self, quantiles=tuple(quantiles), cell=cell, hidden=hidden, layers=layers)
        remember(self, samples=samples)
        self.recurrent = Recurrent(cell, 1, hidden, layers)
        self.out = nn.Linear(self.recurrent.output_size, _PARAMETERS[likelihood])

    def log_prob(
        self, x: Float[Tensor, "batch steps ..."], target: Float[Tensor, "batch horizon ..."]
    ) -> Float[Tensor, "series values"]:
        """How likely is each value of past and target, but the first, given those before; its log.

        Raises:
            ValueError: if values are no counts where the likelihood is one of counts.
        """
        past = by_column(x, self.targets)
        series = torch.cat([past, by_column(target, self.targets)], 1)
        if self.likelihood == "negative_binomial" and ((series < 0) | (series % 1 != 0)).any():
            raise ValueError(
                "a negative binomial is of counts, but these values are not all whole and at least "
                "0; take likelihood='gaussian', or give counts that are not standardized"
            )
        scale = self._scale(past)
        h, _ = self.recurrent((series[:, :-1] / scale).unsqueeze(2))
        return self.distribution(h, scale).log_prob(series[:, 1:])

    def distribution(
        self, h: Float[Tensor, "series steps hidden"], scale: Float[Tensor, "series 1"]
    ) -> Distribution:
        """Of the value that follows each of these states."""
        first, second, *more = self.out(h).unbind(-1)
        if self.likelihood == "negative_binomial":
            mean, shape = scale * F.softplus(first), F.softplus(second) / scale.sqrt()
            return NegativeBinomial(1 / shape, logits=(mean * shape).log(), validate_args=False)
        spread = scale * (F.softplus(second) + 1e-6)
        if self.likelihood == "gaussian":
            return Normal(scale * first, spread, validate_args=False)
        return StudentT(2 + F.softplus(more[0]), scale * first, spread, validate_args=False)

    def ahead(
        self, series: Float[Tensor, "series steps"]
    ) -> Float[Tensor, "series horizon quantiles"]:
        paths = self.sample(series)
        if not self.quantiles:
            return paths.mean(1).unsqueeze(2)
        ordered = paths.sort(1).values  # torch.quantile is only for tensors of some size
        places = [level * (self.samples - 1) for level in self.quantiles]
        below = ordered[:, [math.floor(place) for place in places]]
        above = ordered[:, [math.ceil(place) for place in places]]
        share = torch.tensor([place % 1 for place in places]).to(paths)
        return torch.lerp(below, above, share.unsqueeze(1)).transpose(1, 2)

    @torch.no_grad()
    def sample(
        self, series: Float[Tensor, "series steps"], seed: int = 0
    ) -> Float[Tensor, "series samples horizon"]:
        """Paths of what may come, each value drawn given those before it."""
        scale = self._scale(series)
        h, state = self.recurrent((series / scale).unsqueeze(2))
        h, many = (part.repeat_interleave(self.samples, 0) for part in (h[:, -1:], scale))
        state = [_repeated(part, self.samples) for part in state]
        path: list[Tensor] = []
        with torch.random.fork_rng(devices=[series.device] if series.is_cuda else []):
            torch.manual_seed(seed)
            while True:
                path.append(self.distribution(h, many).sample())
                if len(path) == self.horizon:
                    return torch.cat(path, 1).view(len(series), self.samples, self.horizon)
                h, state = self.recurrent((path[-1] / many).unsqueeze(2), None, state)

    def _scale(self, past: Tensor) -> Tensor:
        return 1 + past.abs().mean(1, keepdim=True)


def _repeated(state: State, times: int) -> State:
    return tuple(part.repeat_interleave(times, 0) for part in state)
