"""The graphs of our operators give what the operators give, masked steps, padding and equals among them."""

import pytest
import torch

from forecast.ops import plain, probsparse, scan, selection, tcn
from forecast.ops.scan import empty_carry

B, H, L, D = 3, 2, 19, 5


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def same(ours, theirs) -> None:
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("falls", [False, True])
@pytest.mark.parametrize("length", [1, 2, 16, L])
def test_scan(length, falls):
    s, v = 3 * draw(B, H, length), draw(B, H, length, D, seed=1)
    s[0, :, : length // 2] = -torch.inf  # masked from the start
    s[1] = -torch.inf
    decay = draw(B, H, length, seed=2).abs() if falls else None
    start = empty_carry(B, H, D)
    begun = scan.Carry(draw(B, H), draw(B, H).abs() + 1, draw(B, H, D))
    for state in (start, begun):
        theirs = torch.ops.forecast.scan_forward(s, v, decay, *state)
        ours = plain.scan(s, v, decay, *state)
        same(ours[:1], theirs[:1])
        shift = (theirs[1] - ours[1]).nan_to_num(0.0).exp()  # (m, c, w) is one state for every m
        same([ours[2], ours[3]], [theirs[2] * shift, theirs[3] * shift[..., None]])


@pytest.mark.parametrize("state", [False, True])
@pytest.mark.parametrize("carry", [False, True])
def test_conv(state, carry):
    x, weight, bias = draw(B, L, D), draw(D, 3, seed=1), draw(D, seed=2)
    before = draw(B, 8, D, seed=3) if state else None
    same(plain.conv(x, weight, bias, before, 4, carry), tcn._conv(x, weight, bias, before, 4, carry))


@pytest.mark.parametrize("divisor", ["keys", "sample"])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("causal", [False, True])
def test_what_attends(causal, masked, divisor):
    q, k, v = (draw(B, H, L, D, seed=i) for i in range(3))
    q[:, :, 3] = q[:, :, 4] = q[:, :, 5]  # equals: the earliest attend
    mask = draw(B, L) > -0.5 if masked else None
    if masked:
        mask[0] = False
    sample = selection.sample_keys(L, L, 6, seed=0, layer=0, causal=causal)
    measure = selection._sparsity(q, k, sample, mask, divisor, causal)
    same([plain.sparsity(q, k, sample, mask, divisor, causal)], [measure])
    if causal:
        index = selection._prefix_queries(measure, 4)
        assert plain.prefix_queries(measure, 4).equal(index)
    else:
        index = selection._top_queries(measure, 4)
        assert plain.top_queries(measure, 4).equal(index)
    for lazy in ("mean", "sum"):
        theirs = probsparse._chosen_attention(q, k, v, index, mask, causal, lazy)
        same(plain.chosen_attention(q, k, v, index, mask, causal, lazy)[:1], theirs[:1])


def test_a_stable_order_by_the_largest_k():
    x = torch.tensor([[2, 1, 3, 0]], dtype=torch.int8)
    for descending in (False, True):
        order = plain.ranked()[torch.ops.aten.argsort.stable](x, stable=True, dim=1, descending=descending)
        assert order.equal(x.argsort(stable=True, dim=1, descending=descending))
        values, _ = plain.ranked()[torch.ops.aten.sort.stable](x, stable=True, dim=1, descending=descending)
        assert values.equal(x.sort(dim=1, descending=descending).values)


def test_every_operator_of_the_forward_pass_has_its_graph():
    known = {str(op).split(".")[1] for op in plain.table()}
    ours = {name for name in dir(torch.ops.forecast) if not name.startswith("_") and name != "name"}
    assert {name for name in ours if not name.endswith("backward")} - known == set()
