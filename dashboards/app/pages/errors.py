"""Errors: where, when and how far a model errs; of one run or of up to three, beside the naive forecast."""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from dash import Input, Output, State, html

from forecast.dashboards.app import kit
from forecast.dashboards.app.measured import Measured
from forecast.dashboards.app.page import Node, Page, View, read_query
from forecast.dashboards.app.pages import errors_parts as parts
from forecast.dashboards.app.sources import Sources
from forecast.dashboards.charts.chart import Chart
from forecast.dashboards.series import errors, intervals, noise
from forecast.dashboards.series.errors import ROLES, Subject
from forecast.dashboards.series.residuals import Residuals
from forecast.dashboards.series.scored import Choice
from forecast.errors import nearest

PATH: Final = "/errors"
TICK_MS: Final = 500
MOST: Final = len(ROLES)  # runs beside each other
PARTS: Final = {
    "where": "Where and when",
    "intervals": "Intervals",
    "residuals": "What errors are like",
    "series": "Series and channels",
}
measured = Measured()


class Asked(NamedTuple):
    """What the address names: runs with what is known of their errors, what cannot be shown and why, and how far
    sums that are still being made are."""

    subjects: list[Subject]
    notes: list[str]
    shares: list[float]
    whole: Residuals | None  # of the first run, of all channels and series


def render(view: View) -> Node:
    """What stands below the heading; its body is drawn again by itself while sums are made."""
    return html.Div(body(view), id="errors-body", **kit.aria(live="off"))


def body(view: View) -> list[Node]:
    cards = [card for card in view.sources.cards() if card.kind == "series" and card.path is not None]
    whole = [card for card in cards if not card.damage and card.finished]
    asked = [id for id in dict.fromkeys(view.query.get("run", ())) if id] or [card.id for card in whole[:1]]
    if not asked:
        return [
            kit.empty(
                "No run of series yet",
                "Errors by step, hour, weekday and series are drawn here once a run has scored its test part.",
                "forecast train",
            )
        ]
    chooser = parts.runs(view, whole, asked, MOST)
    found = ask(view, asked)
    notes = [kit.note(words) for words in found.notes]
    if found.shares:
        return [kit.controls(chooser), *notes, kit.reading(min(found.shares), "errors-tick", TICK_MS)]
    if not found.subjects:
        return [kit.controls(chooser), *notes]
    controls = kit.controls(chooser, parts.channel(view, found.whole), *parts.series(view, found.whole))
    return [controls, *notes, parts.facts(found.subjects), *drawn(found.subjects, view)]


def ask(view: View, ids: Sequence[str]) -> Asked:
    """The runs of the address, as far as they can be shown together."""
    choice = Choice(view.one("channel"), view.one("series"))
    names = parts.names(view, ids)
    subjects: list[Subject] = []
    notes: list[str] = []
    shares: list[float] = []
    whole: Residuals | None = None
    if len(ids) > MOST:
        notes.append(f"{len(ids)} runs are chosen; the first {MOST} are drawn.")
    for id in ids[:MOST]:
        run = view.sources.run(id)
        if run.kind != "series":
            notes.append(f"{names[id]} is a run of {run.kind}, not of forecasts of series; it is left out.")
            continue
        held = measured.get(run, choice)
        everything = measured.get(run, Choice()) if not subjects and any(choice) else held
        if isinstance(held, float) or isinstance(everything, float):
            shares += [share for share in (held, everything) if isinstance(share, float)]
            continue
        whole = whole or everything
        if held is None:
            notes.append(_nothing(names[id], run.predictions is None, choice, everything))
        if held is not None or (run.rows and not any(choice)):
            subjects.append(Subject(run, held, names[id], ROLES[len(subjects)]))
    if len({each.run.dataset for each in subjects}) > 1:
        notes.append("These runs are of different data: scaled errors have different units, hours and series too.")
    return Asked(subjects, notes, shares, whole)


def _nothing(name: str, unwritten: bool, choice: Choice, whole: Residuals | None) -> str:
    """Why a run has no errors to show, and what to do."""
    if unwritten:
        return (
            f"{name} wrote no predictions (predictions.parquet is missing): only its scores by step can be shown. "
            "Train it with predictions=true."
        )
    if whole is None:
        return f"In the predictions of {name} every actual or every forecast is missing: nothing can be scored."
    if choice.channel and choice.channel not in whole.channels:
        hint = nearest(choice.channel, whole.channels)
        return (
            f"{name} has no channel {choice.channel}; expected one of {', '.join(whole.channels[:12])}. {hint}".strip()
        )
    if choice.series:
        known = whole.series["unique_id"].to_list()
        return f"{name} has no scored series {choice.series}. {nearest(choice.series, known)}".strip()
    return f"{name} has nothing to show of this choice."


def drawn(subjects: list[Subject], view: View) -> list[Node]:
    """The links to the parts of the page, and the part that the address names."""
    here = view.one("show") if view.one("show") in PARTS else "where"
    links = [
        html.Strong(title, **kit.aria(current="true"))
        if key == here
        else kit.link(title, PATH, **{**view.query, "show": "" if key == "where" else key})
        for key, title in PARTS.items()
    ]
    menu = html.Nav(links, className="pages", style={"flexWrap": "wrap"}, **kit.aria(label="Parts of this page"))
    return [menu, *_part(here, subjects, view)]


def _part(here: str, subjects: list[Subject], view: View) -> list[Node]:
    def part(title: str, *made: Chart | None, below: Node = None) -> Node:
        charts = [kit.graph(each, view) for each in made if each is not None]
        return kit.section(title, kit.grid(*charts) if charts else None, below)

    if here == "intervals":
        banded = [make(subjects) for make in (intervals.coverage, intervals.reliability, intervals.pit)]
        return [part("Intervals", *banded, below=None if any(banded) else _without())]
    if here == "residuals":
        level = noise.level(subjects)
        return [
            part("Over time", noise.bias(subjects)),
            part(
                "What errors are like", errors.sizes(subjects), noise.quantiles(subjects), noise.memory(subjects), level
            ),
        ]
    if here == "series":
        by_channel, by_series = parts.channel_table(subjects, view), parts.series_table(subjects, view)
        found = [part("By series", errors.series(subjects), below=by_series), part("By channel", below=by_channel)]
        alone = kit.note("This is one channel of one series: there is nothing to rank.")
        return found if any(found) else [alone]
    ahead = errors.horizon(subjects)
    wide = ahead._replace(half=False) if ahead else None
    return [
        part("By step ahead and over time", wide, errors.over_time(subjects)),
        part("By the calendar", errors.calendar(subjects), errors.week(subjects)),
    ]


def _without() -> Node:
    return kit.note(
        "No intervals: these predictions have no quantiles (columns lo and hi). A run trained now has them: ",
        html.Code("forecast train"),
        ".",
    )


def register(app: Any, sources: Sources) -> None:
    """The body again while sums are made."""

    @app.callback(
        Output("errors-body", "children"),
        Input("errors-tick", "n_intervals"),
        State("address", "search"),
        State("theme", "data"),
        prevent_initial_call=True,
    )
    def again(_: int | None, search: str | None, theme: str | None) -> Node:
        return body(View(sources, read_query(search), "dark" if theme == "dark" else "light"))


PAGE = Page(PATH, "Errors", "Where, when and how far a model errs.", render, register)
