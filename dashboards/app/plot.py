"""From a `Chart` to the figures that Plotly draws in a browser, as plain JSON values.

Plotly's own Python classes would check every property on every request, for figures that only this file makes; they
are checked in its tests instead. Names come from files and Plotly reads tags in text, so every word is escaped here.
"""

import base64
from html import escape
from typing import Any

import numpy as np
import polars as pl

from forecast.dashboards.charts.chart import (
    Axis,
    Band,
    Bars,
    Cells,
    Chart,
    Histogram,
    Line,
    Mark,
    Panel,
    Points,
    Rule,
    Span,
    Values,
)
from forecast.dashboards.charts.style import COLOURS, FAMILY

Json = dict[str, Any]
INCH = 92  # pixels
TOP, BOTTOM, BETWEEN = 34, 52, 74  # pixels: legend or title, axis with its label, both between panels
TIED = 24  # pixels between panels with one axis of x, which is written below the last
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
FEW = 8  # whole numbers that an axis names each
DASHES = {"solid": "solid", "dash": "6px,3px", "dot": "2px,2px", "dashdot": "7px,3px,2px,3px"}
CONFIG = {
    "displaylogo": False,
    "responsive": True,
    "scrollZoom": False,
    "modeBarButtonsToRemove": ["select2d", "lasso2d", "autoScale2d"],
    "toImageButtonOptions": {"scale": 2},
}


def plots(chart: Chart, theme: str) -> list[Json]:
    """The figures of a chart: one with its panels below each other, or one each where they stand side by side (the
    page then decides how many find room)."""
    if chart.columns == 1 or len(chart.panels) == 1:
        return [_figure(chart, chart.panels, theme, chart.legend)]
    return [_figure(chart, (panel,), theme, chart.legend and k == 0) for k, panel in enumerate(chart.panels)]


def _figure(chart: Chart, panels: tuple[Panel, ...], theme: str, legend: bool) -> Json:
    colours = {role: pair[theme == "dark"] for role, pair in COLOURS.items()}
    heights = [panel.height * INCH for panel in panels]
    between = TIED if chart.shared and not any(panel.title for panel in panels[1:]) else BETWEEN
    room = sum(heights) + between * (len(panels) - 1)
    data: list[Json] = []
    layout = _layout(chart, colours)
    top, listed = room, set[str]()
    for k, (panel, height) in enumerate(zip(panels, heights, strict=True)):
        key = "" if k == 0 else str(k + 1)
        domain = [max((top - height) / room, 0), top / room]
        top -= height + between
        _axes(layout, panel, key, domain, chart.shared and k > 0, colours)
        if between == TIED and k < len(panels) - 1:
            layout[f"xaxis{key}"] |= {"showticklabels": False, "title": {"text": ""}}
        for mark in panel.marks:
            name = getattr(mark, "name", "")
            traces = _traces(mark, colours, layout, key)
            for trace in traces:
                trace |= {"xaxis": f"x{key}", "yaxis": f"y{key}"}
            if traces and name:
                traces[0] |= {"showlegend": name not in listed}
                listed.add(name)
            data += traces
    layout["showlegend"] = legend and len(listed) > 0
    titled = any(panel.title for panel in panels[:1])
    margin = TOP * (layout["showlegend"] or titled) + (18 if layout["showlegend"] and titled else 0) + 8
    layout["margin"] = {"l": 8, "r": 12, "t": margin, "b": BOTTOM}
    layout["height"] = round(room + margin + BOTTOM)
    if titled and layout["showlegend"]:
        layout["legend"]["y"] = 1 + 22 / room
    return {"data": data, "layout": layout}


def _layout(chart: Chart, colours: dict[str, str]) -> Json:
    across = any(isinstance(m, Points | Cells) for panel in chart.panels for m in panel.marks)
    return {
        "font": {"family": FAMILY, "size": 12, "color": colours["ink"]},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "hovermode": "closest" if across else "x unified",
        "hoverlabel": {"bgcolor": colours["card"], "bordercolor": colours["grid"], "font": {"color": colours["ink"]}},
        "separators": ".,",
        "uirevision": chart.name,
        "dragmode": "zoom",
        "bargap": 0.15,
        "legend": {"orientation": "h", "x": 0, "y": 1, "xanchor": "left", "yanchor": "bottom", "font": {"size": 12}},
        "modebar": {"bgcolor": "rgba(0,0,0,0)", "color": colours["muted"], "activecolor": colours["model"]},
        "shapes": [],
        "annotations": [],
    }


def _axes(layout: Json, panel: Panel, key: str, domain: list[float], tied: bool, colours: dict[str, str]) -> None:
    layout[f"xaxis{key}"] = _axis(panel.x, colours) | {"anchor": f"y{key}", "domain": [0, 1]}
    layout[f"yaxis{key}"] = _axis(panel.y, colours) | {"anchor": f"x{key}", "domain": domain}
    if panel.x.whole and not panel.x.ticks and _spread(panel) < FEW:
        layout[f"xaxis{key}"]["dtick"] = 1  # else Plotly names halves, and they are rounded
    if tied:
        layout[f"xaxis{key}"]["matches"] = "x"
    if panel.title:
        words = {
            "text": f"<b>{escape(panel.title, quote=False).replace(chr(10), '<br>')}</b>",
            "font": {"size": 12, "color": colours["ink"]},
        }
        place = {"xref": f"x{key} domain", "yref": f"y{key} domain", "x": 0, "y": 1, "yshift": 4}
        layout["annotations"].append(
            words | place | {"showarrow": False, "xanchor": "left", "yanchor": "bottom", "align": "left"}
        )


def _spread(panel: Panel) -> float:
    """How far the values of x reach, of marks that have numbers."""
    held = [_array(mark.x) for mark in panel.marks if isinstance(mark, Line | Bars | Points)]
    ends = [(float(x.min()), float(x.max())) for x in held if x.size and x.dtype.kind in "fiu"]
    return max(high for _, high in ends) - min(low for low, _ in ends) if ends else float("inf")


def _axis(axis: Axis, colours: dict[str, str]) -> Json:
    kinds = {"linear": "linear", "log": "log", "time": "date", "category": "category"}
    found: Json = {
        "type": kinds[axis.scale],
        "title": {"text": escape(axis.label, quote=False), "standoff": 8, "font": {"color": colours["muted"]}},
        "tickfont": {"color": colours["muted"], "size": 11},
        "gridcolor": colours["grid"],
        "linecolor": colours["grid"],
        "zeroline": False,
        "automargin": True,
        "exponentformat": "power" if axis.scale == "log" else "none",
        "separatethousands": True,
        "nticks": 8,
    }
    if axis.scale in ("linear", "log"):
        found["hoverformat"] = ".3~%" if axis.percent else ",.4~r"
    if axis.percent:
        found["tickformat"] = ".3~%"
    if axis.scale == "log":
        found["nticks"] = 4  # Plotly then writes 1, 2 and 5 of few decades, and of many their powers of ten alone
    if axis.scale == "category":
        found |= {"tickmode": "auto", "nticks": 60}  # Plotly leaves out those for which there is no room
    if axis.whole:
        found["tickformat"] = ",d"
    if axis.zero:
        found["rangemode"] = "tozero"
    if axis.ticks:
        at, words = zip(*axis.ticks, strict=True)
        found |= {"tickmode": "array", "tickvals": list(at), "ticktext": [escape(w, quote=False) for w in words]}
    if axis.range is not None:
        ends = [_plain(end) for end in axis.range]
        if axis.scale == "log":
            ends = [float(np.log10(end)) for end in ends]
        found["range"] = ends
    if axis.down:
        found |= {"range": found["range"][::-1]} if axis.range is not None else {"autorange": "reversed"}
    return found


def _traces(mark: Mark, colours: dict[str, str], layout: Json, key: str) -> list[Json]:
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
            ends = {"x0": _plain(mark.start), "x1": _plain(mark.stop)}
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
    at = _plain(mark.at)
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
    array = _array(values)
    if array.dtype.kind in "fiub":
        packed = array.astype("<f8")
        return {"dtype": "f8", "bdata": base64.b64encode(packed.tobytes()).decode("ascii")}
    return _listed(values)


def _listed(values: Values) -> list[Any]:
    array = _array(values)
    if array.dtype.kind == "M":
        words = np.datetime_as_string(array.astype("datetime64[ms]")).tolist()
        return [None if word == "NaT" else word for word in words]
    if array.dtype.kind in "fiub":
        return [None if v != v else v for v in array.tolist()]
    return [escape(str(v), quote=False) for v in array.tolist()]


def _array(values: Values) -> np.ndarray:
    if isinstance(values, pl.Series):
        return values.to_numpy()
    return values if isinstance(values, np.ndarray) else np.asarray(values)


def _floats(values: Values) -> np.ndarray:
    return _array(values).astype(np.float64)


def _plain(value: Any) -> Any:
    """An end of an axis or a place on it, as JSON."""
    if isinstance(value, str):
        return escape(value, quote=False)
    array = np.asarray(value)
    if array.dtype.kind == "O" and hasattr(value, "isoformat"):
        array = np.asarray(value, dtype="datetime64[us]")
    return str(np.datetime_as_string(array.astype("datetime64[ms]"))) if array.dtype.kind == "M" else array.item()


def _faint(colour: str, opacity: float) -> str:
    red, green, blue = (int(colour[k : k + 2], 16) for k in (1, 3, 5))
    return f"rgba({red},{green},{blue},{opacity:g})"
