"""Our operators as graphs of plain ones, for files that run without us: what torch.export puts in their place.

The same results as the references, to rounding, for a batch of any size and a context of one length. They hold what the
references take in blocks, so they are for graphs alone; nothing here has a gradient.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from forecast.ops.probsparse import lazy_values
from forecast.ops.selection import gathered, max_minus_mean, ordered, seen_keys


def table() -> dict[Any, Callable[..., Any]]:
    """Operator → its graph, as `ExportedProgram.run_decompositions` takes it."""
    ours = torch.ops.forecast
    return {
        ours.scan_forward.default: scan,
        ours.dilated_conv.default: conv,
        ours.sparsity.default: sparsity,
        ours.top_queries.default: top_queries,
        ours.prefix_queries.default: prefix_queries,
        ours.chosen_attention.default: chosen_attention,
    }


def ranked() -> dict[Any, Callable[..., Any]]:
    """The same of a stable sort, for ONNX, which has the largest k alone; there the earlier of equals comes first."""
    return {torch.ops.aten.sort.stable: _sorted, torch.ops.aten.argsort.stable: _order}


def _sorted(x: Tensor, stable: bool | None = None, dim: int = -1, descending: bool = False) -> tuple[Tensor, Tensor]:
    keys = x if x.dtype.is_floating_point or x.dtype == torch.int64 else x.to(torch.int32)
    values, at = keys.topk(x.shape[dim], dim, descending, True)
    return values.to(x.dtype), at


def _order(x: Tensor, *, stable: bool, dim: int = -1, descending: bool = False) -> Tensor:
    return _sorted(x, stable, dim, descending)[1]


def scan(
    s: Tensor, v: Tensor, decay: Tensor | None, m0: Tensor, c0: Tensor, w0: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """`ops.scan.scan_forward`: prefixes by doubling (Hillis & Steele 1986), log₂ L rounds over all steps."""
    kind, length = m0.dtype, s.shape[-1]
    m, c = torch.cat([m0[..., None], s.to(kind)], -1), F.pad(torch.ones_like(s, dtype=kind), (1, 0))
    c = torch.cat([c0[..., None], c[..., 1:]], -1)
    w = torch.cat([w0[:, :, None].to(kind), v.to(kind)], 2)
    falls = None if decay is None else F.pad(decay.to(kind), (1, 0))
    for shift in (1 << i for i in range(length.bit_length())):
        before = F.pad(m[..., :-shift], (shift, 0), value=-math.inf)
        before = before if falls is None else before - falls
        most = torch.maximum(before, m)
        point = most.clamp_min(torch.finfo(kind).min)  # -inf where nothing was seen
        old, new = torch.exp(before - point), torch.exp(m - point)
        c = old * F.pad(c[..., :-shift], (shift, 0)) + new * c
        w = old[..., None] * F.pad(w[:, :, :-shift], (0, 0, shift, 0)) + new[..., None] * w
        m = most
        falls = None if falls is None else falls + F.pad(falls[..., :-shift], (shift, 0))
    o = w[:, :, 1:] / c[..., 1:, None].clamp_min(torch.finfo(kind).tiny)
    return o.to(v.dtype), m[..., -1].clone(), c[..., -1].clone(), w[:, :, -1].clone(), m, c


def conv(
    x: Tensor, weight: Tensor, bias: Tensor | None, state: Tensor | None, dilation: int, carry: bool
) -> tuple[Tensor, Tensor]:
    """`ops.tcn.dilated_conv`: one depthwise convolution, padded in front."""
    held = (weight.shape[1] - 1) * dilation
    whole = F.pad(x, (0, 0, held, 0)) if state is None else torch.cat([state, x], 1)
    y = F.conv1d(whole.transpose(1, 2), weight[:, None], bias, dilation=dilation, groups=x.shape[2]).transpose(1, 2)
    after = whole[:, whole.shape[1] - held :] if carry else whole[:, :0]
    return y.contiguous(), after.clone(memory_format=torch.contiguous_format)


def sparsity(q: Tensor, k: Tensor, sample: Tensor, mask: Tensor | None, divisor: str, causal: bool) -> Tensor:
    """`ops.selection.sparsity` by way of the sampled keys."""
    steps = torch.arange(q.shape[2], device=q.device)[:, None] if causal else None
    scores = gathered(q, k.transpose(1, 2), sample)
    return max_minus_mean(scores, *seen_keys(sample, steps, mask, divisor, k.shape[2])).transpose(1, 2)


def top_queries(measure: Tensor, u: int) -> Tensor:
    """`ops.selection.top_queries`; of equals the earliest, for the order is stable."""
    best = ordered(measure).sort(dim=-1, descending=True, stable=True).indices[..., :u]
    return best.sort(-1).values


def prefix_queries(measure: Tensor, u: int) -> Tensor:
    """`ops.selection.prefix_queries`, each step against all before it."""
    ranked, length = ordered(measure), measure.shape[-1]
    earlier = torch.ones(length, length, dtype=torch.bool, device=measure.device).tril(-1)
    beaten = ((ranked[..., None, :] >= ranked[..., None]) & earlier).sum(-1)
    kept = beaten < u
    place = torch.where(kept, kept.cumsum(-1) - 1, length)  # the column after the last takes what is not kept
    out = torch.full_like(F.pad(place, (0, 1)), length)
    return out.scatter(-1, place, torch.arange(length, device=measure.device).expand_as(place))[..., :length]


def chosen_attention(
    q: Tensor, k: Tensor, v: Tensor, index: Tensor, mask: Tensor | None, causal: bool, lazy: str
) -> tuple[Tensor, Tensor]:
    """`ops.probsparse.chosen_attention`: the chosen queries over all keys, put among what the others get."""
    (_, _, length, width), low = q.shape, torch.finfo(q.dtype).min / 2
    rows = index.clamp(max=length - 1)[..., None].expand(-1, -1, -1, width)
    scores = q.gather(2, rows) @ k.transpose(2, 3) / math.sqrt(width)
    steps = torch.arange(k.shape[2], device=q.device)
    hidden = steps > index[..., None] if causal else torch.zeros_like(scores, dtype=torch.bool)
    hidden = hidden if mask is None else hidden | ~mask[:, None, None]
    scores = scores.masked_fill(hidden, low)
    found = torch.softmax(scores, -1).masked_fill(hidden, 0) @ v  # of a query that sees no key: 0
    others = lazy_values(v, causal=causal, mask=mask, lazy=lazy).to(q.dtype).expand(-1, -1, length, -1)
    others = F.pad(others, (0, 0, 0, 1))  # the row after the last takes what is no query
    out = others.scatter(2, index[..., None].expand(-1, -1, -1, width), found)[:, :, :length]
    return out, torch.logsumexp(scores, -1)
