"""The gradient of the chosen queries' attention, on a GPU: twin of `chosen_attention_backward` in
forecast/ops/probsparse.py, where its equations stand. Names as in kernels/probsparse.py.

dq comes in parts, one for each span of keys, that `scatter` sums; dk and dv come from one program for each span. What
idle queries hand to the values they averaged is summed by span first, so that no program waits for another.
"""

import math

import torch
import triton
import triton.language as tl
from torch import Tensor

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
    b_g = rows_of(G, i_l, idle, i_e, i_e < E, sgl, sge).to(tl.float32)
    if MEAN:
        b_g = b_g / keys_seen(SEEN, i_b, i_l, ok, LK, HAS_MASK, CAUSAL)[:, None]
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
    b_q = rows_of(Q + i_b * sqb + i_h * sqh, index, here, i_e, inside, sql, sqe)
    b_g = rows_of(G + i_b * sgb + i_h * sgh, index, here, i_e, inside, sgl, sge)
    b_o = rows_of(OUT + i_b * sob + i_h * soh, index, here, i_e, inside, sol, soe)
    dot = tl.sum(b_g.to(tl.float32) * b_o.to(tl.float32), 1)  # [BM]
    lse = tl.load(LSE + i_r * N + i_n, mask=i_n < N, other=0.0)
    first = i_s * SPAN
    last = tl.minimum(first + SPAN, LK)
    stop = tl.max(tl.where(here, index, -1), 0) + 1 if CAUSAL else tl.max(tl.where(here, LK, 0), 0)
    acc = tl.zeros([BM, BE], tl.float32)
    for start in range(first, tl.minimum(stop, last), BN):
        i_k = start + tl.arange(0, BN)
        visible = seen_keys(MASK, i_b, smb, i_k, i_k < last, HAS_MASK)
        b_k = rows_of(K + i_b * skb + i_h * skh, i_k, visible, i_e, inside, skl, ske)
        b_v = rows_of(V + i_b * svb + i_h * svh, i_k, visible, i_e, inside, svl, sve)
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
    behind = sum_of_spans(SUMS, i_r, R, S, E, i_s + 1 if CAUSAL else 0, S, i_e, inside, BS)  # [BE]
    first = i_s * SPAN
    last = tl.minimum(first + SPAN, LK)
    blocks = tl.cdiv(last - first, BN)
    chosen = tl.load(CHOSEN + i_r)  # places of the row that hold a query
    for j in range(0, blocks):
        i_k = first + (blocks - 1 - j) * BN + tl.arange(0, BN)
        ok = i_k < last
        visible = seen_keys(MASK, i_b, smb, i_k, ok, HAS_MASK)
        b_k = rows_of(K + i_b * skb + i_h * skh, i_k, visible, i_e, inside, skl, ske)  # [BN, BE]
        b_v = rows_of(V + i_b * svb + i_h * svh, i_k, visible, i_e, inside, svl, sve)
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
            b_q = rows_of(Q + i_b * sqb + i_h * sqh, index, here, i_e, inside, sql, sqe)  # [BM, BE]
            b_g = rows_of(G + i_b * sgb + i_h * sgh, index, here, i_e, inside, sgl, sge)
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


def chosen_attention_backward(
    grad: Tensor, q: Tensor, k: Tensor, v: Tensor, index: Tensor, mask: Tensor | None, out: Tensor, lse: Tensor,
    causal: bool, lazy: str,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """Gradients for q, k and v."""
    plan = Plan(q, k, index.shape[-1])
    r, n, e, s, h = plan.r, plan.n, plan.e, plan.spans, plan.h
    index, lse = index.contiguous(), lse.contiguous()
    mask, seen, smb = mask_parts(mask)
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
    dq, dk, dv = apart(q, zero=True), apart(k), apart(v)
    scatter_kernel[(r, plan.blocks)](parts, index, dq, *dq.stride(), r, h, plan.l_q, n, s, e, BM=plan.bm, BE=plan.be)
    dkv_kernel[(r, s)](
        q, k, v, grad, index, chosen, mask, idle, seen, sums, lse, dot, dk, dv, *strides, *dk.stride(), smb,
        r, h, plan.l_q, plan.l_k, n, from_idle, e, plan.span, 1 / math.sqrt(e),
        **flags, MEAN=mean, PRECISION=plan.precision, BM=plan.bm, BN=plan.bn, BE=plan.be, BS=slots(from_idle),
        **plan.launch,
    )  # fmt: skip
    return dq, dk, dv
