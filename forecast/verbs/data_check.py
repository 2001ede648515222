"""forecast data check NAME|FILE: what a card claims beside what its files hold."""

from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import polars as pl

from forecast.data.card import Card, CardFile
from forecast.data.facts import constant, peaks, sentinels, step
from forecast.data.freq import parse_freq
from forecast.data.read import from_frame, locate, read_file, sha256
from forecast.data.split import PARTS, split
from forecast.data.table import Series, gaps, stamp, summary
from forecast.data.window import windows
from forecast.errors import DataError, ForecastError, UsageError
from forecast.verbs.data_table import show_table

GAPS: Final = 10  # gaps shown, unless all are asked for
FEW: Final = 4  # names in a cell
PEAK: Final = 0.1  # an autocorrelation below is no season


class Row(NamedTuple):
    """A line of the table; `good` is None where the card says nothing, or where a difference is no fault."""

    fact: str
    claim: str
    found: str
    good: bool | None = None
    look: str = ""

    @property
    def verdict(self) -> str:
        if self.good is None:
            return self.look or "not claimed"
        return "ok" if self.good else "differs"


def check(card: Card, path: Path | None, folder: Path | None, *, every: bool = False) -> int:
    """Print claims beside facts; a fact that contradicts the card is a DataError after the table."""
    notes: list[str] = []
    rows: list[Row] = []
    frames: list[pl.DataFrame] = []
    for file in card.files:
        place = path or locate(card, file, folder)
        frames.append(read_file(place, notes))
        rows += _file(card, file, place, frames[-1])
    fault: ForecastError | None = None
    found: list[Any] = []
    try:
        whole = pl.concat(frames)
        series = from_frame(card, whole, card.files[0].path, notes)
    except ForecastError as error:
        fault = error
        rows.append(Row("readable", "yes", "no", False))
    else:
        found = gaps(series)
        rows += _contents(card, whole, series, len(found))
        rows += _splits(card, series)
    show_table(("fact", "card", "file", ""), [(*row[:3], row.verdict) for row in rows])
    for note in notes:
        print(f"note: {note}")
    if fault:
        raise fault
    _gap_table(found, len(found) if every else GAPS)
    differs(card.name, rows)
    return 0


def differs(name: str, rows: list[Row]) -> None:
    """DataError where a fact contradicts the card of that name."""
    if wrong := dict.fromkeys(row.fact for row in rows if row.good is False):
        raise DataError(
            f"'{name}' differs from its card in {', '.join(wrong)}",
            "expected the file the card describes",
            "get the file again, or correct the card",
        )


def _file(card: Card, file: CardFile, place: Path, frame: pl.DataFrame) -> list[Row]:
    """What can be said of a file without understanding it."""
    size, digest = place.stat().st_size, sha256(place)
    own = [c for c in card.channels if c.source in frame.columns or card.covariates is None or c.role == "target"]
    need = {card.time.column, *([card.id] if card.id else []), *(c.source for c in own)}
    absent = sorted(need - set(frame.columns))
    extra = [c for c in frame.columns if c not in need] if card.channels else []
    columns = f"{frame.width:,}" + names(", missing", absent) + names(", not used", extra)
    return [
        Row("file", file.path, str(place), True),
        same("bytes", file.bytes, size),
        Row("sha256", file.sha256[:16], digest[:16], digest == file.sha256 if file.sha256 else None),
        same("rows", file.rows, frame.height),
        Row("columns", f"{len(need):,}" if card.channels else "all", columns, not absent),
    ]


def same(fact: str, claim: int | None, found: int) -> Row:
    return Row(fact, "" if claim is None else f"{claim:,}", f"{found:,}", None if claim is None else claim == found)


def names(what: str, names: list[str]) -> str:
    """A list that fits a cell."""
    rest = f" and {len(names) - FEW} more" if len(names) > FEW else ""
    return f"{what}: {', '.join(names[:FEW])}{rest}" if names else ""


def _contents(card: Card, frame: pl.DataFrame, series: Series, count: int) -> list[Row]:
    """Stamps, step, season, gaps, sentinels, channels that never change."""
    real = step(card, frame)
    claim, seen = parse_freq(card.time.freq), parse_freq(real) if real else None
    fits = None if seen is None else (seen.n, seen.unit) == (claim.n, claim.unit) and claim.anchor in ("", seen.anchor)
    counted = sentinels(card, frame)
    flat = constant(series)
    never = [f"{value:g}" for value in card.missing]
    several = [Row("series", "", f"{len(series.ids):,}")] if len(series.ids) > 1 else []
    return [
        *several,
        Row("first stamp", "", stamp(series.time.min())),
        Row("last stamp", "", stamp(series.time.max())),
        Row("step", card.time.freq, real or "not seen", fits, "cannot be seen"),
        _season(series),
        Row("regular rows", "", f"{len(series.time):,}"),
        Row("gaps", "", f"{count:,}" if not count else summary(series)),
        Row("missing values", ", ".join(never), f"{counted:,} values", True) if never else _sentinels_unnamed(series),
        Row("constant channels", "", names("", flat).removeprefix(": ") or "none"),
    ]


def _sentinels_unnamed(series: Series) -> Row:
    """Numbers that often stand for nothing, in a table whose card names none: a hint, not a fault."""
    usual = [value for value in (-9999.0, -999.0, -99.0) if (series.values == value).any()]
    found = ", ".join(f"{v:g} ({int((series.values == v).sum()):,} times)" for v in usual)
    return Row("missing values", "", found or "none of -9999, -999, -99", None, "look" if found else "")


def _season(series: Series) -> Row:
    """The card's season beside the peaks of the autocorrelation: to look at, never a fault."""
    curve, tops = peaks(series)
    tops = [lag for lag in tops if curve[lag] >= PEAK]
    if not len(curve):
        return Row("season", str(series.season), "too short to see", None, "cannot be seen")
    best = f"strongest at {tops[0]} ({curve[tops[0]]:.2f})" if tops else "none seen"
    near = max(1, series.season // 50)
    good = any(abs(lag - series.season) <= near for lag in tops) if series.season > 1 else not tops
    told = series.season in tops[:1] or not 1 < series.season < len(curve)
    at = "" if told else f", at {series.season}: {curve[series.season]:.2f}"
    return Row("season", str(series.season), best + at, True if good else None, "look")


def _splits(card: Card, series: Series) -> list[Row]:
    """Borders of the parts as stamps, and the windows that a training with the usual lengths would have."""
    from forecast.verbs.help import default

    context, horizon = (int(default("train", f"task.{key}")) for key in ("context", "horizon"))
    try:
        parts = split(series, card.splits)
    except DataError as fault:
        return [Row("splits", " ".join(f"{k} {v}" for k, v in card.splits.items()), fault.found, False)]
    rows = []
    for name, borders in zip(PARTS, parts, strict=True):
        claim, count = card.splits.get(name, "the rest"), int(np.diff(borders).sum())
        claim = f"{claim:,}" if isinstance(claim, int) else str(claim)
        inner = [(a, b) for a, b in borders.tolist() if b > a]
        if not inner:
            rows.append(Row(name, claim, "no rows", True))
            continue
        first, last = min(series.time[a] for a, _ in inner), max(series.time[b - 1] for _, b in inner)
        try:
            much = f"{len(windows(series, borders, context, horizon)):,} windows"
        except (DataError, UsageError):
            much = "too short for windows"
        found = f"{count:,} rows, {stamp(first)} to {stamp(last)}, {much} of {context} → {horizon}"
        rows.append(Row(name, claim, found, True))
    return rows


def _gap_table(found: list[Any], most: int) -> None:
    """The longest gaps, in order of time."""
    if not found:
        return
    longest = sorted(sorted(found, key=lambda gap: -gap.steps)[:most], key=lambda gap: (gap.id, gap.first))
    head = f"the longest {most} of {len(found):,} gaps; gaps=all lists every one" if len(found) > most else "gaps"
    print(f"\n{head}")
    rows = [(g.id, g.channel or "all", stamp(g.first), stamp(g.last), f"{g.steps:,}") for g in longest]
    show_table(("series", "channel", "first", "last", "steps"), rows, right=(4,))
