"""What the forward and the backward kernels of ProbSparse attention share: reading rows, counting keys, block sizes."""

import torch
import triton
import triton.language as tl
from torch import Tensor


@triton.jit
def rows_of(X, index, ok, i_e, inside, sl, se):
    """Rows of one head, [len(index), BE]."""
    at = index.to(tl.int64)[:, None] * sl + i_e[None, :] * se
    return tl.load(X + at, mask=ok[:, None] & inside[None, :], other=0.0)


@triton.jit
def seen_keys(MASK, i_b, smb, i_k, ok, HAS_MASK: tl.constexpr):
    if HAS_MASK:
        return ok & (tl.load(MASK + i_b * smb + i_k, mask=ok, other=0) != 0)
    return ok


@triton.jit
def keys_seen(SEEN, i_b, i_l, ok, LK, HAS_MASK: tl.constexpr, CAUSAL: tl.constexpr):
    """How many keys a query sees, at least 1. SEEN (B, LK): visible keys up to each."""
    if HAS_MASK:
        last = i_l if CAUSAL else i_l * 0 + LK - 1
        return tl.maximum(tl.load(SEEN + i_b * LK + last, mask=ok, other=1), 1).to(tl.float32)
    if CAUSAL:
        return (i_l + 1).to(tl.float32)
    return (i_l * 0 + LK).to(tl.float32)


@triton.jit
def sum_of_spans(SUMS, i_r, R, S, E, first, last, i_e, inside, BS: tl.constexpr):
    """The spans first … last - 1 of SUMS (S, R, E), summed: [BE]."""
    i_s = tl.arange(0, BS)
    ok = (i_s >= first) & (i_s < last) & (i_s < S)
    at = (i_s.to(tl.int64)[:, None] * R + i_r) * E + i_e[None, :]
    return tl.sum(tl.load(SUMS + at, mask=ok[:, None] & inside[None, :], other=0.0), 0)


class Plan:
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


def mask_parts(mask: Tensor | None) -> tuple[Tensor | None, Tensor | None, int]:
    """The mask, how many keys are visible up to each, and the stride of a row."""
    if mask is None:
        return None, None, 0
    mask = mask.contiguous()
    return mask, mask.cumsum(-1, dtype=torch.int32), mask.stride(0)


def apart(like: Tensor, *, zero: bool = False) -> Tensor:
    """A new (B, H, L, E) in the (B, L, H, E) memory that projections want."""
    shape = like.transpose(1, 2).shape
    return (like.new_zeros(shape) if zero else torch.empty(shape, dtype=like.dtype, device=like.device)).transpose(1, 2)


def slots(spans: int) -> int:
    return max(2, triton.next_power_of_2(spans))
