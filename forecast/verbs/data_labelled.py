"""forecast data show | check of labelled series: what a card says, what its files hold."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, NamedTuple

import polars as pl

from forecast.data.address import CardFile
from forecast.data.card import LABELLED
from forecast.data.label_card import (
    LabelCard,
    describe_labelled,
    infer_label_card,
    load_label_card,
    only_described,
    read_label_frames,
)
from forecast.data.label_facts import LabelFacts, label_facts
from forecast.data.labelled import Labelled, read_labelled
from forecast.data.read import absolute
from forecast.data.settings import numbers
from forecast.verbs.data_kind import described as of_one
from forecast.verbs.data_kind import options_of
from forecast.verbs.data_table import show_table

OPTIONS: Final = ("kind", "id", "time", "label", "channels", "missing", "test", "save")
HEAD: Final = 5  # steps shown
CLASSES: Final = 30  # classes shown
WIDE: Final = 8  # channels shown


class Described(NamedTuple):
    """A card, and where its files are: none of both for those of the card, else files of the user's own."""

    card: LabelCard
    paths: tuple[Path, ...]
    folder: Path | None
    notes: list[str]

    def tables(self) -> tuple[dict[str, Labelled], list[CardFile]]:
        """The series of each file, by its part or its name, and the files with their absolute paths and digests."""
        frames: list[tuple[str, pl.DataFrame]] = []
        read: list[CardFile] = []
        for path in self.paths or (None,):
            more, also = read_label_frames(self.card, path=path, folder=self.folder, notes=self.notes)
            frames, read = [*frames, *more], [*read, *also]
        columns = self.card.columns(frames[0][1].columns)
        titles = ("train", "test") if len(self.paths) == 2 else [title(self.card, where) for where, _ in frames]
        found = zip(titles, frames, strict=True)
        return {part: read_labelled(frame, columns, at, notes=self.notes) for part, (at, frame) in found}, read


def show_labelled(name: str, words: Sequence[str]) -> int:
    """Print what a card says or what is inferred, facts of each file, the classes, the first steps."""
    asked = described(name, words)
    print(describe_labelled(asked.card))
    if not asked.paths and not asked.card.files:
        print(f"\n{only_described(asked.card)}")
        return 0
    tables, _ = asked.tables()
    facts = [(part, label_facts(labelled)) for part, labelled in tables.items()]
    print()
    columns = [_rows(one) for _, one in facts]
    lines = [(row[0][0], *(value for _, value in row)) for row in zip(*columns, strict=True)]
    show_table(("", *(part for part, _ in facts)), lines, right=tuple(range(1, len(facts) + 1)))
    for note in dict.fromkeys(asked.notes):
        print(f"note: {note}")
    _classes(facts)
    print()
    _first(asked.card, next(iter(tables.values())))
    return 0


def described(name: str, words: Sequence[str]) -> Described:
    """A known card of labelled series, one from a YAML file, or one inferred from a file of the user's own."""
    options: dict[str, Any] = dict(options_of(words, OPTIONS, "labelled series"))
    if "channels" in options:
        options["channels"] = options["channels"].split(",")
    if "missing" in options:
        options["missing"] = numbers("missing", options["missing"].split(","))
    facts = {key: value for key, value in options.items() if key not in ("save", "test")}
    notes: list[str] = []
    second = [absolute(options["test"])] if "test" in options else []

    def infer(path: Path) -> LabelCard:
        bare = LabelCard(path.stem, LABELLED, "", "", "", ())
        ((where, frame),), _ = read_label_frames(bare, path=path)
        card = infer_label_card(frame, where, name=path.stem, notes=notes, **facts)
        if not second:
            return card
        files = (replace(card.files[0], path=str(absolute(path))), CardFile(str(second[0])))
        return replace(card, files=files, splits={"train": files[0].path, "test": files[1].path})

    card, path, folder = of_one(name, options, LABELLED, load_label_card, infer, second)
    return Described(card, (absolute(path), *second) if path else (), folder, notes)


def title(card: LabelCard, where: str) -> str:
    """What a file is called in a table: its part, where each part is a file."""
    return next((part for part, path in card.splits.items() if card.by_files and path == where), where)


def _rows(facts: LabelFacts) -> list[tuple[str, str]]:
    """Facts of a file, each with its name."""
    low, middle, high = facts.lengths
    flat = f": {', '.join(facts.constant[:4])}" if facts.constant else ""
    return [
        ("series", f"{facts.series:,}"),
        ("steps", f"{facts.steps:,}"),
        ("steps of a series", f"{low:,} to {high:,}, median {middle:,}" if low < high else f"{low:,}"),
        ("channels", f"{facts.channels:,}"),
        ("channels that never change", f"{len(facts.constant):,}{flat}"),
        ("missing values", f"{facts.missing:.2%}" if facts.missing else "none"),
        ("classes", f"{sum(count > 0 for count in facts.classes.values()):,}"),
        ("series without a label", f"{facts.unlabelled:,}"),
    ]


def _classes(facts: Sequence[tuple[str, LabelFacts]]) -> None:
    """Series and shares of each class in each file, in the order of their codes."""
    names = list(dict.fromkeys(name for _, one in facts for name in one.classes))
    print()
    rows = []
    for name in names[:CLASSES]:
        cells = [(one.classes.get(name, 0), one.series) for _, one in facts]
        rows.append((name, *(f"{count:,} ({count / whole:.1%})" for count, whole in cells)))
    show_table(("class", *(part for part, _ in facts)), rows, right=tuple(range(1, len(facts) + 1)))
    if (more := len(names) - CLASSES) > 0:
        print(f"and {more} more classes, to {names[-1]}")


def _first(card: LabelCard, labelled: Labelled) -> None:
    """The first steps of the first series."""
    units = card.units or ("",) * len(labelled.channels)
    heads = [f"{name} ({unit})" if unit else name for name, unit in zip(labelled.channels, units, strict=True)][:WIDE]
    of = labelled.classes[int(labelled.label[0])] if labelled.label[0] >= 0 else "none"
    rows = []
    for step, values in enumerate(labelled.values[: min(HEAD, int(labelled.lengths[0])), :WIDE].tolist(), 1):
        rows.append((labelled.ids[0], of, str(step), *("missing" if v != v else f"{v:.6g}" for v in values)))
    show_table((card.id, card.label, "step", *heads), rows, right=tuple(range(2, 3 + len(heads))))
    if (more := len(labelled.channels) - len(heads)) > 0:
        print(f"and {more} more channels, to {labelled.channels[-1]}")
