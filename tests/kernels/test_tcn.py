"""The kernels of the dilated convolution against their reference."""

import itertools

import pytest
import torch
from torch import Tensor

from forecast.kernels import tcn as kernels
from forecast.ops import tcn as reference
from tests.kernels.aot import Spec, compile_all

# Of the largest number, and one rounding of the output; the interpreter cuts float32 to bfloat16 instead of rounding.
WITHIN = {torch.float64: 1e-12, torch.float32: 1e-5, torch.float16: 1e-3, torch.bfloat16: 8e-3}


def made(b: int, length: int, c: int, k: int, d: int, dtype: torch.dtype, device: str) -> list[Tensor]:
    """x, weight, bias, state, gradient of y."""
    g = torch.Generator().manual_seed(0)
    shapes = ((b, length, c), (c, k), (c,), (b, (k - 1) * d, c), (b, length, c))
    return [torch.randn(*shape, generator=g).to(device, dtype) for shape in shapes]


def all_three(module, x, weight, bias, state, g, d: int) -> list[Tensor]:
    length, held = x.shape[1], (weight.shape[1] - 1) * d
    return [
        module.conv_forward(x, weight, bias, state, d),
        module.conv_backward_input(g, weight, d, held, length),
        module.conv_backward_input(g, weight, d, 0, held),
        module.conv_backward_weight(g, x, state, weight.shape[1], d),
    ]


def agree(parts: list[Tensor], d: int) -> None:
    """With the reference, computed in float64."""
    within = WITHIN[parts[0].dtype]
    got = all_three(kernels, *parts, d)
    want = all_three(reference, *(part if part is None else part.double().cpu() for part in parts), d)
    for name, a, b in zip(("y", "dx", "dstate", "dweight"), got, want, strict=True):
        assert a.shape == b.shape and a.is_contiguous(), name
        assert a.dtype == parts[0].dtype or name == "dweight"
        if b.numel():
            assert (a.double().cpu() - b).abs().max() <= within * max(1.0, b.abs().max().item()), name


@pytest.mark.parametrize("dtype", WITHIN)
@pytest.mark.parametrize(
    "b, length, c, k, d", [(1, 1, 1, 1, 1), (2, 5, 3, 3, 4), (2, 33, 5, 4, 1), (1, 70, 65, 2, 7), (1, 3, 2, 5, 2)]
)
def test_agrees(b, length, c, k, d, dtype, device):
    x, weight, bias, state, g = made(b, length, c, k, d, dtype, device)
    agree([x, weight, bias, state, g], d)
    agree([x, weight, None, None, g], d)


def test_several_programs_and_parts(monkeypatch, device):
    monkeypatch.setattr(kernels, "TILE", 64)
    for programs in (1, 7, 1000):
        monkeypatch.setattr(kernels, "PROGRAMS", programs)
        agree(made(2, 35, 7, 3, 4, torch.float32, device), 4)


def test_any_strides_and_twice_the_same(device):
    x, weight, bias, state, g = made(2, 20, 6, 3, 4, torch.float32, device)
    want = all_three(kernels, x, weight, bias, state, g, 4)
    turned = [
        x.transpose(1, 2).contiguous().transpose(1, 2),
        weight.t().contiguous().t(),
        bias.repeat_interleave(2)[::2],
        state.transpose(0, 2).contiguous().transpose(0, 2),
        g.repeat_interleave(3, 1)[:, ::3],
    ]
    for parts in (turned, [x, weight, bias, state, g]):
        assert all(torch.equal(a, b) for a, b in zip(all_three(kernels, *parts, 4), want, strict=True))


def test_a_gradient_without_strides(device):
    x, weight, bias, state, g = made(2, 20, 6, 3, 4, torch.float32, device)
    agree([x, weight, bias, state, torch.ones((), device=device).expand_as(g)], 4)


def test_no_steps(device):
    agree(made(2, 0, 3, 3, 4, torch.float32, device), 4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_operator_with_kernels(dtype, device, monkeypatch):
    """Through the public function: any split is the whole, the past does not see the future, gradients agree."""
    monkeypatch.setenv("FORECAST_KERNELS", "triton")
    parts = [part.requires_grad_() for part in made(2, 21, 3, 3, 4, dtype, device)[:4]]
    y, after = reference.dilated_conv(*parts[:3], dilation=4, state=parts[3])
    grads = torch.autograd.grad(y.square().sum() + after.sum(), parts)
    state, ys = parts[3], []
    for lo, hi in itertools.pairwise([0, 5, 6, 21]):
        part, state = reference.dilated_conv(parts[0][:, lo:hi], *parts[1:3], dilation=4, state=state)
        ys.append(part)
    assert torch.equal(torch.cat(ys, 1), y) and torch.equal(state, after)
    edited = parts[0].detach().clone()
    edited[:, 9:] = torch.nan
    assert torch.equal(reference.dilated_conv(edited, *parts[1:3], dilation=4, state=parts[3])[0][:, :9], y[:, :9])
    monkeypatch.setenv("FORECAST_KERNELS", "torch")
    y, after = reference.dilated_conv(*parts[:3], dilation=4, state=parts[3])
    want = torch.autograd.grad(y.square().sum() + after.sum(), parts)
    for a, b in zip(grads, want, strict=True):
        assert (a - b).abs().max() <= 3 * WITHIN[dtype] * b.abs().max()


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", WITHIN)
@pytest.mark.parametrize(
    "b, length, c, k, d",
    [(8, 720, 64, 3, 1), (8, 720, 321, 4, 4), (4, 8192, 64, 17, 64), (512, 65, 3, 3, 16), (1, 131072, 64, 17, 64)],
)
def test_agrees_at_real_sizes(b, length, c, k, d, dtype, device):
    x, weight, bias, state, g = made(b, length, c, k, d, dtype, device)
    agree([x, weight, bias, state, g], d)
    turned = x.transpose(1, 2).contiguous().transpose(1, 2)
    first = all_three(kernels, turned, weight, None, None, g, d)
    for a, b in zip(first, all_three(kernels, turned, weight, None, None, g, d), strict=True):
        assert torch.equal(a, b)


def specs(kind: str, state: bool, time_first: bool) -> list[Spec]:
    """Both kernels as launched: a stride of 1 is a constant."""
    module, pointer, unit = "forecast.kernels.tcn", f"*{kind}", "l" if time_first else "c"
    types = {"X": pointer, "STATE": pointer, "x_b": "i64", "s_b": "i64"}
    conv = types | {"W": pointer, "BIAS": pointer, "Y": pointer, "y_b": "i64"}
    weight = types | {"G": pointer, "PARTIAL": "*fp64" if kind == "fp64" else "*fp32", "g_b": "i64"}
    constants = {f"x_{unit}": 1, "HAS_STATE": state, "BT": 32, "BC": 64}
    return [
        Spec(module, "conv_kernel", conv, constants | {"y_c": 1, "w_k": 1, "HAS_BIAS": state}),
        Spec(module, "weight_kernel", weight, constants | {f"g_{unit}": 1}),
    ]


def test_compiles_for_cards_that_are_not_here():
    kinds = [("fp32", True, False), ("bf16", False, True), ("fp16", True, False), ("fp64", False, False)]
    assert compile_all([spec for kind in kinds for spec in specs(*kind)]) == []
