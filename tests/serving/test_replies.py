"""What the server answers: the numbers of the predictors, series by series, whatever else was asked with them."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import polars as pl
import pytest
import torch
from orjson import OPT_SERIALIZE_NUMPY, OPT_SORT_KEYS, dumps

from forecast import build
from forecast.data.module import SeriesModule
from forecast.data.recipe import Recipe
from forecast.heads import Chain, Direct
from forecast.inference.frame import Asked, forecast_frame
from forecast.inference.predictor import Predictor
from forecast.ledger import REASONS
from forecast.models import Identity, InstanceNorm, ValueEmbedding
from forecast.serving.model import Model
from forecast.serving.reading import Limits, read
from forecast.serving.work import work
from tests.data.test_covariates import HOURS, main, module
from tests.serving.served import serving, wave
from tests.streaming import class_made, event_made
from tests.streaming.made import table
from tests.test_build import config

LIMITS = Limits(1000, 100_000)


def told(frame: pl.DataFrame) -> list[dict]:
    """The rows of a frame of series as a reply has them, for one channel."""
    found = []
    for (name,), rows in frame.group_by("unique_id", maintain_order=True):
        found.append({
            "unique_id": name, "cutoff": rows["cutoff"][0].isoformat(), "ds": [x.isoformat() for x in rows["ds"]],
            "y_hat": rows["y_hat"].to_list(),
            "quantiles": {key: rows[key].to_list() for key in rows.columns if key[:1] == "q"},
        })  # fmt: skip
    return found


def series_of(frame: pl.DataFrame) -> list[dict]:
    return [
        {"unique_id": name, "ds": [x.isoformat() for x in rows["ds"]], "y": rows["y"].to_list()}
        for (name,), rows in frame.group_by("unique_id", maintain_order=True)
    ]


@pytest.fixture(scope="module")
def served(predictor):
    with serving(predictor) as served:
        yield served


def test_a_reply_has_the_numbers_of_the_predictor(served, predictor):
    found = served.post(*series_of(table()))
    assert found.status_code == 200
    body = found.json()
    assert (body["run"], body["name"], body["version"]) == ("r", None, None)
    assert all((one["status"], one["channel"], one["reason"]) == ("forecast", "y", None) for one in body["forecasts"])
    wanted = told(predictor.predict(table()))
    for one, other in zip(body["forecasts"], wanted, strict=True):
        assert {key: one[key] for key in other} == other


def test_levels_and_horizon_are_asked_for(served, predictor):
    found = served.post(*series_of(table()), levels=[0.1, 0.5, 0.975], horizon=2).json()["forecasts"]
    wanted = told(predictor.predict(table(), levels=[0.1, 0.5, 0.975]).filter(pl.col("step") <= 2))
    assert [{key: one[key] for key in other} for one, other in zip(found, wanted, strict=True)] == wanted
    found = served.post(*series_of(table()), levels=[]).json()["forecasts"]
    assert all(one["quantiles"] == {} and len(one["y_hat"]) == 4 for one in found)


def test_times_may_be_told_by_a_start_and_values_by_name(served):
    one = wave("a")
    ds = [f"2024-02-01T{hour:02}:00:00" for hour in range(20)]
    same = [
        {"unique_id": "a", "ds": ds, "y": one["y"]},
        {"unique_id": "a", "ds": [stamp + "+00:00" for stamp in ds], "y": one["y"]},
        {"unique_id": "a", "ds": [stamp.replace("T", " ")[:16] for stamp in ds], "values": {"y": one["y"]}},
        {"unique_id": "a", "start": "2024-02-01", "freq": "1h", "values": {"y": one["y"]}},
    ]
    first = served.post(one).json()
    for other in same:
        assert served.post(other).json() == first
    rows = [{"unique_id": "a", "ds": stamp, "y": y} for stamp, y in zip(ds, one["y"], strict=True)]
    assert served.client.post(served.path, json={"rows": rows}).json() == first
    reverse = {"unique_id": "a", "ds": ds[::-1], "y": one["y"][::-1]}  # the long way sorts it
    assert served.post(reverse).json() == first


BAD = {
    "short": wave("x", 5), "gap": wave("x") | {"y": [*wave("x")["y"][:-3], None, 1.0, 2.0]},
    "duplicate_ds": {"unique_id": "x", "ds": ["2024-01-01"] * 13, "y": list(range(13))},
    "bad_freq": {"unique_id": "x", "ds": [f"2024-01-{day:02}T00:{day}" for day in range(10, 25)], "y": [1.0] * 15},
    "parse_error": {"unique_id": "x", "ds": ["1.1.2024", "soon"], "y": [1.0, 2.0]},
    "no_value": wave("x") | {"y": [None] * 20},
    "non_finite": wave("x") | {"y": [*wave("x")["y"][:-1], 1e200]},
}  # fmt: skip


@pytest.mark.parametrize("reason", list(BAD))
def test_a_bad_series_touches_no_other(served, reason):
    good = [wave("a"), wave("b")]
    alone = served.post(*good).json()["forecasts"]
    found = served.post(good[0], BAD[reason], good[1]).json()["forecasts"]
    assert [found[0], found[2]] == alone
    assert (found[1]["unique_id"], found[1]["status"], found[1]["reason"]) == ("x", "quarantined", reason)
    assert found[1]["detail"] and found[1]["ds"] == found[1]["y_hat"] == [] and found[1]["channel"] is None
    assert reason in REASONS
    strict = served.post(good[0], BAD[reason], on_bad="error")
    assert strict.status_code == 422 and f"series 'x' ({reason})" in strict.json()["error"]


def test_a_bad_series_may_fall_back(served):
    found = served.post(wave("a"), BAD["short"], on_bad="fallback").json()["forecasts"]
    assert [one["status"] for one in found] == ["forecast", "fallback"]
    assert len(found[1]["y_hat"]) == 4 and found[1]["quantiles"]["q05"] == [None] * 4


def test_other_faults_of_one_series(served):
    odd = [
        wave("x") | {"freq": "D"}, wave("x") | {"start": "2024-13-01"}, wave("NaN"),
        {"unique_id": "x", "ds": ["2024-01-01"], "y": [1.0, 2.0]}, wave("x") | {"start": "0001-01-01"},
        {"unique_id": "x", "ds": ["2024-01-01T00:00Z", "2024-01-01T01:00"], "y": [1.0, 2.0]},
        {"unique_id": "x", "ds": ["now", "NaT"], "y": [1.0, 2.0]},
    ]  # fmt: skip
    found = served.post(*odd, wave("a")).json()["forecasts"]
    assert [one["reason"] for one in found] == ["bad_freq", *["parse_error"] * 6, None]
    assert found[0]["detail"] == "freq is 'D'; expected h, as in training"
    assert found[3]["detail"] == "its lists are not of one length: y 2, ds 1"
    assert [one["unique_id"] for one in found[-6:-4]] == ["NaN", "x"]


def test_series_of_one_name_are_told_apart(served):
    one, other = wave("a", 20), wave("a", 25)
    found = served.post(one, other, one | {"y": [None, *one["y"][1:]]}, other | {"y": [None, *other["y"][1:]]})
    apart = [served.post(each).json()["forecasts"][0] for each in (one, other)]
    same(found.json()["forecasts"], [*apart, *apart])


def test_requests_that_come_together_are_answered_together_and_apart(served):
    many = [[wave(f"{n}", 14 + n), *([BAD["gap"]] if n % 3 == 0 else [])] for n in range(24)]
    apart = [served.post(*each).json() for each in many]
    with ThreadPoolExecutor(24) as pool:
        with served.held():
            waiting = [pool.submit(served.post, *each) for each in many]
            while served.server.desk.jobs.qsize() < len(many):
                pass
        for each, alone in zip(waiting, apart, strict=True):
            same(each.result().json()["forecasts"], alone["forecasts"])
    text = served.client.get("/metrics").text
    assert 'forecast_batch_series_bucket{le="64.0"}' in text and "forecast_batch_series_count" in text


def same(some, others):
    """Equal, numbers to what a batch of another size may change."""
    for one, other in zip(some, others, strict=True):
        assert one.keys() == other.keys()
        for key in one:
            if key == "quantiles":
                same([one[key]], [other[key]])
            elif isinstance(one[key], list) and one[key] and isinstance(one[key][0], float):
                assert one[key] == pytest.approx(other[key], rel=1e-5)
            else:
                assert one[key] == other[key]


@pytest.mark.parametrize("kind", ["plain", "masking", "two"])
def test_the_short_way_gives_the_bytes_of_the_long_one(kind, predictor, masking, tmp_path):
    model = Model({"plain": predictor, "masking": masking}.get(kind) or two(tmp_path), "forecast", "r")
    draw = np.random.default_rng(0)
    names = [f"{n}" for n in range(7)] + ["a", "b"]  # new ones and some of the training
    series = [
        {"unique_id": name, "start": f"2024-03-01T0{n}:00",
         "values": {key: draw.normal(3, 2, 12 + 5 * n).tolist() for key in model.shape.numbers}}
        for n, name in enumerate(names)
    ]  # fmt: skip
    asked = [series] if model.shape.id is not None else [[one] for one in series]  # a table has as many
    queries = [read(dumps({"series": some}), model.shape, LIMITS) for some in asked]
    assert all(model.quick.fits(query.series).all() for query in queries)
    quick = [entry for query in queries for entry in work(model, [query])[0]]
    model.quick.able = False
    long = [entry for query in queries for entry in work(model, [query])[0]]
    assert len(quick) == len(names) * model.predictor.recipe.spec.targets
    for one, other in zip(quick, long, strict=True):
        assert plain(one) == plain(other)


def plain(entry):

    return dumps(entry, option=OPT_SERIALIZE_NUMPY | OPT_SORT_KEYS)


def two(folder):
    """Two targets and a channel that is only seen, on a clock of a zone, of one series without a name."""
    draw = np.random.default_rng(0)
    time = np.datetime64("2024-01-01T00:00", "us") + np.arange(300) * np.timedelta64(1, "h")
    frame = pl.DataFrame(
        {"ds": time, "u": draw.normal(size=300), "v": draw.normal(size=300), "w": draw.normal(size=300)}
    )
    frame.write_parquet(folder / "two.parquet")
    data = SeriesModule(
        path=str(folder / "two.parquet"), time="ds", target=["v", "u"], past="w", freq="h", context=12, horizon=4,
        zone="Etc/GMT-2",
    ).prepare()  # fmt: skip

    torch.manual_seed(0)
    embed = ValueEmbedding(spec=data.spec, d_model=8)
    head = Direct(spec=data.spec, d_memory=8, length=12, tokens=3)
    chain = Chain(norm=InstanceNorm(), embed=embed, encoder=Identity(d_model=8), head=head, masked=False)
    return Predictor(chain, Recipe.from_state(data.state()), "two")


def test_several_targets_and_a_zone(tmp_path):
    predictor = two(tmp_path)
    y = [round(i % 7 / 3, 3) for i in range(20)]
    with serving(predictor) as served:
        one = {"start": "2024-06-01T00:00", "values": {"u": y, "v": y[::-1], "w": y}}
        found = served.post(one).json()["forecasts"]
        assert [(each["unique_id"], each["channel"]) for each in found] == [("two", "v"), ("two", "u")]
        assert found[0]["cutoff"] == "2024-06-01T19:00:00+02:00" and found[0]["ds"][0] == "2024-06-01T20:00:00+02:00"
        assert found[0]["quantiles"] == {}
        time = np.datetime64("2024-06-01T00:00", "us") + np.arange(20) * np.timedelta64(1, "h")
        frame = predictor.predict(pl.DataFrame({"ds": time, "u": y, "v": y[::-1], "w": y}))
        assert found[1]["y_hat"] == frame.filter(pl.col("channel") == "u")["y_hat"].to_list()
        refused = served.post(one, levels=[0.5])
        assert refused.status_code == 422 and "no intervals" in refused.json()["error"]
        lacks = served.post({"start": "2024-06-01", "values": {"u": y}})
        assert lacks.status_code == 422 and "no values of 'v'" in lacks.json()["error"]
        several = served.post(one, one, one | {"values": {"u": [None] * 20, "v": y, "w": y}}).json()["forecasts"]
        same(several[:4], [*found, *found])
        assert several[4]["status"] == "quarantined" and several[4]["reason"] == "gap"


def test_a_model_that_masks_takes_what_it_does_not_know(masking):
    with serving(masking) as served:
        y = wave("a")["y"]
        gappy = wave("a") | {"y": [None if i % 5 == 2 else value for i, value in enumerate(y)]}
        (found,) = served.post(gappy).json()["forecasts"]
        assert found["status"] == "forecast"
        time = np.datetime64("2024-02-01T00:00", "us") + np.arange(20) * np.timedelta64(1, "h")
        frame = pl.DataFrame({"unique_id": "a", "ds": time, "y": gappy["y"]})
        assert found["y_hat"] == told(masking.predict(frame))[0]["y_hat"]


def test_covariates_that_are_known_ahead(tmp_path):

    data = module(tmp_path, main(), known=["price", "promo"], static="region", holidays=None)
    predictor = predictor_of(data.prepare())
    ahead = main(ahead=4)
    mine = ahead.filter(pl.col("unique_id") == "a")
    one = {
        "unique_id": "a", "ds": [x.isoformat() for x in mine["ds"][:HOURS]], "y": mine["y"][:HOURS].to_list(),
        "known": {"price": mine["price"].to_list(), "promo": mine["promo"].to_list()},
        "static": {"region": "region a"},
    }  # fmt: skip
    with serving(predictor) as served:
        facts = served.client.get("/v1/model").json()
        assert (facts["known"], facts["static"]) == (["price", "promo"], ["region"])
        found = served.post(one, one | {"known": {"price": mine["price"][:HOURS].to_list()}}).json()["forecasts"]
        wanted = forecast_frame(mine, predictor, Asked())
        assert found[0]["y_hat"] == wanted["y_hat"].to_list()
        assert (found[1]["status"], found[1]["reason"]) == ("quarantined", "missing_known")
        odd = served.post(one | {"known": {"prise": [1.0]}})
        assert odd.status_code == 422 and "did you mean price?" in odd.json()["error"]


def predictor_of(data):

    torch.manual_seed(0)
    return Predictor(build.chain(config(), data.spec, masked=False), Recipe.from_state(data.state()), "x")


def test_classes(classes):
    frame = class_made.table(names="abcd", seed=3)
    series = [
        {"unique_id": name, "ds": rows["when"].to_list(),
         "values": {"flow": rows["flow"].to_list(), "heat": rows["heat"].to_list()}}
        for (name,), rows in frame.group_by("who", maintain_order=True)
    ]  # fmt: skip
    with serving(classes, "classify") as served:
        assert served.path == "/v1/classify"
        found = served.post(*series).json()["classes"]
        wanted = classes.predict(frame.drop("state"))
        assert [one["label"] for one in found] == wanted["label"].to_list()
        assert [one["p"] for one in found] == pytest.approx(wanted["p"].to_list(), rel=1e-6)
        assert set(found[0]["probabilities"]) == {"slow", "quick", "odd"}
        twice = series[1] | {"ds": [1.0] * len(series[1]["ds"])}
        both = served.post(series[0], twice).json()["classes"]
        assert both[0]["label"] == found[0]["label"] and both[1]["reason"] == "duplicate_ds"
        assert both[1]["label"] is None and both[1]["probabilities"] == {}
        for asked in ({"levels": [0.5]}, {"horizon": 1}):
            assert served.post(series[0], **asked).status_code == 422
        assert served.client.get("/v1/model").json()["classes"] == ["odd", "quick", "slow"]


@pytest.mark.parametrize("stamps", [True, False])
def test_events(tmp_path, stamps):
    predictor = event_made.made(tmp_path, stamps=stamps)
    frame = event_made.table(names="abc", stamps=stamps, seed=5)
    series = [
        {"unique_id": name, "ds": [x.isoformat() if stamps else x for x in rows["when"]],
         "mark": rows["what"].to_list(), "values": {"amount": rows["amount"].to_list()}}
        for (name,), rows in frame.group_by("who", maintain_order=True)
    ]  # fmt: skip
    with serving(predictor, "event") as served:
        assert served.path == "/v1/events"
        found = served.post(*series, levels=[0.1]).json()["events"]
        wanted = predictor.predict(frame, levels=[0.1])
        for one, row in zip(found, wanted.iter_rows(named=True), strict=True):
            assert (one["mean"], one["quantiles"]["q10"]) == pytest.approx((row["mean"], row["q10"]), rel=1e-6)
            assert one["mark"] == row["mark"] and one["probabilities"][one["mark"]] == pytest.approx(row["p_mark"])
            assert one["last"] == (row["last"].isoformat() if stamps else row["last"]) and one["ds"] is not None
        later = "2024-06-01T00:00" if stamps else 1e4
        now = served.post(*series, now=later).json()["events"]
        assert all(one["cutoff"] == (f"{later}:00" if stamps else later) for one in now)
        early = served.post(*series, now="2023-06-01T00:00" if stamps else 0).json()["events"]
        assert {one["reason"] for one in early} == {"after_now"}
        assert served.post(*series, now="latest" if stamps else "soon").status_code == 422
        bad = served.post(series[0], series[1] | {"mark": ["buy"]}).json()["events"]
        assert bad[0]["status"] == "forecast" and bad[1]["reason"] == "parse_error"


def test_a_model_is_asked_where_its_task_is(served, classes):
    for path in ("/v1/classify", "/v1/events"):
        found = served.client.post(path, json={"series": [wave()]})
        assert found.status_code == 404
        assert found.json() == {"error": "the model is of task=forecast; ask it at /v1/forecast"}


def test_the_model_says_what_it_is(served):
    facts = served.client.get("/v1/model").json()
    expected = {
        "run": "r", "task": "forecast", "path": "/v1/forecast", "channels": ["y"], "context": 12, "horizon": 4,
        "freq": "h", "levels": [0.05, 0.95], "season": 24, "targets": ["y"],
    }  # fmt: skip
    assert {key: facts[key] for key in expected} == expected
