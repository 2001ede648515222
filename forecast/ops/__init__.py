"""Operators in plain torch: the references every kernel is measured against, and the CPU path."""

from forecast.ops.probsparse import attend, probsparse_attention, sample_keys, sparsity, top_queries
from forecast.ops.scan import Carry, empty_carry, prefix_attention

__all__ = [
    "Carry",
    "attend",
    "empty_carry",
    "prefix_attention",
    "probsparse_attention",
    "sample_keys",
    "sparsity",
    "top_queries",
]
