"""Depthwise dilated causal convolution, the layer of TCNCA (Terzic et al. 2023, arXiv 2312.05605), and its FFT rival.

    y_t = Σ_j weight[:, j] · x_{t - (K-1-j)·dilation} + bias,      j = 0 … K-1

Steps before the first come from `state`, the (K-1)·dilation inputs before x; without one they are zero.

On a CPU an input (B, L, C) is read as L/d rows of d steps, so that a dilated convolution over time becomes a plain one
over rows, which oneDNN computes in registers with channels last; on strided time it is up to ten times slower, and one
group of channels after the other it is slower still. Rows only regroup the memory, nothing is moved.

Shapes: B rows, L steps, C channels, K taps, d dilation, P = (K-1)·d; x and y (B, L, C), weight (C, K), state (B, P, C).
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.nn.functional import conv2d, pad
from torch.nn.grad import conv2d_weight

from forecast.ops.dispatch import pick, run

# Inputs taken at once (4 MiB fp32): a block and its output stay in cache, and below malloc's own limit for fresh pages,
# which at L = 131072 cost more than the convolution.
HELD_AT_ONCE = 1 << 20
UNFOLDED_UNTIL = 2  # dilation; up to here oneDNN is faster on time itself than on rows of d steps (measured)


def receptive_field(kernel: int, dilations: Sequence[int]) -> int:
    """Steps that the last output of a stack of layers sees, itself included."""
    return 1 + sum((kernel - 1) * d for d in dilations)


def dilated_conv(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    dilation: int,
    state: Tensor | None = None,
    carry: bool = True,
) -> tuple[Tensor, Tensor]:
    """y (B, L, C) and the state after it: the last P inputs of [state ‖ x]. Any split of x gives the same two.

    Sums are float32 at least; y and the state have the dtype of x. Without `carry` the state is (B, 0, C): where
    nothing follows, copying P steps may cost more than the convolution of L.
    """
    if x.dim() != 3 or weight.dim() != 2 or weight.shape[0] != x.shape[2] or weight.shape[1] < 1:
        raise ValueError(f"x {tuple(x.shape)} and weight {tuple(weight.shape)}; expected (B, L, C) and (C, K)")
    if dilation < 1:
        raise ValueError(f"dilation is {dilation}; expected at least 1")
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ValueError(f"bias {tuple(bias.shape)}; expected (C,) = {tuple(weight.shape[:1])}")
    held = (x.shape[0], (weight.shape[1] - 1) * dilation, x.shape[2])
    if state is not None and (state.shape != held or state.dtype != x.dtype):
        raise ValueError(
            f"state {tuple(state.shape)} {state.dtype}; expected (B, (K-1)·dilation, C) = {held} {x.dtype}"
        )
    if x.shape[1] == 1 and state is not None and not carry and x.device.type == "cpu" and not torch.is_grad_enabled():
        return _step(x, weight, bias, state, dilation), x.new_empty(x.shape[0], 0, x.shape[2])
    return _conv(x, weight, bias, state, dilation, carry)


def _step(x: Tensor, weight: Tensor, bias: Tensor | None, state: Tensor, dilation: int) -> Tensor:
    """One step of a stream, tap by tap: a few plain calls, and a graph that any runtime can take."""
    wide = torch.promote_types(x.dtype, torch.float32)
    taps = weight.to(wide).t().contiguous()  # (K, C)
    y = x.to(wide) * taps[-1] if bias is None else torch.addcmul(bias.to(wide), x.to(wide), taps[-1])
    for j in range(len(taps) - 1):
        y = torch.addcmul(y, state[:, j * dilation : j * dilation + 1].to(wide), taps[j])
    return y.to(x.dtype)


def fft_conv(x: Tensor, kernel: Tensor) -> Tensor:
    """y_t = Σ_{s ≤ t} kernel[:, s] · x_{t-s} by FFT in O(L log L), kernel (C, L') real: the path TCNCA replaces.

    Float32 at least; y has the dtype of x. Padded to 2L, so that nothing wraps around.
    """
    length = x.shape[1]
    if length == 0:
        return x.clone()
    wide = torch.promote_types(x.dtype, torch.float32)
    signal = torch.fft.rfft(x.transpose(1, 2).to(wide), n=2 * length)
    response = torch.fft.rfft(kernel[:, :length].to(wide), n=2 * length)
    y = torch.fft.irfft(signal * response, n=2 * length)[..., :length]
    return y.transpose(1, 2).to(x.dtype)


# The operator ---------------------------------------------------------------------------------------------------------


@torch.library.custom_op("forecast::dilated_conv", mutates_args=())
def _conv(
    x: Tensor, weight: Tensor, bias: Tensor | None, state: Tensor | None, dilation: int, carry: bool
) -> tuple[Tensor, Tensor]:
    felt = weight if state is not None else weight[:, -_reaching(weight, x.shape[1], dilation) :]
    y = run(conv_forward, x, x, felt, bias, state, dilation)
    if not carry:
        return y, x.new_empty(x.shape[0], 0, x.shape[2])
    held = (weight.shape[1] - 1) * dilation
    before = _blank(x, held) if state is None else state
    after = _window([before, x], slice(None), x.shape[1], x.shape[1] + held)
    return y, after.clone(memory_format=torch.contiguous_format)  # its own memory: it outlives x in a stream


@_conv.register_fake
def _(
    x: Tensor, weight: Tensor, bias: Tensor | None, state: Tensor | None, dilation: int, carry: bool
) -> tuple[Tensor, Tensor]:
    return x.new_empty(x.shape), x.new_empty(x.shape[0], (weight.shape[1] - 1) * dilation if carry else 0, x.shape[2])


def _reaching(weight: Tensor, length: int, dilation: int) -> int:
    """How many of the newest taps reach a step of x at all; the others see the steps before it and nothing else.

    Two at least: one alone would not take oneDNN's path, which is free to add the bias at another place of the sum.
    """
    return min(weight.shape[1], max(2, 1 + max(0, length - 1) // dilation))


@torch.library.custom_op("forecast::dilated_conv_backward", mutates_args=())
def _conv_backward(
    g: Tensor,
    g_after: Tensor | None,
    x: Tensor,
    weight: Tensor,
    state: Tensor | None,
    dilation: int,
    needed: list[bool],
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients for x, weight and state, the unneeded ones empty; g of y, g_after of the outgoing state."""
    length, held = x.shape[1], (weight.shape[1] - 1) * dilation
    through, near = pick(conv_backward_input, x), _reaching(weight, x.shape[1], dilation)
    dx, dw, ds = (x.new_empty(0) for _ in range(3))
    if needed[0]:
        dx = through(g, weight[:, -near:], dilation, (near - 1) * dilation, length)
    if needed[1]:
        felt = weight.shape[1] if state is not None else near
        dw = run(conv_backward_weight, x, g, x, state, felt, dilation).to(weight.dtype)
        dw = pad(dw, (weight.shape[1] - felt, 0))
    if needed[2]:
        ds = through(g, weight, dilation, 0, held)
    if g_after is not None and g_after.numel():  # the outgoing state is the last P steps of [state ‖ x]
        kept = max(0, held - length)
        if needed[0]:
            dx[:, length - (held - kept) :] += g_after[:, kept:]
        if needed[2]:
            ds[:, held - kept :] += g_after[:, :kept]
    return dx, dw, ds


@_conv_backward.register_fake
def _(
    g: Tensor,
    g_after: Tensor | None,
    x: Tensor,
    weight: Tensor,
    state: Tensor | None,
    dilation: int,
    needed: list[bool],
) -> tuple[Tensor, Tensor, Tensor]:
    dx = x.new_empty(x.shape if needed[0] else 0)
    dw = weight.new_empty(weight.shape) if needed[1] else x.new_empty(0)
    return dx, dw, x.new_empty((x.shape[0], (weight.shape[1] - 1) * dilation, x.shape[2]) if needed[2] else 0)


def _keep(ctx, inputs, output) -> None:  # type: ignore[no-untyped-def]
    x, weight, _, state, dilation, _ = inputs
    ctx.save_for_backward(x, weight, state)
    ctx.dilation = dilation
    ctx.set_materialize_grads(False)


def _back(ctx, g: Tensor | None, g_after: Tensor | None):  # type: ignore[no-untyped-def]
    x, weight, state = ctx.saved_tensors
    if g is None:
        g = torch.zeros_like(x)
    need_x, need_weight, need_bias, need_state, *_ = ctx.needs_input_grad
    needed = [need_x, need_weight, need_state]
    grads = _conv_backward(g, g_after, x, weight, state, ctx.dilation, needed)
    dx, dw, ds = (grad if wanted else None for grad, wanted in zip(grads, needed, strict=True))
    db = g.sum((0, 1), dtype=torch.promote_types(g.dtype, torch.float32)).to(weight.dtype) if need_bias else None
    return dx, dw, db, ds, None, None


_conv.register_autograd(_back, setup_context=_keep)


# The reference, each function the twin of one in kernels/tcn.py -------------------------------------------------------


def conv_forward(x: Tensor, weight: Tensor, bias: Tensor | None, state: Tensor | None, dilation: int) -> Tensor:
    """y (B, L, C)."""
    before = _blank(x, (weight.shape[1] - 1) * dilation) if state is None else state
    return _correlate([before, x], weight, bias, dilation, 0, x.shape[1])


def conv_backward_input(g: Tensor, weight: Tensor, dilation: int, start: int, rows: int) -> Tensor:
    """Gradient (B, rows, C) of the steps of [state ‖ x] from `start` on: the same convolution, mirrored."""
    ahead = _blank(g, (weight.shape[1] - 1) * dilation)
    return _correlate([ahead, g], weight.flip(1), None, dilation, start, rows)


def conv_backward_weight(g: Tensor, x: Tensor, state: Tensor | None, kernel: int, dilation: int) -> Tensor:
    """Gradient (C, K) of the weight, float32 at least."""
    held, wide = (kernel - 1) * dilation, torch.promote_types(x.dtype, torch.float32)
    parts = [_blank(x, held) if state is None else state, x]
    total = x.new_zeros(x.shape[2], kernel, dtype=wide)
    for batch, at, count in _blocks(x.shape[0], x.shape[1], x.shape[2], held, dilation):
        if _by_onednn(x, kernel):
            width, rows = min(dilation, count), -(-count // dilation)
            folded = _folded(parts, batch, at, rows + kernel - 1, width, dilation).to(wide)
            up = _folded([g[:, : at + count]], batch, at, rows, width, dilation).to(wide)
            shape = (x.shape[2], 1, kernel, 1)
            total += conv2d_weight(folded, shape, up, groups=x.shape[2]).view_as(total)
        else:
            seen = _window(parts, batch, at, at + held + count).to(wide)
            up = g[batch, at : at + count].to(wide)
            for j in range(kernel):
                total[:, j] += (seen[:, j * dilation : j * dilation + count] * up).sum((0, 1))
    return total


def _correlate(
    parts: Sequence[Tensor], weight: Tensor, bias: Tensor | None, dilation: int, start: int, length: int
) -> Tensor:
    """y_t = Σ_j weight[:, j] · z_{start+t+j·d} + bias, t < length; z is the parts laid end to end, then zeros."""
    like = parts[-1]
    kernel, wide = weight.shape[1], torch.promote_types(like.dtype, torch.float32)
    weight, bias = weight.to(wide), None if bias is None else bias.to(wide)
    shape = (like.shape[0], length, like.shape[2])
    blocks = list(_blocks(*shape, (kernel - 1) * dilation, dilation))
    block = _rows_conv if _by_onednn(like, kernel) else _taps
    if len(blocks) == 1:  # no copy of it, but the strides that new_empty gives
        y = block(parts, slice(None), start, length, weight, bias, dilation)
        return y.to(like.dtype).flatten().view(shape)
    y = like.new_empty(shape)
    for batch, at, count in blocks:
        y[batch, at : at + count] = block(parts, batch, start + at, count, weight, bias, dilation)
    return y


def _by_onednn(x: Tensor, kernel: int) -> bool:
    """Where torch has a depthwise convolution worth having; elsewhere taps are summed one by one."""
    mkldnn = torch.backends.mkldnn
    fit = x.device.type == "cpu" and x.dtype != torch.float64 and x.shape[2] > 1 and kernel > 1
    return fit and mkldnn.is_available() and bool(mkldnn.enabled)


def _rows_conv(
    parts: Sequence[Tensor], batch: slice, at: int, count: int, weight: Tensor, bias: Tensor | None, dilation: int
) -> Tensor:
    channels, kernel = weight.shape
    if dilation <= UNFOLDED_UNTIL:
        z = _window(parts, batch, at, at + (kernel - 1) * dilation + count)[:, None].permute(0, 3, 1, 2)  # (B, C, 1, .)
        z = z.to(weight.dtype).contiguous(memory_format=torch.channels_last)
        y = conv2d(z, weight[:, None, None], bias, dilation=(1, dilation), groups=channels)
    else:
        width, rows = min(dilation, count), -(-count // dilation)
        z = _folded(parts, batch, at, rows + kernel - 1, width, dilation).to(weight.dtype)
        y = conv2d(z, weight[:, None, :, None], bias, groups=channels)
    return y.permute(0, 2, 3, 1).flatten(1, 2)[:, :count]


def _taps(
    parts: Sequence[Tensor], batch: slice, at: int, count: int, weight: Tensor, bias: Tensor | None, dilation: int
) -> Tensor:
    z = _window(parts, batch, at, at + (weight.shape[1] - 1) * dilation + count).to(weight.dtype)
    y = z[:, :count] * weight[:, 0]
    for j in range(1, weight.shape[1]):
        y.addcmul_(z[:, j * dilation : j * dilation + count], weight[:, j])
    return y if bias is None else y.add_(bias)


def _blocks(b: int, length: int, channels: int, held: int, dilation: int) -> Iterator[tuple[slice, int, int]]:
    """(rows of the batch, first step, steps) of blocks of about HELD_AT_ONCE inputs, in order."""
    steps = max(HELD_AT_ONCE // max(1, channels), 4 * held)  # each block reads P steps anew
    steps = -(-steps // dilation) * dilation
    rows = max(1, steps // max(1, length))
    for first in range(0, b, rows):
        for at in range(0, length, steps):
            yield slice(first, first + rows), at, min(steps, length - at)


def _folded(parts: Sequence[Tensor], batch: slice, at: int, rows: int, width: int, dilation: int) -> Tensor:
    """(B, C, rows, width), channels last in memory: row i is `width` steps from at + i·d on."""
    if width == dilation:
        z = _window(parts, batch, at, at + rows * dilation).unflatten(1, (rows, dilation))
    else:  # fewer steps than the dilation: one output per phase, and no need for the steps between
        firsts = range(at, at + rows * dilation, dilation)
        z = torch.stack([_window(parts, batch, first, first + width) for first in firsts], 1)
    return z.permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)


def _window(parts: Sequence[Tensor], batch: slice, first: int, last: int) -> Tensor:
    """Steps first..last of the parts laid end to end, zero after them; a view where one part holds them all."""
    found, at = [], 0
    for part in parts:
        lo, hi = max(first - at, 0), min(last - at, part.shape[1])
        if lo < hi:
            found.append(part[batch, lo:hi])
        at += part.shape[1]
    missing = last - max(first, at)
    if missing > 0 or not found:
        found.append(_blank(parts[-1][batch], max(0, missing)))
    return found[0] if len(found) == 1 else torch.cat(found, 1)


def _blank(like: Tensor, steps: int) -> Tensor:
    """Zeros (B, steps, C) without memory."""
    return like.new_zeros(()).expand(like.shape[0], steps, like.shape[2])
