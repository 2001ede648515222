"""Attention of the chosen queries, and the mean of the values for all others, on a GPU: twins of `chosen_attention`
and `chosen_attention_backward` in forecast/ops/probsparse.py (Zhou et al. 2021, arXiv 2012.07436, algorithm 1).

A few dozen queries look at many keys, so the keys are split over programs: each makes a softmax of its span with a
running maximum and, in the same pass over v, the sum of its values; `combine` and `fill` put the spans together.
No atomics: two runs are equal bit for bit.

Names: i_ index, b_ block of values; R = B·H rows, N chosen queries, S spans.
"""

import math

import triton
import triton.language as tl
from torch import Tensor

from forecast.kernels.probsparse_backward import chosen_attention_backward
from forecast.kernels.probsparse_blocks import (
    Plan,
    apart,
    keys_seen,
    mask_parts,
    rows_of,
    seen_keys,
    slots,
    sum_of_spans,
)

__all__ = ["chosen_attention", "chosen_attention_backward"]


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
    b_q = rows_of(Q + i_b * sqb + i_h * sqh, index, here, i_e, inside, sql, sqe)  # [BM, BE]
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
        visible = seen_keys(MASK, i_b, smb, i_k, i_k < last, HAS_MASK)
        b_k = rows_of(K + i_b * skb + i_h * skh, i_k, visible, i_e, inside, skl, ske)  # [BN, BE]
        b_v = rows_of(V + i_b * svb + i_h * svh, i_k, visible, i_e, inside, svl, sve)
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
    running = sum_of_spans(SUMS, i_r, R, S, E, 0, i_s if CAUSAL else S, i_e, inside, BS)  # [BE]
    first = i_s * SPAN
    last = tl.minimum(first + SPAN, LQ)
    for start in range(first, last, BN):
        i_l = start + tl.arange(0, BN)
        ok = i_l < last
        b_o = tl.zeros([BN, BE], tl.float32) + running[None, :]
        if CAUSAL:
            visible = seen_keys(MASK, i_b, smb, i_l, ok, HAS_MASK)
            b_v = rows_of(V + i_b * svb + i_h * svh, i_l, visible, i_e, inside, svl, sve).to(tl.float32)
            b_o += tl.cumsum(b_v, 0)
            running += tl.sum(b_v, 0)
        if MEAN:
            b_o = b_o / keys_seen(SEEN, i_b, i_l, ok, LK, HAS_MASK, CAUSAL)[:, None]
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


def chosen_attention(
    q: Tensor, k: Tensor, v: Tensor, index: Tensor, mask: Tensor | None, causal: bool, lazy: str
) -> tuple[Tensor, Tensor]:
    """out (B, H, L_Q, E), and the log of the softmax's sum (B, H, N)."""
    plan = Plan(q, k, index.shape[-1])
    r, n, e, s = plan.r, plan.n, plan.e, plan.spans
    index = index.contiguous()
    mask, seen, smb = mask_parts(mask)
    acc, most, total = plan.new(q, s, r, n, e), plan.new(q, s, r, n), plan.new(q, s, r, n)
    sums, lse, out = plan.new(q, s, r, e), plan.new(q, *index.shape), apart(q)
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
        **flags, MEAN=not causal or lazy == "mean", BN=plan.bn, BE=plan.be, BS=slots(s), **plan.launch,
    )  # fmt: skip
    combine_kernel[(r, plan.blocks)](
        acc, most, total, index, out, lse, *out.stride(), r, plan.h, plan.l_q, n, s, e, BM=plan.bm, BE=plan.be
    )
    return out, lse
