"""Which queries attend: the sparsity measure of ProbSparse attention and the choice made by it (Zhou et al. 2021,
arXiv 2012.07436, eq. 4 and algorithm 1), in plain torch.

The sampled keys are an argument: nothing here draws a random number inside the maths, so one input has one output and
a kernel can be compared with this reference. A choice has no gradient, and so nothing here has one.

Shapes: B rows, H heads, E head width; q (B, H, L_Q, E), k (B, H, L_K, E), sample (L_Q, U), mask (B, L_K) True =
visible, measure (B, H, L_Q).
"""

import math
from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor

from forecast.ops.dispatch import pick

Divisor = Literal["keys", "sample"]

# Scores, or numbers of gathered keys, held at once: bounds memory whatever B, H and L are. On a CPU a block should
# stay in its cache (2 MiB in fp32; a row of scores for a head of 720 steps), on a GPU it should fill the device.
HELD_AT_ONCE = {"cpu": 1 << 19}
HELD_ELSEWHERE = 1 << 26
DENSE_UNTIL = 64  # keys per sampled key; with more of them gathering keys is cheaper than all products (CPU, measured)
BLOCK = 64  # steps ranked at once against the best of the prefix


def budget(length: int, factor: int) -> int:
    """c·ceil(ln L), at least 1 and at most L: the paper's count of sampled keys or kept queries."""
    return max(1, min(factor * math.ceil(math.log(length)), length))


@torch.compiler.disable
def sample_keys(
    l_q: int, l_k: int, count: int, *, seed: int, layer: int, step: int | None = None, causal: bool = False
) -> Tensor:
    """Sampled key positions (L_Q, count), with replacement as in the paper's code; shared by rows and heads.

    A stateless function of its arguments: resumed training draws what uninterrupted training would have drawn,
    and step=None (evaluation) always gives the same sample. causal: query i draws from keys 0 … i.
    """
    if step is None:
        return _fixed_sample(l_q, l_k, count, seed, layer, causal)
    return _draw(l_q, l_k, count, (seed, layer, step + 1), causal)


@lru_cache(maxsize=64)
def _fixed_sample(l_q: int, l_k: int, count: int, seed: int, layer: int, causal: bool) -> Tensor:
    return _draw(l_q, l_k, count, (seed, layer, 0), causal)


def mixed(*key: int) -> int:
    """A seed for torch from whole numbers (Knuth's multiplier): neighbouring keys must not give neighbouring seeds."""
    seed = 0
    for part in key:
        seed = ((seed ^ part) * 6364136223846793005 + 1442695040888963407) % (1 << 63)
    return seed


def _draw(l_q: int, l_k: int, count: int, key: tuple[int, int, int], causal: bool) -> Tensor:
    generator = torch.Generator().manual_seed(mixed(*key))
    if not causal:
        return torch.randint(l_k, (l_q, count), generator=generator)
    visible = torch.arange(1, l_q + 1).clamp(max=l_k)[:, None]
    return torch.randint(1 << 48, (l_q, count), generator=generator) % visible


def sparsity(
    q: Tensor, k: Tensor, sample: Tensor, *, mask: Tensor | None = None, divisor: Divisor = "keys", causal: bool = False
) -> Tensor:
    """The measure M̄ (B, H, L_Q) of eq. 4, in at least fp32: max minus mean of a query's scores over its sampled keys.

    `divisor` "keys" divides the sum over the sample by L_K, as the paper's eq. 4 and its code do; "sample" by the
    number of sampled keys, a mean in the plain sense. Scores are unscaled: a positive factor changes no ranking.
    causal: sampled keys after the query do not count, and L_K is the number of keys up to it.
    A query none of whose sampled keys is visible has the measure -inf.
    """
    return _sparsity(q.detach(), k.detach(), sample, mask, divisor, causal)


@torch.library.custom_op("forecast::sparsity", mutates_args=())
def _sparsity(q: Tensor, k: Tensor, sample: Tensor, mask: Tensor | None, divisor: str, causal: bool) -> Tensor:
    return pick(measure, q)(q, k, sample.to(q.device), mask, divisor, causal)


@_sparsity.register_fake
def _(q: Tensor, k: Tensor, sample: Tensor, mask: Tensor | None, divisor: str, causal: bool) -> Tensor:
    return q.new_empty(q.shape[:3], dtype=torch.promote_types(q.dtype, torch.float32))


def measure(q: Tensor, k: Tensor, sample: Tensor, mask: Tensor | None, divisor: str, causal: bool) -> Tensor:
    """Reference of `sparsity`, and the CPU path.

    Where few keys are left out, one dense product and a gather of *scores*: the paper's code gathers (B, H, L_Q, U, E)
    keys, which costs E times the memory for the same numbers. Where nearly all are left out (L_K > 64 U, as from some
    4,000 steps on) the keys are gathered. Either way heads and queries are taken in blocks that bound the memory.
    """
    (b, h, l_q, e), l_k, count = q.shape, k.shape[2], sample.shape[1]
    dense = l_k <= DENSE_UNTIL * count
    held = HELD_AT_ONCE.get(q.device.type, HELD_ELSEWHERE)
    wide = l_k if dense else count * e
    queries = max(1, min(l_q, held // wide))
    heads = max(1, held // (wide * queries))
    q, k = q.reshape(b * h, l_q, e), k.reshape(b * h, l_k, e)
    seen = None if mask is None else mask.repeat_interleave(h, 0)  # (B·H, L_K)
    steps = torch.arange(l_q, device=q.device)[:, None] if causal else None
    out = q.new_empty(b * h, l_q, dtype=torch.promote_types(q.dtype, torch.float32))
    buffer = q.new_empty(min(heads, b * h) * queries * l_k if dense else 0)  # one for all blocks: no fresh pages
    for row in range(0, b * h, heads):
        rows = slice(row, row + heads)
        for start in range(0, l_q, queries):
            at = slice(start, start + queries)
            scores = _scores(q[rows, at], k[rows], sample[at], buffer)
            visible, divide_by = _seen(
                sample[at], None if steps is None else steps[at], None if seen is None else seen[rows], divisor, l_k
            )
            out[rows, at] = _max_minus_mean(scores.to(out.dtype), visible, divide_by)
    return out.view(b, h, l_q)


def _scores(q: Tensor, k: Tensor, picked: Tensor, buffer: Tensor) -> Tensor:
    """q (R, n, E), k (R, L_K, E), picked (n, U) -> (R, n, U), by way of all scores or (no buffer) of the keys."""
    if buffer.numel():
        all_scores = buffer[: q.shape[0] * q.shape[1] * k.shape[1]].view(*q.shape[:2], k.shape[1])
        torch.bmm(q, k.transpose(1, 2), out=all_scores)
        return all_scores.gather(-1, picked.expand(len(q), -1, -1))
    keys = k.index_select(1, picked.reshape(-1)).unflatten(1, picked.shape)  # (R, n, U, E)
    return (keys @ q[..., None])[..., 0]


def _seen(
    picked: Tensor, steps: Tensor | None, mask: Tensor | None, divisor: str, l_k: int
) -> tuple[Tensor | None, Tensor | int]:
    """Which picks (n, U) count, (R or 1, n, U) or None for all, and what the sum of their scores is divided by."""
    if mask is None and steps is None:
        return None, l_k if divisor == "keys" else picked.shape[1]
    visible = picked[None] >= 0 if mask is None else mask[:, picked]
    if steps is not None:
        visible = visible & (picked <= steps)
    if divisor == "sample":
        return visible, visible.sum(-1)
    if mask is None:
        return visible, steps[:, 0] + 1 if steps is not None else l_k
    return visible, mask.sum(-1, keepdim=True) if steps is None else mask.cumsum(-1)[:, steps[:, 0]]


def _max_minus_mean(scores: Tensor, visible: Tensor | None, count: Tensor | int) -> Tensor:
    if visible is None:
        return scores.amax(-1) - scores.sum(-1) / count
    if isinstance(count, Tensor):
        count = count.clamp(min=1)
    return scores.masked_fill(~visible, -torch.inf).amax(-1) - scores.masked_fill(~visible, 0).sum(-1) / count


def top_queries(measure: Tensor, u: int) -> Tensor:
    """Positions (B, H, u), ascending, of the u queries with the largest measure; of equals the earliest."""
    return _top_queries(measure, u)


@torch.library.custom_op("forecast::top_queries", mutates_args=())
def _top_queries(measure: Tensor, u: int) -> Tensor:
    return pick(top, measure)(measure, u)


@_top_queries.register_fake
def _(measure: Tensor, u: int) -> Tensor:
    return measure.new_empty((*measure.shape[:2], u), dtype=torch.int64)


def top(measure: Tensor, u: int) -> Tensor:
    """Reference of `top_queries`."""
    ranked = _ordered(measure)
    best, at = ranked.topk(u, -1, sorted=False)
    least = best.amin(-1, keepdim=True)
    reached = ranked >= least
    if not (reached.sum(-1) > u).any():  # no equals on both sides of the border: topk's choice is the only one
        return at.sort(-1).values
    above = ranked > least
    equal = reached & ~above
    return _positions(above | (equal & (equal.cumsum(-1) <= u - above.sum(-1, keepdim=True))), u)


def prefix_queries(measure: Tensor, u: int) -> Tensor:
    """Positions (B, H, L), ascending, of the queries among the u largest of their own prefix; L where there is none.

    Whether a query is kept does not depend on what comes after it. Of L random measures about u(1 + ln(L/u)) are kept.
    """
    return _prefix_queries(measure, u)


@torch.library.custom_op("forecast::prefix_queries", mutates_args=())
def _prefix_queries(measure: Tensor, u: int) -> Tensor:
    return pick(prefix_top, measure)(measure, u)


@_prefix_queries.register_fake
def _(measure: Tensor, u: int) -> Tensor:
    return torch.empty_like(measure, dtype=torch.int64, memory_format=torch.contiguous_format)


def prefix_top(measure: Tensor, u: int) -> Tensor:
    """Reference of `prefix_queries`: a block of steps against the u best before it and against one another."""
    ranked = _ordered(measure)
    best = ranked.new_full((*ranked.shape[:2], u), -torch.inf)
    kept = torch.empty_like(ranked, dtype=torch.bool)
    for start in range(0, ranked.shape[-1], BLOCK):
        new = ranked[..., start : start + BLOCK]
        earlier = torch.ones(new.shape[-1], new.shape[-1], dtype=torch.bool, device=new.device).tril(-1)
        beaten = (best[..., None, :] >= new[..., None]).sum(-1)
        beaten += ((new[..., None, :] >= new[..., None]) & earlier).sum(-1)
        kept[..., start : start + BLOCK] = beaten < u
        best = torch.cat((best, new), -1).topk(u, -1, sorted=False).values
    return _positions(kept, ranked.shape[-1])


def _ordered(measure: Tensor) -> Tensor:
    """Finite, so that every pair compares: NaN and inf stand at the top, -inf at the bottom."""
    limits = torch.finfo(measure.dtype)
    return measure.nan_to_num(nan=limits.max, posinf=limits.max, neginf=limits.min)


def _positions(kept: Tensor, width: int) -> Tensor:
    """(..., L) True where kept -> (..., width) positions, ascending, L where there are fewer."""
    length = kept.shape[-1]
    place = torch.where(kept, kept.cumsum(-1) - 1, width)  # the column after the last takes what is not kept
    steps = torch.arange(length, device=kept.device).expand(kept.shape)
    out = torch.full((*kept.shape[:-1], width + 1), length, device=kept.device)
    return out.scatter_(-1, place, steps)[..., :width].contiguous()
