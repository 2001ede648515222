"""Prefix attention of Aaren, "attention as an RNN" (Feng et al. 2024, arXiv 2405.13956, §3), in plain torch.

    o_k = Σ_{i≤k} e^{s_i − D_ki} v_i / Σ_{i≤k} e^{s_i − D_ki},   D_ki = Σ_{i<j≤k} decay_j

Decay is ours: by how much every earlier score falls at step k; without it this is the paper's equation. The state kept
for the next token is the paper's (m, c, w): the largest score so far, and the sums of e^{s_i − m} and e^{s_i − m} v_i.
m and c stay apart: their sum in one number, log Z, is rounded to 10⁻³ where scores are near 10⁴.

m is only the point from which exponents are measured. Nothing below asks it to be exact, only that every difference to
it is; so decay may round m and no weight is lost.

Shapes: B rows, H heads, L steps, D head width; s (B, H, L), v and o (B, H, L, D). r = rows × heads of one block,
C steps of one chunk, n chunks.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from forecast.ops import scan_chunks as chunks
from forecast.ops.dispatch import plainly, run


class Carry(NamedTuple):
    """What a prefix leaves to the steps after it."""

    m: Tensor  # (B, H) the largest score, -inf where nothing was seen
    c: Tensor  # (B, H) Σ e^{s_i − m}
    w: Tensor  # (B, H, D) Σ e^{s_i − m} v_i


def empty_carry(
    batch: int, heads: int, dim: int, device: torch.device | str | None = None, dtype: torch.dtype = torch.float32
) -> Carry:
    """The state before the first step."""
    none = torch.zeros(batch, heads, device=device, dtype=dtype)
    return Carry(none - torch.inf, none, torch.zeros(batch, heads, dim, device=device, dtype=dtype))


def prefix_attention(
    s: Tensor, v: Tensor, state: Carry | None = None, *, decay: Tensor | None = None
) -> tuple[Tensor, Carry]:
    """Attention of every prefix: o (B, H, L, D) like v, and the state after the last step.

    s = -inf is a masked step: it leaves the state as it is and o repeats the step before it, 0 where nothing was seen.
    decay (broadcastable to B, H, L, ≥ 0, finite) goes on during masked steps: m falls, and what its rounding loses is
    in (c, w); without decay all is kept bit for bit. v must be finite, at masked steps too.
    The state may be wider than the tokens (float64 for long streams); it is returned in the dtype it came in.
    """
    b, h, length, d = _checked(s, v, state, decay)
    acc = torch.promote_types(v.dtype, torch.float32)
    if state is None:
        state = empty_carry(b, h, d, v.device, acc)
    kept = state.c.dtype
    if length == 0:
        return v.clone(), state
    if length == 1 and v.device.type == "cpu" and not torch.is_grad_enabled():
        return _step(s[..., 0], v[:, :, 0], state, None if decay is None else decay.expand(b, h, 1)[..., 0])
    acc = torch.promote_types(acc, kept)
    start = (part.to(acc) for part in state)
    falls = None if decay is None else decay.expand(b, h, length)
    if plainly():
        o, m, c, w, _, _ = run(scan_forward, v, s, v, falls, *start)
    else:
        o, m, c, w, _, _ = torch.ops.forecast.scan_forward(s, v, falls, *start)
    return o, Carry(m.to(kept), c.to(kept), w.to(kept))


def _step(s: Tensor, v: Tensor, state: Carry, decay: Tensor | None) -> tuple[Tensor, Carry]:
    """One step of a stream, as the paper's cell has it: s and decay (B, H), v (B, H, D) -> o (B, H, 1, D), the state.

    A few plain calls, an eighth of what a chunk of one step costs, and a graph that any runtime can take.
    """
    kept = state.c.dtype
    s, before = s.to(kept), state.m if decay is None else state.m - decay.to(kept)
    m = torch.maximum(before, s)
    point = m.clamp_min(torch.finfo(kept).min)  # -inf where nothing was seen
    old, new = torch.exp(before - point), torch.exp(s - point)
    c = torch.addcmul(new, old, state.c)
    w = torch.addcmul(new[..., None] * v.to(kept), old[..., None], state.w)
    o = w / c.clamp_min(torch.finfo(kept).tiny)[..., None]
    return o[:, :, None].to(v.dtype), Carry(m, c, w)


def _checked(s: Tensor, v: Tensor, state: Carry | None, decay: Tensor | None) -> torch.Size:
    if v.ndim != 4 or s.shape != v.shape[:-1]:
        raise ValueError(
            f"scores {tuple(s.shape)} and values {tuple(v.shape)}; expected (B, H, L) and (B, H, L, D); reshape"
        )
    if state is not None and (state.w.shape != (*v.shape[:2], v.shape[3]) or state.m.shape != v.shape[:2]):
        found = f"state of m {tuple(state.m.shape)}, w {tuple(state.w.shape)}"
        raise ValueError(f"{found}; expected (B, H), (B, H, D) for values {tuple(v.shape)}; start from empty_carry")
    if decay is not None and torch.broadcast_shapes(decay.shape, s.shape) != s.shape:
        raise ValueError(f"decay {tuple(decay.shape)}; expected broadcastable to {tuple(s.shape)}; reshape")
    return v.shape


# The references: chunks of C steps one after another, each a small matrix product with the state as its first row.
#
#     [w_k c_k] = A [state; v 1],   A_k0 = e^{m_before − m_k},  A_ki = e^{s_i − m_k} for i ≤ k, else 0
#
# The gradient is the transpose, from the last chunk to the first: [dstate; dv ·] = Aᵀ [g/c  (g·o)/c], where the row of
# the last step has what arrives from the future added to it. All numbers of A lie in [0, 1], but for what decay makes
# m round.


def scan_forward(
    s: Tensor, v: Tensor, decay: Tensor | None, m0: Tensor, c0: Tensor, w0: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """o, the state (m, c, w) after the last step, and for the gradient m and c at every step, (B, H, 1 + L) both.

    Step 0 of the latter is the incoming state. All but o have the state's dtype, in which everything is computed.
    """
    b, h, length, d = v.shape
    o = torch.empty_like(v)
    peaks, masses = (torch.empty(b, h, 1 + length, dtype=m0.dtype, device=v.device) for _ in range(2))
    w = torch.empty(w0.shape, dtype=m0.dtype, device=v.device)
    chunk = chunks.chunk_length(b * h, length)
    for rows in chunks.row_blocks(b, h * chunk * d):
        falls = None if decay is None else decay[rows]
        outs = (o[rows], peaks[rows], masses[rows], w[rows])
        _forward_rows(s[rows], v[rows], falls, (m0[rows], c0[rows], w0[rows]), outs, chunk)
    return o, peaks[..., -1].clone(), masses[..., -1].clone(), w, peaks, masses


def _forward_rows(
    s: Tensor,
    v: Tensor,
    decay: Tensor | None,
    start: tuple[Tensor, Tensor, Tensor],
    outs: tuple[Tensor, Tensor, Tensor, Tensor],
    chunk: int,
) -> None:
    """Some rows, all of time, into `outs`."""
    (b, h, length, d), (m0, c0, w0), (o, peaks, masses, w) = v.shape, start, outs
    peaks[..., 0], masses[..., 0] = m0, c0
    scores, ages = chunks.chunked(s, chunk, -torch.inf, m0.dtype), chunks.ages(decay, chunk)
    m, before = chunks.peaks(scores, ages, m0.reshape(-1))
    peaks[..., 1:] = chunks.unchunked(m, b, length)
    x = torch.ones(b, h, 1 + chunk, d + 1, dtype=m0.dtype, device=v.device)  # state and v, the last column counts
    y = torch.empty(b, h, chunk, d + 1, dtype=m0.dtype, device=v.device)
    tiny = torch.finfo(m0.dtype).tiny
    newest = chunks.newest(scores) if ages is None and (s == -torch.inf).any() else None
    x[:, :, 0, :d], x[:, :, 0, d] = w0, c0
    for first, last in chunks.chunk_blocks(*scores.shape):
        weights = chunks.weights(scores[first:last], m[first:last], before[first:last], chunks.part(ages, first, last))
        for j in range(first, last):
            t = j * chunk
            n = min(chunk, length - t)
            x[:, :, 1 : 1 + n, :d] = v[:, :, t : t + n]
            x[:, :, 1 + n :, :d] = 0
            torch.bmm(weights[j - first], x.flatten(0, 1), out=y.flatten(0, 1))
            if newest is not None:  # a product's equal rows need not be equal bit for bit
                rows = newest[j].view(b, h, chunk, 1).expand(-1, -1, -1, d + 1)
                y = torch.cat([x[:, :, :1], y], 2).gather(2, rows)
            x[:, :, 0] = y[:, :, n - 1]
            masses[..., 1 + t : 1 + t + n] = y[:, :, :n, d]
            torch.div(
                y[:, :, :n, :d], y[:, :, :n, d:].clamp_min(tiny), out=o[:, :, t : t + n]
            )  # 0 / tiny: nothing seen
    w.copy_(x[:, :, 0, :d])


def scan_backward(
    g: Tensor,
    gc: Tensor,
    gw: Tensor,
    s: Tensor,
    v: Tensor,
    o: Tensor,
    decay: Tensor | None,
    peaks: Tensor,
    masses: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients of s (in the state's dtype), v, c0 and w0 with every m held fixed, from those of o, c and w.

    Holding m fixed is right for o, which does not depend on it; what m's own gradient adds is `_backward`'s to say.
    """
    b, h, length, d = v.shape
    dv = torch.empty_like(v)
    ds = torch.empty(b, h, length, dtype=peaks.dtype, device=v.device)
    dc0, dw0 = torch.empty_like(gc), torch.empty_like(gw)
    chunk = chunks.chunk_length(b * h, length)
    for rows in chunks.row_blocks(b, h * chunk * d):
        ins = (g[rows], s[rows], v[rows], o[rows], peaks[rows], masses[rows])
        falls = None if decay is None else decay[rows]
        future = torch.cat([gw[rows], -gc[rows, :, None]], -1)
        _backward_rows(ins, falls, future, (ds[rows], dv[rows]), chunk)
        dw0[rows], dc0[rows] = future[..., :d], -future[..., d]
    return ds, dv, dc0, dw0


def _backward_rows(
    ins: tuple[Tensor, ...], decay: Tensor | None, future: Tensor, outs: tuple[Tensor, Tensor], chunk: int
) -> None:
    """Some rows, from the last chunk to the first; `future` (b, H, D + 1) is what arrives from later chunks."""
    (g, s, v, o, peaks, masses), (ds, dv) = ins, outs
    b, h, length, d = v.shape
    scores, ages = chunks.chunked(s, chunk, -torch.inf, peaks.dtype), chunks.ages(decay, chunk)
    m = chunks.chunked(peaks[..., 1:], chunk, None, peaks.dtype)
    before = torch.cat([peaks[None, ..., 0].flatten(1), m[:-1, :, -1]])
    inverse = chunks.inverse(masses[..., 1:, None])
    x = torch.empty(b, h, chunk, d + 1, dtype=peaks.dtype, device=v.device)
    y = torch.empty(b, h, 1 + chunk, d + 1, dtype=peaks.dtype, device=v.device)
    product = torch.empty(b, h, chunk, d, dtype=peaks.dtype, device=v.device)
    for first, last in reversed(chunks.chunk_blocks(*scores.shape)):
        weights = chunks.weights(scores[first:last], m[first:last], before[first:last], chunks.part(ages, first, last))
        for j in range(last - 1, first - 1, -1):
            t = j * chunk
            n = min(chunk, length - t)
            now = slice(t, t + n)
            torch.mul(g[:, :, now], inverse[:, :, now], out=x[:, :, :n, :d])
            x[:, :, :n, d] = torch.mul(x[:, :, :n, :d], o[:, :, now], out=product[:, :, :n]).sum(-1)
            x[:, :, n:] = 0
            x[:, :, -1] += future
            torch.bmm(weights[j - first].mT, x.flatten(0, 1), out=y.flatten(0, 1))
            future.copy_(y[:, :, 0])
            dv[:, :, now] = y[:, :, 1 : 1 + n, :d]
            along = torch.mul(y[:, :, 1 : 1 + n, :d], v[:, :, now], out=product[:, :, :n]).sum(-1)
            torch.sub(along, y[:, :, 1 : 1 + n, d], out=ds[:, :, now])


# As operators, so that compile and export take them whole.


@torch.library.custom_op("forecast::scan_forward", mutates_args=())
def _forward_op(
    s: Tensor, v: Tensor, decay: Tensor | None, m0: Tensor, c0: Tensor, w0: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    return run(scan_forward, v, s, v, decay, m0, c0, w0)


@_forward_op.register_fake
def _(s: Tensor, v: Tensor, decay: Tensor | None, m0: Tensor, c0: Tensor, w0: Tensor) -> tuple[Tensor, ...]:
    b, h, length, _ = v.shape
    along = (m0.new_empty(b, h, 1 + length) for _ in range(2))
    state = (m0.new_empty(b, h), m0.new_empty(b, h), m0.new_empty(w0.shape))
    return torch.empty_like(v), *state, *along


@torch.library.custom_op("forecast::scan_backward", mutates_args=())
def _backward_op(
    g: Tensor,
    gc: Tensor,
    gw: Tensor,
    s: Tensor,
    v: Tensor,
    o: Tensor,
    decay: Tensor | None,
    peaks: Tensor,
    masses: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return run(scan_backward, v, g, gc, gw, s, v, o, decay, peaks, masses)


@_backward_op.register_fake
def _(
    g: Tensor,
    gc: Tensor,
    gw: Tensor,
    s: Tensor,
    v: Tensor,
    o: Tensor,
    decay: Tensor | None,
    peaks: Tensor,
    masses: Tensor,
) -> tuple[Tensor, ...]:
    ds = peaks.new_empty(s.shape)
    return ds, torch.empty_like(v), torch.empty_like(gc), torch.empty_like(gw)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    s, v, decay, _, _, w0 = inputs
    o, m, c, w, peaks, masses = output
    ctx.save_for_backward(s, v, decay, w0, o, w, peaks, masses)
    ctx.mark_non_differentiable(peaks, masses)
    ctx.set_materialize_grads(False)


def _backward(ctx: Any, g: Any, gm: Any, gc: Any, gw: Any, *_: Any) -> tuple[Tensor | None, ...]:
    """The gradient with every m held fixed, and what moves m.

    c and w shrink as m grows, so m's whole gradient is e = gm − c gc − w·gw. It belongs to the score that is the
    maximum, or to m0. Decay: o, c and w depend on scores raised by the decay up to them, and m falls by all of it.
    """
    s, v, decay, w0, o, w, peaks, masses = ctx.saved_tensors
    blank = torch.zeros_like
    state_used = not (gm is None and gc is None and gw is None)
    g = blank(o) if g is None else g
    gc = blank(peaks[..., -1]) if gc is None else gc
    gw = blank(w) if gw is None else gw
    ds, dv, dc0, dw0 = torch.ops.forecast.scan_backward(g, gc, gw, s, v, o, decay, peaks, masses)
    dm0 = (w0 * dw0).sum(-1) + masses[..., 0] * dc0
    if state_used:
        gm = blank(gc) if gm is None else gm
        e = gm - masses[..., -1] * gc - (w * gw).sum(-1)
        steps = torch.arange(1, 1 + s.shape[-1], device=s.device)
        newest = ((s.to(peaks.dtype) == peaks[..., 1:]) & (s > -torch.inf)) * steps
        holder = newest.amax(-1)  # (B, H) the step that is the maximum, 0 if the state held it
        ds = ds + e[..., None] * (steps == holder[..., None])
        dm0 = dm0 + e * (holder == 0)
    fall = None
    if decay is not None:
        fall = _sum_onwards(ds.double())
        fall = (fall if gm is None else fall - gm[..., None]).to(decay.dtype)
    return ds.to(s.dtype), dv, fall, dm0, dc0, dw0


def _sum_onwards(x: Tensor) -> Tensor:
    """Σ_{i≥j} x_i by matrix products: a cumulative sum on a GPU is not the same in every run."""
    length, block = x.shape[-1], 64
    parts = pad(x, (0, -length % block)).unflatten(-1, (-1, block))
    later = parts.sum(-1) @ x.new_ones(parts.shape[-2], parts.shape[-2]).tril(-1)
    return (parts @ x.new_ones(block, block).tril() + later[..., None]).flatten(-2)[..., :length]


_forward_op.register_autograd(_backward, setup_context=_keep)
