"""Jobs: what batch jobs have written, and what they set aside."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from dash import Dash, Input, Output, State, dcc, html
from dash.exceptions import PreventUpdate

from forecast.dashboards import job_charts
from forecast.dashboards.app import kit
from forecast.dashboards.app.kit import Column
from forecast.dashboards.app.page import Node, Page, View
from forecast.dashboards.app.pages.run import size
from forecast.dashboards.app.sources import Sources
from forecast.dashboards.charts.style import count, duration, number
from forecast.dashboards.jobs import Job, Pace, Shard, job_id, lost, missing, pace, read
from forecast.ledger import FALLBACK, FORECAST, QUARANTINE, QUARANTINED

PATH: Final = "/jobs"
EVERY_MS: Final = 2000  # how often a running job is looked at again
TONES: Final = {"running": "muted", "finished": "good", "failed": "bad", "stopped": "bad"}
COMMAND: Final = "forecast predict run=latest input=FOLDER output=forecasts"


def render(view: View) -> Node:
    """What stands below the heading."""
    jobs, damaged = _jobs(view.sources)
    if not jobs:
        words = "A job is forecast predict with an output that is a folder; those below this folder are found."
        return [*map(kit.alarm, damaged), kit.empty("No jobs yet", words, COMMAND)]
    asked = view.one("job")
    job = next((each for each in jobs if each.id == asked), None)
    parts: list[Node] = [kit.alarm(words) for words in damaged]
    if asked and job is None:
        parts.append(kit.alarm(f"There is no job {asked[:20]} any more: choose one of those below."))
    job = job or next((each for each in jobs if each.state == "running"), jobs[0])
    if len(jobs) > 1:
        parts.append(_list(view, jobs, job))
    running = job.state == "running"
    return [
        *parts,
        html.Section([
            html.H2(_name(job)),
            html.Div(_now(view, job), id="jobs-now"),
            dcc.Interval(id="jobs-tick", interval=EVERY_MS, disabled=not running),
            dcc.Store(id="jobs-shown", data=job.id),
        ]),
        kit.section("What was set aside", *_aside(view, job)),
        kit.section("Shards", *_shards(view, job)),
    ]  # fmt: skip


def _jobs(sources: Sources) -> tuple[list[Job], list[str]]:
    """All jobs, running ones first, then the newest; and what is to be said of those that cannot be read."""
    found, damaged = [], []
    for path in sources.outputs():
        try:
            found.append(read(path))
        except OSError as fault:
            damaged.append(f"The manifest of {path} cannot be read: {fault.strerror}.")
    return sorted(found, key=lambda job: (job.state != "running", -job.changed.timestamp())), damaged


def _list(view: View, jobs: Sequence[Job], shown: Job) -> Node:
    columns = [
        Column("output", "Output", False), Column("state", "State", False), Column("shards", "Shards"),
        Column("series", "Series"), Column("aside", "Set aside"), Column("run", "Run", False),
        Column("changed", "Last written", False),
    ]  # fmt: skip
    keys: dict[str, Any] = {
        "output": lambda job: str(job.path), "state": lambda job: job.state, "shards": lambda job: len(job.shards),
        "series": lambda job: job.facts["series"], "aside": lambda job: _bad(job), "run": lambda job: _run(job),
        "changed": lambda job: job.changed,
    }  # fmt: skip
    ordered = kit.order(jobs, keys, view, "-changed") if view.one("sort") else list(jobs)
    rows = [
        [
            kit.link(_name(job), PATH, **{**view.query, "job": job.id, "spage": ""}),
            kit.badge(job.state, TONES[job.state]),
            _of(job),
            count(job.facts["series"]),
            count(_bad(job)),
            _run(job),
            f"{job.changed:%Y-%m-%d %H:%M}",
        ]
        for job in ordered
    ]
    lit = [k for k, job in enumerate(ordered) if job.id == shown.id]
    return kit.table("Jobs", columns, rows, view, PATH, marked=lit)


def _name(job: Job) -> str:
    """The output below the working directory, else in full."""
    try:
        return str(job.path.relative_to(Path.cwd()))
    except ValueError:
        return str(job.path)


def _bad(job: Job) -> int:
    """Series without a forecast of the model."""
    return int(job.facts["series"] - job.facts["status"].get(FORECAST, 0))


def _run(job: Job) -> str:
    return str(job.head.get("run") or "–")


def _of(job: Job) -> str:
    return f"{len(job.shards):,d} of {job.of:,d}" if job.of else count(len(job.shards))


# How it is now ----------------------------------------------------------------------------------------------


def _now(view: View, job: Job) -> list[Node]:
    """State, figures and charts: what changes while a job runs."""
    now = datetime.now(UTC)
    speed = pace(job, now)
    charts = [job_charts.progress(job), job_charts.seconds(job)]
    drawn = [kit.graph(chart, view) for chart in charts if chart is not None]
    return [
        html.P([kit.badge(job.state, TONES[job.state]), " ", _state(job, speed, now)], role="status"),
        _bar(job), kit.tiles(_tiles(job, speed)), _sum(job), _facts(view, job), kit.grid(*drawn) if drawn else None,
    ]  # fmt: skip


def _state(job: Job, speed: Pace | None, now: datetime) -> str:
    """How the job is, in a sentence, and what to do."""
    ago = duration(max((now - job.changed).total_seconds(), 0.0))
    if job.state == "finished":
        gone = missing(job)
        if gone:
            return (
                f"It was finished, but {len(gone):,d} of its files are gone or changed, {gone[0]} first: run it again."
            )
        return "The output is complete: _SUCCESS is there."
    if job.state == "running":
        left = f"about {duration(speed.left)} left" if speed and speed.left is not None else "no shard is done yet"
        return f"{_of(job)} shards are done, {left}; the last line was written {ago} ago."
    again = "run the same command again: it goes on with what is left"
    if job.state == "failed":
        return f"It ended before its end: {job.fault}. When that is settled, {again}."
    return f"Nobody is at work on it, and it is not complete ({_of(job)} shards): its process was ended; {again}."


def _bar(job: Job) -> Node:
    """How far it is, as a bar."""
    if not job.of or job.state == "finished":
        return None
    named: Any = {"aria-label": f"{_of(job)} shards are done"}
    return html.Progress(value=str(len(job.shards)), max=str(job.of), style={"width": "100%"}, **named)


def _tiles(job: Job, speed: Pace | None) -> list[tuple[str, str, str]]:
    facts = job.facts
    made = [("Series", count(facts["series"]), ""), ("Rows read", count(facts["rows_in"]), ""),
            ("Rows written", count(facts["rows_out"]), "")]  # fmt: skip
    if speed is not None:
        made += [("Rate", number(speed.series, 3), "series/s"), ("Rows", number(speed.rows, 3), "per second"),
                 ("Time" if job.state != "running" else "Time so far", duration(speed.seconds), "")]  # fmt: skip
        if speed.left is not None:
            made.append(("Left, about", duration(speed.left), ""))
    return made


def _sum(job: Job) -> Node:
    """series in = forecast + fallback + quarantined."""
    status = job.facts["status"]
    parts = " + ".join(f"{count(status.get(name, 0))} {words}" for name, words in (
        (FORECAST, "forecast"), (FALLBACK, "fallback"), (QUARANTINED, "quarantined")))  # fmt: skip
    holds = job.conserved
    return html.P(
        [kit.badge("conserved" if holds else "not conserved", "good" if holds else "bad"),
         f" {count(job.facts['series'])} series in = {parts}"]
    )  # fmt: skip


def _facts(view: View, job: Job) -> Node:
    head, run = job.head, str(job.head.get("run") or "")
    known = any(card.id == run and card.path is not None for card in view.sources.cards())
    return kit.box(kit.facts([
        ("Output", str(job.path)),
        ("Input", f"{head['input']}, {count(job.inputs)} files, {size(job.bytes)}" if head.get("input") else
         f"{count(job.inputs)} files, {size(job.bytes)}"),
        ("Run", kit.link(run, "/run", run=run) if known else run),
        ("Model", f"{head.get('model', '–')}, version {head.get('model_version', '–')}"),
        ("Engine", str(head.get("engine") or "")),
        ("Begun", f"{job.started:%Y-%m-%d %H:%M:%S} UTC" if job.started else None),
        ("From before", f"{len(job.shards) - len(job.fresh):,d} shards" if job.started and
         len(job.shards) > len(job.fresh) else None),
    ]))  # fmt: skip


# What was set aside -----------------------------------------------------------------------------------------


def _aside(view: View, job: Job) -> list[Node]:
    """Every reason with what to do, and a few of its series."""
    reasons = lost(job)
    if not reasons:
        return [kit.note("Nothing was: every series that was read has a forecast.")]
    columns = [Column("reason", "Reason", False), Column("series", "Series"), Column("do", "What to do", False)]
    rows = [[html.Code(each.reason), count(each.series), each.do] for each in reasons]
    parts: list[Node] = [kit.table("Why series have no forecast of the model", columns, rows, view)]
    samples = [[html.Code(each.reason), id or "–", html.Span(detail, className="long")]
               for each in reasons for id, detail in each.samples]  # fmt: skip
    if samples:
        heads = [Column("reason", "Reason", False), Column("id", "Series", False), Column("detail", "Found", False)]
        parts.append(kit.fold("A few of them", kit.table("A few of the series set aside", heads, samples, view)))
    where = f"All of them are in {job.path / QUARANTINE}" if job.facts["status"].get(QUARANTINED) else \
        "They have a fallback: status says so in the forecasts"  # fmt: skip
    return [*parts, kit.note(f"{where}.")]


# Shards -----------------------------------------------------------------------------------------------------


def _shards(view: View, job: Job) -> list[Node]:
    if not job.shards:
        return [kit.note("No shard is done yet.")]
    columns = [
        Column("number", "Shard"), Column("rows", "Rows read"), Column("out", "Rows written"),
        Column("series", "Series"), Column("aside", "Set aside"), Column("seconds", "Seconds"),
        Column("bytes", "Written"), Column("engine", "Engine", False), Column("at", "Done (UTC)", False),
        Column("inputs", "Files", False, sorts=False),
    ]  # fmt: skip
    keys: dict[str, Any] = {
        "number": lambda shard: shard.done.number, "rows": lambda shard: shard.done.rows_in,
        "out": lambda shard: shard.done.rows_out, "series": lambda shard: shard.done.series, "aside": _set_aside,
        "seconds": lambda shard: shard.done.seconds, "bytes": lambda shard: sum(shard.done.sizes),
        "engine": lambda shard: shard.engine, "at": lambda shard: shard.at,
    }  # fmt: skip
    first = (view.number("spage", 1, 1) - 1) * kit.ROWS
    ordered = kit.order(job.shards, keys, view, "number", "s")
    rows = [
        _row(shard) if first <= k < first + kit.ROWS or k >= len(ordered) - kit.ROWS else [""] * len(columns)
        for k, shard in enumerate(ordered)
    ]  # fmt: skip  the rest is on other pages
    return [kit.table("Shards", columns, rows, view, PATH, prefix="s")]


def _set_aside(shard: Shard) -> int:
    return sum(shard.done.reasons.values()) + len(shard.done.corrupt)


def _row(shard: Shard) -> list[Node]:
    done, names = shard.done, shard.inputs
    files = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    return [
        count(done.number), count(done.rows_in), count(done.rows_out), count(done.series), count(_set_aside(shard)),
        number(done.seconds, 3), size(sum(done.sizes)), shard.engine or "–",
        f"{shard.at:%H:%M:%S}" if shard.at else "–", html.Span(files or "–", className="long"),
    ]  # fmt: skip


# A running job ----------------------------------------------------------------------------------------------


def register(app: Dash, sources: Sources) -> None:
    """A running job is looked at again every other second; when it ends, once more, and then no longer."""

    @app.callback(
        Output("jobs-now", "children"), Output("jobs-tick", "disabled"),
        Input("jobs-tick", "n_intervals"), State("jobs-shown", "data"), State("theme", "data"),
        prevent_initial_call=True,
    )  # fmt: skip
    def tick(_: int, id: str, theme: str) -> tuple[Node, bool]:
        path = next((path for path in sources.outputs() if job_id(path) == id), None)
        if path is None or theme not in ("light", "dark"):
            raise PreventUpdate
        try:
            job = read(path)
        except OSError as fault:
            raise PreventUpdate from fault
        view = View(sources, {"job": (id,)}, "dark" if theme == "dark" else "light")
        return _now(view, job), job.state != "running"


PAGE = Page(PATH, "Jobs", "What batch jobs have written, and what they set aside.", render, register=register)
