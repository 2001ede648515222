"""Rows of numbers of a fixed width, one for each series, cut into named fields; how fast what is in them is learned."""

from math import prod
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

Rows: TypeAlias = NDArray[np.float32]
Array: TypeAlias = NDArray[np.float64]
LARGEST: Final = 1e15  # as in data/batch.py: nothing counts as more


class Field(NamedTuple):
    """A part of a row."""

    first: int
    shape: tuple[int, ...]
    empty: float  # its numbers at the start

    @property
    def place(self) -> slice:
        return slice(self.first, self.first + prod(self.shape))


class Layout:
    """Where the fields of a row are."""

    def __init__(self) -> None:
        self.fields: dict[str, Field] = {}
        self.width = 0

    def add(self, name: str, *shape: int, empty: float = 0.0) -> None:
        """A field behind those there are."""
        self.fields[name] = Field(self.width, shape, empty)
        self.width += prod(shape)

    def start(self, n: int) -> Rows:
        """(n, width), every field empty."""
        row = np.concatenate([np.full(prod(field.shape), field.empty, np.float32) for field in self.fields.values()])
        return np.tile(row, (n, 1))

    def of(self, rows: Rows, name: str) -> Rows:
        """A field of rows (B, width), as a view (B, *shape)."""
        field = self.fields[name]
        return rows[:, field.place].reshape(len(rows), *field.shape)

    def get(self, rows: Rows, name: str) -> Array:
        """A copy of a field, (B, *shape)."""
        return self.of(rows, name).astype(np.float64)


class Rates(NamedTuple):
    """How fast what is learned, as shares of the way at each step, and how far. Chosen on data before the test parts
    (`python -m benchmarks correct`)."""

    bias: float = 0.05
    profile: float = 0.1  # once a season
    moment: float = 0.0025  # of the moments that gains are made of
    size: float = 0.004  # of the usual size of errors
    late: float = 0.1  # of the size of errors of late
    claimed: float = 0.00025  # of the size that the calibration claims
    ridge: float = 0.1
    clip: float = 4.0  # usual errors, of late: what came counts as no more
    jump: float = 6.0  # usual errors
    prior: float = 50.0  # values that the size that is claimed counts for
    calm: float = 1.0  # what the usual size counts for beside that of late
    stretch: float = 0.1
    least: float = 0.2  # r
    most: float = 3.0
    alarm: float = 0.25


def sound(values: NDArray[Any]) -> Array:
    """float64 within ±LARGEST; NaN stays."""
    return np.clip(np.asarray(values, np.float64), -LARGEST, LARGEST)


def ratio(a: Array, b: Array, otherwise: float) -> Array:
    """a / b where b is above 0."""
    return np.where(b > 0, a / np.where(b > 0, b, 1.0), otherwise)


def mean(values: Array) -> Array:
    """(B, n, T) -> (B, T) the mean of what is known, NaN where nothing is."""
    total, count = np.zeros_like(values[:, 0]), np.zeros_like(values[:, 0])
    for i in range(values.shape[1]):
        known = ~np.isnan(values[:, i])
        total += np.where(known, values[:, i], 0.0)
        count += known
    return ratio(total, count, np.nan)
