"""The card of a data set of labelled series: where its files are, what their columns mean, how they are parted.

What is defined here, beside what `labelled.py` and `label_split.py` say of the table itself:

- a file is a table with a row for each step, or a file .ts (see `ts.py`), whose channels take the card's names;
- `rows` of a file are its steps, of all series together: the rows of that table, whatever the format;
- `splits` name two or three of the `files`, {train: FILE, test: FILE} (the official parts), or tell shares of the
  series, or lists of ids; without a `val` validation is cut from the training series (see `label_split.py`);
- a card without files only describes a data set.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Final

import polars as pl

from forecast.data.address import CardFile, check_file
from forecast.data.card import LABELLED, card_place, check_keys, number, other_kind, read_plain, record
from forecast.data.event_card import USUAL, told
from forecast.data.event_card_checks import listed, parts, text
from forecast.data.formats import READERS
from forecast.data.labelled import LabelColumns
from forecast.data.read import Reader, absolute, read_file, read_files
from forecast.data.stamps import is_stamps, is_text
from forecast.data.ts import ID, LABEL, read_ts
from forecast.errors import DataError, UsageError, nearest

SPLITS: Final[dict[str, Any]] = {"train": 0.8, "test": 0.2}  # of the series, where a card says nothing
FORMATS: Final[dict[str, Reader]] = {**READERS, ".ts": read_ts}
LABELS: Final = ("label", "class", "target", "category", "y")  # usual names of a column of labels, in lower case
TIMES: Final = (*USUAL["time"], "step", "t", "index", "order")
EMPTY: Final[tuple[Any, ...]] = (None, "", [], ())


@dataclass(frozen=True, slots=True)
class LabelCard:
    """The facts of a data set of labelled series."""

    name: str
    kind: str
    about: str
    source: str
    licence: str
    files: tuple[CardFile, ...]
    id: str = ID  # the column that tells series apart
    time: str | None = None  # the column that orders the steps of a series; None: as they are in the file
    label: str = LABEL  # the column of the class, one for all rows of a series
    channels: tuple[str, ...] = ()  # columns of numbers, none: all others; of a file .ts, what its channels are called
    units: tuple[str, ...] = ()  # of the channels; none: not known
    missing: tuple[float, ...] = ()  # numbers that mean "nothing was measured"
    splits: dict[str, Any] = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        if self.splits is None:
            object.__setattr__(self, "splits", dict(SPLITS))

    def columns(self, there: Sequence[str]) -> LabelColumns:
        """What `read_labelled` must know of a table with these columns."""
        rest = tuple(c for c in there if c not in (self.id, self.time, self.label))
        return LabelColumns(
            id=self.id, time=self.time, label=self.label, channels=self.channels or rest, missing=self.missing
        )

    @property
    def by_files(self) -> bool:
        """Whether each part is a file of its own."""
        return all(isinstance(value, str) for value in self.splits.values())

    def to_dict(self) -> dict[str, Any]:
        """Plain data that JSON and YAML can hold, without what is left out; the inverse of `from_dict`."""
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        for record_of in (*plain["files"], plain):
            for key in [key for key, value in record_of.items() if value in EMPTY and key not in ("files", "about")]:
                del record_of[key]
        return plain

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any], where: str = "the card") -> "LabelCard":
        """Build and check a card; an unknown key or a column named twice is a DataError."""
        check_keys(plain, cls, where, optional=[f.name for f in fields(cls) if f.name not in ("name", "kind")])
        card = cls(
            name=str(plain["name"]),
            kind=str(plain["kind"]),
            about=" ".join(str(plain.get("about") or "").split()),
            source=str(plain.get("source") or ""),
            licence=str(plain.get("licence") or ""),
            files=tuple(record(CardFile, file, f"{where}: files") for file in plain.get("files") or ()),
            id=text(plain, "id", where) or ID,
            time=text(plain, "time", where),
            label=text(plain, "label", where) or LABEL,
            channels=tuple(str(name) for name in listed(plain, "channels", where)),
            units=tuple(str(name) for name in listed(plain, "units", where)),
            missing=tuple(number(float, one, f"{where}: missing") for one in listed(plain, "missing", where)),
            splits=parts(plain.get("splits") or SPLITS),
        )
        for file in card.files:
            check_file(file, where)
        _check(card, where)
        return card


def _check(card: LabelCard, where: str) -> None:
    """What the types cannot say: each column in one role, a unit for each channel, files of parts."""
    if card.kind != LABELLED:
        raise DataError(f"{where} has the kind '{card.kind}'", f"expected {LABELLED}", "correct the card")
    named = [name for name in (card.id, card.time, card.label, *card.channels) if name is not None]
    if double := next((name for name in named if named.count(name) > 1), None):
        raise DataError(f"{where} names the column '{double}' twice", "expected each in one role", "correct the card")
    if card.units and len(card.units) != len(card.channels):
        raise DataError(
            f"{where} has {len(card.units)} units for {len(card.channels)} channels",
            "expected one for each, or none",
            "write '' for a unit that is not known",
        )
    if not {"train", "test"} <= set(card.splits):
        raise DataError(
            f"{where}: splits has {', '.join(card.splits)}",
            "expected train and test, and maybe val",
            "give {train: .8, test: .2}, lists of ids, or files",
        )
    if not card.by_files and len(card.files) > 1:
        raise DataError(
            f"{where} has {len(card.files)} files, and splits that name none of them",
            "expected one file, or {train: FILE, test: FILE}",
            "correct the splits",
        )
    paths = [file.path for file in card.files]
    if card.by_files and (absent := next((p for p in card.splits.values() if p not in paths), None)) is not None:
        raise DataError(f"{where}: splits names the file '{absent}'", nearest(absent, paths), "list it under files")
    if card.by_files and len(set(card.splits.values())) < len(card.splits):
        raise DataError(f"{where}: splits names a file twice", "expected one for each part", "correct the card")


def load_label_card(name: str) -> LabelCard:
    """The card of a known data set of labelled series, or of a YAML file; UsageError for a name that is neither."""
    return read_label_card(card_place(name))


def read_label_card(path: Path) -> LabelCard:
    """A card of labelled series from a YAML file; UsageError for one of another kind."""
    plain = read_plain(path)
    other_kind(plain, LABELLED, path)
    return LabelCard.from_dict(plain, str(path))


def read_label_frames(
    card: LabelCard, *, path: str | Path | None = None, folder: Path | None = None, notes: list[str] | None = None
) -> tuple[list[tuple[str, pl.DataFrame]], list[CardFile]]:
    """The tables of a card, or of another file with its columns: each with its path as the card writes it.

    Digests are checked. The second list holds the same files with their absolute paths, their rows, and the digests
    that were checked. `folder` is that of a card of the user's own. DataError for a card that only describes.
    """
    if path is not None:
        place = absolute(path)
        frame = read_file(place, notes, FORMATS)
        return [(place.name, adapted(card, frame, place.name))], [CardFile(str(place), rows=frame.height)]
    if not card.files:
        raise only_described(card)
    frames, read = read_files(card, folder, notes, FORMATS)
    tables = [adapted(card, frame, file.path) for file, frame in zip(card.files, frames, strict=True)]
    return list(zip([file.path for file in card.files], tables, strict=True)), read


def adapted(card: LabelCard, frame: pl.DataFrame, where: str) -> pl.DataFrame:
    """The columns of a file .ts with the names of the card; other tables as they are."""
    if Path(where).suffix.lower() != ".ts":
        return frame
    channels = [name for name in frame.columns if name not in (ID, LABEL)]
    names = list(card.channels or channels)
    if len(names) != len(channels):
        raise DataError(
            f"{where} has {len(channels)} channel{'s' if len(channels) > 1 else ''}",
            f"expected {len(names)}: {', '.join(names[:8])}",
            "correct the channels, or leave them out",
        )
    return frame.rename({ID: card.id, LABEL: card.label, **dict(zip(channels, names, strict=True))}, strict=False)


def only_described(card: LabelCard) -> DataError:
    """The error of a card without files: where the data are to be had."""
    return DataError(
        f"the card '{card.name}' only describes its data set",
        f"get the files from {card.source or 'its source'}",
        "write a card that names them (see datasets/README.md), or set data.path=TRAIN.ts data.test=TEST.ts",
    )


def infer_label_card(
    frame: pl.DataFrame,
    where: str,
    *,
    name: str,
    id: str | None = None,
    time: str | None = None,
    label: str | None = None,
    channels: Sequence[str] = (),
    missing: Sequence[float] = (),
    splits: Mapping[str, Any] | None = None,
    notes: list[str] | None = None,
) -> LabelCard:
    """The card of a table that has none; what is given is not inferred, and what may be read in two ways is asked for.

    Channels are all other columns that hold numbers.
    """
    for option, given in (("id", [id]), ("time", [time]), ("label", [label]), ("channels", channels)):
        for column in given:
            if column is not None and column not in frame.columns:
                raise UsageError(
                    f"data.{option} names '{column}', which is no column of {where}", nearest(column, frame.columns)
                )
    taken = [*channels, *(c for c in (id, time, label) if c is not None)]
    id = id or _asked(frame, "id", "tells series apart", USUAL["id"], taken, where)
    label = label or _label(frame, id, [*taken, id], where)
    time = time or _time(frame, [*taken, id, label])
    rest = [c for c in frame.columns if c not in (id, time, label)]
    if not channels and (odd := [c for c in rest if is_text(frame[c]) or not _flat(frame[c])]):
        raise DataError(
            f"{where}: column '{odd[0]}' holds no numbers",
            f"expected numbers in all columns but {', '.join(c for c in (id, time, label) if c)}",
            "name the channels: channels=A,B",
        )
    if not (channels or rest):
        raise DataError(f"{where} has no column of values", f"found {', '.join(frame.columns)}", "add a channel")
    card: dict[str, Any] = {
        "name": name, "kind": LABELLED, "about": f"inferred from {where}",
        "files": [{"path": where, "rows": frame.height}], "id": id, "time": time, "label": label,
        "channels": list(channels or rest), "missing": list(missing), "splits": splits,
    }  # fmt: skip
    if notes is not None:
        few = f"{', '.join(card['channels'][:8])}{', …' if len(card['channels']) > 8 else ''}"
        notes.append(f"inferred: id={id} time={time or 'none'} label={label} channels={few}")
    return LabelCard.from_dict({key: value for key, value in card.items() if value is not None}, where)


def _flat(column: pl.Series) -> bool:
    """Whether a column may hold the numbers of a channel."""
    return column.dtype == pl.String or column.dtype.is_numeric() or column.dtype in (pl.Boolean, pl.Null)


def _asked(
    frame: pl.DataFrame, what: str, does: str, usual: Sequence[str], taken: Sequence[str], where: str
) -> str:  # fmt: skip
    """The only free column with a usual name."""
    found = [c for c in frame.columns if c.lower() in usual and c not in taken]
    if len(found) == 1:
        return found[0]
    many = f"the columns {', '.join(found)} may all be the {what}" if found else f"no column seems to be the {what}"
    raise DataError(
        f"{where}: {many}", f"expected one that {does}; found {', '.join(frame.columns[:12])}", f"set {what}=COLUMN"
    )


def _label(frame: pl.DataFrame, id: str, taken: Sequence[str], where: str) -> str:
    """Of the free columns that never change within a series the one with a usual name, else the one of text. Where all
    change the only one of text: it can be nothing else, and which series it changes in is said when it is read."""
    usual = [c for c in frame.columns if c.lower() in LABELS and c not in taken]
    words = [c for c in frame.columns if c not in (*taken, *usual) and is_text(frame[c]) and not is_stamps(frame[c])]
    many = frame.group_by(id).agg(pl.col(*usual, *words).n_unique()) if usual or words else frame.clear()
    for names in (usual, words):
        same = [c for c in names if many[c].max() == 1]
        if len(same) == 1:
            return same[0]
        if same:
            break
    usual = [c for c in usual if not frame[c].dtype.is_float()]  # what is measured is often called y
    if not usual and len(words) == 1:
        return words[0]
    return _asked(frame, "label", "is the class of a series", usual, taken, where)


def _time(frame: pl.DataFrame, taken: Sequence[str]) -> str | None:
    """The only free column of stamps, else the only one with a usual name; None: rows are in their order."""
    for found in (
        [c for c in frame.columns if c not in taken and is_stamps(frame[c])],
        [c for c in frame.columns if c not in taken and c.lower() in TIMES],
    ):
        if len(found) == 1:
            return found[0]
    return None


def describe_labelled(card: LabelCard) -> str:
    """The card as lines `key: value`, for reading."""
    units = card.units or ("",) * len(card.channels)
    channels = [f"{name} ({unit})" if unit else name for name, unit in zip(card.channels, units, strict=True)]
    splits = {**({} if "val" in card.splits else {"val": "cut from train"}), **card.splits}
    lines = {
        "name": card.name,
        "about": card.about,
        "source": card.source,
        "licence": card.licence,
        "files": ", ".join(_file(file) for file in card.files) or "none: the card only describes",
    }
    if card.files:
        lines |= {
            "id": card.id,
            "time": card.time or "rows are in their order",
            "label": card.label,
            "channels": ", ".join(channels) or "all other columns",
            "missing": ", ".join(f"{m:g}" for m in card.missing),
            "splits": ", ".join(f"{key} {told(splits[key])}" for key in ("train", "val", "test")),
        }
    return "\n".join(f"{key}: {value}" for key, value in lines.items() if value)


def _file(file: CardFile) -> str:
    """A file in a few words."""
    facts = [f"{file.rows:,} steps"] if file.rows else []
    facts += [f"in the package {file.package}"] if file.package else []
    return file.path + (f" ({', '.join(facts)})" if facts else "")
