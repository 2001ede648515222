"""A folder of parquet files, mapped: the same batches as in memory, made once, each window to one rank and worker."""

import os
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from forecast.data import cache, folder_module, gathering, mapped, stored
from forecast.data.card import Channel, load_card, save_card
from forecast.data.folder_module import FolderModule
from forecast.data.loader import BatchOrder, loader
from forecast.data.module import SeriesModule
from forecast.data.recipe import SCALER, Recipe
from forecast.data.scale import Scaler
from forecast.data.shuffle import permute
from forecast.errors import ArtifactError, DataError, UsageError

SMALL: dict[str, Any] = {"context": 24, "horizon": 6, "batch_size": 16}


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several buckets, blocks and calls for what is a handful of rows."""
    monkeypatch.setattr(gathering, "BUCKET", 500)
    monkeypatch.setattr(stored, "BLOCK", 400)
    monkeypatch.setattr(mapped, "RESIDENT", 1000)


def panel(count: int = 12, step: str = "h", share: float = 0.0, seed: int = 0) -> pl.DataFrame:
    """Series of unequal length and start, `share` of their rows missing."""
    rng = np.random.default_rng(seed)
    found = []
    for i in range(count):
        n = int(rng.integers(60, 140))
        time = np.datetime64("2024-01-01", step) + rng.integers(0, 50) + np.arange(n)
        values = {name: rng.normal(i, 1 + i, n) for name in ("y", "x")}
        table = pl.DataFrame({"unique_id": [f"s{i}"] * n, "ds": time.astype("datetime64[us]"), **values})
        kept = np.concatenate([[True], rng.random(n - 2) >= share, [True]])
        found.append(table.filter(pl.Series(kept)))
    return pl.concat(found)


def written(frame: pl.DataFrame, place: Path, files: int = 3) -> Path:
    """The rows in that order, in several files."""
    place.mkdir(parents=True)
    size = -(-frame.height // files)
    for i in range(files):
        frame[i * size : (i + 1) * size].write_parquet(place / f"{i}.parquet")
    return place


def both(frame: pl.DataFrame, place: Path, rows: pl.DataFrame | None = None, **changes: Any) -> tuple[Any, Any]:
    """The module in memory of `frame`, and that of a folder of the same rows, in the order of `rows`."""
    frame.write_parquet(place / "one.parquet")
    folder = written(frame if rows is None else rows, place / "many")
    words = {**SMALL, **changes}
    one = SeriesModule(path=str(place / "one.parquet"), **words).prepare()
    return one, FolderModule(path=str(folder), **words).prepare()


def same(one: SeriesModule, many: SeriesModule) -> None:
    rng = np.random.default_rng(0)
    for part in ("train", "val", "test"):
        a, b = one.dataset(part), many.dataset(part)
        assert len(a) == len(b)
        numbers = rng.permutation(len(a))[:150]
        for name, x, y in zip(a[numbers]._fields, a[numbers], b[numbers], strict=True):
            assert (x is None and y is None) or (x.dtype == y.dtype and torch.equal(x, y)), (part, name)
    assert np.array_equal(one.scaler.mean, many.scaler.mean) and np.array_equal(one.scaler.std, many.scaler.std)
    assert list(one.series.ids) == list(many.series.ids) and one.spec == many.spec


@pytest.mark.parametrize(
    ("step", "share", "changes"),
    [
        ("h", 0.0, {}),
        ("h", 0.05, {"gaps": "fill", "scale": "mean"}),
        ("h", 0.05, {"gaps": "mask", "scale": "none", "target": ["x"], "past": ["y"], "weight": "scale"}),
        ("h", 0.0, {"target": "x", "past": "rest", "stride": 3}),
        ("D", 0.05, {"gaps": "mask", "min_context": 3, "holidays": "DE"}),
        (
            "D", 0.05,
            {"gaps": "fill", "zone": "Europe/Berlin", "splits": {"val": "2024-02-20", "test": "2024-03-10"},
             "min_context": 2},
        ),
    ],
)  # fmt: skip
@pytest.mark.parametrize("mixed", [False, True])
def test_batches_are_those_of_a_table_in_memory(
    step: str, share: float, changes: dict[str, Any], mixed: bool, tmp_path: Path
) -> None:
    """To the bit, whether rows come by series or in any order."""
    frame, rows = panel(step=step, share=share), None
    if mixed:
        rows = frame[np.random.default_rng(1).permutation(frame.height)]
        ids = pl.DataFrame({"unique_id": rows["unique_id"].unique(maintain_order=True)})
        frame = ids.join(frame, on="unique_id", how="left", maintain_order="left_right")
    one, many = both(frame, tmp_path, rows, **changes)
    same(one, many)
    held = many.sampled()
    same(one, held)
    for field in ("time", "values", "clock"):
        np.testing.assert_array_equal(getattr(held.series, field), getattr(one.series, field))
    np.testing.assert_array_equal(held.observed, one.observed)
    np.testing.assert_array_equal(many.series.time[:], one.series.time)
    assert one.where(next(iter(one.train_dataloader()))) == many.where(next(iter(many.train_dataloader())))


def test_clocks_that_differ_have_no_calendar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mapped, "CALENDAR", 0)
    one, many = both(panel(share=0.1), tmp_path, gaps="mask", min_context=3)
    assert many.gather.calendar is None
    same(one, many)


def test_a_midnight_that_a_clock_shows_twice(tmp_path: Path) -> None:
    """Stamps with an offset may stand on the later showing, which first and step do not say."""
    days = np.datetime64("2024-10-20T23:30", "us") + np.arange(90) * np.timedelta64(1, "D")
    local = pl.Series(days).dt.replace_time_zone("Europe/Berlin")
    night = pl.Series(days - np.timedelta64(21, "h")).dt.replace_time_zone("Europe/Berlin", ambiguous="latest")
    frame = pl.concat(
        pl.DataFrame({"unique_id": [name] * 90, "ds": time, "y": np.random.default_rng(0).normal(0, 1, 90)})
        for name, time in (("a", local), ("b", night))
    )
    one, many = both(frame, tmp_path, zone="Europe/Berlin", freq="D")
    assert many.stored.odd is not None
    same(one, many)
    np.testing.assert_array_equal(many.series.time[:], one.series.time)


def test_paths_are_columns_and_small_numbers_stay_small(tmp_path: Path) -> None:
    """unique_id=NAME/part.parquet; other keys are no channels; float32 takes half the room and says the same."""
    frame = panel(5).with_columns(pl.col("y", "x").cast(pl.Float32))
    for (name,), rows in frame.group_by("unique_id", maintain_order=True):
        place = tmp_path / "many" / "year=2024" / f"unique_id={name}"
        place.mkdir(parents=True)
        rows.drop("unique_id").write_parquet(place / "part.parquet")
        (place / "_SUCCESS").touch()
    frame.write_parquet(tmp_path / "one.parquet")
    one = SeriesModule(path=str(tmp_path / "one.parquet"), **SMALL).prepare()
    many = FolderModule(path=str(tmp_path / "many"), **SMALL).prepare()
    assert many.stored.facts.dtype == "float32" and many.spec.channels == ("y", "x")
    same(one, many)


# The cache ------------------------------------------------------------------------------------------------------------


def test_the_cache_is_made_once_and_again_when_a_file_changes(tmp_path: Path) -> None:
    place = written(panel(), tmp_path / "many")
    first = FolderModule(path=str(place), **SMALL).prepare()
    assert "checked and written to" in " ".join(first.findings)
    (kept,) = [p for p in (tmp_path / "many.cache").iterdir() if p.is_dir()]
    values = (kept / "values.bin").stat().st_mtime_ns
    other = FolderModule(
        path=str(place), **{**SMALL, "context": 12, "splits": {"train": 0.5, "val": 0.25, "test": 0.25}}
    )
    assert f"as in {kept}" in " ".join(other.prepare().findings)
    assert (kept / "values.bin").stat().st_mtime_ns == values
    frame = pl.read_parquet(place / "2.parquet")
    frame.with_columns(pl.col("y") + 1).write_parquet(place / "2.parquet")
    os.utime(place / "2.parquet", ns=(1, 1))
    (tmp_path / "many.cache" / ".left.1.tmp").mkdir()  # of a process that was killed
    again = FolderModule(path=str(place), **SMALL).prepare()
    assert again.scaler.mean[-1, 0] == pytest.approx(first.scaler.mean[-1, 0] + 1)
    assert (
        [p.name for p in (tmp_path / "many.cache").iterdir() if p.is_dir()] == [again.stored.place.name] != [kept.name]
    )
    elsewhere = FolderModule(path=str(place), cache=str(tmp_path / "c"), **SMALL).prepare()
    assert elsewhere.stored.place.parent == tmp_path / "c"


def test_a_kill_leaves_nothing_that_is_taken_for_a_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = written(panel(), tmp_path / "many")
    with monkeypatch.context() as patch:
        patch.setattr(cache.Writer, "_close", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            FolderModule(path=str(place), **SMALL).prepare()
    assert [p.name for p in (tmp_path / "many.cache").iterdir()] == [".lock"]
    FolderModule(path=str(place), **SMALL).prepare()


@pytest.mark.parametrize("name", ["facts.json", "series.arrow", "values.bin", "statistics"])
def test_a_damaged_cache_is_told(tmp_path: Path, name: str) -> None:
    place = written(panel(), tmp_path / "many")
    kept = FolderModule(path=str(place), **SMALL).prepare().stored.place
    file = next(p for p in kept.iterdir() if p.name.startswith(name))
    file.write_bytes(file.read_bytes()[:-50])
    with pytest.raises(DataError, match=r"the cache .* is damaged: .*remove it: the next training makes it again"):
        FolderModule(path=str(place), **SMALL).prepare()


# The order of windows -------------------------------------------------------------------------------------------------


def test_a_permutation_without_a_list() -> None:
    for n in (1, 2, 3, 16, 17, 1000):
        assert sorted(permute(np.arange(n), n, 7).tolist()) == list(range(n))
    order = permute(np.arange(50_000), 50_000, 3)
    assert (
        abs(np.corrcoef(order, np.arange(50_000))[0, 1]) < 0.02 and abs(np.corrcoef(order[1:], order[:-1])[0, 1]) < 0.02
    )
    assert not np.array_equal(order, permute(np.arange(50_000), 50_000, 4))


@pytest.mark.parametrize("until", [None, np.array([0, 500, 500, 503, 1003])])
def test_an_order_that_is_no_list(until: Any) -> None:
    """Every window (or series) as often as in a list, a function of seed and epoch, resumable, each to one rank."""

    def order(epoch: int = 0, skip: int = 0, **changes: Any) -> list[Any]:
        made = BatchOrder(1003, 10, shuffle=True, seed=5, until=until, listed=0, **changes)
        made.set_epoch(epoch, skip)
        return list(made)

    whole = order()
    drawn = np.concatenate(whole)
    if until is None:
        assert sorted(drawn.tolist()) == list(range(1003))
    else:
        each = np.bincount(np.searchsorted(until, drawn, side="right") - 1, minlength=4)
        assert each[1] == 0 and max(each[[0, 2, 3]]) - min(each[[0, 2, 3]]) <= 1
        assert len(set(drawn[drawn < 500].tolist())) == (drawn < 500).sum()  # none twice before all were drawn
    assert not np.array_equal(drawn, np.concatenate(order(epoch=1)))
    assert all(np.array_equal(a, b) for a, b in zip(order(skip=70), whole[70:], strict=True))
    ranks = [order(rank=rank, world=3) for rank in range(3)]
    assert [len(each) for each in ranks] == [34, 34, 34]
    turns = [batch for some in zip(*ranks, strict=True) for batch in some]
    assert all(np.array_equal(a, b) for a, b in zip(turns, whole, strict=False))


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.long)])  # each imports torch
def test_ranks_and_workers_share_the_windows(workers: int, tmp_path: Path) -> None:
    """Two ranks of worker processes each: every window once."""
    one, many = both(panel(6), tmp_path)
    data = many.dataset("train")
    clone = pickle.loads(pickle.dumps(data))
    assert clone.gather.rows.file is None and torch.equal(clone[np.arange(3)].past, data[np.arange(3)].past)
    seen: list[Any] = []
    for rank in range(2):
        batches = list(loader(clone, 16, shuffle=False, rank=rank, world=2, workers=workers))
        alone = list(loader(data, 16, shuffle=False, rank=rank, world=2))
        assert all(torch.equal(a.past, b.past) for a, b in zip(batches, alone, strict=True))
        seen += [batch.origin for batch in batches]
    origin, _ = one.windows("train").at(np.arange(len(one.windows("train"))))
    assert sorted(torch.cat(seen).tolist()) == sorted(origin.tolist())


# What is scored of too many series; what a run remembers of them ------------------------------------------------------


def test_some_of_too_many_series(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, many = both(panel(30, share=0.05), tmp_path, gaps="mask")
    monkeypatch.setattr(folder_module, "SAMPLE", 700)
    held = many.sampled()
    assert 1 < len(held.series.ids) < 30 and held.series.start[-1] <= 700
    number = np.array([one.series.ids.index(name) for name in held.series.ids])
    a, b = held.windows("test"), one.windows("test")
    batch = held.gather(*(torch.from_numpy(part) for part in a.at(np.arange(len(a)))))
    wanted = one.gather(*(torch.from_numpy(part) for part in b.at(np.arange(len(b)))))
    mine = np.isin(wanted.series.numpy(), number)
    assert torch.equal(batch.past, wanted.past[mine]) and torch.equal(batch.future_clock, wanted.future_clock[mine])
    assert held.sampled() is held
    blocks = [(first, block.values, ranges) for first, block, ranges in many.blocks("train")]
    np.testing.assert_array_equal(np.concatenate([values for _, values, _ in blocks]), one.series.values)
    np.testing.assert_array_equal(np.concatenate([first + ranges for first, _, ranges in blocks]), one.split.train)


def test_a_record_of_very_many_series(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The scales lie beside it, and another table is scaled by them as by the record itself."""
    one, many = both(panel(), tmp_path)
    monkeypatch.setattr(folder_module, "INLINE", 5)
    state = many.state()
    assert state["scaler"] == {"kind": "standard", "file": SCALER} and len(str(state)) < 5000
    many.scaler.write(tmp_path / SCALER)
    recipe, whole = Recipe.from_state(state, lambda name: tmp_path / name), Recipe.from_state(one.state())
    new = panel(seed=3).with_columns(pl.col("unique_id").replace({"s4": "new"}))
    a, b = recipe.future(recipe.read(new)), whole.future(whole.read(new))
    assert a.unknown == b.unknown == ["new"]
    np.testing.assert_array_equal(a.scaler.mean, b.scaler.mean)
    np.testing.assert_array_equal(a.scaler.std, b.scaler.std)
    with pytest.raises(ArtifactError, match="record is damaged"):
        Recipe.from_state(state)
    Scaler(("a",), np.zeros((1, 1)), np.full((1, 1), np.nan)).write(tmp_path / SCALER)
    with pytest.raises(ArtifactError, match="expected finite numbers"):
        Recipe.from_state(state, lambda name: tmp_path / name)
    (tmp_path / SCALER).write_bytes(b"PAR1")
    with pytest.raises(ArtifactError, match=r"scaler\.parquet cannot be read"):
        Recipe.from_state(state, lambda name: tmp_path / name)


# Faults ---------------------------------------------------------------------------------------------------------------


def module(path: Path, **changes: Any) -> FolderModule:
    return FolderModule(path=str(path), **{**SMALL, **changes}).prepare()


def changed(place: Path, name: str, change: Any) -> Path:
    file = place / f"{name}.parquet"
    change(pl.read_parquet(file)).write_parquet(file)
    return place


def test_a_fault_names_its_file_and_row(tmp_path: Path) -> None:
    """As read.py says it of a single file."""
    frame = panel(4)
    kinds: dict[str, tuple[Any, str]] = {
        "twice": (
            lambda f: pl.concat([f, f[7:8].with_columns(pl.col("y") + 1)]),
            r"2\.parquet: rows 8 and \d+, column 'ds': .* stands twice in series 's\d' with different values",
        ),
        "grid": (
            lambda f: f.with_columns(pl.when(pl.int_range(pl.len()) == 5).then(pl.col("ds") + pl.duration(minutes=7))
                                     .otherwise("ds").alias("ds")),
            r"2\.parquet: row 6, column 'ds': .*07 is not a whole number of steps",
        ),
        "name": (
            lambda f: f.with_columns(pl.when(pl.int_range(pl.len()) == 3).then(None).otherwise("unique_id")
                                     .alias("unique_id")),
            r"2\.parquet: row 4, column 'unique_id': the name of the series is empty",
        ),
        "infinite": (
            lambda f: f.with_columns(pl.when(pl.int_range(pl.len()) == 3).then(float("inf")).otherwise("y").alias("y")),
            r"2\.parquet: row 4, column 'y': the value is infinite",
        ),
        "gap": (
            lambda f: f.filter(pl.int_range(pl.len()) != 5), r"series 's\d' has a gap of 1 step from .*data\.gaps=mask",
        ),
        "column": (lambda f: f.drop("x"), r"2\.parquet has no column 'x'; found unique_id, ds, y"),
        "text": (
            lambda f: f.with_columns(pl.col("ds").dt.to_string()),
            r"2\.parquet: column 'ds' holds (large_)?string(_view)? values; expected stamps",
        ),
        "zone": (
            lambda f: f.with_columns(pl.col("ds").dt.replace_time_zone("UTC")),
            r"column 'ds' has the zone none in 0\.parquet and UTC in 2\.parquet; expected one zone",
        ),
    }  # fmt: skip
    for name, (change, message) in kinds.items():
        place = changed(written(frame, tmp_path / name), "2", change)
        with pytest.raises(DataError, match=message) as fault:
            module(place, target=["y", "x"], freq="h")
        assert "\n" not in str(fault.value)
        assert not [p for p in (tmp_path / f"{name}.cache").glob("*") if p.is_dir()]


def test_a_stamp_in_two_files_names_both(tmp_path: Path) -> None:
    place = written(panel(4), tmp_path / "many")
    pl.read_parquet(place / "0.parquet")[:1].with_columns(pl.col("y") + 1).write_parquet(place / "9.parquet")
    with pytest.raises(DataError, match=r"0\.parquet: row 1 and row 1 of 9\.parquet, column 'ds': .* stands twice"):
        module(place)


def test_folders_that_hold_no_series(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"neither data\.card nor"):
        FolderModule(**SMALL)
    with pytest.raises(UsageError, match=r"data\.path is not set; expected a folder"):
        FolderModule(card="electricity", **SMALL)
    with pytest.raises(DataError, match="does not exist; expected a folder of parquet files"):
        module(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no parquet file with rows"):
        module(tmp_path / "empty")
    place = written(panel(4), tmp_path / "many")
    with pytest.raises(UsageError, match=r"data\.weight is 'x'; expected scale with data=folder"):
        module(place, weight="x")
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=r"cannot be written: .*set data\.cache=DIR"):
        module(place, cache=str(tmp_path / "file" / "c"))
    save_card(
        replace(load_card("electricity"), id="unique_id", channels=(Channel("y"), Channel("x", "known_future"))),
        tmp_path / "card.yaml",
    )
    with pytest.raises(UsageError, match=r"the card 'electricity' has covariates; .*use data=series"):
        module(place, card=str(tmp_path / "card.yaml"))
    with pytest.raises(DataError, match=r"column 'y' has no value in any row"):
        module(written(panel(4).with_columns(y=None), tmp_path / "nothing"), target=["y", "x"], gaps="mask")
    far = panel(4).with_columns(pl.when(pl.int_range(pl.len()) == 60).then(1e30).otherwise("y").alias("y"))
    with pytest.raises(DataError, match=r"channel 'y' of series 's0' has values from .* when scaled"):
        module(written(far, tmp_path / "far"), splits={"train": 40, "val": 10, "test": 10})
    (place / "3.parquet").touch()
    with pytest.raises(DataError, match=r"3\.parquet is empty; expected a table"):
        module(place)
    (place / "3.parquet").write_bytes(b"PAR1....PAR1")
    with pytest.raises(DataError, match=r"3\.parquet cannot be read: .*expected a parquet table"):
        module(place)
    alone = panel(1).drop("unique_id")
    with pytest.raises(DataError, match=r"no column of .* is known to name the series; .*set data\.id=COLUMN"):
        module(written(alone, tmp_path / "alone"))
