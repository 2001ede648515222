"""ProbSparse self-attention (Zhou et al. 2021, arXiv 2012.07436, eq. 3-4, algorithm 1), in plain torch.

Only u = c·ceil(ln L_Q) queries attend (`forecast.ops.selection` chooses them); all others get the mean of the values,
or in the causal case their running sum or mean. Forward and backward are closed forms, and neither holds more than a
block of the (u, L_K) attention weights.

With s_ij = q_i·k_j / sqrt(E), P = softmax(s), o = P v and g the gradient of o, for the chosen queries i:
    dv_j = Σ_i P_ij g_i,   ds_ij = P_ij (g_i·v_j - g_i·o_i),   dq_i = Σ_j ds_ij k_j / sqrt(E),   dk_j likewise;
and dv gets what flows through the mean (or the running sum) of all other queries.

Shapes: B rows, H heads, E head width; q (B, H, L_Q, E), k and v (B, H, L_K, E), mask (B, L_K) True = visible.
"""

import math
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from forecast.ops.dispatch import plainly, run
from forecast.ops.selection import Divisor, prefix_queries, sparsity, top_queries

Lazy = Literal["sum", "mean"]
Rank = Literal["global", "prefix"]

HELD_AT_ONCE = 1 << 22  # attention weights held at once, at most: a block of heads has no more
FEW = 64  # places for chosen queries that are all worked on, empty ones too
IN_CACHE = 1 << 18  # numbers of k in a block: with v, their gradients and the weights they fill a cache of 1-2 MiB


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
    rank: Rank = "global",
) -> Tensor:
    """Attention (B, H, L_Q, E) in which only the most active queries look at the keys.

    With u = L_Q it equals full attention. `causal` needs L_Q = L_K; a selected query i sees keys up to i. How queries
    are ranked decides what may leak: "global", the paper's, ranks the whole sequence, right for a decoder whose later
    steps are placeholders; "prefix" keeps query i if it is among the u most active of steps 0 … i, measured on keys up
    to i, so that no output depends on a later step. `rank="prefix"` needs `causal`.
    """
    l_q, l_k = q.shape[2], k.shape[2]
    if causal and l_q != l_k:
        raise ValueError(f"causal attention over {l_q} queries and {l_k} keys; the two must be equal")
    if rank == "prefix" and not causal:
        raise ValueError("rank is prefix without causal; set causal=True, or rank='global'")
    if u >= l_q:
        index = torch.arange(l_q, device=q.device).expand(*q.shape[:2], -1).contiguous()
    elif rank == "prefix":
        index = prefix_queries(sparsity(q, k, sample, mask=mask, divisor=divisor, causal=True), u)
    else:
        index = top_queries(sparsity(q, k, sample, mask=mask, divisor=divisor), u)
    if plainly():
        return run(chosen_attention, q, q, k, v, index, mask, causal, lazy)[0]
    return _chosen_attention(q, k, v, index, mask, causal, lazy)[0]


@torch.library.custom_op("forecast::chosen_attention", mutates_args=())
def _chosen_attention(
    q: Tensor, k: Tensor, v: Tensor, index: Tensor, mask: Tensor | None, causal: bool, lazy: str
) -> tuple[Tensor, Tensor]:
    return run(chosen_attention, q, q, k, v, index, mask, causal, lazy)


@_chosen_attention.register_fake
def _(
    q: Tensor, k: Tensor, v: Tensor, index: Tensor, mask: Tensor | None, causal: bool, lazy: str
) -> tuple[Tensor, Tensor]:
    b, h, length, e = q.shape
    out = q.new_empty(b, length, h, e).transpose(1, 2)
    return out, q.new_empty(index.shape, dtype=torch.promote_types(q.dtype, torch.float32))


@torch.library.custom_op("forecast::chosen_attention_backward", mutates_args=())
def _chosen_attention_backward(
    grad: Tensor, q: Tensor, k: Tensor, v: Tensor, index: Tensor, mask: Tensor | None, out: Tensor, lse: Tensor,
    causal: bool, lazy: str,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    return run(chosen_attention_backward, q, grad, q, k, v, index, mask, out, lse, causal, lazy)


@_chosen_attention_backward.register_fake
def _(
    grad: Tensor, q: Tensor, k: Tensor, v: Tensor, index: Tensor, mask: Tensor | None, out: Tensor, lse: Tensor,
    causal: bool, lazy: str,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    dq, dk, dv = (x.new_empty(x.transpose(1, 2).shape).transpose(1, 2) for x in (q, k, v))
    return dq, dk, dv


def _setup(ctx: torch.autograd.function.FunctionCtx, inputs: tuple, output: tuple[Tensor, Tensor]) -> None:  # type: ignore[type-arg]
    q, k, v, index, mask, causal, lazy = inputs
    ctx.save_for_backward(q, k, v, index, mask, *output)
    ctx.causal, ctx.lazy = causal, lazy  # type: ignore[attr-defined]
    ctx.mark_non_differentiable(output[1])


def _backward(ctx, grad: Tensor, _: Tensor):  # type: ignore[no-untyped-def]
    q, k, v, index, mask, out, lse = ctx.saved_tensors
    grads = _chosen_attention_backward(grad, q, k, v, index, mask, out, lse, ctx.causal, ctx.lazy)
    return *grads, None, None, None, None


_chosen_attention.register_autograd(_backward, setup_context=_setup)


def chosen_attention(
    q: Tensor, k: Tensor, v: Tensor, index: Tensor, mask: Tensor | None, causal: bool, lazy: str
) -> tuple[Tensor, Tensor]:
    """Reference, and the CPU path: out (B, H, L_Q, E) and the log of the softmax's sum (B, H, N).

    index (B, H, N): positions of the chosen queries, ascending, L_Q where there are fewer than N.
    """
    chosen = _Chosen(q, index)
    queries = chosen.rows(q)
    out, rows = chosen.result(q)
    lse = torch.zeros(index.shape, dtype=chosen.dtype, device=q.device)
    for at in chosen.blocks(k.shape[2]):
        seen = None if mask is None else mask[at[0]]
        active = queries.take(at).mul_(1 / math.sqrt(q.shape[-1]))
        p = torch.bmm(active, _heads(k[at]).transpose(1, 2))
        chosen.hide(p, at, seen, causal)
        most = p.amax(-1, keepdim=True)
        most.masked_fill_(most == -torch.inf, 0)  # no key to see: all weights come out 0
        total = p.sub_(most).exp_().sum(-1, keepdim=True).clamp_(min=torch.finfo(p.dtype).tiny)
        torch.bmm(p, _heads(v[at]), out=active).div_(total)
        lse[at][..., : chosen.count] = most.add_(total.log_()).view(chosen.index[at].shape)
        out[at] = lazy_values(v[at], causal=causal, mask=seen, lazy=lazy).to(out.dtype)
        rows.put(active, at)
    return out, lse


def chosen_attention_backward(
    grad: Tensor, q: Tensor, k: Tensor, v: Tensor, index: Tensor, mask: Tensor | None, out: Tensor, lse: Tensor,
    causal: bool, lazy: str,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """Gradients for q, k and v. Reference, and the CPU path."""
    chosen = _Chosen(q, index)
    queries, grads, outs = chosen.rows(q), chosen.rows(grad), chosen.rows(out)
    scale = 1 / math.sqrt(q.shape[-1])
    idle = chosen.idle()
    dq, rows = chosen.result(q)
    dq.zero_()
    dk, dv = (x.new_empty(x.transpose(1, 2).shape).transpose(1, 2) for x in (k, v))
    for at in chosen.blocks(k.shape[2]):
        seen = None if mask is None else mask[at[0]]
        kb, vb = _heads(k[at]), _heads(v[at])
        active, g = queries.take(at).mul_(scale), grads.take(at)
        g.masked_fill_(chosen.padding[at].reshape(*g.shape[:2], 1), 0)  # a place without a query passes nothing on
        dot = (g * outs.take(at)).sum(-1, keepdim=True)
        p = torch.bmm(active, kb.transpose(1, 2))
        chosen.hide(p, at, seen, causal)
        p.sub_(lse[at][..., : chosen.count].reshape(*p.shape[:2], 1)).exp_()
        through_mean = _lazy_backward(grad[at], idle[at], k.shape[2], causal=causal, mask=seen, lazy=lazy)
        dv[at] = torch.baddbmm(through_mean.flatten(0, 1), p.transpose(1, 2), g).view(dv[at].shape)
        ds = torch.baddbmm(dot, g, vb.transpose(1, 2), beta=-1).mul_(p)
        dk[at] = torch.bmm(ds.transpose(1, 2), active).view(dk[at].shape)
        rows.put(torch.bmm(ds, kb, out=active).mul_(scale), at)
    return dq, dk, dv


Block = tuple[slice, slice]  # of batch rows and of heads


class _Chosen:
    """The chosen queries. Heads are worked on in blocks that stay in a CPU's cache; where a block is one row
    of the batch, its q, k and v are views into the memory that the projections left, and nothing is copied."""

    def __init__(self, q: Tensor, index: Tensor) -> None:
        self.shape, length = q.shape, q.shape[2]
        self.dtype = torch.promote_types(q.dtype, torch.float32)
        # By eights, and all where there are few: with another number of rows a product may round each of them
        # otherwise, and how many queries of a prefix are kept must not reach a bit of what the earlier ones give.
        most, width = int((index < length).sum(-1).max()), index.shape[-1]
        self.count = width if width <= FEW else min(-(-most // 8) * 8, width)
        self.index = index[..., : self.count]  # (B, H, n)
        self.padding = self.index == length

    def blocks(self, l_k: int) -> list[Block]:
        b, h, _, e = self.shape
        heads = max(1, min(h, HELD_AT_ONCE // max(1, self.count * l_k)))
        batch = max(1, IN_CACHE // (h * l_k * e)) if heads == h else 1
        return [
            (slice(i, i + batch), slice(j, min(j + heads, h))) for i in range(0, b, batch) for j in range(0, h, heads)
        ]

    def rows(self, x: Tensor) -> "_Rows":
        return _Rows(x, self.index.clamp(max=self.shape[2] - 1), self.dtype)

    def result(self, like: Tensor) -> tuple[Tensor, "_Rows"]:
        """A new (B, H, L_Q, E) in the (B, L_Q, H, E) memory that projections want, and its rows; those of places
        without a query lie outside it."""
        b, h, length, e = self.shape
        memory = like.new_empty(b * length * h + 1, e)
        rows = _Rows(memory[:-1].view(b, length, h, e).transpose(1, 2), self.index, self.dtype)
        rows.flat, rows.at = memory, rows.at.masked_fill(self.padding, len(memory) - 1)
        return memory[:-1].view(b, length, h, e).transpose(1, 2), rows

    def idle(self) -> Tensor:
        """(B, H, L_Q): 0 for the chosen queries, 1 for all others."""
        b, h, length, _ = self.shape
        ones = torch.ones(b, h, length + 1, dtype=self.dtype, device=self.index.device)
        return ones.scatter_(-1, self.index, 0)[..., :length]

    def hide(self, scores: Tensor, at: Block, mask: Tensor | None, causal: bool) -> None:
        """Scores (R, n, L_K) of keys that must not be seen become -inf."""
        by_head = scores.view(*self.index[at].shape, -1)
        if causal:
            later = torch.arange(scores.shape[-1], device=scores.device) > self.index[at][..., None]
            by_head.masked_fill_(later, -torch.inf)
        if mask is not None:
            by_head.masked_fill_(~mask[:, None, None], -torch.inf)


class _Rows:
    """The rows of x (B, H, L, E) at index (B, H, n), by one flat list of rows: many times faster than a gather."""

    def __init__(self, x: Tensor, index: Tensor, dtype: torch.dtype) -> None:
        b, h, length, e = x.shape
        apart = x.transpose(1, 2).is_contiguous()  # as the projections leave it; then nothing is copied here
        self.flat = (x.transpose(1, 2) if apart else x).reshape(-1, e)
        batch, head = (torch.arange(n, device=x.device) for n in (b, h))
        of_batch, of_head, of_step = (length * h, 1, h) if apart else (h * length, length, 1)
        self.at = batch[:, None, None] * of_batch + head[:, None] * of_head + index * of_step
        self.dtype = dtype

    def take(self, at: Block) -> Tensor:
        """(R, n, E), a copy in at least fp32."""
        index = self.at[at]
        return self.flat.index_select(0, index.flatten()).to(self.dtype).view(-1, index.shape[2], self.flat.shape[1])

    def put(self, found: Tensor, at: Block) -> None:
        self.flat.index_copy_(0, self.at[at].flatten(), found.view(-1, found.shape[-1]).to(self.flat.dtype))


def _heads(x: Tensor) -> Tensor:
    """(b, h, L, E) -> (b·h, L, E) in at least fp32."""
    return x.to(torch.promote_types(x.dtype, torch.float32)).flatten(0, 1)


def lazy_values(v: Tensor, *, causal: bool, mask: Tensor | None, lazy: str) -> Tensor:
    """What unselected queries get (B, H, L or 1, E): the mean of v, or in the causal case its running sum or mean.

    The running *sum* is what the paper's code does (its size grows with the position); "mean" is the sane variant.
    """
    v = v.to(torch.promote_types(v.dtype, torch.float32))
    seen = v if mask is None else v * mask[:, None, :, None]
    count = visible_keys(v.shape[2], mask, causal, v.device)
    if not causal:
        return seen.sum(-2, keepdim=True) / count
    running = seen.cumsum(-2)
    return running if lazy == "sum" else running / count


def visible_keys(length: int, mask: Tensor | None, causal: bool, device: torch.device) -> Tensor | int:
    """How many keys a query sees, at least 1, broadcastable to (B, H, L, E)."""
    if mask is None:
        return torch.arange(1, length + 1, device=device)[:, None] if causal else length
    count = mask.cumsum(-1) if causal else mask.sum(-1, keepdim=True)
    return count.clamp(min=1)[:, None, :, None]


def _lazy_backward(grad: Tensor, idle: Tensor, l_k: int, *, causal: bool, mask: Tensor | None, lazy: str) -> Tensor:
    """The gradient of `lazy_values` for v (B, H, L_K or 1, E), given grad (B, H, L_Q, E) and which queries are idle."""
    count = visible_keys(l_k, mask, causal, grad.device)
    if not causal:
        total = idle[..., None, :] @ grad.to(idle.dtype) / count
    else:
        through = grad * idle[..., None]
        total = (through if lazy == "sum" else through / count).flip(2).cumsum(2).flip(2)
    return total if mask is None else total * mask[:, None, :, None]
