"""Triton kernels, each the twin of a reference in `forecast.ops`. None is here yet: `forecast.ops` does the work."""
