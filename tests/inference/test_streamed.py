"""Scores of a stream: what they are by definition, where they are those of windows, and what is refused."""

from functools import cache

import numpy as np
import polars as pl
import pytest
import torch

from forecast.data.module import SeriesModule
from forecast.data.split import PARTS
from forecast.heads import Chain, Direct
from forecast.heads.stream import Stream
from forecast.inference import streamed
from forecast.inference.scoring import score
from forecast.inference.streamed import score_stream
from forecast.models import (
    Aaren,
    Identity,
    InstanceNorm,
    NoEmbedding,
    NoNorm,
    PatchEmbedding,
    RollingNorm,
    ValueEmbedding,
)

CONTEXT, HORIZON = 12, 4
LENGTHS = {"a": 150, "b": 120, "c": 135}


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


@pytest.fixture(scope="module", params=["error", "mask"], ids=["complete", "gaps"])
def data(request, tmp_path_factory) -> SeriesModule:
    """Three series of unequal length with a target and a channel that is only looked at."""
    draw, frames = np.random.default_rng(0), []
    for number, (name, length) in enumerate(LENGTHS.items()):
        hours = np.arange(length)
        y = np.sin(hours * (2 * np.pi / 24) + number) + 0.3 * draw.standard_normal(length)
        x = draw.standard_normal(length)
        if request.param == "mask":
            y[draw.random(length) < 0.1], x[draw.random(length) < 0.1] = np.nan, np.nan
        time = np.datetime64("2024-01-01T00:00", "us") + (hours + 5 * number) * np.timedelta64(1, "h")
        frames.append(pl.DataFrame({"unique_id": name, "ds": time, "y": y, "x": x}))
    path = tmp_path_factory.mktemp("streamed") / "f.parquet"
    pl.concat(frames).write_parquet(path)
    return SeriesModule(
        path=str(path), time="ds", id="unique_id", target="y", past=["x"], freq="h", gaps=request.param,
        context=CONTEXT, horizon=HORIZON, stride=3,
    ).prepare()  # fmt: skip


def chain(data: SeriesModule, encoder, *, norm=None, embed=None, tokens: int = 2) -> Chain:
    embed = embed or ValueEmbedding(spec=data.spec, d_model=8, causal=True, position=False)
    head = Direct(spec=data.spec, d_memory=encoder.d_model, length=CONTEXT, tokens=tokens)
    made = Chain(norm=norm or NoNorm(), embed=embed, encoder=encoder, head=head, masked=data.gaps != "error")
    return made.eval()


def rows(data, model, part="test"):
    with torch.inference_mode():
        windowed = score(data, model, "model", part=part, others={})
    (row,), record = score_stream(data, model, "model", windowed[0], part=part)
    return windowed[0], row, record


@pytest.mark.parametrize("part", PARTS)
def test_without_a_memory_beyond_the_window_the_stream_scores_as_windows_do(data, part):
    """The convolution sees 3 steps and the head its last tokens: 2 + tokens steps, a window at most."""
    windowed, row, record = rows(data, chain(data, Identity(d_model=8), tokens=CONTEXT - 2), part)
    assert row["name"] == "model, streamed" and row["kind"] == "streamed"
    assert row["values"] == windowed["values"]
    assert row["scaled"] == pytest.approx(windowed["scaled"], rel=1e-5)
    assert row["original"] == pytest.approx(windowed["original"], rel=1e-4, abs=1e-6)
    assert row["horizon"]["mse"] == pytest.approx(windowed["horizon"]["mse"], rel=1e-5)
    assert record["ratio"] == pytest.approx(1, abs=1e-5)


def test_an_exact_window_within_the_context_loses_nothing(data):
    """Two layers of a window of 4 and 3 tokens after a convolution over 3: 2·3 + 3 + 2 = 11 steps."""
    encoder = Aaren(d_model=8, heads=2, d_ff=8, layers=2, window=4)
    windowed, row, _ = rows(data, chain(data, encoder, tokens=3))
    if data.gaps == "error":  # a window counts observed steps: gaps make it longer
        assert row["scaled"] == pytest.approx(windowed["scaled"], rel=1e-5)
    assert row["values"] == windowed["values"]


def test_what_remembers_more_than_a_window_differs(data):
    encoder = Aaren(d_model=8, heads=2, d_ff=8, decay=0.05)
    windowed, row, record = rows(data, chain(data, encoder, norm=RollingNorm(10.0)))
    assert row["scaled"]["mse"] != pytest.approx(windowed["scaled"]["mse"], rel=1e-4)
    assert record["ratio"] == row["scaled"]["mse"] / windowed["scaled"]["mse"]


def remembering(data):
    torch.manual_seed(0)
    return chain(data, Aaren(d_model=8, heads=2, d_ff=8), norm=RollingNorm(10.0), tokens=3)


@cache
@torch.inference_mode()
def one_by_one(data):
    """Forecasts by origin and series: each series alone, a step at a time from its first row."""
    model, made = remembering(data), {}
    stream = Stream(model, 2)
    for s in range(3):
        state = stream.start(1)
        for row in range(int(data.series.start[s]), int(data.series.start[s + 1]) - HORIZON):
            past = data.gather.values[None, row : row + 1]
            mask = ~past.isnan() if model.masked else None
            state = stream.scan(state, past.nan_to_num(0.0), mask, data.gather.clock[None, row : row + 1])
            made[row + 1, s] = stream.forecast(state, data.gather.clock[None, row + 1 : row + 1 + HORIZON])[0]
    return made


@pytest.mark.parametrize(
    "sizes", [{}, {"SERIES": 2, "ROWS": 14}, {"SERIES": 1, "ROWS": 7}], ids=["one", "some", "each"]
)
@pytest.mark.parametrize("part", ["train", "test"])  # windows of train are 3 steps apart
@torch.inference_mode()
def test_forecasts_are_those_of_each_series_a_step_at_a_time(data, monkeypatch, part, sizes):
    for name, size in sizes.items():
        monkeypatch.setattr(streamed, name, size)
    windows = data.windows(part)
    start = torch.from_numpy(data.series.start[:-1])
    found = list(streamed.forecasts(Stream(remembering(data), 2), data.gather, start, windows))
    origin, number, forecast = (torch.cat(part) for part in zip(*found, strict=True))
    places = [(int(row), int(series)) for row, series in zip(origin, number, strict=True)]
    wanted = zip(*windows.at(np.arange(len(windows))), strict=True)
    assert sorted(places) == sorted((int(row), int(series)) for row, series in wanted)
    each = torch.stack([one_by_one(data)[place] for place in places])
    torch.testing.assert_close(forecast, each, rtol=1e-4, atol=1e-5)


def test_the_record_says_from_where_how_far_and_at_what_cost(data):
    _, row, record = rows(data, chain(data, Identity(d_model=8), norm=RollingNorm(10.0), tokens=5))
    assert set(record) == {"mse", "mae", "ratio", "origin", "steps", "bytes_per_series", "seconds"}
    assert (record["mse"], record["mae"]) == (row["scaled"]["mse"], row["scaled"]["mae"])
    assert record["origin"] == "2024-01-01 00:00"
    assert record["steps"] == LENGTHS["a"] - HORIZON  # after the last of them comes the last window
    norm, embed, head = 3 * 2 * 4, 2 * 2 * 4 + 8, 5 * 8 * 4 + 2 * 2 * 4
    assert record["bytes_per_series"] == norm + embed + head


def test_what_comes_after_a_forecast_does_not_reach_it(data):
    """The leak canary of the stream: all rows from some origin on scrambled, the forecasts up to it bitwise equal."""
    model, windows = remembering(data), data.windows("test")
    start, cut = torch.from_numpy(data.series.start[:-1]), int(windows.first[2]) + 9  # in the last series
    made = []
    for scale in (1.0, 1e4):
        values = data.gather.values.numpy().copy()
        values[cut:] *= scale
        gather = type(data.gather)(values, data.series.clock, targets=1, context=CONTEXT, horizon=HORIZON)
        with torch.inference_mode():
            made.append(list(streamed.forecasts(Stream(model, 2), gather, start, windows)))
    (origin, _, one), (_, _, two) = ([torch.cat(part) for part in zip(*each, strict=True)] for each in made)
    early = origin <= cut
    assert one[early].equal(two[early]) and early.sum() > 20
    assert not one[~early].equal(two[~early])


@pytest.mark.parametrize(
    ("change", "refused", "do"),
    [
        ({"norm": InstanceNorm()}, "it normalises a whole window", "set norm=rolling"),
        ({"embed": PatchEmbedding}, "its tokens are patches", "set embed=value embed.causal=true"),
    ],
)
def test_a_chain_that_cannot_stream_says_so_in_its_record(data, change, refused, do):
    change = {
        key: value(spec=data.spec, d_model=8) if isinstance(value, type) else value for key, value in change.items()
    }
    model = chain(data, Identity(d_model=8), **change)
    assert score_stream(data, model, "model", {}) == ([], {"refused": refused, "do": do})


def test_bare_values_stream_too(data):
    windowed, row, _ = rows(data, chain(data, Identity(d_model=2), embed=NoEmbedding(spec=data.spec), tokens=CONTEXT))
    assert row["scaled"] == pytest.approx(windowed["scaled"], rel=1e-5)
