"""A batch job's output as the dashboard reads it: written by the job's own code, whole, torn, foreign."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from forecast import ledger
from forecast.dashboards import job_charts
from forecast.dashboards.charts.sheet import draw
from forecast.dashboards.jobs import Job, lost, missing, pace, read
from forecast.jobs.manifest import Output, row
from forecast.ledger import NAME, QUARANTINE, SUCCESS, Done

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)


def a_shard(folder: Path, number: int, *, bad: int = 0, series: int = 10) -> Done:
    """A shard with its files."""
    part, refused = f"part-{number:05d}-0a1b2c3d.parquet", f"{QUARANTINE}/part-{number:05d}-0a1b2c3d.parquet"
    pl.DataFrame({"y_hat": [1.0]}).write_parquet(folder / part)
    if bad:
        (folder / QUARANTINE).mkdir(exist_ok=True)
        rows = [(f"s{number}-{k}", "quarantined", "short", f"{k} of the 48 steps <b>") for k in range(bad)]
        pl.DataFrame(rows, schema=["unique_id", "status", "reason", "detail"], orient="row").write_parquet(
            folder / refused
        )
    sizes = [(folder / part).stat().st_size, *([(folder / refused).stat().st_size] if bad else [])]
    status = {"forecast": series - bad, **({"quarantined": bad} if bad else {})}
    return Done(number, f"key{number}", part, refused if bad else None, tuple(sizes), 100 * series, 24 * (series - bad),
                series, status, {"short": bad} if bad else {}, (), 0.5 + number)  # fmt: skip


def made(folder: Path, shards: int, of: int, *, bad: int = 0, started: bool = True) -> Path:
    """An output after so many of its shards."""
    folder.mkdir(parents=True)
    head: dict[str, Any] = {"kind": "job", "run": "20260101T000000Z-0a1b2c3d", "model": "aaren",
                            "model_version": "1", "shards": of}  # fmt: skip
    if started:
        head |= {"started": BEGAN.isoformat(), "input": "/data/shop", "engine": "local", "todo": of}
    source = {"kind": "input", "name": "a.parquet", "size": 2048, "mtime_ns": 1, "sha256": "0" * 64}
    lines = [head, source]
    for number in range(shards):
        at = (BEGAN + timedelta(seconds=10 * (number + 1))).isoformat()
        line = row(a_shard(folder, number, bad=bad), engine="local", inputs=["a.parquet"], run="", config="")
        lines.append(line | {"at": at} if started else {k: v for k, v in line.items() if k not in ("at", "engine")})
    (folder / NAME).write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


@contextmanager
def working(folder: Path) -> Iterator[None]:
    """The folder as a job holds it that is at work."""
    output = Output(folder)
    output.open()
    yield
    output.close()


def test_states(tmp_path) -> None:
    folder = made(tmp_path / "out", 2, 4)
    assert read(folder).state == "stopped"
    with working(folder):
        assert read(folder).state == "running"
        Output(folder).fault("out of memory")
        assert read(folder).state == "running"
    job = read(folder)
    assert (job.state, job.fault) == ("failed", "out of memory")
    (folder / SUCCESS).write_text("{}")
    assert read(folder).state == "finished"


def test_where_the_system_does_not_tell_who_is_at_work(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(ledger, "LOCKS", tmp_path / "none")
    folder = made(tmp_path / "out", 2, 4)
    assert read(folder).state == "running"
    os.utime(folder / NAME, (0, 0))
    assert read(folder).state == "stopped"


def test_pace_and_what_is_left(tmp_path) -> None:
    folder = made(tmp_path / "out", 2, 4)
    with working(folder):
        speed = pace(read(folder), BEGAN + timedelta(seconds=25))
        assert speed is not None
        assert speed.series == pytest.approx(1.0) and speed.rows == pytest.approx(100.0)
        assert speed.seconds == pytest.approx(25.0) and speed.left == pytest.approx(15.0)
    done = pace(read(folder), datetime.now(UTC))
    assert done is not None and (done.seconds, done.left) == (pytest.approx(20.0), None)
    assert pace(read(made(tmp_path / "old", 2, 4, started=False)), datetime.now(UTC)) is None


def test_sums_and_reasons(tmp_path) -> None:
    folder = made(tmp_path / "out", 3, 3, bad=4)
    job = read(folder)
    assert job.conserved and job.facts["status"] == {"forecast": 18, "quarantined": 12}
    (reason,) = lost(job)
    assert (reason.reason, reason.series, reason.do) == ("short", 12, ledger.REASONS["short"])
    assert len(reason.samples) == 5 and reason.samples[0] == ("s0-0", "0 of the 48 steps <b>")
    assert missing(job) == []
    (folder / job.shards[1].done.part).unlink()  # type: ignore[arg-type]
    (folder / str(job.shards[2].done.quarantine)).write_bytes(b"torn")
    assert missing(job) == [job.shards[1].done.part, job.shards[2].done.quarantine]
    assert lost(job)[0].series == 12


def test_a_torn_line_and_foreign_lines_are_left_out(tmp_path) -> None:
    folder = made(tmp_path / "out", 2, 4)
    with open(folder / NAME, "a") as file:
        file.write('{"kind": "shard"}\n{"kind": "shard", "number": "a"}\n[1]\n{"kind": "shard", "sta')
    job = read(folder)
    assert [shard.done.number for shard in job.shards] == [0, 1]


def test_an_empty_manifest(tmp_path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / NAME).write_text("")
    job = read(tmp_path / "out")
    assert (job.shards, job.of, job.facts["series"], job.state) == ((), 0, 0, "stopped")
    assert job_charts.seconds(job) is None and job_charts.progress(job) is None and lost(job) == []


def test_charts(tmp_path) -> None:
    job = read(made(tmp_path / "out", 5, 5, bad=1))
    for chart in (job_charts.seconds(job), job_charts.progress(job)):
        assert chart is not None
        draw(chart, 3.5)
    assert "longest 4.50 s (shard 4)" in job_charts.seconds(job).alt  # type: ignore[union-attr]
    assert job_charts.progress(read(made(tmp_path / "old", 5, 5, started=False))) is None


def test_ten_thousand_shards(tmp_path) -> None:
    job = read(made(tmp_path / "out", 2, 2))
    shard = job.shards[0]
    shards = tuple(shard._replace(done=shard.done._replace(number=k, seconds=float(k == 7777))) for k in range(10_000))
    chart = job_charts.seconds(job._replace(shards=shards))
    assert chart is not None
    (points,) = chart.panels[0].marks
    assert len(points.x) <= 4000 and 1.0 in list(points.y)  # type: ignore[union-attr, arg-type]


def test_who_holds_a_folder(tmp_path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    folder = made(tmp_path / "out", 1, 2)
    with working(folder):
        assert (ledger.held(folder), ledger.held(other)) == (True, False)
    assert ledger.held(folder) is False
    assert ledger.held(tmp_path / "none") is None
    assert isinstance(read(folder), Job)
