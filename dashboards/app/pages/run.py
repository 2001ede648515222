"""Run: how one run learnt, what it was made of, how to make it again."""

import math
import shlex
from collections.abc import Callable, Sequence
from typing import Any, Final

from dash import html

from forecast.dashboards import scores
from forecast.dashboards.app import kit
from forecast.dashboards.app.guard import REPORT
from forecast.dashboards.app.kit import Column
from forecast.dashboards.app.page import Node, Page, View
from forecast.dashboards.app.run_parts import described, differences, elsewhere, held, listed
from forecast.dashboards.app.sources import Card
from forecast.dashboards.app.standing import MEASURES, comparable
from forecast.dashboards.app.unscored import why
from forecast.dashboards.charts.style import count, duration, number, role_of, steps
from forecast.dashboards.classes import scores as class_scores
from forecast.dashboards.curves import curves
from forecast.dashboards.events import scores as event_scores
from forecast.dashboards.frame import split
from forecast.dashboards.load import Run
from forecast.errors import ForecastError

PATH: Final = "/run"
OFFERED: Final = 300  # runs to choose from, the newest
Told = tuple[str, str, str]  # words, a verdict, its tone
HEADLINES: Final[dict[str, Callable[[Run], Told]]] = {
    "series": scores.headline, "events": event_scores.headline, "classes": class_scores.headline,
}  # fmt: skip
PAGES: Final = {
    "series": (("Forecasts", "/explorer"), ("Errors", "/errors"), ("Insight", "/insight")),
    "events": (("Events", "/events"), ("Insight", "/insight")),
    "classes": (("Classes", "/classification"), ("Insight", "/insight")),
}


def render(view: View) -> Node:
    """What stands below the heading."""
    cards = [card for card in view.sources.cards() if card.path is not None]
    if not cards:
        return kit.empty(
            "No runs yet", "A run appears here as soon as it has written its first file.", "forecast train"
        )
    id = view.one("run") or cards[0].id
    card = next((each for each in cards if each.id == id), None)
    picker = kit.controls(kit.choose("run", "Run", _offered(cards, id), view, other=id, drops=("against", "check")))
    try:
        run = described(view.sources.run(id))
    except ForecastError as fault:
        return [picker, kit.alarm(str(fault))]
    state = kit.alarm(why(card)) if card is not None and card.damage else None
    if card is not None and not card.damage and not comparable(card):
        state = kit.note(why(card))
    return [
        picker, state, *_head(run, card), _links(view, run), kit.graph(curves(run), view) or _no_curves(run),
        kit.section("Scores", _scores(view, run, card)),
        kit.section("Against another run", *_against(view, run, cards), key="against"),
        kit.section("Make it again", *_again(run)),
        kit.section("Files", *_files(view, run)),
    ]  # fmt: skip


def _offered(cards: Sequence[Card], *always: str) -> list[tuple[str, str]]:
    shown = [(card.id, named(card)) for k, card in enumerate(cards) if k < OFFERED or card.id in always]
    known = {card.id for card in cards}
    return [*shown, *((id, f"{id[:40]} (not here)") for id in always if id not in known)]


def named(card: Card) -> str:
    """A run in a line: model, data, horizon, seed, when."""
    ahead = f" h{card.horizon}" if card.horizon else ""
    seed = f" seed {card.seed}" if card.seed is not None else ""
    state = " (damaged)" if card.damage else "" if card.finished else " (not finished)"
    return (
        f"{card.model} · {card.dataset or 'unknown data'}{ahead}{seed} · {card.started[:16].replace('T', ' ')}{state}"
    )


# Head -------------------------------------------------------------------------------------------------------


def _head(run: Run, card: Card | None) -> list[Node]:
    """The result in words and in figures."""
    words, verdict, tone = HEADLINES[run.kind](run)
    horizon, context = run.metrics.get("horizon"), run.metrics.get("context")
    sizes = run.part("windows") or run.part("events") or run.part("series")
    facts = kit.facts([
        ("Run", run.path.name),
        ("Horizon", steps(horizon, run.freq) if isinstance(horizon, int) else None),
        ("History", steps(context, run.freq) if isinstance(context, int) else None),
        ("Seed", str(run.metrics.get("seed", ""))),
        ("Begun", f"{run.started:%Y-%m-%d %H:%M} UTC" if run.started else None),
        ("Commit", run.commit or None),
        ("Split", split(run.data.get("splits") or run.card.get("splits")) or None),
        (str(_what(run)).capitalize(), ", ".join(f"{part} {count(n)}" for part, n in sizes.items())),
        ("Epochs", _epochs(run)),
    ])  # fmt: skip
    lead = html.P(words, className="lead") if run.rows else None
    said = html.P(verdict, className=f"verdict {tone}") if verdict else None
    title = f"{card.model} on {card.dataset or run.dataset}" if card else f"{run.model} on {run.dataset}"
    return [kit.box(html.H2(title), lead, said, facts), kit.tiles(_tiles(run))]


def _what(run: Run) -> str:
    return next((name for name in ("windows", "events", "series") if run.part(name)), "parts")


def _epochs(run: Run) -> str | None:
    best, epochs = run.best_epoch, run.metrics.get("epochs")
    if epochs is None:
        return f"{best['epoch'] + 1} so far" if best else None
    return f"{epochs}, the best is {best['epoch'] + 1}" if best else str(epochs)


def _tiles(run: Run) -> list[Told]:
    of = {"series": scores.tiles, "classes": class_scores.tiles}
    shown = list(of[run.kind](run) if run.kind in of else event_scores.tiles(run, None))
    if shown:
        shown.append(("Time to fit", duration(run.part("seconds").get("fit")), ""))
        shown.append(("Parameters", count(run.metrics.get("parameters")), ""))
        if run.part("memory"):
            shown.append(("Peak memory", number(run.part("memory").get("peak_mib"), 3), "MiB"))
    return shown


def _links(view: View, run: Run) -> Node:
    """To the other pages of this run, its report, and MLflow."""
    words: list[Node] = []
    for name, path in PAGES[run.kind]:
        words += [kit.link(name, path, run=run.path.name), " · "]
    if (run.path / "report.html").is_file():
        words += [kit.outside("Report (report.html)", f"{REPORT}{run.path.name}"), " · "]
    tracked = view.sources.tracked()
    known = tracked.links.get(run.path.name)
    stores = [known] if known else [f"{uri.rstrip('/')}/#/runs/{id}" for uri, id in elsewhere(run.path)
                                    if uri.startswith("http")]  # fmt: skip
    if stores:
        words.append(kit.outside("MLflow", stores[0]))
    elif tracked.state == "ok":
        words.append("MLflow does not know it")
    else:
        words.pop()
    return kit.note(*words)


def _no_curves(run: Run) -> Node:
    return kit.note("No curves: this run wrote no history (history.csv is missing or empty).")


# Scores -----------------------------------------------------------------------------------------------------


def _scores(view: View, run: Run, card: Card | None) -> Node:
    """The model beside what was measured with it."""
    if card is None or not card.rows:
        return kit.note("No scores yet: metrics.json is missing or has no rows.")
    scaled = card.kind == "series"
    measures = [m for m in MEASURES[card.kind] if any(_value(row, m.key, scaled) is not None for row in card.rows)]
    unit = run.unit
    more = ["mae", "mase"] if scaled and any("mae" in row.original for row in card.rows) else []
    titles = {"mae": f"MAE ({unit})" if unit else "MAE, original units", "mase": "MASE"}
    columns = [Column("name", "Forecast", False)]
    columns += [Column(m.key, f"{m.title}{', scaled' if scaled else ''} {'↑' if m.sign > 0 else '↓'}", title=m.about)
                for m in measures]  # fmt: skip
    columns += [Column(f"own_{key}", f"{titles[key]} ↓") for key in more]
    rows = []
    for row in card.rows:
        name: Node = [kit.swatch(role_of(row.name, row.kind)), row.name]
        cells = [_figure(_value(row, m.key, scaled), m.share) for m in measures]
        rows.append([name, *cells, *(_figure(row.original.get(key), False) for key in more)])
    lit = [k for k, row in enumerate(card.rows) if row.kind == "model"]
    return kit.table("Scores on the test part", columns, rows, view, marked=lit)


def _value(row: Any, key: str, scaled: bool) -> float | None:
    value = (row.scaled if scaled else row.original).get(key)
    return value if value is not None and math.isfinite(value) else None


def _figure(value: float | None, share: bool) -> str:
    if value is None:
        return "–"
    return f"{100 * value:.1f} %" if share else number(value)


# Against another run ----------------------------------------------------------------------------------------


def _against(view: View, run: Run, cards: Sequence[Card]) -> list[Node]:
    """What differs in the settings of two runs."""
    others = [card for card in cards if card.id != run.path.name]
    if not others:
        return [kit.note("There is no other run to compare it to.")]
    id = view.one("against") or _partner(run, cards).id
    parts: list[Node] = [kit.controls(kit.choose("against", "Another run", _offered(others, id), view, other=id))]
    try:
        other = view.sources.run(id)
    except ForecastError as fault:
        return [*parts, kit.alarm(str(fault))]
    columns = [Column("key", "Setting", False), Column("here", "This run", False), Column("there", "The other", False)]
    for title, mine, its in (("Settings that differ", run.config, other.config),
                             ("Environments that differ", run.env, other.env)):  # fmt: skip
        rows = [[key, _long(here), _long(there)] for key, here, there in differences(mine, its) if key != "command"]
        shown = kit.table(title, columns, rows, view, PATH, sort=False, prefix=title[0].lower()) if rows else None
        if shown is None:
            parts.append(kit.note(f"{title}: none."))
        else:
            parts.append(shown if title.startswith("Settings") else kit.fold(f"{title} ({len(rows)})", shown))
    parts.append(kit.note("Only differing keys are shown. ", *_together(run, id, others)))
    return parts


def _partner(run: Run, cards: Sequence[Card]) -> Card:
    """The run it is compared to unless another is asked for: on the same data that of the fewest settings apart, of
    equal ones the newest; else the newest of its kind."""
    others = [card for card in cards if card.id != run.path.name]
    mine = next((card for card in cards if card.id == run.path.name), None)
    if mine is not None:
        alike = [card for card in others if card.setting == mine.setting and card.group != mine.group and card.setting]
        if alike:
            return min(alike[:OFFERED], key=lambda card: _apart(card, mine))
    near = [card for card in others if card.kind == run.kind and card.dataset == run.dataset and not card.damage]
    return next(iter([*near, *others]))


def _apart(card: Card, other: Card) -> int:
    """Settings in which two runs differ; a part weighs as many as it brings along."""
    parts = sum(a != b for a, b in zip(card.parts, other.parts, strict=True))
    keys = {*card.rest, *other.rest}
    return 20 * parts + (card.seed != other.seed) + sum(card.rest.get(key) != other.rest.get(key) for key in keys)


def _together(run: Run, id: str, others: Sequence[Card]) -> list[Node]:
    other = next((card for card in others if card.id == id), None)
    if run.kind != "series" or other is None or other.kind != "series":
        return []
    pair = [run.path.name, id]
    return ["Both: ", kit.link("forecasts", "/explorer", run=pair), " · ", kit.link("errors", "/errors", run=pair)]


def _long(words: str) -> Node:
    return html.Span(words, className="long") if len(words) > 60 else words


# Again, files -----------------------------------------------------------------------------------------------


def _again(run: Run) -> list[Node]:
    command = run.env.get("command") or shlex.join(["forecast", "train", *run.overrides])
    at = f"At commit {run.commit}, from the start directory:" if run.commit else "From the start directory:"
    return [
        kit.note(at), kit.code(str(command), "The command of this run"),
        kit.note("Or from what the run recorded, with a comparison of every score to the last bit:"),
        kit.code(f"forecast reproduce run={run.path.name}", "The command that reproduces it"),
        kit.fold("Configuration, resolved", kit.facts(listed(run.config)) or kit.note("config.json is missing.")),
        kit.fold("Environment", kit.facts(listed(run.env)) or kit.note("env.json is missing.")),
    ]  # fmt: skip


def _files(view: View, run: Run) -> list[Node]:
    """What the folder holds, with the digests that the manifest vouches for."""
    check = view.one("check") == "1"
    files = held(run.path, check)
    columns = [Column("name", "File", False), Column("size", "Size"), Column("sha256", "sha256", False),
               Column("state", "State", False)]  # fmt: skip
    rows = []
    for each in files:
        digest: Node = html.Code(f"{each.sha256[:16]}…", title=each.sha256) if each.sha256 else "–"
        good = "as written" if check and each.sha256 else "–"
        state: Node = kit.badge(each.state, "bad" if each.state in ("missing", "changed") else "muted") if each.state \
            else good  # fmt: skip
        rows.append([each.name, size(each.size), digest, state])
    total = sum(each.size or 0 for each in files)
    asked = kit.link("Check them against their digests", PATH, **{**view.query, "run": run.path.name, "check": 1})
    words: list[Node] = [f"{len(files)} files, {size(total)}, in {run.path}. "]
    words.append("Digests were made anew." if check else asked)
    return [kit.table("Files of the run", columns, rows, view, PATH, sort=False, prefix="f"), kit.note(*words)]


def size(value: float | None) -> str:
    """`3.4 MiB`."""
    if value is None:
        return "–"
    for unit in ("B", "KiB", "MiB"):
        if value < 1024:
            return f"{value:,.0f} B" if unit == "B" else f"{value:,.1f} {unit}"
        value /= 1024
    return f"{value:,.1f} GiB"


PAGE = Page(PATH, "Run", "How one run learnt, what it was made of, how to make it again.", render)
