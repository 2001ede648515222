"""Which queries attend, on a GPU: twins of `measure`, `top` and `prefix_top` in forecast/ops/selection.py.

The sampled keys are read where they lie, a row at a time: nothing of size (L_Q, U, E) or (L_Q, L_K) is ever written.
Choices are made on the device, without a host sync, and of equals the earliest wins, as in the reference.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

INT_MIN: tl.constexpr = tl.constexpr(-(1 << 31))


@triton.jit
def measure_kernel(
    Q, K, SAMPLE, MASK, SEEN, OUT,
    sqb, sqh, sql, sqe, skb, skh, skl, ske, smb,
    H, LQ, LK, U, E,
    HAS_MASK: tl.constexpr, CAUSAL: tl.constexpr, BY_KEYS: tl.constexpr, BQ: tl.constexpr, BE: tl.constexpr,
):  # fmt: skip
    i_r = tl.program_id(0).to(tl.int64)
    i_b, i_h = i_r // H, i_r % H
    i_q = tl.program_id(1).to(tl.int64) * BQ + tl.arange(0, BQ)
    i_e = tl.arange(0, BE)
    ok, inside = i_q < LQ, i_e < E
    b_q = tl.load(
        Q + i_b * sqb + i_h * sqh + i_q[:, None] * sql + i_e[None, :] * sqe,
        mask=ok[:, None] & inside[None, :],
        other=0.0,
    ).to(tl.float32)  # [BQ, BE]
    most = tl.full([BQ], -float("inf"), tl.float32)
    total = tl.zeros([BQ], tl.float32)
    count = tl.zeros([BQ], tl.float32)
    for j in range(0, U):
        i_k = tl.load(SAMPLE + j * LQ + i_q, mask=ok, other=0)
        b_k = tl.load(
            K + i_b * skb + i_h * skh + i_k[:, None] * skl + i_e[None, :] * ske,
            mask=ok[:, None] & inside[None, :], other=0.0,
        ).to(tl.float32)  # fmt: skip
        score = tl.sum(b_q * b_k, 1)
        visible = ok
        if HAS_MASK:
            visible = visible & (tl.load(MASK + i_b * smb + i_k, mask=ok, other=0) != 0)
        if CAUSAL:
            visible = visible & (i_k <= i_q)
        most = tl.maximum(most, tl.where(visible, score, -float("inf")))
        total += tl.where(visible, score, 0.0)
        count += tl.where(visible, 1.0, 0.0)
    if BY_KEYS:
        if HAS_MASK:  # SEEN (B, LK): visible keys up to each
            last = i_q if CAUSAL else i_q * 0 + LK - 1
            count = tl.load(SEEN + i_b * LK + last, mask=ok, other=1).to(tl.float32)
        elif CAUSAL:
            count = (i_q + 1).to(tl.float32)
        else:
            count = count * 0.0 + LK
    tl.store(OUT + i_r * LQ + i_q, most - total / tl.maximum(count, 1.0), mask=ok)


def measure(q: Tensor, k: Tensor, sample: Tensor, mask: Tensor | None, divisor: str, causal: bool) -> Tensor:
    """q (B, H, L_Q, E), k (B, H, L_K, E), sample (L_Q, U), mask (B, L_K) -> (B, H, L_Q) in fp32."""
    (b, h, l_q, e), l_k = q.shape, k.shape[2]
    out = torch.empty(b, h, l_q, dtype=torch.float32, device=q.device)
    width = max(16, triton.next_power_of_2(e))
    block = max(16, min(64, triton.next_power_of_2(l_q), 4096 // width))
    mask = None if mask is None else mask.contiguous()
    seen = None if mask is None else mask.cumsum(-1, dtype=torch.int32)
    measure_kernel[(b * h, triton.cdiv(l_q, block))](
        q, k, sample.t().contiguous(), mask, seen, out,
        *q.stride(), *k.stride(), 0 if mask is None else mask.stride(0),
        h, l_q, l_k, sample.shape[1], e,
        HAS_MASK=mask is not None, CAUSAL=causal, BY_KEYS=divisor == "keys", BQ=block, BE=width, num_warps=4,
    )  # fmt: skip
    return out


@triton.jit
def _ordered(x):
    """fp32 as int32 of the same order; NaN and inf at the top, -inf at the bottom, -0 equal to 0."""
    x = tl.where(x != x, float("inf"), x) + 0.0
    bits = x.to(tl.int32, bitcast=True)
    return tl.where(bits < 0, bits ^ 0x7FFFFFFF, bits)


@triton.jit
def top_kernel(M, OUT, L, U, BL: tl.constexpr):
    """The U-th largest of a row, two bits at a time, then the positions of all above it and of its first equals."""
    i_r = tl.program_id(0).to(tl.int64)
    i_l = tl.arange(0, BL)
    # Build the largest threshold that at least U elements reach, from the sign down. Offsets from INT_MIN are unsigned.
    least = tl.full([1], INT_MIN, tl.int32)
    for digit in range(0, 16):
        step = tl.full([1], 1, tl.int32) << (30 - 2 * digit)
        n1 = tl.zeros([1], tl.int32)
        n2 = tl.zeros([1], tl.int32)
        n3 = tl.zeros([1], tl.int32)
        for start in range(0, L, BL):
            x = _ordered(tl.load(M + i_r * L + start + i_l, mask=start + i_l < L, other=-float("inf")))
            x = tl.where(start + i_l < L, x, INT_MIN)
            n1 += tl.sum((x >= least + step).to(tl.int32), 0)
            n2 += tl.sum((x >= least + 2 * step).to(tl.int32), 0)
            n3 += tl.sum((x >= least + 3 * step).to(tl.int32), 0)
        least += step * ((n1 >= U).to(tl.int32) + (n2 >= U).to(tl.int32) + (n3 >= U).to(tl.int32))
    above = tl.zeros([1], tl.int32)
    for start in range(0, L, BL):
        x = _ordered(tl.load(M + i_r * L + start + i_l, mask=start + i_l < L, other=-float("inf")))
        above += tl.sum(((x > least) & (start + i_l < L)).to(tl.int32), 0)
    place = tl.zeros([1], tl.int32)
    equals = tl.zeros([1], tl.int32)
    for start in range(0, L, BL):
        inside = start + i_l < L
        x = _ordered(tl.load(M + i_r * L + start + i_l, mask=inside, other=-float("inf")))
        equal = (x == least) & inside
        equal_so_far = equals + tl.cumsum(equal.to(tl.int32), 0)
        kept = ((x > least) & inside) | (equal & (equal_so_far <= U - above))
        at = place + tl.cumsum(kept.to(tl.int32), 0) - 1
        tl.store(OUT + i_r * U + at, (start + i_l).to(tl.int64), mask=kept)
        place += tl.sum(kept.to(tl.int32), 0)
        equals += tl.sum(equal.to(tl.int32), 0)


def top(measure: Tensor, u: int) -> Tensor:
    """measure (B, H, L) -> (B, H, u) positions, ascending."""
    b, h, length = measure.shape
    measure = measure.float().contiguous()
    out = torch.empty(b, h, u, dtype=torch.int64, device=measure.device)
    block = max(16, min(8192, triton.next_power_of_2(length)))
    top_kernel[(b * h,)](measure, out, length, u, BL=block, num_warps=max(1, min(8, block // 256)))
    return out


@triton.jit
def prefix_top_kernel(M, OUT, L, U, BU: tl.constexpr, BT: tl.constexpr):
    """Blocks of BT steps, each against the U best before it (kept sorted in BU slots) and against one another."""
    i_r = tl.program_id(0).to(tl.int64)
    i_t, i_u = tl.arange(0, BT), tl.arange(0, BU)
    best = tl.zeros([BU], tl.int32)
    known = tl.zeros([1], tl.int32)  # how many slots of best hold something
    place = tl.zeros([1], tl.int32)
    for start in range(0, L, BT):
        inside = start + i_t < L
        x = _ordered(tl.load(M + i_r * L + start + i_t, mask=inside, other=-float("inf")))
        filled = i_u < known
        beaten = tl.sum(((best[None, :] >= x[:, None]) & filled[None, :]).to(tl.int32), 1)
        earlier = i_t[None, :] < i_t[:, None]
        beaten += tl.sum(((x[None, :] >= x[:, None]) & earlier).to(tl.int32), 1)
        kept = (beaten < U) & inside
        at = place + tl.cumsum(kept.to(tl.int32), 0) - 1
        tl.store(OUT + i_r * L + at, (start + i_t).to(tl.int64), mask=kept)
        place += tl.sum(kept.to(tl.int32), 0)
        # Everyone's rank among the best so far and this block (of equals the earlier is better) is its new slot.
        after = tl.sum(((x[None, :] > x[:, None]) & inside[None, :] & (i_t[None, :] > i_t[:, None])).to(tl.int32), 1)
        rank = beaten + after
        overtaken = tl.sum(((x[:, None] > best[None, :]) & inside[:, None]).to(tl.int32), 0)
        slot = i_u + overtaken
        moved = tl.where((slot[:, None] == i_u[None, :]) & filled[:, None], best[:, None], 0)
        came = tl.where((rank[:, None] == i_u[None, :]) & inside[:, None], x[:, None], 0)
        best = tl.sum(moved, 0) + tl.sum(came, 0)
        known = tl.minimum(known + tl.sum(inside.to(tl.int32), 0), U)
    for start in range(0, L, BT):  # the rest of the row: no query
        tl.store(
            OUT + i_r * L + start + i_t, (i_t * 0 + L).to(tl.int64), mask=(start + i_t < L) & (start + i_t >= place)
        )


def prefix_top(measure: Tensor, u: int) -> Tensor:
    """measure (B, H, L) -> (B, H, L) positions, ascending, L where there is none."""
    b, h, length = measure.shape
    measure = measure.float().contiguous()
    out = torch.empty(b, h, length, dtype=torch.int64, device=measure.device)
    slots, block = max(16, triton.next_power_of_2(u)), max(16, min(64, triton.next_power_of_2(length)))
    prefix_top_kernel[(b * h,)](measure, out, length, u, BU=slots, BT=block, num_warps=4)
    return out
