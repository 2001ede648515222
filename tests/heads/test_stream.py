"""The streaming law of the whole chain, from raw value to forecast: every norm × embedding × encoder that streams."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from forecast.errors import UsageError
from forecast.heads import Chain, Direct, Flat, Segments, Timewise
from forecast.heads.stream import Stream
from forecast.models import (
    Identity,
    Informer,
    InstanceNorm,
    NoEmbedding,
    NoNorm,
    PatchEmbedding,
    RollingNorm,
    ValueEmbedding,
)
from forecast.models.base import leaves
from tests.models.test_streaming import STREAMING
from tests.problems import batch, spec

S = spec(3, targets=2, context=26)
EMBEDS = {
    "value": lambda: ValueEmbedding(spec=S, d_model=8, causal=True),
    "value-without-position": lambda: ValueEmbedding(spec=S, d_model=8, causal=True, position=False),
}
NORMS = {"none": NoNorm, "rolling": lambda: RollingNorm(half_life=9)}


def chain(encoder: str, embed: str = "value", norm: str = "rolling", tokens: int = 3, *, masked: bool = True) -> Chain:
    torch.manual_seed(0)
    body = STREAMING[encoder]()
    head = Direct(spec=S, d_memory=8, length=S.context, tokens=tokens)
    made = Chain(norm=NORMS[norm](), embed=EMBEDS[embed](), encoder=body, head=head, masked=masked)
    return made.double().eval()


def streamed(stream: Stream, x, cuts, *, masked: bool):
    state = stream.start(len(x.past), dtype=torch.float64)
    for a, b in zip([0, *cuts], [*cuts, S.context], strict=True):
        mask = x.past_mask[:, a:b] if masked else None
        state = stream.scan(state, x.past[:, a:b], mask, x.past_clock[:, a:b])
    return state, stream.forecast(state, x.future_clock)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("encoder", STREAMING)
@settings(max_examples=6, deadline=None)
@given(
    cuts=st.lists(st.integers(0, S.context), max_size=5).map(sorted),
    masked=st.booleans(),
    embed=st.sampled_from([*EMBEDS]),
)
def test_any_split_gives_the_forecast_of_the_window(encoder, norm, cuts, masked, embed):
    model = chain(encoder, embed, norm, masked=masked)
    x = batch(S, 3, missing=0.3 if masked else 0.0)
    stream = Stream(model, 3)
    state, forecast = streamed(stream, x, cuts, masked=masked)
    torch.testing.assert_close(forecast, model(x), rtol=1e-8, atol=1e-9)
    whole, _ = streamed(stream, x, [], masked=masked)
    for a, b in zip(leaves(state), leaves(whole), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("encoder", STREAMING)
def test_the_state_has_a_row_for_each_series_and_does_not_grow(encoder):
    stream, x = Stream(chain(encoder), 3), batch(S, 4)
    state, sizes = stream.start(4, dtype=torch.float64), set()
    for t in range(S.context):
        state = stream.scan(state, x.past[:, t : t + 1], None, x.past_clock[:, t : t + 1])
        assert all(len(leaf) == 4 for leaf in leaves(state))
        sizes.add(sum(leaf.nbytes for leaf in leaves(state)))
    assert len(sizes) == 1


@pytest.mark.parametrize("at_once", [1, 200, 1 << 21], ids=["a-step", "some", "all"])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("encoder", ["aaren", "tcnca", "lstm", "none", "transformer-window"])
def test_many_forecasts_are_those_of_one_step_after_another(monkeypatch, encoder, norm, masked, at_once):
    monkeypatch.setattr("forecast.heads.stream.AT_ONCE", at_once)
    model, x = chain(encoder, norm=norm, masked=masked), batch(S, 3, missing=0.3 if masked else 0.0)
    stream, mask, horizon = Stream(model, 3), x.past_mask if masked else None, S.horizon
    begin = stream.scan(stream.start(3, dtype=torch.float64), x.past[:, :5], part(mask, 0, 5), x.past_clock[:, :5])
    after, made = stream.forecasts(begin, x.past[:, 5:], part(mask, 5, S.context), both(x)[:, 5:])
    state = begin
    for t in range(5, S.context):
        state = stream.scan(state, x.past[:, t : t + 1], part(mask, t, t + 1), x.past_clock[:, t : t + 1])
        one = stream.forecast(state, both(x)[:, t + 1 : t + 1 + horizon])
        torch.testing.assert_close(made[:, t - 5], one, rtol=1e-8, atol=1e-9)
    for a, b in zip(leaves(after), leaves(state), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-9)
    same, none = stream.forecasts(after, x.past[:, :0], part(mask, 0, 0), both(x)[:, S.context :])
    assert none.shape == (3, 0, S.horizon, 2)
    assert all(a.equal(b) for a, b in zip(leaves(same), leaves(after), strict=True))


def part(mask, a, b):
    return None if mask is None else mask[:, a:b]


def both(x):
    return torch.cat([x.past_clock, x.future_clock], 1)


def test_fewer_steps_than_the_head_reads():
    model, x = chain("none", tokens=40), batch(S, 2)
    _, forecast = streamed(Stream(model, 3), x, [], masked=True)
    torch.testing.assert_close(forecast, model(x), rtol=1e-9, atol=1e-10)


PARTS = {"norm": NoNorm(), "embed": NoEmbedding(spec=S), "encoder": Identity(d_model=3)}
HEAD = Direct(spec=S, d_memory=3, length=S.context)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"norm": InstanceNorm()}, "this model cannot stream: it normalises a whole window; set norm=rolling"),
        ({"embed": ValueEmbedding(spec=S, d_model=3)}, "its embedding looks ahead; set embed.causal=true"),
        (
            {"embed": PatchEmbedding(spec=S, d_model=3), "head": Flat(spec=S, d_memory=3, length=3, layout="patches")},
            "its tokens are patches; set embed=value embed.causal=true head=direct",
        ),
        (
            {"encoder": Informer(d_model=3, heads=1)},
            "as aaren, lstm, tcnca and none do not; set model=aaren",
        ),
        (
            {"head": Timewise(spec=S, d_memory=3, length=26, bare=True)},
            "head Timewise looks at a whole window; set head",
        ),
        (
            {"head": Segments(spec=S, d_memory=3, layout="steps")},
            "head Segments looks at a whole window; set head=direct",
        ),
    ],
)
def test_a_chain_that_cannot_stream_says_what_to_set(change, line):
    with pytest.raises(UsageError, match=line):
        Stream(Chain(**{**PARTS, "head": HEAD, **change}, masked=False), 3)
