"""Attention of the chosen queries, and the mean of the values for all others, on a GPU: twins of `chosen_attention`
and `chosen_attention_backward` in forecast/ops/probsparse.py (Zhou et al. 2021, arXiv 2012.07436, algorithm 1).

A few dozen queries look at many keys, so the keys are split over programs: each makes a softmax of its span with a
running maximum and, in the same pass over v, the sum of its values; `combine` and `fill` put the spans together.
No atomics: two runs are equal bit for bit.

Names: i_ index, b_ block of values; R = B·H rows, N chosen queries, S spans.
"""

import math

import torch
import triton
import triton.language as tl
from torch import Tensor


@triton.jit
def _rows(X, index, ok, i_e, inside, sl, se):
    """Rows of one head, [len(index), BE]."""
    at = index.to(tl.int64)[:, None] * sl + i_e[None, :] * se
    return tl.load(X + at, mask=ok[:, None] & inside[None, :], other=0.0)


@triton.jit
def _visible(MASK, i_b, smb, i_k, ok, HAS_MASK: tl.constexpr):
    if HAS_MASK:
        return ok & (tl.load(MASK + i_b * smb + i_k, mask=ok, other=0) != 0)
    return ok


@triton.jit
def _count(SEEN, i_b, i_l, ok, LK, HAS_MASK: tl.constexpr, CAUSAL: tl.constexpr):
    """How many keys a query sees, at least 1. SEEN (B, LK): visible keys up to each."""
    if HAS_MASK:
        last = i_l if CAUSAL else i_l * 0 + LK - 1
        return tl.maximum(tl.load(SEEN + i_b * LK + last, mask=ok, other=1), 1).to(tl.float32)
    if CAUSAL:
        return (i_l + 1).to(tl.float32)
    return (i_l * 0 + LK).to(tl.float32)


@triton.jit
def _sum_of_spans(SUMS, i_r, R, S, E, first, last, i_e, inside, BS: tl.constexpr):
    """The spans first … last - 1 of SUMS (S, R, E), summed: [BE]."""
    i_s = tl.arange(0, BS)
    ok = (i_s >= first) & (i_s < last) & (i_s < S)
    at = (i_s.to(tl.int64)[:, None] * R + i_r) * E + i_e[None, :]
    return tl.sum(tl.load(SUMS + at, mask=ok[:, None] & inside[None, :], other=0.0), 0)


@triton.jit
def attend_kernel(
    Q, K, V, INDEX, MASK, ACC, MOST, TOTAL, SUMS,
    sqb, sqh, sql, sqe, skb, skh, skl, ske, svb, svh, svl, sve, smb,
    R, H, LQ, LK, N, E, SPAN, scale,
    HAS_MASK: tl.constexpr, CAUSAL: tl.constexpr, PRECISION: tl.constexpr,
    BM: tl.constexpr, BN: tl.constexpr, BE: tl.constexpr,
):  # fmt: skip
    """One block of chosen queries over one span of keys; the first block also sums the span's values."""
    i_r, i_s = tl.program_id(0).to(tl.int64), tl.program_id(2).to(tl.int64)
    i_b, i_h = i_r // H, i_r % H
    i_n, i_e = tl.program_id(1).to(tl.int64) * BM + tl.arange(0, BM), tl.arange(0, BE)
    inside = i_e < E
    index = tl.load(INDEX + i_r * N + i_n, mask=i_n < N, other=LQ)
    here = index < LQ
    b_q = _rows(Q + i_b * sqb + i_h * sqh, index, here, i_e, inside, sql, sqe)  # [BM, BE]
    first = i_s * SPAN
    last = tl.minimum(first + SPAN, LK)
    stop = tl.max(tl.where(here, index, -1), 0) + 1 if CAUSAL else tl.max(tl.where(here, LK, 0), 0)
    stop = tl.where(tl.program_id(1) == 0, last, tl.minimum(stop, last))
    most = tl.full([BM], -float("inf"), tl.float32)
    total = tl.zeros([BM], tl.float32)
    acc = tl.zeros([BM, BE], tl.float32)
    values = tl.zeros([BE], tl.float32)
    for start in range(first, stop, BN):
        i_k = start + tl.arange(0, BN)
        visible = _visible(MASK, i_b, smb, i_k, i_k < last, HAS_MASK)
        b_k = _rows(K + i_b * skb + i_h * skh, i_k, visible, i_e, inside, skl, ske)  # [BN, BE]
        b_v = _rows(V + i_b * svb + i_h * svh, i_k, visible, i_e, inside, svl, sve)
        see = here[:, None] & visible[None, :]
        if CAUSAL:
            see = see & (i_k[None, :] <= index[:, None])
        s = tl.dot(b_q, tl.trans(b_k), input_precision=PRECISION) * scale
        s = tl.where(see, s, -float("inf"))  # [BM, BN]
        new = tl.maximum(most, tl.max(s, 1))
        finite = tl.where(new == -float("inf"), 0.0, new)
        p = tl.exp(s - finite[:, None])
        shrink = tl.exp(most - finite)
        total = total * shrink + tl.sum(p, 1)
        acc = acc * shrink[:, None] + tl.dot(p.to(b_v.dtype), b_v, input_precision=PRECISION)
        most = new
        values += tl.sum(b_v.to(tl.float32), 0)
    at = (i_s * R + i_r) * N + i_n
    tl.store(ACC + at[:, None] * E + i_e[None, :], acc, mask=here[:, None] & inside[None, :])
    tl.store(MOST + at, most, mask=here)
    tl.store(TOTAL + at, total, mask=here)
    if tl.program_id(1) == 0:
        tl.store(SUMS + (i_s * R + i_r) * E + i_e, values, mask=inside)


@triton.jit
def fill_kernel(
    V, MASK, SEEN, SUMS, OUT,
    svb, svh, svl, sve, sob, soh, sol, soe, smb,
    R, H, LQ, LK, S, E, SPAN,
    HAS_MASK: tl.constexpr, CAUSAL: tl.constexpr, MEAN: tl.constexpr,
    BN: tl.constexpr, BE: tl.constexpr, BS: tl.constexpr,
):  # fmt: skip
    """What idle queries get, for one span of queries: the mean of v, or its running sum or mean."""
    i_r, i_s = tl.program_id(0).to(tl.int64), tl.program_id(1).to(tl.int64)
    i_b, i_h = i_r // H, i_r % H
    i_e = tl.arange(0, BE)
    inside = i_e < E
    running = _sum_of_spans(SUMS, i_r, R, S, E, 0, i_s if CAUSAL else S, i_e, inside, BS)  # [BE]
    first = i_s * SPAN
    last = tl.minimum(first + SPAN, LQ)
    for start in range(first, last, BN):
        i_l = start + tl.arange(0, BN)
        ok = i_l < last
        b_o = tl.zeros([BN, BE], tl.float32) + running[None, :]
        if CAUSAL:
            visible = _visible(MASK, i_b, smb, i_l, ok, HAS_MASK)
            b_v = _rows(V + i_b * svb + i_h * svh, i_l, visible, i_e, inside, svl, sve).to(tl.float32)
            b_o += tl.cumsum(b_v, 0)
            running += tl.sum(b_v, 0)
        if MEAN:
            b_o = b_o / _count(SEEN, i_b, i_l, ok, LK, HAS_MASK, CAUSAL)[:, None]
        at = i_b * sob + i_h * soh + i_l[:, None] * sol + i_e[None, :] * soe
        tl.store(OUT + at, b_o.to(OUT.dtype.element_ty), mask=ok[:, None] & inside[None, :])


@triton.jit
def combine_kernel(
    ACC, MOST, TOTAL, INDEX, OUT, LSE, sob, soh, sol, soe, R, H, LQ, N, S, E, BM: tl.constexpr, BE: tl.constexpr
):
    """The spans of one block of chosen queries, put together and written to their places."""
    i_r = tl.program_id(0).to(tl.int64)
    i_b, i_h = i_r // H, i_r % H
    i_n, i_e = tl.program_id(1).to(tl.int64) * BM + tl.arange(0, BM), tl.arange(0, BE)
    inside = i_e < E
    index = tl.load(INDEX + i_r * N + i_n, mask=i_n < N, other=LQ)
    here = index < LQ
    most = tl.full([BM], -float("inf"), tl.float32)
    total = tl.zeros([BM], tl.float32)
    acc = tl.zeros([BM, BE], tl.float32)
    for i_s in range(0, S):
        at = (i_s * R + i_r) * N + i_n
        m = tl.load(MOST + at, mask=here, other=-float("inf"))
        new = tl.maximum(most, m)
        finite = tl.where(new == -float("inf"), 0.0, new)
        shrink, grow = tl.exp(most - finite), tl.exp(m - finite)
        part = tl.load(ACC + at[:, None] * E + i_e[None, :], mask=here[:, None] & inside[None, :], other=0.0)
        total = total * shrink + tl.load(TOTAL + at, mask=here, other=0.0) * grow
        acc = acc * shrink[:, None] + part * grow[:, None]
        most = new
    empty = total == 0.0  # no key to see: 0, and a finite lse under which the backward's weights are 0 too
    b_o = acc / tl.where(empty, 1.0, total)[:, None]
    at = i_b * sob + i_h * soh + index[:, None] * sol + i_e[None, :] * soe
    tl.store(OUT + at, b_o.to(OUT.dtype.element_ty), mask=here[:, None] & inside[None, :])
    lse = tl.where(empty, 0.0, most + tl.log(tl.where(empty, 1.0, total)))
    tl.store(LSE + i_r * N + i_n, tl.where(here, lse, 0.0), mask=i_n < N)


@triton.jit
def idle_kernel(
    G, IDLE, SEEN, SUMS, sgb, sgh, sgl, sge, R, H, LQ, LK, E, SPAN,
    HAS_MASK: tl.constexpr, CAUSAL: tl.constexpr, MEAN: tl.constexpr, BN: tl.constexpr, BE: tl.constexpr,
):  # fmt: skip
    """Gradients of the idle queries of one span, each divided by the keys it sees, summed: SUMS (S, R, E)."""
    i_r, i_s = tl.program_id(0).to(tl.int64), tl.program_id(1).to(tl.int64)
    i_b, i_h = i_r // H, i_r % H
    i_e = tl.arange(0, BE)
    total = tl.zeros([BE], tl.float32)
    first = i_s * SPAN
    last = tl.minimum(first + SPAN, LQ)
    for start in range(first, last, BN):
        i_l = start + tl.arange(0, BN)
        b_g = _idle(G + i_b * sgb + i_h * sgh, IDLE + i_r * LQ, SEEN, i_b, i_l, i_l < last, i_e, E, LK, sgl, sge,
                    HAS_MASK, CAUSAL, MEAN)  # fmt: skip
        total += tl.sum(b_g, 0)
    tl.store(SUMS + (i_s * R + i_r) * E + i_e, total, mask=i_e < E)


@triton.jit
def _idle(
    G, IDLE, SEEN, i_b, i_l, ok, i_e, E, LK, sgl, sge,
    HAS_MASK: tl.constexpr, CAUSAL: tl.constexpr, MEAN: tl.constexpr,
):  # fmt: skip
    """What a block of queries hands to the values it averaged: [BN, BE], 0 where a query was chosen."""
    idle = ok & (tl.load(IDLE + i_l, mask=ok, other=0) != 0)
    b_g = _rows(G, i_l, idle, i_e, i_e < E, sgl, sge).to(tl.float32)
    if MEAN:
        b_g = b_g / _count(SEEN, i_b, i_l, ok, LK, HAS_MASK, CAUSAL)[:, None]
    return b_g


@triton.jit
def dq_kernel(
    Q, K, V, G, OUT, INDEX, MASK, LSE, DOT, DQ,
    sqb, sqh, sql, sqe, skb, skh, skl, ske, svb, svh, svl, sve, sgb, sgh, sgl, sge, sob, soh, sol, soe, smb,
    R, H, LQ, LK, N, E, SPAN, scale,
    HAS_MASK: tl.constexpr, CAUSAL: tl.constexpr, PRECISION: tl.constexpr,
    BM: tl.constexpr, BN: tl.constexpr, BE: tl.constexpr,
):  # fmt: skip
    """The part of dq (S, R, N, E) that one span of keys gives; the first span also writes g·o (R, N)."""
    i_r, i_s = tl.program_id(0).to(tl.int64), tl.program_id(2).to(tl.int64)
    i_b, i_h = i_r // H, i_r % H
    i_n, i_e = tl.program_id(1).to(tl.int64) * BM + tl.arange(0, BM), tl.arange(0, BE)
    inside = i_e < E
    index = tl.load(INDEX + i_r * N + i_n, mask=i_n < N, other=LQ)
    here = index < LQ
    b_q = _rows(Q + i_b * sqb + i_h * sqh, index, here, i_e, inside, sql, sqe)
    b_g = _rows(G + i_b * sgb + i_h * sgh, index, here, i_e, inside, sgl, sge)
    b_o = _rows(OUT + i_b * sob + i_h * soh, index, here, i_e, inside, sol, soe)
    dot = tl.sum(b_g.to(tl.float32) * b_o.to(tl.float32), 1)  # [BM]
    lse = tl.load(LSE + i_r * N + i_n, mask=i_n < N, other=0.0)
    first = i_s * SPAN
    last = tl.minimum(first + SPAN, LK)
    stop = tl.max(tl.where(here, index, -1), 0) + 1 if CAUSAL else tl.max(tl.where(here, LK, 0), 0)
    acc = tl.zeros([BM, BE], tl.float32)
    for start in range(first, tl.minimum(stop, last), BN):
        i_k = start + tl.arange(0, BN)
        visible = _visible(MASK, i_b, smb, i_k, i_k < last, HAS_MASK)
        b_k = _rows(K + i_b * skb + i_h * skh, i_k, visible, i_e, inside, skl, ske)
        b_v = _rows(V + i_b * svb + i_h * svh, i_k, visible, i_e, inside, svl, sve)
        see = here[:, None] & visible[None, :]
        if CAUSAL:
            see = see & (i_k[None, :] <= index[:, None])
        s = tl.dot(b_q, tl.trans(b_k), input_precision=PRECISION) * scale
        p = tl.exp(tl.where(see, s - lse[:, None], -float("inf")))  # [BM, BN]
        ds = p * (tl.dot(b_g, tl.trans(b_v), input_precision=PRECISION) - dot[:, None])
        acc += tl.dot(ds.to(b_k.dtype), b_k, input_precision=PRECISION)
    at = (i_s * R + i_r) * N + i_n
    tl.store(DQ + at[:, None] * E + i_e[None, :], acc * scale, mask=here[:, None] & inside[None, :])
    if i_s == 0:
        tl.store(DOT + i_r * N + i_n, dot, mask=i_n < N)


@triton.jit
def scatter_kernel(PARTS, INDEX, DQ, sqb, sqh, sql, sqe, R, H, LQ, N, S, E, BM: tl.constexpr, BE: tl.constexpr):
    """The spans' parts of dq, summed and written to the places of their queries."""
    i_r = tl.program_id(0).to(tl.int64)
    i_n, i_e = tl.program_id(1).to(tl.int64) * BM + tl.arange(0, BM), tl.arange(0, BE)
    index = tl.load(INDEX + i_r * N + i_n, mask=i_n < N, other=LQ)
    ok = (index < LQ)[:, None] & (i_e < E)[None, :]
    acc = tl.zeros([BM, BE], tl.float32)
    for i_s in range(0, S):
        at = (i_s * R + i_r) * N + i_n
        acc += tl.load(PARTS + at[:, None] * E + i_e[None, :], mask=ok, other=0.0)
    at = i_r // H * sqb + i_r % H * sqh + index[:, None] * sql + i_e[None, :] * sqe
    tl.store(DQ + at, acc.to(DQ.dtype.element_ty), mask=ok)


@triton.jit
def dkv_kernel(
    Q, K, V, G, INDEX, CHOSEN, MASK, IDLE, SEEN, SUMS, LSE, DOT, DK, DV,
    sqb, sqh, sql, sqe, skb, skh, skl, ske, svb, svh, svl, sve, sgb, sgh, sgl, sge, sdb, sdh, sdl, sde, smb,
    R, H, LQ, LK, N, S, E, SPAN, scale,
    HAS_MASK: tl.constexpr, CAUSAL: tl.constexpr, MEAN: tl.constexpr, PRECISION: tl.constexpr,
    BM: tl.constexpr, BN: tl.constexpr, BE: tl.constexpr, BS: tl.constexpr,
):  # fmt: skip
    """dk and dv of one span of keys, from its last block to its first: idle queries come as a sum from behind."""
    i_r, i_s = tl.program_id(0).to(tl.int64), tl.program_id(1).to(tl.int64)
    i_b, i_h = i_r // H, i_r % H
    i_e = tl.arange(0, BE)
    inside = i_e < E
    behind = _sum_of_spans(SUMS, i_r, R, S, E, i_s + 1 if CAUSAL else 0, S, i_e, inside, BS)  # [BE]
    first = i_s * SPAN
    last = tl.minimum(first + SPAN, LK)
    blocks = tl.cdiv(last - first, BN)
    chosen = tl.load(CHOSEN + i_r)  # places of the row that hold a query
    for j in range(0, blocks):
        i_k = first + (blocks - 1 - j) * BN + tl.arange(0, BN)
        ok = i_k < last
        visible = _visible(MASK, i_b, smb, i_k, ok, HAS_MASK)
        b_k = _rows(K + i_b * skb + i_h * skh, i_k, visible, i_e, inside, skl, ske)  # [BN, BE]
        b_v = _rows(V + i_b * svb + i_h * svh, i_k, visible, i_e, inside, svl, sve)
        b_dk = tl.zeros([BN, BE], tl.float32)
        b_dv = tl.zeros([BN, BE], tl.float32) + behind[None, :]
        if CAUSAL:
            b_idle = _idle(G + i_b * sgb + i_h * sgh, IDLE + i_r * LQ, SEEN, i_b, i_k, ok, i_e, E, LK, sgl, sge,
                        HAS_MASK, CAUSAL, MEAN)  # fmt: skip
            total = tl.sum(b_idle, 0)
            b_dv += total[None, :] - tl.cumsum(b_idle, 0) + b_idle
            behind += total
        b_dv = tl.where(visible[:, None], b_dv, 0.0)
        for start in range(0, chosen, BM):
            i_n = start + tl.arange(0, BM)
            index = tl.load(INDEX + i_r * N + i_n, mask=i_n < N, other=LQ)
            here = index < LQ
            b_q = _rows(Q + i_b * sqb + i_h * sqh, index, here, i_e, inside, sql, sqe)  # [BM, BE]
            b_g = _rows(G + i_b * sgb + i_h * sgh, index, here, i_e, inside, sgl, sge)
            lse = tl.load(LSE + i_r * N + i_n, mask=i_n < N, other=0.0)
            dot = tl.load(DOT + i_r * N + i_n, mask=i_n < N, other=0.0)
            see = visible[:, None] & here[None, :]
            if CAUSAL:
                see = see & (i_k[:, None] <= index[None, :])
            s = tl.dot(b_k, tl.trans(b_q), input_precision=PRECISION) * scale
            p = tl.exp(tl.where(see, s - lse[None, :], -float("inf")))  # [BN, BM]
            b_dv += tl.dot(p.to(b_g.dtype), b_g, input_precision=PRECISION)
            ds = p * (tl.dot(b_v, tl.trans(b_g), input_precision=PRECISION) - dot[None, :])
            b_dk += tl.dot(ds.to(b_q.dtype), b_q, input_precision=PRECISION)
        at = i_b * sdb + i_h * sdh + i_k[:, None] * sdl + i_e[None, :] * sde
        tl.store(DK + at, (b_dk * scale).to(DK.dtype.element_ty), mask=ok[:, None] & inside[None, :])
        tl.store(DV + at, b_dv.to(DV.dtype.element_ty), mask=ok[:, None] & inside[None, :])


class _Plan:
    """Sizes of blocks and spans: enough programs to fill the device, however few rows there are."""

    def __init__(self, q: Tensor, k: Tensor, n: int) -> None:
        (b, h, self.l_q, self.e), self.l_k = q.shape, k.shape[2]
        self.h, self.r, self.n = h, b * h, n
        self.be = max(16, triton.next_power_of_2(self.e))
        self.bn = 64 if self.be <= 64 else 32
        self.bm = max(16, min(self.bn, triton.next_power_of_2(n)))
        self.blocks = triton.cdiv(n, self.bm)
        wanted = 4 * torch.cuda.get_device_properties(q.device).multi_processor_count if q.is_cuda else 8
        spans = max(1, min(64, triton.cdiv(wanted, self.r * self.blocks)))
        self.span = triton.cdiv(triton.cdiv(self.l_k, spans), self.bn) * self.bn
        self.spans = triton.cdiv(self.l_k, self.span)
        self.query_span = triton.cdiv(triton.cdiv(self.l_q, self.spans), self.bn) * self.bn
        self.precision = "ieee" if torch.get_float32_matmul_precision() == "highest" else "tf32"
        self.launch = {"num_warps": 4, "num_stages": 2}

    def new(self, like: Tensor, *shape: int) -> Tensor:
        return torch.empty(shape, dtype=torch.float32, device=like.device)


def _seen(mask: Tensor | None) -> tuple[Tensor | None, Tensor | None, int]:
    """The mask, how many keys are visible up to each, and the stride of a row."""
    if mask is None:
        return None, None, 0
    mask = mask.contiguous()
    return mask, mask.cumsum(-1, dtype=torch.int32), mask.stride(0)


def _apart(like: Tensor, *, zero: bool = False) -> Tensor:
    """A new (B, H, L, E) in the (B, L, H, E) memory that projections want."""
    shape = like.transpose(1, 2).shape
    return (like.new_zeros(shape) if zero else torch.empty(shape, dtype=like.dtype, device=like.device)).transpose(1, 2)


def chosen_attention(
    q: Tensor, k: Tensor, v: Tensor, index: Tensor, mask: Tensor | None, causal: bool, lazy: str
) -> tuple[Tensor, Tensor]:
    """out (B, H, L_Q, E), and the log of the softmax's sum (B, H, N)."""
    plan = _Plan(q, k, index.shape[-1])
    r, n, e, s = plan.r, plan.n, plan.e, plan.spans
    index = index.contiguous()
    mask, seen, smb = _seen(mask)
    acc, most, total = plan.new(q, s, r, n, e), plan.new(q, s, r, n), plan.new(q, s, r, n)
    sums, lse, out = plan.new(q, s, r, e), plan.new(q, *index.shape), _apart(q)
    flags = {"HAS_MASK": mask is not None, "CAUSAL": causal}
    attend_kernel[(r, plan.blocks, s)](
        q, k, v, index, mask, acc, most, total, sums, *q.stride(), *k.stride(), *v.stride(), smb,
        r, plan.h, plan.l_q, plan.l_k, n, e, plan.span, 1 / math.sqrt(e),
        **flags, PRECISION=plan.precision, BM=plan.bm, BN=plan.bn, BE=plan.be, **plan.launch,
    )  # fmt: skip
    queries = plan.span if causal else plan.query_span
    fill_kernel[(r, triton.cdiv(plan.l_q, queries))](
        v, mask, seen, sums, out, *v.stride(), *out.stride(), smb,
        r, plan.h, plan.l_q, plan.l_k, s, e, queries,
        **flags, MEAN=not causal or lazy == "mean", BN=plan.bn, BE=plan.be, BS=_slots(s), **plan.launch,
    )  # fmt: skip
    combine_kernel[(r, plan.blocks)](
        acc, most, total, index, out, lse, *out.stride(), r, plan.h, plan.l_q, n, s, e, BM=plan.bm, BE=plan.be
    )
    return out, lse


def chosen_attention_backward(
    grad: Tensor, q: Tensor, k: Tensor, v: Tensor, index: Tensor, mask: Tensor | None, out: Tensor, lse: Tensor,
    causal: bool, lazy: str,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """Gradients for q, k and v."""
    plan = _Plan(q, k, index.shape[-1])
    r, n, e, s, h = plan.r, plan.n, plan.e, plan.spans, plan.h
    index, lse = index.contiguous(), lse.contiguous()
    mask, seen, smb = _seen(mask)
    idle = torch.ones(*q.shape[:2], plan.l_q + 1, dtype=torch.int8, device=q.device)
    idle = idle.scatter_(-1, index, 0)[..., : plan.l_q].contiguous()
    chosen = (index < plan.l_q).sum(-1, dtype=torch.int32)
    flags = {"HAS_MASK": mask is not None, "CAUSAL": causal}
    mean = not causal or lazy == "mean"
    queries = plan.span if causal else plan.query_span
    from_idle = triton.cdiv(plan.l_q, queries)
    sums, dot, parts = plan.new(q, from_idle, r, e), plan.new(q, *index.shape), plan.new(q, s, r, n, e)
    idle_kernel[(r, from_idle)](
        grad, idle, seen, sums, *grad.stride(), r, h, plan.l_q, plan.l_k, e, queries,
        **flags, MEAN=mean, BN=plan.bn, BE=plan.be, **plan.launch,
    )  # fmt: skip
    strides = (*q.stride(), *k.stride(), *v.stride(), *grad.stride())
    dq_kernel[(r, plan.blocks, s)](
        q, k, v, grad, out, index, mask, lse, dot, parts, *strides, *out.stride(), smb,
        r, h, plan.l_q, plan.l_k, n, e, plan.span, 1 / math.sqrt(e),
        **flags, PRECISION=plan.precision, BM=plan.bm, BN=plan.bn, BE=plan.be, **plan.launch,
    )  # fmt: skip
    dq, dk, dv = _apart(q, zero=True), _apart(k), _apart(v)
    scatter_kernel[(r, plan.blocks)](parts, index, dq, *dq.stride(), r, h, plan.l_q, n, s, e, BM=plan.bm, BE=plan.be)
    dkv_kernel[(r, s)](
        q, k, v, grad, index, chosen, mask, idle, seen, sums, lse, dot, dk, dv, *strides, *dk.stride(), smb,
        r, h, plan.l_q, plan.l_k, n, from_idle, e, plan.span, 1 / math.sqrt(e),
        **flags, MEAN=mean, PRECISION=plan.precision, BM=plan.bm, BN=plan.bn, BE=plan.be, BS=_slots(from_idle),
        **plan.launch,
    )  # fmt: skip
    return dq, dk, dv


def _slots(spans: int) -> int:
    return max(2, triton.next_power_of_2(spans))
