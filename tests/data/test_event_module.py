"""The events of a run: read or simulated, cut, coded, gathered; what a record remembers."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from forecast.data.event_extra import HARMONICS, Extra, periods_of
from forecast.data.event_loader import EventLoader
from forecast.data.event_module import EventModule
from forecast.data.event_recipe import EventRecipe
from forecast.errors import ArtifactError, DataError, UsageError

THREE = {
    "base": [0.2, 0.1, 0.05], "excite": [[0.3, 0.1, 0.0], [0.4, 0.2, 0.1], [0.0, 0.5, 0.2]], "decay": 2.0, "end": 20.0,
    "sequences": [40, 10, 20], "seed": 1,
}  # fmt: skip


def table(folder: Path, count: int = 12, **columns) -> str:
    """A file of `count` sequences of eight events, an hour and more apart."""
    rng = np.random.default_rng(0)
    gaps = rng.integers(60, 2000, (count, 8))
    start = np.datetime64("2024-01-01", "m")
    frame = pl.DataFrame({
        "who": np.repeat([f"c{i:02d}" for i in range(count)], 8),
        "at": (start + gaps.cumsum(1).reshape(-1)).astype("datetime64[us]"),
        "what": rng.choice(["buy", "look", "return"], count * 8),
        **columns,
    })  # fmt: skip
    path = folder / "shop.parquet"
    frame.write_parquet(path)
    return str(path)


def made(path: str, **words) -> EventModule:
    words.setdefault("splits", {"train": 0.7, "val": 0.1, "test": 0.2})
    return EventModule(path=path, id="who", time="at", mark="what", **words).prepare()


def test_a_file_is_inferred_and_told(tmp_path):
    data = made(table(tmp_path))
    assert data.spec.marks == ("buy", "look", "return")
    assert (data.spec.unit, data.spec.grid) == ("hour", pytest.approx(1 / 60))
    assert data.findings[0] == "shop: 8 train, 2 val, 2 test sequences, 3 marks, longest 8 events"
    assert any(line.startswith("inferred: id=who time=at mark=what unit=hour") for line in data.findings)
    assert data.targets == 56  # 8 × 7 in one batch
    gaps = data.split.train.events.gaps(0.0)[data.split.train.target]
    assert data.spec.log_mean == pytest.approx(np.log(gaps).mean())
    assert data.spec.most == gaps.max()


def test_a_record_reads_another_table_as_the_first(tmp_path):
    data = made(table(tmp_path, value=np.arange(96.0)), covariates="value", periods=["day"])
    recipe = EventRecipe.from_state(data.state())
    assert recipe.spec == data.spec
    assert recipe.to_state() == data.recipe.to_state()
    frame = pl.read_parquet(data.path).head(16)
    events = recipe.read(frame.to_pandas())
    assert events.marks == data.spec.marks
    notes: list[str] = []
    strange = frame.with_columns(pl.lit("steal").alias("what"))
    assert (recipe.read(strange, notes=notes).mark == 3).all()
    assert "marks that training did not have" not in notes and len(notes) == 1
    assert recipe.names([0, 3, 2]).to_list() == ["buy", None, "return"]
    time = data.card.time
    with pytest.raises(DataError, match=f"column '{time}' holds numbers; expected stamps, as in the training"):
        recipe.read(frame.with_columns(pl.lit(1.5).alias(time)))
    with pytest.raises(DataError, match=f"column '{time}' holds stamps; expected numbers, in {data.card.unit}s"):
        recipe._replace(stamps=False).read(frame)
    for change in ({"version": 9}, {"spec": {}}, {"card": {}}):
        with pytest.raises(ArtifactError, match=r"^[^\n]*$"):
            EventRecipe.from_state({**data.state(), **change})


def test_what_else_is_known_is_scaled_by_train_and_told_by_the_clock(tmp_path):
    value = np.arange(96.0)
    value[5] = np.nan
    data = made(table(tmp_path, value=value), covariates=["value"], periods=["day", 5.0])
    assert len(data.spec.extra) == 1 + 2 * 2 * HARMONICS
    extra = data.gather("train").extra
    assert extra is not None and extra.shape == (64, 13)
    train = data.split.train.events.beside
    assert train is not None
    assert extra[:, 0].mean().abs() < 1e-6 and extra[5, 0] == 0
    stamps = data.split.train.events.stamps
    hour = (stamps - stamps.astype("datetime64[D]")) / np.timedelta64(1, "h")
    np.testing.assert_allclose(extra[:, 1], np.sin(2 * np.pi * hour / 24), atol=1e-5)
    batch = next(iter(data.train_dataloader()))
    assert batch.extra is not None and batch.extra.shape == (8, 8, 13)
    ahead = data.recipe.ahead(data.split.train.events)(torch.tensor(data.split.train.events.time[:3]))
    assert (ahead[:, 0] == 0).all()
    torch.testing.assert_close(ahead[:, 1:], extra[:3, 1:])


def test_labels_are_any_number_of_marks_at_once(tmp_path):
    what = np.array(["a;b", "b", "c", "a; c"] * 24)
    path = table(tmp_path)
    pl.read_parquet(path).with_columns(pl.Series("what", what)).write_parquet(path)
    data = made(path, labels=";")
    assert data.spec.labels and data.spec.marks == ("a", "b", "c")
    batch = next(iter(data.val_dataloader()))
    assert batch.marks.dtype == torch.bool and batch.marks.shape[-1] == 3
    assert batch.marks[0, 0].tolist() == [True, True, False]
    assert data.recipe.joined(batch.marks[0].numpy()).to_list()[:2] == ["a;b", "b"]


def test_periods_are_named_or_numbers():
    assert periods_of(["day", 2.5], "hour") == (24.0, 2.5)
    for wrong in (["month"], ["day"], [0.0], [True]):
        with pytest.raises(DataError, match="expected day, week, year or a number"):
            periods_of(wrong, "hour" if wrong == ["month"] else "step")


def test_a_column_without_a_number_is_refused(tmp_path):
    with pytest.raises(DataError, match="column 'value' holds no number in train"):
        made(table(tmp_path, value=np.full(96, np.nan)), covariates="value")


def test_equal_times_without_a_grid_are_told_and_floored(tmp_path):
    frame = pl.DataFrame({"who": ["a"] * 20 + ["b"] * 20, "at": np.repeat([0.0, 0.3, 1.1, 4.0, 9.5], 8), "what": "x"})
    frame.write_parquet(tmp_path / "t.parquet")
    splits = {"val": 3.0, "test": 5.0}
    data = made(str(tmp_path / "t.parquet"), splits=splits)
    assert data.spec.floor == pytest.approx(0.3)
    assert any(line.startswith("gaps of 0 are scored as 0.3") for line in data.findings)
    with pytest.raises(DataError, match="all events of train are at the same time"):
        made(str(_copies(tmp_path)), splits={"train": 0.4, "val": 0.3, "test": 0.3})


def _copies(folder: Path) -> Path:
    names = np.repeat([f"s{i}" for i in range(10)], 3)
    pl.DataFrame({"who": names, "at": 1.0, "what": "x"}).write_parquet(folder / "same.parquet")
    return folder / "same.parquet"


def test_a_process_is_simulated_anew_the_same():
    one, other = EventModule(hawkes=THREE).prepare(), EventModule(hawkes=THREE).prepare()
    assert one.source == other.source and one.process is not None
    assert (one.split.test.events.time == other.split.test.events.time).all()
    assert one.source != EventModule(hawkes={**THREE, "seed": 2}).prepare().source
    assert (one.split.val.events.time[:5] != one.split.test.events.time[:5]).any()
    assert one.part("val") is one.split.val


def test_what_cannot_be_prepared_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"neither data.card nor data.path is set; .*data=retail"):
        EventModule()
    with pytest.raises(UsageError, match=r"data.hawkes has the key 'foo'"):
        EventModule(hawkes={**THREE, "foo": 1}).prepare()
    with pytest.raises(UsageError, match=r"there is no part 'tset'; did you mean test"):
        EventModule(hawkes=THREE).prepare().part("tset")


def test_long_sequences_are_cut_and_no_target_is_lost():
    whole, cut = (EventModule(hawkes=THREE, longest=n).prepare().gather("test") for n in (2048, 4))
    assert int(cut.targets.sum()) == int(whole.targets.sum()) and int(cut.length.max()) == 4
    rows = []
    for piece in range(len(cut.length)):
        batch = cut(torch.tensor([piece]))
        rows += cut.rows(torch.tensor([piece]), batch.mask.shape[1])[batch.target].tolist()
    assert sorted(rows) == np.flatnonzero(whole.target.numpy()).tolist()
    assert float(cut.last.sum()) == pytest.approx(float(whole.last.sum()))


def test_batches_are_bounded_and_divided_among_ranks():
    gather = EventModule(hawkes=THREE).prepare().gather("train")
    small = EventLoader(gather, 64, survival=True, places=100, seed=1)
    assert all(batch.mask.numel() <= 100 or len(batch.mask) == 1 for batch in small)
    for seed in (None, 3):
        ranks = [EventLoader(gather, 4, survival=True, seed=seed, rank=r, world=3) for r in range(3)]
        seen = [number for rank in ranks for batch in rank for number in batch.sequence.tolist()]
        assert set(seen) == set(range(len(gather.length)))
        if seed is not None:
            assert len({len(rank) for rank in ranks}) == 1
    with pytest.raises(UsageError, match=r"40 sequence\(s\) for 50 processes|39 sequence\(s\) for 50 processes"):
        EventLoader(gather, 4, survival=True, world=50)


def test_an_epoch_is_gone_on_with_where_it_was():
    gather = EventModule(hawkes=THREE).prepare().gather("train")
    whole = [batch.sequence.tolist() for epoch in (2,) for batch in _of(gather, epoch)]
    rest = EventLoader(gather, 8, survival=True, seed=5, done=lambda count: (2, 2))
    assert [batch.sequence.tolist() for batch in rest] == whole[2:]


def _of(gather, epoch):
    loader = EventLoader(gather, 8, survival=True, seed=5)
    loader.set_epoch(epoch)
    return loader


def test_a_card_with_files_takes_no_labels(tmp_path):
    for part in ("train", "val", "test"):
        table(tmp_path)
        (tmp_path / "shop.parquet").rename(tmp_path / f"{part}.parquet")
    (tmp_path / "c.yaml").write_text(
        "name: mine\nkind: events\nid: who\ntime: at\nmark: what\nunit: hour\nlabels: ';'\n"
        "files: [{path: train.parquet}, {path: val.parquet}, {path: test.parquet}]\n"
        "splits: {train: train.parquet, val: val.parquet, test: test.parquet}\n"
    )
    with pytest.raises(DataError, match="has a file for each part, and labels"):
        EventModule(card=str(tmp_path / "c.yaml")).prepare()


def test_extra_of_nothing_is_nothing():
    assert Extra((), (), (), ()).names == ()
