"""Covariates, point in time: a forecast sees of each stamp what was available at its cutoff, and nothing else."""

import numpy as np
import polars as pl
import pytest
import torch

from forecast import build
from forecast.data.batch import take
from forecast.data.coding import Coding
from forecast.data.module import SeriesModule
from forecast.data.recipe import Recipe
from forecast.data.scale import Scaler
from forecast.errors import ArtifactError, DataError, UsageError
from forecast.inference.predictor import Predictor
from tests.test_build import config

HOURS, CONTEXT, HORIZON = 300, 12, 4
START = np.datetime64("2024-01-01T00:00", "us")
HOUR = np.timedelta64(1, "h")
SPLITS = {"train": 180, "val": 50, "test": 70}
CUTOFF = 270  # the last row that a forecast sees, within the test part


def stamps(hours):
    return START + np.asarray(hours) * HOUR


def main(*, ahead=0):
    """Two series: a target, a number and a word that are known ahead, a fact; `ahead` rows after the end."""
    draw, frames, n = np.random.default_rng(0), [], HOURS + ahead
    for name in "ab":
        y = draw.standard_normal(n)
        y[HOURS:] = np.nan
        frames.append(pl.DataFrame({
            "unique_id": name, "ds": stamps(range(n)), "y": y, "price": draw.standard_normal(n) + 3,
            "promo": np.where(draw.random(n) < 0.2, "sale", "no"), "region": f"region {name}",
        }))  # fmt: skip
    return pl.concat(frames).with_columns(pl.col("y").fill_nan(None))


def weather(*, leads=(0, 3, 9, 30), hours=HOURS + HORIZON):
    """Vintages: for each stamp a forecast issued some hours ahead, another number each time, and the truth."""
    draw = np.random.default_rng(1)
    frames = [
        pl.DataFrame({"ds": stamps(range(hours)), "temp": draw.standard_normal(hours),
                      "available_at": stamps(np.arange(hours) - lead)})
        for lead in leads
    ]  # fmt: skip
    return pl.concat(frames).sample(fraction=1.0, shuffle=True, seed=0)


def module(tmp_path, frame, second=None, **settings):
    frame.write_parquet(tmp_path / "main.parquet")
    if second is not None:
        second.write_parquet(tmp_path / "second.parquet")
        settings["covariates"] = str(tmp_path / "second.parquet")
    sizes = {"context": CONTEXT, "horizon": HORIZON, "splits": SPLITS, "freq": "h"}
    names = {"path": str(tmp_path / "main.parquet"), "time": "ds", "id": "unique_id", "target": "y"}
    return SeriesModule(**{**sizes, **names, **settings})


OWN = {"known": ["price", "promo"], "static": ["region"]}


def test_what_is_declared_stands_in_the_batch(tmp_path):
    data = module(tmp_path, main(), **OWN).prepare()
    assert (data.spec.known, data.spec.static) == (("price", "promo"), ("region",))
    origin = torch.tensor([100, HOURS + 100])
    batch = data.gather(origin, torch.tensor([0, 1]))
    assert batch.known_past.shape == (2, CONTEXT, 2)
    assert batch.known_future.shape == (2, HORIZON, 2)
    price = main().filter(pl.col("unique_id") == "b")["price"].to_numpy()
    train = main().group_by("unique_id", maintain_order=True).head(SPLITS["train"])["price"]
    expected = (price[100 : 100 + HORIZON] - train.mean()) / train.std(ddof=0)
    np.testing.assert_allclose(batch.known_future[1, :, 0], expected, rtol=1e-5)
    promo = main().filter(pl.col("unique_id") == "b")["promo"].to_numpy()[100 : 100 + HORIZON]
    assert batch.known_future[1, :, 1].tolist() == [1.0 if word == "no" else 2.0 for word in promo]
    assert batch.static.tolist() == [[1.0], [2.0]]


def test_without_covariates_there_is_nothing_in_the_batch(tmp_path):
    batch = take((data := module(tmp_path, main().select("unique_id", "ds", "y")).prepare()).gather,
                 data.windows("train"), np.arange(3))  # fmt: skip
    assert (batch.known_past, batch.known_future, batch.static) == (None, None, None)


def slow(second, column, row, cutoff):
    """What was known of a row at a cutoff, by looking through all rows."""
    seen = second.filter(pl.col("ds") == stamps(row), pl.col("available_at") <= stamps(cutoff)).drop_nulls()
    return seen.sort("available_at")[column][-1]


@pytest.mark.parametrize("uneven", [False, True])
def test_the_newest_vintage_of_the_cutoff_is_used(tmp_path, uneven):
    second = weather()
    if uneven:  # issued at any minute, and some cells left empty: those are as they were before
        draw = np.random.default_rng(3)
        minutes = pl.Series(draw.integers(0, 60, second.height))
        empty = (pl.Series(draw.random(second.height)) < 0.3) & (
            second["available_at"] > second["ds"].dt.offset_by("-9h")
        )
        second = second.with_columns(
            pl.col("available_at") - pl.duration(minutes=minutes),
            pl.when(empty).then(None).otherwise("temp").alias("temp"),
        )
    data = module(tmp_path, main().select("unique_id", "ds", "y"), second).prepare()
    temp = data.coding.get("temp")
    for origin in (CONTEXT + 30, 150, HOURS - HORIZON):
        batch = data.gather(torch.tensor([origin]), torch.tensor([0]))
        past = [slow(second, "temp", row, origin - 1) for row in range(origin - CONTEXT, origin)]
        ahead = [slow(second, "temp", row, origin - 1) for row in range(origin, origin + HORIZON)]
        np.testing.assert_allclose(batch.known_past[0, :, 0], (np.array(past) - temp.mean) / temp.std, atol=1e-5)
        np.testing.assert_allclose(batch.known_future[0, :, 0], (np.array(ahead) - temp.mean) / temp.std, atol=1e-5)


def later(frame, column, when):
    """Other values wherever `when` is after the cutoff."""
    noise = pl.Series(1e3 * np.random.default_rng(5).standard_normal(frame.height))
    return frame.with_columns(
        pl.when(pl.col(when) > stamps(CUTOFF)).then(noise).otherwise(pl.col(column)).alias(column)
    )


@pytest.mark.parametrize("head", ["Direct", "Timewise", "Generative"])
def test_the_leak_canary(tmp_path, head):
    """Values after the cutoff and vintages that came later are scrambled: every forecast before is bitwise equal. What
    was known of the future changes it."""
    frame, second = main().drop("price"), weather()
    settings = {"known": ["promo", "temp"], "static": ["region"]}
    data = module(tmp_path, frame, second, **settings).prepare()
    torch.manual_seed(0)
    own = {"d_model": 16, "heads": 2, "d_ff": 16} if head == "Generative" else {}
    parts = {"head": {"_target_": f"forecast.heads.{head}", **own}, "norm": "instance"}
    chain = build.chain(config(**parts), data.spec, masked=False).eval()
    for parameter in chain.effect.out.parameters():
        torch.nn.init.normal_(parameter)
    (tmp_path / "other").mkdir()
    other = module(tmp_path / "other", later(frame, "y", "ds"), later(second, "temp", "available_at"), **settings)
    other = other.prepare()
    origins, numbers = torch.arange(CUTOFF - 20, CUTOFF + 2), torch.zeros(22, dtype=torch.int64)
    with torch.inference_mode():
        before, after = (chain(d.gather(origins, numbers)) for d in (data, other))
    assert torch.equal(before, after)
    (tmp_path / "known").mkdir()
    row = (pl.col("ds") == stamps(CUTOFF + 2)) & (pl.col("available_at") <= stamps(CUTOFF))
    told = second.with_columns(pl.when(row).then(9.0).otherwise(pl.col("temp")).alias("temp"))
    known = module(tmp_path / "known", frame, told, **settings).prepare()
    with torch.inference_mode():
        changed = chain(known.gather(origins[-1:], numbers[-1:]))
    assert not torch.equal(changed, before[-1:])


def trained(tmp_path, frame, second=None, **settings):
    data = module(tmp_path, frame, second, **settings).prepare()
    torch.manual_seed(0)
    chain = build.chain(config(norm="instance"), data.spec, masked=False)
    torch.nn.init.normal_(chain.effect.out.weight)
    return Predictor(chain, Recipe.from_state(data.state()), "x")


def test_the_future_comes_in_rows_after_the_end_or_in_a_second_table(tmp_path):
    predictor = trained(tmp_path, main(), **OWN)
    whole = main(ahead=HORIZON)
    first = predictor.predict(whole)
    later = whole.select("unique_id", "ds", "price", "promo")
    later.write_csv(tmp_path / "later.csv")
    past = whole.filter(pl.col("y").is_not_null())
    assert predictor.predict(past, tmp_path / "later.csv")["y_hat"].to_list() == first["y_hat"].to_list()
    dearer = whole.with_columns(pl.when(pl.col("y").is_null()).then(9.0).otherwise(pl.col("price")).alias("price"))
    assert predictor.predict(dearer)["y_hat"].to_list() != first["y_hat"].to_list()
    with pytest.raises(DataError, match=r"series 'a' has no value of 'price' for 2024-01-13 12:00"):
        predictor.predict(past)


def test_a_word_that_training_has_not_seen_is_code_zero(tmp_path):
    predictor = trained(tmp_path, main(), **OWN)
    promo = pl.when(pl.col("y").is_null()).then(pl.lit("new")).otherwise(pl.col("promo")).alias("promo")
    ready = predictor.recipe.future(predictor.recipe.read(main(ahead=HORIZON).with_columns(promo)))
    batch = take(ready.gather, ready.windows, np.arange(1))
    assert batch.known_future[0, :, 1].tolist() == [0.0] * HORIZON
    assert batch.known_past[0, :, 1].min() >= 1.0


def test_a_padded_panel_keeps_covariates_beside_their_rows(tmp_path):
    short = pl.concat([main().filter(pl.col("unique_id") == "a"), main().filter(pl.col("unique_id") == "b").tail(200)])
    settings = {**OWN, "gaps": "mask", "min_context": 2, "splits": {"val": "2024-01-09", "test": "2024-01-11"}}
    data = module(tmp_path, short, **settings).prepare()
    price = short.filter(pl.col("unique_id") == "b")["price"].to_numpy()
    column = data.coding.get("price")
    origin = int(data.series.start[1]) + CONTEXT - 2 + 2
    batch = data.gather(torch.tensor([origin]), torch.tensor([1]))
    expected = (price[2 : 2 + HORIZON] - column.mean) / column.std
    np.testing.assert_allclose(batch.known_future[0, :, 0], expected, rtol=1e-5)
    behind = (price[:2] - column.mean) / column.std
    np.testing.assert_allclose(batch.known_past[0, -2:, 0], behind, rtol=1e-5)
    assert batch.known_past[0, : CONTEXT - 2, data.spec.known.index("price") + 2].max() == 0  # its mask: nothing known


@pytest.mark.parametrize(("change", "settings", "message"), [
    ({}, {"known": ["price"], "static": ["price"]}, "both name 'price'; expected one role"),
    ({}, {"known": ["price"], "categories": ["promo"]}, "data.categories names 'promo'"),
    ({}, {"known": ["prise"]}, "has no column 'prise', a covariate"),
    ({}, {"static": ["promo"]}, "has several values in 'promo', which is static"),
    ({"region": None}, {"static": ["region"], "categories": ["region"]}, "has no value in 'region', which is static"),
])  # fmt: skip
def test_wrong_covariates_are_told(tmp_path, change, settings, message):
    frame = main().with_columns(**{key: pl.lit(value, pl.String) for key, value in change.items()})
    with pytest.raises((DataError, UsageError), match=message):
        module(tmp_path, frame, **settings).prepare()


def test_a_second_table_without_stamps_or_with_rows_twice_is_told(tmp_path):
    frame = main().select("unique_id", "ds", "y")
    with pytest.raises(DataError, match="has no column 'ds'"):
        module(tmp_path, frame, weather().rename({"ds": "day"})).prepare()
    twice = pl.concat([weather(), weather().with_columns(pl.col("temp") + 1)])
    with pytest.raises(DataError, match="hold different values for"):
        module(tmp_path, frame, twice).prepare()


def test_a_covariate_that_the_model_does_not_know_is_told(tmp_path):
    data = module(tmp_path, main().select("unique_id", "ds", "y")).prepare()
    with pytest.raises(UsageError, match="the model knows none"):
        Recipe.from_state(data.state()).read(main(), covariates=tmp_path / "second.parquet")


@pytest.mark.parametrize("std", [None, float("nan")])
def test_damaged_covariates_of_a_run_are_told(std):
    column = {"name": "x", "role": "known_future", "words": None, "mean": 0.0, "beside": False}
    with pytest.raises(ArtifactError, match="damaged"):
        Coding.from_dict([column if std is None else {**column, "std": std}])


def test_scalers_and_codings_come_back(tmp_path):
    data = module(tmp_path, main(), weather(), known=["promo", "temp"]).prepare()
    back = Recipe.from_state(data.state())
    assert back.coding == data.coding
    assert isinstance(back.scaler, Scaler)
