"""Building blocks: modules that networks are made of, beyond torch's own."""

from neurarium.layers.dropconnect import DropConnect
from neurarium.layers.norm import batch_norm_backward, layer_norm_backward, normalize
from neurarium.layers.optimize import Convex, argmin_activation
from neurarium.layers.p_neuron import PNeuron
from neurarium.layers.quantized_relu import QuantizedReLU
from neurarium.layers.rbf import RBF
from neurarium.layers.recurrent import (
    Adaptive,
    GRUCell,
    JordanCell,
    LinearRecurrence,
    LSTMCell,
    MGUCell,
    MUT1Cell,
    MUT2Cell,
    MUT3Cell,
    Recurrent,
    RNNCell,
    linear_scan,
    record_states,
    recurrent_,
)
from neurarium.layers.scalar_mix import ScalarMix
from neurarium.layers.spiking import LIF, SpikeTrain, spike
from neurarium.layers.weight_drop import WeightDrop
from neurarium.layers.weight_normalization import WeightStandardization, weight_norm_backward

__all__ = [
    "LIF",
    "RBF",
    "Adaptive",
    "Convex",
    "DropConnect",
    "GRUCell",
    "JordanCell",
    "LSTMCell",
    "LinearRecurrence",
    "MGUCell",
    "MUT1Cell",
    "MUT2Cell",
    "MUT3Cell",
    "PNeuron",
    "QuantizedReLU",
    "RNNCell",
    "Recurrent",
    "ScalarMix",
    "SpikeTrain",
    "WeightDrop",
    "WeightStandardization",
    "argmin_activation",
    "batch_norm_backward",
    "layer_norm_backward",
    "linear_scan",
    "normalize",
    "record_states",
    "recurrent_",
    "spike",
    "weight_norm_backward",
]
