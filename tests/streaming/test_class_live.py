"""What a stream tells of a labelled series is what `predict` tells of it cut there, whatever comes in between."""

import numpy as np
import polars as pl
import pytest

from forecast.errors import ArtifactError, DataError, UsageError
from forecast.models import LSTM, TCNCA, Aaren, Identity, Informer, Transformer
from forecast.streaming.class_lines import Steps
from forecast.streaming.class_reading import read
from tests.streaming.class_made import LONGEST, cut, made, said, streamed, table

ENCODERS = {
    "aaren": lambda: Aaren(d_model=8, heads=2, d_ff=8, layers=2),
    "lstm": lambda: LSTM(d_model=8, layers=2),
    "tcnca": lambda: TCNCA(d_model=8, d_key=4, d_ff=8, chunk=5, kernel=3, factor=2, depth=2),
    "transformer": lambda: Transformer(d_model=8, heads=2, d_ff=8, layers=1, causal=True, window=6),
    "none": lambda: Identity(d_model=8),
}


@pytest.fixture(scope="module")
def predictor(tmp_path_factory):
    return made(tmp_path_factory.mktemp("classes"))


def told(live, frame, size=None):
    """{(name, step): (K,) probabilities} of the rows of a table, some at a time."""
    rows = read(frame, live.recipe, live.time)
    found, names = {}, rows.names
    for at in range(0, len(names), size or len(names)):
        some = slice(at, at + (size or len(names)))
        taken = live.take(names[some], rows.ticks[some], Steps.of(rows.values[some]))
        made = taken.forecasts
        found |= dict(zip(zip(made.ids, made.step.tolist(), strict=True), made.chance, strict=True))
    return found


def same_as_predict(predictor, frame, found):
    assert len(found) == frame.height
    for (name, step), chance in found.items():
        assert chance == pytest.approx(cut(predictor, frame, name, step), abs=1e-5)


@pytest.mark.parametrize("name", ENCODERS)
def test_after_every_step_it_is_the_prediction_of_the_series_cut_there(tmp_path, name):
    predictor = made(tmp_path, ENCODERS[name]())
    frame = table(names="xyz", seed=3)
    found = told(streamed(predictor), frame, 7)
    same_as_predict(predictor, frame, found)
    assert np.ptp(list(found.values()), axis=0).max() > 0.02


@pytest.mark.parametrize("options", [
    {"time": None}, {"time": "stamps"}, {"stride": 1, "head": "last"}, {"stride": 0, "head": "flat"},
    {"missing": False}, {"scale": "none", "head": "max"},
])  # fmt: skip
def test_of_other_data_and_heads_too(tmp_path, options):
    predictor = made(tmp_path, **options)
    frame = table(names="xyz", seed=3, time=options.get("time", "numbers"))
    same_as_predict(predictor, frame, told(streamed(predictor), frame, 10))


@pytest.mark.parametrize("size", [1, 5, 1000])
def test_any_split_gives_the_same(predictor, size):
    frame = table(names="xyz", seed=5)
    whole, parts = told(streamed(predictor), frame, 20), told(streamed(predictor), frame, size)
    assert whole.keys() == parts.keys()
    for key, chance in whole.items():
        assert chance == pytest.approx(parts[key], abs=1e-6)


def test_a_state_does_not_grow_and_what_has_ended_makes_room(predictor):
    live = streamed(predictor)
    size = live.states.size()
    for n in range(200):
        live.push("x", {"flow": n / 100}, n)
    assert live.states.size() == size == len(live.states.records(live.states.take(["x"]))[0]) < 1000
    for n in range(100):
        live.push(f"s{n}", {"flow": 1.0}, 0)
        assert live.push(f"s{n}", end=True).step.tolist() == [1]
    assert len(live.states) == 1 and len(live.states.names) == 2


def test_rules_for_what_comes(predictor):
    live, nan = streamed(predictor, longest=100.0), np.nan
    first = live.push("x", {"flow": 3.0}, 1)
    assert first.ids == ["x"] and first.step.tolist() == [1] and first.chance.sum() == pytest.approx(1)
    times = [2.0, 2.0, 1.5, 3.0, 4.0, 0.0, 0.0, 1.0, 300.0, 300.0, 1.0]
    names = ["x"] * 6 + ["x", "x", "x", "x", "x"]
    values = np.array(
        [[1, 2], [3, 4], [1, 1], [1, 1e12], [nan, nan], [nan, nan], [nan, nan], [2, 2], [2, 2], [2, 2], [1, 1]]
    )
    bare = np.array([0, 0, 0, 0, 0, 1, 1, 0, 0, 0, 0], bool)
    ends = bare | (np.arange(11) == 9)
    taken = live.take(names, live.time.of(times), Steps(values, ends, bare))
    assert said(taken) == [
        "ok", "duplicate", "late", "implausible", "ok", "ended", "not begun", "first", "restarted", "ended", "first"
    ]  # fmt: skip
    made = taken.forecasts
    assert taken.at.tolist() == [0, 4, 5, 7, 8, 9, 10] and made.step.tolist() == [2, 3, 3, 1, 1, 1, 1]
    assert np.array_equal(made.chance[1], made.chance[2]) and np.array_equal(made.chance[4], made.chance[5])
    before = live.states.records(live.states.take(["x"]))
    late = live.take(["x"], live.time.of([0.5]), Steps.of(values[:1]))
    assert said(late) == ["late"] and not len(late.at)
    assert np.array_equal(live.states.records(live.states.take(["x"])), before)
    live.reset("x")
    assert said(live.take(["x"], live.time.of([0.5]), Steps.of(values[:1]))) == ["first"]


def test_a_series_that_has_ended_begins_anew_and_only_the_last_of_each_may_be_told(predictor):
    live, frame = streamed(predictor), table(names="x", seed=8)
    rows = read(frame, live.recipe, live.time)
    steps = Steps(rows.values, rows.step == len(frame), np.zeros(len(frame), bool))
    twice = Steps(*(np.concatenate([part, part]) for part in (steps.values, steps.ends, steps.bare)))
    ticks = np.concatenate([rows.ticks, rows.ticks])
    taken = live.take(rows.names * 2, ticks, twice, every=False)
    assert taken.forecasts.step.tolist() == [len(frame)] * 2 and len(live.states) == 0
    assert taken.forecasts.chance[0] == pytest.approx(taken.forecasts.chance[1], abs=1e-7)
    assert taken.forecasts.chance[0] == pytest.approx(cut(predictor, frame, "x", len(frame)), abs=1e-5)


def test_a_flat_head_takes_no_more_steps_than_it_knows(tmp_path):
    live = streamed(made(tmp_path, stride=0, head="flat", time=None))
    for _ in range(LONGEST):
        live.push("x", {"flow": 1.0})
    with pytest.raises(DataError, match="is one more than the longest series of the training had; .* head=pool"):
        live.push("x", {"flow": 1.0})
    assert live.push("x", end=True).step.tolist() == [LONGEST]


def test_what_cannot_be_taken_is_told(predictor, tmp_path):
    live = streamed(predictor)
    live.push("x", {"flow": 1.0}, 2)
    for given, more, words in [
        (("x", {"flow": 1.0}, 1), {}, "the step of series 'x' is late; expected a time after the last one"),
        (("x", {"flow": 1.0}, 2), {}, "was taken before"), (("x", {"flow": 1e30}, 3), {}, "is implausible"),
        (("x", {"flow": 1.0}, "soon"), {}, "'soon' is no time; expected a number"),
        (("x", {"flow": "1 l"}, 3), {}, "the values are {'flow': '1 l'}; expected numbers, or None"),
        (("x", {"flaw": 1.0}, 3), {}, "there is no channel 'flaw'; expected flow, heat"),
        (("x",), {}, "there are no values for series 'x'; expected some, or end=True"),
        (("y",), {"end": True}, "ends a series that has not begun; expected a step of it before"),
    ]:  # fmt: skip
        with pytest.raises(DataError) as fault:
            live.push(*given, **more)
        assert words in str(fault.value)
    with pytest.raises(DataError, match="holds no numbers; expected numbers"):
        live.push_many(table(names="x", time="stamps"))
    with pytest.raises(KeyError):
        live.latest(["y"])
    raw = streamed(made(tmp_path, time=None, scale="none"))
    raw.push("x", {"flow": 1e9})
    with pytest.raises(DataError, match="within a trillion of 0"):
        raw.push("x", {"flow": 1e13})
    with pytest.raises(DataError, match="has the time 3; expected none"):
        raw.push("x", {"flow": 1.0}, 3)


@pytest.mark.parametrize(("options", "words"), [
    ({"gaps": "fill"}, "gaps=fill with a run of classification"),
    ({"rewind": 3}, "rewind=3 with a run of classification"),
    ({"correct": True}, "correct=true with a run of classification"),
    ({"budget": 0.1}, "alarms=0.1 with a run of classification"),
    ({"levels": [0.5]}, r"levels=\[0.5\] with a run of classification"),
    ({"engine": "onnx"}, "engine=onnx with a run of classification"),
    ({"longest": 0.0}, "longest is 0; expected a gap above 0, in what when counts"),
])  # fmt: skip
def test_settings_that_mean_nothing_are_refused(predictor, options, words):
    with pytest.raises(UsageError, match=words):
        streamed(predictor, **options)


def test_without_times_there_are_no_gaps(tmp_path):
    with pytest.raises(UsageError, match="longest=5 with series that have no times"):
        streamed(made(tmp_path, time=None), longest=5.0)


@pytest.mark.parametrize(("encoder", "words"), [
    (
        lambda: Informer(d_model=8, heads=2, d_ff=8, causal=True, aligned=True, nominal=LONGEST),
        "Informer looks at a whole series.*train with model=aaren",
    ),
    (
        lambda: Transformer(d_model=8, heads=2, d_ff=8, layers=1),
        "Transformer looks at a whole series.*train with model.causal=true",
    ),
])  # fmt: skip
def test_a_model_that_looks_at_whole_series_is_refused(tmp_path, encoder, words):
    with pytest.raises(UsageError, match=words):
        streamed(made(tmp_path, encoder()))


def test_a_snapshot_goes_on_where_it_was_and_only_under_its_weights(predictor, tmp_path):
    frame = table(names="xyz", seed=4).sort("when", maintain_order=True)
    live, other = streamed(predictor), streamed(predictor)
    live.push_many(frame.head(20))
    live.push("z", end=True)
    live.snapshot(tmp_path / "s.safetensors")
    other.restore(tmp_path / "s.safetensors")
    assert "z" not in other.states
    a, b = (one.push_many(frame.slice(20)) for one in (live, other))
    assert a.ids == b.ids and np.array_equal(a.chance, b.chance) and np.array_equal(a.step, b.step)
    now = live.latest(a.ids)
    assert np.array_equal(now.chance, a.chance) and now.frame().equals(a.frame())
    assert now.frame().columns == ["unique_id", "step", "label", "p", "p_odd", "p_quick", "p_slow"]
    with pytest.raises(ArtifactError, match="other weights"):
        type(live)(predictor, "v").restore(tmp_path / "s.safetensors")


def test_pushes_one_by_one_are_a_frame(predictor):
    frame = table(names="xy", seed=6)
    one, many = streamed(predictor), streamed(predictor)
    last = {}
    for row in frame.sort("when", maintain_order=True).iter_rows(named=True):
        values = {key: None if row[key] == -99 else row[key] for key in ("flow", "heat")}
        last[row["who"]] = one.push(row["who"], values, row["when"])
    made = many.push_many(frame.to_pandas())
    assert set(made.ids) == set("xy") and made.label == [last[name].label[0] for name in made.ids]
    for name, chance in zip(made.ids, made.chance, strict=True):
        assert last[name].chance[0] == pytest.approx(chance, abs=1e-6)


def test_rows_of_series_that_ended_are_given_to_others_before_any_gives_way(predictor):
    live = streamed(predictor, most=4)
    for name in "abcd":
        live.push(name, {"flow": 1.0}, 1)
    live.push("b", end=True)
    live.push("c", end=True)
    frame = pl.DataFrame({"who": list("efa"), "flow": [1.0] * 3, "heat": [2.0] * 3, "when": [2.0] * 3})
    assert sorted(live.push_many(frame).step.tolist()) == [1, 1, 2] and set(live.states.slots) == set("adef")
    frame = frame.with_columns(who=pl.Series(list("gha")), when=pl.lit(3.0))
    assert sorted(live.push_many(frame).step.tolist()) == [1, 1, 3] and "a" in live.states
