"""Train, compare and serve forecasting models."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("longcast")
except PackageNotFoundError:  # a bare checkout, not installed
    __version__ = "0.0.0"
