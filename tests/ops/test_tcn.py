"""The dilated convolution against its sum, term by term in float64."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from forecast.ops import tcn
from forecast.ops.tcn import dilated_conv, fft_conv, receptive_field

LENGTHS = (1, 2, 63, 64, 65, 1000, 4097)


def made(b: int, length: int, c: int, k: int, d: int, dtype=torch.float64, seed: int = 0) -> tuple[Tensor, ...]:
    """x, weight, bias, state."""
    g = torch.Generator().manual_seed(seed)
    shapes = ((b, length, c), (c, k), (c,), (b, (k - 1) * d, c))
    return tuple(torch.randn(*shape, generator=g, dtype=torch.float64).to(dtype) for shape in shapes)


def by_the_sum(x: Tensor, weight: Tensor, bias: Tensor | None, d: int, state: Tensor | None) -> tuple[Tensor, Tensor]:
    """Step by step in float64, on autograd."""
    (b, length, c), k = x.shape, weight.shape[1]
    before = torch.zeros(b, (k - 1) * d, c, dtype=torch.float64) if state is None else state.double()
    z = torch.cat([before, x.double()], 1)
    steps = [sum(weight[:, j].double() * z[:, t + j * d] for j in range(k)) for t in range(length)]
    y = torch.stack(steps, 1) if steps else x.double()
    return y if bias is None else y + bias.double(), z[:, length:]


def agree(a: Tensor, b: Tensor, within: float) -> None:
    assert a.shape == b.shape
    assert (a.double() - b.double()).abs().max() <= within if a.numel() else True


@pytest.mark.parametrize("dtype, within", [(torch.float64, 1e-12), (torch.float32, 1e-5), (torch.bfloat16, 5e-2)])
@pytest.mark.parametrize("k, d", [(1, 1), (1, 7), (2, 1), (3, 4), (4, 2), (5, 64)])
@pytest.mark.parametrize("length", LENGTHS[:-2])
def test_is_its_sum(length, k, d, dtype, within):
    for c, with_state, with_bias in itertools.product((1, 3, 17), (False, True), (False, True)):
        x, weight, bias, state = made(2, length, c, k, d, dtype)
        state, bias = state if with_state else None, bias if with_bias else None
        y, after = dilated_conv(x, weight, bias, dilation=d, state=state)
        want, want_after = by_the_sum(x, weight, bias, d, state)
        assert y.dtype == after.dtype == dtype and y.is_contiguous() and after.is_contiguous()
        agree(y, want, within * max(1.0, want.abs().max().item()))
        assert torch.equal(after.double(), want_after.double())


@pytest.mark.parametrize("dtype, within", [(torch.float64, 1e-12), (torch.float32, 1e-5), (torch.bfloat16, 5e-2)])
@pytest.mark.parametrize("k, d", [(1, 1), (1, 7), (2, 1), (3, 4), (5, 64)])
def test_a_step_of_a_stream_is_its_sum_in_plain_calls(k, d, dtype, within):
    """What an exported graph is made of: no operator of ours where there is no gradient and no state to make."""
    for c, with_bias in itertools.product((1, 17), (False, True)):
        x, weight, bias, state = made(3, 1, c, k, d, dtype)
        bias = bias if with_bias else None
        with torch.inference_mode(), torch.profiler.profile() as seen:
            y, after = dilated_conv(x, weight, bias, dilation=d, state=state, carry=False)
        assert not any("forecast" in event.key for event in seen.key_averages())
        assert (y.shape, y.dtype, after.shape) == (x.shape, dtype, (3, 0, c))
        want, _ = by_the_sum(x, weight, bias, d, state)
        agree(y, want, within * max(1.0, want.abs().max().item()))


@pytest.mark.parametrize("b, length, c", [(1, 1000, 3), (1, 4097, 2), (512, 65, 2), (1, 4097, 1)])
def test_long_and_many(b, length, c):
    x, weight, bias, state = made(b, length, c, 3, 16)
    want, _ = by_the_sum(x, weight, bias, 16, state)
    agree(dilated_conv(x, weight, bias, dilation=16, state=state)[0], want, 1e-12)
    narrow = [part.float() for part in (x, weight, bias, state)]
    agree(dilated_conv(*narrow[:3], dilation=16, state=narrow[3])[0], want, 1e-5)


@pytest.mark.parametrize("dtype, within", [(torch.float64, 1e-11), (torch.float32, 1e-4), (torch.bfloat16, 0.15)])
@pytest.mark.parametrize(
    "b, length, c, k, d", [(2, 9, 3, 3, 4), (1, 65, 17, 4, 1), (3, 5, 2, 3, 16), (1, 200, 4, 2, 64)]
)
def test_gradients_through_output_and_state(b, length, c, k, d, dtype, within):
    parts = [part.requires_grad_() for part in made(b, length, c, k, d, dtype)]
    exact = [part.detach().double().requires_grad_() for part in parts]
    y, after = dilated_conv(*parts[:3], dilation=d, state=parts[3])
    want = by_the_sum(*exact[:3], d, exact[3])
    ups = [torch.randn_like(part.detach()) for part in (y, after)]
    got = torch.autograd.grad([y, after], parts, ups)
    expected = torch.autograd.grad(list(want), exact, [up.double() for up in ups])
    for a, e, part in zip(got, expected, parts, strict=True):
        assert a.dtype == part.dtype
        agree(a, e, within * max(1.0, e.abs().max().item()))


@pytest.mark.parametrize("length, k, d", [(5, 3, 2), (3, 3, 4), (5, 3, 4), (1, 2, 1), (4, 1, 3)])
def test_gradcheck(length, k, d):
    x, weight, bias, state = (part.requires_grad_() for part in made(2, length, 2, k, d))
    assert torch.autograd.gradcheck(lambda *a: dilated_conv(*a[:3], dilation=d, state=a[3]), (x, weight, bias, state))
    assert torch.autograd.gradcheck(lambda *a: dilated_conv(*a, dilation=d), (x, weight))


def test_only_needed_gradients():
    x, weight, bias, state = made(2, 9, 3, 3, 2)
    for needed in itertools.product((False, True), repeat=4):
        if any(needed):
            parts = [part.clone().requires_grad_(n) for part, n in zip((x, weight, bias, state), needed, strict=True)]
            y, _ = dilated_conv(*parts[:3], dilation=2, state=parts[3])
            y.sum().backward()
            assert [part.grad is not None for part in parts] == list(needed)
    state.requires_grad_()
    _, after = dilated_conv(x[:, :1], weight, dilation=2, state=state)
    assert torch.equal(torch.autograd.grad(after.sum(), state)[0][:, 1:], torch.ones(2, 3, 3, dtype=torch.float64))


@settings(max_examples=150, deadline=None)
@given(
    st.integers(1, 90), st.integers(1, 5), st.sampled_from([1, 2, 3, 7, 32]), st.sampled_from([1, 2, 17, 64]), st.data()
)
def test_any_split_is_the_whole(length, k, d, c, data):
    cuts = sorted(data.draw(st.lists(st.integers(0, length), max_size=5)))
    dtype = data.draw(st.sampled_from([torch.float32, torch.float64, torch.bfloat16]))
    x, weight, bias, state = made(2, length, c, k, d, dtype)
    state = state if data.draw(st.booleans()) else None
    whole, last = dilated_conv(x, weight, bias, dilation=d, state=state)
    ys = []
    for lo, hi in itertools.pairwise([0, *cuts, length]):
        y, state = dilated_conv(x[:, lo:hi], weight, bias, dilation=d, state=state)
        ys.append(y)
    assert torch.equal(torch.cat(ys, 1), whole)
    assert torch.equal(state, last)


def test_gradient_of_a_split_is_that_of_the_whole():
    x, weight, bias, _ = (part.requires_grad_() for part in made(2, 30, 3, 3, 4))
    y, _ = dilated_conv(x, weight, bias, dilation=4)
    up = torch.randn_like(y.detach())
    want = torch.autograd.grad(y, (x, weight, bias), up)
    first, state = dilated_conv(x[:, :7], weight, bias, dilation=4)
    middle, state = dilated_conv(x[:, 7:8], weight, bias, dilation=4, state=state)
    rest, _ = dilated_conv(x[:, 8:], weight, bias, dilation=4, state=state)
    got = torch.autograd.grad(torch.cat([first, middle, rest], 1), (x, weight, bias), up)
    for a, b in zip(got, want, strict=True):
        agree(a, b, 1e-12)


def test_blocks_change_nothing(monkeypatch):
    for dtype, d in itertools.product((torch.float32, torch.float64), (1, 8)):
        x, weight, bias, state = (part.requires_grad_() for part in made(3, 130, 4, 3, d, dtype))

        def run():
            y, after = dilated_conv(x, weight, bias, dilation=d, state=state)
            return y, after, *torch.autograd.grad(y.square().sum() + after.sum(), (x, weight, bias, state))

        monkeypatch.setattr(tcn, "HELD_AT_ONCE", 1 << 20)
        whole = run()
        for held in (1, 100, 600):
            monkeypatch.setattr(tcn, "HELD_AT_ONCE", held)
            for i, (a, b) in enumerate(zip(run(), whole, strict=True)):
                if i == 3:  # the weight's: another order of the sum
                    torch.testing.assert_close(a, b)
                else:
                    assert torch.equal(a, b)


def test_without_onednn(monkeypatch):
    parts = [part.requires_grad_() for part in made(2, 100, 5, 3, 8, torch.float32)]
    outs = []
    for there in (True, False):
        monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: there)
        y, _ = dilated_conv(*parts[:3], dilation=8, state=parts[3])
        outs.append((y, *torch.autograd.grad(y.square().sum(), parts)))
    for a, b in zip(*outs, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("d", [1, 4, 64])
def test_the_past_does_not_see_the_future(d, dtype):
    x, weight, bias, state = made(2, 150, 17, 3, d, dtype)
    y, _ = dilated_conv(x, weight, bias, dilation=d, state=state)
    for cut in (1, 64, 149):
        edited = x.clone()
        edited[:, cut:] = torch.nan
        assert torch.equal(dilated_conv(edited, weight, bias, dilation=d, state=state)[0][:, :cut], y[:, :cut])


@pytest.mark.parametrize("d", [1, 16])
def test_any_strides_and_twice_the_same(d):
    x, weight, bias, state = made(3, 70, 6, 3, d, torch.float32)
    views = [
        (x, state),
        (x.transpose(1, 2).contiguous().transpose(1, 2), state.transpose(0, 1).contiguous().transpose(0, 1)),
        (x.repeat_interleave(2, 1)[:, ::2], state.repeat_interleave(2, 2)[..., ::2]),
    ]
    outs = []
    for seen, before in [*views, views[0]]:
        seen, before = seen.detach().requires_grad_(), before.detach().requires_grad_()
        w = weight.t().contiguous().t().detach().requires_grad_()
        y, after = dilated_conv(seen, w, bias, dilation=d, state=before)
        up = y.detach().transpose(0, 1).contiguous().transpose(0, 1)
        outs.append((y, after, *torch.autograd.grad(y, (seen, w, before), up)))
    for out in outs[1:]:
        assert all(torch.equal(a, b) for a, b in zip(out, outs[0], strict=True))


def test_a_constant_gradient_has_no_strides():
    x, weight, bias, state = (part.requires_grad_() for part in made(2, 40, 3, 3, 8, torch.float32))
    y, after = dilated_conv(x, weight, bias, dilation=8, state=state)
    a = torch.autograd.grad(y.sum() + after.sum(), (x, weight, bias, state), retain_graph=True)
    b = torch.autograd.grad([y, after], (x, weight, bias, state), [torch.ones_like(y), torch.ones_like(after)])
    assert all(torch.equal(p, q) for p, q in zip(a, b, strict=True))


def test_no_steps():
    x, weight, bias, state = made(2, 0, 3, 3, 4)
    y, after = dilated_conv(x, weight, bias, dilation=4, state=state)
    assert y.shape == (2, 0, 3) and torch.equal(after, state)
    assert after.data_ptr() != state.data_ptr()


def test_without_carry_the_state_is_empty():
    x, weight, bias, state = (part.requires_grad_() for part in made(2, 9, 3, 3, 4))
    want, _ = dilated_conv(x, weight, bias, dilation=4, state=state)
    y, after = dilated_conv(x, weight, bias, dilation=4, state=state, carry=False)
    assert torch.equal(y, want) and after.shape == (2, 0, 3)
    grads = [torch.autograd.grad(out.sum(), (x, weight, bias, state)) for out in (y, want)]
    assert all(torch.equal(a, b) for a, b in zip(*grads, strict=True))


def test_a_narrow_input_keeps_a_wide_weight():
    """As under autocast: bfloat16 steps, float32 parameters."""
    x, weight, bias, _ = made(2, 40, 3, 3, 4, torch.float32)
    x, weight = x.bfloat16().requires_grad_(), weight.requires_grad_()
    y, after = dilated_conv(x, weight, bias, dilation=4)
    y.sum().backward()
    assert (y.dtype, after.dtype, x.grad.dtype, weight.grad.dtype) == (torch.bfloat16,) * 3 + (torch.float32,)
    agree(y, by_the_sum(x, weight, bias, 4, None)[0], 3e-2)
    agree(weight.grad[:, 2], x.double().sum((0, 1)), 1e-4)


def test_state_outlives_its_input():
    x, weight, _, _ = made(1, 100, 3, 3, 4)
    _, after = dilated_conv(x, weight, dilation=4)
    want = x[:, -8:].clone()
    x.zero_()
    assert torch.equal(after, want)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"weight": torch.zeros(4, 3)}, "expected \\(B, L, C\\) and \\(C, K\\)"),
        ({"weight": torch.zeros(3, 0)}, "expected \\(B, L, C\\) and \\(C, K\\)"),
        ({"bias": torch.zeros(4)}, "expected \\(C,\\)"),
        ({"dilation": 0}, "expected at least 1"),
        ({"state": torch.zeros(2, 5, 3)}, "expected \\(B, \\(K-1\\)·dilation, C\\) = \\(2, 4, 3\\)"),
        ({"state": torch.zeros(2, 4, 3, dtype=torch.float64)}, "torch.float64; expected"),
    ],
)
def test_refuses(change, message):
    with pytest.raises(ValueError, match=message):
        dilated_conv(**{"x": torch.zeros(2, 7, 3), "weight": torch.zeros(3, 3), "dilation": 2} | change)


@pytest.mark.parametrize("kernel, dilations", [(3, [1, 2, 4]), (2, [1, 2]), (4, [1, 4]), (5, [3]), (1, [1, 8])])
def test_receptive_field_by_its_gradient(kernel, dilations):
    reach = receptive_field(kernel, dilations)
    x = torch.zeros(1, reach + 10, 1, dtype=torch.float64, requires_grad=True)
    y = x
    for d in dilations:
        y, _ = dilated_conv(y, torch.ones(1, kernel, dtype=torch.float64), dilation=d)
    seen = torch.autograd.grad(y[0, -1, 0], x)[0].flatten().nonzero().flatten()
    assert x.shape[1] - int(seen[0]) == reach


@pytest.mark.parametrize("length, taps", [(1, 1), (2, 5), (63, 63), (65, 64), (1000, 100), (100, 300), (0, 4)])
def test_fft_conv_is_its_sum(length, taps):
    g = torch.Generator().manual_seed(0)
    x = torch.randn(2, length, 3, generator=g, dtype=torch.float64)
    kernel = torch.randn(3, taps, generator=g, dtype=torch.float64)
    want = dilated_conv(x, kernel.flip(1), dilation=1)[0]
    agree(fft_conv(x, kernel), want, 1e-11)
    agree(fft_conv(x.float(), kernel.float()), want, 1e-4)
    assert fft_conv(x.bfloat16(), kernel).dtype == torch.bfloat16
    if 0 < length < 100:
        part = (x[:, :7].requires_grad_(), kernel[:, :9].requires_grad_())
        assert torch.autograd.gradcheck(fft_conv, part)


# The operator to torch's compilers ------------------------------------------------------------------------------------


class Layer(torch.nn.Module):
    def __init__(self, d: int) -> None:
        super().__init__()
        self.weight, self.d = torch.nn.Parameter(torch.randn(3, 3)), d

    def forward(self, x: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return dilated_conv(x, self.weight, dilation=self.d, state=state)


@pytest.mark.parametrize("state", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_opcheck(state, dtype):
    for b, length, d in ((2, 13, 2), (2, 4, 4), (1, 1, 4), (2, 13, 4)):
        x, weight, bias, before = (part.requires_grad_() for part in made(b, length, 3, 3, d, dtype))
        torch.library.opcheck(
            torch.ops.forecast.dilated_conv, (x, weight, bias, before if state else None, d, not state)
        )


def test_compiles_and_exports():
    layer, x = Layer(4), torch.randn(2, 20, 3)
    state = torch.randn(2, 8, 3)
    want, after = layer(x, state)
    want.square().sum().backward()
    grad = layer.weight.grad
    layer.weight.grad = None
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager", dynamic=True)
    got, got_after = compiled(x, state)
    got.square().sum().backward()
    assert torch.equal(got, want) and torch.equal(got_after, after) and torch.equal(layer.weight.grad, grad)
    dims = ({1: torch.export.Dim("steps", min=1)}, None)
    exported = torch.export.export(layer, (x, state), dynamic_shapes=dims).module()
    assert torch.equal(exported(x[:, :3], state)[0], want[:, :3])
