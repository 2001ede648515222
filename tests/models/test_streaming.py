"""The streaming law, over every encoder that streams: a new one is a line in STREAMING and gets its tests."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from forecast.models.aaren import Aaren
from forecast.models.base import StreamingEncoder, bytes_per_series, leaves
from forecast.models.lstm import LSTM
from forecast.models.none import Identity
from forecast.models.tcnca import TCNCA
from forecast.models.transformer import Transformer

D, LENGTH = 8, 23


def tcnca(**words) -> TCNCA:
    sizes = {"d_model": D, "d_key": 4, "d_ff": 8, "chunk": 5, "kernel": 3, "factor": 2, "depth": 2}
    return TCNCA(**{**sizes, "dropout": 0.0, **words})


STREAMING = {
    "lstm": lambda: LSTM(d_model=D),
    "lstm-3": lambda: LSTM(d_model=D, layers=3, dropout=0.1),
    "lstm-residual": lambda: LSTM(d_model=D, layers=2, dropout=0.1, residual=True),
    "none": lambda: Identity(d_model=D),
    "aaren": lambda: Aaren(d_model=D, heads=2, d_ff=16),
    "aaren-plain": lambda: Aaren(d_model=D, heads=4, d_ff=16, decay=None, norm_first=True),
    "aaren-learned": lambda: Aaren(d_model=D, heads=2, d_ff=16, layers=3, learn_decay=True, spread=2.0),
    "aaren-window": lambda: Aaren(d_model=D, heads=2, d_ff=16, window=5),
    "aaren-window-plain": lambda: Aaren(d_model=D, heads=1, d_ff=16, decay=None, window=2, norm_first=True),
    "aaren-window-long": lambda: Aaren(d_model=D, heads=2, d_ff=16, learn_decay=True, spread=3.0, window=40),
    "tcnca": lambda: tcnca(),
    "tcnca-laplace": lambda: tcnca(attention="laplace", chunk=7),
    "tcnca-relu2": lambda: tcnca(attention="relu2", chunk=32, kernel=2, stacks=2),
    "tcnca-dense": lambda: tcnca(norm="layer", depthwise=False),
    "tcnca-simple": lambda: tcnca(simple=True, chunk=1),
    "tcnca-ema": lambda: tcnca(mixer="ema", states=3, chunk=6),
    "transformer": lambda: Transformer(d_model=D, heads=2, d_ff=16, layers=2, dropout=0.1, causal=True, window=40),
    "transformer-window": lambda: Transformer(d_model=D, heads=2, d_ff=16, layers=2, causal=True, window=5),
    "transformer-sinks": lambda: Transformer(
        d_model=D, heads=1, d_ff=16, layers=2, norm_first=True, causal=True, window=4, sinks=2
    ),
}


@pytest.fixture(params=STREAMING)
def encoder(request) -> StreamingEncoder:
    torch.manual_seed(0)
    return STREAMING[request.param]().double().eval()


def inputs(batch: int = 3, length: int = LENGTH, seed: int = 0):
    """x, a mask with gaps (the first steps of row 0 among them), irregular dt."""
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(batch, length, D, generator=g, dtype=torch.float64)
    mask = torch.rand(batch, length, generator=g) > 0.3
    mask[0, :3] = False
    return x, mask, 0.5 + torch.rand(batch, length, generator=g, dtype=torch.float64)


def begin(encoder: StreamingEncoder, batch: int = 3):
    return encoder.start(batch, dtype=torch.float64)


def in_parts(encoder, cuts, x, mask, dt):
    state, out = begin(encoder, len(x)), []
    for a, b in zip([0, *cuts], [*cuts, x.shape[1]], strict=True):
        now = slice(a, b)
        state, y = encoder.scan(
            state, x[:, now], None if mask is None else mask[:, now], None if dt is None else dt[:, now]
        )
        out.append(y)
    return state, torch.cat(out, 1)


def agree(a, b) -> None:
    for one, other in zip(leaves(a), leaves(b), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("name", STREAMING)
@settings(max_examples=12, deadline=None)
@given(cuts=st.lists(st.integers(0, LENGTH), max_size=6).map(sorted), masked=st.booleans(), irregular=st.booleans())
def test_any_split_gives_the_same_outputs_and_the_same_state(name, cuts, masked, irregular):
    torch.manual_seed(0)
    encoder = STREAMING[name]().double().eval()
    x, mask, dt = inputs()
    mask, dt = mask if masked else None, dt if irregular else None
    whole_state, whole = encoder.scan(begin(encoder), x, mask, dt)
    state, y = in_parts(encoder, cuts, x, mask, dt)
    seen = slice(None) if mask is None else mask
    torch.testing.assert_close(y[seen], whole[seen], rtol=1e-9, atol=1e-10)
    agree(state, whole_state)


def test_forward_is_a_scan_and_a_step_is_a_scan_of_one(encoder):
    x, _, dt = inputs()
    state = begin(encoder)
    for t in range(LENGTH):
        state, y = encoder.step(state, x[:, t], dt=dt[:, t])
    torch.testing.assert_close(y, encoder(x, dt=dt)[:, -1], rtol=1e-9, atol=1e-10)


def test_the_future_reaches_no_earlier_output(encoder):
    x, mask, dt = inputs()
    edited = x.clone()
    edited[:, 15:] += 100
    assert encoder(edited, mask, dt)[:, :15].equal(encoder(x, mask, dt)[:, :15])
    assert encoder(edited)[:, :15].equal(encoder(x)[:, :15])


def test_the_state_does_not_grow(encoder):
    state, sizes = begin(encoder, 1), set()
    for t in range(64):
        state, _ = encoder.step(state, torch.full((1, D), float(t), dtype=torch.float64))
        sizes.add(bytes_per_series(state))
    assert len(sizes) == 1
    assert sizes == {bytes_per_series(begin(encoder, 1))}


def test_a_masked_step_changes_nothing_bit_for_bit(encoder):
    x, mask, _ = inputs()
    other = torch.where(mask[..., None], x, 77.0)
    y, again = encoder(x, mask), encoder(other, mask)
    assert y[mask].equal(again[mask])
    assert y.isfinite().all()
    state, _ = encoder.scan(begin(encoder), x[:, :9])
    after, out = encoder.scan(state, x[:, 9:12], torch.zeros(3, 3, dtype=torch.bool))
    assert out.isfinite().all()
    assert all(a.equal(b) for a, b in zip(leaves(state), leaves(after), strict=True))


def test_a_row_does_not_depend_on_its_neighbours(encoder):
    x, mask, dt = inputs(batch=5)
    together = encoder(x, mask, dt)
    alone = torch.cat([encoder(x[i : i + 1], mask[i : i + 1], dt[i : i + 1]) for i in range(5)])
    torch.testing.assert_close(together[mask], alone[mask], rtol=1e-9, atol=1e-10)


def test_states_are_rows_of_arrays(encoder):
    """A million series are rows: any of them can be taken out, and put beside others."""
    x, _, _ = inputs()
    state, _ = encoder.scan(begin(encoder), x[:, :7])
    assert all(len(leaf) == 3 for leaf in leaves(state))


def test_every_parameter_learns(encoder):
    encoder.train()
    x, mask, dt = inputs()
    x.requires_grad_()
    encoder(x, mask, dt)[mask].square().mean().backward()
    idle = [n for n, p in encoder.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
    assert idle == []
    assert x.grad.isfinite().all()
