"""report.html: what a run is, how good it is beside the naive forecasts, where it errs, how to repeat it."""

import json
import os
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

from forecast.dashboards import load
from forecast.dashboards.canvas import Picture, moment
from forecast.dashboards.figures import pictures
from forecast.dashboards.intervals import interval_table
from forecast.dashboards.load import Run
from forecast.dashboards.page import code, drawing, facts, fold, note, page, section, text
from forecast.dashboards.scores import channel_table, headline, score_table, series_table, tiles
from forecast.dashboards.style import count, duration, steps
from forecast.dashboards.summary import Summary, summarise

HARDEST = 10  # series in the table of the hardest


def write_report(run_dir: Path) -> Path:
    """Write `report.html` into the run folder, whole or not at all, and return its path.

    What the run did not leave behind gets a sentence instead of a section; ArtifactError for a damaged file.
    """
    run = load.read(run_dir)
    html = render(run)
    target = run.path / "report.html"
    hidden = target.with_name(f".report.html.{uuid4().hex[:8]}.tmp")
    try:
        hidden.write_text(html, encoding="utf-8")
        os.replace(hidden, target)
    finally:
        hidden.unlink(missing_ok=True)
    return target


def render(run: Run) -> str:
    """The report as one HTML document."""
    summary = summarise(run)
    drawn = {picture.name: picture for picture in pictures(run, summary)}
    bands = interval_table(run)
    sections = {
        "scores": ("Scores", score_table(run)),
        **({"intervals": ("Intervals", [*bands, _grid(drawn, "reliability")])} if bands else {}),
        "forecasts": ("Forecasts", _forecasts(run, summary, drawn)),
        "errors": ("Where it errs", _errors(run, summary, drawn)),
        "training": ("Training", _training(run, drawn)),
        "data": ("Data", _data(run, summary)),
        "again": ("Run it again", _again(run)),
    }
    links = "".join(f'<li><a href="#{key}">{title}</a></li>' for key, (title, _) in sections.items())
    foot = f"Written from the run folder <code>{text(run.path.name)}</code>; nothing is loaded from elsewhere."
    return page(
        f"{run.model} on {run.dataset}",
        [
            _header(run, f'<nav aria-label="Contents"><ul>{links}</ul></nav>'),
            "<main>",
            *(section(key, title, *parts) for key, (title, parts) in sections.items()),
            f"</main><footer>{foot}</footer>",
        ],
    )


def _header(run: Run, nav: str) -> str:
    words, verdict, tone = headline(run)
    horizon, context, started = run.metrics.get("horizon"), run.metrics.get("context"), run.started
    meta = {
        "Run": run.path.name,
        "Horizon": steps(horizon, run.freq) if horizon else "",
        "History": steps(context, run.freq) if context else "",
        "Seed": run.metrics.get("seed", ""),
        "Date": f"{started:%Y-%m-%d %H:%M} UTC" if started else "",
        "Commit": run.commit,
    }
    listed = "".join(f"<div><dt>{k}</dt><dd>{text(v)}</dd></div>" for k, v in meta.items() if v != "")
    shown = tiles(run)
    if shown:
        shown += [("Time to fit", duration(run.part("seconds").get("fit")), "")]
        shown += [("Parameters", count(run.metrics.get("parameters")), "")]
    cards = "".join(
        f"<div><dt>{text(k)}</dt><dd>{text(v)} <small>{text(unit)}</small></dd></div>" for k, v, unit in shown
    )
    return (
        f'<header><p class="eyebrow">Forecast report</p><h1>{text(run.model)} on {text(run.dataset)}</h1>'
        f'<p class="lead">{text(words)}</p>'
        + (f'<p class="verdict {tone}">{text(verdict)}</p>' if verdict else "")
        + f'<dl class="meta">{listed}</dl>'
        + (f'<dl class="tiles">{cards}</dl>' if cards else "")
        + f"{nav}</header>"
    )


def _grid(drawn: Mapping[str, Picture], *names: str) -> str:
    found = [drawing(drawn[name]) for name in names if name in drawn]
    return f'<div class="grid">{"".join(found)}</div>' if found else ""


def _forecasts(run: Run, summary: Summary | None, drawn: Mapping[str, Picture]) -> list[str]:
    if summary is not None:
        return [_grid(drawn, "forecasts", "channels")]
    if run.predictions is None:
        return [note("No forecasts to show: this run wrote no predictions (predictions.parquet is missing).")]
    return [note("No forecasts to show: in predictions.parquet every actual or every forecast is missing.")]


def _errors(run: Run, summary: Summary | None, drawn: Mapping[str, Picture]) -> list[str]:
    parts = [_grid(drawn, "horizon", "residuals", "calendar", "time"), *channel_table(run)]
    if summary is not None and summary.ids > 1:
        title = f"The hardest of {summary.ids:,d} series" if summary.ids > HARDEST else "By series"
        hardest = summary.series.filter(summary.series["mse"].is_finite()).tail(HARDEST).reverse()
        parts += [f"<h3>{title}</h3>", series_table(run, hardest)]
    if not any(parts):
        return [note("Nothing to show: neither errors by step (metrics.json) nor predictions were written.")]
    return parts


def _training(run: Run, drawn: Mapping[str, Picture]) -> list[str]:
    best, windows = run.best_epoch, run.part("windows")
    known = facts([
        ("Epochs", run.metrics.get("epochs")),
        ("Best epoch", best["epoch"] + 1 if best else None),
        ("Training windows", count(windows["train"]) if "train" in windows else None),
        ("Parameters", count(run.metrics["parameters"]) if "parameters" in run.metrics else None),
        *((f"Time: {name}", duration(value)) for name, value in run.part("seconds").items()),
    ])  # fmt: skip
    box = f'<div class="box"><h3>In numbers</h3>{known}</div>' if known else ""
    if "loss" not in drawn:
        return [note("No loss curves: this run wrote no history (history.csv is missing or empty)."), box]
    return [f'<div class="grid">{drawing(drawn["loss"])}{box}</div>']


def _data(run: Run, summary: Summary | None) -> list[str]:
    if not run.data:
        return [note("This run wrote no facts about its data (data.json is missing).")]
    card, missing = run.card, run.missing
    names = [f"{name} ({run.units[name]})" if name in run.units else name for name in run.targets]
    files = [f"{f.get('path')}, {count(f.get('rows'))} rows, sha256 {str(f.get('sha256'))[:16]}…"
             for f in card.get("files") or [] if isinstance(f, dict)]  # fmt: skip
    known = facts([
        ("Data set", card.get("name") or run.dataset),
        ("About", card.get("about")),
        ("Source", card.get("source")),
        ("Licence", card.get("licence")),
        ("File", "; ".join(files)),
        ("Forecast", ", ".join(names)),
        ("Inputs besides", ", ".join(map(str, (run.spec.get("channels") or [])[len(names):]))),
        ("One step", steps(1, run.freq) if run.freq else None),
        ("Season", steps(run.season, run.freq) if run.season > 1 else None),
        ("Time zone", run.zone),
        ("Split", _split(run.data.get("splits") or card.get("splits"))),
        ("Windows", ", ".join(f"{part} {count(n)}" for part, n in run.part("windows").items())),
        ("Test targets", f"{moment(summary.first)} to {moment(summary.last)}" if summary else None),
        ("Gaps", run.data.get("gaps")),
        ("Missing targets", f"{count(missing[0])} of {count(missing[1])}, not scored" if missing else None),
    ])  # fmt: skip
    lines = run.data.get("findings") or run.metrics.get("findings") or []
    findings = "".join(f"<li>{text(line)}</li>" for line in lines)
    return [f'<div class="box">{known}{f"<ul class=plain>{findings}</ul>" if findings else ""}</div>']


def _split(splits: object) -> str:
    """`train 70 %, val 10 %, test 20 %`; rows; or dates."""

    def words(value: object) -> str:
        if isinstance(value, float) and 0 < value < 1:
            return f"{value * 100:.4g}\u00a0%"
        if isinstance(value, list | tuple):
            return " to ".join(map(str, value))
        return f"{value:,d} rows" if isinstance(value, int) else f"from {value}"

    return ", ".join(f"{part} {words(value)}" for part, value in splits.items()) if isinstance(splits, dict) else ""


def _again(run: Run) -> list[str]:
    command = run.env.get("command") or shlex.join(["forecast", "train", *run.overrides])
    told = f"At commit {run.commit}, from the start directory:" if run.commit else "From the start directory:"
    config = code("\n".join(_lines(run.config)), "Configuration") if run.config else note("config.json is missing.")
    return [
        f'<div class="box"><p>{text(told)}</p>{code(str(command), "Command")}</div>',
        fold("Configuration, resolved", config),
        fold("Environment", facts(_flat(run.env)) if run.env else note("env.json is missing.")),
    ]


def _lines(value: Mapping[str, Any], depth: int = 0) -> Iterator[str]:
    """A nested configuration, a line a value."""
    for key, item in value.items():
        if isinstance(item, dict) and item:
            yield f"{'  ' * depth}{key}:"
            yield from _lines(item, depth + 1)
        else:
            yield f"{'  ' * depth}{key}: {json.dumps(item, ensure_ascii=False)}"


def _flat(value: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, object]]:
    for key, item in value.items():
        if isinstance(item, dict):
            yield from _flat(item, f"{above}{key} ")
        else:
            yield f"{above}{key}", ", ".join(map(str, item)) if isinstance(item, list) else item
