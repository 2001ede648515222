"""Rows of numbers of a fixed width, one for each series, cut into named fields."""

from math import prod
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

Rows: TypeAlias = NDArray[np.float32]
Array: TypeAlias = NDArray[np.float64]


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
