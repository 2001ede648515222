"""Names of very many series as one column: a tuple of them would take a hundred bytes for each."""

from collections.abc import Iterator, Sequence
from typing import overload

import polars as pl

from forecast.data.freq import Ints


class Names(Sequence[str]):
    """Reads as a tuple of names does; `column` holds them."""

    def __init__(self, column: pl.Series) -> None:
        self.column = column

    def __len__(self) -> int:
        return len(self.column)

    @overload
    def __getitem__(self, at: int) -> str: ...
    @overload
    def __getitem__(self, at: slice) -> "Names": ...
    def __getitem__(self, at: "int | slice") -> "str | Names":
        return Names(self.column[at]) if isinstance(at, slice) else self.column[int(at)]

    def __iter__(self) -> Iterator[str]:
        return iter(self.column)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Names) and self.column.equals(other.column)

    __hash__ = None  # type: ignore[assignment]

    def at(self, numbers: Ints) -> list[str]:
        """The names of these numbers (K,)."""
        return self.column.gather(numbers).to_list()


def column_of(ids: Sequence[str]) -> pl.Series:
    """(S,) the names as a column."""
    return ids.column if isinstance(ids, Names) else pl.Series(ids, dtype=pl.String)
