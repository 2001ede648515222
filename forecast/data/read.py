"""Files → regular series: the same checks for all formats (formats.py). For single columns see stamps.py."""

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from forecast.data.beside import Beside
from forecast.data.card import Card, CardFile
from forecast.data.clock import night_of_change, to_utc
from forecast.data.coding import Coding
from forecast.data.formats import DAMAGE, READERS, refuse
from forecast.data.freq import Ints, Stamps, parse_freq
from forecast.data.holidays import Holidays, suits
from forecast.data.stamps import NOTHING, parse_names, parse_numbers, parse_stamps, sentinel
from forecast.data.table import Series, grid, regular, stamp
from forecast.errors import DataError, nearest
from forecast.where import DATASETS, data_root

if TYPE_CHECKING:
    from forecast.data.event_card import EventCard
    from forecast.data.label_card import LabelCard

Reader = Callable[[Path, list[str]], pl.DataFrame]


def absolute(path: str | Path) -> Path:
    """A path from the user that holds in every folder: ~ is the home folder; links stay, a name's ending counts."""
    return Path(os.path.expanduser(path)).absolute()


def locate(card: "Card | EventCard | LabelCard", file: CardFile, folder: Path | None = None) -> Path:
    """Where a card's file is: beside the card, or under FORECAST_DATA; DataError naming the places.

    A card of the user's own lies in `folder`; its file may also stand in the start directory.
    """
    if file.package:
        return _packaged(file)
    root = data_root()
    near = [DATASETS / card.name] if folder is None else [folder, Path.cwd()]
    places = list(dict.fromkeys(place / file.path for place in (*near, *([root] if root else []))))
    for place in places:
        if place.is_file():
            return place
    looked = " and ".join(str(p) for p in places)
    raise DataError(
        f"the file {file.path} of the data set '{card.name}' is not in {looked}",
        f"expected it from {card.source or 'its source'}",
        _how(file, root, card.name if folder is None else "CARD.yaml")
        + ("" if folder is None else ", or set data.path=FILE"),
    )


def _packaged(file: CardFile) -> Path:
    """Where a file is that comes with a package, which is not imported for it."""
    spec = find_spec(file.package)
    folders = list(spec.submodule_search_locations or ()) if spec else []
    for folder in folders:
        if (place := Path(folder) / file.path).is_file():
            return place
    raise DataError(
        f"the file {file.path} does not come with the package {file.package} that is installed here",
        f"looked in {folders[0]}" if folders else f"{file.package} is not installed",
        f"install the version of {file.package} that this program asks for",
    )


def _how(file: CardFile, root: Path | None, name: str) -> str:
    """What to do about a file that is not there."""
    if not file.url:
        return f"put it there{'' if root else ', or set FORECAST_DATA to the folder that holds it'}"
    get = f"get it with `forecast data fetch {name}`"
    return get if root else f"set FORECAST_DATA to the folder that holds it, or to an empty one and {get}"


def sha256(path: Path) -> str:
    """The digest of a file, read in pieces."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def digested(read: Sequence[CardFile]) -> list[CardFile]:
    """Files that were read, with the digests that were not known."""
    return [file if file.sha256 else replace(file, sha256=sha256(Path(file.path))) for file in read]


def source_of(read: Sequence[CardFile]) -> dict[str, Any]:
    """What was read, for the record; several files: the first one's path and the digest of their digests."""
    digests = [file.sha256 for file in read]
    joined = digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()
    return {"path": read[0].path, "sha256": joined, "rows": sum(file.rows or 0 for file in read)}


def read_series(
    card: Card,
    *,
    path: str | Path | None = None,
    folder: Path | None = None,
    notes: list[str] | None = None,
    holidays: Holidays | None = None,
    coding: Coding | None = None,
) -> Series:
    """The series of a card's own files (digests are checked) or of another file with the same columns.

    `folder` is that of a card of the user's own; what people should know is added to `notes`.
    """
    frame, read = read_frame(card, path=path, folder=folder, notes=notes)
    return from_frame(card, frame, Path(read[0].path).name, notes, holidays, coding)


def read_frame(
    card: Card, *, path: str | Path | None = None, folder: Path | None = None, notes: list[str] | None = None
) -> tuple[pl.DataFrame, list[CardFile]]:
    """The table of `read_series`, and the files it is from: absolute path, rows, and the digest if it was checked."""
    if path is not None:
        place = absolute(path)
        frame = read_file(place, notes)
        return frame, [CardFile(str(place), rows=frame.height)]
    frames, read = read_files(card, folder, notes)
    if not frames:
        raise DataError(f"the card '{card.name}' names no file", "expected one under files", "set data.path=FILE")
    return pl.concat(frames) if len(frames) > 1 else frames[0], read


def read_files(
    card: "Card | EventCard | LabelCard",
    folder: Path | None,
    notes: list[str] | None,
    readers: Mapping[str, Reader] = READERS,
) -> tuple[list[pl.DataFrame], list[CardFile]]:
    """The tables of a card's own files, digests checked; each file with its absolute path and its rows."""
    frames, read = [], []
    for file in card.files:
        place = locate(card, file, folder).absolute()
        if file.sha256 and (found := sha256(place)) != file.sha256:
            raise DataError(
                f"{place} has the sha256 {found[:12]}…",
                f"the card expects {file.sha256[:12]}…",
                f"get the file again, or give it as your own: data={card.kind} data.path={place}",
            )
        frames.append(read_file(place, notes, readers))
        read.append(replace(file, path=str(place), rows=frames[-1].height))
    return frames, read


def read_file(path: Path, notes: list[str] | None = None, readers: Mapping[str, Reader] = READERS) -> pl.DataFrame:
    """A table as it is in the file; csv columns stay text, so that a fault can quote what was written."""
    try:
        there = path.is_file()
        what = "is a folder" if path.is_dir() else "does not exist"
    except OSError as fault:
        there, what = False, f"cannot be reached: {fault.strerror}"
    if not there:
        raise DataError(f"{path} {what}", f"expected a file ({', '.join(sorted(readers))})", "correct the path")
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise DataError(
            f"{path.name} has the ending '{path.suffix}'",
            f"expected {', '.join(sorted(readers))}",
            "convert the file",
        )
    if not path.stat().st_size:
        raise DataError(f"{path} is empty", "expected a table", "write the file again")
    try:
        refuse(path)
        frame = reader(path, [] if notes is None else notes)
    except DAMAGE as fault:
        text = (getattr(fault, "strerror", None) or str(fault)).strip().splitlines()
        raise DataError(
            f"{path} cannot be read: {text[0].rstrip('.') if text else type(fault).__name__}",
            f"expected a {path.suffix[1:]} table",
            "check the file",
        ) from fault
    if not frame.height:
        raise DataError(f"{path} has no rows", "expected a table with data", "write the file again")
    return frame


def from_frame(
    card: Card,
    frame: pl.DataFrame,
    where: str,
    notes: list[str] | None = None,
    holidays: Holidays | None = None,
    coding: Coding | None = None,
    *,
    part: bool = False,
) -> Series:
    """The regular series in a table, checked: columns, numbers, stamps, their order and step.

    `holidays` are those of the card as far as a run knows them already, `coding` its covariates. These are in the
    table or in that of the card. `part`: the table is a piece of a larger one, in which a channel may have no value.
    """
    suits(card.holidays, card.time.freq)
    if not frame.height:
        raise DataError(f"{where} has no rows", "expected a table with data", "give at least one row")
    card = card.named(frame.columns)
    beside = Beside.of(card, frame, where, coding, notes)
    channels = beside.channels
    need = [card.time.column, *([card.id] if card.id else []), *(c.source for c in channels)]
    for column in need:
        if column not in frame.columns:
            raise DataError(
                f"{where} has no column '{column}'",
                f"found {', '.join(frame.columns[:12])}",
                nearest(column, frame.columns),
            )
    ids, number = _ids(card, frame, where)
    order = np.argsort(number, kind="stable")
    number = number[order]
    time = _times(card, frame[card.time.column], number, order, where)
    columns = [_channel(frame[c.source], card, where, part) for c in channels]
    if notes is not None:
        some = [(c.source, v) for c, v in zip(channels, columns, strict=True) if not np.isnan(v).all()]
        notes += [note for name, v in some if (note := sentinel(v, name, where))]
    values = np.column_stack(columns)[order]
    keep = _ordered(card, ids, number, time, np.column_stack([values, beside.own.values[order]]), order, where)
    if notes is not None and len(keep) < len(order):
        twice = np.setdiff1d(np.arange(len(order)), keep)
        notes.append(
            f"{where}: {len(twice):,} row(s) written twice, value for value, are used once "
            f"(first: row {order[twice[0]] + 1:,})"
        )
    number, time, values, order = number[keep], time[keep], values[keep], order[keep]
    start = np.searchsorted(number, np.arange(len(ids) + 1)).astype(np.int64)
    _on_grid(card, ids, start, time, order, where)
    covariates, past = beside.read(ids, number, start, time, order, values)
    number, time, values = number[past], time[past], values[past]
    start = np.searchsorted(number, np.arange(len(ids) + 1)).astype(np.int64)
    series = Series(
        ids,
        start,
        time,
        values,
        np.empty((len(time), 0), np.float32),
        (),
        tuple(c.name for c in channels),
        sum(c.role == "target" for c in channels),
        tuple(c.unit for c in channels),
        card.time.freq,
        card.season,
        card.time.zone,
        (holidays or Holidays(card.holidays)) if card.holidays else None,
        covariates,
    )
    return regular(series, where)


def _times(card: Card, column: pl.Series, number: Ints, order: Ints, where: str) -> Stamps:
    """(N,) UTC stamps in the order of series."""
    stamps, aware = parse_stamps(column, where)
    wall = stamps[order]
    # A day whose midnight a clock leaves out begins an hour later.
    shift = parse_freq(card.time.freq).wall
    return wall if aware else shown(wall, card.time.zone, number, order, f"{where}: row", column.name, shift=shift)


def shown(
    wall: Stamps, zone: str | None, number: Ints, order: Ints, where: str, column: str, *, shift: bool = False
) -> Stamps:
    """(N,) stamps of a clock in `zone`, series after series, as UTC; `order` has their rows in the file."""
    time = to_utc(wall, zone, number, shift=shift)
    if (never := np.isnat(time)).any():
        row = int(never.argmax())
        raise DataError(
            f"{where} {order[row] + 1}, column '{column}': {stamp(wall[row])} was never shown by a clock in {zone}",
            "the clock went forward there",
            "correct the stamp, or set data.zone=UTC",
        )
    return time


def _ids(card: Card, frame: pl.DataFrame, where: str) -> tuple[tuple[str, ...], Ints]:
    """Names of the series in order of appearance, and the number of each row's series (N,)."""
    if card.id is None:
        return (card.name,), np.zeros(frame.height, dtype=np.int64)
    column = series_names(frame[card.id], where)
    names = column.unique(maintain_order=True)
    number = column.cast(pl.Enum(names)).to_physical().to_numpy().astype(np.int64)
    return tuple(names.to_list()), number


def series_names(column: pl.Series, where: str, first: int = 0) -> pl.Series:
    """(N,) the name of each row's series, as text; `first` rows of the file stand before the column's."""
    names = parse_names(column, where)
    if (empty := names.is_null() | names.str.to_lowercase().is_in(NOTHING)).any():
        raise DataError(
            f"{where}: row {first + int(empty.arg_max() or 0) + 1}, column '{column.name}': "
            "the name of the series is empty",
            "expected a name in every row",
            "fill it or drop the row",
        )
    return names


def _channel(column: pl.Series, card: Card, where: str, part: bool) -> np.ndarray:
    values = parse_numbers(column, card.missing, where)
    if not part and np.isnan(values).all():
        raise nowhere(column.name, where)
    return values


def nowhere(column: str, where: str) -> DataError:
    """What to say of a channel without a value."""
    return DataError(
        f"{where}: column '{column}' has no value in any row",
        "expected numbers",
        "leave it out of data.target and data.past",
    )


def _ordered(
    card: Card, ids: tuple[str, ...], number: Ints, time: Stamps, values: np.ndarray, order: Ints, where: str
) -> Ints:
    """The rows to keep: stamps must rise in a series; a row written twice, value for value, is kept once."""
    same = number[1:] == number[:-1]
    ahead = np.diff(time).astype(np.int64)
    column = card.time.column
    if (back := same & (ahead < 0)).any():
        row = int(back.argmax()) + 1
        raise DataError(
            f"{where}: row {order[row] + 1}, column '{column}': {stamp(time[row])} comes after "
            f"{stamp(time[row - 1])} in series '{ids[number[row]]}'",
            "expected rising stamps",
            f"sort the file by {f'{card.id}, ' if card.id else ''}{column}{_summer(card, time[row])}",
        )
    again = np.concatenate([[False], same & (ahead == 0)])
    if not again.any():
        return np.arange(len(time))
    rows = np.flatnonzero(again)
    twins = ((values[rows] == values[rows - 1]) | (np.isnan(values[rows]) & np.isnan(values[rows - 1]))).all(axis=1)
    if not twins.all():
        row = int(rows[~twins][0])
        raise DataError(
            f"{where}: rows {order[row - 1] + 1} and {order[row] + 1}, column '{column}': "
            f"{stamp(time[row])} stands twice in series '{ids[number[row]]}' with different values",
            "expected each stamp once",
            ("drop or average one of them" if card.id else "name the column of series in data.id, or drop one")
            + _summer(card, time[row]),
        )
    return np.flatnonzero(~again)


def _summer(card: Card, time: np.datetime64) -> str:
    """A hint where a stamp without zone comes again when clocks go back: early on a Sunday in spring or autumn."""
    if card.time.zone is not None or not night_of_change(time):
        return ""
    return "; if clocks went back there, set data.zone, for example data.zone=Europe/Berlin"


def _on_grid(card: Card, ids: tuple[str, ...], start: Ints, time: Stamps, order: Ints, where: str) -> None:
    """Refuse the first stamp that is no whole number of steps after the start of its series."""
    fits = grid(time, start, card.time.freq, card.time.zone).fits
    if fits.all():
        return
    row = int((~fits).argmax())
    number = int(np.searchsorted(start, row, side="right")) - 1
    raise DataError(
        f"{where}: row {order[row] + 1}, column '{card.time.column}': {stamp(time[row])} is not a whole "
        f"number of steps ({card.time.freq}) after {stamp(time[start[number]])} in series '{ids[number]}'",
        "expected a regular grid",
        "set data.freq to the real step, or correct the stamp",
    )
