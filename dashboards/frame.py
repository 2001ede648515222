"""What all reports share: the document, its header, how a run was trained and is repeated."""

import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from forecast.dashboards.charts.chart import Chart
from forecast.dashboards.charts.style import count, duration
from forecast.dashboards.load import Run
from forecast.dashboards.page import code, drawing, facts, fold, note, page, section, text

Sections = Mapping[str, tuple[str, list[str]]]
Tiles = list[tuple[str, str, str]]


def document(run: Run, told: tuple[str, str, str], meta: Mapping[str, object], tiles: Tiles, sections: Sections) -> str:
    """A report as one HTML document. `told`: the result, a verdict and its tone; `meta`: facts of the header beside
    run, seed, date and commit; `tiles`: (name, figure, unit); `sections`: id → title and parts."""
    links = "".join(f'<li><a href="#{key}">{title}</a></li>' for key, (title, _) in sections.items())
    foot = f"Written from the run folder <code>{text(run.path.name)}</code>; nothing is loaded from elsewhere."
    return page(
        f"{run.model} on {run.dataset}",
        [
            _header(run, told, meta, tiles, f'<nav aria-label="Contents"><ul>{links}</ul></nav>'),
            "<main>",
            *(section(key, title, *parts) for key, (title, parts) in sections.items()),
            f"</main><footer>{foot}</footer>",
        ],
    )


def _header(run: Run, told: tuple[str, str, str], more: Mapping[str, object], shown: Tiles, nav: str) -> str:
    words, verdict, tone = told
    started = run.started
    meta = {
        "Run": run.path.name,
        **more,
        "Seed": run.metrics.get("seed", ""),
        "Date": f"{started:%Y-%m-%d %H:%M} UTC" if started else "",
        "Commit": run.commit,
    }
    listed = "".join(f"<div><dt>{k}</dt><dd>{text(v)}</dd></div>" for k, v in meta.items() if v != "")
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


def grid(drawn: Mapping[str, Chart], *names: str) -> str:
    """Those of the pictures that there are, two beside each other where they are half a page wide."""
    found = [drawing(drawn[name]) for name in names if name in drawn]
    return f'<div class="grid">{"".join(found)}</div>' if found else ""


def training(
    run: Run, drawn: Mapping[str, Chart], trained: str, group: str, more: Sequence[tuple[str, object]] = ()
) -> list[str]:
    """The loss beside the facts of the training; `trained` names the number in `group` of metrics.json, `more` are
    facts besides."""
    best, parts = run.best_epoch, run.part(group)
    known = facts([
        ("Epochs", run.metrics.get("epochs")),
        ("Best epoch", best["epoch"] + 1 if best else None),
        (trained, count(parts["train"]) if "train" in parts else None),
        ("Parameters", count(run.metrics["parameters"]) if "parameters" in run.metrics else None),
        *more,
        *((f"Time: {name}", duration(value)) for name, value in run.part("seconds").items()),
    ])  # fmt: skip
    box = f'<div class="box"><h3>In numbers</h3>{known}</div>' if known else ""
    if "loss" not in drawn:
        return [note("No loss curves: this run wrote no history (history.csv is missing or empty)."), box]
    return [f'<div class="grid">{drawing(drawn["loss"])}{box}</div>']


def findings(run: Run) -> str:
    """What was found in the data, as a list."""
    lines = run.data.get("findings") or run.metrics.get("findings") or []
    listed = "".join(f"<li>{text(line)}</li>" for line in lines)
    return f"<ul class=plain>{listed}</ul>" if listed else ""


def files(run: Run) -> str:
    """The files of the card, with their digests."""
    held = [each for each in run.card.get("files") or [run.data.get("source")] if isinstance(each, dict)]
    return "; ".join(f"{f.get('path')}, {count(f.get('rows'))} rows, sha256 {str(f.get('sha256'))[:16]}…" for f in held)


def split(splits: object) -> str:
    """`train 70 %, val 10 %, test 20 %`; rows; ids; files; or dates."""

    def words(value: object) -> str:
        if isinstance(value, float) and 0 < value < 1:
            return f"{value * 100:.4g}\u00a0%"
        if isinstance(value, list | tuple):
            return " to ".join(map(str, value)) if len(value) < 4 else f"{len(value):,d} sequences"
        if isinstance(value, str) and not value[:1].isdigit():
            return value
        return f"{value:,d} rows" if isinstance(value, int) else f"from {value}"

    return ", ".join(f"{part} {words(value)}" for part, value in splits.items()) if isinstance(splits, dict) else ""


def again(run: Run) -> list[str]:
    """The command, and folded away the configuration and the environment."""
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
