"""What is good for models that say how likely an answer is: that the true ones are."""

from typing import Any

from torch import Tensor, nn

from neurarium.data import Batch

__all__ = ["negative_log_likelihood"]


def negative_log_likelihood(model: nn.Module, batch: Batch) -> Tensor:
    r"""How unlikely the data are to a model that has a `log_prob(input, target)`, per value.

    $$J(\theta) = -\frac{1}{n} \sum_{i=1}^n \log p_\theta(y_i \mid x_i)$$

    Source: Salinas, Flunkert, Gasthaus & Januschowski (2020), DeepAR, arXiv:1704.04110, eq. 2.
    """
    if not hasattr(model, "log_prob"):
        raise ValueError(
            f"negative_log_likelihood needs a model with log_prob(input, target), such as DeepAR; "
            f"{type(model).__name__} has none, use supervised(loss)"
        )
    known: Any = model
    return -known.log_prob(batch["input"], batch["target"]).mean()
