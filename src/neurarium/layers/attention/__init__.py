"""Attention: one function, `attend`, and the scores, normalizers and heads it is made with.

Masks are in `layers.masks`, positions in `layers.positions`.
"""

from neurarium.layers.attention.attend import Attention, attend
from neurarium.layers.attention.attend import recording as recording
from neurarium.layers.attention.linear import LinearAttention
from neurarium.layers.attention.luong import LuongAttention
from neurarium.layers.attention.multi_head import MultiHead
from neurarium.layers.attention.normalizers import HardAttention, entmax15, sparsemax
from neurarium.layers.attention.relative import RelativeMultiHead
from neurarium.layers.attention.scores import (
    Additive,
    Bilinear,
    Concat,
    Cosine,
    Dot,
    LocationBased,
    ScaledDot,
)
from neurarium.layers.attention.structured import ChainCRF, SegmentAttention
from neurarium.layers.attention.structured_self import StructuredSelfAttention

__all__ = [
    "Additive",
    "Attention",
    "Bilinear",
    "ChainCRF",
    "Concat",
    "Cosine",
    "Dot",
    "HardAttention",
    "LinearAttention",
    "LocationBased",
    "LuongAttention",
    "MultiHead",
    "RelativeMultiHead",
    "ScaledDot",
    "SegmentAttention",
    "StructuredSelfAttention",
    "attend",
    "entmax15",
    "sparsemax",
]
