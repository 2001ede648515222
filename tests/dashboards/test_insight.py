"""The figures of what a model looked at: there is one for all that was written, they say what the tables hold, and
what is missing or damaged is told."""

import json

import numpy as np
import plotly.graph_objects as go
import polars as pl
import pytest

from forecast.dashboards import load
from forecast.dashboards.app.plot import plots
from forecast.dashboards.charts.chart import Cells, Line, Points
from forecast.dashboards.charts.sheet import draw
from forecast.dashboards.insight import stored as insight
from forecast.dashboards.insight.figures import insight_figures, report_figures
from forecast.dashboards.insight.report import looked
from forecast.dashboards.insight.worth import importance, shortened
from forecast.errors import ArtifactError
from tests.dashboards.insight import ENCODERS, WORTH, write_insight

FIGURES = {
    "informer": ["sparsity", "kept", "lengths", "reach", "past", "depends"],
    "aaren": ["weights", "newest", "effective", "reach", "past", "depends"],
    "transformer": ["weights", "reach", "past", "depends"],
    "tcnca": ["reach", "past", "depends"],
    "lstm": ["reach", "past", "depends"],
}


@pytest.fixture(scope="session")
def written(tmp_path_factory):
    """A function of an encoder and a layout of tokens that gives the run."""
    made = {}

    def of(encoder: str, layout: str = "steps") -> load.Run:
        if (encoder, layout) not in made:
            path = tmp_path_factory.mktemp(f"{encoder}-{layout}")
            write_insight(path, encoder, layout)
            made[encoder, layout] = load.read(path)
        return made[encoder, layout]

    return of


@pytest.mark.parametrize("encoder", ENCODERS)
def test_every_figure_is_drawn_from_one_chart_by_both(written, encoder):
    found = insight.read(written(encoder))
    for window in range(3):
        charts = insight_figures(found, window)
        assert [chart.name for chart in charts] == FIGURES[encoder]
        for chart in charts:
            assert chart.caption and len(chart.alt) >= len(chart.caption)
            assert ("best", "median", "worst")[window] in chart.caption or chart.name in ("kept", "lengths", "reach")
    for chart in report_figures(written(encoder)):
        draw(chart, 3.0)
        for figure in plots(chart, "dark"):
            go.Figure(figure)


@pytest.mark.parametrize(("encoder", "layout", "label"), [
    ("informer", "patches", "patch (number)"), ("transformer", "channels", "channel, then calendar field (number)"),
])  # fmt: skip
def test_tokens_that_are_no_steps_are_numbered(written, encoder, layout, label):
    first = insight_figures(insight.read(written(encoder, layout)), 1)[0]
    assert first.panels[0].x.label == label
    assert next(iter(first.panels[0].marks)).x[0] == 1


def test_steps_are_counted_from_the_cutoff_through_distilling(written):
    found = insight.read(written("informer"))
    first = insight_figures(found, 0)[0]
    cells = [mark for panel in first.panels for mark in panel.marks if isinstance(mark, Cells)]
    assert [(mark.x[0], mark.x[1] - mark.x[0], mark.z.shape[1]) for mark in cells] == [
        (-24, 1, 24), (-24, 2, 12), (-24, 4, 6), (-12, 1, 12), (-12, 2, 6),
    ]  # fmt: skip
    dots = [mark for mark in first.panels[0].marks if isinstance(mark, Points)][0]
    assert len(dots.x) == 2 * found.layers[0]["kept"]


def test_weights_are_shown_in_percent_and_shares_end_at_1(written):
    charts = {chart.name: chart for chart in insight_figures(insight.read(written("aaren")), 2)}
    for panel in charts["weights"].panels:
        np.testing.assert_allclose(panel.marks[0].z.sum(1), 100, rtol=1e-4)
    for line in [mark for panel in charts["newest"].panels for mark in panel.marks]:
        assert line.y.min() >= 0 and line.y.max() <= 1 + 1e-6
    shares = [mark for mark in charts["reach"].panels[1].marks if isinstance(mark, Line)]
    assert all(line.y[-1] == pytest.approx(1) and (np.diff(line.y) >= 0).all() for line in shares)


def test_importance_is_a_share_of_the_own_past_and_names_are_text(written):
    chart = importance(insight.read(written("lstm")))
    bars = chart.panels[0].marks[0]
    assert bars.y == ["price", "<b>lead</b>", "calendar", "noise"]
    np.testing.assert_allclose(bars.x, [0.5 / 0.8, 0.02 / 0.8, 0, -0.001 / 0.8])
    assert "own past 0.8" in chart.alt
    assert "<b>lead" not in json.dumps(plots(chart, "light")[0]["data"][0]["y"])


def test_names_that_are_cut_stay_apart():
    made = shortened([f"{'a' * 40}{k}" for k in range(3)])
    assert len(set(made)) == 3 and max(map(len, made)) <= 24


def test_long_windows_are_thinned(written):
    found = insight.read(written("aaren"))
    rows = pl.DataFrame({
        "part": ["weight"] * 6000, "window": [1] * 6000, "layer": [0] * 6000, "head": [0] * 3000 + [1] * 3000,
        "k": [None] * 6000, "step": [*range(3000)] * 2, "value": [1 / 3000] * 6000, "kept": [None] * 6000,
    })  # fmt: skip
    long = found._replace(table=rows, facts={**found.facts, "tokens": 3000, "layers": found.layers[:1]})
    (chart,) = insight_figures(long, 1)
    assert chart.panels[0].marks[0].z.shape == (2, 500)
    assert chart.panels[0].marks[0].x[0] == pytest.approx(-2997.5)


# What is not there ------------------------------------------------------------------------------------------


def test_a_run_without_it_has_no_section(tmp_path):
    run = load.read(tmp_path)
    assert insight.read(run) is None
    assert looked(run) == {}


def test_a_run_without_windows_or_inputs_has_fewer_figures(tmp_path):
    write_insight(tmp_path, "lstm", worth=WORTH[:1])
    found = insight.read(load.read(tmp_path))
    assert importance(found) is None
    (tmp_path / "insight.json").write_text('{"version": 1, "windows": []}')
    pl.DataFrame(schema=found.table.schema).write_parquet(tmp_path / "insight.parquet")
    assert report_figures(load.read(tmp_path)) == []


@pytest.mark.parametrize(("name", "content", "words"), [
    ("insight.json", b"{", "insight.json cannot be read"),
    ("insight.json", b"[]", "another form"),
    ("insight.json", b'{"version": 9}', "another form"),
    ("insight.json", b'{"version": 1, "layers": [{"layer": 0}]}', "another form"),
    ("insight.json", b'{"version": 1, "layers": 3}', "another form"),
    ("insight.json", b'{"version": 1, "windows": [{"pick": 3}]}', "another form"),
    ("insight.json", b"\xff\xfe", "insight.json cannot be read"),
    ("insight.parquet", b"PAR1", "insight.parquet cannot be read"),
    ("insight.parquet", b"", "insight.parquet cannot be read"),
])  # fmt: skip
def test_what_is_damaged_is_told_in_one_line(tmp_path, name, content, words):
    write_insight(tmp_path, "lstm")
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ArtifactError, match=words) as told:
        insight.read(load.read(tmp_path))
    assert "\n" not in str(told.value)
    assert told.value.do == f"write it again: forecast evaluate run={tmp_path.name} insight=true"


def test_a_table_of_other_columns_is_told(tmp_path):
    write_insight(tmp_path, "lstm")
    pl.DataFrame({"part": ["weight"]}).write_parquet(tmp_path / "insight.parquet")
    with pytest.raises(ArtifactError, match="no column window"):
        insight.read(load.read(tmp_path))
