"""`forecast backtest policy=start` says what `forecast stream feed=replay` says, in the same figures."""

import json

import numpy as np
import orjson
import polars as pl

from forecast.streaming.lines import significant
from tests.verbs.conftest import command


def test_a_backtest_from_the_start_is_the_replay_of_the_command_line(home, tmp_path):
    of_run = ["run=latest", f"runs={home}/runs"]
    done = command("backtest", *of_run, "output=back", "policy=both", "levels=[0.1,0.5,0.9]", cwd=tmp_path)
    words = ["feed=replay", f"feed.path={home}/f.parquet", "levels=[0.1,0.5,0.9]", "output=out.jsonl"]
    command("stream", *of_run, *words, "feed.windowed=false", cwd=tmp_path)
    lines = [orjson.loads(line) for line in (tmp_path / "out.jsonl").read_bytes().splitlines()]
    said = {(line["unique_id"], line["cutoff"].removesuffix("+00:00")): line for line in lines}
    frame = pl.read_parquet(tmp_path / "back" / "forecasts.parquet").filter(policy="start")
    windows = frame.group_by("unique_id", "cutoff", maintain_order=True).agg("y_hat", "q10", "q50", "q90")
    assert windows.height > 100
    for row in windows.iter_rows(named=True):
        line = said[row["unique_id"], row["cutoff"].isoformat()]
        for key in ("y_hat", "q10", "q50", "q90"):
            assert significant(np.array(row[key])).tolist() == line[key]
    facts = json.loads((tmp_path / "back" / "metrics.json").read_text())
    assert facts["left_out"] > 0 and f"{facts['left_out']} origins are left out: nothing was observed" in done.stderr
    assert list(facts["intervals"]["aaren"]) == list(facts["intervals"]["aaren, streamed"]) == ["80"]
    kinds = {row["name"]: row["kind"] for row in facts["rows"]}
    assert kinds["aaren"] == "model" and kinds["aaren, streamed"] == "streamed" and "aaren, streamed" in done.stdout
    assert len({row["values"] for row in facts["rows"]}) == 1
