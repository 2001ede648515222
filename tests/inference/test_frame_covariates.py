"""forecast_frame of a run with covariates: known ahead, a category, a fact of each series; with a zone and holidays."""

import numpy as np
import polars as pl
import pytest
import torch

from forecast.data.module import SeriesModule
from forecast.data.recipe import Recipe
from forecast.heads import Chain, Direct, Effect
from forecast.inference.frame import Asked, forecast_frame
from forecast.inference.predictor import Predictor
from forecast.models import CovariateTokens, NoNorm, Transformer, ValueEmbedding

CONTEXT, HORIZON, ROWS = 12, 4, 60
START = np.datetime64("2024-03-25T00:00", "us")  # with the night of 31 March in Berlin
SAID = ("status", "reason", "detail")


def table(names: str = "abcd", rows: int = ROWS, seed: int = 0) -> pl.DataFrame:
    """Days; the last HORIZON rows have no target, but what is known ahead."""
    draw, frames = np.random.default_rng(seed), []
    for number, name in enumerate(names):
        time = (START + (np.arange(rows) + number) * np.timedelta64(1, "D")).astype("datetime64[us]")
        y = 5 + np.sin(np.arange(rows)) + draw.standard_normal(rows)
        y[-HORIZON:] = np.nan
        frames.append(pl.DataFrame({
            "shop": name, "day": time, "sold": y, "price": np.round(draw.normal(2, 1, rows), 2),
            "promo": draw.choice([0.0, 1.0, 2.0], rows), "kind": ["small", "large"][number % 2],
        }))  # fmt: skip
    return pl.concat(frames).with_columns(pl.col("sold").fill_nan(None))


@pytest.fixture(scope="module", params=["error", "mask", "fill"])
def predictor(request, tmp_path_factory) -> Predictor:
    path = tmp_path_factory.mktemp("covariates") / "f.parquet"
    table().filter(pl.col("sold").is_not_null()).write_parquet(path)
    data = SeriesModule(
        path=str(path), time="day", id="shop", target="sold", freq="D", zone="Europe/Berlin", holidays=["DE"],
        known=["price", "promo"], static=["kind"], categories=["promo"], context=CONTEXT, horizon=HORIZON,
        gaps=request.param, splits={"train": 0.6, "val": 0.2, "test": 0.2},
    ).prepare()  # fmt: skip
    torch.manual_seed(0)
    spec = data.spec
    chain = Chain(
        norm=NoNorm(), embed=ValueEmbedding(spec=spec, d_model=8), masked=request.param != "error",
        encoder=Transformer(d_model=8, heads=2, d_ff=8, layers=1), covariates=CovariateTokens(spec, 8),
        effect=Effect(spec), head=Direct(spec=spec, d_memory=8, length=CONTEXT, tokens=2),
    )  # fmt: skip
    with torch.no_grad():
        for part in chain.effect.parameters():
            part.normal_()
    return Predictor(chain, Recipe.from_state(data.state()), "x")


def apart(frame: pl.DataFrame) -> list[pl.DataFrame]:
    return [part for (_,), part in frame.group_by("shop", maintain_order=True)]


def broken(frame: pl.DataFrame, name: str, column: str, value: object, row: int) -> pl.DataFrame:
    at = (pl.col("shop") == name) & (pl.int_range(pl.len()).over("shop") == row)
    return frame.with_columns(pl.when(at).then(pl.lit(value)).otherwise(pl.col(column)).alias(column))


def test_good_series_have_the_forecasts_of_predict(predictor):
    frame = table()
    found = forecast_frame(frame, predictor)
    assert found.drop(SAID).equals(predictor.predict(frame))
    assert found.schema["ds"] == pl.Datetime("us", "Europe/Berlin") and found.height == 4 * HORIZON
    text = frame.with_columns(pl.col("promo").cast(pl.Int64).cast(pl.String), pl.col("price").cast(pl.String))
    assert forecast_frame(text, predictor).equals(found)


@pytest.mark.parametrize(("column", "value", "row", "reason"), [
    ("kind", "medium", 3, "unknown_static"), ("price", float("inf"), 5, "non_finite"),
    ("price", None, -1, "missing_known"),
])  # fmt: skip
def test_a_series_is_its_own_affair(predictor, column, value, row, reason):
    frame, many = table(), table("efghijkl", seed=3)
    bad = broken(frame, "b", column, value, ROWS + row if row < 0 else row)
    if reason == "missing_known":
        bad = bad.with_columns(
            pl.when((pl.col("shop") == "b") & pl.col("sold").is_null())
            .then(None)
            .otherwise(pl.col(column))
            .alias(column)
        )
    mixed = pl.concat([bad, many])
    found = forecast_frame(mixed, predictor)
    alone = pl.concat([forecast_frame(part, predictor) for part in apart(mixed)])
    assert found.equals(alone)
    assert found.filter(pl.col("shop" if "shop" in found.columns else "unique_id") == "b")["reason"].to_list() == [
        reason
    ]
    stands = forecast_frame(mixed, predictor, Asked(on_bad="fallback")).filter(pl.col("unique_id") == "b")
    assert stands["status"].unique().to_list() == ["fallback"] and stands.height == HORIZON
    assert stands["ds"].dtype == pl.Datetime("us", "Europe/Berlin")


def test_a_category_is_read_cell_by_cell(predictor):
    """1.0 and 1 are one word, also where another series has 1.5."""
    frame = table()
    odd = broken(frame, "b", "promo", 1.5, 20)
    plain, found = forecast_frame(frame, predictor), forecast_frame(odd, predictor)
    others = pl.col("unique_id") != "b"
    assert found.filter(others).equals(plain.filter(others)) and found["status"].unique().to_list() == ["forecast"]
