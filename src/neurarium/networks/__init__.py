"""Whole networks, by plain constructors; rebuilt from strings, data or files by `build`."""

from neurarium.networks.bert import BERT
from neurarium.networks.build import (
    build as build,
)
from neurarium.networks.build import (
    config as config,
)
from neurarium.networks.build import (
    for_data as for_data,
)
from neurarium.networks.bumps import bump_network
from neurarium.networks.cellular_srn import CellularSRN
from neurarium.networks.convnets import LeNet5, ResNet
from neurarium.networks.echo_state import EchoState
from neurarium.networks.elmo import ELMo
from neurarium.networks.energy import EnergyNetwork
from neurarium.networks.evolving import EvolvingNetwork
from neurarium.networks.fast_text import FastText
from neurarium.networks.forecaster import Forecaster, pinball
from neurarium.networks.forecaster_deepar import DeepAR
from neurarium.networks.forecaster_linear import DLinear, NLinear
from neurarium.networks.forecaster_nbeats import NBEATS
from neurarium.networks.goodness import GoodnessNetwork
from neurarium.networks.gpt import GPT
from neurarium.networks.lista import LISTA, ista, unroll
from neurarium.networks.logic import from_truth_table, gate, half_adder, ripple_adder
from neurarium.networks.mlp import MLP
from neurarium.networks.neural_programmer import NeuralProgrammer
from neurarium.networks.perceptron import Adaline, Perceptron
from neurarium.networks.programs import DCGP
from neurarium.networks.rbf import RBFNetwork
from neurarium.networks.sequence import (
    LanguageModel,
    SequenceClassifier,
    SequenceGenerator,
    SequenceTagger,
)
from neurarium.networks.spiking import SpikingMLP
from neurarium.networks.transformer import Transformer
from neurarium.networks.transformer_xl import TransformerXL
from neurarium.networks.xlnet import XLNet

__all__ = [
    "BERT",
    "DCGP",
    "GPT",
    "LISTA",
    "MLP",
    "NBEATS",
    "Adaline",
    "CellularSRN",
    "DLinear",
    "DeepAR",
    "ELMo",
    "EchoState",
    "EnergyNetwork",
    "EvolvingNetwork",
    "FastText",
    "Forecaster",
    "GoodnessNetwork",
    "LanguageModel",
    "LeNet5",
    "NLinear",
    "NeuralProgrammer",
    "Perceptron",
    "RBFNetwork",
    "ResNet",
    "SequenceClassifier",
    "SequenceGenerator",
    "SequenceTagger",
    "SpikingMLP",
    "Transformer",
    "TransformerXL",
    "XLNet",
    "bump_network",
    "from_truth_table",
    "gate",
    "half_adder",
    "ista",
    "pinball",
    "ripple_adder",
    "unroll",
]
