"""Chunked causal attention (Ma et al. 2022, arXiv 2209.10655, MEGA-chunk; the CA of TCNCA, arXiv 2312.05605).

    out_i = softmax_{j ≤ i, ⌊j/c⌋ = ⌊i/c⌋}(q_i · k_j · scale + bias) v_j

Chunks do not see each other, so they are rows of a batch and memory is O(L·c). There is no kernel of our own:
scaled_dot_product_attention's fused kernels do exactly this on every device, and one of ours would only pay where it
wins against them.

Shapes: B rows, H heads, L steps, c chunk, n whole chunks; q and k (B, H, L, E), v (B, H, L, Ev).
"""

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention


def chunk_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    chunk: int,
    *,
    mask: Tensor | None = None,
    bias: Tensor | None = None,
    scale: float | None = None,
) -> Tensor:
    """Attention (B, H, L, Ev) inside consecutive chunks, the last of which may be short; chunk ≥ L is full attention.

    mask (B, L) is True where a key may be seen; a query that sees none gets 0. bias (H or 1, c, c), finite, is added to
    the scores. scale is 1/sqrt(E) unless given.
    """
    length = q.shape[2]
    if chunk < 1:
        raise ValueError(f"chunk is {chunk}; expected at least 1")
    if bias is not None and bias.shape[-2:] != (chunk, chunk):
        raise ValueError(f"bias {tuple(bias.shape)}; expected (H or 1, chunk, chunk) with chunk = {chunk}")
    whole = length - length % chunk
    # The short chunk is a call of its own: padding would copy all of q, k and v.
    spans = [(0, whole, chunk), (whole, length, length - whole)]
    outs = [
        _same_chunks(
            q[:, :, first:last],
            k[:, :, first:last],
            v[:, :, first:last],
            size,
            None if mask is None else mask[:, first:last],
            None if bias is None else bias[..., :size, :size],
            scale,
        )
        for first, last, size in spans
        if first < last
    ]
    if not outs:
        return v.new_empty(*q.shape[:3], v.shape[3])
    return outs[0] if len(outs) == 1 else torch.cat(outs, 2)


def _same_chunks(
    q: Tensor, k: Tensor, v: Tensor, size: int, mask: Tensor | None, bias: Tensor | None, scale: float | None
) -> Tensor:
    """All chunks of one size at once; L = n·size."""
    b, n = q.shape[0], q.shape[2] // size
    q, k, v = (_split(part, size) for part in (q, k, v))
    if mask is None and bias is None:
        return _join(scaled_dot_product_attention(q, k, v, is_causal=True, scale=scale), b, n)
    blocked = torch.ones(size, size, dtype=torch.bool, device=q.device).triu(1)
    if mask is not None:
        mask = mask.reshape(b * n, size)
        blocked = blocked | ~mask[:, None, None, :]  # (B·n, 1, c, c)
    added = torch.zeros((), dtype=q.dtype, device=q.device) if bias is None else bias.to(q.dtype)
    # Finite: a softmax over -inf alone is NaN, forward and backward.
    added = torch.where(blocked, torch.finfo(q.dtype).min / 2, added)
    out = scaled_dot_product_attention(q, k, v, attn_mask=added, scale=scale)
    if mask is not None:
        seen = mask.cumsum(-1) > 0
        out = out.masked_fill(~seen[:, None, :, None], 0.0)
    return _join(out, b, n)


def _split(x: Tensor, size: int) -> Tensor:
    """(B, H, n·c, E) -> (B·n, H, c, E), a view where heads come from one projection (B, L, H·E)."""
    return x.unflatten(2, (-1, size)).transpose(1, 2).flatten(0, 1)


def _join(x: Tensor, b: int, n: int) -> Tensor:
    """(B·n, H, c, Ev) -> (B, H, n·c, Ev)."""
    return x.unflatten(0, (b, n)).transpose(1, 2).flatten(2, 3)
