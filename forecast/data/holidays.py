"""Holidays as calendar fields of a day, known for the future as well: `data.holidays=DE-BY`, `[DE, FR]`, `mine.csv`.

That they are known ahead is no leak: laws name them years before. Two kinds are known less well than the package
`holidays` says in hindsight: days set by the moon are estimates, and a single day off (a funeral of state, an
election) was announced late. A table of one's own speaks from its first day to its last and no further.
"""

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from forecast.data.freq import DAY, TICKS, parse_freq
from forecast.errors import DataError

FIELDS: Final = ("holiday", "holiday_in", "holiday_ago")  # 1 on a holiday; days to the next and since the last one
CAP: Final = 7  # days; farther away is all the same (types.CLOCK_SIZES has one more)
_FAR: Final = 10_000_000  # days; farther than any stamp
TABLES: Final = (".csv", ".parquet", ".pq")


class Holidays(NamedTuple):
    """Days off between `first` and `last`. What was looked up once stays; more is looked up when it is needed."""

    sources: tuple[str, ...]  # codes such as DE or DE-BY, and absolute paths of tables
    first: str = ""  # ISO dates, "" before anything was looked up
    last: str = ""
    days: Mapping[str, str] = {}  # ISO date → what it is called
    package: str = ""  # version of `holidays` that gave the latest of the days, "" for tables alone

    def covering(self, first: np.datetime64, last: np.datetime64) -> "Holidays":
        """The same, known for all of the days from `first` to `last`; what was known before is not changed.

        DataError where a table ends or a country's law is not known.
        """
        if self._knows(first, last):
            return self
        if self.first:  # no hole between what is known and what is asked for
            first, last = min(first, np.datetime64(self.first)), max(last, np.datetime64(self.last))
        new = _look_up(self.sources, first, last)
        if not self.first:
            return new
        kept = {day: name for day, name in new.days.items() if not self.first <= day <= self.last}
        days = dict(sorted({**kept, **self.days}.items()))
        return new._replace(first=min(self.first, new.first), last=max(self.last, new.last), days=days)

    def _knows(self, first: np.datetime64, last: np.datetime64) -> bool:
        """Whether the days, and the distances from them, are known: a margin is needed, or a day off at the edge."""
        if not self.first:
            return False
        low = first if self.first in self.days else first - CAP
        high = last if self.last in self.days else last + CAP
        return bool(np.datetime64(self.first) <= low and high <= np.datetime64(self.last))

    def fields(self, day: NDArray[np.datetime64]) -> NDArray[np.float32]:
        """(N,) local days, covered → (N, 3) float32, see FIELDS; worked out once for each day of the span."""
        number = day.astype(np.int64)
        if not len(number):
            return np.empty((0, len(FIELDS)), np.float32)
        span = np.arange(number.min(), number.max() + 1)
        off = np.array(sorted(self.days), dtype="datetime64[D]").astype(np.int64)
        ahead = np.append(off, _FAR)[np.searchsorted(off, span, side="left")] - span
        behind = span - np.append(-_FAR, off)[np.searchsorted(off, span, side="right")]
        table = np.column_stack([ahead == 0, np.minimum(ahead, CAP), np.minimum(behind, CAP)])
        return table.astype(np.float32)[number - span[0]]

    def within(self, first: np.datetime64, last: np.datetime64) -> dict[str, str]:
        """The days off among the days from `first` to `last`, with their names."""
        return {day: name for day, name in self.days.items() if str(first) <= day <= str(last)}

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON; the inverse of `from_dict`."""
        return {**self._asdict(), "sources": list(self.sources), "days": dict(self.days)}

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> "Holidays":
        return cls(**{**plain, "sources": tuple(plain["sources"]), "days": dict(plain["days"])})


def describe(known: Holidays, first: np.datetime64, last: np.datetime64, most: int = 3) -> str:
    """One line for people: how many days off the data have, and the first of them."""
    days = known.within(first, last)
    some = ", ".join(f"{day} {name}".rstrip() for day, name in list(days.items())[:most])
    more = ", …" if len(days) > most else ""
    names = ", ".join(Path(s).name if is_table(s) else s for s in known.sources)
    return f"{names}: {len(days):,} days in the data{f' ({some}{more})' if some else ''}"


def named(value: Any, where: str) -> tuple[str, ...]:
    """Codes and names of tables as they were given, one or a list, checked and spelt as the package spells them."""
    if value is None:
        return ()
    given: Any = [value] if isinstance(value, str | bool) else value
    if not isinstance(given, Sequence):
        raise DataError(f"{where} is {value}", "expected a country or a list of countries", "e.g. DE, DE-BY or US-CA")
    return tuple(dict.fromkeys(word if is_table(word) else _code(word, where) for word in given))


def is_table(source: Any) -> bool:
    """Whether a source is a file of one's own, by its ending."""
    return isinstance(source, str) and Path(source).suffix.lower() in TABLES


def placed(sources: tuple[str, ...], folder: Path) -> tuple[str, ...]:
    """The same with absolute paths: a table that is named by a card lies beside it."""
    return tuple(str((folder / Path(s).expanduser()).absolute()) if is_table(s) else s for s in sources)


def suits(sources: Sequence[str], freq: str) -> None:
    """DataError unless a step is a day or shorter: a longer one is no holiday."""
    step = parse_freq(freq)
    if sources and (step.n * TICKS.get(step.unit, DAY) > DAY or step.unit not in (*TICKS, "B") or step.unit == "W"):
        raise DataError(
            f"data.holidays with a step of {freq}", "expected steps of a day or shorter", "leave data.holidays out"
        )


def _code(word: Any, where: str) -> str:
    """A country or a part of one, e.g. `de-by` → DE-BY; DataError with the nearest codes for anything else."""
    import holidays

    if isinstance(word, bool):
        raise DataError(f"{where} is {word}", "expected a country; NO means no in YAML", "write 'NO' in quotes")
    country, _, part = str(word).strip().partition("-")
    known = holidays.list_supported_countries(include_aliases=True)
    if (country := country.upper()) not in known:
        names = {code: code for code in known if len(code) == 2} | {
            key.replace("_", " "): codes[1] for key, codes in holidays.registry.COUNTRIES.items()
        }
        close = get_close_matches(str(word), names, n=3, cutoff=0.75) or get_close_matches(
            str(word).lower(), names, n=3, cutoff=0.75
        ) or get_close_matches(country, names, n=3, cutoff=0.5)  # fmt: skip
        codes = " or ".join(dict.fromkeys(names[name] for name in close))
        raise DataError(
            f"{where} names '{word}', which is no country that the package holidays knows",
            "expected its code, such as DE, DE-BY or US-CA, or a table such as mine.csv",
            f"did you mean {codes}?" if codes else "see https://holidays.readthedocs.io",
        )
    if not part:
        return country
    parts = {name.casefold(): name for name in known[country]}
    if part.casefold() not in parts:
        close = get_close_matches(part.upper(), known[country], n=3, cutoff=0.5)
        shown = [f"{country}-{name}" for name in close or known[country][:30]]
        raise DataError(
            f"{where} names '{word}', which is no part of {country}",
            f"did you mean {' or '.join(shown)}?" if close else f"it has {', '.join(shown) or 'no parts'}",
            "" if shown else f"set {country}",
        )
    return f"{country}-{parts[part.casefold()]}"


def _look_up(sources: tuple[str, ...], first: np.datetime64, last: np.datetime64) -> Holidays:
    """The days of all sources: with a table for as long as it speaks, else for the span and CAP days around it."""
    tables: dict[str, dict[str, str]] = {}
    for source in filter(is_table, sources):
        if not Path(source).is_file():
            raise DataError(
                f"{source} does not exist",
                f"expected the table of days off, from {first} to {last}",
                "put it there, or correct data.holidays",
            )
        tables[source] = read_table(Path(source))
    for source, days in tables.items():
        _reaches(source, days, first, last)
    low = max([str(min(days)) for days in tables.values()], default=str(first - CAP))
    high = min([str(max(days)) for days in tables.values()], default=str(last + CAP))
    found: dict[str, str] = {}
    codes = [source for source in sources if not is_table(source)]
    for days in [*(_of_country(code, int(low[:4]), int(high[:4])) for code in codes), *tables.values()]:
        for day, name in days.items():
            if low <= day <= high:
                found[day] = f"{found[day]}; {name}" if name not in found.get(day, name) else name
    return Holidays(sources, low, high, dict(sorted(found.items())), version("holidays") if codes else "")


def _of_country(code: str, first: int, last: int) -> dict[str, str]:
    """ISO date → name for whole years."""
    import holidays

    country, _, part = code.partition("-")
    years = holidays.country_holidays(country, subdiv=part or None, years=range(first, last + 1))
    if first < years.start_year or last > years.end_year:
        raise DataError(
            f"data.holidays={code}: the data need the years {first} to {last}",
            f"the package holidays knows {years.start_year} to {years.end_year}",
            "give a table of your own, or leave data.holidays out",
        )
    return {day.isoformat(): str(name) for day, name in years.items()}


def read_table(path: Path) -> dict[str, str]:
    """ISO date → name from a csv or parquet file: its one column of dates, and the first of the others, if any."""
    import polars as pl

    from forecast.data.read import read_file
    from forecast.data.stamps import is_stamps, parse_stamps

    frame = read_file(path)
    if any(is_stamps(pl.Series([name])) for name in frame.columns):
        raise DataError(f"{path} begins with a date", "expected the names of its columns", "add a first row: date,name")
    dates = [name for name in frame.columns if is_stamps(frame[name].drop_nulls().head(1))]
    if len(dates) != 1:
        found = f"{len(dates)} columns of dates" if dates else "no column of dates"
        raise DataError(f"{path} has {found}", "expected one, such as 2024-12-24", "correct the table")
    stamps, aware = parse_stamps(frame[dates[0]], path.name)
    day = stamps.astype("datetime64[D]")
    if aware or (day != stamps).any():
        raise DataError(f"{path}: column '{dates[0]}' holds times of a day", "expected dates", "write 2024-12-24")
    other = next((frame[name].cast(pl.String).fill_null("") for name in frame.columns if name != dates[0]), None)
    names = [""] * len(day) if other is None else other.to_list()
    return dict(sorted(zip(np.datetime_as_string(day).tolist(), names, strict=True)))


def _reaches(source: str, days: Mapping[str, str], first: np.datetime64, last: np.datetime64) -> None:
    """DataError where the data or the horizon lie outside of what a table speaks for."""
    low, high = min(days), max(days)
    if str(first) < low:
        raise DataError(
            f"{source} begins with {low}, the data with {first}",
            "a table speaks from its first day to its last",
            "add the last holiday on or before that day",
        )
    if high < str(last):
        raise DataError(
            f"{source} ends with {high}, the data or the forecast with {last}",
            "a table speaks from its first day to its last",
            "add the days until then, and the next holiday after it",
        )
