"""Triton kernels, each the twin of a reference in `forecast.ops` of the same name; see README.md."""
