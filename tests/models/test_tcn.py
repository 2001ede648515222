"""The TCN: what it sees, to the step, and its two kinds of convolution."""

import pytest
import torch
from torch import nn

from forecast.models.tcn import TCN, DilatedLayer


def reached(layers, d: int, length: int) -> torch.Tensor:
    """(length,) True where the last output depends on that many steps ago."""
    x = torch.randn(1, length, d, dtype=torch.float64, requires_grad=True)
    y = x
    for layer in layers:
        y, _ = layer(y)
    y[0, -1].sum().backward()
    return (x.grad[0] != 0).any(-1).flip(0)


@pytest.mark.parametrize("depthwise", [True, False])
@pytest.mark.parametrize(
    "kernel, factor, depth, stacks",
    [(5, 4, 3, 1), (3, 2, 4, 1), (3, 3, 3, 1), (2, 2, 5, 1), (3, 2, 3, 2), (3, 1, 4, 2), (2, 1, 3, 1), (1, 1, 2, 1)],
)
def test_the_receptive_field_is_the_formula_and_has_no_holes(kernel, factor, depth, stacks, depthwise):
    torch.manual_seed(0)
    tcn = TCN(2, kernel=kernel, factor=factor, depth=depth, stacks=stacks, depthwise=depthwise).double()
    steps = depth if factor == 1 else (factor**depth - 1) // (factor - 1)
    field = 1 + stacks * (kernel - 1) * steps
    assert tcn.receptive_field == field
    seen = reached(tcn.layers, 2, field + 20)
    assert seen[:field].all()
    assert not seen[field:].any()


def test_a_factor_above_the_kernel_would_leave_holes_and_is_refused():
    torch.manual_seed(0)
    layers = nn.ModuleList(DilatedLayer(1, kernel=3, dilation=4**i) for i in range(4)).double()
    seen = reached(layers, 1, 171)
    assert seen[-1] and int((~seen).sum()) == 90
    with pytest.raises(ValueError, match=r"model.factor 4 is above model.kernel 3: .*; lower it"):
        TCN(1, kernel=3, factor=4)


@pytest.mark.parametrize("name", ["kernel", "factor", "depth", "stacks"])
def test_sizes_of_nothing_are_refused_in_a_line(name):
    with pytest.raises(ValueError, match=f"^model.{name} is 0; expected at least 1$"):
        TCN(1, **{"factor": 1, name: 0})


def test_a_dense_convolution_with_a_diagonal_weight_is_the_depthwise_one():
    torch.manual_seed(0)
    words = {"kernel": 3, "dilation": 4, "norm": "layer", "activation": "gelu"}
    apart, dense = (DilatedLayer(4, depthwise=kind, **words).double() for kind in (True, False))
    with torch.no_grad():
        dense.weight.copy_(torch.diag_embed(apart.weight.T).permute(1, 2, 0))
        dense.bias.copy_(apart.bias)
    x, state = torch.randn(2, 11, 4, dtype=torch.float64), torch.randn(2, 8, 4, dtype=torch.float64)
    for one, other in zip(apart(x, state), dense(x, state), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


def test_the_default_sees_what_its_config_says():
    assert TCN(1).receptive_field == 85
