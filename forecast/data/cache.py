"""A folder of series as flat files that can be mapped into memory: read, checked and treated once, in bounded memory.

NAME of a cache is made of what was asked and of the names, sizes and times of the files, so that it is made again when
one of them changes. It is written to a temporary name and renamed: a kill leaves nothing that could be taken for it.

    facts.json     what was read and found
    series.arrow   id, first (stamp, UTC), rows of each series
    values.bin     (N, C) row-major, the series below each other; NaN = missing; `lack` rows of NaN before each series
    unseen.bin     (N, C) uint8, 1 where a value was filled in; only with gaps=fill
    odd.arrow      row, time: stamps that are not what first and step say (an hour that a clock shows twice)
"""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from forecast.data.card import Card
from forecast.data.folder import Folder
from forecast.data.freq import TICKS, Ints, Stamps, parse_freq
from forecast.data.gathering import Bucket, buckets, index
from forecast.data.infer import infer_frame_card, is_rest
from forecast.data.read import from_frame, nowhere
from forecast.data.table import Series, apply_gaps, gap_list, runs, select
from forecast.errors import DataError

VERSION: Final = 1
GAPS: Final = 10_000  # so many are listed
NOTES: Final = 20
EXACT: Final = (pa.float32(), pa.float16(), pa.int16(), pa.int8(), pa.uint16(), pa.uint8(), pa.bool_())  # in float32


class Asked(NamedTuple):
    """What decides about the cache beside the files."""

    time: str
    id: str
    target: list[str] | None
    past: list[str] | None
    gaps: str
    lack: int  # rows before each series, of a context that reaches back beyond it
    card: dict[str, Any] | None  # None: inferred from the files, with
    inferred: dict[str, Any]  # these words


class Facts(NamedTuple):
    """What is known of a cache before its series are looked at."""

    card: dict[str, Any]
    channels: list[str]
    targets: int
    units: list[str]
    dtype: str
    lack: int
    rows: int  # N
    source: dict[str, Any]
    gap_list: list[dict[str, Any]]
    gap_total: int
    missing: int  # values
    longest: int  # steps of the longest gap
    filled: bool
    whole: bool  # no value is missing, `lack` rows aside
    notes: list[str]


Infer = Callable[[pl.DataFrame], Card]


def key(folder: Folder, asked: Asked) -> str:
    """The name of the cache: what was asked, then the state of the files."""
    said = json.dumps([VERSION, str(folder.root), *asked], sort_keys=True, default=str)
    files = json.dumps(folder.stats())
    return "-".join(hashlib.sha256(text.encode()).hexdigest()[:12] for text in (said, files))


def prepared(folder: Folder, asked: Asked, infer: Infer, place: Path) -> tuple[Path, bool]:
    """The cache below `place`, and whether it was made just now; older ones of the same question are removed."""
    name = key(folder, asked)
    if (place / name / "facts.json").is_file():
        return place / name, False
    place.mkdir(parents=True, exist_ok=True)
    with _alone(place):
        if (place / name / "facts.json").is_file():  # another process made it
            return place / name, False
        for left in [*place.glob(".*.tmp"), *place.glob(f"{name.partition('-')[0]}-*")]:
            shutil.rmtree(left, ignore_errors=True)
        temporary = place / f".{name}.{os.getpid()}.tmp"
        temporary.mkdir()
        try:
            Writer(folder, asked, infer, temporary).write()
            os.rename(temporary, place / name)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    return place / name, True


@contextmanager
def _alone(place: Path) -> Iterator[None]:
    """One process at a time where the system can say so; elsewhere they may do the same work, and one is kept."""
    try:
        import fcntl
    except ImportError:
        yield
        return
    with open(place / ".lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


class Writer:
    """Writes a cache, bucket by bucket."""

    def __init__(self, folder: Folder, asked: Asked, infer: Infer, into: Path) -> None:
        self.folder, self.asked, self.infer, self.into = folder, asked, infer, into
        self.card: Card | None = None if asked.card is None else Card.from_dict(asked.card)
        self.measured: Series | None = None  # of the last bucket: what is the same in all
        self.first: list[Stamps] = []
        self.rows: list[Ints] = []
        self.odd: list[tuple[Ints, Stamps]] = []
        self.gaps: list[dict[str, Any]] = []
        self.notes: list[str] = []
        self.seen: NDArray[np.bool_] = np.zeros(0, np.bool_)  # (C,) channels with a value
        self.gap_total = self.missing = self.longest = self.written = 0

    def write(self) -> None:
        asked, head = self.asked, self.folder.head(self.asked.id)
        channels = self._columns(head)
        self.folder.check(asked.time, channels)
        found = index(self.folder, asked.id)
        columns = [asked.id, asked.time, *channels]
        kinds = [file.columns.get(c) for file in self.folder.files for c in channels]
        missing = self.card.missing if self.card is not None else asked.inferred.get("missing")
        dtype = np.dtype(np.float32 if not missing and all(kind in EXACT for kind in kinds) else np.float64)
        with open(self.into / "values.bin", "wb") as values, open(self.into / "unseen.bin", "wb") as unseen:
            for bucket in buckets(self.folder, found, asked.id, columns, self.into / "spill"):
                self._add(bucket, dtype, values, unseen)
            for file in (values, unseen):
                file.flush()
                os.fsync(file.fileno())
        if asked.gaps != "fill":
            (self.into / "unseen.bin").unlink()
        shutil.rmtree(self.into / "spill", ignore_errors=True)
        self._close(found.ids, dtype)

    def _columns(self, head: pl.DataFrame) -> list[str]:
        """The columns of channels, as a card says or as they are inferred."""
        if self.card is None:
            step = {"freq": "h", **self.asked.inferred}  # it is looked for in whole series, later
            return [channel.source for channel in self.infer_with(head, step).channels]
        self.card = self.card.named(head.columns)
        return [channel.source for channel in self.card.channels]

    def infer_with(self, frame: pl.DataFrame, words: dict[str, Any]) -> Card:
        asked, name = self.asked, self.folder.root.name
        return infer_frame_card(
            frame, name, name=self.folder.root.stem, time=asked.time, id=asked.id, target=asked.target,
            past=asked.past, **words,
        )  # fmt: skip

    def _add(self, bucket: Bucket, dtype: np.dtype[Any], values: BinaryIO, unseen: BinaryIO) -> None:
        asked, where = self.asked, self.folder.root.name
        notes: list[str] = []
        zone = asked.inferred.get("zone") if self.card is None else self.card.time.zone
        aware = getattr(bucket.frame.schema[asked.time], "time_zone", None) is not None
        bucket = bucket.in_time(asked.time, 0 if aware or zone is None else TICKS["h"])
        with placed(self.folder, bucket.row, where):
            if self.card is None:
                self.card = self.infer(bucket.frame)
            full = from_frame(self.card, bucket.frame, where, notes, part=True)
        past = asked.past
        if is_rest(past, full.channels):
            past = [c for c in full.channels if c not in (asked.target or full.channels)]
        measured = select(full, asked.target, past)
        treated, observed = apply_gaps(measured, asked.gaps)
        self._put(treated.values, measured, dtype, values)
        if asked.gaps == "fill":
            filled = ~observed & ~np.isnan(treated.values)
            self._put(filled, measured, np.dtype(np.uint8), unseen)
        self._note(measured, notes)

    def _put(self, rows: NDArray[Any], series: Series, dtype: np.dtype[Any], file: BinaryIO) -> None:
        lack = self.asked.lack
        if lack:
            number = series.number
            padded = np.full(
                (len(rows) + lack * len(series.ids), rows.shape[1]), np.nan if rows.dtype.kind == "f" else 0
            )
            padded[np.arange(len(rows)) + (number + 1) * lack] = rows
            rows = padded
        file.write(np.ascontiguousarray(rows, dtype).data)

    def _note(self, series: Series, notes: list[str]) -> None:
        """What is kept of a bucket beside its values."""
        first, lack = series.time[series.start[:-1]], self.asked.lack
        if parse_freq(series.freq).wall and series.zone is not None:
            number = series.number
            within = np.arange(len(series.time)) - series.start[number]
            differs = np.flatnonzero(_stamps(first, number, within, series) != series.time)
            self.odd.append((self.written + differs + (number[differs] + 1) * lack, series.time[differs]))
        missing, empty = runs(series), np.isnan(series.values)
        self.gap_total += len(missing.first)
        self.missing += int(empty.sum())
        self.longest = max(self.longest, int(missing.steps.max(initial=0)))
        self.gaps += gap_list(series, missing, GAPS)
        if len(self.gaps) > 4 * GAPS:
            self.gaps = _longest(self.gaps)
        self.notes += [note for note in notes if note not in self.notes][: NOTES - len(self.notes)]
        seen = np.asarray(~empty.all(axis=0))
        self.seen = seen if self.measured is None else self.seen | seen
        self.first.append(first)
        self.rows.append(series.rows)
        self.written += len(series.time) + lack * len(series.ids)
        self.measured = series._replace(values=series.values[:0], time=series.time[:0])

    def _close(self, ids: pl.Series, dtype: np.dtype[Any]) -> None:
        series, card = self.measured, self.card
        assert series is not None and card is not None
        if not self.seen.all():
            raise nowhere(series.channels[int((~self.seen).argmax())], self.folder.root.name)
        table = {"id": ids, "first": np.concatenate(self.first), "rows": np.concatenate(self.rows)}
        pl.DataFrame(table).write_ipc(self.into / "series.arrow", compression="uncompressed")
        if any(len(rows) for rows, _ in self.odd):
            odd = {"row": np.concatenate([o[0] for o in self.odd]), "time": np.concatenate([o[1] for o in self.odd])}
            pl.DataFrame(odd).write_ipc(self.into / "odd.arrow", compression="uncompressed")
        digests = self.folder.digests()
        joined = digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()
        facts = Facts(
            card.to_dict(), list(series.channels), series.targets, list(series.units), dtype.name, self.asked.lack,
            self.written, {"path": str(self.folder.root), "sha256": joined, "rows": self.folder.rows},
            _longest(self.gaps), self.gap_total, self.missing, self.longest, self.asked.gaps == "fill",
            self.missing == 0, self.notes,
        )  # fmt: skip
        (self.into / "facts.json").write_text(json.dumps(facts._asdict(), indent=1), encoding="utf-8")


def _stamps(first: Stamps, number: Ints, within: Ints, series: Series) -> Stamps:
    """As mapped.Times makes them."""
    from forecast.data.mapped import stamps_at

    return stamps_at(first[number], within, series.freq, series.zone)


def _longest(gaps: list[dict[str, Any]]) -> list[dict[str, Any]]:
    if len(gaps) <= GAPS:
        return gaps
    kept = np.sort(np.argsort([-gap["steps"] for gap in gaps], kind="stable")[:GAPS])
    return [gaps[i] for i in kept.tolist()]


@contextmanager
def placed(folder: Folder, row: Ints, where: str) -> Iterator[None]:
    """A fault of a table whose rows are those `row` of the folder names their files, and the rows there."""
    try:
        yield
    except DataError as fault:
        found = re.match(rf"{re.escape(where)}: rows? (\d+)(?: and (\d+))?", fault.found)
        if not found:
            raise
        places = [folder.place(int(row[int(text) - 1])) for text in found.groups() if text]
        (file, at), *other = places
        words = f"{file.name}: row {at + 1}"
        if other and other[0][0] is file:
            words = f"{file.name}: rows {at + 1} and {other[0][1] + 1}"
        elif other:
            words += f" and row {other[0][1] + 1} of {other[0][0].name}"
        raise DataError(words + fault.found[found.end() :], fault.expected, fault.do) from fault
