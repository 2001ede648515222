"""Event sequences as others keep them → tables of (id, time, mark) and a card.

Two forms are known, each as a pickle or as JSON:

- a dict with the parts train, dev (or val) and test, each a list of sequences, each a list of events that are dicts
  with `time_since_start` (or only `time_since_last_event`) and `type_event`;
- rows, one a sequence, with lists `time_since_start` and `type_event`: a list of them, or one a line.

A part may be a file of its own: its name then says which. Sequences without events are left out; a note counts them.
"""

import json
import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import polars as pl

from forecast.data.card import EVENTS, save_card
from forecast.data.event_card import EventCard
from forecast.data.event_facts import MOST, Grid, seen_grid
from forecast.data.events import read_events
from forecast.data.read import sha256
from forecast.data.unpickle import BYTES, OBJECTS, Numbers, unpickle
from forecast.errors import DataError

PICKLES: Final = (".pkl", ".pickle", ".p")
TEXTS: Final = (".json", ".jsonl", ".ndjson")
NAMES: Final = {"train": "train", "dev": "val", "val": "val", "valid": "val", "validation": "val", "test": "test"}
EVENTS_MOST: Final = 50_000_000
SURE: Final = 1000  # gaps, before a grid that is seen is believed
TIME, GAP, MARK = "time_since_start", "time_since_last_event", "type_event"
LONG: Final = 200  # letters of a mark
LATE: Final = 10  # one sequence in so many validates where there is no part for it: the last ones of the training


class Converted(NamedTuple):
    """The card of what was written, and for each part its sequences, events and marks."""

    card: EventCard
    parts: dict[str, tuple[int, int, int]]
    grid: Grid
    zero: int  # gaps of 0


def convert(
    source: Path, to: Path, *, name: str | None = None, unit: str = "unit", notes: list[str] | None = None
) -> Converted:
    """Write DIR/<part>.parquet and DIR/card.yaml, all or nothing; DIR must not be there, or be empty.

    `source` is a file, or a folder of files whose names say train, dev (or val) and test. DataError for what is not in
    one of the forms, in words that say where.
    """
    notes = [] if notes is None else notes
    if to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise DataError(f"{to} is there already", "expected a new folder, or an empty one", "give another: to=DIR")
    tables = {part: _table(rows, part, notes) for part, rows in _parts(source).items()}
    tables = _with_val({part: tables[part] for part in ("train", "val", "test", "all") if part in tables}, notes)
    try:
        to.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=f".{to.name}.", dir=to.parent))
    except OSError as fault:
        raise DataError(
            f"{to} cannot be written: {fault.strerror}", "expected a folder of yours", "give another: to=DIR"
        ) from fault
    try:
        done = _write(tables, draft, source, name or to.name, unit)
        draft.chmod(0o755)
        if to.is_dir():
            to.rmdir()
        os.replace(draft, to)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return done


def _parts(source: Path) -> dict[str, Any]:
    """Part → its sequences, of one file or of the files of a folder."""
    if not source.is_dir():
        return _of_file(source)
    files = {path: NAMES[path.stem.lower()] for path in sorted(source.iterdir()) if _part_file(path)}
    parts: dict[str, Any] = {}
    for path, part in files.items():
        found = _of_file(path)
        if part in parts or len(found) > 1:
            raise DataError(f"{source} holds {part} twice", "expected one file a part", "give the right file alone")
        parts[part] = next(iter(found.values()))
    if not parts:
        kinds = ", ".join((*PICKLES, *TEXTS))
        raise DataError(f"{source} holds no part", f"expected train, dev and test ({kinds})", "give a file")
    return parts


def _part_file(path: Path) -> bool:
    return path.stem.lower() in NAMES and path.suffix.lower() in (*PICKLES, *TEXTS) and path.is_file()


def _of_file(path: Path) -> dict[str, Any]:
    """Part → its sequences; a file that does not name its parts is the one that its name says, or all."""
    if not path.is_file():
        raise DataError(f"{path} does not exist", "expected a file, or a folder of train, dev and test", "correct it")
    ending = path.suffix.lower()
    if ending not in (*PICKLES, *TEXTS):
        kinds = ", ".join((*PICKLES, *TEXTS))
        raise DataError(f"{path.name} has the ending '{ending}'", f"expected {kinds}", "give another file")
    whole = unpickle(path) if ending in PICKLES else _json(path)
    if isinstance(whole, dict) and not (TIME in whole or GAP in whole):
        parts = {NAMES[key]: value for key, value in whole.items() if key in NAMES and value}
        if not parts:
            keys = ", ".join(repr(key)[:20] for key in list(whole)[:8])
            raise _odd(path.name, f"has the keys {keys or 'none'}, and no events in them", "train, dev and test")
        return parts
    rows = [whole] if isinstance(whole, dict) else whole
    return {NAMES.get(path.stem.lower(), "all"): rows}


def _json(path: Path) -> Any:
    """A JSON value, or a list of those on the lines."""
    if (size := path.stat().st_size) > BYTES:
        raise DataError(f"{path.name} has {size:,} bytes", f"expected up to {BYTES:,}", "convert its parts one by one")
    data = path.read_bytes()
    if data.count(b"[") + data.count(b"{") > OBJECTS:
        raise _odd(path.name, "holds too many lists and dicts", f"up to {OBJECTS:,}")
    try:
        lines = [line for line in data.decode("utf-8-sig").split("\n") if line.strip()]
        if len(lines) > 1 and lines[0].lstrip().startswith("{") and lines[0].rstrip().endswith("}"):
            return [json.loads(line, parse_constant=_refuse) for line in lines]
        return json.loads("\n".join(lines), parse_constant=_refuse)
    except (ValueError, RecursionError) as fault:
        raise _odd(path.name, f"is no JSON: {str(fault)[:80]}", "lists of events") from fault


def _refuse(word: str) -> None:
    raise ValueError(f"it holds {word}")


def _table(sequences: Any, part: str, notes: list[str]) -> pl.DataFrame:
    """(id, time, mark) of a part; the id is the number of the sequence in it."""
    if not isinstance(sequences, list | tuple):
        raise _odd(part, "is no list", "a list of sequences")
    if (many := sum(map(_length, sequences))) > EVENTS_MOST:  # a pickle can name one list many times
        raise _odd(part, f"has {many:,} events", f"up to {EVENTS_MOST:,}")
    columns = [_columns(one, f"{part}, sequence {number}") for number, one in enumerate(sequences)]
    counts = np.array([len(times) for times, _ in columns], dtype=np.int64)
    if empty := int((counts == 0).sum()):
        notes.append(f"{part}: {empty:,} sequence(s) without events were left out")
    if not counts.sum():
        raise _odd(part, "has no events", "at least one")
    marks = pl.Series("mark", [mark for _, row in columns for mark in row], strict=False)
    return pl.DataFrame(
        {
            "id": np.repeat(np.arange(len(counts)), counts),
            "time": np.concatenate([times for times, _ in columns]),
            "mark": marks,
        }
    )


def _columns(one: Any, where: str) -> tuple[np.ndarray, list[int | str]]:
    """(n,) times and n marks of a sequence, which is a row with lists, or a list of dicts."""
    if isinstance(one, dict):
        key = TIME if TIME in one else GAP
        times, marks = (_listed(one.get(name), f"{where}: {name}") for name in (key, MARK))
    elif isinstance(one, list | tuple):
        if odd := next((event for event in one if not isinstance(event, dict)), None):
            raise _odd(where, f"holds {type(odd).__name__}", "events as dicts")
        key = TIME if all(TIME in event for event in one) else GAP
        times, marks = ([event.get(name) for event in one] for name in (key, MARK))
    else:
        raise _odd(where, f"is {type(one).__name__}", f"a list of events, or a row with {TIME} and {MARK}")
    if len(times) != len(marks):
        raise _odd(where, f"has {len(times)} times and {len(marks)} types", "as many")
    numbers = np.array([_number(value, f"{where}: {key}") for value in times], dtype=np.float64)
    return (np.cumsum(numbers) if key == GAP else numbers), [_mark(value, where) for value in marks]


def _length(one: Any) -> int:
    """How many events a sequence has; 0 where that cannot be said."""
    times = one.get(TIME, one.get(GAP)) if isinstance(one, dict) else one
    times = times.numbers if isinstance(times, Numbers) else times
    return len(times) if isinstance(times, list | tuple) else 0


def _listed(value: Any, where: str) -> Sequence[Any]:
    value = value.numbers if isinstance(value, Numbers) else value
    if not isinstance(value, list | tuple):
        raise _odd(where, f"is {type(value).__name__}", "a list")
    return value


def _single(value: Any) -> Any:
    """The number of an array that holds one."""
    return value.numbers[0] if isinstance(value, Numbers) and len(value.numbers) == 1 else value


def _number(value: Any, where: str) -> float:
    value = _single(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not -1e300 < value < 1e300:
        what = value if isinstance(value, float) else type(value).__name__
        raise _odd(where, f"is {what}", "a finite number")
    return float(value)


def _mark(value: Any, where: str) -> int | str:
    value = _single(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int | str) or isinstance(value, int) and abs(value) >= 2**63:
        raise _odd(f"{where}: {MARK}", f"is {type(value).__name__}", "a whole number or a name")
    if isinstance(value, str) and len(value) > LONG:
        raise _odd(f"{where}: {MARK}", f"has {len(value):,} letters", f"up to {LONG}")
    return value


def _odd(where: str, found: str, expected: str) -> DataError:
    return DataError(f"{where} {found}", f"expected {expected}", "check that it is the file you mean")


def _with_val(tables: dict[str, pl.DataFrame], notes: list[str]) -> dict[str, pl.DataFrame]:
    """The parts; where only val is missing, the last tenth of the sequences of the training takes its place."""
    if len(tables) == 1 or set(tables) == {"train", "val", "test"}:
        return tables
    if set(tables) != {"train", "test"}:
        raise _odd("the data", f"have only {' and '.join(tables)}", "train, dev and test")
    train = tables["train"]
    ids = train["id"].unique().sort()
    if len(ids) < LATE:
        raise _odd("train", f"has {len(ids)} sequences, and there is no dev", f"dev, or {LATE} to take it from")
    late = ids[-(len(ids) // LATE) :]
    notes.append(f"there is no dev part: the last {len(late):,} sequences of train are val")
    rest = train["id"].is_in(late.implode())
    return {"train": train.filter(~rest), "val": train.filter(rest), "test": tables["test"]}


def _write(tables: dict[str, pl.DataFrame], draft: Path, source: Path, name: str, unit: str) -> Converted:
    """Tables and card in a folder; marks are text in every part where they are in one."""
    if any(table["mark"].dtype == pl.String for table in tables.values()):
        tables = {part: table.with_columns(pl.col("mark").cast(pl.String)) for part, table in tables.items()}
    card = EventCard(
        name=name,
        kind=EVENTS,
        about=f"converted from {source.name}",
        source="",
        licence="",
        files=(),
        id="id",
        time="time",
        mark="mark",
        unit=unit,
    )
    parts, grids, files, zero = {}, [], [], 0
    for part, table in tables.items():
        events = read_events(table, replace(card, grid=0.0).columns, part)
        gaps = events.gaps(0.0)[~events.first]
        zero += int((gaps == 0).sum())
        grids.append((seen_grid(events), int((gaps > 0).sum())))
        parts[part] = (len(events.ids), len(events.time), len(events.marks))
        path = draft / f"{part}.parquet"
        table.write_parquet(path)
        files.append({"path": path.name, "sha256": sha256(path), "rows": table.height, "bytes": path.stat().st_size})
    grid = _common(grids)
    plain = {**card.to_dict(), "files": files, "grid": grid.step}
    if len(tables) > 1:
        plain["splits"] = {part: f"{part}.parquet" for part in tables}
    card = EventCard.from_dict(plain, name)
    save_card(card, draft / "card.yaml")
    return Converted(card, parts, grid, zero)


def _common(grids: list[tuple[Grid, int]]) -> Grid:
    """The least step that is seen in the parts, where nearly all gaps lie on one and there are enough; else none."""
    seen = [grid for grid, count in grids if grid.share >= MOST]
    if len(seen) < len(grids) or sum(count for _, count in grids) < SURE:
        return Grid(0.0, 0.0)
    return min(seen)
