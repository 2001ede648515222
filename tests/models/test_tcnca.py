"""TCNCA against its equations taken step by step in float64, and what its parts may and may not see."""

import math

import pytest
import torch
from torch.nn import functional as F

from forecast.models import TCNCA
from forecast.models.base import leaves
from forecast.models.ema import BLOCK, EMA
from forecast.models.mega import LAPLACE_MEAN, LAPLACE_SD, Gated, laplace

D, SMALL = 6, {"d_model": 6, "d_key": 4, "d_ff": 8, "dropout": 0.0}
STILL = {"kernel": 1, "factor": 1, "depth": 1}  # a TCN that sees the present step only
KINDS = ["softmax", "laplace", "relu2"]


def made(**words) -> TCNCA:
    torch.manual_seed(0)
    return TCNCA(**{**SMALL, "kernel": 3, "factor": 2, "depth": 2, "stacks": 2, **words}).double().eval()


def some(b: int = 2, length: int = 17, seed: int = 1) -> torch.Tensor:
    return torch.randn(b, length, D, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# The equations, for one series, one step after another ----------------------------------------------------------------


def tcn_by_steps(tcn, xs):
    for layer in tcn.layers:
        ys = []
        for t, x in enumerate(xs):
            total, taps = layer.bias.clone(), layer.weight.shape[1]
            for j in range(taps):
                at = t - (taps - 1 - j) * layer.dilation
                total = total + (layer.weight[:, j] * xs[at] if at >= 0 else 0)
            ys.append(x + F.silu(total))
        xs = ys
    return xs


def ema_by_steps(ema, xs):
    p = ema.delta.sigmoid()
    q, h, ys = 1 - p * ema.alpha.sigmoid(), torch.zeros_like(p), []
    for x in xs:
        h = q * h + p * ema.beta * x[:, None]
        ys.append(F.silu((ema.gamma / math.sqrt(p.shape[1]) * h).sum(1) + ema.omega * x))
    return ys


def attention_by_steps(attention, qs, ks, vs, phase=0):
    out = []
    for t, q in enumerate(qs):
        first = max(0, t - (t + phase) % attention.chunk)
        products = torch.stack([q @ ks[s] for s in range(first, t + 1)])
        bias = torch.stack([attention.bias[t - s] for s in range(first, t + 1)])
        if attention.kind == "softmax":
            a = (products / math.sqrt(len(q)) + bias).softmax(0)
        else:
            a = products / (t + 1 - first) + bias
            a = a.clamp(min=0) ** 2 if attention.kind == "relu2" else 0.5 * (
                1 + torch.erf((a - math.sqrt(1 / 2)) / math.sqrt(1 / (2 * math.pi)))
            )  # fmt: skip
        out.append(sum(w * vs[s] for w, s in zip(a, range(first, t + 1), strict=True)))
    return out


def block_by_steps(block, xs):
    d, z, e = block.sizes
    hats = [block.norm(x) for x in xs]
    mixed = (ema_by_steps if isinstance(block.mixer, EMA) else tcn_by_steps)(block.mixer, hats)
    if not isinstance(block, Gated):
        qs, ks, vs = zip(*(block.project(m).split([z, z, e]) for m in mixed), strict=True)
        return [x + block.out(a) for x, a in zip(xs, attention_by_steps(block.attention, qs, ks, vs), strict=True)]
    parts = [block.gates(m).split([d, z, e, d]) for m in mixed]
    qs, ks = ([F.silu(part[1]) * block.gamma[i] + block.beta[i] for part in parts] for i in (0, 1))
    seen = attention_by_steps(block.attention, qs, ks, [F.silu(block.value(hat)) for hat in hats])
    out = []
    for x, (u, _, r, inner), a in zip(xs, parts, seen, strict=True):
        h, gate = F.silu(inner + block.out.weight @ (F.silu(r) * a)), u.sigmoid()
        out.append(x + gate * (h - x))
    return out


def by_steps(model, x):
    rows = []
    for row in x:
        xs = list(row)
        for layer in model.layers:
            xs = block_by_steps(layer.block, xs)
            feed = layer.feed
            xs = [y + feed.down(F.silu(feed.up(feed.norm(y)))) for y in xs]
        rows.append(torch.stack([model.norm(y) for y in xs]))
    return torch.stack(rows)


@pytest.mark.parametrize("chunk", [5, 17, 40])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("form", [{}, {"mixer": "ema", "states": 3}, {"simple": True}], ids=["tcn", "ema", "simple"])
def test_is_its_equations_step_by_step(form, kind, chunk):
    model, x = made(attention=kind, chunk=chunk, **form), some()
    with torch.no_grad():
        for block in (layer.block for layer in model.layers):  # weights at which each part matters
            block.attention.bias.normal_()
            if isinstance(block, Gated):
                block.gamma.normal_()
                block.beta.normal_()
        torch.testing.assert_close(model(x), by_steps(model, x), rtol=1e-10, atol=1e-10)


# The moving average ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [1, 9, BLOCK, 2 * BLOCK + 13])
def test_the_average_by_fft_by_blocks_and_by_the_recurrence_are_one(length):
    torch.manual_seed(0)
    ema = EMA(D, states=5).double()
    x = some(length=length)
    with torch.no_grad():
        recurrence = torch.stack([torch.stack(ema_by_steps(ema, list(row))) for row in x])
        by_fft, _ = ema.train()(x)
        by_blocks, _ = ema.eval()(x)
    torch.testing.assert_close(by_fft, recurrence, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(by_blocks, recurrence, rtol=1e-10, atol=1e-10)


def test_rows_of_different_length_end_in_their_own_states():
    torch.manual_seed(0)
    ema = EMA(D, states=5).double().eval()
    x, count = some(3, 2 * BLOCK + 5), torch.tensor([0, BLOCK + 7, 2 * BLOCK + 5])
    h = (torch.randn(3, D, 5, dtype=torch.float64),)
    _, (after,) = ema(x, h, count)
    assert after[0].equal(h[0][0])
    for row, n in ((1, BLOCK + 7), (2, 2 * BLOCK + 5)):
        _, (alone,) = ema(x[row : row + 1, :n], (h[0][row : row + 1],))
        torch.testing.assert_close(after[row], alone[0], rtol=1e-10, atol=1e-10)


# The attention --------------------------------------------------------------------------------------------------------


def test_laplace_meets_the_squared_relu_and_its_slope_at_its_mean():
    assert (round(LAPLACE_MEAN, 6), round(LAPLACE_SD, 6)) == (0.707107, 0.282095)  # as MEGA's code writes them
    a = torch.tensor(math.sqrt(0.5), dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(laplace(a), a)
    assert laplace(a).item() == pytest.approx(0.5, abs=1e-15)
    assert slope.item() == pytest.approx(2 * math.sqrt(0.5), abs=1e-14)
    one_sd = a + math.sqrt(1 / (4 * math.pi))
    assert laplace(one_sd).item() == pytest.approx(0.8413447460685429, abs=1e-14)


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("simple", [False, True])
def test_attention_does_not_leave_its_chunk(kind, simple, streamed):
    """Without a mixer over time an output depends on the steps of its own chunk up to itself, and on no other."""
    model, x = made(attention=kind, chunk=5, simple=simple, **STILL), some(1, 13).requires_grad_()
    with torch.no_grad():
        for layer in model.layers:
            layer.block.attention.bias.fill_(1.0)  # relu² of a negative score would see nothing
    if streamed:
        state, head = model.scan(model.start(1, dtype=torch.float64), x[:, :7])
        y = torch.cat([head, model.scan(state, x[:, 7:])[1]], 1)
    else:
        y = model(x)
    for t in range(13):
        # a sum would be zero: the last LayerNorm
        (grad,) = torch.autograd.grad(y[0, t, 0], x, retain_graph=True)
        seen = (grad[0] != 0).any(-1).nonzero()[:, 0].tolist()
        assert seen == list(range(t - t % 5, t + 1))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("length", [3, 13])
def test_a_first_chunk_may_be_shorter(kind, length):
    attention = made(attention=kind, chunk=5).layers[0].block.attention
    g = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(1, length, n, generator=g, dtype=torch.float64) for n in (4, 4, 8))
    with torch.no_grad():
        attention.bias.normal_()
        for phase in range(5):
            wanted = torch.stack(attention_by_steps(attention, q[0], k[0], v[0], phase))
            torch.testing.assert_close(attention(q, k, v, phase)[0], wanted, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("masked", [False, True])
def test_training_meets_the_chunks_as_a_stream_does_and_evaluation_as_a_window(masked):
    """Without a mixer over time a window cut at phase p is what a stream makes of it p steps after a chunk began, from
    the next chunk on; training draws all phases, from torch's generator."""
    chunk = 4
    model, plain, x = made(chunk=chunk, any_phase=True, **STILL), made(chunk=chunk, **STILL), some(2, 17)
    mask = None
    if masked:
        mask = torch.rand(2, 17, generator=torch.Generator().manual_seed(3)) > 0.3
        mask[:, :chunk] = True  # so that both rows stand at the same phase
    assert model(x, mask).equal(plain(x, mask))
    streamed = []
    for p in range(chunk):
        state, _ = model.scan(model.start(2, dtype=torch.float64), x[:, :p])
        streamed.append(model.scan(state, x, mask)[1])
    found = []
    for seed in range(40):
        torch.manual_seed(seed)
        y = model.train()(x, mask)
        torch.manual_seed(seed)
        assert y.equal(model(x, mask))
        found += [p for p in range(chunk) if torch.allclose(y[:, chunk - p :], streamed[p][:, chunk - p :], atol=1e-10)]
    assert len(found) == 40 and set(found) == set(range(chunk))


# Masks and streams ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mixer", ["tcn", "ema"])
def test_masked_steps_are_skipped(mixer):
    model, x = made(mixer=mixer, chunk=4), some(3, 20)
    mask = torch.rand(3, 20, generator=torch.Generator().manual_seed(2)) > 0.4
    y = model(x, mask)
    assert not y[~mask].any()
    for row in range(3):
        alone = model(x[row : row + 1, mask[row]])[0]
        torch.testing.assert_close(y[row, mask[row]], alone, rtol=1e-10, atol=1e-10)


def test_what_is_no_number_under_the_mask_reaches_nothing():
    model, x = made(chunk=4).train(), some()
    mask = torch.ones(2, 17, dtype=torch.bool)
    mask[:, 3:6] = False
    x = x.masked_fill(~mask[..., None], torch.nan).requires_grad_()
    model(x, mask).square().sum().backward()
    assert all(p.grad.isfinite().all() for p in model.parameters())
    assert x.grad.isfinite().all()
    state, y = model.scan(model.start(2, dtype=torch.float64), x, mask)
    assert y.isfinite().all() and all(leaf.isfinite().all() for leaf in leaves(state))


@pytest.mark.parametrize("form", [{}, {"mixer": "ema"}, {"attention": "laplace"}], ids=["tcn", "ema", "laplace"])
def test_gradients_pass_through_the_state(form):
    model, x = made(chunk=5, **form), some()
    names = [name for name, _ in model.named_parameters()]
    state, head = model.scan(model.start(2, dtype=torch.float64), x[:, :8])
    _, tail = model.scan(state, x[:, 8:])
    whole = torch.autograd.grad(model(x).square().sin().sum(), list(model.parameters()))
    parts = torch.autograd.grad(torch.cat([head, tail], 1).square().sin().sum(), list(model.parameters()))
    for name, one, other in zip(names, whole, parts, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9, msg=lambda m, name=name: f"{name}: {m}")


@pytest.mark.parametrize("form", [{}, {"attention": "relu2"}, {"mixer": "ema"}, {"simple": True}])
def test_half_precision_goes_in_and_comes_out(form):
    model, x = made(**form).float(), some().bfloat16()
    state = model.start(2, dtype=torch.bfloat16)
    assert {leaf.dtype for leaf in leaves(state)} == {torch.float32, torch.int64}
    want = model(x.float())
    with torch.autocast("cpu", torch.bfloat16):
        whole = model(x.float())
        state, head = model.scan(state, x[:, :8].float())
        _, tail = model.scan(state, x[:, 8:].float())
    torch.testing.assert_close(whole.float(), want, rtol=0.1, atol=0.1)
    torch.testing.assert_close(torch.cat([head, tail], 1).float(), want, rtol=0.1, atol=0.1)
    assert {leaf.dtype for leaf in leaves(state)} == {torch.float32, torch.int64}
    assert model.bfloat16()(x).dtype == torch.bfloat16


def test_no_steps_are_no_outputs_and_the_same_state():
    model = made()
    state = model.start(2, dtype=torch.float64)
    after, y = model.scan(state, some(2, 0), torch.zeros(2, 0, dtype=torch.bool))
    assert y.shape == (2, 0, D) and after is state
    assert model(some(2, 0)).shape == (2, 0, D)


@pytest.mark.parametrize(
    "words, message",
    [
        ({"chunk": 0}, "model.chunk is 0; expected at least 1"),
        ({"layers": 0}, "model.layers is 0; expected at least 1"),
        ({"mixer": "ema", "states": 0}, "model.states is 0; expected at least 1"),
        ({"kernel": 2, "factor": 3}, "model.factor 3 is above model.kernel 2"),
    ],
)
def test_sizes_that_make_no_sense_are_refused_in_a_line(words, message):
    with pytest.raises(ValueError, match=message):
        made(**words)
