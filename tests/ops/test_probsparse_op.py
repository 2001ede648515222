"""ProbSparse attention as a registered operator: gradients, compilers, memory, determinism, other dtypes."""

import math

import pytest
import torch

from forecast.ops import probsparse, selection
from forecast.ops.probsparse import probsparse_attention
from forecast.ops.selection import budget, sample_keys


def inputs(b: int, h: int, length: int, e: int, dtype: torch.dtype = torch.float64, seed: int = 0):
    g = torch.Generator().manual_seed(seed)
    return [torch.randn(b, length, h, e, generator=g, dtype=dtype).transpose(1, 2) for _ in range(3)]


def plainly(q, k, v, index, *, causal, mask, lazy):
    """The same by autograd over dense attention and a torch.where."""
    length = q.shape[2]
    scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
    visible = torch.ones(q.shape[0], 1, length, k.shape[2], dtype=torch.bool)
    if causal:
        visible = visible.tril()
    if mask is not None:
        visible = visible & mask[:, None, None]
    scores = scores.masked_fill(~visible, -1e300)
    active = scores.softmax(-1).masked_fill(~visible, 0) @ v
    weights = visible.to(q.dtype)
    idle = weights @ v
    if not (causal and lazy == "sum"):
        idle = idle / weights.sum(-1, keepdim=True).clamp(min=1)
    kept = torch.zeros(*q.shape[:2], length + 1, dtype=torch.bool).scatter_(-1, index, True)[..., :length, None]
    return torch.where(kept, active, idle)


@pytest.mark.parametrize("contiguous", [False, True])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(("causal", "rank"), [(False, "global"), (True, "global"), (True, "prefix")])
@pytest.mark.parametrize("lazy", ["sum", "mean"])
@pytest.mark.parametrize(("b", "h", "length"), [(2, 3, 37), (1, 1, 65), (5, 2, 2), (2, 1, 1)])
def test_outputs_and_gradients_are_those_of_dense_attention(
    b, h, length, lazy, causal, rank, masked, contiguous, monkeypatch
):
    monkeypatch.setattr(probsparse, "HELD_AT_ONCE", 500)  # several blocks, of heads and of rows
    q, k, v = (x.contiguous() if contiguous else x for x in inputs(b, h, length, 5))
    mask = torch.rand(b, length, generator=torch.Generator().manual_seed(4)) > 0.3 if masked else None
    u = budget(length, 2)
    sample = sample_keys(length, length, u, seed=0, layer=0, causal=rank == "prefix")
    measure = selection.sparsity(q, k, sample, mask=mask, causal=rank == "prefix")
    index = (selection.prefix_queries if rank == "prefix" else selection.top_queries)(measure, min(u, length))
    grad = torch.randn(b, length, h, 5, dtype=torch.float64).transpose(1, 2)
    results = []
    for attention in (
        lambda *x: probsparse_attention(*x, sample, u, causal=causal, mask=mask, lazy=lazy, rank=rank),
        lambda *x: plainly(*x, index, causal=causal, mask=mask, lazy=lazy),
    ):
        parts = [x.clone().requires_grad_() for x in (q, k, v)]
        out = attention(*parts)
        results.append((out, *torch.autograd.grad(out, parts, grad)))
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(("causal", "rank"), [(False, "global"), (True, "prefix")])
def test_gradcheck(causal, rank):
    q, k, v = (x.requires_grad_() for x in inputs(2, 2, 9, 3))
    sample = sample_keys(9, 9, 4, seed=0, layer=0, causal=causal)
    mask = torch.ones(2, 9, dtype=torch.bool)
    mask[1, 2:5] = False
    assert torch.autograd.gradcheck(
        lambda q, k, v: probsparse_attention(q, k, v, sample, 3, causal=causal, mask=mask, lazy="mean", rank=rank),
        (q, k, v),
    )


@pytest.mark.parametrize(("b", "h", "length", "e"), [(1, 1, 4097, 7), (64, 8, 12, 3), (1, 2, 1000, 16)])
def test_ugly_shapes(b, h, length, e):
    q, k, v = inputs(b, h, length, e)
    u = budget(length, 1)
    sample = sample_keys(length, length, u, seed=0, layer=0)
    index = selection.top_queries(selection.sparsity(q, k, sample), u)
    out = probsparse_attention(q, k, v, sample, u)
    rows = index[0, 0]
    expected = (q[0, 0, rows] @ k[0, 0].T / math.sqrt(e)).softmax(-1) @ v[0, 0]
    torch.testing.assert_close(out[0, 0, rows], expected, rtol=1e-11, atol=1e-12)
    idle = torch.ones(length, dtype=torch.bool).index_fill(0, rows, False)
    torch.testing.assert_close(out[0, 0, idle], v[0, 0].mean(0).expand(int(idle.sum()), -1), rtol=1e-11, atol=1e-12)


def test_extreme_scores_stay_finite():
    q, k, v = inputs(1, 2, 50, 8, torch.float32)
    parts = [x.mul(300 if i < 2 else 1).requires_grad_() for i, x in enumerate((q, k, v))]
    out = probsparse_attention(*parts, sample_keys(50, 50, 10, seed=0, layer=0), 10)
    out.sum().backward()
    assert out.isfinite().all()
    assert all(x.grad.isfinite().all() for x in parts)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_near_and_keeps_its_dtype(dtype):
    q, k, v = inputs(2, 2, 40, 16, torch.float32)
    sample = sample_keys(40, 40, 12, seed=0, layer=0)
    half = [x.to(dtype).requires_grad_() for x in (q, k, v)]
    out = probsparse_attention(*half, sample, 40)
    out.float().sum().backward()
    torch.testing.assert_close(out.float(), probsparse_attention(q, k, v, sample, 40), rtol=0.05, atol=0.05)
    assert {out.dtype, *(x.grad.dtype for x in half)} == {dtype}


def test_two_runs_are_equal_bit_for_bit():
    def run():
        parts = [x.requires_grad_() for x in inputs(2, 4, 60, 8, torch.float32)]
        out = probsparse_attention(*parts, sample_keys(60, 60, 12, seed=0, layer=0), 12)
        out.square().sum().backward()
        return [out, *(x.grad for x in parts)]

    assert all(a.equal(b) for a, b in zip(run(), run(), strict=True))


@pytest.mark.parametrize("rank", ["global", "prefix"])
def test_torch_accepts_the_operators(rank):
    q, k, v = inputs(2, 2, 12, 4, torch.float32)
    sample = sample_keys(12, 12, 5, seed=0, layer=0)
    mask = torch.arange(12).expand(2, -1) < torch.tensor([[12], [7]])
    causal = rank == "prefix"
    torch.library.opcheck(selection._sparsity, (q, k, sample, mask, "keys", causal))
    measure = selection.sparsity(q, k, sample, mask=mask, causal=causal)
    operator = selection._prefix_queries if causal else selection._top_queries
    torch.library.opcheck(operator, (measure, 4))
    index = operator(measure, 4)
    args = [x.detach().requires_grad_() for x in (q, k, v)]
    torch.library.opcheck(probsparse._chosen_attention, (*args, index, mask, causal, "mean"))


class Layer(torch.nn.Module):
    def __init__(self, rank: str) -> None:
        super().__init__()
        self.rank = rank
        self.register_buffer("sample", sample_keys(16, 16, 6, seed=0, layer=0))

    def forward(self, q, k, v):
        causal = self.rank == "prefix"
        return probsparse_attention(q, k, v, self.sample, 5, causal=causal, rank=self.rank)


@pytest.mark.parametrize("rank", ["global", "prefix"])
def test_it_compiles_whole_and_exports(rank):
    layer, args = Layer(rank), inputs(2, 2, 16, 4, torch.float32)
    expected = layer(*args)
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    parts = [x.clone().requires_grad_() for x in args]
    out = compiled(*parts)
    torch.testing.assert_close(out, expected)
    out.sum().backward()
    again = [x.clone().requires_grad_() for x in args]
    layer(*again).sum().backward()
    for a, b in zip(parts, again, strict=True):
        torch.testing.assert_close(a.grad, b.grad)
    torch.testing.assert_close(torch.export.export(layer, tuple(args)).module()(*args), expected)


def test_memory_grows_with_length_not_with_its_square():
    """Numbers held by forward and backward at once, counted by torch's own profiler."""

    def held(length: int) -> float:
        parts = [x.requires_grad_() for x in inputs(1, 1, length, 16, torch.float32)]
        u = budget(length, 2)
        sample = sample_keys(length, length, u, seed=0, layer=0)
        with torch.profiler.profile(profile_memory=True) as profile:
            probsparse_attention(*parts, sample, u).sum().backward()
        level = peak = 0
        for event in profile.profiler.kineto_results.events():
            if event.name() == "[memory]":
                level += event.nbytes()
                peak = max(peak, level)
        return peak / length

    assert held(32768) < 1.3 * held(8192)


def test_autocast_changes_nothing_within():
    """Inputs come in as projections under autocast leave them; inside, the operator keeps its own precision."""
    sample = sample_keys(40, 40, 12, seed=0, layer=0)
    results = []
    for on in (False, True):
        parts = [x.bfloat16().requires_grad_() for x in inputs(2, 2, 40, 16, torch.float32)]
        with torch.autocast("cpu", torch.bfloat16, enabled=on):
            out = probsparse_attention(*parts, sample, 12)
            out.float().square().sum().backward()
        results.append([out, *(x.grad for x in parts)])
    assert all(a.equal(b) for a, b in zip(*results, strict=True))
