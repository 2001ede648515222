"""report.html of an event run: what is known of the next event and its mark, how true that is, beside the floors."""

from collections.abc import Mapping
from datetime import datetime

from forecast.dashboards.canvas import Picture, moment
from forecast.dashboards.event_figures import event_pictures
from forecast.dashboards.event_scores import event_unit, headline, horizon_table, plural, score_table, tiles
from forecast.dashboards.event_summary import EventSummary, summarise_events
from forecast.dashboards.frame import again, document, files, findings, grid, split, training
from forecast.dashboards.load import Run
from forecast.dashboards.page import facts, note
from forecast.dashboards.style import count, number

NAMED = 12  # marks that are listed by name


def render(run: Run) -> str:
    """The report as one HTML document."""
    summary = summarise_events(run)
    drawn = {picture.name: picture for picture in event_pictures(run, summary)}
    marks, ahead = grid(drawn, "confusion", "accuracies"), horizon_table(run)
    sections = {
        "scores": ("Scores", [*score_table(run), *_metatpp(run)]),
        "events": ("Events", _events(run, summary, drawn)),
        "time": ("When", _time(drawn)),
        **({"marks": ("Which mark", [marks])} if marks else {}),
        **({"ahead": ("The window ahead", ahead)} if ahead else {}),
        "training": ("Training", training(run, drawn, "Training events", "events")),
        "data": ("Data", _data(run, summary)),
        "again": ("Run it again", again(run)),
    }
    counts = {part: run.part(part).get("test") for part in ("events", "sequences")}
    meta = {
        "Test": ", ".join(f"{count(n)} {part}" for part, n in counts.items() if n is not None),
        "Unit of time": event_unit(run),
        "Marks": count(len(run.metrics["marks"])) if run.metrics.get("marks") else "",
    }
    return document(run, headline(run), meta, tiles(run, summary.coverage if summary else None), sections)


def _events(run: Run, summary: EventSummary | None, drawn: Mapping[str, Picture]) -> list[str]:
    found = grid(drawn, "timelines")
    if found:
        return [found]
    if summary is None:
        return [note("No events to show: this run wrote no predictions (predictions.parquet is missing or empty).")]
    return [note("No sequences to show: this run wrote no hazards (timeline.parquet is missing or empty).")]


def _time(drawn: Mapping[str, Picture]) -> list[str]:
    found = grid(drawn, "pit", "rescaling", "gaps", "position")
    return [found] if found else [note("Nothing to show: neither a histogram of F(gap) nor predictions were written.")]


def _metatpp(run: Run) -> list[str]:
    """Figures of another protocol, apart from the scores and named so."""
    found = run.part("metatpp")
    if not found:
        return []
    said = ", ".join(f"{title} {number(found.get(key))}" for key, title in
                     (("nll", "NLL"), ("rmse", "RMSE"), ("accuracy", "accuracy")))  # fmt: skip
    return [note(f"protocol=metatpp, only to be compared with papers that count so and no score of forecasts: {said}.")]


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
