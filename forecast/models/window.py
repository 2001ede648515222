"""Attention over the last W steps, the query the same at every step, in time O(L) whatever W is.

    o_k = Σ_{k−W<i≤k} e^{s_i − D_ki} v_i / Σ_{k−W<i≤k} e^{s_i − D_ki},   D_ki = Σ_{i<j≤k} decay_j

Time is cut into blocks of W steps; a window is then the end of one block and the beginning of the next (van Herk 1992,
the two stacks of a queue): one scan of every block forwards, one backwards, and the two joined,

    o = o_p + (o_s − o_p) sigmoid(z_s − z_p),   z = log Σ e^{s_i − D_ki} of each part.

z is held in float64: it has no head width, so that costs little, and log Z of large scores needs it.

A step in a stream is a softmax over the ring, O(W). A state is a value, so each step copies the ring whatever is done
with it; from W = 512 on that copy is a third (one series) to nine tenths (256) of a step's time, and two stacks with an
O(1) step would save the rest only, at the price of some fifty small calls.

Steps are counted as they are observed: a masked one is taken out before and is in no window.
Shapes: B rows, H heads, l steps, D head width; s and decay (B, H, l), v and o (B, H, l, D).
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from forecast.ops import prefix_attention

FEW = 16  # up to so many new steps, their softmaxes cost less than two scans of the ring (measured)
EMPTY = -1e300  # log of no mass; -inf would make NaN of a difference of two


class Ring(NamedTuple):
    """The last W − 1 observed steps, the oldest first; a score of -inf where there was none yet."""

    s: Tensor  # (B, H, W − 1)
    decay: Tensor  # (B, H, W − 1) by how much all older scores fell at this step
    v: Tensor  # (B, H, W − 1, D)


def empty_ring(
    batch: int,
    heads: int,
    dim: int,
    window: int,
    device: torch.device | str | None = None,
    dtype: torch.dtype = torch.float32,
) -> Ring:
    """The state before the first step."""
    none = torch.zeros(batch, heads, window - 1, device=device, dtype=dtype)
    return Ring(none - torch.inf, none, torch.zeros(batch, heads, window - 1, dim, device=device, dtype=dtype))


def window_attention(
    s: Tensor, v: Tensor, ring: Ring, *, decay: Tensor | None = None, mask: Tensor | None = None
) -> tuple[Tensor, Ring]:
    """o (B, H, l, D), and the ring after the last step; mask (B, l) is True where a step was observed."""
    kept, length = ring.s.shape[-1], s.shape[-1]
    if length == 0:
        return v.clone(), ring
    decay = torch.zeros_like(s) if decay is None else decay.expand(s.shape)
    if mask is not None:
        order = (~mask).byte().sort(dim=1, stable=True)[1]  # (B, l) observed steps to the front
        s, decay = s.masked_fill(~mask[:, None], -torch.inf), decay.masked_fill(~mask[:, None], 0)
        s, decay, v = (_take(part, order) for part in (s, decay, v))
    dtype = ring.s.dtype
    steps = Ring(*(torch.cat([old, new.to(dtype)], 2) for old, new in zip(ring, (s, decay, v), strict=True)))
    o = (_few if length <= FEW else _many)(steps, kept + 1).to(v.dtype)
    if mask is None:
        rings = (part[:, :, length:] for part in steps)
        return o, Ring(*(ring if length == 1 else ring.clone() for ring in rings))  # a view would keep all steps alive
    seen = mask.cumsum(1)
    after = seen[:, -1:] + torch.arange(kept, device=s.device)
    return _take(o, (seen - 1).clamp_min(0)), Ring(*(_take(part, after) for part in steps))


def _take(x: Tensor, steps: Tensor) -> Tensor:
    """x (B, H, n, …), steps (B, k): those steps of each row, (B, H, k, …)."""
    index = steps[:, None].expand(-1, x.shape[1], -1)
    if x.ndim == 4:
        index = index[..., None].expand(-1, -1, -1, x.shape[3])
    return x.gather(2, index)


def _few(steps: Ring, window: int) -> Tensor:
    """Every whole window of n ≥ W steps, (B, H, n − W + 1, D), each a softmax: what a step in a stream takes."""
    n, dtype = steps.s.shape[-1], steps.s.dtype
    fell = steps.decay.double().cumsum(-1)
    age = (fell[..., window - 1 :, None] - fell[..., None, :]).to(dtype)  # (B, H, n − W + 1, n)
    outside = torch.ones(n - window + 1, n, dtype=torch.bool, device=age.device).tril(window - 1).triu().logical_not()
    scores = (steps.s[..., None, :] - age).masked_fill(outside, -torch.inf)
    top = scores.detach().amax(-1, keepdim=True).clamp_min(torch.finfo(dtype).min)
    weights = (scores - top).exp()
    return weights @ steps.v / weights.sum(-1, keepdim=True).clamp_min(torch.finfo(dtype).tiny)


def _many(steps: Ring, window: int) -> Tensor:
    """The same by blocks."""
    b, h, n = steps.s.shape
    short = -n % window
    blocks = -(-n // window)
    s = pad(steps.s, (0, short), value=-torch.inf).view(b, h * blocks, window)
    decay = pad(steps.decay, (0, short)).view(b, h * blocks, window)
    v = pad(steps.v, (0, 0, 0, short)).view(b, h * blocks, window, -1)
    fell = decay.double().cumsum(-1)
    rest = fell[..., -1:] - fell  # by how much a score falls until the end of its block
    ends = s - rest.to(s.dtype)
    front, _ = prefix_attention(s, v, decay=decay)
    back, _ = prefix_attention(ends.flip(-1), v.flip(-2))
    known = s.double().clamp_min(EMPTY)
    z_front, z_back = (known + fell).logcumsumexp(-1), (known - rest).flip(-1).logcumsumexp(-1).flip(-1)
    z_back = pad(z_back[..., 1:], (1, 0), value=EMPTY)  # a whole block is the front of its own window

    def flat(x: Tensor) -> Tensor:
        return x.unflatten(1, (h, blocks)).flatten(2, 3)

    o, rest_of_it = flat(front)[:, :, window - 1 : n], flat(back.flip(-2))[:, :, : n - window + 1]
    share = torch.sigmoid(flat(z_back)[:, :, : n - window + 1] - flat(z_front)[:, :, window - 1 : n]).to(o.dtype)
    return torch.lerp(o, rest_of_it, share[..., None])
