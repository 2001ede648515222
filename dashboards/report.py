"""report.html: what a run is, how good it is beside the naive forecasts, where it errs, how to repeat it."""

import os
from collections.abc import Mapping
from pathlib import Path
from uuid import uuid4

from forecast.dashboards import load
from forecast.dashboards.charts.chart import Chart
from forecast.dashboards.charts.shared import moment
from forecast.dashboards.charts.style import count, duration, steps
from forecast.dashboards.classes import report as class_report
from forecast.dashboards.events import report as event_report
from forecast.dashboards.frame import again, document, files, findings, grid, split, training
from forecast.dashboards.insight.report import looked
from forecast.dashboards.load import Run
from forecast.dashboards.page import facts, note
from forecast.dashboards.scores import channel_table, headline, score_table, series_table, tiles
from forecast.dashboards.series.figures import series_charts
from forecast.dashboards.series.intervals import interval_table
from forecast.dashboards.series.residuals import measure
from forecast.dashboards.series.summary import Summary, summarise

HARDEST = 10  # series in the table of the hardest


def write_report(run_dir: Path) -> Path:
    """Write `report.html` into the run folder, whole or not at all, and return its path.

    What the run did not leave behind gets a sentence instead of a section; ArtifactError for a damaged file.
    """
    run = load.read(run_dir)
    html = {"series": render, "events": event_report.render, "classes": class_report.render}[run.kind](run)
    target = run.path / "report.html"
    hidden = target.with_name(f".report.html.{uuid4().hex[:8]}.tmp")
    try:
        hidden.write_text(html, encoding="utf-8")
        os.replace(hidden, target)
    finally:
        hidden.unlink(missing_ok=True)
    return target


def render(run: Run) -> str:
    """The report of a run of series as one HTML document."""
    summary = summarise(run)
    drawn = {each.name: each for each in series_charts(run, summary, measure(run))}
    bands = interval_table(run)
    sections = {
        "scores": ("Scores", score_table(run)),
        **({"intervals": ("Intervals", [*bands, grid(drawn, "reliability", "pit", "coverage")])} if bands else {}),
        "forecasts": ("Forecasts", _forecasts(run, summary, drawn)),
        "errors": ("Where it errs", _errors(run, summary, drawn)),
        **looked(run),
        "training": ("Training", training(run, drawn, "Training windows", "windows")),
        "data": ("Data", _data(run, summary)),
        "again": ("Run it again", again(run)),
    }
    horizon, context = run.metrics.get("horizon"), run.metrics.get("context")
    meta = {
        "Horizon": steps(horizon, run.freq) if horizon else "",
        "History": steps(context, run.freq) if context else "",
    }
    shown = tiles(run)
    if shown:
        shown += [("Time to fit", duration(run.part("seconds").get("fit")), "")]
        shown += [("Parameters", count(run.metrics.get("parameters")), "")]
    return document(run, headline(run), meta, shown, sections)


def _forecasts(run: Run, summary: Summary | None, drawn: Mapping[str, Chart]) -> list[str]:
    if summary is not None:
        return [grid(drawn, "forecasts", "channels")]
    if run.predictions is None:
        return [note("No forecasts to show: this run wrote no predictions (predictions.parquet is missing).")]
    return [note("No forecasts to show: in predictions.parquet every actual or every forecast is missing.")]


def _errors(run: Run, summary: Summary | None, drawn: Mapping[str, Chart]) -> list[str]:
    parts = [grid(drawn, "horizon", "residuals", "acf", "level", "calendar", "week", "time"), *channel_table(run)]
    if summary is not None and summary.ids > 1:
        title = f"The hardest of {summary.ids:,d} series" if summary.ids > HARDEST else "By series"
        hardest = summary.series.filter(summary.series["mse"].is_finite()).tail(HARDEST).reverse()
        parts += [f"<h3>{title}</h3>", series_table(run, hardest)]
    if not any(parts):
        return [note("Nothing to show: neither errors by step (metrics.json) nor predictions were written.")]
    return parts


def _data(run: Run, summary: Summary | None) -> list[str]:
    if not run.data:
        return [note("This run wrote no facts about its data (data.json is missing).")]
    card, missing = run.card, run.missing
    names = [f"{name} ({run.units[name]})" if name in run.units else name for name in run.targets]
    known = facts([
        ("Data set", card.get("name") or run.dataset),
        ("About", card.get("about")),
        ("Source", card.get("source")),
        ("Licence", card.get("licence")),
        ("File", files(run)),
        ("Forecast", ", ".join(names)),
        ("Inputs besides", ", ".join(map(str, (run.spec.get("channels") or [])[len(names):]))),
        ("One step", steps(1, run.freq) if run.freq else None),
        ("Season", steps(run.season, run.freq) if run.season > 1 else None),
        ("Time zone", run.zone),
        ("Split", split(run.data.get("splits") or card.get("splits"))),
        ("Windows", ", ".join(f"{part} {count(n)}" for part, n in run.part("windows").items())),
        ("Test targets", f"{moment(summary.first)} to {moment(summary.last)}" if summary else None),
        ("Gaps", run.data.get("gaps")),
        ("Missing targets", f"{count(missing[0])} of {count(missing[1])}, not scored" if missing else None),
    ])  # fmt: skip
    return [f'<div class="box">{known}{findings(run)}</div>']
