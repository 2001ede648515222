"""What a line must hold, and what a line of output says."""

import json

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecast.data.module import SeriesModule
from forecast.data.recipe import Recipe
from forecast.streaming.lines import Reader, Writer, significant
from forecast.streaming.outlook import Forecasts
from forecast.streaming.taken import Taken
from tests.streaming.made import table


def recipe(tmp_path, *, zone=None, targets=("y",)):
    frame = table().with_columns(z=0.5, w=0.25)
    frame.write_parquet(tmp_path / "f.parquet")
    data = SeriesModule(
        path=str(tmp_path / "f.parquet"), time="ds", id="unique_id", target=list(targets), freq="h", zone=zone,
        context=12, horizon=4, missing=-9.0, past=["w"],
    ).prepare()  # fmt: skip
    return Recipe.from_state(data.state())


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    return Reader(recipe(tmp_path_factory.mktemp("reader")))


GOOD = '{"unique_id": "a", "ds": "2024-01-01T00:00:00", "y": 1.5, "w": 2}'


@pytest.mark.parametrize(("line", "reason"), [
    ("nonsense", "no JSON"),
    ("[1, 2]", "no JSON object; expected one with unique_id, ds, y, w"),
    ('{"ds": "2024-01-01", "y": 1, "w": 2}', "'unique_id' is missing; expected the name of a series"),
    ('{"unique_id": true, "ds": "2024-01-01", "y": 1, "w": 2}', "'unique_id' is True"),
    ('{"unique_id": "", "ds": "2024-01-01", "y": 1, "w": 2}', "expected the name"),
    ('{"unique_id": "a", "y": 1, "w": 2}', "'ds' is missing; expected a stamp like"),
    ('{"unique_id": "a", "ds": 1704067200, "y": 1, "w": 2}', "'ds' is 1704067200"),
    ('{"unique_id": "a", "ds": "2024-13-01", "y": 1, "w": 2}', "expected a stamp like"),
    ('{"unique_id": "a", "ds": "0001-01-01T00:00:00+01:00", "y": 1, "w": 2}', "expected a stamp like"),
    ('{"unique_id": "a", "ds": "9999-12-31T23:45:00-01:00", "y": 1, "w": 2}', "expected a stamp like"),
    ('{"unique_id": "a", "ds": "0024-01-01", "y": 1, "w": 2}', "of the year 24"),
    ('{"unique_id": "a", "ds": "2024-01-01", "y": "1", "w": 2}', "'y' is '1'; expected a number"),
    ('{"unique_id": "a", "ds": "2024-01-01", "y": true, "w": 2}', "'y' is True"),
    ('{"unique_id": "a", "ds": "2024-01-01", "y": [1], "w": 2}', "'y' is [1]"),
    ('{"unique_id": "a", "ds": "2024-01-01", "y": 1, "v": 2}', "'v' is no column"),
    ('{"unique_id": "a", "ds": "2024-01-01"}', "there is no value; expected y, w"),
    ('{"unique_id": "a", "ds": "2024-01-01", "y": 1, "w": "' + "x" * (1 << 20) + '"}', "expected at most 1,048,576"),
])  # fmt: skip
def test_a_bad_line_is_refused_with_its_reason_and_stops_nothing(reader, line, reason):
    found = reader([GOOD.encode(), line.encode(), b"", b"  \n", GOOD.encode()])
    assert found.number == [0, 4] and found.names == ["a", "a"]
    (refused,) = found.refused
    assert refused.number == 1 and reason in refused.reason and len(refused.reason) < 200


def test_what_a_good_line_may_hold(reader):
    found = reader([
        b'{"unique_id": 7, "ds": "2024-01-01T02:00:00+02:00", "y": null, "w": -9, "more": [], "id": "m1"}',
        b'{"unique_id": "a", "ds": "2024-01-01", "w": 1e400}',
        b'{"unique_id": "a", "ds": "2024-01-01T00:00:00.5Z", "y": 123456789012345678901234567890, "w": 1}',
    ])  # fmt: skip
    assert not found.refused[1:] and found.ids[0] == "m1" and found.names[0] == "7"
    start = int(np.datetime64("2024-01-01", "us").astype(np.int64))
    assert found.time[0] == start and found.time[-1] == start + 500_000
    assert np.isnan(found.values[0]).all() and found.values[-1, 0] == 123456789012345678901234567890


def test_the_clock_of_a_zone(tmp_path):
    reader = Reader(recipe(tmp_path, zone="Europe/Berlin"))
    line = '{{"unique_id": "a", "ds": "{}", "y": 1, "w": 1}}'
    found = reader([line.format(ds).encode() for ds in ("2024-07-01T02:00", "2024-03-31T02:30", "2024-07-01T00:00Z")])
    assert found.time.tolist() == [int(np.datetime64("2024-07-01", "us").astype(np.int64))] * 2
    assert found.number == [0, 2] and "there was no such time in Europe/Berlin" in found.refused[0].reason


@given(st.lists(st.one_of(st.binary(max_size=60), st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(
        st.sampled_from(["unique_id", "ds", "y", "w", "id", "x"]), inner, max_size=6)),
    max_leaves=8,
).map(lambda value: json.dumps(value).encode())), max_size=5))  # fmt: skip
def test_no_line_whatsoever_raises(reader, lines):
    found = reader(lines)
    assert len(found.number) + len(found.refused) == sum(bool(line) and not line.isspace() for line in lines)
    assert found.values.shape == (len(found.names), 2) == (len(found.time), 2)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_keep_seven_digits(value):
    (found,) = significant(np.array([value]))
    assert np.isfinite(found) and abs(found - value) <= abs(value) * 1e-6
    if 1e-12 < abs(value) < 1e15:
        assert found == float(f"{found:.6e}")


@pytest.mark.parametrize("targets", [("y",), ("y", "z")])
def test_a_line_of_output(tmp_path, targets):
    t = len(targets)
    stamps = np.datetime64("2024-01-01T00:00", "us") + np.arange(5) * np.timedelta64(1, "h")
    y = np.arange(4.0 * t).reshape(1, 4, t) / 3
    made = Forecasts(["a"], stamps[:1], stamps[None, 1:], y, y[..., None] + [-1, 1], (0.05, 0.95), targets)
    taken = Taken(np.zeros(3, np.int8), np.array([2]), made, np.full((1, t), 0.25), np.zeros((1, t), bool))
    write = Writer(recipe(tmp_path, zone="Europe/Berlin", targets=targets), (0.05, 0.95), tails=True)
    (line,) = map(orjson.loads, write(taken, [None, None, {"n": 1}], 7))
    assert line["seq"] == 7 and line["id"] == {"n": 1} and line["status"] == "ok"
    assert line["cutoff"] == "2024-01-01T01:00:00+01:00" and len(line["ds"]) == 4
    one = (lambda values: values) if t == 1 else (lambda values: values["y"])
    assert one(line["y_hat"])[1] == pytest.approx(y[0, 1, 0], rel=1e-6) and one(line["p"]) == 0.25
    assert one(line["q05"])[1] == pytest.approx(y[0, 1, 0] - 1, rel=1e-6) and one(line["alarm"]) is False
