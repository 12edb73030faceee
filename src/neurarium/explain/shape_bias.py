"""Does a network go by the shape of things or by their texture?"""

from typing import Any

import torch
from torch import nn

from neurarium.data import Batch

__all__ = ["shape_bias"]


@torch.no_grad()
def shape_bias(model: nn.Module | Any, cue_conflict: Batch, batch_size: int = 256) -> float:
    r"""Share of decisions by shape among those by shape or texture, where the two disagree.

    $$\text{bias} = \frac{\#\{\hat y = s\}}{\#\{\hat y = s\} + \#\{\hat y = t\}}$$

    over images of shape $s$ and texture $t \ne s$; those where the cues agree are left out. 1 is a
    network that looks at shapes only, 0 one of textures only; people have 0.96. Decisions for
    neither cue count for nothing, so read it beside the share of them. It is nan when there is no
    decision for either.

    Args:
        model: from images to one output per class; put in evaluation mode meanwhile.
        cue_conflict: `input`, and the classes `shape` and `texture` of each image; the images as
            the model takes them.

    Source: Geirhos et al. (2019), ImageNet-trained CNNs are biased towards texture, ICLR,
    arXiv:1811.12231.
    """
    for cue in ("shape", "texture"):
        if cue not in cue_conflict:
            raise ValueError(
                f"cue_conflict has no '{cue}', only {', '.join(cue_conflict)}; it needs 'input' "
                "and the classes 'shape' and 'texture' of each image"
            )
    shape, texture = cue_conflict["shape"], cue_conflict["texture"]
    conflict = shape != texture
    if not conflict.any():
        raise ValueError(
            "every image of cue_conflict has one class for shape and texture, so nothing can be "
            "told from them; pair shapes with the textures of other classes"
        )
    training = getattr(model, "training", False)
    if isinstance(model, nn.Module):
        model.eval()
    parts = cue_conflict["input"][conflict].split(batch_size)
    decided = torch.cat([model(part).argmax(1) for part in parts])
    if isinstance(model, nn.Module):
        model.train(training)
    by_shape = (decided == shape[conflict]).sum()
    by_texture = (decided == texture[conflict]).sum()
    return float(by_shape / (by_shape + by_texture))
