"""Graphs: layers, networks and objectives for nodes, edges and whole graphs."""

from neurarium.graphs.motifs import motif_adjacency
from neurarium.graphs.networks import (
    GAT,
    GCN,
    GIN,
    ConcatAdjacency,
    GraphNetwork,
    GraphSAGE,
)
from neurarium.graphs.pool import AttentionPool, TopKPool, pool
from neurarium.graphs.propagate import propagation, softmax, spread
from neurarium.graphs.spatial import GATConv, GINConv, GraphConv, RGCNConv, SAGEConv
from neurarium.graphs.spectral import CayleyConv, ChebConv, MotifConv, SpectralConv
from neurarium.networks.build import include

include(GAT, GCN, GIN, ConcatAdjacency, GraphNetwork, GraphSAGE)

__all__ = [
    "GAT",
    "GCN",
    "GIN",
    "AttentionPool",
    "CayleyConv",
    "ChebConv",
    "ConcatAdjacency",
    "GATConv",
    "GINConv",
    "GraphConv",
    "GraphNetwork",
    "GraphSAGE",
    "MotifConv",
    "RGCNConv",
    "SAGEConv",
    "SpectralConv",
    "TopKPool",
    "motif_adjacency",
    "pool",
    "propagation",
    "softmax",
    "spread",
]
