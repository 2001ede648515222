"""From a `Chart` to the figures that Plotly draws in a browser, as plain JSON values.

Plotly's own Python classes would check every property on every request, for figures that only this file makes; they
are checked in its tests instead. Names come from files and Plotly reads tags in text, so every word is escaped here.
"""

from html import escape

import numpy as np

from forecast.dashboards.app.traces import Json, array, plain, traces
from forecast.dashboards.charts.chart import (
    Axis,
    Bars,
    Cells,
    Chart,
    Line,
    Panel,
    Points,
)
from forecast.dashboards.charts.style import COLOURS, FAMILY

INCH = 92  # pixels
TOP, BOTTOM, BETWEEN = 34, 52, 74  # pixels: legend or title, axis with its label, both between panels
TIED = 24  # pixels between panels with one axis of x, which is written below the last
FEW = 8  # whole numbers that an axis names each
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
            drawn = traces(mark, colours, layout, key)
            for trace in drawn:
                trace |= {"xaxis": f"x{key}", "yaxis": f"y{key}"}
            if drawn and name:
                drawn[0] |= {"showlegend": name not in listed}
                listed.add(name)
            data += drawn
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
    held = [array(mark.x) for mark in panel.marks if isinstance(mark, Line | Bars | Points)]
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
        ends = [plain(end) for end in axis.range]
        if axis.scale == "log":
            ends = [float(np.log10(end)) for end in ends]
        found["range"] = ends
    if axis.down:
        found |= {"range": found["range"][::-1]} if axis.range is not None else {"autorange": "reversed"}
    return found
