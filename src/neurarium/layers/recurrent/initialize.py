"""Recurrent matrices that neither shrink nor stretch."""

from typing import Literal

import torch
from torch import Tensor, nn

__all__ = ["recurrent_"]


@torch.no_grad()
def recurrent_(module: nn.Module, kind: Literal["orthogonal", "identity"] = "orthogonal") -> None:
    r"""Start every recurrent matrix of a module orthogonal, or as the identity, gate by gate.

    $$W^\top W = I \quad\Rightarrow\quad
      \Bigl\lVert \frac{\partial h_t}{\partial h_0} \Bigr\rVert = 1 \text{ while } \sigma' = 1$$

    "identity" makes the IRNN out of a network with `activation=relu`: biases become 0 and the
    input's weights N(0, 0.001^2), so that at first the state adds up what it is given. Matrices are
    found by torch's name, `weight_hh`.

    Source: Saxe, McClelland & Ganguli (2014), arXiv:1312.6120; identity: Le, Jaitly & Hinton
    (2015), arXiv:1504.00941.
    """
    if kind not in ("orthogonal", "identity"):
        raise ValueError(f"kind must be 'orthogonal' or 'identity', got {kind!r}")
    found = False
    for name, parameter in module.named_parameters():
        part = name.rsplit(".", 1)[-1]
        if part.startswith("weight_hh"):
            found = True
            for block in _blocks(parameter):
                nn.init.orthogonal_(block) if kind == "orthogonal" else nn.init.eye_(block)
        elif kind == "identity" and part.startswith("bias_"):
            nn.init.zeros_(parameter)
        elif kind == "identity" and part.startswith("weight_ih"):
            nn.init.normal_(parameter, std=0.001)
    if not found:
        raise ValueError(
            f"{type(module).__name__} has no parameter weight_hh; recurrent_ starts those of "
            "layers.Recurrent and of torch's recurrent layers"
        )


def _blocks(weight: Tensor) -> tuple[Tensor, ...]:
    """The square matrix of each gate."""
    return weight.split(weight.shape[1])
