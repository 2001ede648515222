"""The marks of a chart as Plotly's traces; rules and spans go into the layout of their figure."""

import base64
from html import escape
from typing import Any

import numpy as np
import polars as pl

from forecast.dashboards.charts.chart import (
    Band,
    Bars,
    Cells,
    Histogram,
    Line,
    Mark,
    Points,
    Rule,
    Span,
    Values,
)

Json = dict[str, Any]
SYMBOLS = {
    "dot": "circle",
    "ring": "circle-open",
    "square": "square",
    "triangle": "triangle-up",
    "diamond": "diamond",
    "cross": "x-thin-open",
    "tick": "line-ns-open",
}
OPEN = ("ring", "cross", "tick")  # drawn by their outline alone
DASHES = {"solid": "solid", "dash": "6px,3px", "dot": "2px,2px", "dashdot": "7px,3px,2px,3px"}


def traces(mark: Mark, colours: dict[str, str], layout: Json, key: str) -> list[Json]:
    """What Plotly draws for one mark; rules and spans go into the layout."""
    match mark:
        case Line():
            return [_line(mark, colours)]
        case Band():
            return _band(mark, colours)
        case Bars():
            return [_bars(mark, colours)]
        case Histogram():
            return [_histogram(mark, colours)]
        case Points():
            return [_points(mark, colours)]
        case Cells():
            return [_cells(mark, colours)]
        case Rule():
            _rule(mark, colours, layout, key)
        case Span():
            place = {"type": "rect", "xref": f"x{key}", "yref": f"y{key} domain", "y0": 0, "y1": 1, "layer": "below"}
            fill = colours["shade"] if mark.role == "shade" else _faint(colours[mark.role], 0.14)
            ends = {"x0": plain(mark.start), "x1": plain(mark.stop)}
            layout["shapes"].append(place | ends | {"line": {"width": 0}, "fillcolor": fill})
    return []


def _named(name: str) -> Json:
    return {"name": escape(name, quote=False), "legendgroup": name} if name else {"showlegend": False, "name": ""}


def _line(mark: Line, colours: dict[str, str]) -> Json:
    style = {"color": colours[mark.role], "width": mark.width, "dash": DASHES[mark.dash]}
    if mark.stairs:
        style["shape"] = "hv"
    dots = mark.dots or len(mark.x) == 1
    return {
        "type": "scatter",
        "mode": "lines+markers" if dots else "lines",
        "x": _values(mark.x),
        "y": _values(mark.y),
        "line": style,
        "opacity": mark.opacity,
        "marker": {"size": 5, "color": colours[mark.role]},
        "hoverinfo": "skip" if not mark.name else "x+y+name",
    } | _named(mark.name)


def _band(mark: Band, colours: dict[str, str]) -> list[Json]:
    """A closed outline for each stretch without a gap, and an unseen line that tells both ends to the pointer."""
    low, high = _floats(mark.low), _floats(mark.high)
    x = np.asarray(_listed(mark.x), dtype=object)
    good = np.isfinite(low) & np.isfinite(high)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], good, [False]]).astype(np.int8)))
    across: list[Any] = []
    along: list[Any] = []
    for start, stop in zip(edges[::2], edges[1::2], strict=True):
        across += [*x[start:stop], *x[start:stop][::-1], None]
        along += [*high[start:stop].tolist(), *low[start:stop][::-1].tolist(), None]
    fill = {
        "type": "scatter",
        "mode": "lines",
        "x": across[:-1],
        "y": along[:-1],
        "fill": "toself",
        "fillcolor": _faint(colours[mark.role], mark.opacity),
        "line": {"width": 0},
        "hoverinfo": "skip",
    } | _named(mark.name)
    if not mark.name:
        return [fill]
    told = {
        "type": "scatter",
        "mode": "lines",
        "x": _values(mark.x),
        "y": _values(high),
        "line": {"width": 0, "color": _faint(colours[mark.role], 0.6)},
        "customdata": np.stack([low, high], 1).tolist(),
        "hovertemplate": "%{customdata[0]:,.4~r} to %{customdata[1]:,.4~r}",
        "showlegend": False,
        "name": escape(mark.name, quote=False),
        "legendgroup": mark.name,
    }
    return [fill, told]


def _bars(mark: Bars, colours: dict[str, str]) -> Json:
    return {
        "type": "bar",
        "x": _values(mark.x),
        "y": _values(mark.y),
        "orientation": "h" if mark.across else "v",
        "marker": {"color": colours[mark.role], "line": {"width": 0}},
        "opacity": mark.opacity,
    } | _named(mark.name)


def _histogram(mark: Histogram, colours: dict[str, str]) -> Json:
    edges, height = _floats(mark.edges), _floats(mark.height)
    found = {
        "type": "scatter",
        "mode": "lines",
        "x": _values(edges),
        "y": _values(np.append(height, height[-1:])),
        "line": {"shape": "hv", "width": 1.6, "color": colours[mark.role]},
    } | _named(mark.name)
    if mark.filled:
        found |= {"fill": "tozeroy", "fillcolor": _faint(colours[mark.role], 0.28)}
    return found


def _points(mark: Points, colours: dict[str, str]) -> Json:
    colour = colours[mark.role]
    found = {
        "type": "scattergl" if len(mark.x) > 20_000 else "scatter",
        "mode": "markers",
        "x": _values(mark.x),
        "y": _values(mark.y),
        "marker": {
            "symbol": SYMBOLS[mark.symbol].removesuffix("-open") + "-open" * (mark.hollow or mark.symbol in OPEN),
            "size": mark.size * 1.33,
            "color": colour,
            "opacity": mark.opacity,
            "line": {"width": 1.4, "color": colour} if mark.hollow or mark.symbol in OPEN else {"width": 0},
        },
    } | _named(mark.name)
    if len(mark.words):
        found |= {"text": [escape(w, quote=False) for w in mark.words], "hovertemplate": "%{text}<extra></extra>"}
    return found


def _cells(mark: Cells, colours: dict[str, str]) -> Json:
    z = np.asarray(mark.z, dtype=np.float64)
    low, high = mark.low, mark.high
    if mark.diverging and (low is None or high is None):
        most = float(np.nanmax(np.abs(z))) if np.isfinite(z).any() else 1.0
        low, high = -most, most
    shades = [[0, colours["seasonal"]], [0.5, colours["card"]], [1, colours["model"]]]
    found: Json = {
        "type": "heatmap",
        "x": _values(mark.x),
        "y": _values(mark.y),
        "z": [[None if not np.isfinite(v) else v for v in row] for row in z.tolist()],
        "colorscale": shades if mark.diverging else [[0, colours["shade"]], [1, colours["model"]]],
        "xgap": 1 if z.shape[-1] < 80 else 0,
        "ygap": 1 if len(z) < 80 else 0,
        "hoverongaps": False,
        "showscale": bool(mark.label),
        "name": escape(mark.label, quote=False),
        "colorbar": {
            "title": {"text": escape(mark.label, quote=False), "side": "right", "font": {"color": colours["muted"]}},
            "thickness": 10,
            "outlinewidth": 0,
            "tickfont": {"color": colours["muted"], "size": 11},
        },
    }
    if low is not None:
        found |= {"zmin": low, "zmax": high}
    if len(mark.words):
        words = [[escape(word, quote=False) for word in row] for row in mark.words]
        found |= {"text": words, "texttemplate": "%{text}", "textfont": {"size": 11}}
    return found


def _rule(mark: Rule, colours: dict[str, str], layout: Json, key: str) -> None:
    at = plain(mark.at)
    line = {"color": colours[mark.role], "width": 1, "dash": DASHES[mark.dash]}
    if mark.level:
        place = {"xref": f"x{key} domain", "x0": 0, "x1": 1, "yref": f"y{key}", "y0": at, "y1": at}
        words = {"xref": f"x{key} domain", "x": 1, "yref": f"y{key}", "y": at, "xanchor": "right", "yanchor": "bottom"}
    else:
        place = {"xref": f"x{key}", "x0": at, "x1": at, "yref": f"y{key} domain", "y0": 0, "y1": 1}
        words = {"xref": f"x{key}", "x": at, "yref": f"y{key} domain", "y": 1, "xanchor": "left", "yanchor": "top"}
    if mark.level and layout[f"yaxis{key}"]["type"] == "log":  # annotations, unlike shapes, want the logarithm
        words["y"] = float(np.log10(at))
    if not mark.level and layout[f"xaxis{key}"]["type"] == "log":
        words["x"] = float(np.log10(at))
    layout["shapes"].append({"type": "line", "line": line, "layer": "below"} | place)
    if mark.label:
        font = {"size": 11, "color": colours["muted"]}
        text = {"text": escape(mark.label, quote=False), "showarrow": False, "font": font, "xshift": 3}
        layout["annotations"].append(words | text)


def _values(values: Values) -> Any:
    """Numbers as a typed array (a third of their decimals, and no parsing), anything else as a list."""
    held = array(values)
    if held.dtype.kind in "fiub":
        packed = held.astype("<f8")
        return {"dtype": "f8", "bdata": base64.b64encode(packed.tobytes()).decode("ascii")}
    return _listed(values)


def _listed(values: Values) -> list[Any]:
    held = array(values)
    if held.dtype.kind == "M":
        words = np.datetime_as_string(held.astype("datetime64[ms]")).tolist()
        return [None if word == "NaT" else word for word in words]
    if held.dtype.kind in "fiub":
        return [None if v != v else v for v in held.tolist()]
    return [escape(str(v), quote=False) for v in held.tolist()]


def array(values: Values) -> np.ndarray:
    if isinstance(values, pl.Series):
        return values.to_numpy()
    return values if isinstance(values, np.ndarray) else np.asarray(values)


def _floats(values: Values) -> np.ndarray:
    return array(values).astype(np.float64)


def plain(value: Any) -> Any:
    """An end of an axis or a place on it, as JSON."""
    if isinstance(value, str):
        return escape(value, quote=False)
    held = np.asarray(value)
    if held.dtype.kind == "O" and hasattr(value, "isoformat"):
        held = np.asarray(value, dtype="datetime64[us]")
    return str(np.datetime_as_string(held.astype("datetime64[ms]"))) if held.dtype.kind == "M" else held.item()


def _faint(colour: str, opacity: float) -> str:
    red, green, blue = (int(colour[k : k + 2], 16) for k in (1, 3, 5))
    return f"rgba({red},{green},{blue},{opacity:g})"
