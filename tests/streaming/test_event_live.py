"""A stream of events is one pass over each sequence, whatever comes in between, and takes what its rules say."""

import numpy as np
import polars as pl
import pytest
import torch

from forecast.data.event_split import whole
from forecast.errors import ArtifactError, DataError, UsageError
from forecast.heads.gaps import Gaps
from forecast.inference.event_predictor import EventPredictor
from forecast.models import LSTM, TCNCA, Aaren, Identity, Informer, Transformer
from forecast.streaming.event_quantiles import quantiles
from forecast.streaming.event_reading import read
from forecast.streaming.event_replay import _before, _times
from forecast.streaming.event_time import EventTime
from tests.streaming.event_made import made, rows, said, scanned, streamed, table

ENCODERS = {
    "aaren": lambda: Aaren(d_model=8, heads=2, d_ff=8, layers=2),
    "lstm": lambda: LSTM(d_model=8, layers=2),
    "tcnca": lambda: TCNCA(d_model=8),
    "transformer": lambda: Transformer(d_model=8, heads=2, d_ff=8, layers=1, causal=True, window=64),
    "none": lambda: Identity(d_model=8),
}


@pytest.fixture(scope="module")
def predictor(tmp_path_factory) -> EventPredictor:
    return made(tmp_path_factory.mktemp("events"))


def taken_of(live, frame, size=None):
    """What became of the rows of a table, some at a time, and whose they are."""
    names, ticks, held = read(frame, live.recipe, live.time)
    cuts = range(0, len(names), size or len(names))
    parts = [live.take(names[at : at + (size or len(names))], ticks[at : at + (size or len(names))],
                       held[range(at, min(at + (size or len(names)), len(names)))]) for at in cuts]  # fmt: skip
    return names, parts


def of(names, parts, name):
    """Medians, nats of one sequence."""
    median = np.concatenate([part.forecasts.median for part in parts])
    nats = np.concatenate([part.nats for part in parts])
    mine = np.array(names) == name
    return median[mine], nats[mine]


@pytest.mark.parametrize("name", ENCODERS)
def test_live_is_one_scan(tmp_path, name):
    torch.manual_seed(1)
    predictor = made(tmp_path, ENCODERS[name]())
    frame = table(names="xyz", events=70, seed=3)
    names, parts = taken_of(streamed(predictor), frame, 17)
    for who, (median, nats) in scanned(predictor, frame).items():
        own, worth = of(names, parts, who)
        assert np.log(own / median) / predictor.recipe.spec.log_std == pytest.approx(0.0, abs=1e-5)
        assert worth[1:] == pytest.approx(nats, rel=1e-5, abs=1e-5) and np.isnan(worth[0]).all()


@pytest.mark.parametrize(
    "options", [{"labels": True}, {"stamps": False}, {"given": "gap"}, {"extra": False}, {"clock": 3}]
)
def test_live_is_one_scan_of_other_data(tmp_path, options):
    predictor = made(tmp_path, **options)
    given = {key: value for key, value in options.items() if key in ("labels", "stamps")}
    frame = table(names="xy", events=50, seed=3, **given)
    live = streamed(predictor)
    names, parts = taken_of(live, frame, 20)
    for who, (median, nats) in scanned(predictor, frame).items():
        own, worth = of(names, parts, who)
        assert np.log(own / median) / predictor.recipe.spec.log_std == pytest.approx(0.0, abs=1e-5)
        assert worth[1:] == pytest.approx(nats, rel=1e-5, abs=1e-5)
    assert parts[-1].forecasts.top.shape[1] == 3
    if options.get("labels"):
        assert parts[-1].forecasts.guess.shape == (len(parts[-1].at), 3)
    else:
        batch = predictor.recipe.gather(whole(predictor.recipe.read(frame)))(torch.tensor([1]))
        likely = predictor.chain.last(batch).mark_probabilities()[0].detach().numpy()
        now = live.latest(["y"])
        assert now.p[0] == pytest.approx(likely[now.top[0]], abs=1e-5) and now.guess[0] == likely.argmax()


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_any_split_gives_the_same(predictor, size):
    frame = table(names="xyz", seed=5)
    names, once = taken_of(streamed(predictor), frame, 50)
    _, cut = taken_of(streamed(predictor), frame, size)
    for name in "xyz":
        for one, other in zip(of(names, once, name), of(names, cut, name), strict=True):
            assert one == pytest.approx(other, rel=1e-4, abs=1e-5, nan_ok=True)


def test_a_state_does_not_grow(predictor):
    live, frame = streamed(predictor), table(names="x", events=300, seed=2)
    size = live.states.size()
    taken_of(live, frame, 300)
    assert live.states.size() == size == len(live.states.records(live.states.take(["x"]))[0]) < 400
    assert len(live.states) == 1 and live.states.count[0] == 300


def test_rules_for_what_comes(predictor):
    live = streamed(predictor, longest=100.0)
    first = live.push("x", "2025-01-01T00:00", "buy", {"amount": 3.0})
    assert first.ids == ["x"] and 0 < first.quantiles[0, 0] < first.median[0] < first.quantiles[0, 1]
    names, ticks, held = read(pl.DataFrame({
        "who": ["x"] * 8,
        "when": [f"2025-01-01T{hour}" for hour in ("01:00", "01:00", "01:00", "01:00", "02:00", "02:00", "03:00")]
        + ["2025-02-01T00:00"],
        "what": ["buy", "buy", "look", "new", "other", "odd", "buy", "buy"],
        "amount": [None, 1.0, 2.0, 2.0, 2.0, 2.0, 1e12, 2.0],
    }), live.recipe, live.time)  # fmt: skip
    taken = live.take(names, ticks, held)
    words = ["ok", "duplicate", "ok", "unknown mark", "unknown mark", "unknown mark", "implausible", "restarted"]
    assert said(taken) == words and taken.at.tolist() == [0, 2, 3, 4, 5, 7]
    assert np.isnan(taken.nats[-1]).all() and np.isnan(taken.tail[-1]) and not np.isnan(taken.nats[:-1]).any()
    assert taken.nats[2, 1] == 0 and (taken.gap[1:3] == predictor.recipe.spec.floor).all()
    assert live.states.count[0] == 1
    before = live.states.records(np.array([0]))
    late = live.take(["x"], live.time.one("2025-01-31T23:59"), held[[0]])
    again = live.take(["x"], live.time.one("2025-02-01T00:00"), held[[0]])
    assert said(late) == ["late"] and said(again) == ["duplicate"] and not len(late.at)
    assert np.array_equal(live.states.records(np.array([0])), before)
    live.reset("x")
    assert said(live.take(["x"], live.time.one("2024-01-01"), held[[0]])) == ["first"]


def test_what_cannot_be_taken_is_told(predictor):
    live = streamed(predictor)
    live.push("x", "2025-01-02", "buy")
    for given, words in [
        (("x", "2025-01-01", "buy"), "the event of 'x' at 2025-01-01T00:00:00 is late; expected one no earlier"),
        (("x", "2025-01-02", "buy"), "was taken before; expected another time or mark"),
        (("x", "soon", "buy"), "'soon' is no stamp"),
        (("x", "2025-01-03", "buy", {"amount": "x"}), "the values are {'amount': 'x'}; expected numbers, or None"),
        (("x", "2025-01-03", None), "the mark is None; expected the name of one"),
        (("x", "2025-01-03", "buy", {"price": 1.0}), "there is no column 'price'; expected amount"),
    ]:
        with pytest.raises(DataError) as fault:
            live.push(*given)
        assert words in str(fault.value)
    with pytest.raises(DataError, match="holds no stamps"):
        live.push_many(table(names="x", stamps=False))
    with pytest.raises(KeyError):
        live.latest(["y"])


def test_times_that_are_numbers(tmp_path):
    live = streamed(made(tmp_path, stamps=False, extra=False))
    assert live.push("x", -0.0, "buy").ds[0] == 0.0 and live.push("x", 1, "buy").ds[0] == 1.0
    for time in ("2025-01-01", float("nan"), 1e300, True):
        with pytest.raises(DataError, match="is no time"):
            live.push("x", time, "buy")
    with pytest.raises(DataError, match="holds no numbers"):
        live.push_many(table(names="x").drop("amount"))


@pytest.mark.parametrize(("options", "words"), [
    ({"gaps": "fill"}, "gaps=fill with a run of events"), ({"rewind": 3}, "rewind=3 with a run of events"),
    ({"correct": True}, "correct=true with a run of events"), ({"budget": 0.1}, "alarms=0.1 with a run of events"),
    ({"engine": "onnx"}, "engine=onnx with a run of events"), ({"longest": 0.0}, "longest is 0"),
    ({"levels": [2.0]}, "levels has 2"),
])  # fmt: skip
def test_settings_that_mean_nothing_are_refused(predictor, options, words):
    with pytest.raises(UsageError, match=words):
        streamed(predictor, **options)


def test_a_model_that_looks_at_whole_sequences_is_refused(tmp_path):
    encoder = Informer(d_model=8, heads=2, d_ff=8, layers=[1], attention="full", distil=False, causal=True)
    with pytest.raises(UsageError, match="Informer looks at a whole sequence"):
        streamed(made(tmp_path, encoder))


def test_a_snapshot_goes_on_where_it_was_and_only_under_its_weights(predictor, tmp_path):
    frame = table(names="xyz", seed=4).sort("when", maintain_order=True)
    live, other = streamed(predictor), streamed(predictor)
    live.push_many(frame.head(60))
    live.snapshot(tmp_path / "s.safetensors")
    other.restore(tmp_path / "s.safetensors")
    a, b = (one.push_many(frame.slice(60)) for one in (live, other))
    assert a.ids == b.ids and np.array_equal(a.median, b.median) and np.array_equal(a.p, b.p)
    now = live.latest(a.ids)
    assert np.array_equal(now.median, a.median) and now.frame().equals(a.frame())
    assert now.frame().columns == ["unique_id", "ds", "mean", "median", "q05", "q95", "mark", "p_mark"]
    with pytest.raises(ArtifactError, match="other weights"):
        type(live)(predictor, "v").restore(tmp_path / "s.safetensors")


def test_pushes_one_by_one_are_a_frame(predictor):
    frame = table(names="xy", events=20, seed=6)
    one, many = streamed(predictor), streamed(predictor)
    last = {}
    for row in rows(frame):
        last[row["who"]] = one.push(row["who"], row["when"], row["what"], {"amount": row["amount"]})
    made = many.push_many(frame)
    assert set(made.ids) == set("xy")
    for name, median in zip(made.ids, made.median, strict=True):
        assert last[name].median[0] == pytest.approx(median, rel=1e-5)


def test_times_are_kept_exactly_and_end_with_the_calendar():
    stamps, numbers = EventTime("day", stamps=True), EventTime("day", stamps=False)
    tick = stamps.one("2024-01-01T00:00:00.000001")
    assert stamps.written(int(tick[0])) == "2024-01-01T00:00:00.000001" and stamps.at(tick) == tick
    assert stamps.ahead(int(tick[0]), 1.5) == "2024-01-02T12:00:00.000001" and stamps.ahead(int(tick[0]), 1e30) is None
    assert stamps.span(2.0) == 2 * 86_400_000_000 and stamps.gap(tick + 43_200_000_000, tick)[0] == 0.5
    tick = numbers.one(-1e15)
    assert numbers.written(int(tick[0])) == -1e15 and numbers.at(tick)[0] == -(10**18) and numbers.span(1e300) == 2**60
    assert numbers.ahead(int(tick[0]), 1.5) == -1e15 + 1.5 and numbers.gap(numbers.one(3), numbers.one(-0.0))[0] == 3


def test_counts_of_what_came_before():
    assert _before(np.array([3, 5, 3, 3, 5])).tolist() == [-1, -1, 0, 2, 1]
    assert _times(np.array([3, 5, 3, 3, 5])).tolist() == [0, 0, 1, 2, 1]


@pytest.mark.parametrize(("components", "wide"), [(1, 0), (5, -2), (64, -5), (64, 0)])
def test_quantiles_are_those_of_bisection(components, wide):
    torch.manual_seed(components)
    weight, place, scale = (torch.randn(600, components) for _ in range(3))
    gaps = Gaps(
        (2 * weight).log_softmax(-1), 2 * place, (scale + wide).clamp(-5, 1), torch.tensor(1.5), torch.tensor(0.3)
    )
    levels = torch.tensor([0.5, 0.05, 0.95, 0.001])
    exact = Gaps(*(part.double() for part in gaps[:5])).quantile(levels.double()[:, None])
    assert quantiles(gaps, levels).log().numpy() == pytest.approx(exact.log().numpy(), abs=2e-4)
    assert quantiles(gaps.at(slice(0, 0)), levels).shape == (4, 0)
