"""A loss of label sequences that nobody has aligned with the steps."""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from neurarium.losses._common import Reduction, _reduce

__all__ = ["ctc"]


def ctc(
    prediction: Float[Tensor, "batch steps classes"],
    target: Int[Tensor, "batch labels"],
    length: Int[Tensor, " batch"] | None = None,
    target_length: Int[Tensor, " batch"] | None = None,
    blank: int = 0,
    reduction: Reduction = "mean",
) -> Float[Tensor, "..."]:
    r"""How unlikely the labels are, over all the ways in which the steps might spell them.

    $$L = -\log \sum_{\pi \in B^{-1}(y)} \prod_t p_t(\pi_t)$$

    $B$ takes repetitions away, then blanks. Torch's kernel; but "mean" is over the rows, without
    dividing each by its number of labels. `text.ctc` reads labels out of the answer.

    Args:
        prediction: logits at each step, of the labels and of the blank.
        length: real steps of each row; all where not given.
        target_length: real labels of each row; all where not given.
        blank: the class that is no label.

    Raises:
        ValueError: if a row has too few steps to spell its labels, or a label is the blank.

    Source: Graves, Fernández, Gomez & Schmidhuber (2006), Connectionist temporal classification,
    ICML.
    """
    rows, steps = prediction.shape[:2]
    full = torch.full((rows,), steps, device=prediction.device)
    length = full if length is None else length
    labels = torch.full_like(full, target.shape[1])
    labels = labels if target_length is None else target_length
    real = torch.arange(target.shape[1], device=target.device) < labels[:, None]
    if bool(((target == blank) & real).any()):
        raise ValueError(f"a label is {blank}, which is the blank; number the labels differently")
    # Between two equal labels there must be a blank.
    twice = ((target[:, 1:] == target[:, :-1]) & real[:, 1:]).sum(1)
    if bool((labels + twice > length).any()):
        row = int((labels + twice - length).argmax())
        raise ValueError(
            f"row {row} has {int(length[row])} steps, but its {int(labels[row])} labels need "
            f"{int(labels[row] + twice[row])}; give longer inputs, or shrink time less"
        )
    log_p = prediction.log_softmax(-1).transpose(0, 1)
    loss = F.ctc_loss(log_p, target.long(), length.long(), labels.long(), blank, reduction="none")
    return _reduce(loss, reduction)
