"""LSTM against its cell, one step of one row after another."""

import pytest
import torch
from torch import nn

from forecast.models import LSTM
from forecast.models.base import bytes_per_series, leaves
from forecast.models.lstm import Memory

D = 6
SIZES = [{}, {"layers": 3}, {"layers": 2, "residual": True}]


def encoder(dtype: torch.dtype = torch.float64, **sizes) -> LSTM:
    torch.manual_seed(0)
    return LSTM(d_model=D, **sizes).to(dtype).eval()


def some(batch: int = 5, length: int = 17, dtype: torch.dtype = torch.float64, seed: int = 0):
    """Tokens, a mask under which row 1 was never observed and row 2 always, and a state that is not the first."""
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(batch, length, D, generator=g, dtype=dtype)
    mask = torch.rand(batch, length, generator=g) > 0.4
    mask[1], mask[2] = False, True
    return x, mask, lambda layers: Memory(*(torch.randn(batch, layers, D, generator=g, dtype=dtype) for _ in "hc"))


def by_cell(model: LSTM, state: Memory, x: torch.Tensor, mask: torch.Tensor):
    """Outputs (B, L, D), 0 where masked, and the state, by nn.LSTMCell."""
    cells = []
    for layer in model.layers:
        cell = nn.LSTMCell(D, D, dtype=x.dtype)
        cell.load_state_dict({name.removesuffix("_l0"): p for name, p in layer.state_dict().items()})
        cells.append(cell)
    outs, ends = [], []
    for row in range(len(x)):
        hc = [(state.h[row, i], state.c[row, i]) for i in range(len(cells))]
        for token, seen in zip(x[row], mask[row], strict=True):
            if not seen:
                outs.append(torch.zeros_like(token))
                continue
            for i, cell in enumerate(cells):
                hc[i] = cell(model.norms[i](token), hc[i])
                token = token + hc[i][0] if model.residual else hc[i][0]
            outs.append(token)
        ends.append([torch.stack(part) for part in zip(*hc, strict=True)])
    h, c = (torch.stack(part) for part in zip(*ends, strict=True))
    return Memory(h, c), torch.stack(outs).view_as(x)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("sizes", SIZES)
def test_outputs_states_and_gradients_are_those_of_the_cell(sizes, masked):
    model = encoder(**sizes)
    x, mask, state = some()
    start, mask = state(len(model.layers)), mask if masked else torch.ones_like(mask)
    ours, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
    after, y = model.scan(start, ours, mask if masked else None)
    want_after, want = by_cell(model, start, theirs, mask)
    torch.testing.assert_close(y[mask], want[mask], rtol=1e-11, atol=1e-12)
    for a, b in zip(after, want_after, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-12)
    (y[mask].square().sum() + after.c.sum() + after.h.sum()).backward()
    (want[mask].square().sum() + want_after.c.sum() + want_after.h.sum()).backward()
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("grad", [False, True])  # torch has two CPU paths
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("sizes", SIZES)
def test_the_cell_stands_still_after_a_rows_last_step(sizes, dtype, grad):
    """Bit for bit: however many steps that do not count follow, the state is the same."""
    model = encoder(dtype, **sizes)
    x, mask, state = some(dtype=dtype)
    start = Memory(*(part.to(torch.promote_types(dtype, torch.float32)) + 1e-3 for part in state(len(model.layers))))
    more = torch.cat([x, 100 * torch.ones(5, 60, D, dtype=dtype)], 1)
    with torch.set_grad_enabled(grad):
        one, _ = model.scan(start, x, mask)
        two, _ = model.scan(start, more, torch.cat([mask, torch.zeros(5, 60, dtype=torch.bool)], 1))
    assert all(a.equal(b) for a, b in zip(one, two, strict=True))
    assert one.h[1].equal(start.h[1]) and one.c[1].equal(start.c[1])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_no_bit_of_a_row_depends_on_the_gaps_of_another(dtype):
    """Packed rows would: the batch of each step is as large as there are rows that long."""
    model = encoder(dtype, layers=2)
    x, mask, state = some(dtype=dtype)
    start, other = state(2), mask.clone()
    other[2:] = ~mask[2:]
    (one, y), (two, z) = model.scan(start, x, mask), model.scan(start, x, other)
    assert y[:2].equal(z[:2])
    assert all(a[:2].equal(b[:2]) for a, b in zip(one, two, strict=True))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_state_is_float32_and_of_the_size_that_is_said(dtype):
    model = encoder(dtype, layers=2)
    x, mask, _ = some(dtype=dtype)
    for seen in (None, mask):
        state, y = model.scan(model.start(5, dtype=dtype), x, seen)
        assert y.dtype == dtype
        assert {leaf.dtype for leaf in leaves(state)} == {torch.float32}
        assert bytes_per_series(state) == 4 * 2 * 2 * D


def test_a_masked_step_puts_out_what_came_before():
    model = encoder(layers=2)
    x, mask, state = some()
    start = state(2)
    _, y = model.scan(start, x, mask)
    assert y[1].equal(start.h[1, -1].expand_as(y[1]))
    before = torch.cat([start.h[:, -1:], y[:, :-1]], 1)
    assert y[~mask].equal(before[~mask])


def test_missing_numbers_under_the_mask_reach_nothing():
    model = encoder(layers=2, residual=True).train()
    x, mask, _ = some()
    x = torch.where(mask[..., None], x, torch.nan).requires_grad_()
    y = model(x, mask)
    y.sum().backward()
    assert y.isfinite().all()
    assert all(p.grad.isfinite().all() for p in model.parameters())


def test_size_and_refusals():
    assert sum(p.numel() for p in encoder(layers=3).parameters()) == 3 * (8 * D * D + 8 * D)
    with pytest.raises(ValueError, match="layers 0; both must be at least 1"):
        LSTM(d_model=4, layers=0)


def test_dropout_is_between_layers_and_only_in_training():
    x, _, _ = some()
    one, two = encoder(dropout=0.5).train(), encoder(layers=2, dropout=0.5)
    assert one(x).equal(one(x))
    assert two(x).equal(two(x))
    assert not two.train()(x).equal(two(x))


@pytest.mark.gpu
def test_on_a_card_masks_cost_no_copy_of_the_weights_and_learn():
    """cuDNN warns where weights are not one piece of memory in its order, and warnings are errors; and it goes back
    only through what it was told to keep."""
    model = encoder(torch.float32, layers=2)
    x, mask, _ = some(dtype=torch.float32)
    found = []
    for device in ("cpu", "cuda"):
        model = model.to(device).requires_grad_()
        y = model(x.to(device), mask.to(device))
        grads = torch.autograd.grad(y.square().sum(), list(model.parameters()))
        found.append([y.detach().cpu(), *(grad.cpu() for grad in grads)])
    (want, *wanted), (got, *grads) = found
    torch.testing.assert_close(got, want, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(grads, wanted, rtol=1e-2, atol=1e-3)  # cuDNN may round to TF32
