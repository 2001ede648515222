"""A data set is described, not coded: a card says where the file is, what its columns mean, how to split."""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from forecast.data.address import CardFile as CardFile
from forecast.data.address import check_file
from forecast.data.freq import parse_freq
from forecast.data.holidays import named, placed
from forecast.errors import DataError, UsageError, nearest
from forecast.where import DATASETS

if TYPE_CHECKING:
    from forecast.data.event_card import EventCard
    from forecast.data.label_card import LabelCard

T = TypeVar("T")

KINDS: Final = ("series",)
EVENTS: Final = "events"  # the kind of the cards in event_card.py
LABELLED: Final = "labelled"  # … in label_card.py
TASKS: Final = {"series": "forecast", EVENTS: "event", LABELLED: "classify"}  # kind → task
WORDS: Final = {"series": "series", EVENTS: "events", LABELLED: "labelled series"}  # kind → what it is called
ALL: Final = "all"  # the channels of a card that leaves their names to the file
ROLES: Final = ("target", "past_only", "known_future", "static")
SPLITS: Final[dict[str, Any]] = {"train": 0.7, "val": 0.1, "test": 0.2}  # of a file that has no card


@dataclass(frozen=True, slots=True)
class TimeColumn:
    """The column of stamps and their step. Without an offset they show the clock of `zone` (None: UTC)."""

    column: str
    freq: str
    zone: str | None = None


@dataclass(frozen=True, slots=True)
class Channel:
    """One column; `column` is its name in the file where that differs. A covariate may be of the kind category."""

    name: str
    role: str = "target"
    unit: str = ""
    column: str | None = None
    kind: str = ""  # category, or "": numbers, or a category where a covariate's column holds text

    @property
    def source(self) -> str:
        return self.column or self.name


@dataclass(frozen=True, slots=True)
class Card:
    """The facts of a data set; `missing` are numbers that mean "nothing was measured".

    No channels (`channels: all` in YAML): every column but the time and the id is a target, see `named`.
    """

    name: str
    kind: str
    about: str
    source: str
    licence: str
    files: tuple[CardFile, ...]
    time: TimeColumn
    id: str | None
    channels: tuple[Channel, ...]
    season: int
    missing: tuple[float, ...]
    splits: dict[str, Any]
    holidays: tuple[str, ...] = ()  # countries or parts of them (DE, DE-BY), tables of one's own: see holidays.py
    covariates: str | None = None  # a second table, with the covariates that it has: see known.py

    def to_dict(self) -> dict[str, Any]:
        """Plain data that JSON and YAML can hold; the inverse of `from_dict`."""
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        for file in plain["files"]:
            for key in [key for key, value in file.items() if value in (None, "") and key != "sha256"]:
                del file[key]
        for channel in plain["channels"]:
            if not channel["kind"]:
                del channel["kind"]
        if not self.covariates:
            del plain["covariates"]
        return plain if self.channels else {**plain, "channels": ALL}

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any], where: str = "the card") -> "Card":
        """Build and check a card; an unknown key, role, kind or frequency is a DataError that names it."""
        check_keys(
            plain,
            cls,
            where,
            optional=(
                *("about", "source", "licence", "files", "id", "season", "missing", "splits", "holidays"),
                "covariates",
            ),
        )
        files = tuple(record(CardFile, f, f"{where}: files") for f in plain.get("files") or ())
        time = record(TimeColumn, plain["time"], f"{where}: time")
        every = plain["channels"] == ALL
        listed = () if every else plain["channels"] or ()
        channels = tuple(record(Channel, c, f"{where}: channels") for c in listed)
        freq = parse_freq(str(time.freq))
        card = cls(
            name=str(plain["name"]),
            kind=str(plain["kind"]),
            about=" ".join(str(plain.get("about") or "").split()),
            source=str(plain.get("source") or ""),
            licence=str(plain.get("licence") or ""),
            files=files,
            time=replace(time, freq=freq.alias),
            id=plain.get("id"),
            channels=channels,
            season=number(int, plain.get("season") or freq.season, f"{where}: season"),
            missing=tuple(number(float, m, f"{where}: missing") for m in plain.get("missing") or ()),
            splits=plain_splits(plain.get("splits") or SPLITS),
            holidays=named(plain.get("holidays"), f"{where}: holidays"),
            covariates=None if plain.get("covariates") is None else str(plain["covariates"]),
        )
        for file in files:
            check_file(file, where)
        _check(card, where, every)
        return card

    def named(self, columns: Sequence[str]) -> "Card":
        """The card with the channels of a file that has these columns, where it names none itself."""
        if self.channels:
            return self
        rest = tuple(Channel(c) for c in columns if c not in (self.time.column, self.id))
        return replace(self, channels=rest)


def check_keys(plain: Any, cls: type, where: str, optional: Sequence[str] = ()) -> None:
    """Refuse what is no mapping, an unknown key and an absent one."""
    known = [f.name for f in fields(cls)]
    if not isinstance(plain, Mapping):
        raise DataError(f"{where} is {type(plain).__name__}", f"expected keys {', '.join(known)}", "correct the card")
    for key in plain:
        if key not in known:
            raise DataError(f"{where} has an unknown key '{key}'", nearest(str(key), known), "correct the card")
    for key in known:
        if key not in plain and key not in optional:
            raise DataError(f"{where} has no '{key}'", f"expected keys {', '.join(known)}", "add it to the card")


def record(cls: type[T], plain: Any, where: str) -> T:
    """A small frozen record of a card from plain data."""
    must = {"CardFile": "path", "TimeColumn": "freq", "Channel": "name"}[cls.__name__]
    names = [f.name for f in fields(cls)]  # type: ignore[arg-type]
    check_keys(
        plain,
        cls,
        where,
        optional=[n for n in names if n != must and n != "column" or cls is Channel and n != must],
    )
    return cls(**plain)


def number(kind: Callable[[Any], T], value: Any, where: str) -> T:
    """A number of a card."""
    try:
        return kind(value)
    except (TypeError, ValueError):
        raise DataError(f"{where} is '{value}'", "expected a number", "correct the card") from None


def _check(card: Card, where: str, every: bool) -> None:
    """What the types cannot say: known kinds and roles, unique names, at least one target."""
    if card.kind not in KINDS:
        raise DataError(
            f"{where} has the kind '{card.kind}'",
            f"expected {', '.join((*KINDS, EVENTS))} or {LABELLED}",
            "correct the card",
        )
    for channel in card.channels:
        if channel.role not in ROLES:
            raise DataError(
                f"{where}: channel '{channel.name}' has the role '{channel.role}'",
                f"expected {', '.join(ROLES[:-1])} or {ROLES[-1]}",
                nearest(channel.role, ROLES),
            )
        if channel.kind not in ("", "category") or channel.kind and channel.role == "target":
            raise DataError(
                f"{where}: channel '{channel.name}' with the role {channel.role} is of the kind '{channel.kind}'",
                "expected none, or category for a covariate",
                "correct the card",
            )
    names = [c.name for c in card.channels]
    if double := next((n for n in names if names.count(n) > 1), None):
        raise DataError(f"{where} names the channel '{double}' twice", "expected each name once", "correct the card")
    if not every and not any(c.role == "target" for c in card.channels):
        raise DataError(f"{where} has no target channel", "expected at least one", "give a channel the role target")
    if card.season < 1:
        raise DataError(f"{where} has the season {card.season}", "expected a number of steps, 1 for none", "correct it")


def plain_splits(splits: Mapping[str, Any]) -> dict[str, Any]:
    """Split facts as numbers and ISO dates; what they mean is checked where they are applied (split.py)."""
    if not isinstance(splits, Mapping):
        raise DataError(
            f"splits is {splits}", "expected train, val and test", "give {train: .7, val: .1, test: .2}, rows or dates"
        )
    for key in splits:
        if key not in ("train", "val", "test", "end"):
            raise DataError(
                f"splits has an unknown key '{key}'",
                nearest(str(key), ("train", "val", "test", "end")),
                "give train, val and test, or the dates val and test",
            )
    return {k: v.isoformat() if isinstance(v, date | datetime) else v for k, v in splits.items()}


def card_names(kind: str | None = None) -> tuple[str, ...]:
    """The data sets that have a card, sorted: all of them, or those of one kind: series, events or labelled."""
    names = sorted(p.parent.name for p in DATASETS.glob("*/card.yaml"))
    return tuple(name for name in names if kind is None or card_kind(name) == kind)


def card_file(name: str) -> Path | None:
    """The absolute path of a card of the user's own, which is named by a file; None for a known data set."""
    if Path(name).suffix.lower() not in (".yaml", ".yml"):
        return None
    return Path(os.path.expanduser(name)).absolute()


def card_place(name: str) -> Path:
    """The file of the card of a known data set, or of a YAML file; UsageError with the nearest name otherwise."""
    if path := card_file(name):
        if not path.is_file():
            raise UsageError(
                f"the card {name} does not exist",
                "expected a YAML file",
                "write one with: forecast data show FILE save=card.yaml",
            )
        return path
    if name not in card_names():
        raise UsageError(
            f"there is no data set '{name}'",
            nearest(name, card_names()),
            "see `forecast data list`, or give a file: data=series data.path=FILE",
        )
    return DATASETS / name / "card.yaml"


def load_card(name: str) -> Card:
    """The card of a known data set of series, or of a YAML file; UsageError with the nearest name otherwise."""
    return read_card(card_place(name))


def card_kind(name: str) -> str:
    """What a card describes: series (also where it does not say), events or labelled. Errors as of `load_card`."""
    kind = plain.get("kind") if isinstance(plain := read_plain(card_place(name)), Mapping) else None
    return str(kind) if kind in (EVENTS, LABELLED) else "series"


def read_plain(path: Path) -> Any:
    """What a YAML file holds; DataError where it is none."""
    import yaml

    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as fault:
        raise DataError(
            f"the card {path} cannot be read: {' '.join(str(fault).split())}",
            "expected a YAML file",
            "correct it",
        ) from fault


def read_card(path: Path) -> Card:
    """A card of series from a YAML file; UsageError for one of another kind."""
    plain = read_plain(path)
    other_kind(plain, "series", path)
    card = Card.from_dict(plain, str(path))
    beside = None if card.covariates is None else str((path.parent / os.path.expanduser(card.covariates)).absolute())
    return replace(card, holidays=placed(card.holidays, path.parent), covariates=beside)


def other_kind(plain: Any, wanted: str, path: Path) -> None:
    """UsageError for the card of a known kind that is not the wanted one; it names the task that fits."""
    kind = plain.get("kind", wanted) if isinstance(plain, Mapping) else wanted
    if kind != wanted and kind in TASKS:
        raise UsageError(
            f"'{plain.get('name', path)}' is a data set of {WORDS[kind]}",
            f"expected {WORDS[wanted]}",
            f"set task={TASKS[kind]}",
        )


def save_card(card: "Card | EventCard | LabelCard", path: Path) -> None:
    """Write a card as YAML, whole or not at all."""
    import yaml

    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(path.name + ".tmp")
    draft.write_text(yaml.safe_dump(card.to_dict(), sort_keys=False, allow_unicode=True), encoding="utf-8")
    draft.replace(path)


def describe(card: Card) -> str:
    """The card as lines `key: value`, for reading."""
    units = {c.name: f" ({c.unit or c.kind})" if c.unit or c.kind else "" for c in card.channels}
    by_role = {r: ", ".join(c.name + units[c.name] for c in card.channels if c.role == r) for r in ROLES}
    lines = {
        "name": card.name,
        "about": card.about,
        "source": card.source,
        "licence": card.licence,
        "files": ", ".join(f"{f.path}{f' ({f.rows:,} rows)' if f.rows else ''}" for f in card.files),
        "time": f"{card.time.column}, step {card.time.freq}, {card.time.zone or 'UTC'}",
        "id": card.id or "none: one series",
        "targets": by_role["target"] or "all other columns of the file",
        "past only": by_role["past_only"],
        "known ahead": by_role["known_future"],
        "static": by_role["static"],
        "covariates": card.covariates or "",
        "season": f"{card.season} steps" if card.season > 1 else "none",
        "missing": ", ".join(f"{m:g}" for m in card.missing),
        "splits": ", ".join(f"{k} {v}" for k, v in card.splits.items()),
        "holidays": ", ".join(card.holidays),
    }
    return "\n".join(f"{key}: {value}" for key, value in lines.items() if value)
