"""Recurrent layers: cells that take one step, and `Recurrent`, which takes them through time."""

from neurarium.layers.recurrent.adaptive import Adaptive
from neurarium.layers.recurrent.cells import Cell as Cell
from neurarium.layers.recurrent.cells import JordanCell, RNNCell
from neurarium.layers.recurrent.cells import State as State
from neurarium.layers.recurrent.gated import GRUCell, MGUCell, MUT1Cell, MUT2Cell, MUT3Cell
from neurarium.layers.recurrent.initialize import recurrent_
from neurarium.layers.recurrent.linear import LinearRecurrence, linear_scan
from neurarium.layers.recurrent.lstm import LSTMCell
from neurarium.layers.recurrent.scan import CELLS as CELLS
from neurarium.layers.recurrent.scan import Recurrent, record_states

__all__ = [
    "Adaptive",
    "GRUCell",
    "JordanCell",
    "LSTMCell",
    "LinearRecurrence",
    "MGUCell",
    "MUT1Cell",
    "MUT2Cell",
    "MUT3Cell",
    "RNNCell",
    "Recurrent",
    "linear_scan",
    "record_states",
    "recurrent_",
]
