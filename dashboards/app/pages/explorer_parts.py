"""The controls and tables of the explorer page."""

import random
from collections.abc import Mapping, Sequence
from typing import Any, Final

import polars as pl
from dash import dcc, html

from forecast.dashboards.app import kit
from forecast.dashboards.app.page import Node, View, address
from forecast.dashboards.app.sources import Card
from forecast.dashboards.charts.shared import moment
from forecast.dashboards.charts.style import count, number
from forecast.dashboards.load import Run
from forecast.dashboards.series import browse
from forecast.dashboards.series.bands import ENDS, OLD
from forecast.dashboards.series.index import Index
from forecast.dashboards.series.window import MODELS, Drawn
from forecast.dashboards.series.windows import Window

LISTED: Final = 100  # series in the list at once
INSIDE: Final = (*ENDS, OLD)


def cards(view: View) -> list[Card]:
    """Runs of series whose predictions are here, the newest first."""
    return [
        card
        for card in view.sources.cards()
        if card.kind == "series" and card.path is not None and (card.path / "predictions.parquet").is_file()
    ]


def names(view: View, ids: Sequence[str]) -> dict[str, str]:
    """What the chosen runs are called: by model; by seed or id too where two have the same."""
    found = {card.id: card for card in view.sources.cards() if card.id in ids}
    models = [card.model for card in found.values()]
    seeds = [(card.model, card.seed) for card in found.values()]
    made = {id: id for id in ids}
    for id, card in found.items():
        more = ""
        if models.count(card.model) > 1:
            more = f" · seed {card.seed}" if seeds.count((card.model, card.seed)) == 1 else f" · {id[-8:]}"
        made[id] = f"{card.model}{more}"
    return made


def runs(view: View, there: Sequence[Card], asked: Sequence[str]) -> Node:
    """The list of runs: up to five of the same data are laid over each other."""
    data = next((card.dataset for card in there if card.id == asked[0]), "")
    ordered = sorted(there, key=lambda card: card.dataset != data)  # those that can be compared come first
    options = [
        (card.id, f"{card.dataset} · {card.model} · {card.horizon} steps · seed {card.seed} · {card.started[:16]}")
        for card in ordered
    ]
    lost = [(id, id) for id in asked if id not in {card.id for card in there}]
    label = f"Runs, up to {MODELS} of the same data"
    return kit.choose("run", label, [*options, *lost], view, many=True, other=asked[0])


def series(view: View, index: Index, id: int) -> list[Node]:
    """A search and a list of what it finds, the hardest first; nothing for a single series."""
    if len(index.ids) < 2:
        return []
    asked = view.one("find").casefold()
    errors = index.errors.group_by("id").agg(pl.col("mse").mean()).sort("mse", descending=True, nulls_last=True)
    rows = [(k, mse) for k, mse in errors.iter_rows() if asked in index.ids[k].casefold()]
    listed = rows[:LISTED]
    if id not in [k for k, _ in listed]:
        listed = [*[row for row in errors.iter_rows() if row[0] == id], *listed]
    options = [(index.ids[k], f"{index.ids[k]} · MSE {number(mse, 3)}") for k, mse in listed]
    label = f"Series, {count(len(rows))} of {count(len(index.ids))}"
    return [
        kit.search("find", "Find a series", view, hint="part of its name"),
        kit.choose("series", label, options, view, other=index.ids[id], drops=("cutoff",)),
    ]


def channel(view: View, index: Index, channel: int) -> Node:
    """The list of channels, where there are several."""
    if len(index.channels) < 2:
        return None
    return kit.choose("channel", "Channel", [(c, c) for c in index.channels], view, other=index.channels[0])


def banded(view: View, opened: Sequence[tuple[str, str]]) -> Node:
    """Whose intervals are drawn, where there are several models."""
    if len(opened) < 2:
        return None
    return kit.choose("bands", "Intervals of", list(opened), view, other=opened[0][0])


def ahead(view: View, most: int, here: int) -> Node:
    """How far before each value its forecast was made."""
    if most < 2:
        return None
    wanted = {1, 2, 3, 6, 12, 24, 48, 96, 168, most // 2, most, here}
    options = [(str(k), f"{k} step{'s' * (k != 1)} ahead") for k in sorted(wanted) if 1 <= k <= most]
    return kit.choose("ahead", "Forecasts below", options, view, other="1")


def jumps(view: View, index: Index, id: int, channel: int, draw: random.Random) -> Node:
    """Links to the windows, and to the series, that are worth a look."""
    windows = index.of(id, channel)
    found = {role: browse.place_of(windows, role) for role in browse.ROLES}
    found["random"] = draw.randrange(windows.height)
    links = [_to(role, view, {"cutoff": windows["cutoff"][k].isoformat()}) for role, k in found.items()]
    rows = [_row("Window", links)]
    if len(index.ids) > 1:
        own = index.errors.filter(pl.col("channel") == channel, pl.col("mse").is_finite()).sort("mse")["id"]
        if own.len():
            at = {
                "easiest": 0,
                "typical": (own.len() - 1) // 2,
                "hardest": own.len() - 1,
                "random": draw.randrange(own.len()),
            }
            rows.append(
                _row("Series", [_to(role, view, {"series": index.ids[own[k]], "cutoff": ""}) for role, k in at.items()])
            )
    return html.Nav(rows, className="jumps", **kit.aria(label="Windows and series by error"))


def place(windows: pl.DataFrame, here: int) -> Node:
    """The slider of cutoffs, with buttons for single steps."""
    cutoffs, last = windows["cutoff"], windows.height - 1
    words = html.Output(said(windows, here), id="explorer-said")
    steps = [
        html.Button("← Earlier", id="explorer-back", type="button"),
        html.Button("Later →", id="explorer-on", type="button"),
    ]
    head = html.Div([html.Span("Cutoff"), words, html.Span(steps, className="steps")])
    slider = dcc.Slider(
        id="explorer-place", min=0, max=max(last, 1), step=1, value=here, included=False, updatemode="mouseup",
        allow_direct_input=False, disabled=last < 1, marks=None,
    )  # fmt: skip
    ends = html.Div([html.Span(moment(cutoffs[0])), html.Span(moment(cutoffs[last]))], className="ends")
    return html.Div([head, slider, ends], className="control wide")


def said(windows: pl.DataFrame, here: int) -> str:
    """Where the slider stands."""
    return f"{moment(windows['cutoff'][here])} · window {here + 1:,d} of {windows.height:,d}"


def scores(shown: Sequence[Drawn], run: Run, channel: str, view: View) -> Node:
    """Errors of this window, of each model and of the first one's naive forecast."""
    unit = run.units.get(channel, "")
    levels = [(name.split(" ")[0], low, high) for name, low, high in INSIDE if any(_has(s.window, low) for s in shown)]
    columns = [
        kit.Column("name", "This window", False),
        kit.Column("mse", "MSE (scaled)"),
        kit.Column("mae", f"MAE ({unit})" if unit else "MAE"),
        kit.Column("bias", f"Mean error ({unit})" if unit else "Mean error"),
        *(
            kit.Column(f"in{level}", f"Inside {level} %")
            for level, _, _ in sorted(levels, key=lambda each: int(each[0]))
        ),
    ]
    rows: list[list[Node]] = []
    for each in shown:
        inside = [_inside(each.window, low, high) for _, low, high in sorted(levels, key=lambda each: int(each[0]))]
        rows.append([each.name, number(each.window.mse), *_errors(each.window, "y_hat"), *inside])
    first = shown[0].window
    if first.future["naive"].count():
        scale = _ratio(first)
        rows.append([shown[0].naive, number(scale), *_errors(first, "naive"), *["–"] * len(levels)])
    return kit.table("Scores of this window", columns, rows, view, sort=False)


def _errors(window: Window, column: str) -> list[str]:
    off = (window.future[column] - window.future["y"]).drop_nulls()
    return [number(off.abs().mean()), number(off.mean())]


def _ratio(window: Window) -> float:
    """The scaled MSE of the naive forecast: the scale is that of the model's own."""
    model = ((window.future["y_hat"] - window.future["y"]) ** 2).mean()
    naive = ((window.future["naive"] - window.future["y"]) ** 2).mean()
    if not isinstance(model, float) or not isinstance(naive, float) or model == 0:
        return float("nan")
    return window.mse * naive / model


def _inside(window: Window, low: str, high: str) -> str:
    seen = window.future.filter(pl.col("y").is_not_null(), pl.col(low).is_not_null())
    if not seen.height:
        return "–"
    inside = int(((seen["y"] >= seen[low]) & (seen["y"] <= seen[high])).sum())
    return f"{inside} of {seen.height}"


def _has(window: Window, column: str) -> bool:
    return window.future[column].count() > 0


def told(index: Index, windows: pl.DataFrame) -> Node:
    """How much there is to look at."""
    series, channels, rows = len(index.ids), len(index.channels), int(index.file.starts[-1])
    of = f" of each of {count(series)} series" if series > 1 else ""
    of += f"{' and' if of else ' of each of'} {count(channels)} channels" if channels > 1 else ""
    return kit.note(f"{count(windows.height)} windows{of}: {count(rows)} forecast values.")


def unlike(first: Run, other: Run) -> str:
    """Why two runs cannot be laid over each other, or nothing."""
    if first.dataset != other.dataset:
        return f"it forecasts {other.dataset}, not {first.dataset}"
    if _sums(first) != _sums(other):
        return f"its file of {other.dataset} is another one"
    return ""


def _sums(run: Run) -> list[Any]:
    files = run.card.get("files") or []
    return [file.get("sha256") for file in files if isinstance(file, Mapping)]


def _row(label: str, links: Sequence[Node]) -> Node:
    return html.P([html.Span(f"{label}:"), *links], className="jump")


def _to(words: str, view: View, change: Mapping[str, str]) -> Node:
    return dcc.Link(words, href=address("/explorer", **{**view.query, **change}))
