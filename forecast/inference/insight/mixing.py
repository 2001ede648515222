"""What the layers of an encoder look at, computed beside it: hooks record what a layer was given, and references in
plain torch say what it does with that. Nothing in a model knows of it.

Shapes: B windows, H heads, L tokens.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

import polars as pl
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from forecast.inference.insight.table import long
from forecast.models.aaren import Aaren, PrefixLayer
from forecast.models.attention import Attention
from forecast.models.base import Encoder
from forecast.models.informer import Distil, Informer
from forecast.models.transformer import Transformer, TransformerLayer
from forecast.ops.selection import prefix_queries, sparsity, top_queries

NEWEST: Final = (1, 4, 16, 64)  # tokens whose share of the weight is told
HELD: Final = 1 << 22  # weights at once
OUTPUTS: Final = 256  # of a window, at most, whose weights are summed up


class Call(NamedTuple):
    """What a layer was called with."""

    module: nn.Module
    given: tuple[Any, ...]
    named: dict[str, Any]


@contextmanager
def recorded(root: nn.Module, kinds: tuple[type[nn.Module], ...]) -> Iterator[list[Call]]:
    """The calls of the modules of these kinds inside `root`, in their order, while the block lasts."""
    calls: list[Call] = []

    def note(module: nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> None:
        calls.append(Call(module, given, dict(named)))

    handles = [
        part.register_forward_pre_hook(note, with_kwargs=True) for part in root.modules() if isinstance(part, kinds)
    ]
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()


@torch.no_grad()
def mixing(encoder: Encoder, x: Tensor, mask: Tensor | None) -> tuple[list[dict[str, Any]], list[pl.DataFrame]]:
    """Facts of each layer, and rows of the table; nothing for encoders that have no such layers.

    x (B, L, D) tokens, mask (B, L). Not for training: the encoder must be in evaluation.
    """
    if isinstance(encoder, Informer):
        return _informer(encoder, x, mask)
    if isinstance(encoder, Aaren):
        return _weighted(encoder, x, mask, PrefixLayer, lambda call: prefix_weights(encoder, call))
    if isinstance(encoder, Transformer):
        return _weighted(encoder, x, mask, TransformerLayer, lambda call: transformer_scores(encoder, call, mask))
    return [], []


# Informer ---------------------------------------------------------------------------------------------------


class Kept(NamedTuple):
    """Of each query the measure M (B, H, L) and whether it attends."""

    measure: Tensor
    kept: Tensor  # bool
    u: int  # how many are kept; of each prefix, where queries are ranked so
    sampled: int  # keys


def kept_queries(attention: Attention, x: Tensor, mask: Tensor | None) -> Kept:
    """Which queries of x (B, L, D) attend in a ProbSparse self-attention, and by which measure."""
    q, k = (
        projection(x).unflatten(-1, (attention.heads, -1)).transpose(1, 2)
        for projection in (attention.query_projection, attention.key_projection)
    )
    sample, u = attention.draw(x.shape[1], x.shape[1])
    prefix = attention.rank == "prefix"
    found = sparsity(q, k, sample, mask=mask, causal=prefix)
    if u >= x.shape[1]:
        return Kept(found, torch.ones_like(found, dtype=torch.bool), u, sample.shape[1])
    index = prefix_queries(found, u) if prefix else top_queries(found, u)
    kept = torch.zeros(*found.shape[:2], x.shape[1] + 1, dtype=torch.bool).scatter_(-1, index, True)
    return Kept(found, kept[..., :-1], u, sample.shape[1])


def _informer(encoder: Informer, x: Tensor, mask: Tensor | None) -> tuple[list[dict[str, Any]], list[pl.DataFrame]]:
    with recorded(encoder, (Attention, Distil)) as calls:
        encoder(x, mask)
    layers: list[dict[str, Any]] = []
    frames: list[pl.DataFrame] = []
    stacks = {id(part): i for i, stack in enumerate(encoder.stacks) for part in stack.modules()}
    stride, stack = 1, 0
    for call in calls:
        part, given = call.module, call.given[0]
        if stacks[id(part)] != stack:
            stride, stack = 1, stacks[id(part)]
        if isinstance(part, Distil):
            stride *= 2
            layers[-1]["after"] = -(-given.shape[1] // 2)
            continue
        assert isinstance(part, Attention)
        length, offset = given.shape[1], x.shape[1] - encoder.lengths(x.shape[1])[stack]
        facts = {"layer": len(layers), "stack": stack, "tokens": length, "stride": stride, "offset": offset}
        facts |= {"after": length, "attention": part.kind}
        if part.kind == "prob":
            found = kept_queries(part, given, call.named.get("mask"))
            finite = found.measure.masked_fill(~found.measure.isfinite(), torch.nan)
            frames.append(long("sparsity", finite, layer=len(layers), kept=found.kept))
            facts |= {"kept": found.u, "sampled": found.sampled, "rank": part.rank}
            facts["attending"] = float(found.kept.float().mean())
        layers.append(facts)
    return layers, frames


# Weights ----------------------------------------------------------------------------------------------------


class Scores(NamedTuple):
    """Of some queries for all keys, as a function, so that L² weights are never held at once."""

    of: Callable[[Tensor], Tensor]  # positions (n,) -> (B, H, n, L), -inf where a key is not seen
    shape: tuple[int, int, int]  # B, H, L


def prefix_weights(encoder: Aaren, call: Call) -> Scores:
    """The scores of Aaren's layer: s_i + Σ_{j≤i} decay_j, of which D_ki differs by what is the same for all i."""
    layer = call.module
    assert isinstance(layer, PrefixLayer)
    _, x, mask, dt = call.given
    s = layer.scores(layer.norm1(x) if layer.norm_first else x)  # (B, H, L)
    if layer.decay is not None:
        s = s + layer.decay(dt).expand(s.shape).double().cumsum(-1).to(s.dtype)
    steps = torch.arange(x.shape[1])
    number = steps.expand(x.shape[:2]) if mask is None else mask.cumsum(1) - 1  # (B, L) of observed steps

    def of(rows: Tensor) -> Tensor:
        hidden = (steps > rows[:, None]).expand(len(x), -1, -1)
        if encoder.window is not None:
            hidden = hidden | (number[:, None] <= number[:, rows, None] - encoder.window)
        if mask is not None:
            hidden = hidden | ~mask[:, None]
        return s[:, :, None].masked_fill(hidden[:, None], -torch.inf)

    return Scores(of, (s.shape[0], s.shape[1], s.shape[2]))


def transformer_scores(encoder: Transformer, call: Call, mask: Tensor | None) -> Scores:
    """The scores q_k·k_i / √E of a Transformer's layer."""
    layer, x = call.module, call.given[0]
    assert isinstance(layer, TransformerLayer)
    y = layer.norm1(x) if layer.norm_first else x
    q, k = (
        projection(y).unflatten(-1, (layer.heads, -1)).transpose(1, 2)
        for projection in (layer.query_projection, layer.key_projection)
    )
    steps = torch.arange(x.shape[1])
    number = steps.expand(x.shape[:2]) if mask is None else mask.cumsum(1) - 1

    def of(rows: Tensor) -> Tensor:
        scores = q[:, :, rows] @ k.transpose(2, 3) / q.shape[-1] ** 0.5
        hidden = torch.zeros(len(x), len(rows), x.shape[1], dtype=torch.bool)
        if encoder.causal:
            hidden = hidden | (steps > rows[:, None])
            old = number[:, None] <= number[:, rows, None] - encoder.window
            hidden = hidden | (old & (number[:, None] >= encoder.sinks))
        if mask is not None:
            hidden = hidden | ~mask[:, None]
        return scores.masked_fill(hidden[:, None], -torch.inf)

    return Scores(of, (q.shape[0], q.shape[1], q.shape[2]))


def weights(scores: Scores, rows: Tensor) -> Tensor:
    """softmax of the queries at `rows` (n,), (B, H, n, L); 0 for a query that sees no key."""
    return F.softmax(scores.of(rows), -1).nan_to_num(0.0)


def _weighted(
    encoder: Encoder, x: Tensor, mask: Tensor | None, kind: type[nn.Module], of: Callable[[Call], Scores]
) -> tuple[list[dict[str, Any]], list[pl.DataFrame]]:
    """Weights of the last output of every layer; of causal encoders also how far each output looks back."""
    layers: list[dict[str, Any]] = []
    frames: list[pl.DataFrame] = []
    with recorded(encoder, (kind,)) as calls:
        encoder(x, mask)
    for number, call in enumerate(_whole(calls)):
        scores = of(call)
        length = scores.shape[2]
        last = weights(scores, torch.tensor([length - 1]))[:, :, 0]
        frames.append(long("weight", last, layer=number))
        if encoder.causal:
            frames += _looking_back(scores, number)
        newest = {str(k): float(last[..., -k:].sum(-1).mean()) for k in NEWEST if k < length}
        facts = {"layer": number, "tokens": length, "stride": 1, "offset": 0, "after": length}
        layers.append({**facts, "effective": float(_spread(last).mean()), "newest": newest})
    return layers, frames


def _whole(calls: list[Call]) -> list[Call]:
    """One call for each layer: a long window goes through a Transformer piece by piece, laid end to end here."""
    by: dict[nn.Module, list[Call]] = {}
    for call in calls:
        by.setdefault(call.module, []).append(call)
    return [
        parts[0] if len(parts) == 1 else Call(layer, (torch.cat([part.given[0] for part in parts], 1),), {})
        for layer, parts in by.items()
    ]


def _spread(w: Tensor) -> Tensor:
    """1 / Σ w² over the last axis: the number of tokens that equal weights would be spread over; 0 without any."""
    square = w.square().sum(-1)
    return torch.where(square > 0, 1 / square.clamp_min(1e-30), 0.0)


def _looking_back(scores: Scores, layer: int) -> list[pl.DataFrame]:
    """For each output, of long windows for some, the effective number of tokens and the share of the newest ones."""
    b, h, length = scores.shape
    wanted = [k for k in NEWEST if k < length]
    rows = torch.linspace(0, length - 1, min(length, OUTPUTS)).round().long()
    steps = torch.arange(length)
    effective: list[Tensor] = []
    newest: dict[int, list[Tensor]] = {k: [] for k in wanted}
    for some in rows.split(max(1, HELD // (b * h * length))):
        w = weights(scores, some)
        effective.append(_spread(w))
        age = some[:, None] - steps
        for k in wanted:
            newest[k].append((w * ((age >= 0) & (age < k))).sum(-1))
    return [
        long("effective", torch.cat(effective, -1), layer=layer, steps=rows),
        *(long("newest", torch.cat(parts, -1), layer=layer, k=k, steps=rows) for k, parts in newest.items()),
    ]
