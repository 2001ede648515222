"""MEGA's multi-dimensional damped moving average (Ma et al. 2022, arXiv 2209.10655, §3.1), what TCNCA replaces.

    p = σ(delta),  q = 1 - p·σ(alpha)                                  N components for each of D channels
    h_t = q·h_{t-1} + p·beta·x_t,   y_t = Σ_n gamma_n/√N · h_{t,n},    out_t = SiLU(y_t + omega·x_t)
    y = k * x,   k_l = Σ_n p·beta·gamma/√N · q^l                       the same as a convolution

Three forms. Training over a whole window takes k by FFT, O(L log L). An FFT rounds every output with all inputs, later
ones too, by 1e-7 of the largest; a forecast must not depend on what comes later by even that, so evaluation and streams
go block by block: k as a triangular matrix inside a block, h between blocks. A step is a block of one: the recurrence.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from forecast.ops import fft_conv

BLOCK = 64  # steps; a matrix of D·64² numbers


class EMA(nn.Module):
    """(B, L, D) -> (B, L, D)."""

    def __init__(self, d_model: int, *, states: int = 16) -> None:
        if states < 1:
            raise ValueError(f"model.states is {states}; expected at least 1 component per channel")
        super().__init__()
        signs = torch.ones(states)
        signs[1::2] = -1
        self.delta = nn.Parameter(0.2 * torch.randn(d_model, states))
        self.alpha = nn.Parameter(0.2 * torch.randn(d_model, states))
        self.beta = nn.Parameter(0.02 * torch.randn(d_model, states) + signs)
        self.gamma = nn.Parameter(torch.randn(d_model, states))
        self.omega = nn.Parameter(torch.randn(d_model))

    def start(self, like: Tensor) -> tuple[Tensor, ...]:
        """h before the first step, (B, D, N); like (B, D) says where and how precise."""
        return (like.new_zeros(like.shape[0], *self.beta.shape),)

    def forward(
        self, x: Tensor, state: tuple[Tensor, ...] | None = None, count: Tensor | None = None
    ) -> tuple[Tensor, tuple[Tensor, ...] | None]:
        """x (B, l, D), state (h,) -> out and h after the first `count` (B,) steps of each row.

        Without a state x is the beginning and nothing follows: no state is made.
        """
        with torch.autocast(x.device.type, enabled=False):  # powers of q near 1 need their digits
            if state is None and self.training:
                y, after = fft_conv(x, self.kernel(x.shape[1])), None
            else:
                wide = torch.promote_types(x.dtype, torch.float32)
                h = self.start(x[:, 0].to(wide))[0] if state is None else state[0]
                y, h = self.blockwise(x, h, count)
                after = None if state is None else (h,)
            return F.silu(y + self.omega * x).to(x.dtype), after

    def coefficients(self) -> tuple[Tensor, Tensor, Tensor]:
        """log q, p·beta and gamma/√N, each (D, N), float32 at least."""
        wide = torch.promote_types(self.delta.dtype, torch.float32)
        delta, alpha, beta, gamma = (part.to(wide) for part in (self.delta, self.alpha, self.beta, self.gamma))
        p = delta.sigmoid()
        return torch.log1p(-p * alpha.sigmoid()), p * beta, gamma * gamma.shape[1] ** -0.5

    def kernel(self, length: int) -> Tensor:
        """k (D, L)."""
        log_q, into, out = self.coefficients()
        lags = torch.arange(length, device=log_q.device, dtype=log_q.dtype)
        return torch.einsum("dn,dnl->dl", into * out, (log_q[..., None] * lags).exp())

    def blockwise(self, x: Tensor, h: Tensor, count: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """y (B, l, D) and h (B, D, N) after the first `count` steps of each row; exactly causal."""
        log_q, into, out = self.coefficients()
        size = min(BLOCK, x.shape[1])
        lags = torch.arange(size + 1, device=x.device, dtype=log_q.dtype)
        powers = (log_q[..., None] * lags).exp()  # (D, N, size + 1): q^0 … q^size
        k = torch.einsum("dn,dnl->dl", into * out, powers[..., :-1])
        lag = lags[:-1, None].long() - lags[:-1].long()
        inner = k[:, lag.clamp(min=0)].masked_fill(lag < 0, 0.0)  # (D, size, size)
        found = []
        for first in range(0, x.shape[1], size):
            part = x[:, first : first + size].to(h.dtype)
            length = part.shape[1]
            y = torch.einsum("dts,bsd->btd", inner[:, :length, :length].to(h.dtype), part)
            found.append(y + torch.einsum("bdn,dnt->btd", h * out, powers[..., 1 : length + 1]))
            here = None if count is None else (count - first).clamp(0, length)
            h = self._onward(part, h, here, into, powers)
        return torch.cat(found, 1).to(x.dtype), h

    def _onward(self, x: Tensor, h: Tensor, count: Tensor | None, into: Tensor, powers: Tensor) -> Tensor:
        """h after one block; count 0 leaves it bit for bit: 1·h + 0."""
        length = x.shape[1]
        if count is None:
            faded = powers[..., length] * h
        else:
            faded = powers.permute(2, 0, 1)[count] * h
            # Rows of different length, moved to end together: then the powers are those of one table.
            index = torch.arange(length, device=x.device) - (length - count)[:, None]
            x = x.gather(1, index.clamp(min=0)[..., None].expand_as(x)).masked_fill(index[..., None] < 0, 0.0)
        return faded + into * torch.einsum("bld,dnl->bdn", x, powers[..., :length].flip(-1))
