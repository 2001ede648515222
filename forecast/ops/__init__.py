"""Operators in plain torch: the references every kernel is measured against, and the CPU path."""

from forecast.ops.probsparse import attend, probsparse_attention
from forecast.ops.selection import prefix_queries, sample_keys, sparsity, top_queries

__all__ = ["attend", "probsparse_attention", "sample_keys", "sparsity", "top_queries"]
