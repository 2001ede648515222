"""What the page of a stream draws and says, without a browser."""

import asyncio
import math
import time

import numpy as np
import orjson
import pytest
from starlette.datastructures import QueryParams

from forecast.dashboards.app.page import View
from forecast.dashboards.app.pages.live import PAGE, answer, news
from forecast.dashboards.app.plot import plots
from forecast.dashboards.app.sources import Sources
from forecast.dashboards.app.stream.client import Client, Told
from forecast.dashboards.app.stream.figures import live_chart
from forecast.dashboards.app.stream.ring import Ring
from forecast.dashboards.app.stream.words import TILES, banner, figures
from forecast.dashboards.charts.chart import Band, Line, Points, Rule

SERIES = {"kind": "series", "channels": ["load", "heat"], "units": ["kWh", ""], "columns": ["q05", "q95"]}
EVENTS = {"kind": "events", "unit": "day", "columns": ["q05", "q95"], "stamps": True}
CLASSES = {"kind": "classes", "columns": []}


def ring(*lines):
    made = Ring("a <b>")
    for seq, line in enumerate(lines):
        made.put(seq, {"seq": seq, "unique_id": "a <b>", "status": "ok", **line})
    return made.kept()


def hourly(hour, *, channels=True, ahead=8):
    at = np.datetime64("2024-01-01T00:00") + np.timedelta64(hour, "h")
    ds = [f"{at + np.timedelta64(k + 1, 'h')}:00+01:00" for k in range(ahead)]
    values = [hour + k / 10 for k in range(ahead)]
    if not channels:
        return {"cutoff": f"{at}:00+01:00", "y": hour, "ds": ds, "y_hat": values, "q05": values, "q95": values}
    each = {name: {"load": values, "heat": [v + 100 for v in values]} for name in ("y_hat", "q05", "q95")}
    return {"cutoff": f"{at}:00+01:00", "y": {"load": hour, "heat": None}, "ds": ds, **each}


def marks(chart, kind):
    return [mark for mark in chart.panels[0].marks if isinstance(mark, kind)]


def test_a_fan_has_what_was_read_and_what_is_ahead():
    kept = ring(*(hourly(hour) for hour in range(30)))
    chart = live_chart(kept, SERIES, steps=20)
    assert chart.panels[0].y.label == "load (kWh)" and chart.title == "a <b>"
    readings, latest = (
        next(m for m in marks(chart, Line) if m.name == name) for name in ("readings", "latest forecast")
    )
    assert list(readings.y) == list(range(10, 30))
    assert readings.x[-1] == np.datetime64("2024-01-02T05:00") == marks(chart, Rule)[0].at
    assert latest.x[0] == np.datetime64("2024-01-02T06:00") and list(latest.y[:2]) == [29, 29.1]
    (band,) = marks(chart, Band)
    assert band.name == "5 to 95 %"
    (earlier,) = [mark for mark in marks(chart, Line) if mark.role == "muted"]
    assert np.isnan(earlier.y).sum() == len(kept.earlier) == 6
    heat = live_chart(kept, SERIES, channel="heat")
    assert np.isnan(next(m for m in marks(heat, Line) if m.name == "readings").y).all()
    assert heat.panels[0].y.label == "heat"
    text = orjson.dumps(plots(chart, "dark")).decode()
    assert "<b>" not in text.replace("live-a <b>", "")  # Plotly would read it as a tag


def test_a_line_is_broken_where_steps_are_missing():
    kept = ring(*(hourly(hour, channels=False) for hour in [0, 1, 2, 3, 40, 41]))
    readings = next(m for m in marks(live_chart(kept, {}), Line) if m.name == "readings")
    assert [v for v in readings.y if v == v] == [0, 1, 2, 3, 40, 41] and np.isnan(readings.y[4])


def test_charts_of_nothing_and_of_nonsense():
    for facts in ({}, SERIES, EVENTS, CLASSES):
        assert plots(live_chart(ring(), facts), "light")
    odd = {"cutoff": None, "y": "much", "ds": ["never", None], "y_hat": [None, True]}
    assert plots(live_chart(ring(odd), {}), "light")
    assert plots(live_chart(ring({"ds": "never"}, {"ds": None}), EVENTS), "light")
    assert plots(live_chart(ring({"step": None, "classes": {"a": None}}), CLASSES), "light")


def test_events_show_the_last_ones_and_the_next():
    line = {"ds": "2024-01-01T00:00:00", "mean": 2.0, "median": 1.5, "q05": 0.5, "q95": 4.0, "unit": "day",
            "next": "2024-01-02T12:00:00", "mark": "order", "p": {"order": 0.8}}  # fmt: skip
    chart = live_chart(ring(line), EVENTS)
    came, ahead = marks(chart, Points)
    assert list(came.y) == ["came"] and list(ahead.y) == ["next: order"]
    (interval,) = marks(chart, Line)
    assert list(interval.x) == [np.datetime64("2024-01-01T12:00"), np.datetime64("2024-01-05T00:00")]
    numbers = live_chart(ring({**line, "ds": 3.0, "next": 4.5}), {**EVENTS, "stamps": False, "unit": "step"})
    assert list(marks(numbers, Line)[0].x) == [3.5, 7.0] and numbers.panels[0].x.label == "time (steps)"


def test_classes_show_how_likely_the_likeliest_were():
    lines = [{"step": k + 1, "classes": {"worn": k / 10, "sound": 1 - k / 10}} for k in range(8)]
    chart = live_chart(ring(*lines), CLASSES)
    first, second = marks(chart, Line)
    assert (first.name, second.name) == ("worn", "sound") and first.y[-1] == 0.7 and list(first.x) == list(range(1, 9))


def told(state="live", words="", **more):
    held = {"since_s": 3.0, "gone": 0, "restarts": 0, "facts": {}, "age_s": 0.1} | more
    return Told(state, words, **held)


def test_figures_say_nothing_that_is_not_known():
    held = figures(told(age_s=None), [])
    assert {key for key, *_ in TILES} - {"drawn"} == set(held)
    assert held["late"] == held["p50"] == held["lag"] == "–" and held["updates"] == "0"
    facts = {
        "readings_per_s": 12.34, "p50_ms": 1.6, "p95_ms": 2.0, "p99_ms": 3.123, "lag_s": 3.3e5, "queue": 0,
        "counts": {"late": 3, "duplicate": 1234, "unreadable": 2, "gap": 5}, "series": 1000, "state_bytes": 3_500_000,
    }  # fmt: skip
    held = figures(told(facts=facts), [])
    assert (held["late"], held["duplicate"], held["bad"], held["series"]) == ("3", "1,234", "7", "1,000")
    assert (held["readings"], held["p99"], held["lag"], held["state"]) == ("12.3", "3.12", "4 d", "3.34 MiB")
    assert figures(told(facts={"lag_s": -120.0}), [])["lag"] == "−2 min 00 s"
    assert figures(told(facts={"lag_s": math.nan, "counts": "none", "queue": "?"}), [])["lag"] == "–"


@pytest.mark.parametrize(
    "state, words, tone",
    [
        (told(), "", ""),
        (told("idle"), "", ""),
        (told("lost", "nothing listens there", gone=5), "nothing listens there (for 3.00 s)", "alarm"),
        (told("lost", "x", gone=5), "5 lines of the stream could no longer be heard", "alarm"),
        (told("refused", "no token"), "refuses: no token", "alarm"),
        (told(age_s=60.0), "1 min 00 s old", "alarm"),
        (told(gone=1200), "1,200 lines", "note"),
        (told(restarts=1), "begun anew", "note"),
    ],
)
def test_the_banner(state, words, tone):
    found = banner(state, "http://127.0.0.1:8000")
    assert words in found[0] and found[1] == tone


def test_an_answer_has_what_changed_only():
    client = Client("http://127.0.0.1:9", idle_s=60)
    client.stopped = True  # nothing is asked
    client.watch(["a", "b"])
    client.facts = {"kind": "series", "series": 2}
    for hour in range(3):
        client.rings["a"].put(hour, {"seq": hour, **hourly(hour, channels=False)})
    whole = answer(client, QueryParams("key=a&key=b&have="), 4)
    assert set(whole["charts"]) == {"0", "1"} and whole["charts"]["0"]["seq"] == 2 and whole["charts"]["1"]["seq"] == -1
    assert whole["version"] == 4 and whole["known"] and len(orjson.dumps(whole)) < 20_000
    assert answer(client, QueryParams("key=a&key=b&have=2,-1"), 4)["charts"] == {}
    assert set(answer(client, QueryParams("key=a&key=b&have=1,-1&steps=x&theme=dark&channel=no"), 4)["charts"]) == {"0"}


def test_news_are_waited_for_and_not_for_ever():
    client = Client("http://127.0.0.1:9")
    client.stopped = True
    began = time.monotonic()
    assert asyncio.run(news(client, ["a"], client.version + 1, 5)) == client.version  # there is another version
    assert time.monotonic() - began < 2
    assert asyncio.run(news(client, ["a"], client.version, 0.05)) == client.version


def test_pages_without_a_stream_and_with_a_dead_one(tmp_path):
    view = View(Sources(tmp_path), {}, "light")
    assert "No stream is watched" in str(PAGE.render(view))
    view = View(Sources(tmp_path, stream="http://127.0.0.1:9"), {"key": ("a", "b")}, "light")
    assert "The stream does not answer" in str(PAGE.render(view))
