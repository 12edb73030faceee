"""Long sequences cut for training: parallel streams of a text, windows of a series."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from neurarium.data.splits import Stream

__all__ = ["streams", "windows"]


def streams(tokens: Int[Tensor, " tokens"], rows: int, steps: int) -> Stream:
    r"""One long text as `rows` parallel streams, read on from batch to batch.

    $$\text{input}^{(k)}_{bt} = x_{b L + k S + t}, \qquad \text{target}^{(k)}_{bt} =
      x_{b L + k S + t + 1}$$

    With `BackpropThroughTime(carry=True)` the state goes on over the borders; `start` marks the
    first batch of a pass, where it begins anew. What does not fill all rows is left out.

    Args:
        tokens: numbers of the tokens, in order.
        rows: streams, the rows of each batch.
        steps: length of a batch.

    Source: Mikolov et al. (2010), Recurrent neural network based language model, Interspeech.
    """
    each = (len(tokens) - 1) // rows
    if each < steps:
        raise ValueError(
            f"{rows} streams of {steps} steps need {rows * steps + 1} tokens, got {len(tokens)}; "
            "take fewer rows or steps"
        )
    each -= each % steps
    place = torch.arange(rows).unsqueeze(1) * each + torch.arange(each)
    inputs, targets = tokens[place], tokens[place + 1]
    batches = []
    for k in range(0, each, steps):
        start = torch.full((rows,), k == 0)
        part = {"input": inputs[:, k : k + steps], "target": targets[:, k : k + steps]}
        batches.append({**part, "start": start})
    return Stream(batches)


def windows(
    series: Float[Tensor, "..."], history: int, horizon: int, stride: int = 1
) -> dict[str, Tensor]:
    r"""Every stretch of a series as an input, and what followed it as the target.

    $$\text{input}_i = (x_i, \dots, x_{i + T - 1}), \qquad
      \text{target}_i = (x_{i + T}, \dots, x_{i + T + H - 1})$$

    Cut the series in time before, or windows of the training reach into the test.

    Args:
        history: $T$, steps that are seen.
        horizon: $H$, steps to predict.
        stride: steps from one window to the next.

    Source: Zhou et al. (2021), Informer, AAAI, arXiv:2012.07436.
    """
    if len(series) < history + horizon:
        raise ValueError(
            f"a window of {history} + {horizon} steps does not fit into {len(series)}; shorten "
            "history or horizon, or give more of the series"
        )
    parts = series.unfold(0, history + horizon, stride).movedim(-1, 1)
    return {"input": parts[:, :history].contiguous(), "target": parts[:, history:].contiguous()}
