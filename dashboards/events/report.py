"""report.html of an event run: what is known of the next event and its mark, how true that is, beside the floors."""

from collections.abc import Mapping
from datetime import datetime

from forecast.dashboards.charts.chart import Chart
from forecast.dashboards.charts.shared import moment
from forecast.dashboards.charts.style import count, duration, number
from forecast.dashboards.events.ahead import ahead_rows, best, explained, titles
from forecast.dashboards.events.figures import event_charts
from forecast.dashboards.events.scores import event_unit, headline, plural, score_table, tiles
from forecast.dashboards.events.summary import EventSummary, summarise_events
from forecast.dashboards.frame import again, document, files, findings, grid, split, training
from forecast.dashboards.insight.report import looked
from forecast.dashboards.load import Run
from forecast.dashboards.page import facts, note, swatch, table, text

NAMED = 12  # marks that are listed by name


def render(run: Run) -> str:
    """The report as one HTML document."""
    summary = summarise_events(run)
    drawn = {chart.name: chart for chart in event_charts(run, summary)}
    marks, ahead = grid(drawn, "confusion", "accuracies"), _ahead(run)
    sections = {
        "scores": ("Scores", [*score_table(run), *_metatpp(run)]),
        "events": ("Events", _events(run, summary, drawn)),
        "time": ("When", _time(drawn)),
        **({"marks": ("Which mark", [marks])} if marks else {}),
        **({"ahead": ("The window ahead", ahead)} if ahead else {}),
        **looked(run),
        "training": ("Training", training(run, drawn, "Training events", "events")),
        "data": ("Data", _data(run, summary)),
        "again": ("Run it again", again(run)),
    }
    counts = {part: run.part(part).get("test") for part in ("events", "sequences")}
    meta = {
        "Test": ", ".join(f"{count(n)} {part}" for part, n in counts.items() if n is not None),
        "Unit of time": event_unit(run),
        "Marks": count(len(run.metrics["marks"])) if run.metrics.get("marks") else "",
        "Parameters": count(run.metrics["parameters"]) if "parameters" in run.metrics else "",
        "Fitted in": duration(run.part("seconds")["fit"]) if "fit" in run.part("seconds") else "",
    }
    return document(run, headline(run), meta, tiles(run, summary.coverage if summary else None), sections)


def _events(run: Run, summary: EventSummary | None, drawn: Mapping[str, Chart]) -> list[str]:
    found = grid(drawn, *(name for name in drawn if name.startswith("timeline-")))
    if found:
        return [found]
    if summary is None:
        return [note("No events to show: this run wrote no predictions (predictions.parquet is missing or empty).")]
    return [note("No sequences to show: this run wrote no hazards (timeline.parquet is missing or empty).")]


def _time(drawn: Mapping[str, Chart]) -> list[str]:
    found = grid(drawn, "pit", "rescaling", "gaps", "ratio", "position")
    return [found] if found else [note("Nothing to show: neither a histogram of F(gap) nor predictions were written.")]


def _metatpp(run: Run) -> list[str]:
    """Figures of another protocol, apart from the scores and named so."""
    found = run.part("metatpp")
    if not found:
        return []
    said = ", ".join(f"{title} {number(found.get(key))}" for key, title in
                     (("nll", "NLL"), ("rmse", "RMSE"), ("accuracy", "accuracy")))  # fmt: skip
    return [note(f"protocol=metatpp, only to be compared with papers that count so and no score of forecasts: {said}.")]


def _ahead(run: Run) -> list[str]:
    """What forecasts of the whole window ahead are worth; nothing where they were not scored."""
    rows = ahead_rows(run)
    if not rows:
        return []
    known, aims = titles(rows), {1: "↑", -1: "↓"}
    head = "".join(f'<th scope="col">{text(t)}<span class="aim">{aims[sign]}</span></th>' for t, sign in known.values())
    body = []
    for row in rows:
        cells = ""
        for key in known:
            value = row.values.get(key)
            said = number(value)
            cells += (
                f"<td><strong>{said}</strong></td>"
                if value is not None and value == best(rows, key)
                else f"<td>{said}</td>"
            )
        name = f'<th scope="row">{swatch(row.role)}{text(row.name)}</th>'
        body.append(f"<tr{' class=model' if row.kind == 'model' else ''}>{name}{cells}</tr>")
    return [
        table("Scores of the window ahead", f'<tr><th scope="col">Forecast</th>{head}</tr>', body, "dense"),
        note(explained(run)),
    ]


def _data(run: Run, summary: EventSummary | None) -> list[str]:
    if not run.data:
        return [note("This run wrote no facts about its data (data.json is missing).")]
    card, unit = run.card, event_unit(run)
    marks = [str(mark) for mark in run.metrics.get("marks") or run.spec.get("marks") or []]
    listed = ", ".join(marks[:NAMED]) + (f" and {len(marks) - NAMED:,d} more" if len(marks) > NAMED else "")
    grid_, least = run.metrics.get("grid") or run.spec.get("grid"), run.spec.get("floor")
    known = facts([
        ("Data set", card.get("name") or run.dataset),
        ("About", card.get("about")),
        ("Source", card.get("source")),
        ("Licence", card.get("licence")),
        ("File", files(run)),
        ("Marks", listed),
        ("Known of each event", ", ".join(map(str, card.get("covariates") or []))),
        ("Unit of time", unit),
        ("Grid of the clock", f"{number(grid_, 3)} {plural(unit)}" if grid_ else None),
        ("Least gap scored", f"{number(least, 3)} {plural(unit)}" if least and not grid_ else None),
        ("Periods", ", ".join(map(str, card.get("periods") or []))),
        ("Split", split(run.data.get("splits") or card.get("splits"))),
        ("Sequences", ", ".join(f"{part} {count(n)}" for part, n in run.part("sequences").items())),
        ("Events scored", ", ".join(f"{part} {count(n)}" for part, n in run.part("events").items())),
        ("Test events", f"{_at(summary.first)} to {_at(summary.last)}" if summary else None),
    ])  # fmt: skip
    return [f'<div class="box">{known}{findings(run)}</div>']


def _at(value: object) -> str:
    return moment(value) if isinstance(value, datetime) else number(value)
