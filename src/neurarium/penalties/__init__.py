"""Penalties: called as `(model, batch)`, added to a loss by `objectives.supervised`.

Those of parameters share `on`, the selection of parameters, and have `prox(theta, step)`, which the
callback `training.Proximal` applies after each step for exact zeros.
"""

from neurarium.penalties._selection import On as On
from neurarium.penalties.attention import AttentionRedundancy
from neurarium.penalties.groups import GroupLasso, Nuclear
from neurarium.penalties.slopes import Jacobian, TangentProp
from neurarium.penalties.weights import L1, L2, MCP, SCAD

__all__ = [
    "L1",
    "L2",
    "MCP",
    "SCAD",
    "AttentionRedundancy",
    "GroupLasso",
    "Jacobian",
    "Nuclear",
    "TangentProp",
]
