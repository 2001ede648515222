"""Events: when the next event was expected, and which."""

from collections.abc import Callable
from typing import Any, Final

from dash import Input, Output, State, html

from forecast.dashboards.app import kit
from forecast.dashboards.app.event_held import Held, held
from forecast.dashboards.app.event_sequences import PATH, sequences
from forecast.dashboards.app.kit import Column
from forecast.dashboards.app.page import Node, Page, View, read_query
from forecast.dashboards.app.pages.run import named
from forecast.dashboards.app.run_parts import described
from forecast.dashboards.app.sources import Card, Sources
from forecast.dashboards.charts.style import number, short
from forecast.dashboards.events import scores as event_scores
from forecast.dashboards.events.ahead import ahead_chart, ahead_rows, best, explained, titles
from forecast.dashboards.events.figures import KOLMOGOROV, chance, distance, gaps, pit, position, ratio, rescaling
from forecast.dashboards.events.marks import accuracies, confusion, rates
from forecast.dashboards.events.scores import advantage, event_rows, event_unit, plural, rival, shown
from forecast.dashboards.load import Run
from forecast.dashboards.measures import Column as Score
from forecast.dashboards.measures import gain, percent
from forecast.errors import ForecastError

TICK_MS: Final = 700
OFFERED: Final = 300  # runs to choose from, the newest
LETTERS: Final = 60  # of a mark's name
Section = Callable[[View, Run, Held], list[Node]]


def render(view: View) -> Node:
    """What stands below the heading; it is drawn again by itself while predictions are read for the first time."""
    return html.Div(body(view), id="events-body", **kit.aria(live="off"))


def body(view: View) -> Node:
    cards = [card for card in view.sources.cards() if card.path is not None and card.kind == "events"]
    good = [card for card in cards if not card.damage and card.finished]
    if not cards:
        words = "A run of task=event appears here once it is finished. To make a small one:"
        return kit.empty("No runs of events", words, "forecast train experiment=smoke_events")
    id = view.one("run") or (good or cards)[0].id
    picker = kit.controls(kit.choose("run", "Run", _offered(cards, id), view, other=id,
                                     drops=("sequence", "find", "draw", "part", "event")))  # fmt: skip
    try:
        run = described(view.sources.run(id))
        if run.kind != "events":
            other = f"Run {id} forecasts {run.kind}, not events. Choose another, or see "
            return [picker, kit.note(other, kit.link("what it is", "/run", run=id), ".")]
        found = held(run)
    except ForecastError as fault:
        return [picker, kit.alarm(str(fault))]
    if isinstance(found, float):
        return [picker, *_head(view, run, None), kit.reading(found, "events-tick", TICK_MS)]
    return [picker, *_head(view, run, found), *_below(view, run, found)]


def register(app: Any, sources: Sources) -> None:
    """While predictions are read the body is drawn again."""

    @app.callback(
        Output("events-body", "children"), Input("events-tick", "n_intervals"), State("address", "search"),
        State("theme", "data"), prevent_initial_call=True,
    )  # fmt: skip
    def again(_: int | None, search: str | None, theme: str | None) -> Node:
        return body(View(sources, read_query(search), "dark" if theme == "dark" else "light"))


def _offered(cards: list[Card], *always: str) -> list[tuple[str, str]]:
    offered = [(card.id, named(card)) for k, card in enumerate(cards) if k < OFFERED or card.id in always]
    return offered + [(id, id) for id in always if id not in {known for known, _ in offered}]


def _head(view: View, run: Run, found: Held | None) -> list[Node]:
    """The result in words and in figures, and the floors."""
    words, verdict, tone = event_scores.headline(run)
    coverage = found.summary.coverage if found else None
    lead = kit.box(html.P(words, className="lead"), html.P(verdict, className=f"verdict {tone}") if verdict else None)
    return [
        lead,
        kit.tiles(event_scores.tiles(run, coverage)),
        kit.section("Model and floors", *_scores(view, run), key="scores"),
    ]


def _scores(view: View, run: Run) -> list[Node]:
    """The model beside all floors, the best of each column bold, how far it is from the best floor."""
    rows, seen = event_rows(run), event_scores.columns(run)
    if not rows:
        return [kit.note("This run has no scores yet: metrics.json is missing or has no rows.")]
    heads = [_head_of(run, column) for column in seen]
    lines: list[list[Node]] = []
    for row in rows:
        cells = [_cell(row, column, rows) for column in seen]
        lines.append([[kit.swatch(row.role), row.name], *cells])
    lines.append(["against the best floor", *(_gain(run, column) for column in seen)])
    lit = [k for k, row in enumerate(rows) if row.kind == "model"]
    made = kit.table("Scores on the test events", [Column("name", "Forecast", False), *heads], lines, view, sort=False,
                     marked=lit)  # fmt: skip
    return [made, kit.fold("What these numbers mean", kit.note(event_scores.explained(run)))]


def _head_of(run: Run, column: Score) -> Column:
    unit = {"Nats per event": "nats", "Gap": plural(event_unit(run))}.get(column.group, "")
    title = "Calibration" if column.key == "calibration" else column.title
    label = f"{title}{f' ({unit})' if unit else ''} {'↑' if column.sign > 0 else '↓'}"
    return Column(column.key, label, title=column.group)


def _cell(row: event_scores.EventRow, column: Score, rows: list[event_scores.EventRow]) -> Node:
    value = row.values.get(column.key)
    if value is None:
        return "–"
    known = [each.values[column.key] for each in rows if each.kind != "oracle" and column.key in each.values]
    first = row.kind != "oracle" and len(known) > 1 and value == column.sign * max(column.sign * v for v in known)
    return html.Strong(shown(column, value)) if first else shown(column, value)


def _gain(run: Run, column: Score) -> Node:
    found, floor = advantage(run, column), rival(run, column)
    if found is None or floor is None:
        return "–"
    words, tone = gain(column, found, floor.values[column.key])
    return html.Span(words, className=tone, title=f"than {floor.name}")


def _below(view: View, run: Run, found: Held | None) -> list[Node]:
    """One of the parts, chosen by ?show=."""
    if found is None:
        words = "This run wrote no predictions: predictions.parquet is missing or empty. To see its events, train with:"
        return [kit.note(words), kit.code("forecast train task=event predictions=true"), *_only_scores(view, run)]
    here = view.one("show") if view.one("show") in PARTS else next(iter(PARTS))
    links: list[Node] = []
    for key, (title, _) in PARTS.items():
        query = {**view.query, "show": "" if key == next(iter(PARTS)) else key}
        state = kit.aria(current="true") if key == here else {}
        links.append(html.Span(html.Strong(title) if key == here else kit.link(title, PATH, **query), **state))
    menu = html.Nav(links, className="pages", **kit.aria(label="Parts of this page"))
    return [menu, *PARTS[here][1](view, run, found)]


def _only_scores(view: View, run: Run) -> list[Node]:
    return [kit.graph(pit(run, None), view), *_ahead(view, run)]


# When -------------------------------------------------------------------------------------------------------


def when(view: View, run: Run, found: Held) -> list[Node]:
    """Whether the distributions of gaps are true, and how far gaps are off."""
    summary = found.summary
    ks, band = distance(summary.below), KOLMOGOROV / summary.events**0.5
    p = chance(ks, summary.events)
    verdict = kit.badge("inside the band", "good") if ks <= band else kit.badge("outside the band", "bad")
    facts = kit.facts([
        ("Events scored", f"{summary.events:,d} of {summary.sequences:,d} sequences"),
        ("KS distance", [number(ks, 3), " ", verdict]),
        ("Band of 95 %", f"{number(band, 3)} = 1.36/√{summary.events:,d}"),
        ("p of a true model", number(p, 2) if p >= 1e-4 else "below 0.0001"),
        ("Inside the 90 % interval", percent(summary.coverage) if summary.coverage is not None else None),
        ("Between half and twice the median", percent(summary.gaps.twice) if summary.gaps else None),
    ])  # fmt: skip
    about = kit.note("With many events p is small for any model that is not exactly true: the distance says how far "
                     "off it is.")  # fmt: skip
    charts = [kit.graph(make(run, summary), view) for make in (pit, rescaling, gaps, ratio, position)]
    return [
        kit.section(
            "Is the distribution of the gap true", kit.box(facts, about), kit.grid(*charts[:2]), key="rescaling"
        ),
        kit.section("Error of the gap", kit.grid(*charts[2:]), key="gaps"),
    ]


# Which ------------------------------------------------------------------------------------------------------


def which(view: View, run: Run, found: Held) -> list[Node]:
    """Marks: confusion, accuracies, and a table of all."""
    summary = found.summary
    if summary.marks.height < 2:
        return [kit.note("The events of this run have one mark, so there is nothing to guess.")]
    recall, precision = rates(summary.marks)
    total = max(int(summary.marks["came"].sum()), 1)
    rows = [
        {**row, "share": row["came"] / total, "recall": float(r), "precision": float(p)}
        for row, r, p in zip(summary.marks.iter_rows(named=True), recall, precision, strict=True)
    ]
    keys = {key: (lambda row, key=key: row[key]) for key in ("mark", "came", "share", "guessed", "recall", "precision")}
    heads = [Column("mark", "Mark", False), Column("came", "Came"), Column("share", "Share of events"),
             Column("guessed", "Guessed"), Column("recall", "Of those that came, guessed"),
             Column("precision", "Of the guesses, came")]  # fmt: skip
    lines = [[html.Span(short(row["mark"], LETTERS), title=row["mark"]), f"{row['came']:,d}", percent(row["share"]),
              f"{row['guessed']:,d}", _share(row["recall"]), _share(row["precision"])]
             for row in kit.order(rows, keys, view, "-came")]  # fmt: skip
    table = kit.table(f"All {len(rows):,d} marks", heads, lines, view, PATH)
    charts = [kit.graph(make(run, summary), view) for make in (confusion, accuracies)]
    return [kit.section("Which mark", kit.grid(*charts), key="marks"), kit.section("All marks", table)]


def _share(value: float) -> str:
    return percent(value) if value == value else "–"


# The window ahead -------------------------------------------------------------------------------------------


def ahead(view: View, run: Run, found: Held) -> list[Node]:
    """Scores of all events of a window, beside the floors."""
    return _ahead(view, run)


def _ahead(view: View, run: Run) -> list[Node]:
    rows = ahead_rows(run)
    if not rows:
        words = "No window ahead was scored: it was not asked for, or no sequence is watched for so long. To score one:"
        command = "forecast train task=event task.origins=128"
        return [kit.section("The window ahead", kit.note(words), kit.code(command))]
    known, aims = titles(rows), {1: "↑", -1: "↓"}
    heads = [
        Column("name", "Forecast", False),
        *(Column(key, f"{title} {aims[sign]}") for key, (title, sign) in known.items()),
    ]
    lines: list[list[Node]] = []
    for row in rows:
        cells: list[Node] = []
        for key in known:
            value = row.values.get(key)
            first = value is not None and value == best(rows, key)
            cells.append(html.Strong(number(value)) if first else number(value))
        lines.append([[kit.swatch(row.role), row.name], *cells])
    lit = [k for k, row in enumerate(rows) if row.kind == "model"]
    table = kit.table("Scores of the window ahead", heads, lines, view, sort=False, marked=lit)
    return [
        kit.section("The window ahead", table, kit.graph(ahead_chart(run), view), kit.note(explained(run)), key="ahead")
    ]


PARTS: Final[dict[str, tuple[str, Section]]] = {
    "sequences": ("Sequences", sequences), "when": ("When", when), "marks": ("Which mark", which),
    "ahead": ("The window ahead", ahead),
}  # fmt: skip
PAGE = Page(PATH, "Events", "When the next event was expected, and which.", render, register)
