"""Activation functions: plain functions `f(x)`, each with a module twin, named as in torch.

`__all__` lists what a name such as "swish:beta=2" may mean; `module` makes a module of it,
`derivative` and `inverse` the closed forms.
"""

from neurarium.activations.calculus import derivative as derivative
from neurarium.activations.calculus import inverse as inverse
from neurarium.activations.gates import gelu, glu, maxout, mish, silu, swish
from neurarium.activations.modules import (
    ELU as ELU,
)
from neurarium.activations.modules import (
    GELU as GELU,
)
from neurarium.activations.modules import (
    GLU as GLU,
)
from neurarium.activations.modules import (
    SELU as SELU,
)
from neurarium.activations.modules import (
    Activation as Activation,
)
from neurarium.activations.modules import (
    BentIdentity as BentIdentity,
)
from neurarium.activations.modules import (
    Hardlim as Hardlim,
)
from neurarium.activations.modules import (
    Hardlims as Hardlims,
)
from neurarium.activations.modules import (
    Hardtanh as Hardtanh,
)
from neurarium.activations.modules import (
    Identity as Identity,
)
from neurarium.activations.modules import (
    LeakyReLU as LeakyReLU,
)
from neurarium.activations.modules import (
    Maxout as Maxout,
)
from neurarium.activations.modules import (
    Mish as Mish,
)
from neurarium.activations.modules import (
    PReLU as PReLU,
)
from neurarium.activations.modules import (
    Radial as Radial,
)
from neurarium.activations.modules import (
    ReLU as ReLU,
)
from neurarium.activations.modules import (
    RReLU as RReLU,
)
from neurarium.activations.modules import (
    Sigmoid as Sigmoid,
)
from neurarium.activations.modules import (
    Sign as Sign,
)
from neurarium.activations.modules import (
    SiLU as SiLU,
)
from neurarium.activations.modules import (
    Softmax as Softmax,
)
from neurarium.activations.modules import (
    Softplus as Softplus,
)
from neurarium.activations.modules import (
    Softsign as Softsign,
)
from neurarium.activations.modules import (
    Step as Step,
)
from neurarium.activations.modules import (
    Swish,
)
from neurarium.activations.modules import (
    Tanh as Tanh,
)
from neurarium.activations.modules import (
    module as module,
)
from neurarium.activations.modules import (
    widening as widening,
)
from neurarium.activations.rectifiers import (
    bent_identity,
    elu,
    identity,
    leaky_relu,
    prelu,
    relu,
    rrelu,
    selu,
    softplus,
)
from neurarium.activations.squashing import (
    hardtanh,
    radial,
    sigmoid,
    softmax,
    softsign,
    tanh,
)
from neurarium.activations.thresholds import hardlim, hardlims, sign, step

__all__ = [
    "Swish",
    "bent_identity",
    "elu",
    "gelu",
    "glu",
    "hardlim",
    "hardlims",
    "hardtanh",
    "identity",
    "leaky_relu",
    "maxout",
    "mish",
    "prelu",
    "radial",
    "relu",
    "rrelu",
    "selu",
    "sigmoid",
    "sign",
    "silu",
    "softmax",
    "softplus",
    "softsign",
    "step",
    "swish",
    "tanh",
]
