"""Prefix attention in chunks: time cut into (n, r, C), the largest score at every step, and the weights of a chunk.

r = rows × heads of one block, C steps of one chunk, n chunks; see `forecast.ops.scan`, which puts them together.
"""

import torch
from torch import Tensor

LOG2_E = 1.4426950408889634
IN_CACHE = 1 << 18  # numbers of v held at once: large enough to pay for the calls, small enough for a cache (measured)
WEIGHTS_HELD = 1 << 20  # weights held at once: bounds memory whatever B, H and L are


def chunk_length(rows: int, length: int) -> int:
    """Steps of a chunk: few rows pay for the calls, many for the arithmetic (measured)."""
    return min(length, 64 if rows <= 4 else 32 if rows <= 16 else 16)


def row_blocks(batch: int, size: int) -> list[slice]:
    """Rows whose `size` numbers each stay in the cache together."""
    step = max(1, IN_CACHE // max(1, size))
    return [slice(i, i + step) for i in range(0, batch, step)]


def chunk_blocks(n: int, r: int, chunk: int) -> list[tuple[int, int]]:
    """Chunks (first, after the last) whose weights are made together."""
    step = max(1, WEIGHTS_HELD // (r * chunk * (1 + chunk)))
    return [(i, min(n, i + step)) for i in range(0, n, step)]


def chunked(x: Tensor, chunk: int, fill: float | None, dtype: torch.dtype) -> Tensor:
    """(b, H, L) -> (n, r, C); the steps that fill the last chunk hold `fill`, or repeat the last one."""
    x = x.flatten(0, 1).to(dtype)
    missing = -x.shape[-1] % chunk
    if missing:
        rest = x[:, -1:].expand(-1, missing) if fill is None else x.new_full((x.shape[0], missing), fill)
        x = torch.cat([x, rest], -1)
    return x.unflatten(-1, (-1, chunk)).transpose(0, 1)


def unchunked(x: Tensor, batch: int, length: int) -> Tensor:
    return x.transpose(0, 1).flatten(1)[:, :length].unflatten(0, (batch, -1))


def ages(decay: Tensor | None, chunk: int) -> Tensor | None:
    """How far a score older than its chunk has fallen at each step, (n, r, C), in float64: one large step of decay
    must not blur the small ones after it."""
    return None if decay is None else chunked(decay, chunk, 0.0, torch.float64).cumsum(-1)


def even(decay: Tensor | None) -> bool:
    """Whether every step of every row falls by the same: rates of heads that were expanded to (b, H, L)."""
    return decay is not None and all(decay.shape[i] == 1 or decay.stride(i) == 0 for i in (0, 2))


def between(decay: Tensor | None, ages: Tensor | None, dtype: torch.dtype) -> Tensor | None:
    """(2, H, C, C): how far step i has fallen at step k, where that is one table for all rows and all chunks but the
    last, which has a table of its own: the steps that fill it do not fall."""
    if decay is None or ages is None or not even(decay):
        return None
    age = ages[[0, -1], : decay.shape[1]]
    return (age[..., None] - age[..., None, :]).to(dtype)


def newest(s: Tensor) -> Tensor:
    """The newest step of its chunk, counted from 1, that each step has seen; 0 is the state before; (n, r, C)."""
    return ((s > -torch.inf) * torch.arange(1, 1 + s.shape[-1], device=s.device)).cummax(-1)[0]


def part(x: Tensor | None, first: int, last: int) -> Tensor | None:
    return None if x is None else x[first:last]


def inverse(c: Tensor) -> Tensor:
    """1/c, and 0 where nothing was seen."""
    return torch.where(c > 0, 1 / c, 0)


def peaks(s: Tensor, ages: Tensor | None, m0: Tensor) -> tuple[Tensor, Tensor]:
    """m at every step, (n, r, C), and before every chunk, (n, r); s (n, r, C), m0 (r,)."""
    if ages is None:
        along = s.transpose(0, 1).flatten(1)  # (r, L)
        m = torch.maximum(along.cummax(-1)[0], m0[:, None]).unflatten(-1, (-1, s.shape[-1])).transpose(0, 1)
        return m, torch.cat([m0[None], m[:-1, :, -1]])
    raised = s + ages  # as seen from the chunk's start, where a score and what it has fallen to are compared
    top = raised.cummax(-1)[0]
    before = [m0.to(top.dtype)]
    for highest, age in zip(top[:, :, -1], ages[:, :, -1], strict=True):
        before.append((torch.maximum(before[-1], highest) - age).to(s.dtype).to(top.dtype))
    borders = torch.stack(before[:-1])
    top = torch.maximum(top, borders[..., None])
    m = torch.where(raised >= top, s, (top - ages).to(s.dtype))  # a new maximum is that score, bit for bit
    return m, torch.cat([m0[None], m[:-1, :, -1]])


def weights(
    s: Tensor, m: Tensor, before: Tensor, ages: Tensor | None, between: Tensor | None = None, last: bool = False
) -> Tensor:
    """A (n, r, C, 1 + C): row k holds the weights of the state before the chunk and of its steps, relative to m_k.

    `last`: whether the last chunk is among them, for `between`.
    """
    n, r, chunk = s.shape
    point = m.masked_fill(m == -torch.inf, 0)  # nothing seen yet: -inf − 0, never -inf − -inf
    a = torch.empty(n, r, chunk, 1 + chunk, dtype=s.dtype, device=s.device)
    torch.sub(before[..., None], point, out=a[..., 0])
    torch.sub(s[:, :, None, :], point[..., None], out=a[..., 1:])
    if ages is not None:
        a[..., 0] -= ages
        if between is None:
            a[..., 1:] -= ages[..., None] - ages[:, :, None, :]
        else:
            steps = a[..., 1:].unflatten(1, (-1, between.shape[1]))
            whole = n - 1 if last else n
            steps[:whole].sub_(between[0])
            steps[whole:].sub_(between[1])
    seen = torch.ones(chunk, 1 + chunk, dtype=s.dtype, device=s.device).tril_(1)
    a.mul_(LOG2_E).clamp_(max=1.0).exp2_()  # base 2 is three times as fast; unseen steps must not be inf times 0
    return a.mul_(seen)
