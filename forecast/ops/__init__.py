"""Operators in plain torch: the references every kernel is measured against, and the CPU path."""

from forecast.ops.chunk import chunk_attention
from forecast.ops.probsparse import attend, probsparse_attention
from forecast.ops.scan import Carry, empty_carry, prefix_attention
from forecast.ops.selection import prefix_queries, sample_keys, sparsity, top_queries
from forecast.ops.tcn import dilated_conv, fft_conv, receptive_field

__all__ = [
    "Carry",
    "attend",
    "chunk_attention",
    "dilated_conv",
    "empty_carry",
    "fft_conv",
    "prefix_attention",
    "prefix_queries",
    "probsparse_attention",
    "receptive_field",
    "sample_keys",
    "sparsity",
    "top_queries",
]
