"""No series gets lost and none comes twice, whatever the input holds and however it is cut into files."""

import os
import tempfile
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from forecast.jobs.plan import Limits
from tests.jobs.made import parts, refused, started, table
from tests.jobs.test_job import run_job

CELLS = st.sampled_from(["1", "2.5", "-3", "", "inf", "nan", "x", "1e400"])
STEPS = st.integers(0, 30)
IDS = st.sampled_from(["a", "b", "c ", "d", "e", "f", "", "none", None, "Ä", "a,b"])
ROWS = st.lists(st.tuples(IDS, STEPS, CELLS), min_size=1, max_size=60)
ODD = st.dictionaries(st.integers(0, 5), st.sampled_from(["2024-13-01", "", "soon"]), max_size=2)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ROWS, ODD, st.lists(st.sampled_from("abdf"), unique=True), st.integers(1, 4), st.booleans())
def test_every_series_is_found_once(series, rows, odd, whole, cuts, small) -> None:
    stamps = [odd.get(at, f"2024-01-{1 + step // 24:02d} {step % 24:02d}:00") for at, (_, step, _) in enumerate(rows)]
    columns = {"id": [row[0] for row in rows], "ds": stamps, "y": [row[2] for row in rows]}
    dirty = pl.DataFrame(columns, schema=dict.fromkeys(columns, pl.String))
    good = table(whole, 20).with_columns(pl.col("ds").dt.to_string("%Y-%m-%d %H:%M"), pl.col("y").cast(pl.String))
    frame = pl.concat([dirty, good]) if whole else dirty
    with tempfile.TemporaryDirectory() as place:
        source = Path(place) / "in"
        source.mkdir()
        for number in range(cuts):
            part = frame.filter(pl.int_range(pl.len()) % cuts == number)
            if part.height and number % 2:
                part.write_csv(source / f"{number}.csv")
            elif part.height:
                part.write_parquet(source / f"{number}.parquet", row_group_size=7)
        facts, _ = run_job(series, source, Path(place) / "out", Limits(15 if small else 1000, 1 << 20))
        names = frame["id"].str.strip_chars()
        names = names.set(names.str.to_lowercase().is_in(["", "none", "null", "nan", "na", "n/a"]), None).unique()
        bad = refused(Path(place) / "out")
        made = parts(Path(place) / "out")["unique_id"].unique().to_list()
        aside = bad["unique_id"].to_list() if bad.height else []
        assert sorted(made + [name for name in aside if name]) == sorted(name for name in names if name is not None)
        assert facts["series"] == sum(facts["status"].values()) == len(made) + len(aside)


@pytest.mark.long
def test_memory_does_not_grow_with_the_input(series, tmp_path) -> None:
    """The peak RSS of the whole tree, of a folder and of one four times as large; both layouts of benchmarks/job.py."""
    from benchmarks.job import Watched

    peaks = {}
    for layout in ("sorted", "dates"):
        for files in (4, 16):
            source = tmp_path / f"{layout}{files}"
            source.mkdir()
            for number in range(files):
                some = [f"s{number if layout == 'sorted' else 0}-{at:04d}" for at in range(1000)]
                hours = pl.duration(hours=300 * number)
                frame = table(some, 300, number)
                frame = frame.with_columns(pl.col("ds") + hours) if layout == "dates" else frame
                frame.write_parquet(source / f"{number}.parquet")
            output = tmp_path / "out" / source.name
            process = started(f"run={series}", f"input={source}", f"output={output}", cwd=tmp_path)
            watched = Watched(process)
            said = process.communicate()
            peaks[layout, files] = watched.end()["peak_rss_mib"]
            assert process.returncode == 0, said
    assert max(peaks.values()) < 1536 * max(1, len(os.sched_getaffinity(0)) / 2), peaks
    assert all(peaks[layout, 16] < peaks[layout, 4] + 150 for layout in ("sorted", "dates")), peaks
