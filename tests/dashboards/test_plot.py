"""Charts as Plotly's JSON, and the bricks of a page."""

import base64
import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import plotly.graph_objects as go
import polars as pl
import pytest
from dash import dcc, html
from dash.exceptions import PreventUpdate
from hypothesis import given, settings
from hypothesis import strategies as st

from forecast.dashboards.app import app, kit, page
from forecast.dashboards.app.light import light
from forecast.dashboards.app.page import Page, View, address
from forecast.dashboards.app.plot import plots
from forecast.dashboards.app.sources import Sources
from forecast.dashboards.charts.chart import (
    Axis,
    Band,
    Bars,
    Cells,
    Chart,
    Histogram,
    Line,
    Panel,
    Points,
    Rule,
    Span,
    named,
)
from forecast.dashboards.charts.style import COLOURS
from forecast.errors import ArtifactError

HOSTILE = '<img src=x onerror="alert(1)"><b>name</b>'


def chart(*marks: Any, y: str = "MSE", **more: Any) -> Chart:
    return Chart("name", "Title", "caption", "alt", (Panel(marks, Axis("step"), Axis(y), HOSTILE),), **more)


def view(search: str = "") -> View:
    return View(Sources(Path("runs")), page.read_query(search), "light")


def unpacked(values: Any) -> np.ndarray:
    return np.frombuffer(base64.b64decode(values["bdata"]), "<f8")


def test_every_mark_is_a_figure_that_plotly_accepts() -> None:
    t = pl.Series([datetime(2024, 1, 1) + timedelta(hours=k) for k in range(4)])
    y = np.array([1.0, np.nan, 3.0, 4.0])
    marks = (
        Line(t, y, HOSTILE, dash="dash", stairs=True),
        Band(t, y - 1, y + 1, "90 % interval"),
        Bars(t, y, "bars"),
        Points(t, y, "points", symbol="tick", words=[HOSTILE] * 4),
        Rule(t[1], label=HOSTILE),
        Rule(2.0, level=True, label="level"),
        Span(t[2], t[3]),
    )
    cells = Cells(["a", "b"], [HOSTILE, "d"], np.array([[1, np.nan], [0, -2]]), "share", True, words=[["a", "b"]] * 2)
    bins = Histogram([0, 1, 2], [3, 4], "h")
    whole = Chart(
        "n", "t", "c", "a",
        (
            Panel(marks, Axis("time", "time"), Axis("load (kWh)", "log")),
            Panel((bins,), Axis("error", ticks=((0.5, HOSTILE),)), Axis("share", percent=True)),
            Panel((cells,), Axis("guess", "category"), Axis("class", "category", down=True)),
        ),
        shared=True,
    )  # fmt: skip
    for theme in ("light", "dark"):
        (figure,) = plots(whole, theme)
        text = go.Figure(figure).to_json()  # refuses a property or value that Plotly does not know
        assert text is not None and "<img" not in text and "<b>name" not in text
    assert [f["layout"]["showlegend"] for f in plots(whole._replace(columns=3), "light")] == [True, False, False]


def test_a_name_is_listed_once_and_an_axis_names_its_unit() -> None:
    drawn = chart(Line([1, 2], [1, 2], "a"), Points([1], [1], "a"), Line([1, 2], [2, 1]), y="MAE (kWh)")
    (figure,) = plots(drawn, "light")
    assert [trace.get("showlegend") for trace in figure["data"]] == [True, False, False]
    assert figure["layout"]["yaxis"]["title"]["text"] == "MAE (kWh)"
    assert named(drawn) == [("a", "model")]


@given(st.lists(st.floats(-1e6, 1e6) | st.just(float("nan")), min_size=1, max_size=30), st.sampled_from([*COLOURS]))
@settings(max_examples=60, deadline=None)
def test_values_arrive_unchanged_and_a_band_has_gaps_where_they_are(values: list[float], role: str) -> None:
    y = np.array(values)
    x = np.arange(len(y))
    (figure,) = plots(chart(Line(x, y, "y", role), Band(x, y - 1, y + 1, "b", role)), "dark")
    line, fill, _ = figure["data"]
    np.testing.assert_array_equal(unpacked(line["y"]), y)
    assert line["line"]["color"] == COLOURS[role][1]
    outline = [v for v in fill["y"] if v is not None]
    assert len(outline) == 2 * int(np.isfinite(y).sum())
    runs = int((np.diff(np.concatenate([[0], np.isfinite(y).astype(int)])) == 1).sum())
    assert fill["y"].count(None) == max(runs - 1, 0)


def test_marks_without_values_are_drawn() -> None:
    none = np.array([])
    marks = (Line(none, none, "l"), Band(none, none, none, "b"), Bars(none, none, "c"), Points(none, none, "p"))
    (figure,) = plots(chart(*marks, Cells([], [], np.zeros((0, 0)), "z"), Histogram(none, none, "h")), "light")
    kinds = [trace.type for trace in go.Figure(figure).data]
    assert kinds == ["scatter", "scatter", "scatter", "bar", "scatter", "heatmap", "scatter"]


def test_the_address_is_read_as_far_as_an_address_may_be_long() -> None:
    assert page.read_query("?run=a&run=b&x=1") == {"run": ("a", "b"), "x": ("1",)}
    assert page.read_query("?" + "&".join(f"k{n}=1" for n in range(60))) == {}
    assert len(page.read_query("?run=" + "a" * 10_000)["run"][0]) < page.LETTERS
    assert address("/errors", run=["a", "b"], step="", series=None) == "/errors?run=a&run=b"
    asked = view("?page=7&bad=x&big=99999999999999&low=-3")
    assert [asked.number(key, 1, 1, 50) for key in ("page", "bad", "big", "low", "none")] == [7, 1, 1, 1, 1]


def test_a_page_that_fails_says_so_in_its_place(caplog: pytest.LogCaptureFixture) -> None:
    def broken(_: View) -> Any:
        raise KeyError("secret")

    def ours(_: View) -> Any:
        raise ArtifactError("metrics.json is not JSON", "a run", "run it again")

    told = app.drawn(Page("/x", "X", "", broken), view())
    assert "KeyError" in str(told) and "secret" not in str(told) and "secret" in caplog.text
    assert "metrics.json is not JSON" in str(app.drawn(Page("/x", "X", "", ours), view()))


def test_the_shell_waits_for_the_theme_and_names_what_is_not_there() -> None:
    sources = Sources(Path("runs"))
    with pytest.raises(PreventUpdate):
        app.shown(sources, "/", "", None)
    menu, content = app.shown(sources, "/nowhere", "?run=a", "light")
    assert len(menu) == len(app.PAGES) and "There is no such page" in str(content)
    links = [item.children.href for item in menu]
    assert "/errors?run=a" in links and "/" in links and "/live" in links  # a run stays chosen where it makes sense


def test_a_table_is_sorted_and_paged_by_the_address() -> None:
    columns = [kit.Column("name", "name", False), kit.Column("mse", "MSE")]
    rows: list[tuple[str, float | None]] = [("b", 2.0), ("a", None), ("c", 1.0)]
    keys = {"name": lambda row: row[0], "mse": lambda row: row[1]}
    assert [r[0] for r in kit.order(rows, keys, view(), "mse")] == ["c", "b", "a"]
    assert [r[0] for r in kit.order(rows, keys, view("?sort=-mse"), "mse")] == ["b", "c", "a"]  # None stays last
    assert [r[0] for r in kit.order(rows, keys, view("?sort=none"), "name")] == ["a", "b", "c"]
    many = [(str(k), str(k)) for k in range(120)]
    text = str(kit.table("t", columns, many, view("?page=3&sort=mse"), "/"))
    assert "101 to 120 of 120" in text and "sort=-mse" in text and "page=2" in text and "page=4" not in text
    assert "101 to 120" in str(kit.table("t", columns, many, view("?page=99"), "/"))  # beyond the end: the last


def test_controls_hold_what_the_address_says() -> None:
    options = [("a", "A"), ("b", "B")]
    chosen = kit.choose("run", "Run", options, view("?run=b"), other="a", drops=["series"])
    assert chosen.children[1].value == "b" and chosen.children[1].id["drops"] == "page,series"
    assert kit.choose("run", "Run", options, view(), other="a").children[1].value == "a"
    assert kit.choose("run", "Run", options, view("?run=b&run=a"), many=True).children[1].value == ["b", "a"]
    assert kit.slider("cut", "Cutoff", ["x"], view()) is None
    slider = kit.slider("cut", "Cutoff", ["x", "y", "z"], view("?cut=y"))
    assert next(c for c in slider.children if isinstance(c, dcc.Slider)).value == 1


def test_a_chart_has_words_for_those_who_cannot_see_it() -> None:
    drawn = kit.graph(chart(Line([1, 2], [1, 2], "a"), half=True), view())
    assert drawn.className == "half" and "aria-label='alt'" in str(drawn) and "caption" in str(drawn)
    assert kit.graph(None, view()) is None


def test_a_tree_of_plain_elements_is_text_for_the_browser_and_anything_else_is_left_to_dash() -> None:
    row = html.Tr(
        [html.Td([HOSTILE, None, kit.link("b", "/run", run="a")], className="left"), html.Td(kit.swatch("model"))]
    )
    assert json.loads(light(html.Table(row)) or "") == [
        "table", {}, [["tr", {}, [
            ["td", {"class": "left"}, [HOSTILE, "", ["a", {"href": "/run?run=a", "data-in": ""}, ["b"]]]],
            ["td", {}, [["span", {"class": "key", "style": "background:var(--model)", "aria-hidden": "true"}, [""]]]],
        ]]],
    ]  # fmt: skip
    assert light(html.Td(html.Button("x"))) is None and light(html.Td("x", id="named")) is None
    assert "data-light" in str(kit.table("t", [kit.Column("a", "A")], [("1",)], view()))
    assert "data-light" not in str(kit.table("t", [kit.Column("a", "A")], [(html.Button("1"),)], view()))
