"""Chunk attention against a masked softmax over everything, in float64."""

import math

import pytest
import torch
from torch import Tensor

from forecast.ops.chunk import chunk_attention


def made(b: int, h: int, length: int, e: int = 4, e_v: int = 3, dtype=torch.float64, seed: int = 0) -> list[Tensor]:
    g = torch.Generator().manual_seed(seed)
    return [torch.randn(b, h, length, w, generator=g, dtype=torch.float64).to(dtype) for w in (e, e, e_v)]


def by_the_softmax(q, k, v, chunk, mask=None, bias=None, scale=None):
    """All L × L scores; where no key is seen, nothing."""
    length = q.shape[2]
    scores = q.double() @ k.double().transpose(-1, -2) * (1 / math.sqrt(q.shape[-1]) if scale is None else scale)
    at = torch.arange(length)
    if bias is not None:
        scores = scores + bias.double()[:, at % chunk][:, :, at % chunk]
    seen = (at[:, None] >= at) & (at[:, None] // chunk == at // chunk)
    if mask is not None:
        seen = seen & mask[:, None, None, :]
    weight = torch.where(seen, scores, -torch.inf).exp() / torch.where(seen, scores.exp(), 0).sum(-1, keepdim=True)
    return torch.where(seen, weight, 0).nan_to_num() @ v.double()


def hidden(b: int, length: int, seed: int = 1) -> Tensor:
    """A mask with a hidden beginning, so that some queries see no key, and holes."""
    mask = torch.rand(b, length, generator=torch.Generator().manual_seed(seed)) > 0.3
    mask[:, : 1 + length // 3] = False
    return mask


@pytest.mark.parametrize("dtype, within", [(torch.float64, 1e-12), (torch.float32, 1e-5), (torch.bfloat16, 5e-2)])
@pytest.mark.parametrize("length, chunk", [(1, 1), (1, 5), (2, 1), (63, 64), (64, 64), (65, 64), (130, 32), (97, 8)])
def test_is_a_masked_softmax(length, chunk, dtype, within):
    q, k, v = made(2, 3, length, dtype=dtype)
    mask = hidden(2, length)
    some = torch.randn(3, chunk, chunk, dtype=dtype)
    for seen, bias, scale in ((None, None, None), (mask, None, None), (None, some, 0.7), (mask, some[:1], None)):
        got = chunk_attention(q, k, v, chunk, mask=seen, bias=bias, scale=scale)
        want = by_the_softmax(q, k, v, chunk, seen, bias, scale)
        assert got.dtype == dtype and got.shape == (2, 3, length, 3)
        assert (got.double() - want).abs().max() <= within


@pytest.mark.parametrize("b, h, length, chunk", [(1, 1, 4097, 64), (1, 1, 1000, 300), (64, 8, 65, 16)])
def test_long_and_many(b, h, length, chunk):
    q, k, v = made(b, h, length, 2, 2)
    # Chunk by chunk: the L × L scores of the other reference would be large.
    parts = [by_the_softmax(*(x[:, :, at : at + chunk] for x in (q, k, v)), chunk) for at in range(0, length, chunk)]
    assert (chunk_attention(q, k, v, chunk) - torch.cat(parts, 2)).abs().max() <= 1e-12


@pytest.mark.parametrize("chunk", [7, 64, 65, 10_000])
def test_one_chunk_is_full_causal_attention(chunk):
    q, k, v = made(2, 2, 7, 4, 4)
    want = torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
    assert torch.equal(chunk_attention(q, k, v, chunk), want)


@pytest.mark.parametrize("with_bias", [False, True])
@pytest.mark.parametrize("with_mask", [False, True])
def test_gradients(with_mask, with_bias):
    parts = [part.requires_grad_() for part in made(2, 2, 11)]
    mask = hidden(2, 11) if with_mask else None
    bias = torch.randn(2, 4, 4, dtype=torch.float64, requires_grad=True) if with_bias else None

    def run(q, k, v, bias):
        return chunk_attention(q, k, v, 4, mask=mask, bias=bias)

    assert torch.autograd.gradcheck(run, (*parts, bias))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("with_bias", [False, True])
def test_who_sees_no_key_gets_nothing(dtype, with_bias):
    q, k, v = (part.requires_grad_() for part in made(2, 2, 19, dtype=dtype))
    mask = torch.zeros(2, 19, dtype=torch.bool)
    mask[1, 2] = mask[1, 18] = True
    bias = torch.randn(2, 8, 8, requires_grad=True) if with_bias else None
    out = chunk_attention(q, k, v, 8, mask=mask, bias=bias)
    sees = torch.zeros(2, 19, dtype=torch.bool)
    sees[1, 2:8] = sees[1, 18] = True
    assert not out.transpose(1, 2)[~sees].any() and out.transpose(1, 2)[sees].any()
    out.sum().backward()
    assert all(part.grad.isfinite().all() for part in (q, k, v) + ((bias,) if with_bias else ()))
    assert not v.grad.transpose(1, 2)[~mask].any() and v.grad.transpose(1, 2)[mask].all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("with_mask", [False, True])
def test_the_past_does_not_see_the_future_nor_other_chunks(with_mask, dtype):
    parts = made(2, 2, 150, dtype=dtype)
    mask = hidden(2, 150) if with_mask else None
    out = chunk_attention(*parts, 64, mask=mask)
    for cut in (1, 63, 64, 100, 149):
        edited = [part.clone() for part in parts]
        for part in edited:
            part[:, :, cut:] = 1e3
        assert torch.equal(chunk_attention(*edited, 64, mask=mask)[:, :, :cut], out[:, :, :cut])
    edited = [torch.cat([7 * part[:, :, :64], part[:, :, 64:]], 2) for part in parts]
    assert torch.equal(chunk_attention(*edited, 64, mask=mask)[:, :, 64:], out[:, :, 64:])


def test_any_strides_and_twice_the_same():
    parts = made(2, 3, 37, dtype=torch.float32)
    views = [part.transpose(1, 2).contiguous().transpose(1, 2) for part in parts]  # as heads come from a projection
    outs = []
    for each in (parts, views, parts):
        each = [part.detach().requires_grad_() for part in each]
        out = chunk_attention(*each, 8)
        outs.append((out, *torch.autograd.grad(out.square().sum(), each)))
    for out in outs[1:]:
        assert all(torch.equal(a, b) for a, b in zip(out, outs[0], strict=True))


def test_memory_grows_with_the_chunk_not_the_length():
    """A masked, biased call would need 2^34 scores of float32 over all steps, 64 GiB."""
    q, k, v = made(1, 1, 1 << 17, 2, 2, torch.float32)
    out = chunk_attention(q, k, v, 32, mask=torch.ones(1, 1 << 17, dtype=torch.bool), bias=torch.zeros(1, 32, 32))
    torch.testing.assert_close(out, chunk_attention(q, k, v, 32))


def test_no_steps_no_rows():
    assert chunk_attention(*made(2, 3, 0), 4).shape == (2, 3, 0, 3)
    assert chunk_attention(*made(0, 3, 9), 4).shape == (0, 3, 9, 3)


def test_refuses():
    parts = made(1, 2, 9)
    with pytest.raises(ValueError, match="chunk is 0; expected at least 1"):
        chunk_attention(*parts, 0)
    with pytest.raises(ValueError, match="expected \\(H or 1, chunk, chunk\\) with chunk = 4"):
        chunk_attention(*parts, 4, bias=torch.zeros(2, 3, 3))


def test_compiles_and_exports():
    class Block(torch.nn.Module):
        def forward(self, q, k, v, mask, bias):
            return chunk_attention(q, k, v, 8, mask=mask, bias=bias)

    parts = [part.requires_grad_() for part in made(2, 2, 21, dtype=torch.float32)]
    rest = (hidden(2, 21), torch.randn(2, 8, 8))
    want = Block()(*parts, *rest)
    got = torch.compile(Block(), fullgraph=True, backend="aot_eager")(*parts, *rest)
    assert torch.equal(got, want)
    up = torch.randn_like(want.detach())
    grads = [torch.autograd.grad(out, parts, up) for out in (got, want)]
    assert all(torch.equal(a, b) for a, b in zip(*grads, strict=True))
    exported = torch.export.export(Block(), (*parts, *rest)).module()
    assert torch.equal(exported(*parts, *rest), want)
