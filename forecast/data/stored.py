"""A cache of series that is there: its parts, blocks of series in memory, and statistics that were made once."""

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple, cast
from zipfile import BadZipFile

import numpy as np
import polars as pl
import pyarrow as pa

from forecast.data.cache import Facts
from forecast.data.card import Card
from forecast.data.freq import Ints
from forecast.data.mapped import Rows, Times
from forecast.data.names import Names
from forecast.data.scale import extremes, moments
from forecast.data.table import Floats, Series
from forecast.errors import DataError

BLOCK: Final = 1 << 20  # rows of a block, unless a series has more


class Statistics(NamedTuple):
    """Of S series and C channels, (S, C) each."""

    seen: Ints  # observed values in the training rows,
    mean: Floats  # what they are scaled by, each alone; empty where nothing is scaled
    std: Floats
    low: Floats  # their extremes
    high: Floats
    least: Floats  # extremes of all rows
    most: Floats


class Stored:
    """A cache in the folder `place`."""

    def __init__(self, place: Path) -> None:
        self.place = place
        try:
            facts = json.loads((place / "facts.json").read_text(encoding="utf-8"))
            self.facts = Facts(**facts)
            self.card = Card.from_dict(self.facts.card)
            width = len(self.facts.channels)
            # Names of a million series are mapped too: a tuple of them would take a hundred bytes each.
            table = pl.DataFrame(pl.from_arrow(pa.ipc.open_file(pa.memory_map(str(place / "series.arrow"))).read_all()))
            self.ids = Names(table["id"])
            self.first, self.rows = table["first"].to_numpy(), table["rows"].to_numpy()
            self.values = Rows(place / "values.bin", width, self.facts.dtype)
            self.unseen = Rows(place / "unseen.bin", width, "uint8") if self.facts.filled else None
            self.odd = None
            if (place / "odd.arrow").is_file():
                odd = pl.read_ipc(place / "odd.arrow")
                self.odd = odd["row"].to_numpy(), odd["time"].to_numpy()
        except (OSError, ValueError, TypeError, KeyError, pl.exceptions.PolarsError) as fault:
            raise self._damaged(fault) from fault
        self.start: Ints = np.concatenate([[0], np.cumsum(self.rows + self.facts.lack)]).astype(np.int64)
        for part in (self.values, self.unseen):
            if part is not None and (len(part) != self.start[-1] or os.path.getsize(part.path) % part.size):
                raise self._damaged(f"{part.path.name} has {len(part):,} rows, not {self.start[-1]:,}")

    def _damaged(self, why: object) -> DataError:
        return DataError(
            f"the cache {self.place} is damaged: {' '.join(str(why).split())}",
            "expected what an earlier training wrote",
            "remove it: the next training makes it again",
        )

    def series(self, card: Card, *, lack: bool = True) -> Series:
        """All series, values left in the file; without `lack` as they were before rows were put in front of them."""
        before = self.facts.lack if lack else 0
        start = self.start if lack else np.concatenate([[0], np.cumsum(self.rows)]).astype(np.int64)
        odd = self.odd
        if odd is not None and not lack:
            number = np.searchsorted(self.start, odd[0], side="right") - 1
            odd = odd[0] - (number + 1) * self.facts.lack, odd[1]
        times = Times(self.first, start, before, card.time.freq, card.time.zone, odd)
        facts = self.facts
        return Series(
            cast(Any, self.ids), start, cast(Any, times), np.empty((0, len(facts.channels))),
            np.empty((0, 0), np.float32), (), tuple(facts.channels), facts.targets, tuple(facts.units),
            card.time.freq, card.season, card.time.zone,
        )  # fmt: skip

    def block(self, series: Series, a: int, b: int, *, measured: bool = True) -> Series:
        """Series a … b - 1 of `series` in memory, without stamps; `measured`: what was filled in is missing."""
        first, last = int(self.start[a]), int(self.start[b])
        values = self.values.read(first, last)
        if measured and self.unseen is not None:
            values[self.unseen.read(first, last) > 0] = np.nan
        return series._replace(
            ids=cast(Any, self.ids[a:b]), start=self.start[a : b + 1] - first, values=values,
            time=np.empty(0, "datetime64[us]"),
        )  # fmt: skip

    def blocks(self) -> Iterator[tuple[int, int]]:
        """Series [a, b) of each block."""
        cut = np.searchsorted(self.start[1:], np.arange(0, self.start[-1], BLOCK), side="right")
        ends = np.unique(np.append(cut, len(self.ids)))
        if ends[0]:
            ends = np.append(0, ends)
        yield from zip(ends[:-1].tolist(), ends[1:].tolist(), strict=True)

    def statistics(self, series: Series, train: Ints, kind: str) -> Statistics:
        """Of training rows `train` (S, 2); read from the cache if they were made before, else made and kept there."""
        said = hashlib.sha256(np.ascontiguousarray(train).data).hexdigest()[:12]
        path = self.place / f"statistics-{kind}-{said}.npz"
        if not path.is_file():
            found = [self._of_block(series, train, kind, a, b) for a, b in self.blocks()]
            made = Statistics(*(np.concatenate(parts) for parts in zip(*found, strict=True)))
            temporary = path.with_name(f".{path.stem}.{os.getpid()}.tmp.npz")
            np.savez(temporary, **made._asdict())
            os.replace(temporary, path)
        try:
            with open(path, "rb") as file, np.load(file, allow_pickle=False) as held:
                return Statistics(**{name: held[name] for name in Statistics._fields})
        except (OSError, ValueError, KeyError, EOFError, BadZipFile) as fault:
            raise self._damaged(f"{path.name}: {fault}") from fault

    def _of_block(self, series: Series, train: Ints, kind: str, a: int, b: int) -> Statistics:
        block, ranges = self.block(series, a, b), train[a:b] - self.start[a]
        everything = np.stack([block.start[:-1], block.start[1:]], axis=1)
        return Statistics(*moments(kind, block, ranges), *extremes(block, ranges), *extremes(block, everything))
