"""A folder in, a folder out: all layouts and tasks, what is done again, what is not, what is told."""

import gzip
import json
import os
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import polars.testing
import pytest

from forecast.artifacts import Run
from forecast.errors import ArtifactError, DataError, RunError, UsageError
from forecast.inference.frame import forecast_frame, load
from forecast.jobs.batch import Batch
from forecast.jobs.facts import text_of
from forecast.jobs.job import job_of
from forecast.jobs.local import Local
from forecast.jobs.plan import Limits
from forecast.jobs.shard import conserved
from forecast.ledger import NAME, SUCCESS, lines
from tests.jobs.made import class_table, contents, event_table, names, parts, refused, table

ASKED = {
    "layout": "long", "columns": "forecast", "now": None, "horizon": None, "rename": None, "batch_size": None,
    "short": None, "on_bad": "quarantine",
}  # fmt: skip
SMALL = Limits(200, 1 << 20)  # ten series of 20 rows


def batch(run: Path, source: Path, output: Path, limits: Limits = SMALL, notes=None, **asked) -> Batch:
    job, digest = job_of(Run(run), {**ASKED, "output": str(output), **asked}, None)
    return Batch(job, digest, source, limits, (notes if notes is not None else []).append)


def run_job(run: Path, source: Path, output: Path, limits: Limits = SMALL, again=False, notes=None, **asked):
    """The facts of a job, and how many shards were worked on; in this process."""
    made = batch(run, source, output, limits, notes, **asked)
    try:
        work = made.begin(again)
        done = list(made.run(work, Local(0)))
        return made.finish(work, done), done
    finally:
        made.close()


def whole(run: Path, frame: pl.DataFrame) -> pl.DataFrame:
    """What `forecast_frame` says of all at once."""
    return forecast_frame(frame, load(Run(run))).filter(pl.col("status") != "quarantined").sort("unique_id")


def same(output: Path, expected: pl.DataFrame, exact: bool = True) -> None:
    found = parts(output)
    assert set(expected.columns) - {"detail"} <= set(found.columns)
    keys = [name for name in ("unique_id", "step") if name in found.columns]
    columns = [name for name in expected.columns if name != "detail"]
    pl.testing.assert_frame_equal(
        found.sort(keys).select(columns), expected.sort(keys).select(columns), check_exact=exact
    )


def scattered(frame: pl.DataFrame, folder: Path) -> None:
    """Files by date: each series in each."""
    for number, part in enumerate(frame.with_columns(day=pl.col("ds").dt.date()).partition_by("day")):
        part.drop("day").write_parquet(folder / f"day-{number}.parquet")


def by_series(frame: pl.DataFrame, folder: Path) -> None:
    """Hive partitions, the id in the folder's name only."""
    for (name,), part in frame.partition_by("id", as_dict=True).items():
        (folder / f"id={name}").mkdir()
        part.drop("id").write_parquet(folder / f"id={name}" / "0.parquet")


def groups(frame: pl.DataFrame, folder: Path) -> None:
    """Sorted, row groups that end anywhere."""
    frame.write_parquet(folder / "all.parquet", row_group_size=33)


def shuffled(frame: pl.DataFrame, folder: Path) -> None:
    frame.sample(fraction=1, shuffle=True, seed=1).write_parquet(folder / "all.parquet", row_group_size=33)


def modulo(frame: pl.DataFrame, folder: Path) -> None:
    """Files that share no id, none in order."""
    hashed = frame.with_columns(part=pl.col("id").str.slice(-1))
    for (part,), some in hashed.partition_by("part", as_dict=True).items():
        some.drop("part").write_csv(folder / f"{part}.csv")


def packed(frame: pl.DataFrame, folder: Path) -> None:
    for number, part in enumerate(frame.iter_slices(130)):
        with gzip.open(folder / f"{number}.csv.gz", "wb") as file:
            part.write_csv(file)


def nested(frame: pl.DataFrame, folder: Path) -> None:
    """Deep folders, several formats, notes of other programs between."""
    (folder / "x" / "y").mkdir(parents=True)
    (folder / "_SUCCESS").write_text("")
    (folder / ".hidden.csv").write_text("nothing")
    (folder / "readme.txt").write_text("nothing")
    half = frame.height // 2 // 20 * 20
    frame[:half].write_csv(folder / "x" / "y" / "0.csv")
    frame[half:].write_parquet(folder / "x" / "1.parquet")


SPREAD = (scattered, shuffled, packed, nested)  # these are brought together first


@pytest.mark.parametrize("layout", [scattered, by_series, groups, shuffled, modulo, packed, nested])
def test_all_layouts_give_what_one_table_gives(series, tmp_path, layout) -> None:
    rows = 100 if layout in SPREAD else 30
    frame, notes = table(names(25), rows), list[str]()
    (tmp_path / "in").mkdir()
    layout(frame, tmp_path / "in")
    facts, done = run_job(series, tmp_path / "in", tmp_path / "out", notes=notes)
    assert (facts["series"], facts["rows_in"], facts["status"]) == (25, 25 * rows, {"forecast": 25})
    assert len(done) >= 3
    assert any("are spread into buckets" in note for note in notes) == (layout in SPREAD)
    assert not (tmp_path / "out" / ".work").exists()
    same(tmp_path / "out", whole(series, frame))
    facts, done = run_job(series, tmp_path / "in", tmp_path / "out")
    assert (facts["series"], done) == (25, [])


@pytest.mark.parametrize("files", [4, 12])
def test_a_shard_is_no_larger_where_files_hold_every_nth_series(series, tmp_path, files) -> None:
    """As programs leave them that part tables by a hash: the ranges of ids meet, the ids do not."""
    frame = table(names(60), 20)
    (tmp_path / "in").mkdir()
    number = frame["id"].rank("dense") % files
    for n in range(files):
        frame.filter(number == n).write_parquet(tmp_path / "in" / f"{n}.parquet")
    _, done = run_job(series, tmp_path / "in", tmp_path / "out")
    assert max(one.series for one in done) <= 2 * SMALL.rows / 20
    same(tmp_path / "out", whole(series, frame))


def test_a_wide_table_is_cut_by_columns(series, tmp_path) -> None:
    frame = table(names(25), 30)
    wide = frame.pivot("id", index="ds", values="y")
    wide = wide.with_columns(
        pl.when(pl.int_range(pl.len()) > 9).then("s0003").alias("s0003"), void=pl.lit(None, pl.Float64)
    )
    wide.write_csv(tmp_path / "w.csv")
    facts, done = run_job(series, tmp_path / "w.csv", tmp_path / "out", layout="wide")
    assert (facts["series"], facts["status"]) == (26, {"forecast": 25, "quarantined": 1})
    assert refused(tmp_path / "out")["unique_id"].to_list() == ["void"]
    assert len(done) > 3
    late = frame.filter((pl.col("id") != "s0003") | (pl.col("ds") > frame["ds"][9]))
    same(tmp_path / "out", whole(series, late))


def test_columns_are_renamed_also_those_of_folders(series, tmp_path) -> None:
    frame = table(names(4), 20)
    for (name,), part in frame.partition_by("id", as_dict=True).items():
        (tmp_path / "in" / f"unique_id={name}").mkdir(parents=True)
        part.select(when="ds", value="y", other="y").write_csv(tmp_path / "in" / f"unique_id={name}" / "0.csv")
    rename = {"unique_id": "id", "when": "ds", "value": "y"}
    facts, _ = run_job(series, tmp_path / "in", tmp_path / "out", rename=rename)
    assert facts["status"] == {"forecast": 4}
    same(tmp_path / "out", whole(series, frame))
    with pytest.raises(
        UsageError, match=r"^rename names 'wen', which is no column of the input; found other, unique_id"
    ):
        batch(series, tmp_path / "in", tmp_path / "other", rename={**rename, "wen": "x"})
    with pytest.raises(
        DataError, match=r"^no file of 4 can be used; .*0.csv has no column 'id'; found when, value, other, unique_id; "
    ):
        batch(series, tmp_path / "in", tmp_path / "other")


def test_other_tasks(events, classes, tmp_path) -> None:
    for run, frame, id in ((events, event_table(25), "who"), (classes, class_table(24).drop("state"), "pump")):
        source, output = tmp_path / f"{id}.parquet", tmp_path / id
        frame.write_parquet(source, row_group_size=50)
        facts, done = run_job(run, source, output)
        assert facts["status"] == {"forecast": frame[id].n_unique()}
        assert len(done) > 1
        same(output, whole(run, frame), exact=False)


def test_a_file_that_changes_redoes_its_shards_only(series, tmp_path) -> None:
    source, output = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    for number in range(6):
        table([f"{number}-{name}" for name in names(8)], 20, number).write_parquet(source / f"{number}.parquet")
    run_job(series, source, output)
    before, success = contents(output), (output / SUCCESS).read_bytes()
    for path in source.iterdir():  # touched is not changed
        os.utime(path, (1, 1))
    assert run_job(series, source, output)[1] == []
    table([f"3-{name}" for name in names(8)], 20, 99).write_parquet(source / "3.parquet")
    _, done = run_job(series, source, output)
    assert len(done) == 1
    after = contents(output)
    assert len(set(before) & set(after)) == len(before) - 1 == len(after) - 1
    assert all(after[name] == before[name] for name in set(before) & set(after))
    assert (output / SUCCESS).read_bytes() == success
    (source / "3.parquet").unlink()
    facts, done = run_job(series, source, output)
    assert (facts["series"], done) == (40, [])
    assert len(contents(output)) == len(before) - 1
    assert len(run_job(series, source, output, again=True)[1]) == 5


def test_other_settings_redo_all(series, tmp_path) -> None:
    table(names(25)).write_parquet(tmp_path / "f.parquet")
    run_job(series, tmp_path / "f.parquet", tmp_path / "out")
    facts, done = run_job(series, tmp_path / "f.parquet", tmp_path / "out", horizon=2)
    assert (facts["rows_out"], len(done)) == (50, len(contents(tmp_path / "out")))
    run_job(series, tmp_path / "f.parquet", tmp_path / "out", columns="nixtla")
    assert parts(tmp_path / "out").columns == ["unique_id", "ds", "linear", "linear-lo-90", "linear-hi-90"]


def test_a_lost_part_and_a_torn_line_are_made_again(series, tmp_path) -> None:
    table(names(25)).write_parquet(tmp_path / "f.parquet")
    output = tmp_path / "out"
    run_job(series, tmp_path / "f.parquet", output)
    before = contents(output)
    (output / sorted(before)[0]).unlink()
    text = (output / NAME).read_text()
    (output / NAME).write_text(text[:-40])
    (output / ".part-00000-x.parquet.1.tmp").write_text("half")
    _, done = run_job(series, tmp_path / "f.parquet", output)
    assert len(done) == 2
    assert contents(output) == before
    assert not list(output.glob(".*.tmp"))


def test_bad_series_are_set_aside_and_counted(series, tmp_path) -> None:
    frame = table(names(12))
    short = table(["short"], 5)
    broken = table(["twice"]).with_columns(ds=pl.lit(frame["ds"][0]))
    source = tmp_path / "in"
    source.mkdir()
    pl.concat([frame, short, broken]).write_parquet(source / "f.parquet")
    (source / "torn.parquet").write_bytes((source / "f.parquet").read_bytes()[:-10])
    (source / "words.csv").write_text("id,ds\nx,2024-01-01\n")
    (source / "rows.csv").write_text("id,ds,y\nx,2024-01-01,1\nx,2\n")
    facts, _ = run_job(series, source, tmp_path / "out")
    assert facts["status"] == {"forecast": 12, "quarantined": 5}
    assert facts["reasons"] == {"duplicate_ds": 1, "file_corrupt": 3, "short": 1}
    bad = refused(tmp_path / "out").sort("reason", "detail")
    assert bad.columns == ["unique_id", "status", "reason", "detail"]
    assert bad["unique_id"].to_list() == ["twice", None, None, None, "short"]
    facts, _ = run_job(series, source, tmp_path / "fallback", on_bad="fallback")
    assert facts["status"]["fallback"] >= 1
    assert sum(facts["status"].values()) == facts["series"] == 17
    with pytest.raises(DataError, match="on_bad=error|^series "):
        run_job(series, source, tmp_path / "error", on_bad="error")


def test_a_file_damaged_inside_is_left_out_of_the_buckets(series, tmp_path) -> None:
    source = tmp_path / "in"
    source.mkdir()
    frame = table(names(25), 96)
    scattered(frame, source)
    raw = bytearray((source / "day-3.parquet").read_bytes())
    at = len(raw) // 3
    raw[at : at + 50] = bytes(50)
    (source / "day-3.parquet").write_bytes(raw)
    notes: list[str] = []
    facts, _ = run_job(series, source, tmp_path / "out", notes=notes)
    assert facts["reasons"] == {"file_corrupt": 1}
    assert facts["status"]["forecast"] == 25
    same(tmp_path / "out", whole(series, frame.filter(pl.col("ds").dt.day() < 4)))
    assert run_job(series, source, tmp_path / "out")[1] == []


def test_the_output_is_no_other_folder_and_not_the_input(series, tmp_path) -> None:
    table().write_parquet(tmp_path / "f.parquet")
    with pytest.raises(UsageError, match=r"is in the input"):
        batch(series, tmp_path, tmp_path / "out")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    with pytest.raises(UsageError, match=r"holds something else than a job's output"):
        batch(series, tmp_path / "f.parquet", tmp_path / "mine")
    one = batch(series, tmp_path / "f.parquet", tmp_path / "out")
    one.begin()
    with pytest.raises(UsageError, match="is being written by another job"):
        batch(series, tmp_path / "f.parquet", tmp_path / "out").begin()
    one.close()


def test_what_the_manifest_says(series, tmp_path) -> None:
    table(names(25)).write_parquet(tmp_path / "f.parquet")
    run_job(series, tmp_path / "f.parquet", tmp_path / "out")
    found = lines(tmp_path / "out" / NAME)
    run_job(series, tmp_path / "f.parquet", tmp_path / "out")
    assert lines(tmp_path / "out" / NAME) == found
    assert [line["kind"] for line in found[:2]] == ["job", "input"]
    assert found[0]["run"] == series.name
    assert {"started", "input", "engine"} <= set(found[0]) and found[0]["todo"] == found[0]["shards"]
    assert {"name", "size", "mtime_ns", "sha256"} <= set(found[1])
    shard = found[-1]
    assert (shard["state"], shard["inputs"]) == ("done", ["f.parquet"])
    assert {"key", "rows_in", "rows_out", "status", "reasons", "seconds", "at", "run", "config"} <= set(shard)
    assert found[0]["started"] <= shard["at"]
    held = json.loads((tmp_path / "out" / SUCCESS).read_text())
    assert held["series"] == held["status"]["forecast"] == 25
    made = parts(tmp_path / "out")
    assert made["model"].unique().to_list() == ["linear"]
    assert made["run_id"].unique().to_list() == [series.name]
    assert made["model_version"].unique().to_list() == [found[0]["run_sha256"][:12]]
    assert np.isfinite(made["y_hat"].to_numpy()).all()


def test_rows_and_series_are_counted(series, tmp_path) -> None:
    table(names(25)).write_parquet(tmp_path / "f.parquet")
    made = batch(series, tmp_path / "f.parquet", tmp_path / "out")
    work = made.begin()
    done = list(made.run(work, Local(0)))
    with pytest.raises(RunError, match="500 rows stood in the input and 499 were found"):
        made.finish(work, [done[0]._replace(rows_in=done[0].rows_in - 1), *done[1:]])
    with pytest.raises(RunError, match="24 series stood in the input and 25 were found"):
        made.finish(work, [done[0]._replace(series=done[0].series - 1), *done[1:]])
    with pytest.raises(RunError, match="series stood in the input"):
        made.finish(work, done[1:])
    assert not (tmp_path / "out" / SUCCESS).exists()
    made.close()
    with pytest.raises(RunError, match="shard 1: 3 series went in and 2 came out"):
        conserved(work.shards[1], 3, {"forecast": 2})


def test_columns_of_another_kind_are_refused(series, tmp_path) -> None:
    """A file of the wrong types ends no job; of two kinds that can be read, both are."""
    source = tmp_path / "in"
    source.mkdir()
    frame = table(names(4))
    frame.write_parquet(source / "good.parquet")
    table(["p", "q"]).write_csv(source / "text.csv")
    table(["w"]).with_columns(pl.col("ds").dt.replace_time_zone("UTC")).write_parquet(source / "zone.parquet")
    table(["l"]).with_columns(y=pl.concat_list("y")).write_parquet(source / "lists.parquet")
    table(["t"]).with_columns(ds=pl.col("ds").dt.time()).write_parquet(source / "times.parquet")
    table(["n"]).with_columns(id=pl.concat_list("id")).write_parquet(source / "names.parquet")
    facts, _ = run_job(series, source, tmp_path / "out")
    assert facts["status"] == {"forecast": 7, "quarantined": 3}
    assert facts["reasons"] == {"file_corrupt": 3}
    with pytest.raises(DataError, match=r"column 'id' holds list\(string\) values; expected names of series"):
        text_of(pl.Series("id", [["a"]]))


def test_a_bad_file_ends_the_job_where_that_is_asked(series, tmp_path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.csv").write_text("id,ds,y\nx,2024-01-01,1\nx,2\n")
    table().write_csv(tmp_path / "in" / "b.csv")
    with pytest.raises(DataError, match=r"a.csv.*; with on_bad=error each file must be readable; repair it"):
        run_job(series, tmp_path / "in", tmp_path / "out", on_bad="error")


def test_what_cannot_be_written_is_told(series, tmp_path, monkeypatch) -> None:
    scattered(table(names(25), 30), tmp_path)

    def full(self, *_, **__):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(pl.DataFrame, "write_parquet", full)
        with pytest.raises(RunError, match="parquet cannot be written: No space left on device; make room"):
            run_job(series, tmp_path / "day-0.parquet", tmp_path / "one")
    with monkeypatch.context() as patch:
        patch.setattr("forecast.jobs.spread.Pour.flush", full)
        with pytest.raises(RunError, match="tmp cannot be written: No space left on device; make room"):
            (tmp_path / "in").mkdir()
            scattered(table(names(25), 100), tmp_path / "in")
            run_job(series, tmp_path / "in", tmp_path / "two")
    assert run_job(series, tmp_path / "in", tmp_path / "two")[0]["series"] == 25


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"columns": "nixtla"}, "columns=nixtla with this run; expected a run of series with one target"),
        ({"layout": "wide"}, "layout=wide with this run; a row of its tables holds more"),
        ({"now": "latest"}, "now=latest with an output that is a folder; a shard does not know the others"),
    ],
)
def test_what_means_nothing_is_refused(events, series, tmp_path, asked, said) -> None:
    with pytest.raises(UsageError, match=said):
        job_of(Run(events), {**ASKED, "output": str(tmp_path), **asked}, None)
    broken = tmp_path / "run"
    shutil.copytree(series, broken)
    (broken / "data.json").write_text("{}")
    (broken / "MANIFEST.json").unlink()
    with pytest.raises(ArtifactError, match="data.json is no data record of a run"):
        job_of(Run(broken), {**ASKED, "output": str(tmp_path)}, None)
