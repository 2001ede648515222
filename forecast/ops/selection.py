"""Which queries attend: the sparsity measure of ProbSparse attention and the choice made by it (Zhou et al. 2021,
arXiv 2012.07436, eq. 4 and algorithm 1), in plain torch.

The sampled keys are an argument: nothing here draws a random number inside the maths, so one input has one output and
a kernel can be compared with this reference. A choice has no gradient, and so nothing here has one.

Shapes: B rows, H heads, E head width; q (B, H, L_Q, E), k (B, H, L_K, E), sample (L_Q, U), mask (B, L_K) True =
visible, measure (B, H, L_Q).
"""

import math
import warnings
from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor
from torch._compile import _disable_dynamo

from forecast.ops.dispatch import plainly, run

Divisor = Literal["keys", "sample"]

# Scores held at once, or on other devices numbers of gathered keys: bounds memory whatever B, H and L are.
HELD_ON_CPU = 1 << 18
HELD_ELSEWHERE = 1 << 26
with warnings.catch_warnings():  # torch says once in a process that these tensors are "in beta"; two lines of use here
    warnings.simplefilter("ignore")
    torch.sparse_csr_tensor([0, 0], [], [], (1, 1))

BLOCK = 64  # steps ranked at once against the best of the prefix


def budget(length: int, factor: int) -> int:
    """c·ceil(ln L), at least 1 and at most L: the paper's count of sampled keys or kept queries."""
    return max(1, min(factor * math.ceil(math.log(length)), length))


@_disable_dynamo  # torch.compiler.disable, but it loads the compiler when called, not now
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
    if plainly():
        return run(measure, q, q, k, sample.to(q.device), mask, divisor, causal)
    return _sparsity(q.detach(), k.detach(), sample, mask, divisor, causal)


@torch.library.custom_op("forecast::sparsity", mutates_args=())
def _sparsity(q: Tensor, k: Tensor, sample: Tensor, mask: Tensor | None, divisor: str, causal: bool) -> Tensor:
    return run(measure, q, q, k, sample.to(q.device), mask, divisor, causal)


@_sparsity.register_fake
def _(q: Tensor, k: Tensor, sample: Tensor, mask: Tensor | None, divisor: str, causal: bool) -> Tensor:
    return q.new_empty(q.shape[:3], dtype=torch.promote_types(q.dtype, torch.float32))


def measure(q: Tensor, k: Tensor, sample: Tensor, mask: Tensor | None, divisor: str, causal: bool) -> Tensor:
    """Reference of `sparsity`, and the CPU path.

    The paper's code gathers (B, H, L_Q, U, E) keys, E times the memory of what is asked for. On a CPU torch has a
    product that forms only the sampled scores, from q and k where they lie, and needs neither the gathered keys nor
    all L_Q × L_K scores. Queries, and rows of the batch, are taken in blocks that bound the memory.
    """
    (b, h, l_q, e), l_k, count = q.shape, k.shape[2], sample.shape[1]
    acc = torch.promote_types(q.dtype, torch.float32)
    # torch holds no sparse row of more values than there are keys: few keys that are drawn often are gathered.
    on_cpu = q.device.type == "cpu" and count <= l_k * h
    held = max(1, HELD_ON_CPU // (h * count) if on_cpu else HELD_ELSEWHERE // (h * count * e))
    queries = min(l_q, held)
    batch = max(1, held // l_q)
    out = q.new_empty(b, h, l_q, dtype=acc)
    k = k.to(acc).transpose(1, 2)
    k = k.reshape(b, l_k * h, e) if on_cpu else k  # a view of what projections leave, else one copy for all blocks
    for start in range(0, l_q, queries):
        at = slice(start, start + queries)
        picked = sample[at]
        steps = torch.arange(start, start + len(picked), device=q.device)[:, None] if causal else None
        columns = _columns(picked, l_k, h, min(batch, b)) if on_cpu else picked
        for row in range(0, b, batch):
            rows = slice(row, row + batch)
            scores = (_sampled if on_cpu else gathered)(q[rows, :, at].to(acc), k[rows], columns)
            seen = None if mask is None else mask[rows]
            out[rows, :, at] = max_minus_mean(scores, *seen_keys(picked, steps, seen, divisor, l_k)).transpose(1, 2)
    return out


def _columns(picked: Tensor, l_k: int, heads: int, batch: int) -> Tensor:
    """Which keys, as rows of (B, L_K, H, E) memory, the queries (B, n, H) are multiplied with: (B, n·H·U)."""
    of_head = picked[:, None] * heads + torch.arange(heads)[:, None]  # (n, H, U)
    return of_head.flatten() + torch.arange(batch)[:, None] * (l_k * heads)


def _sampled(q: Tensor, k: Tensor, columns: Tensor) -> Tensor:
    """q (b, H, n, E), k (b, L_K·H, E), columns of at least b rows -> (b, n, H, U)."""
    (b, h, n, e), columns = q.shape, columns[: len(q)]
    queries, keys = q.transpose(1, 2).reshape(-1, e), k.flatten(0, 1)
    count = columns.shape[1] // (n * h)
    pattern = torch.sparse_csr_tensor(
        torch.arange(0, columns.numel() + 1, count), columns.flatten(), keys.new_zeros(columns.numel()),
        (len(queries), len(keys)), check_invariants=False,
    )  # fmt: skip
    return torch.sparse.sampled_addmm(pattern, queries, keys.t(), beta=0).values().view(b, n, h, count)


def gathered(q: Tensor, k: Tensor, picked: Tensor) -> Tensor:
    """The same, with k (b, L_K, H, E) and picked (n, U), by way of the sampled keys."""
    keys = k.index_select(1, picked.flatten()).unflatten(1, picked.shape)  # (b, n, U, H, E)
    return torch.einsum("bnuhe,bhne->bnhu", keys, q)


def seen_keys(
    picked: Tensor, steps: Tensor | None, mask: Tensor | None, divisor: str, l_k: int
) -> tuple[Tensor | None, Tensor | int]:
    """Which picks (n, U) count, (b or 1, n, 1, U) or None for all, and what the sum of their scores is divided by."""
    if mask is None and steps is None:
        return None, l_k if divisor == "keys" else picked.shape[1]
    visible = picked[None] >= 0 if mask is None else mask[:, picked]
    if steps is not None:
        visible = visible & (picked <= steps)
    count: Tensor
    if divisor == "sample":
        count = visible.sum(-1)
    elif mask is None:
        assert steps is not None  # else all are seen
        count = steps[None, :, 0] + 1
    else:
        count = mask.sum(-1, keepdim=True) if steps is None else mask.cumsum(-1)[:, steps[:, 0]]
    return visible[:, :, None], count[..., None].clamp(min=1)


def max_minus_mean(scores: Tensor, visible: Tensor | None, count: Tensor | int) -> Tensor:
    """scores (b, n, H, U) -> (b, n, H)."""
    if visible is None:
        return scores.amax(-1) - scores.sum(-1) / count
    return scores.masked_fill(~visible, -torch.inf).amax(-1) - scores.masked_fill(~visible, 0).sum(-1) / count


def top_queries(measure: Tensor, u: int) -> Tensor:
    """Positions (B, H, u), ascending, of the u queries with the largest measure; of equals the earliest."""
    return run(top, measure, measure, u) if plainly() else _top_queries(measure, u)


@torch.library.custom_op("forecast::top_queries", mutates_args=())
def _top_queries(measure: Tensor, u: int) -> Tensor:
    return run(top, measure, measure, u)


@_top_queries.register_fake
def _(measure: Tensor, u: int) -> Tensor:
    return measure.new_empty((*measure.shape[:2], u), dtype=torch.int64)


def top(measure: Tensor, u: int) -> Tensor:
    """Reference of `top_queries`."""
    ranked = ordered(measure)
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
    return run(prefix_top, measure, measure, u) if plainly() else _prefix_queries(measure, u)


@torch.library.custom_op("forecast::prefix_queries", mutates_args=())
def _prefix_queries(measure: Tensor, u: int) -> Tensor:
    return run(prefix_top, measure, measure, u)


@_prefix_queries.register_fake
def _(measure: Tensor, u: int) -> Tensor:
    return torch.empty_like(measure, dtype=torch.int64, memory_format=torch.contiguous_format)


def prefix_top(measure: Tensor, u: int) -> Tensor:
    """Reference of `prefix_queries`: a block of steps against the u best before it and against one another."""
    ranked = ordered(measure)
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


def ordered(measure: Tensor) -> Tensor:
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
