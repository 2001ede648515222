"""The command line of a job."""

import json
from pathlib import Path

import polars as pl

from forecast.dashboards.jobs import read
from forecast.ledger import NAME, lines
from tests.jobs.made import names, parts, table
from tests.verbs.conftest import command


def job(run: Path, *words: str, cwd: Path, code: int = 0):
    return command("predict", f"run={run}", "engine.processes=0", *words, cwd=cwd, code=code)


def test_a_plan_is_told_and_nothing_written(series, tmp_path) -> None:
    table(names(25)).write_parquet(tmp_path / "f.parquet", row_group_size=100)
    done = job(series, "input=f.parquet", "output=out", "shard_rows=200", "--dry-run", cwd=tmp_path)
    assert done.stdout.splitlines()[0].startswith("1 files, about 500 rows, ")
    assert "shards of whole series, " in done.stdout
    assert done.stdout.endswith("nothing was written: dry_run\n")
    assert not (tmp_path / "out").exists()


def test_progress_and_what_is_done_already(series, tmp_path) -> None:
    table(names(25)).write_parquet(tmp_path / "f.parquet", row_group_size=100)
    words = ["input=f.parquet", "output=out", "shard_rows=200"]
    first = job(series, *words, cwd=tmp_path)
    said = first.stderr.splitlines()
    assert all(line.startswith(f"shard {n}/{len(said)}: ") for n, line in enumerate(said, 1))
    assert said[-1].endswith("; 0 s left")
    assert first.stdout.startswith(f"{tmp_path}/out: 25 series by linear: 25 forecast; 100 rows in {len(said)} parts; ")
    again = job(series, *words, "progress=json", cwd=tmp_path)
    begin, end = (json.loads(line) for line in again.stderr.splitlines())
    assert (begin["event"], begin["unchanged"], begin["shards"]) == ("begin", len(said), len(said))
    assert (end["event"], end["series"]) == ("end", 25)
    assert f"{len(said)} of them from before" in again.stdout
    told = job(series, *words, "--dry-run", cwd=tmp_path)
    assert f"{len(said)} of them are done and unchanged" in told.stdout
    anew = job(series, *words, "overwrite=true", "progress=json", cwd=tmp_path)
    events = [json.loads(line) for line in anew.stderr.splitlines()]
    assert [event["event"] for event in events] == ["begin", *["shard"] * len(said), "end"]
    assert {"eta_s", "series_per_s", "status", "reasons", "rows_in"} <= set(events[1])


def test_too_many_bad_series(series, tmp_path) -> None:
    pl.concat([table(names(9)), table(["short"], 5)]).write_csv(tmp_path / "f.csv")
    (tmp_path / "notes.txt").write_text("none of ours")
    job(series, "input=f.csv", "output=out", "max_bad_fraction=0.1", cwd=tmp_path)
    done = job(series, "input=f.csv", "output=out", "max_bad_fraction=0.09", cwd=tmp_path, code=3)
    line = (
        "forecast: 1 of 10 series are bad (10.0%); expected at most max_bad_fraction=0.09; the output is complete; see"
    )
    assert done.stderr.splitlines()[-1] == f"{line} {tmp_path}/out/quarantine"
    assert (tmp_path / "out" / "_SUCCESS").exists()
    assert parts(tmp_path / "out")["unique_id"].n_unique() == 9


def test_why_a_job_ended_stands_in_its_manifest_until_the_next(series, tmp_path) -> None:
    pl.concat([table(names(9)), table(["short"], 5)]).write_csv(tmp_path / "f.csv")
    done = job(series, "input=f.csv", "output=out", "on_bad=error", cwd=tmp_path, code=3)
    last = lines(tmp_path / "out" / NAME)[-1]
    assert (last["kind"], f"forecast: {last['words']}") == ("fault", done.stderr.splitlines()[-1])
    assert read(tmp_path / "out").state == "failed"
    job(series, "input=f.csv", "output=out", cwd=tmp_path)
    assert {line["kind"] for line in lines(tmp_path / "out" / NAME)} == {"job", "input", "shard"}
    made = read(tmp_path / "out")
    assert (made.state, made.of, len(made.fresh), made.shards[0].engine) == ("finished", 1, 1, "local")


def test_levels_and_other_tasks(series, events, classes, tmp_path) -> None:
    table(names(2)).write_csv(tmp_path / "f.csv")
    job(series, "input=f.csv", "output=out/", "levels=[0.2]", "horizon=2", cwd=tmp_path)
    assert parts(tmp_path / "out").columns[5:8] == ["y_hat", "q20", "status"]
    for run, word in ((series, "now=2024-01-01"), (events, "horizon=2"), (classes, "levels=[0.1]")):
        done = job(run, "input=f.csv", "output=other", word, cwd=tmp_path, code=2)
        assert "it is about another task" in done.stderr
