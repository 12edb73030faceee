"""Graphs: layers, networks and objectives for nodes, edges and whole graphs."""

from neurarium.graphs.autoencode import ARGA, GAE, VGAE, Reconstruction
from neurarium.graphs.complete import MultiGraphCompletion, dirichlet_energy, nearest_neighbours
from neurarium.graphs.contagion import ContagionGNN, TransitionLoss, rare_state_weights
from neurarium.graphs.embed import (
    NodeEmbedding,
    NodesOfWalks,
    PoincareEmbedding,
    RiemannianSGD,
    poincare_distance,
    random_walks,
)
from neurarium.graphs.fingerprint import NeuralFingerprint
from neurarium.graphs.manifold import element_curvatures, surface_curvatures
from neurarium.graphs.monet import GaussianMixtureConv, cotangent_laplacian, degree_coordinates
from neurarium.graphs.motifs import motif_adjacency
from neurarium.graphs.networks import (
    GAT,
    GCN,
    GIN,
    ConcatAdjacency,
    GraphNetwork,
    GraphSAGE,
)
from neurarium.graphs.ontology import OntologyAttention, VisitPredictor
from neurarium.graphs.pool import AttentionPool, TopKPool, pool
from neurarium.graphs.propagate import propagation, softmax, spread
from neurarium.graphs.sample import ClusterLoader, LayerSampler, NeighborLoader, sample_subgraph
from neurarium.graphs.signals import SignalNetwork
from neurarium.graphs.spatial import GATConv, GINConv, GraphConv, RGCNConv, SAGEConv
from neurarium.graphs.spectral import CayleyConv, ChebConv, MotifConv, SpectralConv
from neurarium.graphs.text import text_graph
from neurarium.networks.build import include

include(GAE, GAT, GCN, GIN, VGAE, ConcatAdjacency, GraphNetwork, GraphSAGE, NeuralFingerprint)

__all__ = [
    "ARGA",
    "GAE",
    "GAT",
    "GCN",
    "GIN",
    "VGAE",
    "AttentionPool",
    "CayleyConv",
    "ChebConv",
    "ClusterLoader",
    "ConcatAdjacency",
    "ContagionGNN",
    "GATConv",
    "GINConv",
    "GaussianMixtureConv",
    "GraphConv",
    "GraphNetwork",
    "GraphSAGE",
    "LayerSampler",
    "MotifConv",
    "MultiGraphCompletion",
    "NeighborLoader",
    "NeuralFingerprint",
    "NodeEmbedding",
    "NodesOfWalks",
    "OntologyAttention",
    "PoincareEmbedding",
    "RGCNConv",
    "Reconstruction",
    "RiemannianSGD",
    "SAGEConv",
    "SignalNetwork",
    "SpectralConv",
    "TopKPool",
    "TransitionLoss",
    "VisitPredictor",
    "cotangent_laplacian",
    "degree_coordinates",
    "dirichlet_energy",
    "element_curvatures",
    "motif_adjacency",
    "nearest_neighbours",
    "poincare_distance",
    "pool",
    "propagation",
    "random_walks",
    "rare_state_weights",
    "sample_subgraph",
    "softmax",
    "spread",
    "surface_curvatures",
    "text_graph",
]
