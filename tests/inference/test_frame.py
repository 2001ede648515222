"""forecast_frame of series: what it says of one is its own affair, whatever else is in the table."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from forecast.data.batch import Gather
from forecast.errors import DataError, UsageError
from forecast.inference.baseline import naive_rows
from forecast.inference.fallback import NEVER
from forecast.inference.frame import Asked, forecast_frame
from forecast.inference.nixtla import nixtla
from forecast.ledger import REASONS
from tests.streaming.made import CONTEXT, HORIZON, made, table

GAPS = ("error", "mask", "fill")
SAID = ("status", "reason", "detail")
ONE = pl.col("unique_id") == "a"


@pytest.fixture(scope="module")
def predictors(tmp_path_factory):
    return {gaps: made(tmp_path_factory.mktemp(gaps), gaps=gaps)[1] for gaps in GAPS}


def good(gaps: str, names: str = "abcdef", hours: int = 60) -> pl.DataFrame:
    return table(gaps=gaps != "error", names=names, hours=hours)


def last(frame: pl.DataFrame, back: int, column: str, value: object) -> pl.DataFrame:
    """A cell some rows before the end, made another."""
    at = pl.int_range(pl.len()) == frame.height - back
    return frame.with_columns(pl.when(at).then(pl.lit(value)).otherwise(pl.col(column)).alias(column))


def written(frame: pl.DataFrame, back: int, column: str, text: str) -> pl.DataFrame:
    return last(frame.with_columns(pl.col(column).cast(pl.String)), back, column, text)


def twice(frame: pl.DataFrame) -> pl.DataFrame:
    return pl.concat([frame, frame.tail(1).with_columns(pl.col("y").fill_null(0) + 1)])


# What is done to the history of one series, the reason it gets, and the reasons for which there is a fallback.
BAD = {
    "short": lambda f: f.tail(CONTEXT - 1).with_columns(pl.col("y").fill_null(1.0)),
    "duplicate_ds": twice,
    "non_finite": lambda f: last(f, 2, "y", float("inf")),
    "bad_freq": lambda f: last(f, 3, "ds", f["ds"][-3] + np.timedelta64(7, "m")),
    "no_value": lambda f: f.with_columns(y=pl.lit(None, pl.Float64)),
    "gap": lambda f: last(f, 4, "y", None),
    "parse_error": lambda f: last(f, 5, "ds", None),
    "no_id": lambda f: f.with_columns(unique_id=pl.lit(None, pl.String)),
}
STANDS = ("short", "duplicate_ds", "non_finite", "gap")


def spoilt(reason: str, gaps: str) -> pl.DataFrame:
    frame = good(gaps, "x").with_columns(unique_id=pl.lit(f"bad {reason}"))
    return BAD[reason](frame).select("unique_id", "ds", "y")


def reasons(gaps: str) -> list[str]:
    return [reason for reason in BAD if gaps == "error" or reason != "gap"]


@pytest.mark.parametrize("gaps", GAPS)
def test_good_series_have_the_forecasts_of_predict_to_the_last_bit(predictors, gaps):
    predictor, frame = predictors[gaps], good(gaps)
    found = forecast_frame(frame, predictor)
    assert found.drop(SAID).equals(predictor.predict(frame))
    assert found["status"].unique().to_list() == ["forecast"] and found["reason"].null_count() == found.height
    assert found.equals(forecast_frame(frame, predictor))


@pytest.mark.parametrize("gaps", GAPS)
@settings(max_examples=15, derandomize=True)
@given(data=st.data())
def test_what_is_said_of_a_series_is_its_own_affair(predictors, gaps, data):
    """Each bad kind beside good ones, in any order of series and of rows, in any company, in batches of any size."""
    predictor = predictors[gaps]
    each = [part for (_,), part in good(gaps).group_by("unique_id", maintain_order=True)]
    kinds = data.draw(st.lists(st.sampled_from(reasons(gaps)), unique=True))
    each += [spoilt(kind, gaps) for kind in kinds]
    some = data.draw(st.permutations(range(len(each))))[: data.draw(st.integers(1, len(each)))]
    mixed = pl.concat([each[i] for i in some])
    if data.draw(st.booleans()):  # rows of different series between each other
        mixed = mixed.with_columns(turn=pl.int_range(pl.len()).over("unique_id")).sort("turn", maintain_order=True)
        mixed = mixed.drop("turn")
    asked = Asked(on_bad=data.draw(st.sampled_from(["quarantine", "fallback"])),
                  batch_size=data.draw(st.sampled_from([1, 2, 5, 256])))  # fmt: skip
    found = forecast_frame(mixed, predictor, asked)
    alone = pl.concat([forecast_frame(each[i], predictor, asked) for i in some])
    assert set(found["unique_id"]) == set(mixed["unique_id"])
    assert found["unique_id"].unique(maintain_order=True).equals(mixed["unique_id"].unique(maintain_order=True))
    for name in found["unique_id"].unique():
        mine = pl.col("unique_id").eq_missing(pl.lit(name, pl.String))
        assert found.filter(mine).equals(alone.filter(mine)), name


@pytest.mark.parametrize("gaps", GAPS)
@pytest.mark.parametrize("reason", BAD)
def test_each_reason_has_its_code_and_names_what_was_found(predictors, gaps, reason):
    if reason not in reasons(gaps):
        pytest.skip("a gap is no fault here")
    predictor, bad = predictors[gaps], spoilt(reason, gaps)
    (row,) = forecast_frame(bad, predictor).iter_rows(named=True)
    assert row["status"] == "quarantined" and row["reason"] == reason and row["detail"]
    assert row["unique_id"] == bad["unique_id"][0] and row["y_hat"] is None and row["ds"] is None
    stands = forecast_frame(bad, predictor, Asked(on_bad="fallback"))
    assert stands["status"].unique().to_list() == ["fallback" if reason in STANDS else "quarantined"]
    assert stands["reason"].unique().to_list() == [reason] and stands.height == (HORIZON if reason in STANDS else 1)
    with pytest.raises(DataError, match=reason):
        forecast_frame(pl.concat([good(gaps), bad]), predictor, Asked(on_bad="error"))


@pytest.mark.parametrize("gaps", GAPS)
def test_the_order_of_rows_within_a_series_is_of_no_account(predictors, gaps):
    frame = good(gaps)
    mixed = frame.sample(fraction=1.0, shuffle=True, seed=3)
    found, plain = forecast_frame(mixed, predictors[gaps]), forecast_frame(frame, predictors[gaps])
    assert found.sort("unique_id", "step").equals(plain.sort("unique_id", "step"))
    assert forecast_frame(pl.concat([frame, frame.tail(7)]), predictors[gaps]).equals(plain)  # written twice


def test_text_is_read_series_by_series(predictors):
    """Stamps of one series say nothing about how those of another are written."""
    predictor, frame = predictors["error"], good("error", "ab", 40)
    text = frame.with_columns(ds=pl.col("ds").dt.to_string("%Y-%m-%d %H:%M"), y=pl.col("y").cast(pl.String))
    plain = forecast_frame(frame, predictor)
    assert forecast_frame(text, predictor).equals(plain)
    other = text.with_columns(ds=pl.when(ONE).then(frame["ds"].dt.to_string("%Y-%m-%dT%H:%M:%S")).otherwise("ds"))
    assert forecast_frame(other, predictor).equals(plain)
    day = text.with_columns(ds=pl.when(ONE).then(frame["ds"].dt.to_string("%d/%m/%Y %H:%M")).otherwise("ds"))
    for broken, word in ((day, "day or the month"), (written(text, 60, "ds", "soon"), "'soon' is not a stamp"),
                         (written(text, 60, "y", "1,5"), "'1,5' in 'y' is no number"),
                         (written(text, 60, "ds", "2024-01-01 20:00+01:00"), "has an offset")):  # fmt: skip
        found = forecast_frame(broken, predictor)
        assert found.row(0, named=True)["reason"] == "parse_error" and word in found["detail"][0]
        assert found.filter(~ONE).equals(plain.filter(~ONE))


@pytest.mark.parametrize("holes", [(), (20,), (20, 21, 22, 44, 59)])
def test_the_fallback_is_the_seasonal_naive_of_the_project(predictors, holes):
    """Of what was observed before the first bad value, which is none itself."""
    predictor, frame = predictors["error"], good("error", "x")
    spec = predictor.recipe.spec._replace(context=24)
    assert spec.season == 24
    y = frame["y"].to_numpy().copy()
    y[[*holes, 50]] = np.nan
    bad = frame.with_columns(y=pl.Series(y).fill_nan(None))
    found = forecast_frame(bad, predictor, Asked(on_bad="fallback"))
    end = 60 if 59 not in holes else 59
    values = np.concatenate([y[:end], np.full(HORIZON, np.nan)])[:, None]
    gather = Gather(values, np.empty((len(values), 0), np.float32), targets=1, context=24, horizon=HORIZON)
    (rule, *_) = naive_rows(spec, gather, torch.zeros(1, dtype=torch.long)).values()
    wanted = rule(gather(torch.tensor([end]), torch.zeros(1, dtype=torch.long)))[0, :, 0].numpy()
    assert found["y_hat"].to_numpy() == pytest.approx(wanted, rel=1e-6)
    assert found["status"].unique().to_list() == ["fallback"] and found["reason"].unique().to_list() == ["gap"]
    assert found["q05"].null_count() == HORIZON and found["step"].to_list() == [1, 2, 3, 4]
    assert (
        found["cutoff"].unique().to_list() == [frame["ds"][end - 1]]
        and found["ds"][0] == frame["ds"][0] + (frame["ds"][1] - frame["ds"][0]) * end
    )


def test_fewer_steps_other_levels_and_no_rows(predictors):
    predictor, frame = predictors["mask"], good("mask")
    found = forecast_frame(frame, predictor)
    assert forecast_frame(frame, predictor, Asked(horizon=2)).equals(found.filter(pl.col("step") <= 2))
    assert "q20" in forecast_frame(frame, predictor, Asked(levels=(0.2,))).columns
    assert forecast_frame(frame, predictor, Asked(levels=())).columns == [
        "unique_id", "channel", "cutoff", "ds", "step", "y_hat", *SAID,
    ]  # fmt: skip
    none = forecast_frame(frame.head(0), predictor)
    assert none.height == 0 and none.schema == found.schema
    assert forecast_frame(spoilt("no_value", "mask"), predictor).schema == found.schema


def test_a_short_series_is_masked_where_it_is_asked_for(predictors):
    short = spoilt("short", "mask")
    found = forecast_frame(short, predictors["mask"], Asked(short="mask"))
    assert found["status"].unique().to_list() == ["forecast"]
    assert found.drop(SAID).equals(predictors["mask"].predict(short, short="mask"))


def test_the_columns_of_nixtla(predictors):
    frame = forecast_frame(pl.concat([good("error"), spoilt("gap", "error")]), predictors["error"])
    found = nixtla(frame, "Aaren")
    assert found.columns == ["unique_id", "ds", "Aaren", "Aaren-lo-90", "Aaren-hi-90"]
    assert found.height == 6 * HORIZON and (found["Aaren-lo-90"] <= found["Aaren-hi-90"]).all()
    other = forecast_frame(good("error"), predictors["error"], Asked(levels=(0.1, 0.2, 0.9)))
    assert nixtla(other, "A", (0.1, 0.2, 0.9)).columns == ["unique_id", "ds", "A", "A-lo-80", "A-q20", "A-hi-80"]
    with pytest.raises(UsageError, match="columns=nixtla with the targets y, z"):
        nixtla(pl.concat([frame, frame.with_columns(channel=pl.lit("z"))]), "A")


@pytest.mark.parametrize("asked", [
    Asked(on_bad="ignore"), Asked(horizon=5), Asked(horizon=0), Asked(levels=(1.5,)), Asked(short="mask"),
])  # fmt: skip
def test_what_is_asked_wrongly_is_refused(predictors, asked):
    with pytest.raises(UsageError):
        forecast_frame(good("error"), predictors["error"], asked)


def test_a_table_without_a_column_is_refused(predictors):
    for name in ("unique_id", "ds", "y"):
        with pytest.raises(DataError, match=f"has no column '{name}'"):
            forecast_frame(good("error").drop(name), predictors["error"])
    for name, kind in (("y", pl.Date), ("ds", pl.Float64)):
        odd = good("error").with_columns(pl.lit(None, kind).alias(name))
        with pytest.raises(DataError, match="holds"):
            forecast_frame(odd, predictors["error"])


def test_every_reason_says_what_to_do():
    assert set(BAD) < set(REASONS) and all(REASONS.values())
    page = (Path(__file__).parents[2] / "docs" / "frame.md").read_text(encoding="utf-8")
    for code, line in REASONS.items():
        stands = "yes" if code not in NEVER and code != "after_now" else ""  # after_now is about events
        assert f"| `{code}` | {line} | {stands} |" in page
