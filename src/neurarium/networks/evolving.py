"""A network of any acyclic shape, which evolution may change."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

__all__ = ["EvolvingNetwork"]


class EvolvingNetwork(nn.Module):
    r"""Single neurons in any acyclic arrangement; a weight of 0 is a connection that is not there.

    $$a_j = \sigma\Bigl(4.9 \sum_i w_{ji}\, a_i\Bigr)$$

    with the steepened sigmoid of the source. `NEAT` starts from inputs and a bias that are joined
    to the outputs directly, and adds neurons and connections. The weights, one row for each output
    and hidden neuron, have one column for each input, the bias, each output and hidden neuron.

    Args:
        max_hidden: neurons there is place for; it bounds how deep the network can be.
        sigmoid: whether the outputs are squashed as well; False gives their sums, for losses of
            logits.

    Source: Stanley & Miikkulainen (2002), Evolving neural networks through augmenting topologies,
    Evolutionary Computation 10(2).
    """

    def __init__(
        self, inputs: int, outputs: int, max_hidden: int = 16, sigmoid: bool = True
    ) -> None:
        super().__init__()
        if min(inputs, outputs) < 1 or max_hidden < 0:
            raise ValueError(
                "inputs and outputs must be at least 1 and max_hidden at least 0, "
                f"got {inputs}, {outputs} and {max_hidden}"
            )
        self.inputs, self.outputs, self.max_hidden = inputs, outputs, max_hidden
        self.sigmoid = sigmoid
        inner = outputs + max_hidden
        self.weight = nn.Parameter(torch.zeros(inner, inputs + 1 + inner))
        nn.init.uniform_(self.weight[:outputs, : inputs + 1], -1, 1)

    @classmethod
    def for_data(
        cls,
        input_shape: Sequence[int],
        outputs: int,
        categories: Sequence[int],
        max_hidden: int = 16,
        sigmoid: bool = False,
    ) -> "EvolvingNetwork":
        """One for these inputs and outputs; codes of categories are taken as numbers."""
        return cls(math.prod(input_shape), outputs, max_hidden, sigmoid)

    def forward(self, x: Float[Tensor, "batch ..."]) -> Float[Tensor, "batch outputs"]:
        x = x.flatten(1)
        given = torch.cat([x, torch.ones_like(x[:, :1])], 1)
        direct = given @ self.weight[:, : self.inputs + 1].T
        within = self.weight[:, self.inputs + 1 :].T
        sums = direct
        for _ in range(self.max_hidden):  # the longest way there may be
            sums = direct + torch.sigmoid(4.9 * sums) @ within
        result = sums[:, : self.outputs]
        return torch.sigmoid(4.9 * result) if self.sigmoid else result
