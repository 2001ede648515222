"""Classes: which class is taken for which, and how surely."""

import math
from collections.abc import Callable, Sequence
from typing import Any, Final

from dash import html

from forecast.dashboards.app import kit
from forecast.dashboards.app.class_samples import Rows, mistakes
from forecast.dashboards.app.page import Node, Page, View
from forecast.dashboards.app.sources import Card
from forecast.dashboards.charts.style import count, number
from forecast.dashboards.classes import scores as class_scores
from forecast.dashboards.classes.confusion import confusion, recalls
from forecast.dashboards.classes.figures import early, reliability
from forecast.dashboards.classes.scores import ClassRow, class_names, class_rows, confused, pairs, shown
from forecast.dashboards.load import Run
from forecast.dashboards.measures import best_other, gain, lead, percent
from forecast.errors import ForecastError

PATH: Final = "/classification"
OFFERED: Final = 300  # runs to choose from, the newest
PAIRS: Final = 15  # confused pairs in the table
SHARES: Final = {
    "counts": "counts of test series",
    "row": "% of the class (rows are 100)",
    "column": "% of the guesses (columns are 100)",
}


def render(view: View) -> Node:
    """What stands below the heading."""
    cards = [card for card in view.sources.cards() if card.path is not None and card.kind == "classes"]
    good = [card for card in cards if card.finished and not card.damage]
    if not cards:
        words = "A run of task=classify appears here once it is finished. To make a small one:"
        return kit.empty("No runs of classification", words, "forecast train experiment=smoke_classes")
    id = view.one("run") or (good or cards)[0].id
    part = view.one("part") if view.one("part") in PARTS else "all"
    picker = kit.controls(
        kit.choose("run", "Run", _offered(cards, id), view, other=id, drops=DROPS),
        kit.choose("part", "Shown", [(key, words) for key, (words, _) in PARTS.items()], view, other="all"),
    )
    try:
        run = view.sources.run(id)
        if not run.classes:
            other = f"Run {id} is about {run.kind}, not classes. Choose another, or see "
            return [picker, kit.note(other, kit.link("what it is", "/run", run=id), ".")]
    except ForecastError as fault:
        return [picker, kit.alarm(str(fault))]
    return [picker, *_part(PARTS[part][1], view, run)]


def _overview(view: View, run: Run) -> list[Node]:
    return [*_part(_head, view, run), *_part(_classes, view, run), *_part(_sure, view, run)]


def _each(view: View, run: Run) -> list[Node]:
    return [
        kit.section("Class by class", *_by_class(view, run), key="each"),
        kit.section("Confused most often", *_pairs(view, run), key="pairs"),
    ]


DROPS: Final = ("label", "guess", "id", "find", "sort", "shown", "at", "page", "pairpage")


def _part(part: Callable[[View, Run], Sequence[Node]], view: View, run: Run) -> list[Node]:
    """A part of the page, or why it cannot be shown: a damaged file takes no other part with it."""
    try:
        return [each for each in part(view, run) if each is not None]
    except ForecastError as fault:
        return [kit.alarm(str(fault))]


def _offered(cards: Sequence[Card], chosen: str) -> list[tuple[str, str]]:
    offered = [(card.id, f"{card.dataset} · {card.model} · {card.id}") for card in cards[:OFFERED]]
    return offered if chosen in {id for id, _ in offered} else [*offered, (chosen, chosen)]


def _head(view: View, run: Run) -> list[Node]:
    words, verdict, tone = class_scores.headline(run)
    lead_ = kit.box(html.P(words, className="lead"), html.P(verdict, className=f"verdict {tone}") if verdict else None)
    return [lead_, kit.tiles(class_scores.tiles(run)), kit.section("Scores", *_scores(view, run), key="scores")]


def _scores(view: View, run: Run) -> list[Node]:
    """The model beside its rivals and floors, the best of each column bold, and how far it is from the best other."""
    rows, seen = class_rows(run), class_scores.columns(run)
    if not rows:
        return [kit.note("This run has no scores yet: metrics.json is missing or has no rows.")]
    heads = [kit.Column("name", "Model", number=False, sorts=False)]
    heads += [kit.Column(each.key, f"{each.title} {'↑' if each.sign > 0 else '↓'}", sorts=False) for each in seen]
    body: list[list[Node]] = [
        [html.Span([kit.swatch(row.role), row.name]), *(_score(row, each, rows) for each in seen)] for row in rows
    ]
    body.append(["against the best other", *(_gain(rows, each) for each in seen)])
    k = max(len(class_names(run)), 1)
    told = (
        "The best of each column is bold; ↑ the higher the better, ↓ the lower. Log loss in nats per series, of equal "
        f"probabilities for all {k:,d} classes {number(math.log(k), 3)}. ECE, the expected calibration "
        "error: how far confidence is from the share that is right, on average. pp: percentage points."
    )
    model = [at for at, row in enumerate(rows) if row.kind == "model"]
    return [kit.table("Scores on the test series", heads, body, view, PATH, sort=False, marked=model), kit.note(told)]


def _score(row: ClassRow, column: Any, rows: Sequence[ClassRow]) -> Node:
    value = row.values.get(column.key)
    if value is None:
        return html.Span("–", className="none")
    known = [each.values[column.key] for each in rows if column.key in each.values]
    best = len(known) > 1 and value == column.sign * max(column.sign * each for each in known)
    return html.Strong(shown(column, value)) if best else shown(column, value)


def _gain(rows: Sequence[ClassRow], column: Any) -> Node:
    found, floor = lead(rows, column), best_other(rows, column)
    if found is None or floor is None:
        return html.Span("–", className="none")
    words, tone = gain(column, found, floor.values[column.key])
    return html.Span(words, className=tone)


def _classes(view: View, run: Run) -> list[Node]:
    """The table of confusion, and class by class."""
    asked = view.one("shown") if view.one("shown") in SHARES else "counts"
    if confused(run) is None:
        return [kit.section("Which classes", kit.note("Nothing to show: metrics.json has no table of confusion."))]
    table = confusion(run, "column" if asked == "column" else "row", written=asked != "counts")
    chooser = kit.controls(kit.choose("shown", "In the table", list(SHARES.items()), view, other="counts"))
    return [
        kit.section("Which classes", chooser, kit.grid(kit.graph(table, view), kit.graph(recalls(run), view)),
                    key="classes"),
    ]  # fmt: skip


HEADS: Final = (
    kit.Column("class", "Class", number=False), kit.Column("train", "Train"), kit.Column("val", "Val"),
    kit.Column("test", "Test"), kit.Column("recall", "Recall"), kit.Column("precision", "Precision"),
    kit.Column("f1", "F1"), kit.Column("wrong", "Mistaken"),
    kit.Column("other", "Most often taken for", number=False, sorts=False),
)  # fmt: skip


def _by_class(view: View, run: Run) -> list[Node]:
    given = [(k, row) for k, row in enumerate(run.metrics.get("per_class") or []) if isinstance(row, dict)]
    if not given:
        return [kit.note("Nothing to show: metrics.json has no scores by class.")]
    found = confused(run)
    facts = [_facts(run, k, row, found) for k, row in given]
    keys = {
        key: (lambda one, key=key: one[key])
        for key in ("class", "train", "val", "test", "recall", "precision", "f1", "wrong")
    }
    there = kit.order(facts, keys, view, "f1")
    rows = Rows(len(there), lambda first, stop: [
        [one["class"], *(count(one[key]) for key in ("train", "val", "test")),
         *(percent(one[key]) if one[key] is not None else "–" for key in ("recall", "precision")),
         number(one["f1"], 3), _mistaken(one, run, view), one["other"]]
        for one in there[first:stop]
    ])  # fmt: skip
    words = "Recall: of the series of the class, those that were told; precision: of the guesses of it, those right."
    return [kit.table("Classes", HEADS, rows, view, PATH), kit.note(words)]


def _facts(run: Run, k: int, row: dict[str, Any], found: Any) -> dict[str, Any]:
    counts = {part: (run.part("counts").get(part) or []) for part in ("train", "val")}
    shares = {key: row[key] if isinstance(row.get(key), int | float) else None for key in ("recall", "precision", "f1")}
    held = {part: each[k] if k < len(each) else None for part, each in counts.items()}
    wrong, other = None, "–"
    if found is not None and k < len(found[0]):
        line = found[1][k].copy()
        line[k] = 0
        wrong, worst = int(line.sum()), int(line.argmax())
        other = f"{found[0][worst]} ({line[worst]:,d})" if line[worst] else "–"
    name = str(row.get("name", "?"))
    return {"class": name, **held, "test": row.get("series"), **shares, "wrong": wrong, "other": other}


def _mistaken(one: dict[str, Any], run: Run, view: View) -> Node:
    if not one["wrong"]:
        return count(one["wrong"])
    return kit.link(count(one["wrong"]), PATH, run=run.path.name, part="mistakes", label=one["class"])


def _pairs(view: View, run: Run) -> list[Node]:
    found = confused(run)
    listed = pairs(found[1]) if found is not None else []
    if found is None or not listed:
        return [kit.note("No class was taken for another.")]
    names, total = found[0], found[1].sum(1)
    heads = (kit.Column("class", "Class", number=False), kit.Column("as", "Taken for", number=False),
             kit.Column("series", "Series"), kit.Column("share", "Of the class"))  # fmt: skip
    asked = {"run": run.path.name, "part": "mistakes"}
    rows = [
        [names[a], names[b], kit.link(count(n), PATH, **asked, label=names[a], guess=names[b]),
         percent(n / int(total[a]))]
        for a, b, n in listed[:PAIRS]
    ]  # fmt: skip
    more = f" {len(listed) - PAIRS:,d} rarer pairs are left out." if len(listed) > PAIRS else ""
    words = f"Numbers lead to the series.{more}"
    return [kit.table("Confused pairs", heads, rows, view, PATH, sort=False, prefix="pair"), kit.note(words)]


def _sure(view: View, run: Run) -> list[Node]:
    charts = [kit.graph(chart, view) for chart in (reliability(run), early(run)) if chart is not None]
    held = kit.grid(*charts) if charts else kit.note("Nothing to show: metrics.json has neither.")
    return [kit.section("How sure, and how early", held, key="sure")]


PARTS: Final[dict[str, tuple[str, Callable[[View, Run], Sequence[Node]]]]] = {
    "all": ("the result, confusion, confidence", _overview),
    "each": ("class by class", _each),
    "mistakes": ("what was mistaken, series by series", mistakes),
}

PAGE = Page(PATH, "Classes", "Which class is taken for which, and how surely.", render)
