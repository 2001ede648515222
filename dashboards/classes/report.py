"""report.html of a classification run: how often it is right, what it confuses, whether its confidence is true."""

from collections.abc import Mapping

from forecast.dashboards.charts.chart import Chart
from forecast.dashboards.charts.style import count, duration, number
from forecast.dashboards.classes.confusion import SMALL
from forecast.dashboards.classes.figures import class_charts
from forecast.dashboards.classes.scores import (
    class_names,
    class_table,
    confused,
    headline,
    pair_table,
    score_table,
    tested,
    tiles,
)
from forecast.dashboards.frame import again, document, files, findings, grid, split, training
from forecast.dashboards.insight.report import looked
from forecast.dashboards.load import Run
from forecast.dashboards.page import facts, note

NAMED = 12  # classes and channels that are listed by name


def render(run: Run) -> str:
    """The report as one HTML document."""
    drawn = {chart.name: chart for chart in class_charts(run)}
    calibrated = grid(drawn, "reliability", "early")
    sections = {
        "scores": ("Scores", score_table(run)),
        "classes": ("Which classes", _classes(run, drawn)),
        "confidence": ("How sure, and how early", [calibrated or note("Nothing to show: metrics.json has neither.")]),
        "mistakes": ("What was mistaken", _mistakes(run, drawn)),
        **looked(run),
        "training": ("Training", training(run, drawn, "Training series", "series", _fitted(run))),
        "data": ("Data", _data(run)),
        "again": ("Run it again", again(run)),
    }
    n, ends = len(class_names(run)), {run.spec[end] for end in ("shortest", "longest") if end in run.spec}
    meta = {
        "Test": f"{count(tested(run))} series" if tested(run) else "",
        "Classes": count(n) if n else "",
        "Channels": run.metrics.get("channels", ""),
        "Steps": " to ".join(map(count, sorted(ends))),
        "Parameters": count(run.metrics["parameters"]) if "parameters" in run.metrics else "",
        "Fitted in": duration(run.part("seconds")["fit"]) if "fit" in run.part("seconds") else "",
    }
    return document(run, headline(run), meta, tiles(run), sections)


def _classes(run: Run, drawn: Mapping[str, Chart]) -> list[str]:
    shown = [grid(drawn, "confusion", "recalls"), *pair_table(run, SMALL), *class_table(run)]
    return shown if any(shown) else [note("Nothing to show: metrics.json has no table of confusion.")]


def _mistakes(run: Run, drawn: Mapping[str, Chart]) -> list[str]:
    if "wrong" in drawn:
        return [grid(drawn, "wrong")]
    found = confused(run)
    if found is not None and found[1].any() and found[1].trace() == found[1].sum():
        return [note("No test series was taken for another class.")]
    return [note("No series to show: this run wrote no examples (examples.parquet is missing or empty).")]


def _fitted(run: Run) -> list[tuple[str, object]]:
    """What is said of the training of classes besides."""
    refit, known, memory = run.metrics.get("refit"), run.metrics.get("temperature"), run.part("memory").get("peak_mib")
    on = {True: "train and validation, after the epoch was chosen", False: "train alone"}
    return [
        ("Optimiser steps", count(run.metrics["steps"]) if "steps" in run.metrics else None),
        ("Fitted on", on.get(refit) if isinstance(refit, bool) else None),
        ("Temperature", f"{number(known, 3)}, fitted on validation" if isinstance(known, int | float) else None),
        ("Peak memory", f"{memory:,.0f} MiB" if isinstance(memory, int | float) else None),
    ]


def _data(run: Run) -> list[str]:
    if not run.data:
        return [note("This run wrote no facts about its data (data.json is missing).")]
    card, channels = run.card, [str(name) for name in run.spec.get("channels") or []]
    units = [f"{name} ({run.units[name]})" if name in run.units else name for name in channels]
    known = facts([
        ("Data set", card.get("name") or run.dataset),
        ("About", card.get("about")),
        ("Source", card.get("source")),
        ("Licence", card.get("licence")),
        ("File", files(run)),
        ("Channels", _listed(units)),
        ("Classes", _listed(class_names(run))),
        ("Split", split(run.data.get("splits") or card.get("splits"))),
        ("Series", ", ".join(f"{part} {count(n)}" for part, n in run.part("series").items())),
        ("Values may be missing", "yes" if run.spec.get("missing") else None),
    ])  # fmt: skip
    return [f'<div class="box">{known}{findings(run)}</div>']


def _listed(names: list[str]) -> str:
    return ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED:,d} more" if len(names) > NAMED else "")
