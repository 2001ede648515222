"""Depthwise dilated causal convolution, y_t = Σ_j w_j · x_{t-(K-1-j)·d} + bias: twin of forecast/ops/tcn.py.

One kernel serves the forward pass and the gradient of the input: a sum over K taps of a source read at
start + t + j·step, with step = d forward and -d backward. What a neighbouring tap reads again comes from the cache.
The gradient of the weight is summed in two stages, in an order that only the shapes decide.

Sums are float32, float64 for float64. Any strides.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

TILE = 2048  # outputs of one program
PROGRAMS = 1024  # of the weight's gradient, enough to fill a card


@triton.jit
def conv_kernel(
    X, STATE, W, BIAS, Y,
    length, rows, channels, taps, held, start, step,
    x_b, x_l, x_c, s_b, s_l, s_c, w_c, w_k, y_b, y_l, y_c,
    HAS_STATE: tl.constexpr, HAS_BIAS: tl.constexpr, BT: tl.constexpr, BC: tl.constexpr,
):  # fmt: skip
    """y_t = Σ_j w_j · x_{start+t+j·step} + bias for t < rows; x before 0 is the state, and 0 past either end."""
    ACC: tl.constexpr = tl.float64 if X.dtype.element_ty == tl.float64 else tl.float32
    program = tl.program_id(0)
    across, along = tl.cdiv(channels, BC), tl.cdiv(rows, BT)
    c = (program % across).to(tl.int64) * BC + tl.arange(0, BC)
    t = (program // across % along).to(tl.int64) * BT + tl.arange(0, BT)
    b = (program // across // along).to(tl.int64)
    there = c < channels
    acc = tl.zeros([BT, BC], ACC)
    if HAS_BIAS:
        acc += tl.load(BIAS + c, there, 0.0).to(ACC)[None, :]
    for j in range(taps):
        at = t + start + j * step
        w = tl.load(W + c * w_c + j * w_k, there, 0.0).to(ACC)
        seen = ((at >= 0) & (at < length))[:, None] & there[None, :]
        x = tl.load(X + b * x_b + at[:, None] * x_l + c[None, :] * x_c, seen, 0.0).to(ACC)
        if HAS_STATE:
            before = ((at < 0) & (at >= -held))[:, None] & there[None, :]
            x += tl.load(STATE + b * s_b + (at + held)[:, None] * s_l + c[None, :] * s_c, before, 0.0).to(ACC)
        acc += x * w[None, :]
    inside = (t < rows)[:, None] & there[None, :]
    tl.store(Y + b * y_b + t[:, None] * y_l + c[None, :] * y_c, acc.to(Y.dtype.element_ty), inside)


@triton.jit
def weight_kernel(
    G, X, STATE, PARTIAL,
    batch, length, channels, taps, held, dilation, share,
    g_b, g_l, g_c, x_b, x_l, x_c, s_b, s_l, s_c,
    HAS_STATE: tl.constexpr, BT: tl.constexpr, BC: tl.constexpr,
):  # fmt: skip
    """partial[p, j, c] = Σ g_t · x_{t+j·d-P} over the p-th `share` blocks of steps; p, j and c from the program."""
    ACC: tl.constexpr = tl.float64 if X.dtype.element_ty == tl.float64 else tl.float32
    program = tl.program_id(0)
    across, along = tl.cdiv(channels, BC), tl.cdiv(length, BT)
    c = (program % across).to(tl.int64) * BC + tl.arange(0, BC)
    j = program // across % taps
    part = program // across // taps
    there = c < channels
    acc = tl.zeros([BT, BC], ACC)
    for block in range(part * share, tl.minimum((part + 1) * share, batch * along)):
        b = (block // along).to(tl.int64)
        t = (block % along).to(tl.int64) * BT + tl.arange(0, BT)
        at = t + j * dilation - held
        inside = (t < length)[:, None] & there[None, :]
        g = tl.load(G + b * g_b + t[:, None] * g_l + c[None, :] * g_c, inside, 0.0).to(ACC)
        seen = inside & (at >= 0)[:, None]
        x = tl.load(X + b * x_b + at[:, None] * x_l + c[None, :] * x_c, seen, 0.0).to(ACC)
        if HAS_STATE:
            before = inside & (at < 0)[:, None]
            x += tl.load(STATE + b * s_b + (at + held)[:, None] * s_l + c[None, :] * s_c, before, 0.0).to(ACC)
        acc += g * x
    tl.store(PARTIAL + (part.to(tl.int64) * taps + j) * channels + c, tl.sum(acc, 0), there)


def conv_forward(x: Tensor, weight: Tensor, bias: Tensor | None, state: Tensor | None, dilation: int) -> Tensor:
    """y (B, L, C) from x (B, L, C), weight (C, K), bias (C,), state (B, (K-1)·dilation, C)."""
    return _convolve(x, weight, bias, state, x.shape[1], -(weight.shape[1] - 1) * dilation, dilation)


def conv_backward_input(g: Tensor, weight: Tensor, dilation: int, start: int, rows: int) -> Tensor:
    """Gradient (B, rows, C) of the steps of [state ‖ x] from `start` on."""
    return _convolve(g, weight, None, None, rows, start, -dilation)


def conv_backward_weight(g: Tensor, x: Tensor, state: Tensor | None, kernel: int, dilation: int) -> Tensor:
    """Gradient (C, K) of the weight."""
    batch, length, channels = x.shape
    steps, wide = _tile(length, channels)
    across, blocks = triton.cdiv(channels, wide), batch * triton.cdiv(length, steps)
    share = max(1, triton.cdiv(blocks * across * kernel, PROGRAMS))
    parts = triton.cdiv(blocks, share)
    partial = x.new_empty(parts, kernel, channels, dtype=_wide(x))
    if partial.numel():
        before = x if state is None else state
        weight_kernel[(across * kernel * parts,)](
            g, x, before, partial,
            batch, length, channels, kernel, (kernel - 1) * dilation, dilation, share,
            *g.stride(), *x.stride(), *before.stride(),
            HAS_STATE=state is not None, BT=steps, BC=wide,
        )  # fmt: skip
    return partial.sum(0).t().contiguous()


def _convolve(
    x: Tensor, weight: Tensor, bias: Tensor | None, state: Tensor | None, rows: int, start: int, step: int
) -> Tensor:
    batch, length, channels = x.shape
    y = x.new_empty(batch, rows, channels)
    if y.numel() == 0:
        return y
    steps, wide = _tile(rows, channels)
    before = x if state is None else state
    bias = bias if bias is None else bias.contiguous()
    conv_kernel[(triton.cdiv(channels, wide) * triton.cdiv(rows, steps) * batch,)](
        x, before, weight, weight if bias is None else bias, y,
        length, rows, channels, weight.shape[1], before.shape[1], start, step,
        *x.stride(), *before.stride(), *weight.stride(), *y.stride(),
        HAS_STATE=state is not None, HAS_BIAS=bias is not None, BT=steps, BC=wide,
    )  # fmt: skip
    return y


def _tile(rows: int, channels: int) -> tuple[int, int]:
    """Steps and channels of a program: whole cache lines of channels first, the rest in steps."""
    wide = min(64, triton.next_power_of_2(channels))
    return min(TILE // wide, triton.next_power_of_2(max(1, rows))), wide


def _wide(x: Tensor) -> torch.dtype:
    return torch.promote_types(x.dtype, torch.float32)
