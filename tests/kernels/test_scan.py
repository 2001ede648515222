"""The twin of prefix attention against its reference: in tiny sizes under the interpreter, in real ones on a card."""

import importlib.util
from pathlib import Path

import pytest
import torch

from forecast.kernels import scan as twin
from forecast.kernels import scan_segments as segments
from forecast.ops import Carry, dispatch, empty_carry, prefix_attention
from forecast.ops import scan as reference

_aot = importlib.util.spec_from_file_location("aot", Path(__file__).with_name("aot.py"))
aot = importlib.util.module_from_spec(_aot)
_aot.loader.exec_module(aot)

TOKENS = ("s_ptr", "v_ptr", "decay_ptr", "o_ptr", "g_ptr", "dv_ptr")  # the others have the state's dtype
TINY = [(1, 1, 1, 1), (1, 2, 31, 5), (2, 1, 33, 16), (1, 1, 70, 33)]
REAL = [(32, 8, 720, 64), (1, 1, 65536, 64), (1, 8, 4097, 100), (64, 8, 63, 128), (4, 4, 1000, 5)]


@pytest.fixture(autouse=True)
def triton_runs(monkeypatch):
    monkeypatch.setenv("FORECAST_KERNELS", "triton")


@pytest.fixture
def cut(monkeypatch):
    """Time is cut into segments of a chunk or two."""
    monkeypatch.setattr(twin, "PROGRAMS", 3)
    monkeypatch.setattr(twin, "SHORTEST", twin.BT)


def case(shape, device, dtype=torch.float32, acc=torch.float32, *, decayed=False, hidden=False, spread=3.0):
    """Everything scan_forward is given, with a state that some steps have left."""
    b, h, length, d = shape
    g = torch.Generator().manual_seed(length + d)
    s = spread * torch.randn(b, h, length, generator=g)
    if hidden:
        s[torch.rand(s.shape, generator=g) < 0.4] = -torch.inf
    v = torch.randn(b, length, h, d, generator=g).transpose(1, 2)
    decay = torch.rand(h, 1, generator=g).expand(b, h, length) if decayed else None
    start = torch.randn(b, h, generator=g), 1 + torch.rand(b, h, generator=g), torch.randn(b, h, d, generator=g)
    s, v, decay = (None if x is None else x.to(device, dtype) for x in (s, v, decay))
    return s, v, decay, *(x.to(device, acc) for x in start)


def future(v, acc):
    """Gradients of o, c and w."""
    g = torch.Generator().manual_seed(1)
    b, h, _, d = v.shape
    return (
        torch.randn(v.shape, generator=g).to(v.device, v.dtype),
        torch.randn(b, h, generator=g).to(v.device, acc),
        torch.randn(b, h, d, generator=g).to(v.device, acc),
    )


def agree(shape, device, tolerance, *, dtype=torch.float32, acc=torch.float32, **kind):
    """Forward and backward beside the reference, which computes in float64 from the same numbers."""
    s, v, decay, *start = case(shape, device, dtype, acc, **kind)
    wide = [None if x is None else x.cpu().double() for x in (s, v, decay, *start)]
    ours, exact = twin.scan_forward(s, v, decay, *start), reference.scan_forward(*wide)
    assert ours[0].dtype == v.dtype and ours[0].stride() == v.stride()
    assert {x.dtype for x in ours[1:]} == {acc}
    out = future(v, acc)
    grads = twin.scan_backward(*out, s, v, ours[0], decay, *ours[4:])
    expected = reference.scan_backward(*(x.cpu().double() for x in out), *wide[:2], exact[0], wide[2], *exact[4:])
    for a, b in zip([*ours, *grads], [*exact, *expected], strict=True):
        finite = b.isfinite()
        assert torch.equal(a.cpu().isfinite(), finite)
        error = (a.cpu().double() - b)[finite].abs()
        assert not error.numel() or error.max() < tolerance * max(1, b[finite].abs().max())


@pytest.mark.parametrize("decayed, hidden", [(False, False), (True, False), (False, True), (True, True)])
@pytest.mark.parametrize("shape", TINY)
def test_equals_the_reference(device, shape, decayed, hidden):
    agree(shape, device, 2e-6, decayed=decayed, hidden=hidden)


@pytest.mark.parametrize("decayed, hidden", [(False, False), (True, True)])
@pytest.mark.parametrize("length", [64, 65, 97])
def test_segments_equal_the_reference(device, cut, length, decayed, hidden):
    assert twin._segments(1, length)[0] > 1
    agree((1, 1, length, 5), device, 2e-6, decayed=decayed, hidden=hidden)


@pytest.mark.parametrize(
    "dtype, acc, tolerance",
    [
        (torch.float64, torch.float64, 1e-13),
        (torch.float32, torch.float64, 2e-6),
        (torch.bfloat16, torch.float32, 2e-2),
        (torch.float16, torch.float32, 2e-3),
    ],
)
def test_dtypes(device, dtype, acc, tolerance):
    agree((1, 2, 40, 5), device, tolerance, dtype=dtype, acc=acc, decayed=True)


@pytest.mark.parametrize("offset", [1e4, -1e4, 0.0])
def test_scores_of_any_size(device, offset):
    s, v, _, *_ = case((1, 1, 70, 5), device, spread=30.0)
    s = s + offset
    decay = torch.full_like(s, 0.01)
    decay[..., 40] = 1e6
    start = empty_carry(1, 1, 5, device)
    for falls in (None, decay):
        ours = twin.scan_forward(s, v, falls, *start)[0].cpu().double()
        wide = (None if x is None else x.cpu().double() for x in (s, v, falls, *start))
        assert (ours - reference.scan_forward(*wide)[0]).abs().max() < 3e-6


@pytest.mark.parametrize("rows, length", [(1, 1), (1, 255), (1, 65536), (8, 4097), (100, 720), (256, 720), (300, 9)])
def test_segments_are_whole_chunks_and_cover_all_of_time(rows, length):
    parts, steps = twin._segments(rows, length)
    assert steps % twin.BT == 0 and (parts - 1) * steps < length <= parts * steps
    assert parts == 1 or (rows < twin.PROGRAMS and steps >= twin.SHORTEST)


def test_masked_steps_leave_the_state_bit_for_bit(device, cut):
    s, v, _, *start = case((1, 1, 70, 5), device)
    s[:] = -torch.inf
    _, m, c, w, _, _ = twin.scan_forward(s, v, None, *start)
    assert all(torch.equal(a, b) for a, b in zip((m, c, w), start, strict=True))
    o, *_, masses = twin.scan_forward(s, v, None, *empty_carry(1, 1, 5, device))
    assert not o.any() and not masses.any()


def test_two_runs_are_equal_bit_for_bit(device, cut):
    s, v, decay, *start = case((1, 2, 70, 5), device, decayed=True)
    runs = []
    for _ in range(2):
        out = twin.scan_forward(s, v, decay, *start)
        runs.append([*out, *twin.scan_backward(*future(v, torch.float32), s, v, out[0], decay, *out[4:])])
    assert all(torch.equal(a, b) for a, b in zip(*runs, strict=True))


def test_the_past_does_not_see_the_future(device, cut):
    s, v, _, *start = case((1, 1, 70, 5), device)
    before = twin.scan_forward(s, v, None, *start)[0]
    for t in (31, 32, 50):
        later, values = s.clone(), v.clone()
        later[..., t:], values[:, :, t:] = 1e4, -1e6
        assert torch.equal(twin.scan_forward(later, values, None, *start)[0][:, :, :t], before[:, :, :t])


def test_the_public_function_and_all_its_gradients(device):
    """Through the dispatch: the kernels under autograd, beside the references."""
    s, v, decay, *start = case((1, 2, 35, 3), device, decayed=True)
    assert dispatch.pick(reference.scan_forward, v) is twin.scan_forward
    assert dispatch.pick(reference.scan_backward, v) is twin.scan_backward
    got = []
    for wide in (False, True):
        ins = [(x.cpu().double() if wide else x).detach().requires_grad_() for x in (s, v, decay, *start)]
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("FORECAST_KERNELS", "torch" if wide else "triton")
            o, carry = prefix_attention(ins[0], ins[1], Carry(*ins[3:]), decay=ins[2])
            loss = o.square().sum() + carry.m.sum() + 2 * carry.c.sum() + carry.w.square().sum()
            got.append([o, *torch.autograd.grad(loss, ins)])
    for a, b in zip(*got, strict=True):
        assert (a.cpu().double() - b).abs().max() < 1e-5 * max(1, b.abs().max())


def specs():
    """Each kernel, and the two that multiply with every kind of number. Triton makes a constant of a size or stride
    that is 1: there as many as can be."""
    products, all_six = ("forward", "backward"), ("forward", "backward", "summary", "starts", "echo", "futures")
    for dtype, acc, precision, width, decays, which in (
        ("fp32", "fp32", "ieee", 64, False, all_six),
        ("bf16", "fp32", "tf32", 128, True, all_six),
        ("fp32", "fp64", "ieee", 16, True, products),
        ("fp64", "fp64", "ieee", 16, True, products),
    ):
        for name in which:
            module = twin if name in products else segments
            names = getattr(module, f"scan_{name}_kernel").arg_names
            constexprs = {"DECAYS": decays, "WIDE": dtype == "fp64", "PRECISION": precision, "BT": twin.BT, "BD": width}
            types = {x: "*" + (dtype if x in TOKENS else acc) for x in names if x.endswith("_ptr")}
            if dtype == "fp64":
                constexprs |= dict.fromkeys(
                    ("heads", "length", "dim", "s_t", "v_d", "o_d", "g_d", "dv_d", "decay_t"), 1
                )
            given = {k: x for k, x in constexprs.items() if k in names}
            yield aot.Spec(module.__name__, f"scan_{name}_kernel", types, given, twin._warps(width))


def test_compiles_for_cards_that_are_not_here():
    assert aot.compile_all(list(specs())) == []


def test_a_kernel_that_does_not_compile_is_named():
    fine = next(specs())
    faults = aot.compile_all([fine._replace(types={}), fine._replace(types={"x_ptr": "*fp32"})], cards=(90,))
    assert len(faults) == 2 and all(fault.startswith("scan_forward_kernel") for fault in faults)
    assert "no argument x_ptr" in faults[1]


@pytest.mark.gpu
@pytest.mark.parametrize("decayed, hidden", [(False, False), (True, True)])
@pytest.mark.parametrize("shape", REAL)
def test_real_sizes(device, shape, decayed, hidden):
    agree(shape, device, 1e-5, decayed=decayed, hidden=hidden)


@pytest.mark.gpu
@pytest.mark.parametrize("shape", REAL)
def test_real_sizes_in_bfloat16(device, shape):
    agree(shape, device, 2e-2, dtype=torch.bfloat16)
