"""forecast data list | show NAME|FILE | check NAME|FILE: what data there are, and whether claims are true.

Plain words, no Hydra, no torch.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from forecast.errors import DataError, ForecastError, UsageError, nearest

if TYPE_CHECKING:
    from forecast.data.card import Card
    from forecast.data.table import Series

HELP: Final = """\
forecast data list                    the data sets that have a card, and where their files are
forecast data show NAME|FILE          what a card says (or what is inferred from a file), first rows, gaps
forecast data check NAME|FILE         claims beside facts: sha256, rows, columns, step, gaps

A file may need to be told about: time=COLUMN id=COLUMN target=A,B past=C freq=h zone=Europe/Berlin season=24
missing=-999 holidays=DE; save=card.yaml keeps what was inferred, and data.card=card.yaml trains with it.
`check` lists the longest gaps; gaps=all lists every one.

Examples
  forecast data list
  forecast data show electricity
  forecast data check my.csv time=when target=sales freq=D

Files that are not part of the program are looked up under $FORECAST_DATA."""
WORDS: Final = ("list", "show", "check")
OPTIONS: Final = ("time", "id", "target", "past", "freq", "zone", "season", "missing", "holidays", "save", "gaps")
HEAD: Final = 5  # rows shown
GAPS: Final = 10  # gaps shown, unless all are asked for


def main(argv: Sequence[str]) -> int:
    """Run one of the words; returns the exit code."""
    if not argv or {"-h", "--help"} & set(argv) or argv[0] == "help":
        print(HELP)
        return 0
    word, *rest = argv
    if word not in WORDS:
        raise UsageError(f"there is no `forecast data {word}`", nearest(word, WORDS), "see `forecast data --help`")
    if word == "list":
        if rest:
            raise UsageError(
                f"`forecast data list` takes no '{rest[0]}'",
                do=f"did you mean `forecast data show {rest[0]}`?",
            )
        return _list()
    names = [w for w in rest if "=" not in w or Path(w).exists()]
    if len(names) != 1:
        given = f"{len(names)} names" if names else "no name"
        raise UsageError(f"`forecast data {word}` has {given}", "expected one data set or file", "see --help")
    options = _options([w for w in rest if w != names[0]])
    if (every := options.pop("gaps", None)) not in (None, "all"):
        raise UsageError(f"gaps is '{every}'", "expected all", "write gaps=all, or leave it out for the longest")
    if word == "check":
        return _check(names[0], options, every=every is not None)
    if every:
        raise UsageError("`forecast data show` takes no gaps=all", do=f"use `forecast data check {names[0]} gaps=all`")
    return _show(names[0], options)


def _options(words: list[str]) -> dict[str, Any]:
    """KEY=VALUE words as arguments of infer_card, and `save`."""
    options: dict[str, Any] = {}
    for word in words:
        key, _, value = word.partition("=")
        if key not in OPTIONS:
            raise UsageError(f"'{key}' is not an option of `forecast data`", nearest(key, OPTIONS))
        if not value:
            raise UsageError(f"{key} has no value", f"expected {key}=VALUE", "see `forecast data --help`")
        try:
            options[key] = (
                int(value)
                if key == "season"
                else tuple(float(v) for v in value.split(","))
                if key == "missing"
                else value.split(",")
                if key in ("target", "past", "holidays")
                else value
            )
        except ValueError:
            raise UsageError(f"{key} is '{value}'", "expected a number", f"write {key}=24") from None
    return options


def _list() -> int:
    from forecast.data.card import card_names, load_card
    from forecast.data.read import locate

    rows = []
    for name in card_names():
        card = load_card(name)
        try:
            where = " ".join(str(locate(card, file)) for file in card.files)
        except DataError:
            where = f"missing: set FORECAST_DATA to the folder of {card.files[0].path}"
        count = sum(file.rows or 0 for file in card.files)
        rows.append((name, card.kind, f"{count:,}", str(len(card.channels)), card.time.freq, str(card.season), where))
    _table(("name", "kind", "rows", "channels", "freq", "season", "where"), rows, right=(2, 3, 5))
    return 0


def _card(name: str, options: dict[str, Any]) -> tuple["Card", Path | None, Path | None]:
    """A known card, or one from a YAML file (then its folder too), or one inferred from a file (then its path)."""
    from dataclasses import replace

    from forecast.data.card import card_file, card_names, load_card
    from forecast.data.holidays import named, placed
    from forecast.data.infer import infer_card
    from forecast.data.settings import asked

    save = options.pop("save", None)
    with asked():
        holidays = placed(named(options.pop("holidays", None), "holidays"), Path.cwd())
    own = card_file(name)
    if name in card_names() or own:
        if options or save:
            raise UsageError(
                f"'{name}' has a card, which takes no '{next(iter(options), 'save')}'",
                do="leave it out, or give the file of the data",
            )
        card = load_card(name)
        return replace(card, holidays=holidays or card.holidays), None, own and own.parent
    path = Path(name)
    if not path.exists():
        raise UsageError(
            f"'{name}' is neither a data set nor a file",
            nearest(name, card_names()),
            "see `forecast data list`",
        )
    card = replace(infer_card(path, **options), holidays=holidays)
    if save:
        _save(card, path, save)
    return card, path, None


def _save(card: "Card", path: Path, save: str) -> None:
    """Write a card that names its file from the card's folder, or else from the start directory."""
    from dataclasses import replace

    from forecast.data.card import card_file, save_card

    target = card_file(save)
    if target is None:
        raise UsageError(f"save is '{save}'", "expected a name ending in .yaml", "write save=card.yaml")
    place = path.absolute()
    below = next((folder for folder in (target.parent, Path.cwd()) if place.is_relative_to(folder)), None)
    file = replace(card.files[0], path=place.relative_to(below).as_posix() if below else place.name)
    save_card(replace(card, files=(file,)), target)
    print(f"saved: {save}{'' if below else f' (train with data.card={save} data.path={path})'}")


def _show(name: str, options: dict[str, Any]) -> int:
    from forecast.data.card import describe
    from forecast.data.read import read_series
    from forecast.data.table import holidays_of, stamp, summary

    card, path, folder = _card(name, options)
    print(describe(card))
    notes: list[str] = []
    series = read_series(card, path=path, folder=folder, notes=notes)
    _facts(series)
    for note in notes:
        print(f"note: {note}")
    if series.holidays:
        print(f"days off: {holidays_of(series)}")
    print(f"gaps: {summary(series)}\n")
    units = [f"{c} ({u})" if u else c for c, u in zip(series.channels, series.units, strict=True)]
    rows = [
        (series.ids[int(series.number[i])], stamp(series.time[i]), *(_number(v) for v in series.values[i]))
        for i in range(min(HEAD, len(series.time)))
    ]
    _table(("series", "time (UTC)", *units), rows, right=tuple(range(2, 2 + len(units))))
    return 0


def _check(name: str, options: dict[str, Any], *, every: bool = False) -> int:
    """Print claims beside facts; a fact that contradicts the card is a DataError after the table."""
    import polars as pl

    from forecast.data.read import from_frame, locate, read_file, sha256
    from forecast.data.table import gaps

    card, path, folder = _card(name, options)
    wrong: list[str] = []
    lines: list[tuple[str, ...]] = []
    frames: list[pl.DataFrame] = []
    notes: list[str] = []
    for file in card.files:
        place = path or locate(card, file, folder)
        frame = read_file(place, notes)
        frames.append(frame)
        digest = sha256(place)
        lines.append(_compare("sha256", file.sha256[:16], digest[:16], wrong, file.sha256 in ("", digest)))
        lines.append(_compare("rows", f"{file.rows:,}" if file.rows else "", f"{frame.height:,}", wrong))
        absent = [c.source for c in card.channels if c.source not in frame.columns]
        have = len(card.channels) - len(absent)
        lines.append(_compare("channels", str(len(card.channels)), str(have), wrong))
    fault: ForecastError | None = None
    try:
        series = from_frame(card, pl.concat(frames), card.files[0].path, notes)
    except ForecastError as error:
        fault = error
        lines.append(("readable", "yes", "no", "differs"))
    else:
        found = gaps(series)
        lines += _measured(card, series, len(found))
    _table(("fact", "card", "file", ""), lines)
    for note in notes:
        print(f"note: {note}")
    if fault:
        raise fault
    _gap_table(found, len(found) if every else GAPS)
    if wrong:
        raise DataError(
            f"'{card.name}' differs from its card in {', '.join(dict.fromkeys(wrong))}",
            "expected the file the card describes",
            "get the file again, or correct the card",
        )
    return 0


def _measured(card: "Card", series: "Series", gaps: int) -> list[tuple[str, ...]]:
    """Rows of the table that only a readable file has."""
    from forecast.data.table import stamp

    return [
        ("step", card.time.freq, series.freq, "as claimed"),
        ("span", "", f"{stamp(series.time.min())} to {stamp(series.time.max())}", ""),
        ("series", "", f"{len(series.ids):,}", ""),
        ("regular rows", "", f"{len(series.time):,}", ""),
        ("gaps", "", f"{gaps:,}", ""),
    ]


def _compare(fact: str, claim: str, found: str, wrong: list[str], same: bool | None = None) -> tuple[str, ...]:
    """A row of the table; a broken claim is noted in `wrong`."""
    if not claim:
        return fact, "", found, ""
    good = claim == found if same is None else same
    if not good:
        wrong.append(fact)
    return fact, claim, found, "as claimed" if good else "differs"


def _gap_table(found: list[Any], most: int) -> None:
    """The longest gaps, in order of time."""
    from forecast.data.table import stamp

    if not found:
        return
    longest = sorted(sorted(found, key=lambda gap: -gap.steps)[:most], key=lambda gap: (gap.id, gap.first))
    head = f"the longest {most} of {len(found):,} gaps; gaps=all lists every one" if len(found) > most else "gaps"
    print(f"\n{head}")
    rows = [(g.id, g.channel or "all", stamp(g.first), stamp(g.last), f"{g.steps:,}") for g in longest]
    _table(("series", "channel", "first", "last", "steps"), rows, right=(4,))


def _facts(series: "Series") -> None:
    from forecast.data.table import stamp

    many = f"{len(series.ids):,} series, " if len(series.ids) > 1 else ""
    print(f"read: {many}{len(series.time):,} rows from {stamp(series.time.min())} to {stamp(series.time.max())}")


def _number(value: float) -> str:
    return "missing" if value != value else f"{value:.6g}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> None:
    """A table with borders in a terminal; padded columns when piped. Cells are text, never markup."""
    if sys.stdout.isatty():
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        table = Table()
        for i, name in enumerate(head):
            table.add_column(Text(name), justify="right" if i in right else "left", overflow="fold")
        for row in rows:
            table.add_row(*(Text(cell) for cell in row))
        Console().print(table)
        return
    widths = [max(len(line[i]) for line in (head, *rows)) for i in range(len(head))]
    for line in (head, *rows):
        cells = (c.rjust(w) if i in right else c.ljust(w) for i, (c, w) in enumerate(zip(line, widths, strict=True)))
        print("  ".join(cells).rstrip())
