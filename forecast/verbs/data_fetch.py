"""forecast data fetch NAME [to=DIR]: the files of a card, with a bar in a terminal and a line each in a pipe."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from forecast.errors import DataError, UsageError, nearest
from forecast.where import DATASETS, data_root

if TYPE_CHECKING:
    from forecast.data.card import Card
    from forecast.data.event_card import EventCard
    from forecast.data.fetch import Report
    from forecast.data.label_card import LabelCard

CONVERT: Final = ", or make one of your copy with `forecast data convert FILE to=DIR`"


def fetch(name: str, words: Sequence[str]) -> int:
    """Download what is not there yet; every file is checked. Returns the exit code."""
    from forecast.data.card import EVENTS
    from forecast.data.fetch import fetch as download
    from forecast.verbs.data_kind import with_files

    folder = _folder(words)
    card = with_files(name)
    if packages := {file.package for file in card.files if file.package}:
        print(f"{card.name} comes with the package {', '.join(packages)}; its source is {card.source}")
        return 0
    if _embedded(card):
        print(f"{card.name} comes with the program, at {DATASETS / card.name}; its source is {card.source}")
        return 0
    for file in card.files:
        if not file.url:
            raise DataError(
                f"the card of '{card.name}' names no address of {file.path}",
                f"get it from {card.source or 'its source'}",
                "put it below FORECAST_DATA" + (CONVERT if card.kind == EVENTS else ""),
            )
    if folder is None:
        raise UsageError(
            "there is no folder to put the files in",
            "expected to=DIR or FORECAST_DATA",
            f"export FORECAST_DATA=~/data, or write: forecast data fetch {name} to=DIR",
        )
    try:
        with _progress() as (report, say):
            for got in download(card.files, folder, report):
                said = "" if got.claimed else f"; the card names no sha256, this file has {got.sha256}"
                say(f"{'fetched' if got.new else 'was there'}: {got.path}, {_size(got.path.stat().st_size)}{said}")
    except KeyboardInterrupt:
        print("what there is of it is kept: run the same command again to go on")
        raise
    if folder != data_root():
        print(f"to use it: export FORECAST_DATA={folder}")
    return 0


def _folder(words: Sequence[str]) -> Path | None:
    """The folder of to=DIR, or else of FORECAST_DATA."""
    folder = data_root()
    for word in words:
        key, _, value = word.partition("=")
        if key != "to":
            raise UsageError(f"'{key}' is not an option of `forecast data fetch`", nearest(key, ("to",)))
        if not value:
            raise UsageError("to has no value", "expected to=DIR", "see `forecast data --help`")
        folder = Path(value).expanduser().absolute()
    return folder


def _embedded(card: "Card | EventCard | LabelCard") -> bool:
    return bool(card.files) and all((DATASETS / card.name / file.path).is_file() for file in card.files)


@contextmanager
def _progress() -> "Iterator[tuple[Report, Callable[[str], None]]]":
    """Shows how far a download is, where somebody can see it; and prints lines above."""
    if not sys.stdout.isatty():
        yield lambda name, done, total: None, print
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TaskID,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    tasks: dict[str, TaskID] = {}
    text = TextColumn("{task.description}", markup=False)
    with Progress(text, *columns, console=Console(), transient=True) as bar:

        def report(name: str, done: int, total: int | None) -> None:
            if name not in tasks:
                tasks[name] = bar.add_task(name, total=total, completed=done)
            bar.update(tasks[name], completed=done, total=total)

        yield report, lambda line: bar.console.print(line, markup=False, highlight=False, soft_wrap=True)


def _size(count: int) -> str:
    return f"{count / 1e6:,.1f} MB" if count >= 1e5 else f"{count:,} bytes"
