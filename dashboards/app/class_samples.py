"""Part of the page of classes: the series that were mistaken, drawn, listed, and each with its probabilities."""

from collections.abc import Callable, Sequence
from typing import Any, Final

import polars as pl

from forecast.dashboards.app import kit
from forecast.dashboards.app.page import Node, View
from forecast.dashboards.charts.style import count
from forecast.dashboards.classes.samples import Sample, chances, samples
from forecast.dashboards.classes.scores import class_names
from forecast.dashboards.classes.wrong import Example, examples, wrong
from forecast.dashboards.load import Run
from forecast.dashboards.measures import percent

PATH: Final = "/classification"
DRAWN: Final = 8  # series at once
HEADS: Final = (
    kit.Column("series", "Series", number=False, sorts=False), kit.Column("label", "Class", number=False, sorts=False),
    kit.Column("guess", "Taken for", number=False, sorts=False), kit.Column("p", "Sure", sorts=False),
    kit.Column("p_label", "Probability of its class", sorts=False), kit.Column("steps", "Steps", sorts=False),
)  # fmt: skip


class Rows(Sequence[Sequence[Node]]):
    """Rows of a table that are made when they are looked at: a test part may have a million."""

    def __init__(self, total: int, make: Callable[[int, int], list[list[Node]]]) -> None:
        self.total, self.make = total, make

    def __len__(self) -> int:
        return self.total

    def __getitem__(self, at: Any) -> Any:
        if isinstance(at, slice):
            first, stop, _ = at.indices(self.total)
            return self.make(first, stop)
        return self.make(at, at + 1)[0]


def mistakes(view: View, run: Run) -> list[Node]:
    """Drawn ones, eight at a time, and all of them in a table; of the one that is chosen the probabilities."""
    label, guess, every = view.one("label"), view.one("guess"), view.one("of") == "all"
    listed = samples(run, label, guess, wrong=not every, find=view.one("find"))
    if run.predictions is None:
        missing = "No series to show: this run wrote no predictions (predictions.parquet is missing)."
        return [kit.section("What was mistaken", kit.note(missing), key="mistakes")]
    return [
        kit.section(
            "What was mistaken", _controls(view, run), *_drawn(view, run, label, guess, listed), key="mistakes"
        ),
        kit.section("Series by series", *_chosen(view, run, listed), *_table(view, run, listed), key="series"),
    ]


def _controls(view: View, run: Run) -> Node:
    options = [(name, name) for name in class_names(run)]
    drops = ("id", "at", "samplepage")
    return kit.controls(
        kit.choose("label", "Class", options, view, drops=drops),
        kit.choose("guess", "Taken for", options, view, drops=drops),
        kit.choose("of", "Series", [("wrong", "those mistaken"), ("all", "all of the test part")], view, other="wrong",
                   drops=drops),
        kit.search("find", "Find a series", view, drops=drops, hint="a part of its name"),
    )  # fmt: skip


def _drawn(view: View, run: Run, label: str, guess: str, listed: pl.DataFrame) -> list[Node]:
    """Those whose values the run has kept."""
    every = examples(run)
    there = set(listed.filter(pl.col("unique_id").is_in([each.id for each in every]))["unique_id"])
    held = [each for each in every if each.id in there]
    wrong_ones = listed.filter(pl.col("label") != pl.col("guess")).height
    if not held:
        return [kit.note(_none(run, label, guess, listed))]
    last = -(-len(held) // DRAWN)
    here = view.number("at", 1, 1, last)
    first = (here - 1) * DRAWN
    some: list[Example] = held[first : first + DRAWN]
    told = f"{first + 1:,d} to {first + len(some):,d} of {len(held):,d} that the run has kept, the surest first"
    if (gone := wrong_ones - len(held)) > 0:
        told += f"; of {gone:,d} more it kept the probabilities only"
    return [kit.graph(wrong(run, some), view), kit.note(f"{told}."), _turn(view, here, last)]


def _none(run: Run, label: str, guess: str, listed: pl.DataFrame) -> str:
    if not listed.filter(pl.col("label") != pl.col("guess")).height:
        of = f" of class {label}" if label else ""
        return f"No test series{of} was taken for {f'class {guess}' if guess else 'another class'}."
    if not (run.path / "examples.parquet").is_file():
        return "No series can be drawn: this run wrote no examples (examples.parquet is missing)."
    return "The run kept the values of none of these, only their probabilities; one that is trained now keeps more."


def _turn(view: View, here: int, last: int) -> Node:
    if last < 2:
        return None

    def to(page: int, words: str) -> Node:
        return kit.link(words, PATH, **{**view.query, "at": page}) if 1 <= page <= last else kit.badge(words)

    return kit.controls(to(here - 1, "← surer ones"), to(here + 1, "less sure ones →"))


def _chosen(view: View, run: Run, listed: pl.DataFrame) -> list[Node]:
    """The probabilities of one series, beside its values where there are some."""
    id = view.one("id") or (str(listed["unique_id"][0]) if listed.height else "")
    chart = chances(run, id) if id else None
    if chart is None:
        return [kit.note(f"There is no test series {id[:80]}.")] if view.one("id") else []
    own = [each for each in examples(run) if each.id == id]
    values = wrong(run, own)
    if values is not None:
        tall = tuple(panel._replace(height=max(panel.height, 2.4)) for panel in values.panels)
        values = values._replace(name="values", title=f"Its values: {id[:60]}", panels=tall, half=True)
    return [kit.grid(kit.graph(chart, view), kit.graph(values, view))]


def _table(view: View, run: Run, listed: pl.DataFrame) -> list[Node]:
    if not listed.height:
        return []
    rows = Rows(listed.height, lambda first, stop: [
        [kit.link(each.id, PATH, **{**view.query, "id": each.id}), each.label, each.guess, percent(each.p),
         percent(each.p_label), count(each.steps)]
        for each in map(Sample._make, listed[first:stop].iter_rows())
    ])  # fmt: skip
    words = f"{listed.height:,d} series, those of which the model was surest first. A name leads to its probabilities."
    return [kit.table("Test series", HEADS, rows, view, PATH, sort=False, prefix="sample"), kit.note(words)]
