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
CLOCKS: Final = ("", " %H:%M", " %H:%M:%S", " %H:%M:%S%.f")
DATES: Final = ("%Y-%m-%d", "%Y/%m/%d", "%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%Y%m%d")
TWINS: Final = {"%d/%m/%Y": "%m/%d/%Y"}
OFFSET: Final = r"(?:Z|UTC|[+-]\d{2}:?\d{2})$"
_HELP: Final = "expected stamps like 2024-01-31 13:00"
YEARS: Final = (1678, 2261)  # what nanoseconds since 1970 can hold, and so pandas
_EPOCHS: Final = (("s", "seconds"), ("ms", "milliseconds"), ("us", "microseconds"), ("ns", "nanoseconds"))
_NINES: Final = [10.0**n - 1 for n in range(2, 10)]
_SENTINELS: Final = frozenset([*_NINES, 9999.9, 99999.9, 2.0**15, 2.0**15 - 1, 2.0**31 - 1])
HUGE: Final = 1e100  # its square is still a float64


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
        if count := epoch(column):
            raise _counted(column, count, where)
        raise DataError(
            f"{where}: column '{name}' holds {str(column.dtype).lower()} values, not stamps",
            _HELP,
            "write dates, or name another time column",
        )
    if stamps.null_count():
        row = _first(stamps.is_null())
        raise DataError(f"{where}: row {row}, column '{name}': the stamp is empty", _HELP, "fill it or drop the row")
    _in_range(stamps, where)
    return stamps.cast(pl.Datetime("us")).to_numpy(), "UTC" if aware else None


def _in_range(stamps: pl.Series, where: str) -> None:
    """Refuse years that pandas, plots and calendars cannot show; as counts, for polars cannot either."""
    a_day = 1 if stamps.dtype == pl.Date else {"ms": 86_400_000, "us": 86_400_000_000}.get(
        str(getattr(stamps.dtype, "time_unit", "")), 86_400_000_000_000
    )  # fmt: skip
    day = stamps.to_physical().to_numpy() // a_day
    first, after = (int(np.datetime64(f"{year}-01-01", "D").astype(np.int64)) for year in (YEARS[0], YEARS[1] + 1))
    if (odd := (day < first) | (day >= after)).any():
        row = int(odd.argmax())
        year = 1970 + int(np.datetime64(int(day[row]), "D").astype("datetime64[Y]").astype(np.int64))
        raise DataError(
            f"{where}: row {row + 1}, column '{stamps.name}': the stamp is of the year {year}",
            f"expected {YEARS[0]} to {YEARS[1]}",
            "correct the stamp or drop the row",
        )


def epoch(column: pl.Series) -> tuple[str, np.datetime64] | None:
    """What a column of whole numbers counts since 1970, and its first value so read; None where that is unlikely.

    Likely is what lies between 1990 and 2100.
    """
    head = column.drop_nulls().head(50)
    if column.dtype == pl.String:
        head = head.str.strip_chars()
        head = head.cast(pl.Int64, strict=False) if len(head) and head.str.contains(r"^\d+$").all() else head.head(0)
    if not len(head) or not head.dtype.is_numeric():
        return None
    low, high = float(head.min()), float(head.max())  # type: ignore[arg-type]
    for power, (unit, words) in enumerate(_EPOCHS):
        if 631_152_000 * 1000**power <= low and high < 4_102_444_800 * 1000**power:
            return words, np.datetime64(int(head[0]), unit)  # type: ignore[call-overload]
    return None


def _counted(column: pl.Series, count: tuple[str, np.datetime64], where: str) -> DataError:
    words, read = count
    return DataError(
        f"{where}: column '{column.name}' holds numbers such as {column.drop_nulls()[0]}",
        f"{_HELP}; they look like {words} since 1970, and this one is {str(read.astype('datetime64[s]'))} UTC",
        "convert the column, for example with pandas.to_datetime(column, unit='"
        + {words: unit for unit, words in _EPOCHS}[words]
        + "')",
    )


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
        return any(words in fault.found for words in ("day or month", "has an offset", "of the year"))
    return True


def _from_text(column: pl.Series, where: str) -> tuple[pl.Series, bool]:
    """Text in one of the common formats → Datetime, and whether it carried offsets."""
    text = column.str.strip_chars()
    text = text.set(text.str.to_lowercase().is_in(NOTHING), None)
    seen = text.drop_nulls().head(1000)
    offsets = text.str.contains(OFFSET) & text.str.contains(r"\d:\d")
    aware = bool(len(seen)) and bool(offsets.drop_nulls().any())
    if aware and not offsets.drop_nulls().all():
        _mixed(text, offsets, where)
    spelled = plain(text)
    fits = [form for form in formats() if len(seen) and not read(plain(seen), form, aware).null_count()]
    if not fits:
        wrong = _worst(plain(seen), aware)
        bad = seen[wrong] if len(seen) else ""
        if count := epoch(seen):
            raise _counted(seen, count, where)
        raise DataError(
            f"{where}: row {_first(text == bad)}, column '{column.name}': '{bad}' is not a stamp",
            _HELP,
            "rewrite the column",
        )
    reads = {form: read(spelled, form, aware) for form in fits}
    whole = [form for form, stamps in reads.items() if stamps.null_count() == text.null_count()]
    best = (whole or fits)[0]
    twin = next((day for day, month in TWINS.items() if {day, month} <= {f.split(" ")[0] for f in whole}), None)
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
            f"expected {shape(best)} as in the other rows",
            "correct the row",
        )
    return reads[best], aware


def _mixed(text: pl.Series, offsets: pl.Series, where: str) -> None:
    """Refuse a column in which some stamps carry an offset from UTC and some, equally good ones, do not."""
    rest = text.filter(~offsets.fill_null(True)).head(1000)
    if any(not read(plain(rest), form, False).null_count() for form in formats()):
        row, other = _first(offsets), _first(~offsets.fill_null(True))
        raise DataError(
            f"{where}: column '{text.name}': row {row} has an offset ('{text[row - 1]}'), "
            f"row {other} has none ('{text[other - 1]}')",
            "expected all or none with an offset",
            "write the offset in every row",
        )


def formats() -> list[str]:
    return [date + clock for date in DATES for clock in CLOCKS]


def plain(text: pl.Series) -> pl.Series:
    """One spelling for what means the same: T or a blank, months and years without a day, Z or an offset."""
    text = text.str.replace(r"^(\d{4}\S*)[Tt]", "$1 ").str.replace(r"\s+(UTC|[+-]\d{2}:?\d{2})$", "$1")
    text = text.str.replace(r"(?:Z|UTC)$", "+00:00").str.replace(r"([+-]\d{2})(\d{2})$", "$1:$2")
    return text.str.replace(r"^(\d{4})$", "$1-01-01").str.replace(r"^(\d{4})[-/](\d{1,2})$", "$1-$2-01")


def read(text: pl.Series, form: str, aware: bool) -> pl.Series:
    """Null where the format does not fit; UTC without a zone where stamps carry an offset."""
    if aware:
        utc = text.str.to_datetime(form + "%:z", time_unit="us", strict=False)
        return utc.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
    if " " not in form:
        return text.str.to_date(form, strict=False).cast(pl.Datetime("us"))
    return text.str.to_datetime(form, time_unit="us", strict=False)


def _worst(seen: pl.Series, aware: bool) -> int:
    """The first row that the best-fitting format cannot read."""
    nulls = [read(seen, form, aware).is_null() for form in formats()]
    best = min(nulls, key=lambda missing: missing.sum())
    return int(best.arg_max() or 0)


def shape(form: str) -> str:
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


def is_text(column: pl.Series) -> bool:
    """Text that is mostly no number; in a csv every column is text at first."""
    if isinstance(column.dtype, pl.Categorical | pl.Enum):
        return True
    if column.dtype != pl.String:
        return False
    head = column.drop_nulls().str.strip_chars()
    head = head.filter(~head.str.to_lowercase().is_in(NOTHING)).head(100)
    text = bool(len(head)) and head.cast(pl.Float64, strict=False).null_count() * 2 > len(head)
    return text and not looks_like_number(head)


def parse_numbers(column: pl.Series, missing: tuple[float, ...], where: str) -> NDArray[np.float64]:
    """(N,) float64, NaN where the cell is empty or holds a sentinel; text and infinities are refused."""
    name = column.name
    if column.dtype == pl.String:
        text = column.str.strip_chars()
        text = text.set(text.str.to_lowercase().is_in(NOTHING), None)
        number = text.cast(pl.Float64, strict=False)
        if (bad := number.is_null() & text.is_not_null()).any():
            row = _first(bad)
            comma = (
                "write a decimal point and no thousands separators"
                if looks_like_number(text[row - 1 : row])
                else "correct it or leave the cell empty"
            )
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
    if missing:
        values[np.isin(values, missing)] = np.nan
    if (wrong := np.abs(values) > HUGE).any():
        row = int(wrong.argmax())
        raise DataError(
            f"{where}: row {row + 1}, column '{name}': the value is "
            f"{'infinite' if np.isinf(values[row]) else f'{values[row]:g}, more than {HUGE:g}'}",
            "expected a finite number",
            "correct it or leave the cell empty",
        )
    return values


def looks_like_number(text: pl.Series) -> bool:
    """Whether cells are mostly numbers with a decimal comma or with thousands separators."""
    head = text.drop_nulls().str.strip_chars()
    head = head.filter(~head.str.to_lowercase().is_in(NOTHING)).head(100)
    grouped = r"^[+-]?(\d+,\d+|\d{1,3}([.,' \u{a0}\u{202f}]\d{3})+([.,]\d+)?)$"
    numbers = head.str.contains(grouped) | head.str.contains(r"^[+-]?\d+$")
    return bool(len(head)) and int(numbers.sum()) * 2 > len(head)


def sentinel(values: NDArray[np.float64], name: str, where: str) -> str:
    """A line for people where nines, far from the rest, come again and again: they may mean "not measured".

    Such a number is the least or the greatest of its column, so all other columns cost two passes.
    """
    for extreme in (np.nanmin(values), np.nanmax(values)):
        number = abs(float(extreme))
        if not (number in _SENTINELS and (count := int((values == extreme).sum())) >= 3):
            continue
        rest = values[(values != extreme) & ~np.isnan(values)]
        if not len(rest):
            continue
        low, high = np.quantile(rest, (0.01, 0.99))
        if max(low - extreme, extreme - high) > 3 * max(high - low, 1e-9 * number):
            return (
                f"{where}: column '{name}' holds {extreme:g} in {count:,} rows, far from its other values (mostly "
                f"{low:.6g} to {high:.6g}); if that means that nothing was measured, set data.missing={extreme:g}"
            )
    return ""


def parse_names(column: pl.Series, where: str, what: str = "names of series", key: str = "data.id") -> pl.Series:
    """(N,) names as text without blanks around them; DataError for what is no name."""
    if column.dtype.is_nested() or column.dtype in (pl.Binary, pl.Object):
        raise DataError(
            f"{where}: column '{column.name}' holds {str(column.dtype).lower()} values, not {what}",
            "expected text or numbers",
            f"name another column in {key}",
        )
    return column.cast(pl.String).str.strip_chars()


def _first(flags: pl.Series) -> int:
    """The first true row, counted from 1."""
    return int(flags.fill_null(False).arg_max() or 0) + 1
