"""A replay is the stream, its scores are those of every forecast after a context, and live is one scan."""

from threading import Event

import numpy as np
import orjson
import pytest

from forecast.data.window import Windows
from forecast.errors import DataError, UsageError
from forecast.inference.scoring import score
from forecast.streaming.feeds.replay import File
from forecast.streaming.replay import STREAMED, WINDOWED
from forecast.streaming.streamer import Streamer
from forecast.verbs.tables import replayed
from tests.streaming.made import CONTEXT, HORIZON, made, streamed, table
from tests.streaming.test_streamer import Kept, near, through
from tests.verbs.conftest import command


@pytest.mark.parametrize("gaps", ["error", "mask", "fill"])
def test_scores_are_those_of_every_forecast(tmp_path, gaps):
    data, predictor = made(tmp_path, gaps=gaps)
    feed, sink = File(path=str(tmp_path / "f.parquet"), batch=17), Kept()
    feed.run(Streamer(streamed(predictor), sink=sink), Event())
    found = feed.found
    assert found["live_minus_scan"] < 1e-5 and found["forecasts_compared"] > 100
    if gaps == "error":  # forecasts near the end of the file have a part of their truth, windows all of it
        first = data.series.start[:-1] + CONTEXT
        windows = Windows(first, np.cumsum([0, *data.series.rows - CONTEXT - HORIZON + 1]), 1, CONTEXT, HORIZON)
        rows = {row["name"]: row["scaled"]["mse"] for row in score(data, predictor.forecast, "x", windows=windows)}
        assert found["scores"][WINDOWED]["mse"] == pytest.approx(rows["x"], rel=0.05)
        assert found["scores"]["seasonal naive"]["mse"] == pytest.approx(rows["seasonal naive"], rel=0.05)
    own = found["scores"][STREAMED]
    assert own["mse"] > 0 and 0 < own["coverage"] <= 1 and list(own["months"]) == ["2024-01"]
    assert own["months"]["2024-01"] == {key: own[key] for key in ("mse", "mae", "coverage")}
    lines = [
        orjson.dumps({"unique_id": name, "ds": str(time), "y": y})
        for time, name, y in sorted(table(gaps=gaps != "error").select("ds", "unique_id", "y").iter_rows())
        if y is not None
    ]
    whole = Kept()
    through(Streamer(streamed(predictor), sink=whole), lines, 17)
    near(*(sorted(map(renumbered, kept.lines)) for kept in (sink, whole)))


def renumbered(line):
    """Readings of one time may come in any order."""
    found = orjson.loads(line)
    return orjson.dumps({"at": f"{found['unique_id']} {found['cutoff']}", **found, "seq": 0})


def test_the_table_of_a_replay(home, tmp_path):
    words = ["stream", "run=latest", f"runs={home}/runs", "feed=replay", f"feed.path={home}/f.parquet", "engine=torch"]
    done = command(*words, "output=out.jsonl", "feed.scores=scores.json", "state.path=s.db", cwd=tmp_path)
    found = orjson.loads((tmp_path / "scores.json").read_bytes())
    assert replayed(found) in done.stderr and list(found["scores"]) == [
        "streamed",
        "seasonal naive",
        "last value",
        "windowed",
    ]
    assert "live − one scan from the same first step: at most" in done.stderr
    again = command(*words, "output=out.jsonl", "state.path=s.db", cwd=tmp_path)
    assert "0 forecasts" in again.stderr and "prequential" not in again.stderr


def test_a_file_that_cannot_be_replayed(tmp_path):
    with pytest.raises(DataError, match="is no file"):
        File(path=str(tmp_path / "none.csv"))
    with pytest.raises(UsageError, match="batch is 0"):
        File(path=str(tmp_path / "none.csv"), batch=0)
