"""The explorer from its address: what is drawn, what is refused, what a move changes."""

import json
from pathlib import Path

import polars as pl
import pytest
from dash.exceptions import PreventUpdate
from plotly.utils import PlotlyJSONEncoder

from forecast.dashboards import load
from forecast.dashboards.app.page import View
from forecast.dashboards.app.pages import explorer, explorer_look
from forecast.dashboards.app.pages.explorer_look import asked, look
from forecast.dashboards.app.pages.explorer_parts import unlike
from forecast.dashboards.app.sources import Sources
from forecast.dashboards.charts.chart import Band, Line
from forecast.dashboards.charts.sheet import draw
from forecast.dashboards.series import browse
from forecast.dashboards.series.window import strip_chart, window_chart
from tests.dashboards.explored import BARE, FIRST, OLD, OTHER, PANEL, SECOND, make


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Sources:
    return Sources(make(tmp_path_factory.mktemp("explored")))


def view(sources: Sources, *runs: str, **query: str) -> View:
    return View(sources, {"run": runs, **{key: (value,) for key, value in query.items()}}, "light")


def text(made: object) -> str:
    """All that would be sent to the browser."""
    return json.dumps(made, cls=PlotlyJSONEncoder, ensure_ascii=False)


def seen(view: View):
    return look(view, asked(view).opened)


def chart_of(view: View):
    found = seen(view)
    return window_chart(found.shown, found.label, found.zone, found.of)


def named(chart, kind):
    return [mark.name for mark in chart.panels[0].marks if isinstance(mark, kind) and mark.name]


def test_no_run_says_what_to_run(tmp_path: Path) -> None:
    assert "forecast train" in text(explorer.render(View(Sources(tmp_path), {}, "light")))


def test_without_an_address_the_newest_run_is_drawn_at_its_median_window(sources: Sources) -> None:
    made = text(explorer.render(view(sources)))
    assert "informer" in made and " of 120" in made
    found = seen(view(sources))
    assert found.windows["mse"].rank("min")[found.place] == 60


def test_one_model_has_its_intervals_its_median_and_the_naive_forecast(sources: Sources) -> None:
    chart = chart_of(view(sources, FIRST))
    assert named(chart, Band) == ["95 % interval", "80 %", "50 %"]
    assert named(chart, Line) == ["seasonal naive", "actual", "informer", "median"]
    assert "50, 80 and 95 %" in chart.caption and "MSE (scaled): informer" in chart.alt
    assert draw(chart, 9.0).axes  # a report's drawing of it


def test_an_older_run_is_shown_with_what_it_has(sources: Sources) -> None:
    assert named(chart_of(view(sources, OLD)), Band) == []
    made = text(explorer.render(view(sources, OLD)))
    assert "Inside" not in made and "MAE (kWh)" in made


def test_models_of_the_same_data_are_laid_over_each_other(sources: Sources) -> None:
    chart = chart_of(view(sources, FIRST, SECOND, OLD))
    assert named(chart, Line)[1:] == ["actual", "informer", "median", "aaren", "lstm"]
    assert len({(mark.role, mark.dash) for mark in chart.panels[0].marks if isinstance(mark, Line) and mark.name}) == 6
    assert "of informer" in chart.caption
    other = chart_of(view(sources, FIRST, SECOND, bands=SECOND))
    assert "of aaren" in other.caption
    assert {mark.role for mark in other.panels[0].marks if isinstance(mark, Band)} == {"ridge"}


def test_what_cannot_be_laid_over_it_is_refused_in_a_sentence(sources: Sources) -> None:
    made = text(explorer.render(view(sources, FIRST, OTHER, BARE, PANEL, "nosuch")))
    assert "informer · 0a1b2c33 is not drawn: it forecasts household, not electricity." in made
    assert "has no predictions: train it with predictions=true." in made
    assert "tcnca is not drawn: it has no forecasts of load, load." in made
    assert "nosuch: no run " in made
    assert "the first 5 are drawn" in text(explorer.render(view(sources, FIRST, SECOND, OLD, OTHER, BARE, PANEL)))
    data = json.loads((sources.train / SECOND / "data.json").read_text())
    data["card"]["files"][0]["sha256"] = "0" * 64
    first = load.read(sources.train / FIRST)
    assert unlike(first, first._replace(data=data)) == "its file of electricity is another one"


def test_series_are_found_and_ordered_by_their_error(sources: Sources) -> None:
    made = text(explorer.render(view(sources, PANEL)))
    assert "150 of 150" in made and "hardest" in made
    few = text(explorer.render(view(sources, PANEL, find="P-14")))
    assert "10 of 150" in few and few.index("shop-149 · MSE") < few.index("shop-140 · MSE")
    found = seen(view(sources, PANEL, series="shop-077"))
    assert found.of == "shop-077" and found.windows.height == 30
    assert "0 of 150" in text(explorer.render(view(sources, PANEL, find="nothing")))


def test_channels_and_steps_ahead_are_chosen(sources: Sources) -> None:
    asked_ = view(sources, OTHER, channel="voltage", ahead="6", cutoff="1900-01-01")
    found = seen(asked_)
    assert (found.channel, found.place, found.label) == (2, 0, "voltage (V)")
    assert "6 steps ahead" in text(explorer.render(asked_))
    assert seen(view(sources, OTHER, channel="nosuch", cutoff="nosuch")).channel == 0
    assert "1 step ahead" in text(explorer.render(view(sources, OTHER, ahead="0")))
    assert "6 steps ahead" in text(explorer.render(view(sources, OTHER, ahead="99999")))


def test_a_move_changes_the_window_and_the_address(sources: Sources) -> None:
    asked_ = view(sources, FIRST, SECOND)
    figure, alt, caption, scores, notes, said, strip, address = explorer.move(asked_, 7)
    cutoff = seen(asked_).windows["cutoff"][7]
    assert f"cutoff={cutoff:%Y-%m-%d}T" in address and address.startswith("?run=")
    assert "window 8 of 120" in said and notes == [] and f"{cutoff:%Y-%m-%d}" in caption and "MSE" in alt
    assert len(figure["data"]) > 5 and "aaren" in text(scores)
    assert len(json.loads(text(strip))["operations"][0]["params"]["value"]) == 2  # the mark on the strip
    assert "window 120 of 120" in explorer.move(asked_, 10**6)[5]
    with pytest.raises(PreventUpdate):
        explorer.move(asked_, None)
    with pytest.raises(PreventUpdate):
        explorer.move(view(sources, BARE), 3)


def test_a_click_names_the_nearest_window(sources: Sources) -> None:
    asked_ = view(sources, FIRST)
    cutoff = seen(asked_).windows["cutoff"][30]
    assert explorer.chosen(asked_, f"{cutoff:%Y-%m-%d %H}:20") == 30
    with pytest.raises(PreventUpdate):
        explorer.chosen(asked_, None)
    with pytest.raises(PreventUpdate):
        explorer.chosen(view(sources, BARE), "2014-01-01")


def test_a_long_strip_is_thinned_and_says_so(sources: Sources) -> None:
    found = seen(view(sources, FIRST))
    index = asked(view(sources, FIRST)).opened[0].held
    strip = browse.strip(index, 0, 0, 1)
    times = pl.datetime_range(pl.datetime(2000, 1, 1), pl.datetime(2003, 1, 1), "1h", eager=True)
    long = strip._replace(
        actual=pl.DataFrame({"ds": times, "y": range(len(times))}),
        forecast=pl.DataFrame({"ds": times, "y_hat": range(len(times))}),
    )
    chart = strip_chart(long, "informer", found.label, True, found.cutoff, found.end)
    lines = [mark for mark in chart.panels[0].marks if isinstance(mark, Line)]
    assert all(1000 < len(line.x) <= 4000 for line in lines)
    assert f"of {len(times):,d} values" in chart.caption and chart.panels[0].x.label == "time (UTC)"


def test_a_scores_table_counts_what_lies_inside(sources: Sources) -> None:
    found = seen(view(sources, FIRST))
    future = found.shown[0].window.future
    inside = future.filter(pl.col("y").is_between("lo80", "hi80")).height
    made = text(explorer.render(view(sources, FIRST)))
    assert f"{inside} of 24" in made and "Inside 90 %" in made and "seasonal naive" in made


def test_a_file_that_is_read_for_the_first_time_says_how_far_it_is(
    sources: Sources, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(explorer_look.indices, "get", lambda run: 0.42)
    made = text(explorer.render(view(sources, FIRST)))
    assert "42 % is done" in made and "explorer-tick" in made
    with pytest.raises(PreventUpdate):
        explorer.move(view(sources, FIRST), 3)
