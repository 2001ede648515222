"""The head of segments against its papers' equations, one segment of one target of one window after another."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from forecast.heads import Segments
from forecast.heads.segments import latest
from forecast.ops.naive import seasonal_naive
from forecast.types import Context
from tests.problems import batch, spec

D, TOKENS, WINDOWS, SEGMENT = 6, 5, 4, 3
S = spec(3, targets=2, horizon=8)  # segments of 3, 3 and 2 steps


def head(layout: str = "patches", horizon: int = S.horizon, **options) -> Segments:
    torch.manual_seed(0)
    made = Segments(spec=S._replace(horizon=horizon), d_memory=D, layout=layout, segment=SEGMENT, **options)
    if made.start is not None:
        nn.init.normal_(made.start)
    return made.double().eval()


def given_memory(layout: str = "patches", *, masked: bool = False) -> tuple[Tensor, Context]:
    """Row 1 never saw anything, row 2 always, row 3 not at its end."""
    g = torch.Generator().manual_seed(1)
    rows = WINDOWS * S.targets if layout == "patches" else WINDOWS
    memory = torch.randn(rows, TOKENS, D, generator=g, dtype=torch.float64)
    mask = torch.rand(rows, TOKENS, generator=g) > 0.4
    mask[1], mask[2], mask[3] = False, True, torch.arange(TOKENS) < TOKENS - 1
    x = batch(S, WINDOWS)
    return memory, Context(x.past, None, x.past_clock, x.future_clock, mask if masked else None)


def segrnn(made: Segments, h: Tensor, target: int, segment: int) -> Tensor:
    """SegRNN's decoder: h (D,), the last state of the encoder -> the values of one segment (SEGMENT,)."""
    query = torch.cat([made.position[segment], made.channel[target]])
    a_r, a_z, a_n = (made.input.weight @ query + made.input.bias).split(D)
    u_r, u_z, u_n = made.hidden.weight.split(D)
    b_r, b_z, b_n = made.hidden.bias.split(D)
    reset = 1 / (1 + torch.exp(-(a_r + u_r @ h + b_r)))
    update = 1 / (1 + torch.exp(-(a_z + u_z @ h + b_z)))
    new = torch.tanh(a_n + reset * (u_n @ h + b_n))
    state = (1 - update) * new + update * h
    return made.projection.weight @ state + made.projection.bias


def test_with_a_gru_it_is_segrnns_decoder():
    made, (memory, context) = head(cell="gru"), given_memory()
    want = torch.zeros(WINDOWS, S.horizon, S.targets, dtype=torch.float64)
    for w in range(WINDOWS):
        for t in range(S.targets):
            values = [segrnn(made, memory[w * S.targets + t, -1], t, j) for j in range(3)]
            want[w, :, t] = torch.cat(values)[: S.horizon]
    torch.testing.assert_close(made(memory, context), want, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("cell", ["lstm", "gru"])
@pytest.mark.parametrize("layout", ["patches", "steps"])
def test_the_step_is_that_of_torchs_cell(layout, cell):
    """Forecast and gradients; from one row of steps come all targets."""
    made, (memory, context) = head(layout, cell=cell), given_memory(layout)
    theirs = {"lstm": nn.LSTMCell, "gru": nn.GRUCell}[cell](D, D, dtype=torch.float64)
    theirs.load_state_dict({
        "weight_ih": made.input.weight, "weight_hh": made.hidden.weight,
        "bias_ih": made.input.bias, "bias_hh": made.hidden.bias,
    })  # fmt: skip
    want = []
    for row, h in enumerate(memory[:, -1]):
        values = []
        for position in made.position:
            channel = [made.channel[row % S.targets]] if layout == "patches" else []
            query = torch.cat([position, *channel])
            s = theirs(query, h) if cell == "gru" else theirs(query, (h, made.start))[0]
            values.append(made.projection(s).view(SEGMENT, -1))
        want.append(torch.cat(values)[: S.horizon])
    want = torch.stack(want)
    if layout == "patches":
        want = want.view(WINDOWS, S.targets, S.horizon).transpose(1, 2)
    got = made(memory, context)
    torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-12)
    shared = [made.position, made.projection.weight, *([made.start] if cell == "lstm" else [])]
    for a, b in zip(*(torch.autograd.grad(y.square().sum(), shared) for y in (got, want)), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("attention", [False, True])
@pytest.mark.parametrize("cell", ["lstm", "gru"])
@pytest.mark.parametrize("layout", ["patches", "steps"])
def test_in_parallel_as_each_segment_alone(layout, cell, attention):
    options = {"cell": cell, "attention": attention, "calendar": "timeF"}
    made, (memory, context) = head(layout, **options), given_memory(layout, masked=True)
    whole = made(memory, context)
    for j, first in enumerate(range(0, S.horizon, SEGMENT)):
        part = slice(first, min(first + SEGMENT, S.horizon))
        alone = head(layout, part.stop - part.start, **options)
        state = made.state_dict()
        alone.load_state_dict(state | {"position": state["position"][j : j + 1]})
        got = alone(memory, context._replace(future_clock=context.future_clock[:, part]))
        torch.testing.assert_close(got, whole[:, part], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("masked", [False, True])
def test_attention_is_luongs(masked):
    """Global attention, score "general": over what a row saw; a row that saw nothing adds nothing."""
    made, (memory, context) = head(attention=True).attention, given_memory(masked=masked)
    states = torch.randn(len(memory), 3, D, dtype=torch.float64)
    got = made(states, memory, context.memory_mask)
    for row in range(len(memory)):
        seen = memory[row] if not masked else memory[row][context.memory_mask[row]]
        for state, out in zip(states[row], got[row], strict=True):
            scores = torch.stack([state @ made.score.weight @ m for m in seen]) if len(seen) else seen[:, 0]
            align = torch.exp(scores) / torch.exp(scores).sum()
            summary = (align[:, None] * seen).sum(0)
            want = torch.tanh(made.mix.weight @ torch.cat([summary, state]))
            torch.testing.assert_close(out, want, rtol=1e-12, atol=1e-12)


def test_the_state_is_the_last_token_that_saw_something():
    memory, context = given_memory(masked=True)
    for row, seen, got in zip(memory, context.memory_mask, latest(memory, context.memory_mask), strict=True):
        want = row[seen][-1] if seen.any() else torch.zeros(D, dtype=torch.float64)
        assert got.equal(want)
    assert latest(memory, torch.ones(memory.shape[:2], dtype=torch.bool)).equal(latest(memory, None))


@settings(max_examples=25, deadline=None)
@given(horizon=st.integers(1, 20), segment=st.integers(1, 9), layout=st.sampled_from(["patches", "steps"]))
def test_any_horizon_of_any_segments_and_a_shorter_one_is_its_beginning(horizon, segment, layout):
    memory, context = given_memory(layout)
    context = context._replace(future_clock=torch.zeros(WINDOWS, horizon, len(S.clock), dtype=torch.float64))
    made = [Segments(spec=S._replace(horizon=h), d_memory=D, layout=layout, segment=segment).double()
            for h in (horizon, max(1, horizon - 2))]  # fmt: skip
    state = made[0].state_dict()
    made[1].load_state_dict(state | {"position": state["position"][: len(made[1].position)]})
    longer, shorter = (each(memory, context) for each in made)
    assert longer.shape == (WINDOWS, horizon, S.targets)
    assert len(made[0].position) == -(-horizon // segment)
    torch.testing.assert_close(longer[:, : shorter.shape[1]], shorter, rtol=1e-12, atol=1e-12)


def test_a_segment_knows_the_calendar_of_its_last_step_only():
    made, (memory, context) = head(calendar="timeF"), given_memory()
    before, clock = made(memory, context), context.future_clock
    other = clock.clone()
    other[:, [0, 1, 3, 4, 6]] = 0  # not the last steps: 2, 5, and 7 where the horizon cuts the segment
    assert made(memory, context._replace(future_clock=other)).equal(before)
    other = clock.clone()
    other[:, 5] = 1 - other[:, 5].clamp(max=1)
    moved = (made(memory, context._replace(future_clock=other)) != before).flatten(2).any(-1).any(0)
    assert moved.tolist() == [False] * 3 + [True] * 3 + [False] * 2


def test_targets_differ_by_their_query_where_they_are_told_apart():
    memory, context = given_memory()
    same = memory[:: S.targets].repeat_interleave(S.targets, 0)
    apart, alike = (head(channel=channel)(same, context) for channel in (True, False))
    assert not apart[..., 0].isclose(apart[..., 1]).any()
    torch.testing.assert_close(alike[..., 0], alike[..., 1], rtol=1e-12, atol=1e-12)
    assert head("steps").channel is None


@pytest.mark.parametrize("layout", ["patches", "steps"])
def test_with_a_residual_it_starts_at_the_plain_forecast(layout):
    made, (memory, context) = head(layout, residual="linear"), given_memory(layout)
    naive = seasonal_naive(context.past, None, S.horizon, S.season)[..., : S.targets]
    torch.testing.assert_close(made(memory, context), naive, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_half_precision_is_near(cell):
    made, (memory, context) = head(cell=cell, attention=True, calendar="timeF"), given_memory(masked=True)
    want = made(memory, context)
    made, memory = made.float(), memory.float()
    context = context._replace(past=context.past.float(), future_clock=context.future_clock.float())
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(made(memory, context).double(), want, rtol=0.05, atol=0.05)


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match=r"^head.segment is 0; expected at least 1$"):
        Segments(spec=S, d_memory=D, layout="patches", segment=0)
    with pytest.raises(ValueError, match="gives channels; set embed=patch$"):
        Segments(spec=S, d_memory=D, layout="channels")
