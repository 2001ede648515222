"""ProbSparse self-attention (Zhou et al. 2021, arXiv 2012.07436, eq. 3-4, algorithm 1), in plain torch.

Only u = c·ceil(ln L_Q) queries attend; which ones is decided from U = c·ceil(ln L_K) sampled keys per query.
The sampled keys are an argument: nothing here draws a random number inside the maths, so one input has one
output and a kernel can be compared with this reference. Only the choice of queries depends on the sample, and
a choice has no gradient.

Shapes: B rows, H heads, E head width; q (B, H, L_Q, E), k and v (B, H, L_K, E), mask (B, L_K) True = visible.
"""

import math
from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

Lazy = Literal["sum", "mean"]
Divisor = Literal["keys", "sample"]

# Scores, or numbers of gathered keys, held at once while measuring sparsity: bounds memory whatever B, H and L are.
# On a CPU a block should stay in its cache (16 MiB fp32), on a GPU it should be large enough to fill it.
HELD_AT_ONCE = {"cpu": 1 << 22}
HELD_ELSEWHERE = 1 << 26
DENSE_UNTIL = 64  # keys per sampled key; with more of them gathering keys is cheaper than all products (CPU, measured)


def budget(length: int, factor: int) -> int:
    """c·ceil(ln L), at least 1 and at most L: the paper's count of sampled keys or kept queries."""
    return max(1, min(factor * math.ceil(math.log(length)), length))


@torch.compiler.disable
def sample_keys(l_q: int, l_k: int, count: int, *, seed: int, layer: int, step: int | None = None) -> Tensor:
    """Sampled key positions (L_Q, count), with replacement as in the paper's code; shared by rows and heads.

    A stateless function of its arguments: resumed training draws what uninterrupted training would have drawn,
    and step=None (evaluation) always gives the same sample.
    """
    if step is None:
        return _fixed_sample(l_q, l_k, count, seed, layer)
    return _draw(l_q, l_k, count, (seed, layer, step + 1))


@lru_cache(maxsize=64)
def _fixed_sample(l_q: int, l_k: int, count: int, seed: int, layer: int) -> Tensor:
    return _draw(l_q, l_k, count, (seed, layer, 0))


def mixed(*key: int) -> int:
    """A seed for torch from whole numbers (Knuth's multiplier): neighbouring keys must not give neighbouring seeds."""
    seed = 0
    for part in key:
        seed = ((seed ^ part) * 6364136223846793005 + 1442695040888963407) % (1 << 63)
    return seed


def _draw(l_q: int, l_k: int, count: int, key: tuple[int, int, int]) -> Tensor:
    generator = torch.Generator().manual_seed(mixed(*key))
    return torch.randint(l_k, (l_q, count), generator=generator)


@torch.no_grad()
def sparsity(q: Tensor, k: Tensor, sample: Tensor, *, mask: Tensor | None = None, divisor: Divisor = "keys") -> Tensor:
    """The measure M̄ (B, H, L_Q) of eq. 4: max minus mean of each query's scores over its sampled keys.

    `divisor` "keys" divides the sum over the sample by L_K, as the paper's eq. 4 and its code do; "sample" by the
    number of sampled keys, a mean in the plain sense. Scores are unscaled: a positive factor changes no ranking.
    Where few keys are left out, one dense product and a gather of *scores*: the paper's code gathers (B, H, L_Q, U, E)
    keys, which costs E times the memory for the same numbers. Where nearly all are left out (L_K > 64 U, as from some
    4,000 steps on) the keys are gathered. Either way queries are taken in blocks that bound the memory.
    """
    dense = k.shape[2] <= DENSE_UNTIL * sample.shape[1]
    scores = _dense_scores if dense else _gathered_scores
    width = k.shape[2] if dense else sample.shape[1] * k.shape[3]
    held = HELD_AT_ONCE.get(q.device.type, HELD_ELSEWHERE)
    block = max(1, min(q.shape[2], held // max(1, q.shape[0] * q.shape[1] * width)))
    k = k.contiguous()  # heads come as a view: each block would copy all keys
    picks = sample.to(q.device).split(block)
    parts = zip(q.split(block, 2), picks, strict=True)
    return torch.cat([_max_minus_mean(scores(part, k, p), p, mask, k.shape[2], divisor) for part, p in parts], -1)


def _dense_scores(q: Tensor, k: Tensor, picked: Tensor) -> Tensor:
    """q (B, H, n, E), picked (n, U) -> (B, H, n, U), by way of all n × L_K scores."""
    return (q @ k.transpose(-1, -2)).gather(-1, picked.expand(*q.shape[:2], -1, -1))


def _gathered_scores(q: Tensor, k: Tensor, picked: Tensor) -> Tensor:
    """The same by way of the n × U sampled keys."""
    keys = k.index_select(2, picked.reshape(-1)).unflatten(2, picked.shape)  # (B, H, n, U, E)
    return (keys @ q[..., None])[..., 0]


def _max_minus_mean(scores: Tensor, picked: Tensor, mask: Tensor | None, l_k: int, divisor: Divisor) -> Tensor:
    if mask is None:
        count = l_k if divisor == "keys" else picked.shape[-1]
        return scores.amax(-1) - scores.sum(-1) / count
    visible = mask[:, picked][:, None]  # (B, 1, block, U)
    count_seen = (mask.sum(-1)[:, None, None] if divisor == "keys" else visible.sum(-1)).clamp(min=1)
    top = scores.masked_fill(~visible, -torch.inf).amax(-1)
    return top - scores.masked_fill(~visible, 0).sum(-1) / count_seen


def top_queries(measure: Tensor, u: int) -> Tensor:
    """Positions (B, H, u) of the u queries with the largest measure."""
    return measure.topk(u, -1, sorted=False).indices


def attend(q: Tensor, k: Tensor, v: Tensor, *, blocked: Tensor | None = None, dropout: float = 0.0) -> Tensor:
    """softmax(q kᵀ / sqrt(E)) v, with blocked (broadcastable to B, H, L_Q, L_K) True where a key must not be seen.

    A query that may see no key at all gets 0, never NaN.
    """
    if blocked is None:
        return scaled_dot_product_attention(q, k, v, dropout_p=dropout)
    bias = torch.zeros(blocked.shape, dtype=q.dtype, device=q.device)
    bias = bias.masked_fill(blocked, torch.finfo(q.dtype).min / 2)  # finite: a softmax over -inf alone is NaN
    out = scaled_dot_product_attention(q, k, v, attn_mask=bias, dropout_p=dropout)
    return out.masked_fill(blocked.all(-1, keepdim=True), 0.0)


def lazy_values(v: Tensor, l_q: int, *, causal: bool, mask: Tensor | None, lazy: Lazy) -> Tensor:
    """What unselected queries get (B, H, L_Q, E): the mean of v, or in the causal case its running sum or mean.

    The running *sum* is what the paper's code does (its size grows with the position); "mean" is the sane variant.
    """
    seen = v if mask is None else v * mask[:, None, :, None]
    if not causal:
        total = seen.sum(-2, keepdim=True)
        count = v.shape[-2] if mask is None else mask.sum(-1).clamp(min=1)[:, None, None, None]
        return (total / count).expand(-1, -1, l_q, -1)
    running = seen.cumsum(-2)
    if lazy == "sum":
        return running
    if mask is None:
        steps = torch.arange(1, l_q + 1, device=v.device, dtype=v.dtype)[:, None]
    else:
        steps = mask.cumsum(-1).clamp(min=1)[:, None, :, None]
    return running / steps


def probsparse_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    sample: Tensor,
    u: int,
    *,
    causal: bool = False,
    mask: Tensor | None = None,
    lazy: Lazy = "sum",
    divisor: Divisor = "keys",
) -> Tensor:
    """Attention (B, H, L_Q, E) in which only the u most active queries look at the keys.

    With u = L_Q it equals full attention. `causal` needs L_Q = L_K; a selected query i sees keys up to i, but the
    *ranking* looks at the whole sequence: right for a decoder whose later steps are placeholders, wrong for a
    causal encoder (architecture: such an encoder is refused).
    """
    l_q, l_k = q.shape[2], k.shape[2]
    if causal and l_q != l_k:
        raise ValueError(f"causal attention over {l_q} queries and {l_k} keys; the two must be equal")
    if u >= l_q:
        index = torch.arange(l_q, device=q.device).expand(*q.shape[:2], -1)
    else:
        index = top_queries(sparsity(q, k, sample, mask=mask, divisor=divisor), u)
    chosen = index[..., None].expand(-1, -1, -1, q.shape[-1])  # (B, H, u, E)
    blocked = None
    if causal:
        blocked = torch.arange(l_k, device=q.device) > index[..., None]  # (B, H, u, L_K)
    if mask is not None:
        hidden = ~mask[:, None, None, :]
        blocked = hidden if blocked is None else blocked | hidden
    active = attend(q.gather(2, chosen), k, v, blocked=blocked)
    return lazy_values(v, l_q, causal=causal, mask=mask, lazy=lazy).scatter(2, chosen, active.to(v.dtype))
