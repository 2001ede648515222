"""forecast_frame of events and of labelled series: what it says of one is its own affair here too."""

import polars as pl
import pytest

from forecast.errors import DataError, UsageError
from forecast.inference.frame import Asked, forecast_frame
from tests.streaming import class_made, event_made

SAID = ("status", "reason", "detail")
TEXT = pl.String


def cell(frame: pl.DataFrame, who: str, row: int, column: str, value: object) -> pl.DataFrame:
    """A cell of one sequence made another."""
    at = (pl.col("who") == who) & (pl.int_range(pl.len()).over("who") == row)
    return frame.with_columns(pl.when(at).then(pl.lit(value)).otherwise(pl.col(column)).alias(column))


def apart(frame: pl.DataFrame) -> list[pl.DataFrame]:
    return [part for (_,), part in frame.group_by("who", maintain_order=True)]


def shuffled(frame: pl.DataFrame) -> pl.DataFrame:
    """Series in the other order, the rows of two between each other; each in its own order."""
    parts = apart(frame)[::-1]
    both = pl.concat([part.with_columns(turn=pl.int_range(pl.len()) + 100 * (n // 2)) for n, part in enumerate(parts)])
    return both.sort("turn", maintain_order=True).drop("turn")


def same(one: pl.DataFrame, other: pl.DataFrame) -> None:
    """Row for row, bit for bit, whatever the order of series."""
    assert one.sort("unique_id").equals(other.sort("unique_id"))


@pytest.fixture(scope="module", params=[
    {}, {"labels": True}, {"stamps": False}, {"extra": False, "given": "gap"},
], ids=lambda options: "-".join(options) or "plain")  # fmt: skip
def events(request, tmp_path_factory):
    options = request.param
    data = {key: value for key, value in options.items() if key in ("labels", "stamps")}
    frames = [event_made.table(names=who, events=5 + 9 * n, seed=n, **data) for n, who in enumerate("uvwxyz")]
    return event_made.made(tmp_path_factory.mktemp("events"), **options), pl.concat(frames)


@pytest.fixture(scope="module", params=[
    {}, {"time": None}, {"time": "stamps"}, {"stride": 0, "head": "flat"}, {"missing": False},
], ids=lambda options: "-".join(options) or "plain")  # fmt: skip
def classes(request, tmp_path_factory):
    options = request.param
    frame = class_made.table(names="pqrstuvwxyz", seed=4, time=options.get("time", "numbers"))
    return class_made.made(tmp_path_factory.mktemp("classes"), **options), frame


def test_events_have_the_forecasts_of_predict(events):
    predictor, frame = events
    found, wanted = forecast_frame(frame, predictor), predictor.predict(frame)
    assert found.columns == [*wanted.columns, *SAID] and found["status"].unique().to_list() == ["forecast"]
    for name in wanted.columns:
        if wanted[name].dtype.is_float():
            assert found[name].to_numpy() == pytest.approx(wanted[name].to_numpy(), rel=1e-5, abs=1e-9, nan_ok=True)
        elif wanted[name].dtype == pl.Datetime:
            far = (found[name] - wanted[name]).dt.total_microseconds().abs().to_numpy()
            assert name == "ds" or not far.any()
        else:
            assert found[name].equals(wanted[name])
    assert found.equals(forecast_frame(frame, predictor))


def test_each_sequence_of_events_is_its_own_affair(events):
    predictor, frame = events
    bad = [part.with_columns(who=pl.lit("bad")) for part in apart(frame)[:3]]
    mixed = pl.concat([cell(bad[0], "bad", 2, "what", None), frame])
    alone = pl.concat([forecast_frame(part, predictor) for part in apart(mixed)])
    same(forecast_frame(mixed, predictor), alone)
    same(forecast_frame(shuffled(mixed), predictor), alone)
    assert alone.filter(status="quarantined")["reason"].to_list() == ["parse_error"]


def test_labelled_series_have_the_classes_of_predict(classes):
    predictor, frame = classes
    found, wanted = forecast_frame(frame, predictor), predictor.predict(frame)
    assert found.columns == [*wanted.columns, *SAID] and found["unique_id"].equals(wanted["unique_id"])
    assert found["label"].equals(wanted["label"])
    chances = [name for name in wanted.columns if wanted[name].dtype.is_float()]
    assert found.select(chances).to_numpy() == pytest.approx(wanted.select(chances).to_numpy(), abs=1e-5)
    assert forecast_frame(frame.drop("state"), predictor).equals(found)
    changed = cell(frame, "q", 1, "state", "other")  # labels are not looked at
    assert forecast_frame(changed, predictor).equals(found)


def test_each_labelled_series_is_its_own_affair(classes):
    predictor, frame = classes
    bad = apart(frame)[1].with_columns(who=pl.lit("bad"))
    mixed = pl.concat([cell(bad, "bad", 2, "heat", float("inf")), frame])
    alone = pl.concat([forecast_frame(part, predictor) for part in apart(mixed)])
    same(forecast_frame(mixed, predictor), alone)
    same(forecast_frame(shuffled(mixed), predictor), alone)
    assert alone.filter(status="quarantined")["reason"].to_list() == ["non_finite"]


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    return event_made.made(tmp_path_factory.mktemp("shop")), event_made.table(names="abc", events=12)


@pytest.mark.parametrize(("column", "value", "reason"), [
    ("what", None, "parse_error"), ("when", None, "parse_error"), ("amount", float("inf"), "non_finite"),
    ("who", None, "no_id"),
])  # fmt: skip
def test_bad_events_have_their_reason(shop, column, value, reason):
    predictor, frame = shop
    broken = cell(frame, "b", 5, column, value)
    found = forecast_frame(broken, predictor)
    bad = found.filter(status="quarantined")
    assert bad["reason"].to_list() == [reason] and bad["unique_id"].to_list() == [None if column == "who" else "b"]
    plain = forecast_frame(frame, predictor).filter(pl.col("unique_id").is_in(["a", "c"]))
    assert found.filter(pl.col("unique_id").is_in(["a", "c"])).equals(plain)
    with pytest.raises(DataError, match=reason):
        forecast_frame(broken, predictor, Asked(on_bad="error"))


def test_events_after_now_are_set_aside(shop):
    predictor, frame = shop
    ends = frame.group_by("who", maintain_order=True).agg(pl.max("when"))["when"].sort()
    found = forecast_frame(frame, predictor, Asked(now=str(ends[1])))
    assert found["reason"].to_list().count("after_now") == 1 and found.filter(status="forecast").height == 2
    with pytest.raises(UsageError, match="now=latest"):
        forecast_frame(frame, predictor, Asked(now="latest"))
    with pytest.raises(UsageError, match="horizon is about series"):
        forecast_frame(frame, predictor, Asked(horizon=1))
    assert forecast_frame(frame.head(0), predictor).schema == found.schema


def test_bad_labelled_series_have_their_reason(tmp_path):
    predictor, frame = class_made.made(tmp_path), class_made.table(names="abc")
    twice = pl.concat([frame, frame.filter(who="b").tail(1)])
    text = cell(frame.with_columns(pl.col("flow").cast(TEXT)), "b", 2, "flow", "much")
    empty = cell(frame, "b", 1, "when", None)
    for broken, reason in ((twice, "duplicate_ds"), (text, "parse_error"), (empty, "parse_error"),
                           (cell(frame, "b", 1, "heat", 1e60), "non_finite")):  # fmt: skip
        found = forecast_frame(broken, predictor)
        assert found["reason"].to_list() == [None, reason, None] and found["label"].null_count() == 1
    assert forecast_frame(frame.head(0), predictor).schema == found.schema
    with pytest.raises(UsageError, match="levels is about forecasts"):
        forecast_frame(frame, predictor, Asked(levels=(0.5,)))
