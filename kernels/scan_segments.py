"""Prefix attention, what its kernels share and what joins segments of time: see kernels/scan.py.

Forward, each segment is summed up alone to its (m, c, w), and one program a row turns these into the state that every
segment starts from. For the gradient, each segment alone says what it sends to those before it and which share it
passes on of what arrives from those after it, and one program a row turns these into what arrives at every segment.
"""

# mypy: allow-untyped-defs, allow-incomplete-defs

import triton
import triton.language as tl


@triton.jit
def pair_falls(decay, BT: tl.constexpr):
    """decay (BT,) -> (k, i): Σ_{i<j≤k} decay_j."""
    j = tl.arange(0, BT)
    return tl.cumsum(tl.where(j[:, None] > j[None, :], decay[:, None], 0.0), 0)


@triton.jit
def falls_before(decay, BT: tl.constexpr):
    """How far the state before the chunk has fallen at k: Σ_{j≤k} decay_j, (BT,)."""
    j = tl.arange(0, BT)
    return tl.sum(tl.where(j[:, None] <= j[None, :], decay[:, None], 0.0), 0)


@triton.jit
def falls_after(decay, BT: tl.constexpr):
    """How far step i has fallen at the chunk's end: Σ_{j>i} decay_j, (BT,)."""
    j = tl.arange(0, BT)
    return tl.sum(tl.where(j[:, None] > j[None, :], decay[:, None], 0.0), 0)


@triton.jit
def pair_weights(s, point, fall, BT: tl.constexpr):
    """P (k, i); the difference of score and maximum first, it is small where it matters."""
    j = tl.arange(0, BT)
    gap = s[None, :] - point[:, None] - fall
    return tl.where(j[None, :] <= j[:, None], tl.exp(tl.minimum(gap, 1.0)), 0.0)


@triton.jit
def finite(m):
    """Nothing seen yet: -inf − 0, never -inf − -inf."""
    return tl.where(m == -float("inf"), 0.0, m)


@triton.jit
def inverse(c):
    return tl.where(c > 0, 1 / tl.where(c > 0, c, 1.0), 0.0)


@triton.jit
def row_of(x, at):
    """The row of x (BT, D) where `at` (BT,) is true: exact, the others add 0."""
    return tl.sum(tl.where(at[:, None], x, 0.0), 0)


@triton.jit
def entry_of(x, at):
    return tl.sum(tl.where(at, x, 0.0), 0)


@triton.jit
def scan_summary_kernel(
    s_ptr,
    v_ptr,
    decay_ptr,
    m_ptr,  # (rows, segments), contiguous: each segment alone
    c_ptr,
    w_ptr,  # (rows, segments, D)
    total_ptr,  # (rows, segments): the segment's whole decay
    heads,
    length,
    dim,
    segment,
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
    DECAYS: tl.constexpr,
    BT: tl.constexpr,
    BD: tl.constexpr,
):
    row, part, parts = tl.program_id(0).to(tl.int64), tl.program_id(1), tl.num_programs(1)
    b, h = row // heads, row % heads
    j, d = tl.arange(0, BT), tl.arange(0, BD).to(tl.int64)
    within = d < dim
    acc = m_ptr.dtype.element_ty
    m, c, w = tl.full([], -float("inf"), acc), tl.zeros([], acc), tl.zeros([BD], acc)
    total = tl.zeros([], acc)
    end = tl.minimum(length, (part + 1) * segment)
    for start in range(part * segment, end, BT):
        t = (start + j).to(tl.int64)
        here = t < end
        s = tl.load(s_ptr + b * s_b + h * s_h + t * s_t, mask=here, other=-float("inf")).to(acc)
        cell = here[:, None] & within[None, :]
        v = tl.load(v_ptr + b * v_b + h * v_h + t[:, None] * v_t + d[None, :] * v_d, mask=cell, other=0.0).to(acc)
        fall, age = tl.zeros([BT], acc), tl.zeros([], acc)
        if DECAYS:
            decay = tl.load(decay_ptr + b * decay_b + h * decay_h + t * decay_t, mask=here, other=0.0).to(acc)
            fall, age = falls_after(decay, BT), tl.sum(decay, 0)
        peak = tl.maximum(tl.max(s - fall, 0), m - age)
        point = finite(peak)
        p, kept = tl.exp(tl.minimum(s - point - fall, 1.0)), tl.exp(m - point - age)
        c = tl.sum(p, 0) + kept * c
        w = tl.sum(p[:, None] * v, 0) + kept * w
        m = peak
        total += age
    at = row * parts + part
    tl.store(m_ptr + at, m)
    tl.store(c_ptr + at, c)
    tl.store(total_ptr + at, total)
    tl.store(w_ptr + at * dim + d, w, mask=within)


@triton.jit
def scan_starts_kernel(
    m0_ptr,  # (rows,), contiguous as all here
    c0_ptr,
    w0_ptr,
    m_ptr,  # (rows, segments): each segment alone
    c_ptr,
    w_ptr,
    total_ptr,
    m_out_ptr,  # the state before each; not in place: warps do not wait for one another
    c_out_ptr,
    w_out_ptr,
    parts,
    dim,
    BD: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    d = tl.arange(0, BD)
    within = d < dim
    m, c = tl.load(m0_ptr + row), tl.load(c0_ptr + row)
    w = tl.load(w0_ptr + row * dim + d, mask=within, other=0.0)
    for part in range(0, parts):
        at = row * parts + part
        m_new, c_new, total = tl.load(m_ptr + at), tl.load(c_ptr + at), tl.load(total_ptr + at)
        w_new = tl.load(w_ptr + at * dim + d, mask=within, other=0.0)
        tl.store(m_out_ptr + at, m)
        tl.store(c_out_ptr + at, c)
        tl.store(w_out_ptr + at * dim + d, w, mask=within)
        peak = tl.maximum(m - total, m_new)
        point = finite(peak)
        kept, come = tl.exp(m - point - total), tl.exp(m_new - point)
        m, c, w = peak, kept * c + come * c_new, kept * w + come * w_new


@triton.jit
def scan_echo_kernel(
    g_ptr,
    o_ptr,
    decay_ptr,
    peaks_ptr,  # (rows, 1 + L), contiguous
    masses_ptr,
    k_ptr,  # (rows, segments, D): what each segment alone sends to those before it, of w
    rho_ptr,  # (rows, segments): of -c
    kept_ptr,  # (rows, segments): the share it passes on of what arrives
    heads,
    length,
    dim,
    segment,
    g_b,
    g_h,
    g_t,
    g_d,
    o_b,
    o_h,
    o_t,
    o_d,
    decay_b,
    decay_h,
    decay_t,
    DECAYS: tl.constexpr,
    BT: tl.constexpr,
    BD: tl.constexpr,
):
    row, part, parts = tl.program_id(0).to(tl.int64), tl.program_id(1), tl.num_programs(1)
    b, h = row // heads, row % heads
    j, d = tl.arange(0, BT), tl.arange(0, BD).to(tl.int64)
    within, final = d < dim, j == BT - 1
    acc = peaks_ptr.dtype.element_ty
    k, rho, passed = tl.zeros([BD], acc), tl.zeros([], acc), tl.full([], 1.0, acc)
    first = part * segment
    end = tl.minimum(length, first + segment)
    chunks = tl.cdiv(end - first, BT)
    for i in range(0, chunks):
        start = first + (chunks - 1 - i) * BT
        t = (start + j).to(tl.int64)
        here = t < end
        cell = here[:, None] & within[None, :]
        g = tl.load(g_ptr + b * g_b + h * g_h + t[:, None] * g_t + d[None, :] * g_d, mask=cell, other=0.0).to(acc)
        o = tl.load(o_ptr + b * o_b + h * o_h + t[:, None] * o_t + d[None, :] * o_d, mask=cell, other=0.0).to(acc)
        along = row * (1 + length)
        m = tl.load(peaks_ptr + along + tl.minimum(t + 1, end))
        mass = tl.load(masses_ptr + along + 1 + t, mask=here, other=0.0)
        before = tl.load(peaks_ptr + along + start)
        age = tl.zeros([BT], acc)
        if DECAYS:
            decay = tl.load(decay_ptr + b * decay_b + h * decay_h + t * decay_t, mask=here, other=0.0).to(acc)
            age = falls_before(decay, BT)
        kept = tl.exp(before - finite(m) - age)
        share = kept * inverse(mass)
        last = entry_of(kept, final)
        k = tl.sum(share[:, None] * g, 0) + last * k
        rho = tl.sum(share * tl.sum(g * o, 1), 0) + last * rho
        passed *= last
    at = row * parts + part
    tl.store(k_ptr + at * dim + d, k, mask=within)
    tl.store(rho_ptr + at, rho)
    tl.store(kept_ptr + at, passed)


@triton.jit
def scan_futures_kernel(
    gc_ptr,  # (rows,), contiguous as all here
    gw_ptr,
    k_ptr,  # (rows, segments, D): what each segment alone sends
    rho_ptr,
    kept_ptr,
    k_out_ptr,  # what arrives at the end of each; not in place: warps do not wait for one another
    rho_out_ptr,
    parts,
    dim,
    BD: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    d = tl.arange(0, BD)
    within = d < dim
    k, rho = tl.load(gw_ptr + row * dim + d, mask=within, other=0.0), -tl.load(gc_ptr + row)
    for i in range(0, parts):
        at = row * parts + parts - 1 - i
        sent = tl.load(k_ptr + at * dim + d, mask=within, other=0.0)
        sent_rho, kept = tl.load(rho_ptr + at), tl.load(kept_ptr + at)
        tl.store(k_out_ptr + at * dim + d, k, mask=within)
        tl.store(rho_out_ptr + at, rho)
        k, rho = sent + kept * k, sent_rho + kept * rho
