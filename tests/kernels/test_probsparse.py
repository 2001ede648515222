"""ProbSparse attention's kernels, against their reference in float64."""

import inspect

import pytest
import torch

from forecast.kernels import probsparse as kernels
from forecast.kernels import probsparse_backward as backward
from forecast.kernels import selection as choosers
from forecast.ops import probsparse as ops
from forecast.ops import selection
from tests.kernels.aot import Spec, compile_all

WITHIN = {torch.float32: 2e-5, torch.bfloat16: 4e-2, torch.float16: 6e-3}


def parts(b, h, l_q, l_k, e, *, dtype=torch.float32, strided=True):
    g = torch.Generator().manual_seed(0)
    made = [torch.randn(b, n, h, e, generator=g).transpose(1, 2) for n in (l_q, l_k, l_k, l_q)]
    return [x.to(dtype) if strided else x.to(dtype).contiguous() for x in made]


def chosen(q, k, u, *, causal, rank, mask):
    l_q, l_k = q.shape[2], k.shape[2]
    if u >= l_q:
        return torch.arange(l_q).expand(*q.shape[:2], -1)
    sample = selection.sample_keys(l_q, l_k, min(8, l_k), seed=0, layer=0, causal=rank == "prefix")
    measure = selection.sparsity(q.float(), k.float(), sample, mask=mask, causal=rank == "prefix")
    return selection.prefix_queries(measure, u) if rank == "prefix" else selection.top_queries(measure, u)


def check(
    device, b, h, l_q, l_k, e, u, *, causal, lazy, rank="global", masked=False, dtype=torch.float32, strided=True
):
    q, k, v, g = parts(b, h, l_q, l_k, e, dtype=dtype, strided=strided)
    mask = None
    if masked:
        mask = torch.rand(b, l_k, generator=torch.Generator().manual_seed(1)) > 0.3
        mask[0, : l_k // 2] = False  # so that early causal queries see no key at all
    index = chosen(q, k, u, causal=causal, rank=rank, mask=mask)
    double = [x.double() for x in (q, k, v)]
    out, lse = ops.chosen_attention(*double, index, mask, causal, lazy)
    expected = [out, *ops.chosen_attention_backward(g.double(), *double, index, mask, out, lse, causal, lazy)]
    here = [x.to(device) for x in (q, k, v)]
    index, mask, g = index.to(device), None if mask is None else mask.to(device), g.to(device)
    runs = []
    for _ in range(2):
        out, lse = kernels.chosen_attention(*here, index, mask, causal, lazy)
        runs.append([out, *kernels.chosen_attention_backward(g, *here, index, mask, out, lse, causal, lazy)])
    for name, ours, again, theirs in zip(("out", "dq", "dk", "dv"), *runs, expected, strict=True):
        assert ours.equal(again), name
        assert ours.dtype == dtype
        scale = theirs.abs().max().clamp(min=1).item()
        torch.testing.assert_close(
            ours.cpu().double() / scale,
            theirs / scale,
            rtol=0,
            atol=WITHIN[dtype],
            msg=lambda m, name=name: f"{name}: {m}",
        )


KINDS = [(False, "mean", "global"), (True, "sum", "global"), (True, "mean", "global"), (True, "mean", "prefix")]


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(("causal", "lazy", "rank"), KINDS)
def test_agrees_with_the_reference(device, causal, lazy, rank, masked):
    check(device, 2, 1, 150, 150, 20, 7, causal=causal, lazy=lazy, rank=rank, masked=masked)


@pytest.mark.parametrize(("causal", "lazy", "rank"), KINDS[:2])
@pytest.mark.parametrize(("l_q", "l_k", "e", "u"), [(1, 1, 1, 1), (2, 2, 3, 1), (64, 64, 16, 64), (65, 65, 16, 20)])
def test_ugly_shapes(device, l_q, l_k, e, u, causal, lazy, rank):
    check(device, 1, 2, l_q, l_k, e, u, causal=causal, lazy=lazy, rank=rank, strided=False)


@pytest.mark.parametrize(("l_q", "l_k"), [(20, 130), (130, 20)])
def test_another_number_of_keys(device, l_q, l_k):
    check(device, 1, 1, l_q, l_k, 16, 9, causal=False, lazy="mean", masked=True)


def test_wide_heads(device):
    check(device, 1, 1, 40, 40, 100, 5, causal=False, lazy="mean")


def test_half_precision(device):
    """Not bfloat16: the interpreter of Triton 3.7 multiplies its bit patterns in tl.dot. It is tested on a card."""
    check(device, 1, 2, 70, 70, 16, 9, causal=True, lazy="mean", dtype=torch.float16)


def test_extreme_scores_stay_finite(device):
    q, k, v, g = parts(1, 1, 40, 40, 16)
    q, k = q * 300, k * 300
    index = chosen(q, k, 6, causal=False, rank="global", mask=None)
    q, k, v, g, index = (x.to(device) for x in (q, k, v, g, index))
    out, lse = kernels.chosen_attention(q, k, v, index, None, False, "mean")
    grads = kernels.chosen_attention_backward(g, q, k, v, index, None, out, lse, False, "mean")
    assert all(x.isfinite().all() for x in (out, lse, *grads))


def test_the_whole_path_takes_the_kernels_when_forced(device, monkeypatch):
    monkeypatch.setenv("FORECAST_KERNELS", "triton")
    q, k, v, g = (x.to(device) for x in parts(1, 2, 40, 40, 16))
    sample = selection.sample_keys(40, 40, 9, seed=0, layer=0, causal=True)
    results = []
    for mode in ("triton", "torch"):
        monkeypatch.setenv("FORECAST_KERNELS", mode)
        inputs = [x.clone().requires_grad_() for x in (q, k, v)]
        out = ops.probsparse_attention(*inputs, sample, 6, causal=True, lazy="mean", rank="prefix")
        results.append((out, *torch.autograd.grad(out, inputs, g)))
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


TYPES = {
    **dict.fromkeys(("ACC", "MOST", "TOTAL", "SUMS", "LSE", "DOT", "PARTS", "M"), "*fp32"),
    **{
        "MASK": "*i1",
        "SEEN": "*i32",
        "IDLE": "*i8",
        "INDEX": "*i64",
        "CHOSEN": "*i32",
        "SAMPLE": "*i64",
        "scale": "fp32",
    },
}
CONSTANTS = {
    **{"BY_KEYS": True, "PRECISION": "ieee", "BM": 32, "BS": 16, "BQ": 64, "BL": 1024, "BU": 64, "BT": 64},
}
KERNELS = {
    kernels: ("attend", "fill", "combine"),
    backward: ("idle", "dq", "scatter", "dkv"),
    choosers: ("measure", "top", "prefix_top"),
}


@pytest.mark.parametrize(("dtype", "width", "card", "flag"), [("*fp32", 64, 80, True), ("*bf16", 128, 90, False)])
def test_all_kernels_compile_for_cards(dtype, width, card, flag):
    """Those of kernels/selection.py too."""
    types = TYPES | dict.fromkeys(("Q", "K", "V", "G", "OUT", "DQ", "DK", "DV"), dtype)
    constants = CONSTANTS | {"BE": width, "BN": 4096 // width, "HAS_MASK": flag, "CAUSAL": flag, "MEAN": flag}
    specs = []
    for module, names in KERNELS.items():
        for name in names:
            arguments = inspect.signature(getattr(module, f"{name}_kernel").fn).parameters
            found = {a: types[a] for a in arguments if a in types} | ({"OUT": "*i64"} if "top" in name else {})
            given = {a: constants[a] for a in arguments if a in constants}
            specs.append(Spec(module.__name__, f"{name}_kernel", found, given))
    assert compile_all(specs, (card,)) == []


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", list(WITHIN))
@pytest.mark.parametrize("e", [16, 40, 64, 128])
@pytest.mark.parametrize(("causal", "lazy", "rank"), KINDS)
def test_at_real_sizes(device, causal, lazy, rank, e, dtype):
    for b, h, length, u in ((32, 8, 96, 25), (2, 8, 1000, 35), (1, 1, 4097, 45)):
        check(device, b, h, length, length, e, u, causal=causal, lazy=lazy, rank=rank, dtype=dtype)
    check(device, 1, 2, 4097, 4097, e, 45, causal=causal, lazy=lazy, rank=rank, masked=True, dtype=dtype)
