"""What a card of events may say: the checks of its values, one by one and together."""

import math
from collections.abc import Mapping
from datetime import date, datetime
from typing import TYPE_CHECKING, Any, Final

from forecast.data.card import EVENTS, LABELLED, number, plain_splits
from forecast.data.events import TWICE, UNITS
from forecast.errors import DataError, nearest

if TYPE_CHECKING:
    from forecast.data.event_card import EventCard

PARTS: Final = ("train", "val", "test")
PERIODS: Final = ("day", "week", "year")


def text(plain: Mapping[str, Any], key: str, where: str) -> str | None:
    """The name of a column, or a separator; None where it is left out."""
    value = plain.get(key)
    if value is not None and (not isinstance(value, str) or not value):
        raise DataError(f"{where}: {key} is '{value}'", "expected text", "write it in quotation marks, or null")
    return value


def amount(plain: Mapping[str, Any], key: str, where: str) -> float | None:
    """A finite number that is not negative; None where it is left out."""
    value = plain.get(key)
    if value is None:
        return None
    amount = math.nan if isinstance(value, bool) else number(float, value, f"{where}: {key}")
    if not 0 <= amount < math.inf:
        raise DataError(f"{where}: {key} is {value}", "expected a time in the unit of the card", "0 means none")
    return amount


def listed(plain: Mapping[str, Any], key: str, where: str) -> list[Any]:
    value = plain.get(key) or []
    if not isinstance(value, list | tuple):
        raise DataError(f"{where}: {key} is '{value}'", "expected a list", f"write {key}: [{value}]")
    return list(value)


def period(value: Any, where: str) -> float | str:
    """A period of the clock: a word, or a number above 0."""
    if isinstance(value, str):
        if value not in PERIODS:
            raise DataError(f"{where}: the period '{value}' is unknown", nearest(value, PERIODS), "or write a number")
        return value
    length = math.nan if isinstance(value, bool) else number(float, value, f"{where}: periods")
    if not 0 < length < math.inf:
        raise DataError(f"{where}: a period is {value}", "expected a number above 0", "correct the card")
    return length


def parts(splits: Any) -> dict[str, Any]:
    """Parts as plain data: ids as text, dates in ISO; what they mean is checked where they are applied."""
    plain = plain_splits(splits)
    return {
        key: [_id(one) for one in value] if isinstance(value, list | tuple) else value for key, value in plain.items()
    }


def _id(value: Any) -> str:
    return value.isoformat() if isinstance(value, date | datetime) else str(value)


def check(card: "EventCard", where: str) -> None:
    """What the types cannot say: each column in one role, a unit that periods can be counted in, files of parts."""
    if card.kind != EVENTS:
        raise DataError(
            f"{where} has the kind '{card.kind}'", f"expected series, {EVENTS} or {LABELLED}", "correct the card"
        )
    if not card.time or not card.unit.strip():
        empty = "unit" if card.time else "time"
        raise DataError(f"{where}: {empty} is empty", "expected a name", "correct the card")
    named = [name for name in (card.id, card.time, card.mark, *card.covariates) if name is not None]
    if double := next((name for name in named if named.count(name) > 1), None):
        raise DataError(f"{where} names the column '{double}' twice", "expected each in one role", "correct the card")
    if card.twice not in TWICE:
        raise DataError(f"{where}: twice is '{card.twice}'", "expected keep or drop", nearest(card.twice, TWICE))
    if card.labels is not None and card.mark is None:
        raise DataError(f"{where} has labels", "expected a column of marks that they part", "name it in mark")
    if card.unit not in UNITS and (word := next((p for p in card.periods if isinstance(p, str)), None)):
        raise DataError(
            f"{where}: the period '{word}' cannot be counted in the unit '{card.unit}'",
            f"expected a unit among {', '.join(UNITS)}",
            "write the period as a number",
        )
    paths = [file.path for file in card.files]
    absent = next((path for path in card.splits.values() if card.by_files and path not in paths), None)
    if absent is not None:
        raise DataError(f"{where}: splits names the file '{absent}'", nearest(absent, paths), "list it under files")
    if card.by_files and len(set(card.splits.values())) < len(PARTS):
        raise DataError(f"{where}: splits names a file twice", "expected one for each part", "correct the card")
