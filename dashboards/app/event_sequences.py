"""The part of the page of events that looks at sequences: which, their events over time, one event closely."""

from typing import Any, Final, NamedTuple

import polars as pl
from dash import html

from forecast.dashboards.app import kit
from forecast.dashboards.app.event_held import Held, whole
from forecast.dashboards.app.kit import Column
from forecast.dashboards.app.page import Node, View
from forecast.dashboards.charts.chart import Axis, Band, Chart, Line, Panel, Rule, Span
from forecast.dashboards.charts.shared import array
from forecast.dashboards.charts.style import count, number, short
from forecast.dashboards.events.next import density, likely, stretch, way
from forecast.dashboards.events.scores import event_unit, marked, plural
from forecast.dashboards.events.sequences import ORDERS, events_of, ranked
from forecast.dashboards.events.timeline import MOST, Sequence, looked, rows, scale, timeline
from forecast.dashboards.load import Run
from forecast.dashboards.measures import percent

PATH: Final = "/events"
OFFERED: Final = 50  # sequences to choose from
SHOWN: Final = 8  # in the table
STRETCH: Final = 60  # events at once
ROWS: Final = 8  # marks with a row of their own
LETTERS: Final = 40  # of a sequence's name


class Part(NamedTuple):
    """Where in a sequence one looks: its events from `first` on, `size` of them, the `here`th of `last` parts."""

    first: int
    size: int
    here: int  # from 1
    last: int


def sequences(view: View, run: Run, held: Held) -> list[Node]:
    """Which sequences, and what is seen of them."""
    order = view.one("order") if view.one("order") in ORDERS else "worst"
    found = ranked(held.sequences, order, view.one("find"), view.number("draw", 0))
    names = _chosen(view, found, held)
    picked = [_row(held, name) for name in names]
    parts: list[Node] = [_controls(view, found, names, order), _table(view, run, held, found, names, order)]
    if not found.height:
        return [*parts, kit.note(f"No name of a sequence holds '{short(view.one('find'), 60)}'.")]
    if not picked:
        return [*parts, kit.note("The run has no sequence of this name. Choose another.")]
    return [*parts, *_looked(view, run, held, picked)]


def _chosen(view: View, found: pl.DataFrame, held: Held) -> list[str]:
    """Those of the address that the run has, else the first two of the list."""
    asked = list(dict.fromkeys(view.query.get("sequence", ())))
    if asked:
        known = set(held.sequences.filter(pl.col("unique_id").is_in(asked))["unique_id"])
        return [name for name in asked if name in known][:MOST]
    return found["unique_id"].head(2).to_list()


def _row(held: Held, name: str) -> dict[str, Any]:
    return held.sequences.row(by_predicate=pl.col("unique_id") == name, named=True)


# Which ------------------------------------------------------------------------------------------------------


def _controls(view: View, found: pl.DataFrame, names: list[str], order: str) -> Node:
    offered = list(dict.fromkeys([*names, *found["unique_id"].head(OFFERED)]))
    drops = ("part", "event")
    return kit.controls(
        kit.search("find", "Search a sequence", view, hint="part of its name"),
        kit.choose("order", "Order", list(ORDERS.items()), view, other="worst", drops=("draw", "sequence", *drops)),
        kit.choose("sequence", f"Sequences, up to {MOST}", [(name, short(name, LETTERS)) for name in offered], view,
                   many=True, drops=drops),
    )  # fmt: skip


def _table(view: View, run: Run, held: Held, found: pl.DataFrame, names: list[str], order: str) -> Node:
    """The first of the list; a name shows it alone, a plus beside what is shown."""
    told, unit = marked(run), plural(event_unit(run))
    columns = [Column("name", "Sequence", False), Column("n", "Events"), Column("nats", "Nats per event")]
    columns += [Column("right", "Marks right")] if told else []
    columns += [Column("off", f"Median error of the gap ({unit})"), Column("more", "Beside", False)]
    lines = []
    for row in found.head(SHOWN).iter_rows(named=True):
        name = row["unique_id"]
        alone = {**view.query, "sequence": [name], "part": "", "event": ""}
        more = {**view.query, "sequence": [*names, name][-MOST:]}
        cells: list[Node] = [kit.link(short(name, LETTERS), PATH, **alone), count(row["n"]), number(row["nats"])]
        cells += [percent(row["right"]) if row["right"] is not None else "–"] if told else []
        beside = "shown" if name in names else kit.link("add", PATH, **more)
        lines.append([*cells, number(row["off"], 3), beside])
    if not lines:
        return None
    lit = [k for k, row in enumerate(found.head(SHOWN)["unique_id"]) if row in names]
    shown = kit.table("Sequences", columns, lines, view, marked=lit)
    words: list[Node] = [f"{ORDERS[order].capitalize()}, {min(SHOWN, found.height)} of {found.height:,d}"]
    if order in ("worst", "best") and not view.one("find") and found.height < held.sequences.height:
        words.append(" that have enough events to tell")
    words.append(". ")
    if order == "random":
        words.append(kit.link("Draw others", PATH, **{**view.query, "draw": view.number("draw", 0) + 1,
                                                      "sequence": "", "part": "", "event": ""}))  # fmt: skip
    return html.Div([shown, kit.note(*words)])


# What is seen -----------------------------------------------------------------------------------------------


def _looked(view: View, run: Run, held: Held, picked: list[dict[str, Any]]) -> list[Node]:
    """The first closely, with a part and an event to choose; the others with their last events."""
    first = picked[0]
    part = _part(view, first["n"])
    events = events_of(run, first, part.first, part.size)
    ahead = (held.ahead or {}).get(first["unique_id"], {})
    every = [int(event) for event in events["event"]]
    choice = [event for event in every if event in ahead] or every
    asked = view.number("event", choice[-1])
    at = asked if asked in choice else choice[-1]
    row = events.row(by_predicate=pl.col("event") == at, named=True)
    drawn = [looked(first["unique_id"], events, held.lines, held.context, part.here == part.last)]
    for other in picked[1:]:
        own = events_of(run, other, max(0, other["n"] - STRETCH))
        drawn.append(looked(other["unique_id"], own, held.lines, held.context))
    name = short(first["unique_id"], LETTERS)
    slide = kit.slider("event", f"Event of sequence {name}", list(map(str, choice)), view, told=_told(choice, events))
    told = [_none_kept(run, held)]
    if at in ahead:
        unit = event_unit(run)
        charts = density(row, ahead[at], way(events, ahead), unit), likely(row, ahead[at], run.card.get("labels"))
        told = [kit.graph(chart, view) for chart in charts]
    told.append(kit.box(html.H3("In numbers"), _facts(row, event_unit(run), run)))
    return [
        kit.section("What came, and what was expected", _parts(view, first, part, run),
                    *_timelines(view, run, held, drawn, row["ds"]), key="timelines"),
        kit.section(f"One event of sequence {name}", slide, _near(view, choice, at), kit.grid(*told),
                    kit.graph(stretch(events, event_unit(run), at), view), key="event"),
    ]  # fmt: skip


def _timelines(view: View, run: Run, held: Held, drawn: list[Sequence], at: Any) -> list[Node]:
    """A chart for each; in the first a line at the event that is looked at closely."""
    names, unit, ends = rows(held.summary, drawn, ROWS), event_unit(run), scale(drawn)
    charts = [timeline(each, names, unit, ends, marked(run), f"timeline-{k + 1}") for k, each in enumerate(drawn)]
    rule = Rule(at, role="seasonal", dash="solid")
    panels = tuple(panel._replace(marks=(*panel.marks, rule)) for panel in charts[0].panels)
    charts[0] = charts[0]._replace(panels=panels, caption=f"{charts[0].caption} Orange: the event below.")
    charts[1:] = [chart._replace(caption="Drawn as the one above.") for chart in charts[1:]]
    return [*(kit.graph(chart, view) for chart in charts), _without(drawn)]


def _part(view: View, n: int) -> Part:
    """Parts of STRETCH events, counted from the end: the last is whole, since a run keeps more of it."""
    last = max(-(-n // STRETCH), 1)
    here = view.number("part", last, 1, last)
    stop = n - STRETCH * (last - here)
    first = max(0, stop - STRETCH)
    return Part(first, stop - first, here, last)


def _parts(view: View, row: dict[str, Any], part: Part, run: Run) -> Node:
    """Where in a long sequence one looks, over all of it."""
    if part.last < 2:
        return None
    parts = whole(run, row)
    values = [str(k + 1) for k in range(part.last)]
    told = [_range(row["n"], k + 1, part.last) for k in range(part.last)]
    words = (
        f"All {row['n']:,d} events of sequence {short(row['unique_id'], LETTERS)}: the mean nats of each stretch, and "
        "the least and most of an event in it, pale. Orange: the events below."
    )
    x = array(parts["first"])
    marks = (
        Span(part.first, part.first + part.size, "seasonal"),
        Band(x, array(parts["lowest"]), array(parts["highest"])),
        Line(x, array(parts["nats"]), width=1.4),
        Rule(part.first, role="seasonal", dash="solid"),
    )
    panel = Panel(marks, Axis("number of the scored event", whole=True), Axis("nats per event"), height=1.3)
    chart = Chart("overview", "The whole sequence", words, words, (panel,), legend=False)
    return html.Div([kit.slider("part", "Events below", values, view, told=told), kit.graph(chart, view)])


def _range(n: int, here: int, last: int) -> str:
    stop = n - STRETCH * (last - here)
    return f"{max(0, stop - STRETCH) + 1:,d} to {stop:,d} of {n:,d}"


def _without(drawn: list[Sequence]) -> Node:
    """Which of the sequences have no hazard, and why."""
    lost = [short(each.id, LETTERS) for each in drawn if not len(each.ds)]
    if not lost:
        return None
    return kit.note(f"No hazard of {', '.join(lost)} here: a run keeps it for the last events of typical sequences, "
                    "the worst, the best and some at random.")  # fmt: skip


def _none_kept(run: Run, held: Held) -> Node:
    if held.ahead is not None:
        return kit.note("The densities of these events were not kept: a run keeps them for the last events of typical "
                        "sequences, the worst, the best and some at random. Intervals are there for all.")  # fmt: skip
    command = f"forecast evaluate run={run.path.name} insight=true"
    words = (f"This run, of schema {run.schema}, kept no densities of the next event, timeline_next.parquet. "
             "They are written by:")  # fmt: skip
    return html.Div([kit.note(words), kit.code(command)])


# One event --------------------------------------------------------------------------------------------------


def _told(choice: list[int], events: pl.DataFrame) -> list[str]:
    times = dict(zip(events["event"].to_list(), events["ds"].to_list(), strict=True))
    return [f"number {event:,d}, {_when(times[event])}" for event in choice]


def _when(at: Any) -> str:
    return number(at, 6) if isinstance(at, int | float) else f"{at:%Y-%m-%d %H:%M:%S}"


def _near(view: View, choice: list[int], at: int) -> Node:
    """Links to the event before and the one after."""
    k = choice.index(at)

    def to(place: int, words: str) -> Node:
        if not 0 <= place < len(choice):
            return html.Span(words, className="none")
        return kit.link(words, PATH, **{**view.query, "event": choice[place]})

    return html.Nav([to(k - 1, "← event before"), html.Span(f"{k + 1} of {len(choice)}"), to(k + 1, "event after →")],
                    className="pages", **kit.aria(label="Events"))  # fmt: skip


def _facts(row: dict[str, Any], unit: str, run: Run) -> Node:
    units = plural(unit)
    low, high = row["pit_low"], row["pit_high"]
    level = "–" if low is None or high is None else number((low + high) / 2, 3)
    nats = f"{number(row['nats_time'], 3)} of time"
    pairs: list[tuple[str, Node]] = [
        ("Event", f"number {row['event']:,d}, {_when(row['ds'])}"),
        ("Gap that came", f"{number(row['gap'])} {units}"),
        ("Median forecast", f"{number(row['median'])} {units}"),
        ("90 % interval", f"{number(row['q05'])} to {number(row['q95'])} {units}"),
        ("F(gap)", level),
    ]
    if marked(run):
        right = row["mark"] == row["guess"]
        badge = kit.badge("guessed right" if right else "wrong", "good" if right else "bad")
        pairs += [("Mark that came", [short(row["mark"] or "unknown in training", 60), " ", badge]),
                  ("Mark guessed", short(row["guess"] or "none", 60))]  # fmt: skip
        nats += f", {number(row['nats_mark'], 3)} of the mark"
    return kit.facts([*pairs, ("Nats", nats)])
