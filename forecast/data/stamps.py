"""Columns of a file → stamps and numbers; a fault names the file, the row and the column.

Rows are counted from 1 at the first row of data, as in `forecast data check`.
"""

from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from forecast.data.freq import Stamps
from forecast.errors import DataError

NOTHING: Final = ("", "na", "n/a", "nan", "null", "none", "?", "#n/a")  # text that means a missing value
_CLOCKS: Final = ("", " %H:%M", " %H:%M:%S", " %H:%M:%S%.f")
_DATES: Final = ("%Y-%m-%d", "%Y/%m/%d", "%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%Y%m%d")
_TWINS: Final = {"%d/%m/%Y": "%m/%d/%Y"}
_OFFSET: Final = r"(?:Z|UTC|[+-]\d{2}:?\d{2})$"
_HELP: Final = "expected stamps like 2024-01-31 13:00"


def parse_stamps(column: pl.Series, where: str) -> tuple[Stamps, str | None]:
    """(N,) datetime64[us] and "UTC" when the stamps carry an offset (they are then UTC), else None."""
    name = column.name
    if column.dtype == pl.String:
        stamps, aware = _from_text(column, where)
    elif isinstance(column.dtype, pl.Datetime):
        aware = column.dtype.time_zone is not None
        stamps = column.dt.convert_time_zone("UTC").dt.replace_time_zone(None) if aware else column
    elif column.dtype == pl.Date:
        stamps, aware = column, False
    else:
        raise DataError(
            f"{where}: column '{name}' holds {str(column.dtype).lower()} values, not stamps",
            _HELP,
            "write dates, or name another time column",
        )
    if stamps.null_count():
        row = _first(stamps.is_null())
        raise DataError(f"{where}: row {row}, column '{name}': the stamp is empty", _HELP, "fill it or drop the row")
    return stamps.cast(pl.Datetime("us")).to_numpy(), "UTC" if aware else None


def is_stamps(column: pl.Series) -> bool:
    """Whether a column holds stamps: a date type, or text whose first values read as dates."""
    if column.dtype == pl.Date or isinstance(column.dtype, pl.Datetime):
        return True
    if column.dtype != pl.String:
        return False
    head = column.drop_nulls().head(50)
    if not len(head) or head.str.contains(r"^\s*[+-]?[\d.,]+\s*$").all():
        return False  # bare numbers may be years, but nobody said so
    try:
        parse_stamps(head, "")
    except DataError as fault:
        return "day or month" in fault.found
    return True


def _from_text(column: pl.Series, where: str) -> tuple[pl.Series, bool]:
    """Text in one of the common formats → Datetime, and whether it carried offsets."""
    text = column.str.strip_chars()
    text = text.set(text.str.to_lowercase().is_in(NOTHING), None)
    seen = text.drop_nulls().head(1000)
    aware = bool(len(seen)) and bool(seen.str.contains(_OFFSET).all() and seen.str.contains(r"\d:\d").all())
    plain = _plain(text)
    fits = [form for form in _formats() if len(seen) and not _read(_plain(seen), form, aware).null_count()]
    if not fits:
        wrong = _worst(_plain(seen), aware)
        bad = seen[wrong] if len(seen) else ""
        raise DataError(
            f"{where}: row {_first(text == bad)}, column '{column.name}': '{bad}' is not a stamp",
            _HELP,
            "rewrite the column",
        )
    reads = {form: _read(plain, form, aware) for form in fits}
    whole = [form for form, stamps in reads.items() if stamps.null_count() == text.null_count()]
    best = (whole or fits)[0]
    twin = next((day for day, month in _TWINS.items() if {day, month} <= {f.split(" ")[0] for f in whole}), None)
    if twin is not None and not reads[whole[0]].equals(reads[whole[-1]]):
        raise DataError(
            f"{where}: column '{column.name}': '{seen[0]}' may start with the day or month",
            "both fit every row",
            "rewrite the stamps as 2024-01-31 13:00",
        )
    if (wrong_rows := reads[best].is_null() & text.is_not_null()).any():
        row = _first(wrong_rows)
        raise DataError(
            f"{where}: row {row}, column '{column.name}': '{text[row - 1]}' is not a stamp",
            f"expected {_shape(best)} as in the other rows",
            "correct the row",
        )
    return reads[best], aware


def _formats() -> list[str]:
    return [date + clock for date in _DATES for clock in _CLOCKS]


def _plain(text: pl.Series) -> pl.Series:
    """One spelling for what means the same: T or a blank, months and years without a day, Z or an offset."""
    text = text.str.replace(r"^(\d{4}\S*)[Tt]", "$1 ").str.replace(r"\s+(UTC|[+-]\d{2}:?\d{2})$", "$1")
    text = text.str.replace(r"(?:Z|UTC)$", "+00:00").str.replace(r"([+-]\d{2})(\d{2})$", "$1:$2")
    return text.str.replace(r"^(\d{4})$", "$1-01-01").str.replace(r"^(\d{4})[-/](\d{1,2})$", "$1-$2-01")


def _read(text: pl.Series, form: str, aware: bool) -> pl.Series:
    """Null where the format does not fit; UTC without a zone where stamps carry an offset."""
    if aware:
        utc = text.str.to_datetime(form + "%:z", time_unit="us", strict=False)
        return utc.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
    if " " not in form:
        return text.str.to_date(form, strict=False).cast(pl.Datetime("us"))
    return text.str.to_datetime(form, time_unit="us", strict=False)


def _worst(seen: pl.Series, aware: bool) -> int:
    """The first row that the best-fitting format cannot read."""
    nulls = [_read(seen, form, aware).is_null() for form in _formats()]
    best = min(nulls, key=lambda missing: missing.sum())
    return int(best.arg_max() or 0)


def _shape(form: str) -> str:
    for code, text in (
        ("%Y", "2024"),
        ("%m", "01"),
        ("%d", "31"),
        ("%H", "13"),
        ("%M", "00"),
        ("%S", "00"),
        ("%.f", ".0"),
    ):
        form = form.replace(code, text)
    return form


def parse_numbers(column: pl.Series, missing: tuple[float, ...], where: str) -> NDArray[np.float64]:
    """(N,) float64, NaN where the cell is empty or holds a sentinel; text and infinities are refused."""
    name = column.name
    if column.dtype == pl.String:
        text = column.str.strip_chars()
        text = text.set(text.str.to_lowercase().is_in(NOTHING), None)
        number = text.cast(pl.Float64, strict=False)
        if (bad := number.is_null() & text.is_not_null()).any():
            row = _first(bad)
            comma = "write a decimal point" if "," in text[row - 1] else "correct it or leave the cell empty"
            raise DataError(
                f"{where}: row {row}, column '{name}': '{text[row - 1]}' is not a number",
                "expected a number",
                comma,
            )
    elif column.dtype.is_numeric() or column.dtype == pl.Boolean or column.dtype == pl.Null:
        number = column.cast(pl.Float64)
    else:
        raise DataError(
            f"{where}: column '{name}' holds {str(column.dtype).lower()} values",
            "expected numbers",
            "name other channels in data.target and data.past",
        )
    values = number.fill_null(float("nan")).to_numpy().astype(np.float64)  # a copy: it is written to
    if (infinite := np.isinf(values)).any():
        raise DataError(
            f"{where}: row {int(infinite.argmax()) + 1}, column '{name}': the value is infinite",
            "expected a finite number",
            "correct it or leave the cell empty",
        )
    if missing:
        values[np.isin(values, missing)] = np.nan
    return values


def _first(flags: pl.Series) -> int:
    """The first true row, counted from 1."""
    return int(flags.fill_null(False).arg_max() or 0) + 1
