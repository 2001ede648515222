"""What `forecast.kernels.bench` times: every operator, its inputs, and what others would run instead."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from forecast import ops
from forecast.kernels import rivals
from forecast.ops import selection

HEADS, WIDTH, FACTOR = 8, 64, 5
CHUNK, KERNEL, DILATION = 128, 17, 64

Call = Callable[..., Tensor]


class Op(NamedTuple):
    """inputs(batch, length, dtype, device) are differentiated where they require grad; ours and rivals take them."""

    inputs: Callable[[int, int, torch.dtype, str], list[Tensor]]
    ours: Call
    rivals: dict[str, Call]
    exact: tuple[str, ...] = ()  # the rivals that compute the same thing
    gradient: bool = True
    chooses: bool = False
    batch: dict[int, int] = {96: 32, 336: 8, 720: 8, 1440: 2}  # rows on a CPU by length, else 1


def _heads(batch: int, length: int, dtype: torch.dtype, device: str, count: int = 3) -> list[Tensor]:
    """(B, H, L, E) as projections leave it: views of (B, L, H, E)."""
    g = torch.Generator(device).manual_seed(0)
    shape = (batch, length, HEADS, WIDTH)
    made = (torch.randn(shape, generator=g, device=device).to(dtype).transpose(1, 2) for _ in range(count))
    return [x.requires_grad_() for x in made]


def _sample(length: int) -> Tensor:
    return selection.sample_keys(length, length, selection.budget(length, FACTOR), seed=0, layer=0)


def _with_sample(batch: int, length: int, dtype: torch.dtype, device: str) -> list[Tensor]:
    return [*_heads(batch, length, dtype, device), _sample(length).to(device)]


def _measures(batch: int, length: int, dtype: torch.dtype, device: str) -> list[Tensor]:
    return [torch.randn(batch, HEADS, length, generator=torch.Generator(device).manual_seed(0), device=device)]


def _scores(batch: int, length: int, dtype: torch.dtype, device: str) -> list[Tensor]:
    scores, values = _heads(batch, length, dtype, device, 2)
    return [scores.detach()[..., 0].float().contiguous().requires_grad_(), values]


def _taps(batch: int, length: int, dtype: torch.dtype, device: str) -> list[Tensor]:
    g = torch.Generator(device).manual_seed(0)
    shapes = ((batch, length, HEADS * WIDTH), (HEADS * WIDTH, KERNEL))
    return [torch.randn(s, generator=g, device=device).to(dtype).requires_grad_() for s in shapes]


def _u(length: int) -> int:
    return selection.budget(length, FACTOR)


OPS: dict[str, Op] = {
    "probsparse": Op(
        _with_sample,
        lambda q, k, v, sample: ops.probsparse_attention(q, k, v, sample, _u(q.shape[2])),
        {
            "published": lambda q, k, v, sample: rivals.published_probsparse(q, k, v, sample, _u(q.shape[2])),
            "full attention": lambda q, k, v, sample: F.scaled_dot_product_attention(q, k, v),
        },
        exact=("published",),
        chooses=True,
    ),
    "probsparse by prefix": Op(
        _with_sample,
        lambda q, k, v, sample: ops.probsparse_attention(
            q, k, v, sample, _u(q.shape[2]), causal=True, lazy="mean", rank="prefix"
        ),
        {"full attention": lambda q, k, v, sample: F.scaled_dot_product_attention(q, k, v, is_causal=True)},
        chooses=True,
    ),
    "measure": Op(
        _with_sample,
        lambda q, k, v, sample: ops.sparsity(q, k, sample),
        {"published": lambda q, k, v, sample: rivals.published_sparsity(q, k, sample)},
        exact=("published",),
        gradient=False,
    ),
    "top": Op(
        _measures,
        lambda m: ops.top_queries(m, _u(m.shape[2])),
        {"torch.topk": lambda m: m.topk(_u(m.shape[2]), -1, sorted=False).indices},
        gradient=False,
    ),
    "scan": Op(
        _scores,
        lambda s, v: ops.prefix_attention(s, v)[0],
        {"Hillis-Steele": rivals.hillis_steele, "copy of v": lambda s, v: v.detach().clone()},
        exact=("Hillis-Steele",),
        batch={96: 32, 336: 32, 720: 32, 1440: 8},
    ),
    "dilated conv": Op(
        _taps,
        lambda x, w: ops.dilated_conv(x, w, dilation=DILATION)[0],
        {
            "FFT conv, length L": lambda x, w: ops.fft_conv(x, F.pad(w, (0, max(0, x.shape[1] - KERNEL)))),
            "conv1d": lambda x, w: F.conv1d(
                F.pad(x.transpose(1, 2), ((KERNEL - 1) * DILATION, 0)), w[:, None], dilation=DILATION, groups=len(w)
            ).transpose(1, 2),
        },
        exact=("conv1d",),
    ),
    "chunk attention": Op(
        _heads,
        lambda q, k, v: ops.chunk_attention(q, k, v, CHUNK),
        {"full attention": lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True)},
    ),
}
