"""Charts on a sheet: every mark, every axis, any values, at the widths of a wide page, half of it and a phone."""

import math
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from xml.etree import ElementTree

import numpy as np
import polars as pl
import pytest
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch, Rectangle, StepPatch
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from forecast.dashboards.charts.axes import cut, places, wrapped
from forecast.dashboards.charts.cells import LEVELS, edges, levels
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
)
from forecast.dashboards.charts.sheet import HALF, NARROW, WIDE, draw
from forecast.dashboards.charts.style import COLOURS, LIGHT, styled, svg

NAN = math.nan
START = datetime(2024, 1, 1)
HOURS = [START + timedelta(hours=k) for k in range(5)]
QUICK = (Phase.explicit, Phase.generate)  # to shrink a drawing takes minutes
WIDTHS = st.sampled_from([WIDE, HALF, NARROW])


def chart(*marks: Mark, x: Axis | None = None, y: Axis | None = None, title: str = "", **more: Any) -> Chart:
    return Chart("name", "Title", "caption", "alt", (Panel(marks, x or Axis("x"), y or Axis("y"), title),), **more)


def drawn(one: Chart, width: float = HALF) -> Figure:
    """Laid out, so that everything has its place."""
    figure = draw(one, width)
    with styled():
        FigureCanvasAgg(figure).draw()
    return figure


def axes_of(one: Chart, width: float = HALF) -> Axes:
    return drawn(one, width).axes[0]


def said(texts: Sequence[Text]) -> list[str]:
    return [text.get_text() for text in texts if text.get_text()]


def boxes(figure: Figure, texts: Sequence[Text]) -> list[Bbox]:
    renderer = FigureCanvasAgg(figure).get_renderer()
    shown = [text for text in texts if text.get_text() and text.get_visible()]
    return [text.get_window_extent(renderer) for text in shown]  # type: ignore[arg-type]


# Every mark --------------------------------------------------------------------------------------------------


def test_a_line_has_gaps_and_a_value_between_gaps_is_a_dot() -> None:
    axes = axes_of(chart(Line(range(6), [1, 2, NAN, 4, math.inf, 6], "m", "ridge", "dash", 2.0)))
    line, alone = axes.lines
    assert line.get_color() == LIGHT["ridge"]
    assert line.get_linewidth() == 2.0
    assert np.isnan(np.asarray(line.get_ydata(), float)).tolist() == [False, False, True, False, True, False]
    assert np.asarray(alone.get_xdata()).tolist() == [3, 5]


def test_stairs_and_dots() -> None:
    held, dotted = axes_of(chart(Line([0, 1], [1, 2], stairs=True), Line([0, 1], [1, 2], dots=True))).lines
    assert held.get_drawstyle() == "steps-post"
    assert dotted.get_marker() == "o"


def test_a_band_has_gaps_and_one_step_ahead_is_a_stroke() -> None:
    axes = axes_of(chart(Band(range(5), [0, 0, NAN, 0, 0], [1, 1, 1, 1, 1], opacity=0.2)))
    area = axes.collections[0]
    assert isinstance(area, PolyCollection)
    assert len(area.get_paths()) == 2
    assert area.get_alpha() == 0.2
    single = axes_of(chart(Band([3], [1.0], [2.0])))
    assert single.get_ylim()[0] < 1 < 2 < single.get_ylim()[1]


def test_bars_stand_beside_each_other_or_lie() -> None:
    places_ = axes_of(chart(Bars([0, 2, 4], [1, 2, NAN], "a"), Bars([0, 2, 4], [2, 1, 1], "b"))).patches
    bars = [patch for patch in places_ if isinstance(patch, Rectangle)]
    assert len(bars) == 5
    spans = sorted((bar.get_x(), bar.get_x() + bar.get_width()) for bar in bars)
    assert all(stop <= start for (_, stop), (start, _) in zip(spans, spans[1:], strict=False))
    lying = chart(Bars([0.5, 0.2], ["a", "b"], across=True), y=Axis("", "category", down=True))
    first = axes_of(lying).patches[0]
    assert isinstance(first, Rectangle)
    assert first.get_width() == 0.5


def test_a_histogram_is_filled_or_an_outline() -> None:
    axes = axes_of(
        chart(Histogram([0, 1, 3], [2, 1], "a"), Histogram([0, 1, 3], [1, 1], "b", "seasonal", filled=False))
    )
    steps = [patch for patch in axes.patches if isinstance(patch, StepPatch)]
    assert len(steps) == 3
    assert steps[0].get_data().values.tolist() == [2, 1]


@pytest.mark.parametrize("symbol", ["dot", "ring", "square", "triangle", "diamond", "cross", "tick"])
def test_symbols(symbol: Any) -> None:
    full, hollow = axes_of(chart(*(Points([1], [1], symbol=symbol, hollow=h) for h in (False, True)))).lines
    assert full.get_marker() == hollow.get_marker()
    assert hollow.get_markerfacecolor() in ("none", LIGHT["card"])


def test_rules_and_spans_lie_across() -> None:
    marks = (
        Span(HOURS[1], HOURS[2]),
        Line(HOURS, range(5)),
        Rule(HOURS[3], label="here"),
        Rule(2.5, True, label="floor"),
    )
    axes = axes_of(chart(*marks, x=Axis("time", "time")))
    assert said(axes.texts) == ["here", "floor"]
    shade = axes.patches[0]
    assert isinstance(shade, Rectangle)
    assert shade.get_width() == pytest.approx(1 / 24)


def test_marks_are_drawn_in_their_order() -> None:
    axes = axes_of(chart(Line([0, 1], [0, 1], "below"), Band([0, 1], [0, 0], [1, 1]), Line([0, 1], [1, 0], "above")))
    below, above = axes.lines
    assert below.get_zorder() < axes.collections[0].get_zorder() < above.get_zorder()


# A table of shades -------------------------------------------------------------------------------------------


def test_cells_are_shaded_written_into_and_their_diagonal_is_bold() -> None:
    names, z = ["cat", "dog"], np.array([[0.9, 0.1], [NAN, 0.0]])
    mark = Cells(names, names, z, "share", words=[["90", "10"], ["", "0"]])
    axes = axes_of(chart(mark, x=Axis("guess", "category"), y=Axis("class", "category", down=True)))
    assert said(axes.texts) == ["90", "10", "0"]
    assert [text.get_weight() for text in axes.texts] == ["bold", "normal", "bold"]
    assert len([patch for patch in axes.patches if isinstance(patch, PathPatch)]) == 2  # neither NaN nor 0 has a shade
    assert axes.yaxis_inverted()
    assert len(axes.figure.axes) == 1  # words say what a bar would


def test_without_room_for_words_a_bar_says_what_shades_mean() -> None:
    z = np.random.default_rng(0).random((30, 40))
    words = [[f"{value:.3f}" for value in row] for row in z]
    figure = drawn(chart(Cells(range(40), range(30), z, "weight (share)", words=words)), NARROW)
    assert not figure.axes[0].texts
    assert figure.axes[1].get_ylabel() == "weight (share)"
    assert len(drawn(chart(Cells(range(40), range(30), z, ""))).axes) == 1  # said by the caption


def test_shades_grow_with_values_and_differ_by_sign() -> None:
    up = levels(np.array([[0, 0.2, 0.5, 1, NAN]]), 0, 1, diverging=False)[0]
    assert up[0] == up[-1] == 0
    assert (np.diff(up[:-1]) > 0).all()
    assert up[3] == LEVELS
    both = levels(np.array([[-2.0, -0.1, 0, 0.1, 2]]), -2, 2, diverging=True)[0]
    assert (both == -both[::-1]).all()
    assert both[0] == -LEVELS


@given(st.lists(st.integers(1, 1000), min_size=2, max_size=12, unique=True), st.booleans(), st.booleans())
def test_cells_leave_no_room_between_them(found: list[int], log: bool, up: bool) -> None:
    middle = np.sort(found) if up else np.sort(found)[::-1]
    low, high = edges(middle, log)
    if not up:
        low, high = low[::-1], high[::-1]
    np.testing.assert_allclose(high[:-1], low[1:], rtol=1e-9)
    assert (low < np.sort(found)).all()
    assert (np.sort(found) < high).all()


# Axes --------------------------------------------------------------------------------------------------------


def test_axes_say_what_they_are_asked_to() -> None:
    line = Line(range(1, 25), np.linspace(0.31, 0.98, 24))
    axes = axes_of(chart(line, x=Axis("step", whole=True), y=Axis("share", zero=True, percent=True)))
    assert axes.get_ylim()[0] == 0
    assert all(word.endswith("\u00a0%") for word in said(axes.get_yticklabels()))
    assert all("." not in word for word in said(axes.get_xticklabels()))
    ticks = ((0.0, "Mon"), (1.0, "Tue"))
    fixed = axes_of(chart(Line([0, 1], [5, 3]), x=Axis("day", ticks=ticks), y=Axis("y", range=(0, 10), down=True)))
    assert said(fixed.get_xticklabels()) == ["Mon", "Tue"]
    assert fixed.get_ylim() == (10, 0)


def test_a_logarithmic_axis_leaves_out_what_is_not_above_zero() -> None:
    axes = axes_of(chart(Line(range(4), [0, -1, 10, 1000]), y=Axis("y", "log")))
    assert axes.get_yscale() == "log"
    assert np.asarray(axes.lines[0].get_ydata(), float)[2:].tolist() == [10, 1000]
    assert "100" in said(axes.get_yticklabels())


def test_categories_keep_their_order_and_long_ones_are_cut_in_the_middle() -> None:
    names = ["temperature of the outside air, 1", "a", "temperature of the outside air, 2"]
    bars = Bars([1, 2, 3], names, across=True)
    axes = axes_of(chart(bars, y=Axis("", "category", down=True)), NARROW)
    one, two, three = said(axes.get_yticklabels())
    assert two == "a"
    assert one != three
    assert max(len(one), len(three)) <= 16
    assert axes.yaxis_inverted()


@pytest.mark.parametrize(
    "stamps",
    [HOURS, pl.Series(HOURS), np.array(HOURS, "datetime64[h]"), [h.replace(tzinfo=UTC) for h in HOURS],
     list(np.array(HOURS, "datetime64[s]")), pl.Series(HOURS).dt.replace_time_zone("UTC")],
)  # fmt: skip
def test_every_kind_of_time_has_one_place(stamps: Any) -> None:
    found = places(stamps, Axis("time", "time"), [])
    np.testing.assert_allclose(found - found[0], np.arange(5) / 24, atol=1e-9)
    assert found[0] == pytest.approx(19723)  # days since 1970


@given(
    st.datetimes(datetime(1990, 1, 1), datetime(2030, 1, 1)),
    st.floats(math.log(3600), math.log(20 * 365 * 86400)),
    WIDTHS,
)
@settings(max_examples=25, deadline=None, phases=QUICK)
def test_dates_do_not_touch(first: datetime, logarithm: float, width: float) -> None:
    last = first + timedelta(seconds=math.exp(logarithm))
    figure = drawn(chart(Line([first, last], [0, 1]), x=Axis("time", "time")), width)
    found = sorted(boxes(figure, figure.axes[0].get_xticklabels()), key=lambda box: box.x0)
    inside = figure.axes[0].get_window_extent()
    found = [box for box in found if inside.x0 - 1 <= (box.x0 + box.x1) / 2 <= inside.x1 + 1]
    assert len(found) >= 2
    assert all(one.x1 <= two.x0 for one, two in zip(found, found[1:], strict=False))


# Words -------------------------------------------------------------------------------------------------------


@given(st.lists(st.text("abcdefgh", min_size=1, max_size=9), min_size=1, max_size=12), st.integers(9, 60))
def test_titles_break_between_words_and_lose_none_but_the_last(words: list[str], letters: int) -> None:
    lines = wrapped(" ".join(words), letters).split("\n")
    assert all(len(line) <= letters for line in lines)
    assert len(lines) <= 3
    found = " ".join(lines)
    assert found.split() == words or " ".join(words).startswith(found[:-1])


def test_titles_break_between_their_parts_first() -> None:
    title = "Best · after 2014-06-02 06:00 · MSE 0.0123"
    assert wrapped(title, 60) == title
    assert wrapped(title, 32) == "Best · after 2014-06-02 06:00\nMSE 0.0123"
    assert wrapped("one\ntwo", 60) == "one\ntwo"


def test_a_label_that_is_cut_keeps_its_unit() -> None:
    assert cut("a very long name of a channel (kWh)", 16) == "a very lo… (kWh)"
    assert cut("short (kWh)", 16) == "short (kWh)"


@given(st.lists(st.text("abcdefgh ", min_size=3, max_size=14), min_size=1, max_size=6, unique=True), WIDTHS)
@settings(max_examples=10, deadline=None, phases=QUICK)
def test_the_legend_lies_above_the_axes_and_within_the_sheet(names: list[str], width: float) -> None:
    lines = [Line([0, 1], [k, k + 1], name, "other") for k, name in enumerate(names)]
    figure = drawn(chart(*lines, title="a title"), width)
    (legend,) = figure.legends
    box = legend.get_window_extent()
    assert said(legend.get_texts()) == names
    assert box.y0 >= figure.axes[0].get_window_extent().y1
    assert box.x1 <= figure.bbox.x1 + 1


def test_the_legend_begins_with_what_came_and_the_model() -> None:
    marks = (
        Line([0, 1], [1, 1], "seasonal naive", "seasonal"),
        Band([0, 1], [0, 0], [1, 1], "90 % interval"),
        Line([0, 1], [0, 1], "informer"),
        Line([0, 1], [0, 1], "actual", "ink"),
    )
    legend = drawn(chart(*marks), WIDE).legends[0]
    assert said(legend.get_texts()) == ["actual", "informer", "90 % interval", "seasonal naive"]
    assert not drawn(chart(*marks, legend=False)).legends


# Sheets ------------------------------------------------------------------------------------------------------


def test_panels_stand_beside_each_other_where_there_is_room() -> None:
    panel = Panel((Line([0, 1], [0, 1], "m"),), Axis("x"), Axis("y"), "t", 1.5)
    many = Chart("name", "t", "c", "a", (panel,) * 4, columns=2)

    def tops(width: float) -> list[float]:
        return sorted({round(axes.get_position().y1, 3) for axes in drawn(many, width).axes})

    assert len(tops(WIDE)) == 2
    assert len(tops(NARROW)) == 4
    assert draw(many, NARROW).get_figheight() > 1.8 * draw(many, WIDE).get_figheight()
    small = many._replace(panels=(panel,) * 8, columns=4)
    assert len({round(axes.get_position().y1, 3) for axes in drawn(small, NARROW).axes}) == 4


def test_panels_that_share_an_axis_say_it_once() -> None:
    panels = tuple(Panel((Line([0, 1], [0, k]),), Axis("level"), Axis("y")) for k in (1, 2))
    above, below = drawn(Chart("name", "t", "c", "a", panels, shared=True)).axes
    assert (above.get_xlabel(), below.get_xlabel()) == ("", "level")
    assert above.get_shared_x_axes().joined(above, below)


@pytest.mark.parametrize("scale", ["linear", "log", "time", "category"])
def test_nothing_to_draw_is_said(scale: Any) -> None:
    empty = (Line([], []), Band([], [], []), Bars([], []), Points([], []), Histogram([], []),
             Cells([], [], np.zeros((0, 0)), "w"), Rule(NAN), Span(NAN, NAN))  # fmt: skip
    for marks in ((), empty):
        assert "no values" in said(axes_of(chart(*marks, x=Axis("x", scale))).texts)
    assert drawn(Chart("name", "t", "c", "a", ())).axes == []


numbers = st.one_of(st.floats(-1e6, 1e6), st.sampled_from([NAN, math.inf, -math.inf, 0.0]))


@st.composite
def any_chart(draw_: Any) -> Chart:
    """Panels of every mark, of any length, on any axes."""
    panels = []
    for _ in range(draw_(st.integers(1, 3))):
        n = draw_(st.integers(0, 12))
        scale = draw_(st.sampled_from(["linear", "log", "time", "category"]))
        x: Any = {
            "time": [START + timedelta(hours=k * 7) for k in range(n)],
            "category": [f"class {k}" for k in range(n)],
        }.get(scale, list(range(1, n + 1)))
        y, z = ([draw_(numbers) for _ in range(n)] for _ in range(2))
        every: list[Mark] = [
            Line(
                x,
                y,
                "line",
                dash=draw_(st.sampled_from(["solid", "dash", "dot", "dashdot"])),
                stairs=draw_(st.booleans()),
            ),
            Band(x, y, z, "band"),
            Bars(x, y, "bars", "seasonal"),
            Points(x, y, "points", "last", draw_(st.sampled_from(["dot", "ring", "tick"])), words=["w"] * n),
            Rule(draw_(numbers), level=True, label="rule"),
        ]
        if scale in ("linear", "log") and n:
            every.append(Histogram(range(1, n + 2), y, "counts"))
            every.append(Span(1, n))
        if n and draw_(st.booleans()):
            shape = np.array([y, z])
            words = [[f"{value:.0f}" for value in row] for row in shape]
            every = [Cells(x, [1, 2], shape, "shade", draw_(st.booleans()), words=draw_(st.sampled_from([(), words])))]
        marks = tuple(draw_(st.lists(st.sampled_from(every), max_size=5)))
        axis = Axis("y (kWh)", draw_(st.sampled_from(["linear", "log"])), zero=draw_(st.booleans()),
                    percent=draw_(st.booleans()), down=draw_(st.booleans()))  # fmt: skip
        title = draw_(st.text(st.characters(exclude_categories=["Cc", "Cs", "Cn"]), max_size=80))
        panels.append(Panel(marks, Axis("x", scale, whole=draw_(st.booleans())), axis, title, 1.5))
    columns = draw_(st.integers(1, 4))
    return Chart("name", "t", "c", "a", tuple(panels), draw_(st.booleans()), columns)


@given(any_chart(), WIDTHS)
@settings(max_examples=10, deadline=None, phases=QUICK)
@example(Chart("n", "t", "c", "a", (Panel((Bars([], [], "none"),), Axis("x"), Axis("y")),)), NARROW)
def test_any_chart_becomes_a_drawing_whose_colours_are_roles(one: Chart, width: float) -> None:
    text = svg(draw(one, width), "name", 'alt & "words"')
    ElementTree.fromstring(text)
    fills = {style.split(";")[0].strip() for style in text.replace('"', "\n").split("fill: ")[1:]}
    assert {fill.split("\n")[0] for fill in fills} <= {"none", *(f"var(--{role})" for role in COLOURS)}
