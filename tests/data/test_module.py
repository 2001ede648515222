"""The data module: what it prepares, the order of batches, and what a run remembers of it."""

import hashlib
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import pytorch_lightning as lightning
import torch

from forecast.data.card import load_card, save_card
from forecast.data.loader import BatchOrder
from forecast.data.module import SeriesModule
from forecast.data.read import locate
from forecast.data.recipe import Recipe
from forecast.errors import ArtifactError, DataError, UsageError
from forecast.types import SeriesBatch

SMALL: dict[str, Any] = {"context": 24, "horizon": 6, "batch_size": 16}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Three hourly series, long; one has a gap in its test part."""
    rng = np.random.default_rng(0)
    hours = np.datetime64("2024-01-01", "us") + np.arange(400) * np.timedelta64(1, "h")
    frame = pl.concat(
        pl.DataFrame({"unique_id": s, "ds": hours, "y": rng.normal(10 * i, 1 + i, 400), "x": rng.normal(0, 1, 400)})
        for i, s in enumerate("abc")
    )
    frame = frame.filter(~((pl.col("unique_id") == "b") & pl.col("ds").is_between(hours[350], hours[360])))
    file = tmp_path / "my.parquet"
    frame.write_parquet(file)
    return file


def module(path: Path, **changes: Any) -> SeriesModule:
    return SeriesModule(**{**SMALL, "path": str(path), "gaps": "mask", **changes}).prepare()


def test_electricity_is_what_the_field_uses() -> None:
    data = SeriesModule(card="electricity", context=168, horizon=24).prepare()
    assert [len(data.windows(p)) for p in ("train", "val", "test")] == [18221, 2609, 5237]
    assert data.spec.channels == ("load",) and data.spec.season == 24 and data.spec.freq == "h"
    assert any("26,304 rows every h from 2012-01-01 00:00" in line for line in data.findings)


@pytest.mark.parametrize(("card", "last", "day"), [("electricity", 1.964, 0.0267), ("household", 1.2575, 1.0120)])
def test_floors_of_simple_forecasts(card: str, last: float, day: float) -> None:
    """Mean squared errors on all test windows; missing values count as 0 on both sides."""
    data = SeriesModule(card=card, context=168, horizon=24, gaps="mask").prepare()
    scaled = np.nan_to_num(data.scaler.apply(data.series.values, data.series.number))
    origin, _ = data.windows("test").at(np.arange(len(data.windows("test"))))
    truth = scaled[origin[:, None] + np.arange(24)]
    assert np.mean((scaled[origin[:, None] - 1] - truth) ** 2) == pytest.approx(last, rel=1e-3)
    assert np.mean((scaled[origin[:, None] - 24 + np.arange(24)] - truth) ** 2) == pytest.approx(day, rel=2e-3)


def test_a_file_is_inferred_and_said_so(path: Path) -> None:
    data = module(path, target="y", past="rest")
    assert data.spec.channels == ("y", "x") and len(data.series.ids) == 3
    assert "inferred: time=ds id=unique_id freq=h" in data.findings[0]
    assert data.spec.targets == 1 and data.past == ["x"]
    with pytest.raises(DataError, match=r"series 'b' has a gap.*data\.gaps=mask"):
        module(path, gaps="error")


def test_the_card_gives_way_to_the_config() -> None:
    data = SeriesModule(
        card="household",
        context=24,
        horizon=6,
        gaps="fill",
        target=["voltage"],
        past="rest",
        splits={"train": 1000, "val": 200, "test": 200},
        season=168,
        scale="none",
    ).prepare()
    assert data.spec.targets == 1 and len(data.spec.channels) == 7 and data.spec.season == 168
    assert data.split.test.tolist() == [[1200, 1400]] and data.scaler.kind == "none"
    assert data.card.splits == {"train": 1000, "val": 200, "test": 200}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"card": None}, "neither"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"workers": -1}, "workers is -1"),
        ({"card": "electrcity"}, "did you mean electricity"),
        ({"splits": 0.8}, r"data\.splits is 0\.8; expected train, val and test"),
        ({"splits": {"trian": 0.8}}, "did you mean train"),
        ({"splits": {"train": 0.8, "val": 0.8, "test": 0.8}}, "sum to 1"),
        ({"splits": {"train": "a", "val": 1, "test": 1}}, "numbers of one kind"),
        ({"missing": ["a"]}, r"data\.missing is \['a'\]"),
        ({"missing": "a"}, r"data\.missing is a; expected a number"),
        ({"season": 0}, r"data\.season is 0; expected at least 1"),
        ({"season": -24}, r"data\.season is -24"),
        ({"stride": 0}, r"data\.stride is 0"),
        ({"seed": -1}, r"data\.seed is -1; expected 0 or more"),
        ({"batch_size": 2.5}, "expected a whole number"),
    ],
)
def test_wrong_settings_are_told(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message) as fault:
        SeriesModule(**{**SMALL, "card": "electricity", **changes}).prepare()
    assert "\n" not in str(fault.value)


def test_wrong_splits_of_a_card_are_a_fault_of_the_card(path: Path, tmp_path: Path) -> None:
    bad = replace(module(path).card, splits={"train": 0.9, "val": 0.9, "test": 0.9})
    save_card(bad, tmp_path / "card.yaml")
    with pytest.raises(DataError, match="sum to 1"):
        SeriesModule(**SMALL, card=str(tmp_path / "card.yaml"), gaps="mask").prepare()


def test_the_rest_of_a_file_with_text(tmp_path: Path) -> None:
    hours = np.datetime64("2024-01-01", "us") + np.arange(200) * np.timedelta64(1, "h")
    number = np.arange(200.0)
    frame = pl.DataFrame({"ds": hours, "y": number, "note": ["x"] * 200, "a": number, "b": number})
    frame.write_parquet(tmp_path / "t.parquet")
    data = module(tmp_path / "t.parquet", target="y", past="rest")
    assert data.spec.channels == ("y", "a", "b") and data.spec.targets == 1
    assert data.findings[-1] == "data.past=rest leaves out note: no numbers"


def test_what_was_read_is_on_record(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    for name in (path, "my.parquet", "~/my.parquet"):
        data = module(Path(name))
        assert data.path == str(path) and data.source == {"path": str(path), "sha256": digest, "rows": 1189}
        assert data.state()["card"]["files"] == [{"path": "my.parquet", "sha256": digest, "rows": 1189}]
    assert data.state()["source"] == data.source
    monkeypatch.chdir("/")
    assert module(data.path).source == data.source  # type: ignore[arg-type]
    recipe = Recipe.from_state(data.state())
    pl.read_parquet(path).head(100).write_parquet(tmp_path / "other.parquet")
    assert len(recipe.read(str(tmp_path / "other.parquet")).time) == 100  # its digest is not asked for
    known = SeriesModule(card="electricity", context=24, horizon=6).prepare()
    assert known.path is None and known.source["sha256"] == known.card.files[0].sha256
    assert Path(known.source["path"]).is_absolute() and known.source["rows"] == 26304


def test_a_card_for_another_file_records_that_file(tmp_path: Path) -> None:
    card = load_card("electricity")
    frame = pl.read_parquet(locate(card, card.files[0])).head(2000)
    frame.write_parquet(tmp_path / "other.parquet")
    data = module(tmp_path / "other.parquet", card="electricity")
    file = data.state()["card"]["files"][0]
    digest = hashlib.sha256((tmp_path / "other.parquet").read_bytes()).hexdigest()
    assert file == {"path": "other.parquet", "sha256": digest, "rows": 2000}
    assert data.source == {"path": str(tmp_path / "other.parquet"), "sha256": digest, "rows": 2000}


def test_a_card_of_ones_own_finds_its_file(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    card = module(path).card
    (tmp_path / "cards").mkdir()
    monkeypatch.chdir(tmp_path)
    for place in ("card.yaml", "cards/card.yaml"):  # beside the file; the file is in the start directory
        save_card(card, Path(place))
        data = SeriesModule(**SMALL, card=place, gaps="mask").prepare()
        assert data.path == str(path) and data.name == str(tmp_path / place)
        assert data.source["path"] == str(path)
    monkeypatch.chdir("/")
    assert SeriesModule(**SMALL, card=data.name, path=data.path, gaps="mask").prepare().source == data.source
    with pytest.raises(DataError, match=r"my\.parquet.*is not in .*set data\.path=FILE"):
        SeriesModule(**SMALL, card=data.name, gaps="mask").prepare()


def test_every_gap_is_listed(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = module(path)
    gap = {"id": "b", "channel": None, "first": "2024-01-15T14:00:00Z", "last": "2024-01-16T00:00:00Z", "steps": 11}
    assert json.loads(json.dumps(data.gap_list)) == [gap] and data.gap_total == 1
    frame = pl.read_parquet(path).with_columns(x=pl.when(pl.int_range(pl.len()) == 3).then(None).otherwise(pl.col("x")))
    frame.write_parquet(path)
    two = module(path)
    assert two.gap_list == [gap, {**gap, "id": "a", "channel": "x", "steps": 1, "first": "2024-01-01T03:00:00Z",
                                  "last": "2024-01-01T03:00:00Z"}]  # fmt: skip
    monkeypatch.setattr("forecast.data.module.GAPS", 1)
    most = module(path)
    assert most.gap_list == [gap] and most.gap_total == 2
    assert most.findings[-1] == "the longest 1 of 2 gaps are listed"


def test_a_part_too_short_says_what_to_change(path: Path) -> None:
    with pytest.raises(DataError, match="the val part of series 'a' has 40 rows.*task.context or task.horizon"):
        module(path, horizon=41).windows("val")
    with pytest.raises(UsageError, match="no part 'tst'; did you mean test"):
        module(path).windows("tst")


def served(loader: Any) -> list[int]:
    return [int(o) for batch in loader for o in batch.origin]


def test_every_window_is_served_once_in_a_new_order_each_epoch(path: Path) -> None:
    data = module(path)
    loader = data.train_dataloader()
    all_windows, _ = data.windows("train").at(np.arange(len(data.windows("train"))))
    first = served(loader)
    assert sorted(first) == sorted(all_windows.tolist()) and first != sorted(first)
    loader.order.set_epoch(1)
    second = served(loader)
    assert sorted(second) == sorted(first) and second != first
    again = module(path).train_dataloader()
    assert served(again) == first
    again.order.set_epoch(1)
    assert served(again) == second
    assert served(module(path, seed=2).train_dataloader()) != first
    assert served(data.val_dataloader()) == sorted(served(data.val_dataloader()))
    again.order.set_epoch(1, skip=3)
    assert served(again) == second[3 * 16 :]


@pytest.mark.parametrize("count", [3, 4, 5, 16, 17, 100])
@pytest.mark.parametrize("world", [1, 2, 3])
def test_ranks_share_the_windows(count: int, world: int) -> None:
    parts = [list(BatchOrder(count, 16, shuffle=True, seed=3, rank=r, world=world)) for r in range(world)]
    assert len({len(p) for p in parts}) == 1  # nobody waits for a batch that never comes
    assert set(np.concatenate([k for p in parts for k in p]).tolist()) == set(range(count))
    ordered = [list(BatchOrder(count, 16, shuffle=False, rank=r, world=world)) for r in range(world)]
    assert all(ordered)  # Lightning waits for every rank in validation too
    assert max(len(p) for p in ordered) - min(len(p) for p in ordered) <= 1
    flat = [i for p in ordered for k in p for i in k.tolist()]
    assert sorted(flat) == list(range(count))


def test_fewer_windows_than_ranks_are_refused() -> None:
    with pytest.raises(UsageError, match=r"2 windows for 3 processes; expected .*; set trainer\.devices=2"):
        BatchOrder(2, 16, shuffle=False, world=3)
    assert len(BatchOrder(2, 16, shuffle=True, world=3)) == 1


class Recorder(lightning.LightningModule):
    """Trains nothing; remembers the origins it saw."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.seen: dict[int, list[int]] = {}

    def training_step(self, batch: SeriesBatch, index: int) -> torch.Tensor:
        self.seen.setdefault(self.current_epoch, []).extend(batch.origin.tolist())
        return (batch.past.mean() * self.weight).sum()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning", "ignore::FutureWarning")
def test_lightning_moves_the_order_on(path: Path, tmp_path: Path) -> None:
    data, model = module(path, batch_size=64), Recorder()
    trainer = lightning.Trainer(
        max_epochs=2,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        default_root_dir=tmp_path,
    )
    trainer.fit(model, datamodule=data)
    assert sorted(model.seen[0]) == sorted(model.seen[1]) and model.seen[0] != model.seen[1]
    plain = module(path, batch_size=64).train_dataloader()
    assert served(plain) == model.seen[0]
    plain.order.set_epoch(1)
    assert served(plain) == model.seen[1]


def test_the_state_alone_can_forecast(path: Path, tmp_path: Path) -> None:
    data = module(path, target="y", past=["x"], gaps="fill")
    recipe = Recipe.from_state(json.loads(json.dumps(data.state())))
    assert recipe.spec == data.spec and recipe.card.time == data.card.time
    series = recipe.read(str(path))
    np.testing.assert_array_equal(series.values[~np.isnan(series.values)], data.series.values[data.observed])
    ready = recipe.future(series)
    assert ready.unknown == [] and len(ready.windows) == 3
    origin, number = ready.windows.at(np.arange(3))
    assert (origin + 6 == ready.series.start[1:]).all() and number.tolist() == [0, 1, 2]
    assert str(ready.series.time[origin[0]]) == str(np.datetime64("2024-01-01", "us") + np.timedelta64(400, "h"))
    batch = ready.gather(torch.from_numpy(origin), torch.from_numpy(number))
    assert not batch.future_mask.any() and batch.past_mask.all() and batch.future_clock.shape == (3, 6, 4)


def test_a_forecast_needs_only_the_channels_of_the_model_and_its_context(path: Path) -> None:
    recipe = Recipe.from_state(module(path, target="y").state())._replace(gaps="error")
    frame = pl.read_parquet(path).drop("x")
    ready = recipe.future(recipe.read(frame))  # the gap of b lies before the last 24 rows
    assert len(ready.series.time) == 3 * (24 + 6)
    with pytest.raises(DataError, match="series 'b' has a gap"):
        recipe.future(recipe.read(frame.filter(pl.col("ds") < pl.lit("2024-01-16T12:00").str.to_datetime())))


def test_new_series_and_frames_of_both_kinds_can_be_forecast(path: Path) -> None:
    recipe = Recipe.from_state(module(path).state())
    frame = pl.read_parquet(path).filter(pl.col("unique_id") == "a").with_columns(unique_id=pl.lit("new")).head(24)
    ready = recipe.future(recipe.read(frame))
    assert ready.unknown == ["new"] and len(ready.windows) == 1
    assert ready.notes == ["1 of 1 series was not in training; it is scaled by its own history (first: 'new')"]
    notes: list[str] = []
    twice = recipe.read(pl.concat([frame, frame.tail(1)]), notes=notes)
    assert len(notes) == 1 and recipe.future(twice, notes).notes == [*notes, *ready.notes]
    assert recipe.read(frame.to_pandas()).ids == ("new",)
    with pytest.raises(DataError, match="series 'new' has 23 rows; expected at least 24"):
        recipe.future(recipe.read(frame.head(23)))
    with pytest.raises(DataError, match="the table has no column 'y'"):
        recipe.read(frame.drop("y"))


@pytest.mark.parametrize(
    "state", [{}, {"version": 99}, {"version": 1, "card": {}, "spec": {}}, {"version": 1, "spec": 3}]
)
def test_a_damaged_state_is_refused(state: dict[str, Any]) -> None:
    with pytest.raises(ArtifactError):
        Recipe.from_state(state)


def test_worker_processes_serve_the_same(path: Path) -> None:
    data = module(path, workers=1, batch_size=256)
    assert served(data.train_dataloader()) == served(module(path, batch_size=256).train_dataloader())


def test_reading_needs_no_torch() -> None:
    code = (
        "import sys, forecast.data as d;"
        "s = d.read_series(d.load_card('electricity'));"
        "from forecast.data import split, window, scale, infer;"
        "heavy = {'torch', 'pandas', 'pytorch_lightning', 'hydra', 'mlflow'} & set(sys.modules);"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, timeout=60)


def test_every_public_name_exists() -> None:
    import forecast.data

    assert all(getattr(forecast.data, name) is not None for name in forecast.data.__all__)
    with pytest.raises(AttributeError):
        forecast.data.nothing  # noqa: B018


def test_a_run_keeps_the_names_of_channels_that_the_card_leaves_to_the_file(tmp_path: Path) -> None:
    hours = np.datetime64("2024-01-01T00", "us") + np.arange(100) * np.timedelta64(1, "h")
    pl.DataFrame({"ds": hours, "0": np.arange(100.0), "OT": np.arange(100.0) ** 2}).write_parquet(
        tmp_path / "w.parquet"
    )
    (tmp_path / "card.yaml").write_text(
        "{name: w, kind: series, time: {column: ds, freq: h}, channels: all, files: [{path: w.parquet}]}"
    )
    data = SeriesModule(card=str(tmp_path / "card.yaml"), context=4, horizon=2).prepare()
    assert data.spec.channels == ("0", "OT") and data.spec.targets == 2
    assert [c["name"] for c in data.state()["card"]["channels"]] == ["0", "OT"]
    alone = SeriesModule(card=str(tmp_path / "card.yaml"), context=4, horizon=2, target="OT", past="rest").prepare()
    assert [(c["name"], c["role"]) for c in alone.state()["card"]["channels"]] == [("OT", "target"), ("0", "past_only")]
