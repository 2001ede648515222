"""The card of a data set of events: where its files are, what its columns mean, its unit, its grid, its parts.

What is defined here, beside what `events.py` and `event_split.py` say of the table itself:

- `grid` is the step in which times were recorded, 0 where none is to be supposed; None leaves it to the stamps;
- `floor` is the least gap that is scored where there is no grid: gaps of 0 have no log;
- `splits` are dates, fractions or lists of ids as in `event_split.py`, or the names of three of the `files`;
- a card without files only describes a data set: its `about` says where it is to be had, and how it is converted.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl

from forecast.data.address import CardFile, check_file
from forecast.data.card import EVENTS, card_place, check_keys, other_kind, read_plain, record
from forecast.data.card import card_kind as card_kind
from forecast.data.event_card_checks import PARTS, amount, check, listed, parts, period, text
from forecast.data.events import UNITS, EventColumns, Floats
from forecast.data.freq import Ints
from forecast.data.read import absolute, read_file, read_files
from forecast.data.stamps import is_stamps, is_text, parse_names, parse_stamps
from forecast.errors import DataError, UsageError, nearest

SPLITS: Final[dict[str, Any]] = {"train": 0.7, "val": 0.1, "test": 0.2}  # of the sequences, where a card says nothing
FEW: Final = 10  # with fewer sequences a file of numbers without a card is cut in time
# Names that columns of events usually have, in lower case.
USUAL: Final = {
    "id": (
        *("unique_id", "item_id", "series_id", "sequence_id", "seq_id", "case_id", "user_id", "customer_id", "id"),
        *("sequence", "series", "case", "user", "customer", "account", "patient", "driver", "device", "machine"),
    ),
    "time": ("ds", "date", "datetime", "time", "timestamp", "time_since_start"),
    "mark": ("mark", "event_type", "type_event", "event", "activity", "action", "type"),
}


@dataclass(frozen=True, slots=True)
class EventCard:
    """The facts of a data set of events; times, `grid`, `floor` and numbers among `periods` are in `unit`."""

    name: str
    kind: str
    about: str
    source: str
    licence: str
    files: tuple[CardFile, ...]
    id: str | None  # the column that tells sequences apart; None: one sequence
    time: str
    mark: str | None  # None: events are not told apart
    unit: str  # what stamps are counted in, or what numbers count
    labels: str | None = None  # what stands between several marks of one event; None: one mark each
    grid: float | None = None
    floor: float | None = None
    twice: str = "keep"  # rows with the same id, time and mark: keep, or drop
    covariates: tuple[str, ...] = ()  # columns of numbers, known of an event once it has come
    periods: tuple[float | str, ...] = ()  # of the clock: day, week, year, or numbers
    splits: dict[str, Any] = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        if self.splits is None:
            object.__setattr__(self, "splits", dict(SPLITS))

    @property
    def columns(self) -> EventColumns:
        """What `read_events` must know of the table."""
        return EventColumns(
            id=self.id, time=self.time, mark=self.mark, unit=self.unit, grid=self.grid, twice=self.twice,
            beside=self.covariates,
        )  # fmt: skip

    @property
    def by_files(self) -> bool:
        """Whether each part is a file of its own."""
        return set(self.splits) == set(PARTS) and all(isinstance(value, str) for value in self.splits.values())

    def to_dict(self) -> dict[str, Any]:
        """Plain data that JSON and YAML can hold, without what is left out; the inverse of `from_dict`."""
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        for file in plain["files"]:
            for key in [key for key, value in file.items() if value in (None, "")]:
                del file[key]
        for key, none in (("labels", None), ("grid", None), ("floor", None), ("covariates", []), ("periods", [])):
            if plain[key] == none:
                del plain[key]
        return plain

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any], where: str = "the card") -> "EventCard":
        """Build and check a card; an unknown key, a column named twice or a wrong number is a DataError."""
        must = ("name", "kind", "time", "unit")
        check_keys(plain, cls, where, optional=[f.name for f in fields(cls) if f.name not in must])
        card = cls(
            name=str(plain["name"]),
            kind=str(plain["kind"]),
            about=" ".join(str(plain.get("about") or "").split()),
            source=str(plain.get("source") or ""),
            licence=str(plain.get("licence") or ""),
            files=tuple(record(CardFile, file, f"{where}: files") for file in plain.get("files") or ()),
            id=text(plain, "id", where),
            time=text(plain, "time", where) or "",
            mark=text(plain, "mark", where),
            unit=str(plain["unit"] or ""),
            labels=text(plain, "labels", where),
            grid=amount(plain, "grid", where),
            floor=amount(plain, "floor", where),
            twice=str(plain.get("twice") or "keep"),
            covariates=tuple(str(name) for name in listed(plain, "covariates", where)),
            periods=tuple(period(one, where) for one in listed(plain, "periods", where)),
            splits=parts(plain.get("splits") or SPLITS),
        )
        for file in card.files:
            check_file(file, where)
        check(card, where)
        return card


def load_event_card(name: str) -> EventCard:
    """The card of a known data set of events, or of a YAML file; UsageError for a name that is neither."""
    return read_event_card(card_place(name))


def read_event_card(path: Path) -> EventCard:
    """A card of events from a YAML file; UsageError for one of another kind."""
    plain = read_plain(path)
    other_kind(plain, EVENTS, path)
    return EventCard.from_dict(plain, str(path))


def read_event_frames(
    card: EventCard, *, path: str | Path | None = None, folder: Path | None = None, notes: list[str] | None = None
) -> tuple[list[tuple[str, pl.DataFrame]], list[CardFile]]:
    """The tables of a card, or of another file with its columns: each with its path as the card writes it.

    Digests are checked. The second list holds the same files with their absolute paths, their rows, and the digests
    that were checked. `folder` is that of a card of the user's own. DataError for a card that only describes.
    """
    if path is not None:
        place = absolute(path)
        frame = read_file(place, notes)
        return [(place.name, frame)], [CardFile(str(place), rows=frame.height)]
    if not card.files:
        raise only_described(card)
    frames, read = read_files(card, folder, notes)
    return [(file.path, frame) for file, frame in zip(card.files, frames, strict=True)], read


def only_described(card: EventCard) -> DataError:
    """The error of a card without files: where the data are to be had, and how they come here."""
    return DataError(
        f"the card '{card.name}' only describes its data set",
        f"get the file from {card.source or 'its source'}",
        "convert it with `forecast data convert FILE to=DIR`, then give data.card=DIR/card.yaml",
    )


def infer_event_card(
    frame: pl.DataFrame,
    where: str,
    *,
    name: str,
    id: str | None = None,
    time: str | None = None,
    mark: str | None = None,
    unit: str | None = None,
    labels: str | None = None,
    grid: float | None = None,
    floor: float | None = None,
    twice: str = "keep",
    covariates: Sequence[str] = (),
    periods: Sequence[float | str] = (),
    splits: Mapping[str, Any] | None = None,
) -> EventCard:
    """The card of a table that has none; what is given is not inferred, and what may be read in two ways is asked for.

    Without a unit, stamps are counted in the greatest one (day, hour, …) that the median gap holds. Stamps are cut
    after 70 and 80 % of the events, and numbers where there are few sequences; many are parted 70, 10 and 20 %, since
    numbers often begin anew in each.
    """
    if nested := next((c for c in frame.columns if isinstance(frame[c].dtype, pl.List | pl.Struct)), None):
        raise DataError(
            f"{where}: column '{nested}' holds lists",
            "expected one event a row",
            f"convert it with `forecast data convert {where} to=DIR`",
        )
    for option, given in (("id", [id]), ("time", [time]), ("mark", [mark]), ("covariates", covariates)):
        for column in given:
            if column is not None and column not in frame.columns:
                raise UsageError(
                    f"data.{option} names '{column}', which is no column of {where}", nearest(column, frame.columns)
                )
    taken = [*covariates, *(c for c in (id, time, mark) if c is not None)]
    time = time or _time(frame, taken, where)
    id = id or _usual(frame, "id", [*taken, time], where)
    mark = mark or _usual(frame, "mark", [*taken, time, *([id] if id else [])], where)
    mark = mark or _text_column(frame, [*taken, time, *([id] if id else [])], where)
    ticks, number = _ticks(frame, time, id, where)
    card: dict[str, Any] = {
        "name": name,
        "kind": EVENTS,
        "about": f"inferred from {where}",
        "files": [{"path": where, "rows": frame.height}],
        "id": id,
        "time": time,
        "mark": mark,
        "unit": unit or _unit(frame[time], ticks, number),
        "labels": labels,
        "grid": grid,
        "floor": floor,
        "twice": twice,
        "covariates": list(covariates),
        "periods": list(periods),
        "splits": splits or _cuts(frame[time], ticks, number),
    }
    return EventCard.from_dict(card, where)


def _usual(frame: pl.DataFrame, what: str, taken: Sequence[str], where: str) -> str | None:
    """The only free column with a usual name; None where there is none."""
    found = [c for c in frame.columns if c.lower() in USUAL[what] and c not in taken]
    if len(found) > 1:
        raise DataError(
            f"{where}: the columns {', '.join(found)} may all be the {what}",
            f"found columns {', '.join(frame.columns[:12])}",
            f"set {what}=COLUMN",
        )
    return found[0] if found else None


def _time(frame: pl.DataFrame, taken: Sequence[str], where: str) -> str:
    """The only column of stamps, or the only one with a usual name."""
    stamps = [c for c in frame.columns if c not in taken and is_stamps(frame[c])]
    if len(stamps) == 1:
        return stamps[0]
    if found := _usual(frame, "time", taken, where):
        return found
    what = f"the columns {', '.join(stamps)} all hold stamps" if stamps else "no column seems to be the time"
    raise DataError(f"{where}: {what}", f"found columns {', '.join(frame.columns[:12])}", "set time=COLUMN")


def _text_column(frame: pl.DataFrame, taken: Sequence[str], where: str) -> str | None:
    """The only column of text that is left, as the marks."""
    found = [c for c in frame.columns if c not in taken and is_text(frame[c]) and not is_stamps(frame[c])]
    if len(found) > 1:
        raise DataError(
            f"{where}: the columns {', '.join(found)} hold text",
            "expected one that tells events apart, and maybe one that tells sequences apart",
            "set mark=COLUMN, and id=COLUMN",
        )
    return found[0] if found else None


def _ticks(frame: pl.DataFrame, time: str, id: str | None, where: str) -> tuple[Floats, Ints]:
    """(N,) microseconds of stamps, or the numbers of a column of numbers, and (N,) the sequence of each row."""
    column = frame[time]
    ticks = column.cast(pl.Float64, strict=False).to_numpy() if not is_stamps(column) else None
    if ticks is None:
        ticks = parse_stamps(column, where)[0].astype("datetime64[us]").astype(np.int64).astype(np.float64)
    number = np.zeros(frame.height, np.int64)
    if id is not None:
        number = parse_names(frame[id], where).rank("dense").fill_null(0).to_numpy().astype(np.int64)
    return ticks, number


def _unit(column: pl.Series, ticks: Floats, number: Ints) -> str:
    """The greatest unit that the median gap holds, for stamps; "unit" for numbers, which say nothing of theirs."""
    if not is_stamps(column):
        return "unit"
    order = np.lexsort((ticks, number))
    gaps = np.diff(ticks[order])[np.diff(number[order]) == 0]
    gaps = gaps[gaps > 0]
    median = float(np.median(gaps)) if len(gaps) else 0.0
    return next((u for u, size in sorted(UNITS.items(), key=lambda one: -one[1]) if size <= median), "second")


def _cuts(column: pl.Series, ticks: Floats, number: Ints) -> dict[str, Any]:
    """The times at 70 and 80 % of the events; fractions of the sequences where numbers tell many apart."""
    stamps = is_stamps(column)
    if not stamps and len(np.unique(number)) >= FEW or not np.isfinite(ticks).all():
        return dict(SPLITS)
    val, test = (float(np.sort(ticks)[int(share * len(ticks))]) for share in (0.7, 0.8))
    if not stamps:
        return {"val": val, "test": test}
    exact = "D" if test - val > 2 * UNITS["day"] else "s"
    return {
        k: str(np.datetime64(int(v), "us").astype(f"datetime64[{exact}]")) for k, v in (("val", val), ("test", test))
    }


def describe_events(card: EventCard) -> str:
    """The card as lines `key: value`, for reading."""
    marks = "none: events are not told apart" if card.mark is None else card.mark
    lines = {
        "name": card.name,
        "about": card.about,
        "source": card.source,
        "licence": card.licence,
        "files": ", ".join(f"{f.path}{f' ({f.rows:,} rows)' if f.rows else ''}" for f in card.files)
        or "none: the card only describes",
        "id": card.id or "none: one sequence",
        "time": f"{card.time}, in {card.unit}s",
        "mark": f"{marks}, several parted by '{card.labels}'" if card.labels else marks,
        "grid": "that of the stamps; none of numbers"
        if card.grid is None
        else f"{card.grid:.6g} {card.unit}s"
        if card.grid
        else "none",
        "floor": f"gaps below {card.floor:.6g} {card.unit}s count as that" if card.floor else "",
        "twice": "rows written twice are dropped" if card.twice == "drop" else "",
        "covariates": ", ".join(card.covariates),
        "periods": ", ".join(str(p) if isinstance(p, str) else f"{p:g} {card.unit}s" for p in card.periods),
        "splits": ", ".join(f"{key} {told(value)}" for key, value in card.splits.items()),
    }
    return "\n".join(f"{key}: {value}" for key, value in lines.items() if value)


def told(share: Any) -> str:
    """A part of the splits in a few words."""
    return f"{len(share):,} ids" if isinstance(share, Sequence) and not isinstance(share, str) else f"{share}"
