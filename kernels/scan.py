"""Prefix attention of Aaren (arXiv 2405.13956, §3): the twin of forecast.ops.scan, where the equations stand.

One program has a row (b, h) and a segment of time, and goes through it in chunks of BT steps, (m, c, w) in registers:

    P_ki = e^{s_i − D_ki − m_k} for i ≤ k, else 0;   e_k = e^{m_before − D_k − m_k};   [w_k c_k] = P [v 1] + e_k [w c]

and the gradient the other way round, with Pᵀ. Every exponent is ≤ 0, but for what decay makes m round. A chunk's
decays are summed afresh for each pair (k, i), so that one large decay does not blur the small ones beside it.

Few rows do not fill a GPU: then time is cut into segments. Each is summed up to its own (m, c, w), one program a row
joins these to the state every segment starts from, and the segments run side by side. For the gradient likewise.
Nothing is added up in an order that chance decides.
"""

# mypy: allow-untyped-defs, allow-incomplete-defs

import torch
import triton
import triton.language as tl
from torch import Tensor

from .scan_segments import (
    entry_of,
    falls_before,
    finite,
    inverse,
    pair_falls,
    pair_weights,
    row_of,
    scan_echo_kernel,
    scan_futures_kernel,
    scan_starts_kernel,
    scan_summary_kernel,
)

BT = 16  # steps of a chunk: with 32 the backward kernel spills registers (ptxas, sm_90)
PROGRAMS = 264  # below this many rows time is cut: two programs for each of an H100's 132 multiprocessors
SHORTEST = 16 * BT  # steps of a segment: shorter ones cost more in summing up than they win


@triton.jit
def scan_forward_kernel(
    s_ptr,
    v_ptr,
    decay_ptr,
    m0_ptr,  # (rows, segments), contiguous: the state before each segment
    c0_ptr,
    w0_ptr,  # (rows, segments, D)
    o_ptr,
    peaks_ptr,  # (rows, 1 + L)
    masses_ptr,
    w_ptr,  # (rows, D): the state after the last step
    heads,
    length,
    dim,
    segment,  # steps
    s_b,
    s_h,
    s_t,
    v_b,
    v_h,
    v_t,
    v_d,
    decay_b,
    decay_h,
    decay_t,
    o_b,
    o_h,
    o_t,
    o_d,
    DECAYS: tl.constexpr,
    WIDE: tl.constexpr,
    PRECISION: tl.constexpr,
    BT: tl.constexpr,
    BD: tl.constexpr,
):
    row, part, parts = tl.program_id(0).to(tl.int64), tl.program_id(1), tl.num_programs(1)
    b, h = row // heads, row % heads
    j, d = tl.arange(0, BT), tl.arange(0, BD).to(tl.int64)
    within, final = d < dim, j == BT - 1
    acc = peaks_ptr.dtype.element_ty
    token: tl.constexpr = tl.float64 if WIDE else tl.float32
    at = row * parts + part
    m = tl.load(m0_ptr + at)
    c = tl.load(c0_ptr + at)
    w = tl.load(w0_ptr + at * dim + d, mask=within, other=0.0)
    end = tl.minimum(length, (part + 1) * segment)
    for start in range(part * segment, end, BT):
        t = (start + j).to(tl.int64)
        here = t < end
        s = tl.load(s_ptr + b * s_b + h * s_h + t * s_t, mask=here, other=-float("inf")).to(acc)
        cell = here[:, None] & within[None, :]
        v = tl.load(v_ptr + b * v_b + h * v_h + t[:, None] * v_t + d[None, :] * v_d, mask=cell, other=0.0).to(token)
        fall = tl.zeros([BT, BT], acc)
        age = tl.zeros([BT], acc)
        if DECAYS:
            decay = tl.load(decay_ptr + b * decay_b + h * decay_h + t * decay_t, mask=here, other=0.0).to(acc)
            fall = pair_falls(decay, BT)
            age = falls_before(decay, BT)
        seen = tl.where(j[None, :] <= j[:, None], s[None, :] - fall, -float("inf"))
        peak = tl.maximum(tl.max(seen, 1), m - age)
        point = finite(peak)
        p = pair_weights(s, point, fall, BT)
        kept = tl.exp(m - point - age)
        mass = tl.sum(p, 1) + kept * c
        sums = tl.dot(p.to(token), v, input_precision=PRECISION).to(acc) + kept[:, None] * w[None, :]
        o = sums * inverse(mass)[:, None]
        place = o_ptr + b * o_b + h * o_h + t[:, None] * o_t + d[None, :] * o_d
        tl.store(place, o.to(o_ptr.dtype.element_ty), mask=cell)
        tl.store(peaks_ptr + row * (1 + length) + 1 + t, peak, mask=here)
        tl.store(masses_ptr + row * (1 + length) + 1 + t, mass, mask=here)
        m, c, w = tl.max(tl.where(final, peak, -float("inf")), 0), entry_of(mass, final), row_of(sums, final)
    if part == parts - 1:
        tl.store(w_ptr + row * dim + d, w, mask=within)


@triton.jit
def scan_backward_kernel(
    g_ptr,
    s_ptr,
    v_ptr,
    o_ptr,
    decay_ptr,
    peaks_ptr,  # (rows, 1 + L), contiguous
    masses_ptr,
    k_ptr,  # (rows, segments, D): what arrives at each segment's end from later ones, of w
    rho_ptr,  # (rows, segments): of -c
    ds_ptr,  # (rows, L)
    dv_ptr,
    dc0_ptr,  # (rows,)
    dw0_ptr,  # (rows, D)
    heads,
    length,
    dim,
    segment,
    g_b,
    g_h,
    g_t,
    g_d,
    s_b,
    s_h,
    s_t,
    v_b,
    v_h,
    v_t,
    v_d,
    o_b,
    o_h,
    o_t,
    o_d,
    decay_b,
    decay_h,
    decay_t,
    dv_b,
    dv_h,
    dv_t,
    dv_d,
    DECAYS: tl.constexpr,
    WIDE: tl.constexpr,
    PRECISION: tl.constexpr,
    BT: tl.constexpr,
    BD: tl.constexpr,
):
    row, part, parts = tl.program_id(0).to(tl.int64), tl.program_id(1), tl.num_programs(1)
    b, h = row // heads, row % heads
    j, d = tl.arange(0, BT), tl.arange(0, BD).to(tl.int64)
    within, final = d < dim, j == BT - 1
    acc = peaks_ptr.dtype.element_ty
    token: tl.constexpr = tl.float64 if WIDE else tl.float32
    at = row * parts + part
    k = tl.load(k_ptr + at * dim + d, mask=within, other=0.0)
    rho = tl.load(rho_ptr + at)
    first = part * segment
    end = tl.minimum(length, first + segment)
    chunks = tl.cdiv(end - first, BT)
    for i in range(0, chunks):
        start = first + (chunks - 1 - i) * BT
        t = (start + j).to(tl.int64)
        here = t < end
        cell = here[:, None] & within[None, :]
        s = tl.load(s_ptr + b * s_b + h * s_h + t * s_t, mask=here, other=-float("inf")).to(acc)
        v = tl.load(v_ptr + b * v_b + h * v_h + t[:, None] * v_t + d[None, :] * v_d, mask=cell, other=0.0).to(acc)
        g = tl.load(g_ptr + b * g_b + h * g_h + t[:, None] * g_t + d[None, :] * g_d, mask=cell, other=0.0).to(acc)
        o = tl.load(o_ptr + b * o_b + h * o_h + t[:, None] * o_t + d[None, :] * o_d, mask=cell, other=0.0).to(acc)
        along = row * (1 + length)
        m = tl.load(peaks_ptr + along + tl.minimum(t + 1, end))  # past the end nothing moves: the last row still holds
        mass = tl.load(masses_ptr + along + 1 + t, mask=here, other=0.0)
        before = tl.load(peaks_ptr + along + start)
        fall = tl.zeros([BT, BT], acc)
        age = tl.zeros([BT], acc)
        if DECAYS:
            decay = tl.load(decay_ptr + b * decay_b + h * decay_h + t * decay_t, mask=here, other=0.0).to(acc)
            fall = pair_falls(decay, BT)
            age = falls_before(decay, BT)
        point = finite(m)
        p = pair_weights(s, point, fall, BT)
        kept = tl.exp(before - point - age)
        g *= inverse(mass)[:, None]
        rest = tl.sum(g * o, 1) + tl.where(final, rho, 0.0)
        g += tl.where(final[:, None], k[None, :], 0.0)
        dv = tl.dot(tl.trans(p).to(token), g.to(token), input_precision=PRECISION).to(acc)
        ds = tl.sum(dv * v, 1) - tl.sum(p * rest[:, None], 0)
        place = dv_ptr + b * dv_b + h * dv_h + t[:, None] * dv_t + d[None, :] * dv_d
        tl.store(place, dv.to(dv_ptr.dtype.element_ty), mask=cell)
        tl.store(ds_ptr + row * length + t, ds, mask=here)
        k, rho = tl.sum(kept[:, None] * g, 0), tl.sum(kept * rest, 0)
    if part == 0:
        tl.store(dw0_ptr + row * dim + d, k, mask=within)
        tl.store(dc0_ptr + row, -rho)


def scan_forward(
    s: Tensor, v: Tensor, decay: Tensor | None, m0: Tensor, c0: Tensor, w0: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """See forecast.ops.scan.scan_forward."""
    b, h, length, d = v.shape
    o = torch.empty_like(v)
    w = torch.empty(w0.shape, dtype=m0.dtype, device=v.device)
    peaks, masses = (torch.empty(b, h, 1 + length, dtype=m0.dtype, device=v.device) for _ in range(2))
    peaks[..., 0], masses[..., 0] = m0, c0
    parts, segment = _segments(b * h, length)
    sizes = (h, length, d, segment)
    falls = s if decay is None else decay  # a pointer that is not read
    shape = {"DECAYS": decay is not None, "BT": BT, "BD": _width(d), "num_warps": _warps(d)}
    starts = m0.contiguous(), c0.contiguous(), w0.contiguous()
    if parts > 1:
        alone, before = (
            (m0.new_empty(b, h, parts), c0.new_empty(b, h, parts), w0.new_empty(b, h, parts, d)) for _ in range(2)
        )
        total = m0.new_empty(b, h, parts)
        strides = (*s.stride(), *v.stride(), *falls.stride())
        scan_summary_kernel[(b * h, parts)](s, v, falls, *alone, total, *sizes, *strides, **shape)
        scan_starts_kernel[(b * h,)](*starts, *alone, total, *before, parts, d, BD=shape["BD"])
        starts = before
    strides = (*s.stride(), *v.stride(), *falls.stride(), *o.stride())
    scan_forward_kernel[(b * h, parts)](
        s, v, falls, *starts, o, peaks, masses, w, *sizes, *strides, **shape, **_arithmetic(v)
    )
    return o, peaks[..., -1].clone(), masses[..., -1].clone(), w, peaks, masses


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
    """See forecast.ops.scan.scan_backward."""
    b, h, length, d = v.shape
    dv = torch.empty_like(v)
    ds = torch.empty(b, h, length, dtype=peaks.dtype, device=v.device)
    dc0, dw0 = (torch.empty(x.shape, dtype=peaks.dtype, device=v.device) for x in (gc, gw))
    parts, segment = _segments(b * h, length)
    sizes = (h, length, d, segment)
    falls = s if decay is None else decay
    shape = {"DECAYS": decay is not None, "BT": BT, "BD": _width(d), "num_warps": _warps(d)}
    gc, gw = gc.contiguous(), gw.contiguous()
    k, rho = gw, -gc
    if parts > 1:
        sent, k = (gw.new_empty(b, h, parts, d) for _ in range(2))
        sent_rho, rho, kept = (gc.new_empty(b, h, parts) for _ in range(3))
        strides = (*g.stride(), *o.stride(), *falls.stride())
        scan_echo_kernel[(b * h, parts)](g, o, falls, peaks, masses, sent, sent_rho, kept, *sizes, *strides, **shape)
        scan_futures_kernel[(b * h,)](gc, gw, sent, sent_rho, kept, k, rho, parts, d, BD=shape["BD"])
    strides = (*g.stride(), *s.stride(), *v.stride(), *o.stride(), *falls.stride(), *dv.stride())
    scan_backward_kernel[(b * h, parts)](
        g, s, v, o, falls, peaks, masses, k, rho, ds, dv, dc0, dw0, *sizes, *strides, **shape, **_arithmetic(v)
    )
    return ds, dv, dc0, dw0


def _segments(rows: int, length: int) -> tuple[int, int]:
    """How many segments of how many steps; whole chunks."""
    parts = max(1, min(-(-PROGRAMS // rows), length // SHORTEST))
    segment = BT * -(-length // (BT * parts))
    return -(-length // segment), segment


def _width(dim: int) -> int:
    return max(16, triton.next_power_of_2(dim))


def _warps(dim: int) -> int:
    return 4 if _width(dim) <= 64 else 8


def _arithmetic(v: Tensor) -> dict[str, object]:
    """Products in float32 at least. TF32 is what the user allows, or all that half-precision values have."""
    wide = v.dtype == torch.float64
    exact = wide or (v.dtype == torch.float32 and torch.get_float32_matmul_precision() == "highest")
    return {"WIDE": wide, "PRECISION": "ieee" if exact else "tf32"}
