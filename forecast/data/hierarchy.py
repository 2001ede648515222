"""Series that are sums of others: which node adds up which, from a table.

Two forms are read (csv or parquet): edges, `parent, child`, a tree or several; or one row for each series of the panel,
its name in the first column and groups in the others (`unique_id, country, kind`), which may cross: each value of a
group is a node `group=value`, and `total` is the sum of all.
"""

from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from forecast.data.read import read_file
from forecast.data.stamps import NOTHING
from forecast.data.table import Floats
from forecast.errors import DataError

EDGES: Final = ("parent", "child")
TOTAL: Final = "total"


class Hierarchy(NamedTuple):
    """A aggregates over B bottom series: the summing matrix is S = [sums; I]."""

    aggregates: tuple[str, ...]  # A
    bottom: tuple[str, ...]  # B
    sums: Floats  # (A, B), 1 where an aggregate counts a bottom series

    @property
    def nodes(self) -> tuple[str, ...]:
        """All A + B, the aggregates first: the order of rows of S."""
        return (*self.aggregates, *self.bottom)

    @property
    def summing(self) -> Floats:
        """S (A + B, B)."""
        return np.concatenate([self.sums, np.eye(len(self.bottom))])

    @classmethod
    def read(cls, path: str | Path) -> "Hierarchy":
        """From a file; DataError for a table that is none."""
        place = Path(path).expanduser()
        return cls.of(read_file(place), place.name)

    @classmethod
    def of(cls, frame: pl.DataFrame, where: str = "the hierarchy") -> "Hierarchy":
        """From a table in either form."""
        if len(frame.columns) < 2:
            raise DataError(
                f"{where} has the column {frame.columns[0]} alone",
                "expected parent and child, or the names of series and columns to group them by",
                "add a column",
            )
        texts = [_names(frame[column], where) for column in frame.columns]
        if tuple(frame.columns) == EDGES:
            return _tree(texts[0], texts[1], where)
        return _groups(frame.columns[1:], texts, where)

    def histories(self, frame: pl.DataFrame, *, id: str, time: str, whole: bool = True) -> pl.DataFrame:
        """A long table of bottom series with the rows of all aggregates in front: sums of each numeric column over the
        stamps at which every series below has a row (so a sum is no less than what it says); if not `whole`, over all
        stamps, for counts, which are 0 where a series has not begun."""
        numbers = [c for c in frame.columns if c not in (id, time) and frame[c].dtype.is_numeric()]
        rows = frame.select(id, time, *numbers).with_columns(pl.col(id).cast(pl.String))
        parts = []
        for name, row in zip(self.aggregates, self.sums, strict=True):
            below = [self.bottom[i] for i in np.flatnonzero(row)]
            added = rows.filter(pl.col(id).is_in(below)).group_by(time).agg(pl.len().alias("_n"), pl.sum(*numbers))
            added = added.filter(pl.col("_n") == len(below)) if whole else added
            parts.append(added.select(pl.lit(name).alias(id), time, *numbers).sort(time))
        wide = [part.cast({c: pl.Float64 for c in numbers}) for part in (*parts, rows)]
        return pl.concat(wide)


def _names(column: pl.Series, where: str) -> list[str]:
    """The cells of a column as text; an empty one is refused."""
    text = column.cast(pl.String).str.strip_chars()
    if (empty := text.is_null() | text.str.to_lowercase().is_in(NOTHING)).any():
        raise DataError(
            f"{where}: row {int(empty.arg_max() or 0) + 1}, column '{column.name}' is empty",
            "expected a name",
            "fill it or drop the row",
        )
    return text.to_list()


def _tree(parents: list[str], children: list[str], where: str) -> Hierarchy:
    """From edges: each child has one parent, and no node stands above itself."""
    above: dict[str, str] = {}
    for parent, child in zip(parents, children, strict=True):
        if above.setdefault(child, parent) != parent:
            raise DataError(
                f"{where}: '{child}' has the parents '{above[child]}' and '{parent}'",
                "expected one parent for each child",
                "drop one, or give a row for each series and columns to group by",
            )
    inner = set(parents)
    bottom = tuple(child for child in above if child not in inner)
    aggregates = tuple(dict.fromkeys(parents))
    at = {name: i for i, name in enumerate(aggregates)}
    sums = np.zeros((len(aggregates), len(bottom)))
    columns = {child: b for b, child in enumerate(bottom)}
    for child in above:
        seen: set[str] = set()
        node: str | None = child
        while node is not None:
            if node in seen:
                raise DataError(f"{where}: '{node}' is above itself", "expected a tree", "correct the parents")
            seen.add(node)
            if child in columns and node in at:
                sums[at[node], columns[child]] = 1.0
            node = above.get(node)
    return Hierarchy(aggregates, bottom, sums)


def _groups(groups: list[str], texts: list[list[str]], where: str) -> Hierarchy:
    """From one row for each series: the total and every value of every group."""
    bottom, columns = texts[0], texts[1:]
    if len(set(bottom)) < len(bottom):
        twice = next(name for i, name in enumerate(bottom) if name in bottom[:i])
        raise DataError(f"{where} names the series '{twice}' twice", "expected one row for each series", "drop one")
    names, rows = [TOTAL], [np.ones(len(bottom))]
    for group, values in zip(groups, columns, strict=True):
        cells: NDArray[np.str_] = np.array(values)
        for value in dict.fromkeys(values):
            names.append(f"{group}={value}")
            rows.append((cells == value).astype(np.float64))
    if both := sorted(set(names) & set(bottom)):
        raise DataError(
            f"{where}: '{both[0]}' is a series and the name of a sum",
            "expected names of their own",
            "rename the series",
        )
    return Hierarchy(tuple(names), tuple(bottom), np.stack(rows))
