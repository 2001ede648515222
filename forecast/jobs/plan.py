"""Files -> shards of whole series, as large as one process may hold.

A series may stand in several files and row groups. What ids stand where is first read off the statistics of parquet
files and the names of folders; only where that does not tell series apart, the column of ids is read:

- files that share no series are shards by themselves, small ones together;
- where ids rise through files and row groups, a shard is a range of ids, and reads the row groups that it meets;
- what is left (parts by date, or unsorted) is spread into buckets of ids first, see spread.py.
"""

import hashlib
import json
import math
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any, Final, NamedTuple

import numpy as np

from forecast import __version__
from forecast.errors import DataError, UsageError
from forecast.jobs.facts import Facts, Unit, facts, hashes, ids
from forecast.jobs.files import File
from forecast.jobs.source import columns
from forecast.jobs.types import Job, Piece, Shard

OFTEN: Final = 6.0  # row groups that several ranges of ids meet are read by each; so often at most, on average
PAIRS: Final = 4_000_000  # ids of files that are compared at once


class Limits(NamedTuple):
    """What a shard holds at most, unless one series is larger."""

    rows: int
    bytes: int

    def weight(self, units: Iterable[Unit]) -> float:
        """1: as much as a shard may hold."""
        some = list(units)
        return max(sum(unit.rows for unit in some) / self.rows, sum(unit.bytes for unit in some) / self.bytes)


class Span(NamedTuple):
    """What some rows weigh whose ids lie from `low` to `high`."""

    low: Any
    high: Any
    weight: float

    def meets(self, low: Any, high: Any) -> bool:
        """Whether an id after `low` and up to `high` may be among them; None: no bound."""
        return (low is None or self.high > low) and (high is None or self.low <= high)


class Loose(NamedTuple):
    """Files whose series are scattered over them."""

    files: list[int]
    rows: int
    bytes: int


class Plan(NamedTuple):
    """The shards of an input, and what must be spread before it can be cut into more."""

    files: list[File]
    facts: list[Facts]
    shards: list[Shard]  # without numbers and keys
    loose: Loose | None
    rows: int  # of the input; an estimate where there are texts
    bytes: int


def plan(files: list[File], job: Job, limits: Limits) -> Plan:
    """DataError where no file can be used, UsageError for a column to rename that no file has."""
    known = [facts(file, number, job) for number, file in enumerate(files)]
    usable(files, known, job)
    good = [n for n in range(len(files)) if known[n].fault is None]
    loose: list[int] = []
    if job.wide:
        shards = slices(files, good, known, limits)
    elif job.id is None:
        shards = [shard(files, [unit for n in good for unit in known[n].units])]
    else:
        shards, loose = cut(files, good, known, job, limits)
    bad = [Shard(0, "", (piece(files[n], known[n]),), 0, 0) for n in range(len(files)) if known[n].fault is not None]
    units = [unit for one in known for unit in one.units if one.fault is None]
    scattered = [unit for n in loose for unit in known[n].units]
    heap = Loose(loose, sum(u.rows for u in scattered), sum(u.bytes for u in scattered)) if loose else None
    return Plan(files, known, shards + bad, heap, sum(unit.rows for unit in units), sum(unit.bytes for unit in units))


def usable(files: Sequence[File], known: Sequence[Facts], job: Job) -> None:
    if all(one.fault is not None for one in known):
        more = f" of {len(known):,}" if len(known) > 1 else ""
        raise DataError(f"no file{more} can be used; {known[0].fault}")
    there = {name for one in known for name in one.names}
    for was, _ in job.rename:
        if was not in there:
            raise UsageError(
                f"rename names '{was}', which is no column of the input", f"found {', '.join(sorted(there)[:12])}"
            )


def piece(file: File, one: Facts) -> Piece:
    return Piece(file.path, None, file.partition, fault=one.fault)


def shard(files: Sequence[File], units: Sequence[Unit], low: Any = None, high: Any = None) -> Shard:
    """The shard of some row groups and files, in the order of the files."""
    groups: dict[int, list[int]] = {}
    for unit in units:
        groups.setdefault(unit.file, []).extend([] if unit.group is None else [unit.group])
    pieces = tuple(
        Piece(files[n].path, tuple(sorted(groups[n])) or None, files[n].partition) for n in sorted(groups)
    )  # fmt: skip
    return Shard(0, "", pieces, sum(unit.bytes for unit in units), sum(unit.rows for unit in units), low, high)


# Long tables ----------------------------------------------------------------------------------------------------------


def cut(
    files: Sequence[File], good: Sequence[int], known: list[Facts], job: Job, limits: Limits
) -> tuple[list[Shard], list[int]]:
    """Shards, and the files that must be spread."""
    shards, small, loose = list[Shard](), list[list[int]](), list[int]()
    unclear = list[int]()
    for group in by_range(good, known):
        units = [unit for n in group for unit in known[n].units]
        if len(group) == 1 or limits.weight(units) <= 1:
            small.append(group)
        elif ranged := ranges(files, units, job, limits):
            shards += ranged
        else:
            unclear += group
    small += by_ids(files, unclear, known, job)
    packed = list[list[int]]()
    for group in small:
        units = [unit for n in group for unit in known[n].units]
        if limits.weight(units) <= 1:
            packed.append(group)
        elif ranged := ranges(files, units, job, limits):
            shards += ranged
        else:
            loose += group
    return pack(files, packed, known, limits) + shards, sorted(loose)


def by_range(good: Sequence[int], known: Sequence[Facts]) -> list[list[int]]:
    """Files in groups whose ranges of ids do not meet. All in one where a range is not known, or cannot be compared."""
    units = [unit for n in good for unit in known[n].units]
    if any(unit.low is None for unit in units) or len({type(unit.low) for unit in units}) > 1:
        return [list(good)]
    spans = []
    for n in good:
        if known[n].units:
            spans.append((min(u.low for u in known[n].units), max(u.high for u in known[n].units), n))
    groups: list[list[int]] = []
    end: Any = None
    for low, high, n in sorted(spans):
        if groups and low <= end:
            groups[-1].append(n)
            end = max(end, high)
        else:
            groups.append([n])
            end = high
    return groups


def by_ids(files: Sequence[File], numbers: Sequence[int], known: list[Facts], job: Job) -> list[list[int]]:
    """Files in groups that share no id; their columns of ids are read. One that turns out to be damaged is in none."""
    if not numbers:
        return []
    parent = {n: n for n in numbers}

    def root(n: int) -> int:
        while parent[n] != n:
            parent[n] = parent[parent[n]]
            n = parent[n]
        return n

    found: list[tuple[np.ndarray, np.ndarray]] = []
    held, limit = 0, PAIRS
    for at, n in enumerate(numbers):
        try:
            some = hashes(files[n], job)
        except DataError as fault:
            known[n], some = known[n]._replace(fault=str(fault)), np.empty(0, np.uint64)
        found.append((some, np.full(len(some), n, np.int32)))
        held += len(some)
        if held < limit and at + 1 < len(numbers):
            continue
        ids_, owner = (np.concatenate(parts) for parts in zip(*found, strict=True))
        order = np.argsort(ids_, kind="stable")
        ids_, owner = ids_[order], owner[order]
        same = np.concatenate([[False], ids_[1:] == ids_[:-1]]) if len(ids_) else np.empty(0, bool)
        first = owner[np.maximum.accumulate(np.where(same, 0, np.arange(len(ids_))))]
        for one, other in np.unique(np.stack([first[same], owner[same]], 1), axis=0).tolist():
            low, high = sorted((root(one), root(other)))
            parent[high] = low
        found = [(ids_[~same], owner[~same])]
        held, limit = 0, max(PAIRS, len(found[0][0]))
    groups: dict[int, list[int]] = {}
    for n in (n for n in numbers if known[n].fault is None):
        groups.setdefault(root(n), []).append(n)
    return list(groups.values())


def ranges(files: Sequence[File], units: Sequence[Unit], job: Job, limits: Limits) -> list[Shard] | None:
    """Shards of ids from … to …; None where ids do not rise through the row groups: most would be read often."""
    if any(unit.low is None for unit in units) or len({type(unit.low) for unit in units}) > 1:
        return None
    every = sorted(units, key=lambda unit: (unit.high, unit.low))
    rough = between(files, every, [Span(unit.low, unit.high, limits.weight([unit])) for unit in every])
    if rough is None:
        return None
    fine = [span for unit in every for span in steps(files, unit, job, limits)]
    return between(files, every, sorted(fine, key=lambda span: (span.high, span.low)))


def between(files: Sequence[File], every: Sequence[Unit], spans: Sequence[Span]) -> list[Shard] | None:
    """Shards that end where some of `spans` do, which come by their ends; None where row groups were read too often,
    or a shard might hold far more than it may: the files hold other ids of the same range."""
    bounds: list[Any] = []
    weight, before, heaviest = 0.0, spans[0].high, max(span.weight for span in spans)
    for span in spans:
        if weight and weight + span.weight > 1 and before < every[-1].high and (not bounds or before > bounds[-1]):
            bounds.append(before)
            weight = 0.0
        weight, before = weight + span.weight, max(before, span.high)
        if weight > 1 + heaviest:  # no place to end a shard: many row groups have the same last id
            return None
    made, read = list[Shard](), 0
    for low, high in zip([None, *bounds], [*bounds, None], strict=True):
        if sum(span.weight for span in spans if span.meets(low, high)) > 1 + 3 * heaviest:
            return None
        mine = [unit for unit in every if Span(unit.low, unit.high, 0).meets(low, high)]
        read += sum(unit.rows for unit in mine)
        made.append(shard(files, mine, low, high))
    return made if read <= OFTEN * max(sum(unit.rows for unit in every), 1) else None


def steps(files: Sequence[File], unit: Unit, job: Job, limits: Limits) -> list[Span]:
    """A row group in spans of ids, rising, at whose ends a shard may end."""
    weight = limits.weight([unit])
    if weight <= 0.5 or unit.low == unit.high:
        return [Span(unit.low, unit.high, weight)]
    import polars as pl

    groups = None if unit.group is None else (unit.group,)
    try:
        counts = [part.value_counts(name="rows") for part in ids(files[unit.file], job, groups)]
    except DataError:  # the shard will say so
        return [Span(unit.low, unit.high, weight)]
    name = counts[0].columns[0]
    total = pl.concat(counts).group_by(name).agg(pl.col("rows").sum()).sort(name)
    share = total["rows"].to_numpy().cumsum() * (weight / max(unit.rows, 1))
    at = np.unique(np.searchsorted(share, np.arange(1, math.ceil(4 * weight)) / 4))
    at = np.append(at[at < len(share) - 1], len(share) - 1)
    highs = total[name].gather(at).to_list()
    shares = np.diff(share[at], prepend=0.0).tolist()
    return [Span(*one) for one in zip([unit.low, *highs[:-1]], highs, shares, strict=True)]


def pack(files: Sequence[File], groups: Sequence[list[int]], known: Sequence[Facts], limits: Limits) -> list[Shard]:
    """Small groups of files together. By their names, so that one that grows changes its own shard and few others."""
    weights = [limits.weight([unit for n in group for unit in known[n].units]) for group in groups]
    drawers = 2 ** math.ceil(math.log2(max(sum(weights), 1)))
    drawn: dict[int, list[int]] = {}
    for at, group in enumerate(groups):
        drawn.setdefault(zlib.crc32(files[group[0]].name.encode()) % drawers, []).append(at)
    made = list[Shard]()
    for drawer in drawn.values():
        some, weight = list[int](), 0.0
        for at in drawer:
            if some and weight + weights[at] > 1:
                made.append(shard(files, [unit for n in some for unit in known[n].units]))
                some, weight = [], 0.0
            some, weight = some + groups[at], weight + weights[at]
        made.append(shard(files, [unit for n in some for unit in known[n].units]))
    return [one for one in made if one.pieces]


# Wide tables ----------------------------------------------------------------------------------------------------------


def slices(files: Sequence[File], good: Sequence[int], known: Sequence[Facts], limits: Limits) -> list[Shard]:
    """Of wide tables: some columns of all files; a cell becomes a row."""
    there = {n: columns(files[n].path) for n in good}
    names = list(dict.fromkeys(name for n in good for name in there[n]))
    size = sum(unit.bytes for n in good for unit in known[n].units)
    cells = size // 8
    count = max(1, min(len(names), math.ceil(max(cells / limits.rows, 4 * size / limits.bytes))))
    made = []
    for some in np.array_split(np.array(names, dtype=object), count):
        mine = tuple(some.tolist())
        have = [n for n in good if set(mine) & set(there[n])]
        pieces = tuple(Piece(files[n].path, None, files[n].partition, mine) for n in have)
        made.append(Shard(0, "", pieces, size // count, cells // count))
    return made


# Keys -----------------------------------------------------------------------------------------------------------------


def settings(job: Job, digest: str, limits: Limits) -> str:
    """The digest of all that an output depends on beside its input."""
    own = {key: value for key, value in asdict(job).items() if key not in ("run", "output")}
    return sha([__version__, digest, own])


def keyed(shard: Shard, names: dict[str, File], config: str) -> Shard:
    """A shard with its key; `names` are the files by path."""
    pieces = [
        [names[p.path].name, names[p.path].sha256, p.groups, p.partition, p.columns, p.fault is not None]
        for p in shard.pieces
    ]
    return shard._replace(key=sha([config, pieces, repr(shard.low), repr(shard.high)]))


def sha(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()
