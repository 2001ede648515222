"""Prefix attention against a masked softmax written out in float64."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from forecast.kernels.rivals import hillis_steele
from forecast.ops import Carry, empty_carry, prefix_attention, scan_chunks

UGLY = [(2, 3, 1, 5), (1, 2, 2, 1), (2, 1, 63, 16), (1, 3, 64, 33), (2, 2, 65, 64), (1, 1, 1000, 7), (64, 8, 19, 5)]


def tokens(
    b: int, h: int, length: int, d: int, seed: int = 0, spread: float = 1.0
) -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(seed)
    s = torch.randn(b, h, length, generator=g, dtype=torch.float64) * spread
    return s, torch.randn(b, h, length, d, generator=g, dtype=torch.float64)


def dense(s: torch.Tensor, v: torch.Tensor, decay: torch.Tensor | None = None) -> torch.Tensor:
    """All L × L weights; rows that have seen nothing are 0."""
    length = s.shape[-1]
    raised = s if decay is None else s + decay.expand(s.shape).cumsum(-1)
    later = torch.ones(length, length, dtype=torch.bool).triu(1)
    logits = raised[..., None, :].expand(*s.shape, length).masked_fill(later, -torch.inf)
    nothing = (logits == -torch.inf).all(-1, keepdim=True)
    return logits.masked_fill(nothing, 0).softmax(-1).masked_fill(nothing, 0) @ v


def state(b: int, h: int, d: int, seed: int = 9, dtype: torch.dtype = torch.float64) -> Carry:
    """As several steps would have left it."""
    return Carry(*(part.to(dtype) for part in prefix_attention(*tokens(b, h, 4, d, seed))[1]))


def gradients(out, ins, weight):
    return torch.autograd.grad((out * weight).sum(), ins)


@pytest.mark.parametrize("decayed", [False, True])
@pytest.mark.parametrize("shape", UGLY)
def test_equals_a_masked_softmax(shape, decayed):
    s, v = tokens(*shape)
    weight = tokens(*shape, seed=1)[1]
    ins = [s.requires_grad_(), v.requires_grad_()]
    decay = None
    if decayed:
        decay = torch.rand(1, shape[1], 1, dtype=torch.float64).requires_grad_()
        ins.append(decay)
    ours, theirs = prefix_attention(s, v, decay=decay)[0], dense(s, v, decay)
    assert (ours - theirs).abs().max() < 1e-12
    for a, b in zip(gradients(ours, ins, weight), gradients(theirs, ins, weight), strict=True):
        assert (a - b).abs().max() < 1e-12 * max(1, b.abs().max())


def test_a_long_row_equals_a_masked_softmax():
    s, v = tokens(1, 1, 4097, 3)
    ins = (s.requires_grad_(), v.requires_grad_())
    weight = tokens(1, 1, 4097, 3, seed=1)[1]
    ours, theirs = prefix_attention(s, v)[0], dense(s, v)
    assert (ours - theirs).abs().max() < 1e-12
    for a, b in zip(gradients(ours, ins, weight), gradients(theirs, ins, weight), strict=True):
        assert (a - b).abs().max() < 1e-12


@pytest.mark.parametrize("length", [1, 3, 67])
def test_gradients_of_everything_by_differences(length):
    """Scores, values, state and decay, through o and through the state that goes out."""
    s, v = tokens(1, 2, length, 2, spread=3)
    ins = [s, v, *state(1, 2, 2), torch.rand(1, 2, length, dtype=torch.float64)]

    def everything(s, v, m, c, w, decay):
        o, out = prefix_attention(s, v, Carry(m, c, w), decay=decay)
        return o, *out

    assert torch.autograd.gradcheck(everything, [x.requires_grad_() for x in ins], fast_mode=length > 3)


def test_gradient_when_the_state_holds_the_maximum():
    s, v = tokens(1, 1, 3, 2)
    m, c, w = state(1, 1, 2)
    ins = [x.detach().requires_grad_() for x in (s, v, m + 50, c, w)]

    def everything(s, v, m, c, w):
        o, out = prefix_attention(s, v, Carry(m, c, w))
        return o, *out

    assert torch.autograd.gradcheck(everything, ins)


def test_gradient_with_masked_steps():
    s, v = tokens(1, 2, 9, 2)
    hidden = torch.zeros(1, 2, 9, dtype=torch.bool)
    hidden[0, 0, :3], hidden[0, 0, 5], hidden[0, 1, 8] = True, True, True

    def everything(s, v, decay):
        o, out = prefix_attention(s.masked_fill(hidden, -torch.inf), v, decay=decay)
        return o, *out

    decay = torch.rand(1, 2, 9, dtype=torch.float64)
    assert torch.autograd.gradcheck(everything, [x.requires_grad_() for x in (s, v, decay)])


@settings(deadline=None, max_examples=40)
@given(
    length=st.integers(1, 90),
    cuts=st.lists(st.integers(0, 90), max_size=4),
    hidden=st.sets(st.integers(0, 89)),
    decayed=st.booleans(),
    rows=st.sampled_from([(1, 1), (2, 3), (5, 4)]),
    seed=st.integers(0, 99),
)
def test_any_split_equals_the_whole(length, cuts, hidden, decayed, rows, seed):
    s, v = tokens(*rows, length, 3, seed, spread=5)
    s[..., [i for i in hidden if i < length]] = -torch.inf
    decay = torch.rand(s.shape, dtype=torch.float64) if decayed else torch.zeros(())
    whole, end = prefix_attention(s, v, decay=decay if decayed else None)
    carry, parts = None, []
    edges = sorted({0, length, *(c for c in cuts if c < length)})
    for a, b in zip(edges, edges[1:], strict=False):
        falls = decay[..., a:b] if decayed else None
        part, carry = prefix_attention(s[..., a:b], v[..., a:b, :], carry, decay=falls)
        parts.append(part)
    assert (torch.cat(parts, 2) - whole).abs().max() < 1e-12
    for ours, theirs in zip(carry, end, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-12, rtol=1e-12)
    assert (whole - dense(s, v, decay)).abs().max() < 1e-12


STRESS = {
    "N(0, 30²)": lambda n: 30 * torch.randn(n, generator=torch.Generator().manual_seed(3)),
    "ramp up": lambda n: torch.arange(n) * 1.0,
    "ramp down": lambda n: torch.arange(n) * -1.0,
    "offset 1e4": lambda n: 1e4 + torch.randn(n, generator=torch.Generator().manual_seed(3)),
    "offset -1e4": lambda n: -1e4 + torch.randn(n, generator=torch.Generator().manual_seed(3)),
}


@pytest.mark.parametrize("decayed", [False, True])
@pytest.mark.parametrize("which", STRESS)
def test_float32_is_as_good_as_float64_for_scores_of_any_size(which, decayed):
    s, v = STRESS[which](720).float().expand(2, 2, -1), tokens(2, 2, 720, 8)[1].float()
    decay = torch.rand(720, generator=torch.Generator().manual_seed(4)) if decayed else None
    ins = [s.clone().requires_grad_(), v.requires_grad_()]
    wide = [x.detach().double().requires_grad_() for x in ins]
    weight = tokens(2, 2, 720, 8, seed=1)[1]
    ours = prefix_attention(*ins, decay=decay)[0]
    theirs = dense(*wide, None if decay is None else decay.double())
    assert (ours - theirs).abs().max() < 3e-6
    got, expected = gradients(ours, ins, weight.float()), gradients(theirs, wide, weight)
    for a, b in zip(got, expected, strict=True):
        assert (a - b).abs().max() < 1e-5 * max(1, b.abs().max())


def test_decay_through_masked_steps_at_large_scores():
    """A maximum of 1e4 in float32 cannot fall by 1e-4; what it should have lost the sums lose."""
    s, v = (x.float() for x in tokens(1, 1, 2000, 4))
    s += 1e4
    s[..., 100:1900] = -torch.inf
    decay = torch.tensor(1e-4)
    expected = dense(s.double(), v.double(), decay.double())
    assert (prefix_attention(s, v, decay=decay)[0] - expected).abs().max() < 1e-5
    carry = None
    for t in range(0, 2000, 100):
        o, carry = prefix_attention(s[..., t : t + 100], v[:, :, t : t + 100], carry, decay=decay)
        assert (o - expected[:, :, t : t + 100]).abs().max() < 1e-5


def test_small_decay_after_a_large_one_and_at_large_scores():
    """float32 cannot hold 1e6 + 0.01, nor fall from 1e4 by 1e-4."""
    s, v = tokens(1, 2, 500, 4)
    s[0, 1] += 1e4
    s = s.float().double()
    decay = torch.full((1, 2, 500), 0.01, dtype=torch.float64)
    decay[0, 0, 40], decay[0, 1] = 1e6, 1e-4
    ours = prefix_attention(s.float(), v.float(), decay=decay.float())[0]
    expected = dense(s[..., 40:], v[..., 40:, :], decay.float().double()[..., 40:])
    assert (ours[0, 0, 40:] - expected[0, 0]).abs().max() < 3e-6
    assert (ours[0, 1] - dense(s, v, decay.float().double())[0, 1]).abs().max() < 3e-6


def test_the_known_wrong_scan_is_wrong():
    """Sums of e^{s − running maximum} that are not rescaled when the maximum moves, as public code has them."""
    s, v = tokens(2, 2, 100, 4)
    share = (s - s.cummax(-1)[0]).exp()
    wrong = (share[..., None] * v).cumsum(2) / share.cumsum(2)[..., None]
    assert (wrong - dense(s, v)).abs().max() > 0.1
    assert (prefix_attention(s, v)[0] - dense(s, v)).abs().max() < 1e-12


def test_the_rival_does_the_same_maths():
    s, v = tokens(2, 2, 100, 4)
    assert (hillis_steele(s, v) - prefix_attention(s, v)[0]).abs().max() < 1e-12


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_masked_steps_leave_the_state_bit_for_bit(dtype):
    before = state(2, 3, 5, dtype=dtype)
    s, v = (x.to(dtype) for x in tokens(2, 3, 40, 5))
    o, after = prefix_attention(torch.full_like(s, -torch.inf), v, before)
    for a, b in zip(before, after, strict=True):
        assert torch.equal(a, b)
    assert torch.allclose(o, (before.w / before.c[..., None])[:, :, None].expand_as(o), rtol=1e-6)
    s[..., 1::2] = -torch.inf
    o = prefix_attention(s, v, before)[0]
    assert torch.equal(o[:, :, 1::2], o[:, :, ::2])
    s[..., 30:] = -torch.inf
    o, after = prefix_attention(s, v, before)
    assert torch.equal(o[:, :, 30:], o[:, :, 29:30].expand(-1, -1, 10, -1))


def test_nothing_seen_is_zero_and_has_no_gradient():
    s, v = tokens(2, 2, 70, 3)
    s[0, 0], s[1, :, :33] = -torch.inf, -torch.inf
    s.requires_grad_(), v.requires_grad_()
    o, carry = prefix_attention(s, v)
    assert not o[0, 0].any() and not o[1, :, :33].any()
    assert carry.m[0, 0] == -torch.inf and carry.c[0, 0] == 0 and not carry.w[0, 0].any()
    ds, dv = torch.autograd.grad(o.square().sum() + carry.w.square().sum() + carry.c.sum(), (s, v))
    assert ds.isfinite().all() and dv.isfinite().all()
    assert not ds[s == -torch.inf].any() and not dv[s == -torch.inf].any()


def test_no_steps_give_nothing_and_the_state():
    before = state(2, 3, 5)
    o, after = prefix_attention(torch.zeros(2, 3, 0).double(), torch.zeros(2, 3, 0, 5).double(), before)
    assert o.shape == (2, 3, 0, 5)
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert torch.equal(prefix_attention(torch.zeros(1, 1, 0), torch.zeros(1, 1, 0, 2))[1].m, empty_carry(1, 1, 2).m)


def test_the_past_does_not_see_the_future():
    """Bit for bit, whatever the future holds."""
    s, v = (x.float() for x in tokens(3, 8, 100, 6))
    before = prefix_attention(s, v)[0]
    for t in (1, 15, 16, 17, 50, 99):
        later, values = s.clone(), v.clone()
        later[..., t:], values[:, :, t:] = 1e4, -1e6
        assert torch.equal(prefix_attention(later, values)[0][:, :, :t], before[:, :, :t])


@pytest.mark.parametrize("decayed", [False, True])
def test_a_stream_step_by_step_equals_the_whole(decayed):
    s, v = tokens(2, 3, 40, 4, spread=5)
    s[0, 0, :3], s[1, 2, 20] = -torch.inf, -torch.inf
    decay = torch.rand(3, 1, dtype=torch.float64) if decayed else None
    whole, end = prefix_attention(s, v, decay=decay)
    carry = empty_carry(2, 3, 4, dtype=torch.float64)
    for t in range(40):
        o, after = prefix_attention(s[..., t : t + 1], v[:, :, t : t + 1], carry, decay=decay)
        assert (o - whole[:, :, t : t + 1]).abs().max() < 1e-13
        hidden = s[..., t] == -torch.inf
        for now, before in zip(after, carry, strict=True):
            assert decayed or torch.equal(now[hidden], before[hidden])
        carry = after
    for a, b in zip(carry, end, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-13, atol=1e-13)


def test_memory_of_a_long_row_is_that_of_its_values():
    """65,536 steps forward and back: no tensor made on the way is larger than a few of them."""
    s, v = (x.float().requires_grad_() for x in tokens(1, 1, 65536, 2))
    made = []

    class Sizes(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            out = func(*args, **(kwargs or {}))
            made.append(max((x.untyped_storage().nbytes() for x in tree_leaves(out) if torch.is_tensor(x)), default=0))
            return out

    with Sizes():
        o, _ = prefix_attention(s, v)
        o.sum().backward()
    assert max(made) <= max(4 * scan_chunks.WEIGHTS_HELD, 8 * s.numel() * 4)


def test_a_state_in_float64_over_tokens_in_float32():
    s, v = (x.float() for x in tokens(1, 2, 300, 4))
    carry = empty_carry(1, 2, 4, dtype=torch.float64)
    for t in range(300):
        o, carry = prefix_attention(s[..., t : t + 1], v[..., t : t + 1, :], carry)
    assert o.dtype == torch.float32 and {x.dtype for x in carry} == {torch.float64}
    exact = prefix_attention(s.double(), v.double())[1]
    for a, b in zip(carry, exact, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_adds_up_in_float32(dtype):
    s, v = (x.to(dtype) for x in tokens(2, 2, 3000, 4))
    s.requires_grad_(), v.requires_grad_()
    o, carry = prefix_attention(s, v)
    assert o.dtype == dtype and carry.w.dtype == torch.float32
    error = (o.double() - dense(s.detach().double(), v.detach().double())).abs()
    assert (error <= torch.finfo(dtype).eps * o.abs().double() + 1e-6).all()
    ds, dv = torch.autograd.grad(o.sum(), (s, v))
    assert ds.dtype == dv.dtype == dtype


def test_any_memory_order_gives_the_same_and_o_has_the_order_of_v():
    s, v = tokens(2, 4, 50, 6)
    plain, _ = prefix_attention(s, v)
    apart = v.transpose(1, 2).contiguous().transpose(1, 2)
    out, _ = prefix_attention(s.transpose(1, 2).contiguous().transpose(1, 2), apart)
    assert out.stride() == apart.stride() and plain.is_contiguous()
    assert torch.equal(out, plain)
    assert torch.equal(
        prefix_attention(s, torch.cat([v, v], -1)[..., ::2][..., :6])[0],
        prefix_attention(s, torch.cat([v, v], -1)[..., ::2].contiguous())[0],
    )
    one = v[:1, :1].expand(2, 4, 50, 6).detach().requires_grad_()
    grad = torch.autograd.grad(prefix_attention(s, one)[0].sum(), one)[0]  # the gradient of a sum is expanded too
    assert torch.allclose(grad.sum((2, 3)), torch.full((2, 4), 300.0).double())


def test_two_runs_are_equal_bit_for_bit():
    s, v = (x.float().requires_grad_() for x in tokens(4, 8, 333, 16))
    runs = []
    for _ in range(2):
        o, carry = prefix_attention(s, v)
        runs.append([o, *carry, *torch.autograd.grad(o.square().sum() + carry.w.sum(), (s, v))])
    assert all(torch.equal(a, b) for a, b in zip(*runs, strict=True))


def test_blocks_of_rows_and_of_chunks_change_nothing(monkeypatch):
    s, v = (x.requires_grad_() for x in tokens(5, 4, 100, 3))
    decay = torch.rand(5, 4, 100, dtype=torch.float64)

    def run():
        o, carry = prefix_attention(s, v, decay=decay)
        return [o, *carry, *torch.autograd.grad(o.square().sum() + carry.w.sum(), (s, v))]

    whole = run()
    monkeypatch.setattr(scan_chunks, "IN_CACHE", 300)
    monkeypatch.setattr(scan_chunks, "WEIGHTS_HELD", 3000)
    for a, b in zip(run(), whole, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("decayed", [False, True])
def test_as_operators_of_torch(decayed):
    s, v = (x.requires_grad_() for x in tokens(2, 2, 20, 3))
    decay = torch.rand(2, 2, 20, dtype=torch.float64, requires_grad=True) if decayed else None
    before = [x.requires_grad_() for x in state(2, 2, 3)]
    torch.library.opcheck(torch.ops.forecast.scan_forward, (s, v, decay, *before))
    o, m, _, w, peaks, masses = torch.ops.forecast.scan_forward(s, v, decay, *before)
    ins = [o, m, w, s, v, o, decay, peaks, masses]
    torch.library.opcheck(torch.ops.forecast.scan_backward, [None if x is None else x.detach() for x in ins])


def test_compiles_and_exports_whole():
    class Mixer(torch.nn.Module):
        def forward(self, s, v, decay):
            o, carry = prefix_attention(s, v.transpose(1, 2), decay=decay)
            return o, carry.w

    s, v = (x.float() for x in tokens(2, 4, 20, 3))
    ins = (s.requires_grad_(), v.transpose(1, 2).contiguous().requires_grad_(), torch.rand(4, 1))
    eager = Mixer()(*ins)
    compiled = torch.compile(Mixer(), fullgraph=True, backend="aot_eager")(*ins)
    graph = torch.export.export(Mixer(), tuple(x.detach() for x in ins))
    for a, b, c in zip(eager, compiled, graph.module()(*ins), strict=True):
        assert torch.equal(a, b) and torch.equal(a, c)
    for a, b in zip(*(torch.autograd.grad(x[0].sum() + x[1].sum(), ins[:2]) for x in (eager, compiled)), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize(
    "change, words",
    [
        ({"s": torch.zeros(2, 3, 4)}, r"scores \(2, 3, 4\) and values \(2, 3, 5, 6\)"),
        ({"state": empty_carry(2, 3, 7)}, r"w \(2, 3, 7\); expected \(B, H\), \(B, H, D\)"),
        ({"decay": torch.zeros(4)}, r"broadcast|decay \(4,\)"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(change, words):
    fine = {"s": torch.zeros(2, 3, 5), "v": torch.zeros(2, 3, 5, 6), "state": None, "decay": None} | change
    with pytest.raises((ValueError, RuntimeError), match=words):
        prefix_attention(fine["s"], fine["v"], fine["state"], decay=fine["decay"])


@pytest.mark.parametrize("length", [2, 16, 37, 128])
def test_rates_that_are_the_same_at_every_step_need_no_table_of_all_steps(length):
    s, v = torch.randn(3, 2, length, dtype=torch.float64), torch.randn(3, 2, length, 4, dtype=torch.float64)
    s[1, 0, length // 2 :] = -torch.inf
    rates = torch.tensor([0.02, 1.5], dtype=torch.float64)[None, :, None]
    found = []
    for decay in (rates, rates.expand(3, 2, length).contiguous()):
        leaf = [part.clone().requires_grad_() for part in (s, v, decay)]
        o, carry = prefix_attention(leaf[0], leaf[1], decay=leaf[2])
        (o.square().sum() + sum(part.square().sum() for part in carry)).backward()
        falls = leaf[2].grad if decay is rates else leaf[2].grad.sum((0, 2), keepdim=True)
        found.append((o, *carry, leaf[0].grad, leaf[1].grad, falls))
    for even, written in zip(*found, strict=True):
        torch.testing.assert_close(even, written, rtol=1e-12, atol=1e-12)
