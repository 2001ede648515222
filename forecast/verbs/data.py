"""forecast data list | show | check | fetch | convert: what data there are, whether claims are true, getting them.

Plain words, no Hydra, no torch.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from forecast.errors import DataError, UsageError, nearest
from forecast.verbs.data_table import show_table

if TYPE_CHECKING:
    from forecast.data.card import Card, CardFile
    from forecast.data.event_card import EventCard
    from forecast.data.label_card import LabelCard
    from forecast.data.table import Series

HELP: Final = """\
forecast data list                    the data sets that have a card, and where their files are
forecast data show NAME|FILE          what a card says (or what is inferred from a file), first rows, gaps
forecast data check NAME|FILE         claims beside facts: sha256, rows, columns, step, season, gaps, splits
forecast data fetch NAME [to=DIR]     download the files of a card into $FORECAST_DATA, or into DIR
forecast data convert FILE to=DIR     event sequences as others keep them (pickle or JSON) as tables with a card

A file may need to be told about: time=COLUMN id=COLUMN target=A,B past=C known=D static=E freq=h
zone=Europe/Berlin season=24 missing=-999 holidays=DE; save=card.yaml keeps what was inferred, and
data.card=card.yaml trains with it. `check` lists the longest gaps; gaps=all lists every one. `fetch` goes on
where it was broken off.

A file .ts, or a table of labelled series (kind=labelled), is told by: id=COLUMN time=COLUMN label=COLUMN
channels=A,B missing=-999 test=FILE, which holds the test part. `show` tells classes, channels and lengths.

A file of events needs kind=events, and maybe: id=COLUMN time=COLUMN mark=COLUMN unit=day labels=, grid=0.001
floor=0.0001 twice=drop covariates=A,B periods=day,week val=DATE test=DATE. `show` tells sequences, gaps, the
grid of the times and the shares of marks, `check` also marks that the training does not have.

`convert` reads .pkl and .json/.jsonl: dicts of train, dev and test with lists of events, or rows with lists of
times and types. FILE may be a folder of train, dev and test files; unit=hour and name=NAME tell what they are.
Nothing in a pickle is run: what is not numbers, text, lists and dicts is refused.

Examples
  forecast data list
  forecast data show electricity
  forecast data check my.csv time=when target=sales freq=D
  forecast data show orders.csv kind=events id=customer mark=size unit=day save=card.yaml
  forecast data show japanese_vowels
  forecast data show gestures.csv kind=labelled id=take label=gesture save=card.yaml
  forecast data fetch etth1 to=~/data

Files that are not part of the program are looked up under $FORECAST_DATA."""
WORDS: Final = ("list", "show", "check", "fetch", "convert")
LISTS: Final = ("target", "past", "known", "static", "holidays")
OPTIONS: Final = ("time", "id", *LISTS, "freq", "zone", "season", "missing", "save", "gaps")
OF_LABELLED: Final = ("label", "channels", "test")
OF_EVENTS: Final = ("mark", "unit", "labels", "grid", "floor", "twice", "covariates", "periods", "val", "test")
HEAD: Final = 5  # rows shown
WIDE: Final = 8  # channels shown


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
    names = [w for w in rest if "=" not in w or word != "fetch" and Path(w).exists()]
    if len(names) != 1:
        given = f"{len(names)} names" if names else "no name"
        raise UsageError(f"`forecast data {word}` has {given}", "expected one data set or file", "see --help")
    if word == "fetch":
        from forecast.verbs.data_fetch import fetch

        return fetch(names[0], [w for w in rest if w != names[0]])
    if word == "convert":
        from forecast.verbs.data_convert import convert

        return convert(names[0], [w for w in rest if w != names[0]])
    return _of_one(word, names[0], [w for w in rest if w != names[0]])


def _of_one(word: str, name: str, words: list[str]) -> int:
    """Show or check a data set or a file of the kind that its card or kind= says."""
    from forecast.data.card import EVENTS, LABELLED
    from forecast.verbs.data_kind import kind_of

    if (kind := kind_of(name, words)) == EVENTS:
        from forecast.verbs.data_event_check import check_events
        from forecast.verbs.data_events import show_events

        return show_events(name, words) if word == "show" else check_events(name, words)
    if kind == LABELLED:
        from forecast.verbs.data_label_check import check_labelled
        from forecast.verbs.data_labelled import show_labelled

        return show_labelled(name, words) if word == "show" else check_labelled(name, words)
    options = _options(words)
    if (every := options.pop("gaps", None)) not in (None, "all"):
        raise UsageError(f"gaps is '{every}'", "expected all", "write gaps=all, or leave it out for the longest")
    if word == "check":
        from forecast.verbs.data_check import check

        return check(*described(name, options), every=every is not None)
    if every:
        raise UsageError("`forecast data show` takes no gaps=all", do=f"use `forecast data check {name} gaps=all`")
    return _show(name, options)


def _options(words: list[str]) -> dict[str, Any]:
    """KEY=VALUE words as arguments of infer_card, and `save`."""
    from forecast.data.card import WORDS

    options: dict[str, Any] = {}
    for word in words:
        key, _, value = word.partition("=")
        if key == "kind":
            continue
        if key in (*OF_EVENTS, *OF_LABELLED):
            kinds = ["events"] * (key in OF_EVENTS) + ["labelled"] * (key in OF_LABELLED)
            raise UsageError(
                f"'{key}' is an option of {' and '.join(WORDS[kind] for kind in kinds)}",
                do=f"write kind={' or kind='.join(kinds)} too, or leave it out",
            )
        if key == "task":
            raise UsageError("`forecast data` has no task", do="write kind=series, kind=events or kind=labelled")
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
                if key in LISTS
                else value
            )
        except ValueError:
            raise UsageError(f"{key} is '{value}'", "expected a number", f"write {key}=24") from None
    return options


def _list() -> int:
    from forecast.data.card import EVENTS, LABELLED, card_names, load_card
    from forecast.data.event_card import load_event_card
    from forecast.data.label_card import load_label_card

    rows = []
    for card in map(load_card, card_names("series")):
        where = " ".join(_where(card, file) for file in card.files)
        count = sum(file.rows or 0 for file in card.files)
        fetched = "yes" if any(file.url for file in card.files) else "no"
        channels = str(len(card.channels) or "all")
        rows.append((card.name, f"{count:,}", channels, card.time.freq, str(card.season), fetched, where))
    show_table(("name", "rows", "channels", "freq", "season", "fetch", "where"), rows, right=(1, 2, 4))
    of_events = []
    for one in map(load_event_card, card_names(EVENTS)):
        of_events.append((one.name, _count(one), one.unit, _places(one)))
    print("\nevents")
    show_table(("name", "events", "unit", "where"), of_events, right=(1,))
    labelled = []
    for card_of in map(load_label_card, card_names(LABELLED)):
        channels = str(len(card_of.channels) or "")
        labelled.append((card_of.name, _count(card_of), channels, _places(card_of)))
    print("\nlabelled series")
    show_table(("name", "steps", "channels", "where"), labelled, right=(1, 2))
    return 0


def _count(card: "EventCard | LabelCard") -> str:
    """Rows of all files of a card, where it tells them."""
    count = sum(file.rows or 0 for file in card.files)
    return f"{count:,}" if count else ""


def _places(card: "EventCard | LabelCard") -> str:
    """Where the files of a card are, once each."""
    places = dict.fromkeys(_where(card, file) for file in card.files)
    return " ".join(places) or f"described only: forecast data show {card.name}"


def _where(card: "Card | EventCard | LabelCard", file: "CardFile") -> str:
    """The path of a file, that of its folder where it is one of several, or what to do about it."""
    from forecast.data.read import locate
    from forecast.where import data_root

    try:
        place = locate(card, file)
    except DataError as fault:
        if file.package:
            return f"missing: {fault.do}"
        if not file.url:
            below = file.path if len(card.files) == 1 else Path(file.path).parent.as_posix()
            return f"missing: set FORECAST_DATA to the folder of {below}"
        get = f"forecast data fetch {card.name}"
        return f"missing: {get}" if data_root() else f"missing: set FORECAST_DATA, then {get}"
    return str(place if len(card.files) == 1 else place.parent)


def described(name: str, options: dict[str, Any]) -> tuple["Card", Path | None, Path | None]:
    """A known card, or one from a YAML file (then its folder too), or one inferred from a file (then its path)."""
    from dataclasses import replace

    from forecast.data.card import load_card
    from forecast.data.holidays import named, placed
    from forecast.data.infer import infer_card
    from forecast.data.settings import asked
    from forecast.verbs.data_kind import described as of_one

    with asked():
        holidays = placed(named(options.pop("holidays", None), "holidays"), Path.cwd())
    facts = {key: value for key, value in options.items() if key != "save"}

    def known(name: str) -> "Card":
        card = load_card(name)
        return replace(card, holidays=holidays or card.holidays)

    return of_one(name, options, "series", known, lambda p: replace(infer_card(p, **facts), holidays=holidays))


def _show(name: str, options: dict[str, Any]) -> int:
    from forecast.data.card import describe
    from forecast.data.read import read_series
    from forecast.data.table import holidays_of, stamp, summary

    card, path, folder = described(name, options)
    print(describe(card))
    notes: list[str] = []
    series = read_series(card, path=path, folder=folder, notes=notes)
    _facts(series)
    for note in notes:
        print(f"note: {note}")
    if series.holidays:
        print(f"days off: {holidays_of(series)}")
    print(f"gaps: {summary(series)}\n")
    units = [f"{c} ({u})" if u else c for c, u in zip(series.channels, series.units, strict=True)][:WIDE]
    rows = [
        (series.ids[int(series.number[i])], stamp(series.time[i]), *(_number(v) for v in series.values[i, :WIDE]))
        for i in range(min(HEAD, len(series.time)))
    ]
    show_table(("series", "time (UTC)", *units), rows, right=tuple(range(2, 2 + len(units))))
    if (more := len(series.channels) - len(units)) > 0:
        print(f"and {more} more channels, to {series.channels[-1]}")
    return 0


def _facts(series: "Series") -> None:
    from forecast.data.table import stamp

    many = f"{len(series.ids):,} series, " if len(series.ids) > 1 else ""
    print(f"read: {many}{len(series.time):,} rows from {stamp(series.time.min())} to {stamp(series.time.max())}")


def _number(value: float) -> str:
    return "missing" if value != value else f"{value:.6g}"
