"""The labelled series of a run: read, cut, scaled, gathered; what a record remembers."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from forecast.data.label_card import SPLITS
from forecast.data.label_module import LabelModule
from forecast.data.label_recipe import LabelRecipe
from forecast.errors import ArtifactError, DataError, UsageError


def table(count: int = 20, classes: str = "uv", seed: int = 0) -> pl.DataFrame:
    """`count` series of one to six steps, the classes in turn."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, 7, count)
    return pl.DataFrame({
        "take": np.repeat([f"s{i:02d}" for i in range(count)], lengths),
        "x": rng.normal(5.0, 2.0, lengths.sum()),
        "y": rng.normal(0.0, 1.0, lengths.sum()),
        "flat": np.full(lengths.sum(), 0.1),
        "sign": np.repeat([classes[i % len(classes)] for i in range(count)], lengths),
    })  # fmt: skip


def written(folder: Path, frame: pl.DataFrame | None = None, name: str = "my.parquet") -> str:
    (table() if frame is None else frame).write_parquet(folder / name)
    return str(folder / name)


def made(path: str, **words) -> LabelModule:
    return LabelModule(path=path, id="take", label="sign", **words).prepare()


def test_a_file_is_inferred_cut_and_told(tmp_path: Path) -> None:
    data = made(written(tmp_path))
    assert [len(data.part(name)) for name in ("train", "val", "test", "fit")] == [13, 3, 4, 16]
    assert data.counts("test").tolist() == [2, 2] and data.counts("fit").tolist() == [8, 8]
    assert set(data.part("fit").ids) == {*data.part("train").ids, *data.part("val").ids}
    assert data.part("train").ids == tuple(i for i in data.part("fit").ids if i in data.part("train").ids)
    assert data.spec.channels == ("x", "y", "flat") and data.spec.classes == ("u", "v")
    assert data.findings == [
        "my: 13 train, 3 val, 4 test series, 3 channels, 1 to 6 steps",
        "2 classes; 8 series of each",
        "inferred: id=take time=none label=sign channels=x, y, flat",
    ]
    assert data.source["path"].endswith("my.parquet") and len(data.source["sha256"]) == 64
    other = made(written(tmp_path), seed=2)
    assert other.part("test").ids != data.part("test").ids
    assert made(written(tmp_path)).part("val").ids == data.part("val").ids


def test_channels_are_scaled_by_train_alone(tmp_path: Path) -> None:
    data = made(written(tmp_path))
    values = data.part("train").values
    batch = data.gather("train")(torch.arange(13))
    seen = batch.values[batch.mask[..., 0]]
    np.testing.assert_allclose(seen.mean(0), [0, 0, 0], atol=1e-6)
    np.testing.assert_allclose(seen.std(0, correction=0), [1, 1, 0], atol=1e-6)
    assert data.recipe.scale.std[2] == 1.0 and data.recipe.scale.mean[0] == pytest.approx(values[:, 0].mean())
    plain = made(written(tmp_path), scale="none")
    assert (plain.recipe.scale.mean, plain.recipe.scale.std) == ((0.0,) * 3, (1.0,) * 3)


def test_a_refit_trains_on_both_and_validates_as_before(tmp_path: Path) -> None:
    data = made(written(tmp_path))
    refit = data.refit()
    assert refit.part("train").ids == data.part("fit").ids and len(data.part("train")) == 13
    assert refit.part("val").ids == data.part("val").ids and refit.part("test").ids == data.part("test").ids
    assert refit.spec == data.spec and refit.recipe == data.recipe  # what was recorded holds for it too
    assert sum(len(batch.series) for batch in refit.train_dataloader()) == 16


def test_two_files_are_the_parts(tmp_path: Path) -> None:
    train, test = table(10), table(6, seed=1)
    data = made(written(tmp_path, train, "a.parquet"), test=written(tmp_path, test, "b.parquet"))
    assert [len(data.part(name)) for name in ("train", "val", "test")] == [8, 2, 6]
    assert data.card.splits == {"train": "a.parquet", "test": "b.parquet"}
    (tmp_path / "test").mkdir()
    twin = made(str(tmp_path / "a.parquet"), test=written(tmp_path / "test", test, "a.parquet"))
    assert LabelRecipe.from_state(twin.state()).card == twin.card
    with pytest.raises(DataError, match="test: series 's02' has the class 'w', which no series of the training has"):
        made(str(tmp_path / "a.parquet"), test=written(tmp_path, table(6, "uvw"), "c.parquet"))


def test_a_card_with_a_file_of_ones_own(tmp_path: Path) -> None:
    data = LabelModule(card="japanese_vowels").prepare()
    assert [len(data.part(name)) for name in ("train", "val", "test")] == [216, 54, 370]
    assert data.counts("val").tolist() == [6] * 9 and data.counts("train").tolist() == [24] * 9
    assert (data.spec.longest, data.spec.shortest, data.spec.missing) == (26, 7, False)
    assert data.findings[0] == "japanese_vowels: 216 train, 54 val, 370 test series, 12 channels, 7 to 29 steps"
    own = LabelModule(card="japanese_vowels", path=data.source["path"]).prepare()
    assert own.card.splits == SPLITS and [len(own.part(name)) for name in ("fit", "test")] == [216, 54]


def test_missing_values_are_masked_and_told(tmp_path: Path) -> None:
    tenth = pl.int_range(pl.len()) % 10 == 0
    data = made(written(tmp_path, table().with_columns(y=pl.when(tenth).then(-999.0).otherwise("y"))), missing=-999)
    assert data.spec.missing and any(line.endswith("of the values are missing") for line in data.findings)
    batch = data.gather("fit")(torch.arange(16))
    assert not batch.values[~batch.mask].any() and not batch.mask[..., 1].all()


def test_a_record_reads_another_table_as_the_first(tmp_path: Path) -> None:
    data = made(written(tmp_path))
    recipe = LabelRecipe.from_state(data.state())
    assert recipe == data.recipe and recipe.to_state() == data.recipe.to_state()
    frame = table().head(12).select("flat", "sign", "y", "take", "x")
    found = recipe.read(frame.to_pandas())
    assert found.channels == ("x", "y", "flat") and found.classes == ("u", "v")
    assert recipe.read(frame.drop("sign")).label.tolist() == [-1] * len(found)
    notes: list[str] = []
    strange = recipe.read(frame.with_columns(pl.lit("w").alias("sign")), notes=notes)
    assert set(strange.label) == {-1} and "of a class that training did not have ('w')" in notes[0]
    assert recipe.names([0, -1, 1]).to_list() == ["u", None, "v"]
    batch = recipe.gather(recipe.read(written(tmp_path)))(torch.tensor([0]))
    own = table().filter(pl.col("take") == "s00")["x"].to_numpy()
    np.testing.assert_allclose(batch.values[0, :, 0], (own - recipe.scale.mean[0]) / recipe.scale.std[0], rtol=1e-5)
    with pytest.raises(DataError, match="the table has no column 'x'"):
        recipe.read(frame.drop("x"))
    for change in ({"version": 9}, {"spec": {}}, {"card": {}}, {"scale": {"mean": [0], "std": [1]}}):
        with pytest.raises(ArtifactError, match=r"^[^\n]*$"):
            LabelRecipe.from_state({**data.state(), **change})


def test_series_in_memory(tmp_path: Path) -> None:
    data = made(written(tmp_path))
    again = LabelModule.of({"train": data.part("fit"), "test": data.part("test")}, name="mine", seed=data.seed)
    assert again.part("val").ids == data.part("val").ids and again.recipe.scale == data.recipe.scale
    assert again.findings[0].startswith("mine: 13 train, 3 val, 4 test series")
    assert LabelRecipe.from_state(again.state()) == again.recipe
    alone = LabelModule.of({"train": data.part("fit")}, val=0.0)
    assert [len(alone.part(name)) for name in ("train", "val", "test")] == [16, 0, 0]
    three = LabelModule.of({name: data.part(name) for name in ("train", "val", "test")})
    assert three.part("fit").ids == data.part("train").ids + data.part("val").ids


def test_what_a_batch_holds_is_told(tmp_path: Path) -> None:
    data = made(written(tmp_path), batch_size=8)
    batch = next(iter(data.train_dataloader()))
    assert data.where(batch).startswith("series 's") and data.where(batch).endswith(
        f" and {len(batch.series) - 3} more"
    )
    served = [number for batch in data.val_dataloader() for number in batch.series.tolist()]
    assert served == np.argsort(-data.part("val").lengths, kind="stable").tolist()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({}, "neither data.card nor data.path is set"),
        ({"card": "gunpoint", "test": "x.ts"}, "data.test is set with no data.path"),
        ({"path": "a", "test": "b", "splits": {"train": 0.5, "test": 0.5}}, "data.test is set with data.splits"),
        ({"path": "a", "val": 1.0}, "data.val is 1.0; expected a share"),
        ({"path": "a", "val": True}, "data.val is True"),
        ({"path": "a", "scale": "standrad"}, r"data.scale is 'standrad'; did you mean standard\?"),
        ({"path": "a", "batch_size": 0}, "data.batch_size is 0"),
        ({"path": "a", "places": 0}, "data.places is 0"),
        ({"path": "a", "splits": {"tarin": 1}}, r"did you mean train\?"),
    ],
)
def test_settings_that_mean_nothing_are_refused(words, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        LabelModule(**words)


def test_what_cannot_be_prepared_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="train: all 16 series are of the class 'u'; expected two classes"):
        made(written(tmp_path, table(classes="u")))
    with pytest.raises(DataError, match="train has one series of each of its 2 classes, and none to validate"):
        made(written(tmp_path, table(2)), splits={"train": 1, "test": 0})
    with pytest.raises(UsageError, match="expected shares that sum to 1"):
        made(written(tmp_path), splits={"train": 0.5, "test": 0.1})
    with pytest.raises(UsageError, match=r"there is no part 'tset'; did you mean test\?"):
        made(written(tmp_path)).part("tset")
    frame = table().with_columns(sign=pl.when(pl.col("take") == "s03").then(None).otherwise("sign"))
    with pytest.raises(DataError, match="test: series 's03' has no label; expected one for every series"):
        made(written(tmp_path, table(10), "a.parquet"), test=written(tmp_path, frame, "b.parquet"))
    with pytest.raises(DataError, match="channel 'x' holds no number in train"):
        made(written(tmp_path, table().with_columns(x=pl.lit(None, pl.Float64))))
